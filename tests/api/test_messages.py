"""/v1/messages and count_tokens: requests, answers and streams, by hand and with the anthropic package."""

import anthropic
import pytest
from api_client import CHAT, call, get, late_in_prefill, post
from event_client import NamedEvents

PATH = "/v1/messages"
COUNT = PATH + "/count_tokens"
HELLO = [{"role": "user", "content": "Hello"}]
TOOL = {
    "name": "get_weather",
    "description": "The weather of a city",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    },
}


def say(server, messages=HELLO, **fields):
    reply = post(server, PATH, {"messages": messages, "max_tokens": 8, **fields})
    assert reply.status == 200, reply.body
    return reply.json()


def text_of(message):
    return "".join(b["text"] for b in message["content"] if b["type"] == "text")


def tokens(usage):
    """All tokens of the prompt."""
    return sum(usage[n] for n in ("input_tokens", "cache_read_input_tokens",
                                  "cache_creation_input_tokens"))  # fmt: skip


def refused(reply, status, kind="invalid_request_error"):
    """Checks an error of Anthropic's shape; returns its text."""
    assert reply.status == status, reply.body
    document = reply.json()
    assert set(document) == {"type", "error"} and document["type"] == "error"
    assert set(document["error"]) == {"type", "message"} and document["error"]["type"] == kind
    return document["error"]["message"]


# ---- the document --------------------------------------------------------------------------------


def test_document(tiny):
    found = say(tiny, model="claude", metadata={"user_id": "me"})
    assert found["id"].startswith("msg_") and found["type"] == "message"
    assert found["role"] == "assistant" and found["model"] != "claude"
    (block,) = found["content"]
    assert block["type"] == "text" and block["text"]
    assert found["stop_reason"] == "max_tokens" and found["stop_sequence"] is None
    assert found["usage"]["output_tokens"] == 8
    again = say(tiny)
    assert again["content"] == found["content"]
    assert tokens(again["usage"]) == tokens(found["usage"])
    assert again["usage"]["cache_read_input_tokens"] > 0


def test_same_text_as_chat(tiny):
    """The two APIs give the model the same prompt."""
    chat = [
        {"role": "system", "content": "Be brief.\nVery."},
        {"role": "user", "content": "one\ntwo"},
        {"role": "assistant", "content": "three"},
        {"role": "user", "content": "four"},
    ]
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "one"},
                                     {"type": "text", "text": "two",
                                      "cache_control": {"type": "ephemeral"}}]},
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": "s"},
                                          {"type": "text", "text": "three"}]},
        {"role": "user", "content": "four"},
    ]  # fmt: skip
    system = [{"type": "text", "text": "Be brief."}, {"type": "text", "text": "Very."}]
    expected = post(tiny, CHAT, {"messages": chat, "max_tokens": 8}).json()
    found = say(tiny, messages, system=system)
    assert text_of(found) == expected["choices"][0]["message"]["content"]
    assert tokens(found["usage"]) == expected["usage"]["prompt_tokens"]


def test_prefill(tiny):
    """A last message of the assistant is continued."""
    whole = say(tiny, [*HELLO, {"role": "assistant", "content": "one"}])
    chat = {"messages": [*HELLO, {"role": "assistant", "content": "one"}], "max_tokens": 8}
    expected = post(tiny, CHAT, chat).json()
    assert text_of(whole) == expected["choices"][0]["message"]["content"]
    assert tokens(whole["usage"]) == expected["usage"]["prompt_tokens"]


def test_tool_history(tiny):
    """Calls and results are those of Chat Completions, in their order."""
    chat = [
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "Let me see.", "tool_calls": [
            {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}},
            {"id": "b", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "a", "content": "2"},
        {"role": "tool", "tool_call_id": "b", "content": "Error:\nno"},
        {"role": "user", "content": "three"},
    ]  # fmt: skip
    messages = [
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": [
            {"type": "text", "text": "Let me see."},
            {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}},
            {"type": "tool_use", "id": "b", "name": "f", "input": {}}]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "a", "content": "2"},
            {"type": "tool_result", "tool_use_id": "b", "is_error": True,
             "content": [{"type": "text", "text": "no"}]},
            {"type": "text", "text": "three"}]},
    ]  # fmt: skip
    expected = post(tiny, CHAT, {"messages": chat, "max_tokens": 8}).json()
    found = say(tiny, messages)
    assert text_of(found) == expected["choices"][0]["message"]["content"]
    assert tokens(found["usage"]) == expected["usage"]["prompt_tokens"]


