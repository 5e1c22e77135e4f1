"""The openai package for Python."""

import json

import openai
import pytest
from api_client import HELLO, counts, health, wait_until

FACTS = [
    {"role": "system", "content": "Answer briefly."},
    {"role": "user", "content": "What is the capital of France?"},
]


@pytest.fixture
def client(server):
    with openai.OpenAI(base_url=server.base_url + "/v1", api_key="none", max_retries=0) as c:
        yield c


def test_models(client):
    (model,) = client.models.list().data
    assert client.models.retrieve(model.id).id == model.id


def test_completion(client):
    model = client.models.list().data[0].id
    found = client.chat.completions.create(model=model, messages=FACTS, max_tokens=24)
    assert "Paris" in found.choices[0].message.content
    assert found.choices[0].finish_reason in ("stop", "length")
    assert found.usage.total_tokens == found.usage.prompt_tokens + found.usage.completion_tokens


@pytest.mark.parametrize("base", ["", "/", "/v1/"])
def test_other_base_urls(server, base):
    with openai.OpenAI(base_url=server.base_url + base, api_key="none") as client:
        found = client.chat.completions.create(model="default", messages=FACTS, max_tokens=2)
        assert found.usage.completion_tokens == 2


def test_stream(client):
    fields = {"model": "default", "messages": FACTS, "max_tokens": 24}
    whole = client.chat.completions.create(**fields)
    chunks = list(
        client.chat.completions.create(
            **fields, stream=True, stream_options={"include_usage": True}
        )
    )
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == whole.choices[0].message.content
    assert len({c.id for c in chunks}) == 1 and len({c.created for c in chunks}) == 1
    assert counts(chunks[-1].usage.to_dict()) == counts(whole.usage.to_dict())
    assert not chunks[-1].choices
    assert chunks[-2].choices[0].finish_reason == whole.choices[0].finish_reason


def test_stream_helper(client):
    """The helper drops chunks with a wrong `object`, and checks the order of events."""
    with client.chat.completions.stream(model="default", messages=FACTS, max_tokens=24) as events:
        deltas = [e.delta for e in events if e.type == "content.delta"]
        final = events.get_final_completion()
    assert len(deltas) > 2
    assert "".join(deltas) == final.choices[0].message.content


def test_a_stream_with_comments(server, client):
    """A long prompt has comments before the text, which some versions cannot parse."""
    messages = [{"role": "user", "content": "Repeat: " + "na " * 300}]
    chunks = list(
        client.chat.completions.create(
            model="default", messages=messages, max_tokens=3, stream=True
        )
    )
    assert sum(bool(c.choices[0].delta.content) for c in chunks) == 3


def test_closing_a_stream_ends_the_work(server, client):
    before = health(server)["requests_cancelled"]
    events = client.chat.completions.create(
        model="default", messages=HELLO, max_tokens=-1, stream=True, extra_body={"ignore_eos": True}
    )
    next(iter(events))
    events.close()
    wait_until(lambda: health(server)["requests_cancelled"] == before + 1, "it still runs")
    wait_until(lambda: health(server)["running"] == 0, "its place is not free")


def test_errors(client):
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("gpt-4o")
    assert caught.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="default", messages=HELLO, temperature=9)
    assert caught.value.param == "temperature"
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(
            model="default", messages=[{"role": "user", "content": "word " * 9000}], stream=True
        )
    assert caught.value.code == "context_length_exceeded"
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(
            model="default", messages=HELLO, response_format={"type": "xml"}
        )
    assert caught.value.param == "response_format"


def test_answers_by_rule(client):
    """The answer of the SDK's own way to ask for a schema, and a call of a tool."""
    schema = {
        "type": "object",
        "properties": {"on": {"type": "boolean"}, "level": {"type": "integer", "maximum": 9, "minimum": 0}},
        "required": ["on", "level"],
        "additionalProperties": False,
    }  # fmt: skip
    form = {"type": "json_schema", "json_schema": {"name": "lamp", "schema": schema, "strict": True}}
    answer = client.chat.completions.create(model="default", messages=HELLO, response_format=form)
    lamp = json.loads(answer.choices[0].message.content)
    assert set(lamp) == {"on", "level"} and 0 <= lamp["level"] <= 9
    tools = [{"type": "function", "function": {"name": "lamp", "parameters": schema}}]
    ask = {"model": "default", "messages": HELLO, "tools": tools, "tool_choice": "required"}
    ask["parallel_tool_calls"] = False
    choice = client.chat.completions.create(**ask).choices[0]
    (call,) = choice.message.tool_calls
    assert choice.finish_reason == "tool_calls" and call.function.name == "lamp"
    assert set(json.loads(call.function.arguments)) == {"on", "level"}
    deltas = [
        delta
        for chunk in client.chat.completions.create(**ask, stream=True)
        for choice in chunk.choices
        for delta in choice.delta.tool_calls or []
    ]
    assert "".join(d.function.arguments for d in deltas) == call.function.arguments


def test_keys(start_server, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("the-right-key\n")
    keys.chmod(0o600)
    url = start_server("--offline", "--api-key-file", keys).base_url + "/v1"
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=url, api_key="a-wrong-key").models.list()
    assert openai.OpenAI(base_url=url, api_key="the-right-key").models.list().data
