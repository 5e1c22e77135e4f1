"""The OpenAI Agents SDK, by Responses (its default) and by Chat Completions: a tool that is run twice."""

from agents import (
    Agent,
    ModelSettings,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    Runner,
    function_tool,
    set_tracing_disabled,
)
from features import KEY, V1, feature, model_name, try_all
from openai import AsyncOpenAI
from pydantic import BaseModel

set_tracing_disabled(True)  # it would send traces to OpenAI
asked = []


class Person(BaseModel):
    name: str
    age: int


@function_tool
def get_weather(city: str) -> str:
    """Tells the weather in a city now."""
    asked.append(city)
    return f"sunny in {city}, 21 degrees"


def agent(kind, **fields):
    # a client for each: a run closes the event loop that its connections belong to
    model = kind(model=model_name(), openai_client=AsyncOpenAI(base_url=V1, api_key=KEY))
    return Agent(name="Weather", instructions="Use the tool.", model=model, **fields)


for kind in (OpenAIResponsesModel, OpenAIChatCompletionsModel):
    name = "Responses" if kind is OpenAIResponsesModel else "Chat Completions"

    @feature(f"{name}: a tool is run, and again in the same conversation")
    async def _(kind=kind):
        asked.clear()
        forced = ModelSettings(tool_choice="required", temperature=0, max_tokens=64)
        found = agent(kind, tools=[get_weather], model_settings=forced)
        first = await Runner.run(found, "What is the weather in Paris?")
        assert len(asked) == 1 and first.final_output
        more = first.to_input_list() + [{"role": "user", "content": "And in Rome?"}]
        second = await Runner.run(found, more)
        assert len(asked) == 2 and second.final_output

    @feature(f"{name}: an object")
    async def _(kind=kind):
        brief = ModelSettings(temperature=0, max_tokens=64)
        result = await Runner.run(agent(kind, output_type=Person, model_settings=brief), "Ann is 41 years old.")
        assert result.final_output == Person(name="Ann", age=41)

    @feature(f"{name}: a stream of events joins to the text")
    async def _(kind=kind):
        brief = ModelSettings(temperature=0, max_tokens=32)
        result = Runner.run_streamed(agent(kind, model_settings=brief), "What is the capital of France?")
        text = ""
        async for event in result.stream_events():
            if event.type == "raw_response_event" and event.data.type == "response.output_text.delta":
                text += event.data.delta
        assert text and text == result.final_output


try_all()
