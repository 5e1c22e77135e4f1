"""langchain-ollama: ChatOllama, OllamaLLM, OllamaEmbeddings."""

import ollama
from features import URL, feature, raises, try_all
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from langchain_ollama import ChatOllama, OllamaEmbeddings, OllamaLLM
from pydantic import BaseModel

MODEL = ollama.Client(host=URL).list().models[0].model
COMMON = {"base_url": URL, "model": MODEL}
chat = ChatOllama(**COMMON, temperature=0, num_predict=64, validate_model_on_init=True)
FACT = "What is the capital of France? Answer briefly."


class Person(BaseModel):
    """A person."""

    name: str
    age: int


@tool
def get_weather(city: str) -> str:
    """Tells the weather in a city now."""
    return f"sunny in {city}, 21 degrees"


@feature("invoke: a text with usage; a stream joins to it")
def _():
    whole = chat.invoke(FACT)
    assert "Paris" in whole.content and whole.usage_metadata["output_tokens"] > 0
    assert whole.response_metadata["done_reason"] in ("stop", "length")
    assert "".join(chunk.content for chunk in chat.stream(FACT)) == whole.content


@feature("ainvoke, abatch")
async def _():
    first, second = await chat.abatch([FACT, FACT])
    assert first.content == second.content == (await chat.ainvoke(FACT)).content


@feature("bind_tools: a call that is run, and an answer with its result")
def _():
    ask = [HumanMessage("Use the tool: what is the weather in Paris?")]
    tools = chat.bind_tools([get_weather])
    answer = tools.invoke(ask)
    assert answer.tool_calls, answer.content
    results = [get_weather.invoke(call) for call in answer.tool_calls]
    assert chat.invoke([*ask, answer, *results]).content


@feature("with_structured_output: json_schema, json_mode")
def _():
    found = chat.with_structured_output(Person, method="json_schema").invoke("Ann is 41 years old.")
    assert found == Person(name="Ann", age=41)
    ask = 'Ann is 41 years old. Answer only {"name": "Ann", "age": 41} as JSON.'
    assert isinstance(chat.with_structured_output(Person, method="json_mode").invoke(ask), Person)


@feature("OllamaLLM: generate")
def _():
    llm = OllamaLLM(**COMMON, temperature=0, num_predict=32)
    assert "Paris" in llm.invoke(FACT) and "Paris" in "".join(llm.stream(FACT))


@feature("OllamaEmbeddings")
def _():
    embeddings = OllamaEmbeddings(**COMMON)
    one, two = embeddings.embed_documents(["a cat", "a dog"])
    assert len(one) == len(two) == len(embeddings.embed_query("a cat")) > 100


@feature("errors: an unknown model is a ResponseError")
def _():
    missing = ChatOllama(base_url=URL, model="no-such-model")
    assert raises(ollama.ResponseError, missing.invoke, FACT).status_code == 404


try_all()
