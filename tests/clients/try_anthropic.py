"""The anthropic package: the API of Messages."""

import anthropic
from features import KEY, URL, expect_idle, feature, model_name, raises, try_all

client = anthropic.Anthropic(base_url=URL, api_key=KEY, max_retries=0)
MODEL = model_name()
FACT = [{"role": "user", "content": "What is the capital of France? Answer briefly."}]
WEATHER = [{"role": "user", "content": "What is the weather in Paris?"}]
TOOL = {
    "name": "get_weather",
    "description": "Tells the weather in a city now.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


def create(messages=FACT, **fields):
    fields = {"max_tokens": 48, **fields}
    return client.messages.create(model=MODEL, messages=messages, **fields)


@feature("an answer with usage; a system text, blocks")
def _():
    answer = create(system="Answer in one word.")
    assert answer.type == "message" and answer.role == "assistant" and "Paris" in answer.content[0].text
    assert answer.stop_reason in ("end_turn", "max_tokens")
    assert answer.usage.input_tokens > 5 and answer.usage.output_tokens > 0
    blocks = [{"type": "text", "text": "Answer in one word."}]
    ask = [{"role": "user", "content": [{"type": "text", "text": FACT[0]["content"]}]}]
    assert create(ask, system=blocks).content[0].text == answer.content[0].text


@feature("a stream joins to the text")
def _():
    with client.messages.stream(model=MODEL, messages=FACT, max_tokens=48) as stream:
        pieces = list(stream.text_stream)
        final = stream.get_final_message()
    assert len(pieces) > 1 and "".join(pieces) == final.content[0].text == create().content[0].text
    assert final.usage.output_tokens > 0 and final.stop_reason


@feature("tools: any, a valid call; its result goes back")
def _():
    answer = create(WEATHER, tools=[TOOL], tool_choice={"type": "any"})
    assert answer.stop_reason == "tool_use"
    (call,) = [block for block in answer.content if block.type == "tool_use"]
    assert call.name == "get_weather" and set(call.input) == {"city"}
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "sunny, 21 degrees"}
    messages = [
        *WEATHER,
        {"role": "assistant", "content": answer.content},
        {"role": "user", "content": [result]},
    ]
    assert create(messages, tools=[TOOL], tool_choice={"type": "none"}).content[0].text


@feature("tools: a named one; a streamed call")
def _():
    named = {"type": "tool", "name": "get_weather"}
    fields = {"tools": [TOOL], "tool_choice": named, "max_tokens": 48}
    with client.messages.stream(model=MODEL, messages=WEATHER, **fields) as stream:
        pieces = [e.partial_json for e in stream if e.type == "input_json"]
        final = stream.get_final_message()
    assert len(pieces) > 1 and set(final.content[-1].input) == {"city"}


@feature("limits: max_tokens, stop_sequences")
def _():
    assert create(max_tokens=2).stop_reason == "max_tokens"
    answer = create([{"role": "user", "content": "Count: one, two, three, four"}], stop_sequences=["three"])
    if answer.stop_reason == "stop_sequence":
        assert answer.stop_sequence == "three"
    assert not answer.content or "three" not in answer.content[0].text


@feature("count_tokens: the tokens that an answer then reports")
def _():
    counted = client.messages.count_tokens(model=MODEL, messages=FACT)
    usage = create(max_tokens=1).usage
    read = usage.input_tokens + (usage.cache_read_input_tokens or 0)
    assert counted.input_tokens == read


@feature("models: list")
def _():
    assert MODEL in [model.id for model in client.models.list()]


@feature("errors: the classes of the package")
def _():
    assert "max_tokens" in str(raises(anthropic.BadRequestError, create, max_tokens=-5))
    error = raises(anthropic.BadRequestError, create, [{"role": "user", "content": "word " * 40000}])
    assert error.body["type"] == "error" and error.body["error"]["type"] == "invalid_request_error"


@feature("cancel: a closed stream ends the work")
def _():
    fields = {"max_tokens": 4000, "extra_body": {"temperature": 1}}
    with client.messages.stream(model=MODEL, messages=FACT, **fields) as stream:
        next(iter(stream.text_stream))
    expect_idle()


try_all()
