"""llama-index: OpenAILike (chat and completions), Ollama, a function agent, embeddings."""

from features import KEY, URL, V1, feature, model_name, try_all
from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.embeddings.ollama import OllamaEmbedding
from llama_index.embeddings.openai_like import OpenAILikeEmbedding
from llama_index.llms.ollama import Ollama
from llama_index.llms.openai_like import OpenAILike
from pydantic import BaseModel

MODEL = model_name()
COMMON = {"model": MODEL, "api_base": V1, "api_key": KEY, "temperature": 0, "max_tokens": 64}
chat = OpenAILike(**COMMON, is_chat_model=True, is_function_calling_model=True)
ollama = Ollama(model=f"{MODEL}:latest", base_url=URL, temperature=0, request_timeout=300)
FACT = [ChatMessage(role="user", content="What is the capital of France? Answer briefly.")]


class Person(BaseModel):
    """A person."""

    name: str
    age: int


def get_weather(city: str) -> str:
    """Tells the weather in a city now."""
    return f"sunny in {city}, 21 degrees"


TOOL = FunctionTool.from_defaults(get_weather)


@feature("OpenAILike: chat, a stream joins to the text")
def _():
    whole = chat.chat(FACT).message.content
    assert "Paris" in whole and "".join(c.delta or "" for c in chat.stream_chat(FACT)) == whole


@feature("OpenAILike: completions, its default")
def _():
    plain = OpenAILike(**{**COMMON, "max_tokens": 8})
    assert "Paris" in plain.complete("The capital of France is").text
    assert "Paris" in list(plain.stream_complete("The capital of France is"))[-1].text


@feature("OpenAILike: a tool")
def _():
    answer = chat.chat_with_tools([TOOL], "What is the weather in Paris?", tool_required=True)
    (call,) = chat.get_tool_calls_from_response(answer)
    assert call.tool_name == "get_weather" and "sunny" in get_weather(**call.tool_kwargs)


@feature("OpenAILike: an object")
def _():
    found = chat.as_structured_llm(Person).complete("Ann is 41 years old.")
    assert found.raw == Person(name="Ann", age=41)


@feature("Ollama: chat, a stream, a tool")
def _():
    whole = ollama.chat(FACT).message.content
    assert "Paris" in whole and "".join(c.delta or "" for c in ollama.stream_chat(FACT)) == whole
    answer = ollama.chat_with_tools([TOOL], "Use the tool: what is the weather in Paris?")
    assert ollama.get_tool_calls_from_response(answer)[0].tool_name == "get_weather"


@feature("embeddings: OpenAI's and Ollama's routes")
def _():
    like = OpenAILikeEmbedding(model_name=MODEL, api_base=V1, api_key=KEY)
    own = OllamaEmbedding(model_name=f"{MODEL}:latest", base_url=URL)
    one, two = (e.get_text_embedding_batch(["a cat", "a dog"]) for e in (like, own))
    assert len(one) == len(two) == 2 and abs(one[0][3] - two[0][3]) < 1e-3


try_all()
