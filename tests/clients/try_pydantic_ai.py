"""pydantic-ai: agents that use tools and give objects, by Chat Completions and Responses."""

import openai
from features import KEY, V1, feature, model_name, raises, try_all
from pydantic import BaseModel
from pydantic_ai import Agent, NativeOutput, PromptedOutput, ToolOutput
from pydantic_ai.exceptions import ModelHTTPError
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider

provider = OpenAIProvider(base_url=V1, api_key=KEY)
chat = OpenAIChatModel(model_name(), provider=provider)
responses = OpenAIResponsesModel(model_name(), provider=provider)
BRIEF = {"temperature": 0, "max_tokens": 64}
FACT = "What is the capital of France? Answer briefly."
ANN = "Ann is 41 years old."


class Person(BaseModel):
    """A person."""

    name: str
    age: int


@feature("an answer with usage, and one that follows it")
def _():
    agent = Agent(chat, model_settings=BRIEF)
    first = agent.run_sync("My name is Ann.")
    second = agent.run_sync("What is my name?", message_history=first.all_messages())
    assert "Ann" in second.output and second.usage.output_tokens > 0


@feature("a stream joins to the text")
async def _():
    agent = Agent(chat, model_settings=BRIEF)
    async with agent.run_stream(FACT) as result:
        pieces = [piece async for piece in result.stream_text(delta=True, debounce_by=None)]
    assert len(pieces) > 1 and "".join(pieces) == (await agent.run(FACT)).output


for name, kind in (("ToolOutput", ToolOutput), ("NativeOutput", NativeOutput), ("PromptedOutput", PromptedOutput)):

    @feature(f"an object: {name}")
    def _(kind=kind):
        found = Agent(chat, output_type=kind(Person), model_settings=BRIEF, retries=3).run_sync(ANN)
        assert found.output == Person(name="Ann", age=41)


@feature("a tool that is run, then an answer")
def _():
    asked = []
    agent = Agent(chat, model_settings=BRIEF)

    @agent.tool_plain
    def get_weather(city: str) -> str:
        """Tells the weather in a city now."""
        asked.append(city)
        return f"sunny in {city}, 21 degrees"

    found = agent.run_sync("Use the tool: what is the weather in Paris?")
    assert asked and found.output


@feature("Responses: a text, an object")
def _():
    assert "Paris" in Agent(responses, model_settings=BRIEF).run_sync(FACT).output
    found = Agent(responses, output_type=NativeOutput(Person), model_settings=BRIEF).run_sync(ANN)
    assert found.output == Person(name="Ann", age=41)


@feature("errors: ModelHTTPError with the status and the server's text")
def _():
    error = raises(ModelHTTPError, Agent(chat, model_settings={"temperature": 9}).run_sync, FACT)
    assert error.status_code == 400 and "temperature" in str(error.body)
    assert isinstance(error.__cause__, openai.BadRequestError)


try_all()
