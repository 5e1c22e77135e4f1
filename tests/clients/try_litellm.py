"""LiteLLM with its prefixes openai/, hosted_vllm/, ollama_chat/ and anthropic/."""

import json
import os

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # it would fetch a table of prices

import litellm
from features import KEY, URL, V1, feature, model_name, raises, try_all

MODEL = model_name()
BASES = {
    f"openai/{MODEL}": V1,
    f"hosted_vllm/{MODEL}": V1,
    f"ollama_chat/{MODEL}": URL,
    f"anthropic/{MODEL}": URL,
}
FACT = [{"role": "user", "content": "What is the capital of France? Answer briefly."}]
WEATHER = [{"role": "user", "content": "Use the tool: what is the weather in Paris?"}]
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tells the weather in a city now.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}


def complete(model, messages=FACT, **fields):
    fields = {"temperature": 0, "max_tokens": 48, **fields}
    return litellm.completion(
        model=model, api_base=BASES[model], api_key=KEY, messages=messages, **fields
    )


for each in BASES:

    @feature(f"{each.split('/')[0]}/: a text with usage; a stream joins to it")
    def _(model=each):
        whole = complete(model)
        text = whole.choices[0].message.content
        assert "Paris" in text and whole.usage.total_tokens > whole.usage.prompt_tokens > 0
        chunks = list(complete(model, stream=True, stream_options={"include_usage": True}))
        assert litellm.stream_chunk_builder(chunks, messages=FACT).choices[0].message.content == text

    @feature(f"{each.split('/')[0]}/: a call with valid arguments, its result goes back")
    def _(model=each):
        # Ollama's API has no tool_choice, so the prompt asks for the tool
        forced = {} if model.startswith("ollama") else {"tool_choice": "required"}
        answer = complete(model, WEATHER, tools=[TOOL], **forced).choices[0]
        assert answer.message.tool_calls, answer.message.content
        call = answer.message.tool_calls[0]
        assert set(json.loads(call.function.arguments)) == {"city"}
        result = {"role": "tool", "tool_call_id": call.id, "name": "get_weather", "content": "sunny"}
        end = complete(model, [*WEATHER, answer.message, result], tools=[TOOL]).choices[0]
        assert end.message.content or end.message.tool_calls


@feature("response_format: a schema, by openai/ and ollama_chat/")
def _():
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
        "required": ["name", "age"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "person", "schema": schema, "strict": True}}
    ask = [{"role": "user", "content": "Ann is 41 years old. Write her name and age as JSON."}]
    for model in (f"openai/{MODEL}", f"ollama_chat/{MODEL}"):
        text = complete(model, ask, response_format=form).choices[0].message.content
        assert json.loads(text) == {"name": "Ann", "age": 41}, model


@feature("embedding")
def _():
    for model, base in ((f"openai/{MODEL}", V1), (f"ollama/{MODEL}", URL)):
        found = litellm.embedding(model=model, api_base=base, api_key=KEY, input=["a cat", "a dog"])
        assert len(found.data) == 2 and len(found.data[0]["embedding"]) > 100, model


@feature("text_completion, responses")
def _():
    openai = {"model": f"openai/{MODEL}", "api_base": V1, "api_key": KEY}
    text = litellm.text_completion(**openai, prompt="The capital of France is", max_tokens=8)
    assert "Paris" in text.choices[0].text
    found = litellm.responses(**openai, input="What is the capital of France?", max_output_tokens=32)
    assert "Paris" in found.output[0].content[0].text


@feature("errors: the classes of the package")
def _():
    error = raises(litellm.BadRequestError, complete, f"openai/{MODEL}", temperature=9)
    assert "temperature" in str(error)
    long = [{"role": "user", "content": "word " * 40000}]
    raises(litellm.ContextWindowExceededError, complete, f"openai/{MODEL}", long)


try_all()