def test_stop_sequences(tiny):
    text = text_of(say(tiny, max_tokens=40))
    stop = text[len(text) // 2 : len(text) // 2 + 3]
    found = say(tiny, max_tokens=40, stop_sequences=["not in it", stop, "nor this"])
    assert found["stop_reason"] == "stop_sequence" and found["stop_sequence"] == stop
    assert text_of(found) == text[: text.index(stop)]


def test_count_tokens(tiny):
    fields = {"messages": HELLO, "system": "Be brief.", "tools": [TOOL]}
    n = post(tiny, COUNT, fields).json()
    assert n == {"input_tokens": tokens(say(tiny, **fields)["usage"])}
    assert "max_tokens" in refused(post(tiny, PATH, fields), 400)
    assert "messages" in refused(post(tiny, COUNT, {}), 400)
    # also for prompts that are too long to be answered
    long = [{"role": "user", "content": "word " * 20_000}]
    assert post(tiny, COUNT, {"messages": long}).json()["input_tokens"] > 4096


# ---- the stream ----------------------------------------------------------------------------------


def test_stream(tiny):
    body = {"messages": HELLO, "max_tokens": 8}
    whole = post(tiny, PATH, body).json()
    streamed = NamedEvents(tiny, PATH, {**body, "stream": True})
    assert streamed.names == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert "[DONE]" not in streamed.raw
    first = streamed.of("message_start")[0]["message"]
    assert first["content"] == [] and first["stop_reason"] is None
    assert tokens(first["usage"]) == tokens(whole["usage"])
    assert streamed.of("content_block_start")[0]["content_block"] == {"type": "text", "text": ""}
    deltas = [d["delta"] for d in streamed.of("content_block_delta")]
    assert {d["type"] for d in deltas} == {"text_delta"}
    assert "".join(d["text"] for d in deltas) == text_of(whole)
    last = streamed.of("message_delta")[0]
    assert last["delta"] == {"stop_reason": "max_tokens", "stop_sequence": None}
    assert last["usage"]["output_tokens"] == 8
    assert tokens(last["usage"]) == tokens(whole["usage"])


def test_error_in_a_stream(start_server):
    server = start_server("--offline", "--cache-ram", 0)
    body = {"messages": [{"role": "user", "content": "word and " * 950}], "stream": True,
            "max_tokens": 8}  # fmt: skip
    streamed, _ = late_in_prefill(lambda headers: NamedEvents(server, PATH, body, headers))
    name, last = streamed.events[-1]
    assert name == "error" and last["error"]["type"] == "timeout_error"
    assert "deadline" in last["error"]["message"]


# ---- what is refused -----------------------------------------------------------------------------


def blocks(*given, role="user"):
    return {"messages": [{"role": role, "content": list(given)}]}


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": "x"}, "messages"),
        ({"messages": [5]}, "messages[0]"),
        ({"messages": [{"role": "system", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        (blocks({"type": "image", "source": {}}), "image"),
        (blocks({"type": "document"}), "document"),
        (blocks({"type": "text"}), "messages[0].content[0].text"),
        (blocks(5), "messages[0].content[0]"),
        (blocks({"type": "tool_use", "name": "f", "input": {}}), "messages[0].content[0]"),
        (blocks({"type": "tool_use", "input": {}}, role="assistant"), "name"),
        (blocks({"type": "tool_result", "content": [{"type": "image"}]}), "content[0].content[0]"),
        ({"system": 5}, "system"),
        ({"system": [{"type": "image"}]}, "system[0]"),
        ({"max_tokens": None}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"stop_sequences": "x"}, "stop_sequences"),
        ({"stop_sequences": [5]}, "stop_sequences[0]"),
        ({"stop": ["x"]}, "stop_sequences"),
        ({"mcp_servers": [{"name": "x"}]}, "mcp_servers"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "web_search_20250305"),
        ({"tools": [{"input_schema": {}}]}, "tools[0]"),
        ({"tools": [{**TOOL, "input_schema": {"properties": 5}}]}, "input_schema"),
        ({"tools": [TOOL], "tool_choice": {"type": "tool", "name": "other"}}, "other"),
        ({"tools": [TOOL], "tool_choice": "auto"}, "tool_choice"),
        ({"tool_choice": {"type": "any"}}, "tool_choice"),
        ({"metadata": 5}, "metadata"),
        ({"top_k": "x"}, "top_k"),
        ({"thinking": {"type": "much"}}, "thinking"),
        ({"output_config": {"format": {"type": "xml"}}}, "output_config"),
    ],
)
def test_refused(tiny, fields, word):
    reply = post(tiny, PATH, {"messages": HELLO, "max_tokens": 8, **fields})
    assert word in refused(reply, 400)


@pytest.mark.parametrize(
    "fields",
    [
        {"thinking": {"type": "disabled"}, "service_tier": "standard_only"},
        {"thinking": {"type": "enabled", "budget_tokens": 1024}},
        {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}},
        {"temperature": 0.5, "top_p": 0.9, "top_k": 40, "stop_sequences": []},
        {"tools": [{**TOOL, "type": "custom", "cache_control": {"type": "ephemeral"}}],
         "tool_choice": {"type": "none"}},
        {"mcp_servers": [], "container": None, "system": ""},
        {"messages": blocks({"type": "tool_result", "tool_use_id": "a"})["messages"]},
    ],
)  # fmt: skip
def test_accepted(tiny, fields):
    say(tiny, **fields)


def test_shape_of_all_errors(start_server, tmp_path):
    """Also of those that are found before the route's own code runs."""
    keys = tmp_path / "keys"
    keys.write_text("first-key-1234\n")
    keys.chmod(0o600)
    server = start_server("--offline", "--api-key-file", keys)
    key = {"x-api-key": "first-key-1234", "anthropic-version": "2023-06-01"}
    body = {"messages": HELLO, "max_tokens": 2}
    for path in (PATH, COUNT, PATH[3:]):
        refused(post(server, path, body), 401, "authentication_error")
        refused(post(server, path, body, {"x-api-key": "wrong"}), 401, "authentication_error")
        refused(get(server, path, key), 405)
        refused(post(server, path, b"{", key), 400)
        refused(post(server, path, b"", key), 400)
        refused(post(server, path, body, {**key, "Content-Type": "text/html"}), 415)
        refused(post(server, path, {**body, "x": "y" * (1 << 20)}, key), 413, "request_too_large")
        assert post(server, path, body, key).status == 200
    long = {"messages": [{"role": "user", "content": "word " * 20_000}], "max_tokens": 2}
    refused(post(server, PATH, long, key), 400)
    assert call(server, "OPTIONS", PATH, headers=key).status in (200, 204)


# ---- the anthropic package -----------------------------------------------------------------------


@pytest.fixture
def client(server):
    with anthropic.Anthropic(base_url=server.base_url, api_key="none", max_retries=0) as c:
        yield c


def test_client(client):
    asked = {"model": "claude", "max_tokens": 40, "system": "Answer briefly.",
             "messages": [{"role": "user", "content": "What is the capital of France?"}]}  # fmt: skip
    found = client.messages.create(**asked)
    assert "Paris" in found.content[0].text
    with client.messages.stream(**asked) as events:
        text = "".join(events.text_stream)
        final = events.get_final_message()
    assert text == found.content[0].text == final.content[0].text
    assert final.stop_reason == found.stop_reason
    assert final.usage.output_tokens == found.usage.output_tokens
    del asked["max_tokens"]
    n = client.messages.count_tokens(**asked).input_tokens
    assert n == found.usage.input_tokens + found.usage.cache_read_input_tokens


@pytest.mark.parametrize("streamed", [False, True])
def test_client_tools(client, streamed):
    """A tool that is called, and its result told."""
    asked = {"model": "claude", "max_tokens": 60, "tools": [TOOL]}
    messages = [{"role": "user", "content": "What is the weather in Paris?"}]
    choice = {"type": "any", "disable_parallel_tool_use": True}
    if streamed:
        with client.messages.stream(**asked, messages=messages, tool_choice=choice) as events:
            found = events.get_final_message()
    else:
        found = client.messages.create(**asked, messages=messages, tool_choice=choice)
    assert found.stop_reason == "tool_use"
    (use,) = found.content
    assert use.type == "tool_use" and use.name == "get_weather" and "city" in use.input
    result = {"type": "tool_result", "tool_use_id": use.id, "content": "sunny"}
    messages += [
        {"role": "assistant", "content": found.content},
        {"role": "user", "content": [result]},
    ]
    told = client.messages.create(**asked, messages=messages, tool_choice={"type": "none"})
    assert told.content[0].text


def test_client_schema(client):
    schema = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"],
              "additionalProperties": False}  # fmt: skip
    found = client.messages.create(
        model="claude",
        max_tokens=40,
        messages=[{"role": "user", "content": "Bob is 42 years old."}],
        output_config={"format": {"type": "json_schema", "schema": schema}},
    )
    assert found.content[0].text.replace(" ", "") == '{"age":42}'


def test_client_errors(client):
    with pytest.raises(anthropic.BadRequestError, match="image"):
        image = {"type": "image", "source": {"type": "url", "url": "http://example.org/x.png"}}
        client.messages.create(
            model="claude", max_tokens=4, messages=[{"role": "user", "content": [image]}]
        )
