"""langchain-openai: ChatOpenAI in all its ways to get objects, tools, embeddings, Responses."""

import openai
from features import KEY, V1, feature, model_name, raises, try_all
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAI, OpenAIEmbeddings
from pydantic import BaseModel, Field

COMMON = {"base_url": V1, "api_key": KEY, "model": model_name(), "max_retries": 0}
chat = ChatOpenAI(**COMMON, temperature=0, max_tokens=48, stream_usage=True)
FACT = "What is the capital of France? Answer briefly."


class Person(BaseModel):
    """A person."""

    name: str = Field(description="the first name")
    age: int


@tool
def get_weather(city: str) -> str:
    """Tells the weather in a city now."""
    return f"sunny in {city}, 21 degrees"


@feature("invoke: a text with usage")
def _():
    answer = chat.invoke(FACT)
    assert "Paris" in answer.content and answer.response_metadata["finish_reason"] in ("stop", "length")
    usage = answer.usage_metadata
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"] > 5


@feature("stream: joins to the text, with usage")
def _():
    whole = None
    for chunk in chat.stream(FACT):
        whole = chunk if whole is None else whole + chunk
    assert whole.content == chat.invoke(FACT).content and whole.usage_metadata["output_tokens"] > 0


@feature("batch, ainvoke")
async def _():
    first, second = await chat.abatch([FACT, FACT])
    assert first.content == second.content == (await chat.ainvoke(FACT)).content


@feature("bind_tools: a call that is run, and an answer with its result")
def _():
    ask = [HumanMessage("What is the weather in Paris?")]
    answer = chat.bind_tools([get_weather], tool_choice="any").invoke(ask)
    assert answer.tool_calls and not answer.invalid_tool_calls
    results = [get_weather.invoke(call) for call in answer.tool_calls]
    assert all(isinstance(r, ToolMessage) for r in results)
    assert chat.invoke([*ask, answer, *results]).content


@feature("bind_tools: a streamed call")
def _():
    whole = None
    for chunk in chat.bind_tools([get_weather], tool_choice="get_weather").stream("Weather in Paris?"):
        whole = chunk if whole is None else whole + chunk
    assert set(whole.tool_calls[0]["args"]) == {"city"}


@feature("with_structured_output: json_schema, function_calling, json_mode")
def _():
    for method in ("json_schema", "function_calling"):
        found = chat.with_structured_output(Person, method=method).invoke("Ann is 41 years old.")
        assert found == Person(name="Ann", age=41), method
    ask = 'Ann is 41 years old. Answer only {"name": "Ann", "age": 41} as JSON.'
    assert isinstance(chat.with_structured_output(Person, method="json_mode").invoke(ask), Person)


@feature("Responses: invoke, stream, a call")
def _():
    responses = ChatOpenAI(**COMMON, max_tokens=48, use_responses_api=True)
    whole = responses.invoke(FACT)
    assert "Paris" in whole.text
    assert "".join(chunk.text for chunk in responses.stream(FACT)) == whole.text
    called = responses.bind_tools([get_weather], tool_choice="any").invoke("Weather in Paris?")
    assert set(called.tool_calls[0]["args"]) == {"city"}


@feature("OpenAI: completions")
def _():
    llm = OpenAI(**COMMON, temperature=0, max_tokens=8)
    assert "Paris" in llm.invoke("The capital of France is")
    assert "Paris" in "".join(llm.stream("The capital of France is"))


@feature("OpenAIEmbeddings")
def _():
    embeddings = OpenAIEmbeddings(**COMMON, check_embedding_ctx_length=False)
    one, two = embeddings.embed_documents(["a cat", "a dog"])
    assert len(one) == len(two) == len(embeddings.embed_query("a cat")) > 100


@feature("errors: the classes of the openai package")
def _():
    error = raises(openai.BadRequestError, ChatOpenAI(**COMMON, temperature=9).invoke, FACT)
    assert "temperature" in str(error)


try_all()
