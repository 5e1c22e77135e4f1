"""Conversations longer than the context are refused or trimmed, and never trimmed silently."""

import openai
import pytest
from api_client import CHAT, HELLO, Stream, complete, post, stream

SYSTEM = {"role": "system", "content": "Be brief."}


def turn(i):
    return [
        {"role": "user", "content": f"Question {i}: what are {i} and {i} together?"},
        {"role": "assistant", "content": f"They are {2 * i}, as far as I can tell."},
    ]


def conversation(n, *, last="And now?"):
    """Returns a system message, n turns, and a question."""
    turns = [message for i in range(n) for message in turn(i)]
    return [SYSTEM, *turns, {"role": "user", "content": last}]


@pytest.fixture(scope="module")
def short(server_factory, tiny_model_path):
    """A server with a short context."""
    server = server_factory("--offline", "--ctx-size", 512, model=tiny_model_path)
    yield server
    server.end()


@pytest.fixture(scope="module")
def trims(server_factory, tiny_model_path):
    """A server with a short context that trims conversations by default."""
    options = ("--offline", "--ctx-size", 512, "--context-policy", "trim")
    server = server_factory(*options, model=tiny_model_path)
    yield server
    server.end()


def without(messages, n):
    """Returns the messages without the n oldest that are not system messages."""
    return [messages[0], *messages[1 + n :]]


@pytest.mark.parametrize("fields", [{}, {"context_policy": "error"}, {"context_policy": None}])
def test_the_default_is_to_refuse(short, fields):
    reply = post(short, CHAT, {"messages": conversation(60), **fields})
    assert reply.status == 400
    error = reply.error
    assert error["code"] == "context_length_exceeded" and error["param"] == "messages"
    assert error["n_ctx"] == 512 < error["n_prompt_tokens"]


@pytest.mark.parametrize("value, code", [("cut", "invalid_value"), (True, "invalid_type")])
@pytest.mark.parametrize("path", [CHAT, "/chat"])
def test_other_policies(short, path, value, code):
    reply = post(short, path, {"messages": HELLO, "context_policy": value})
    assert reply.status == 400
    assert reply.error["param"] == "context_policy" and reply.error["code"] == code


def test_a_conversation_that_fits_is_unchanged(trims, short):
    messages = conversation(3)
    reply = post(trims, CHAT, {"messages": messages, "max_tokens": 8})
    assert reply.status == 200
    assert "x_kinglet" not in reply.json() and "x-messages-left-out" not in reply.headers
    assert reply.json()["choices"] == complete(short, messages, max_tokens=8)["choices"]


def test_the_oldest_turns_are_left_out(short):
    """The answer is the same as for a conversation without those turns."""
    messages = conversation(60)
    body = {"messages": messages, "max_tokens": 8, "context_policy": "trim"}
    reply = post(short, CHAT, body)
    assert reply.status == 200
    left_out = reply.json()["x_kinglet"]["messages_left_out"]
    assert int(reply.headers["x-messages-left-out"]) == left_out
    assert left_out % 2 == 0 and 0 < left_out < 120
    assert reply.json()["usage"]["prompt_tokens"] <= 512 - 8
    same = complete(short, without(messages, left_out), max_tokens=8)
    assert reply.json()["choices"] == same["choices"]
    assert reply.json()["usage"]["prompt_tokens"] == same["usage"]["prompt_tokens"]
    # one more turn would not fit
    more = {"messages": without(messages, left_out - 2), "max_tokens": 8, "context_policy": "trim"}
    assert post(short, CHAT, more).json()["x_kinglet"]["messages_left_out"] == 2


def test_a_stream_reports_it_too(trims):
    messages = conversation(60)
    s = stream(trims, messages, max_tokens=8)
    left_out = int(s.headers["x-messages-left-out"])
    assert s.chunks[0]["x_kinglet"] == s.chunks[-1]["x_kinglet"] == {"messages_left_out": left_out}
    native = Stream(trims, "/chat", {"messages": messages, "max_new_tokens": 8})
    assert native.chunks[0] == {"text": "", "messages_left_out": left_out}
    assert int(native.headers["x-messages-left-out"]) == left_out
    assert native.text() == s.text()


def test_room_for_the_answer(short):
    """The answer gets as much room as it may need, up to a quarter of the context."""
    body = {"messages": conversation(60), "context_policy": "trim"}
    few, many, all_of_it = (
        post(short, CHAT, body | {"max_tokens": n}).json()["usage"]["prompt_tokens"]
        for n in (1, 100, -1)
    )
    assert 512 - 60 < few < 512
    assert all_of_it <= 384 < 512 - 60 and many <= 412
    assert all_of_it <= many <= few


def test_system_messages_and_tools_stay(trims):
    notes = {"role": "system", "content": "Remember: the code word is heron."}
    messages = conversation(60)
    messages.insert(5, notes)
    tools = [{"type": "function", "function": {"name": "f", "description": "x " * 30}}]
    found = complete(trims, messages, max_tokens=8, tools=tools)
    left_out = found["x_kinglet"]["messages_left_out"]
    rest = [m for m in messages[1:] if m is not notes][left_out:]
    same = complete(trims, [SYSTEM, notes, *rest], max_tokens=8, tools=tools)
    assert "x_kinglet" not in same
    assert found["choices"] == same["choices"]
    assert found["usage"]["prompt_tokens"] == same["usage"]["prompt_tokens"]


def test_a_turn_is_left_out_as_a_whole(trims):
    """Tool calls and their results do not remain without their question."""
    call = {"type": "function", "function": {"name": "add", "arguments": "{}"}}
    messages = [SYSTEM]
    for i in range(60):
        messages += [
            {"role": "user", "content": f"Add {i}."},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "content": str(i)},
        ]
    messages.append({"role": "user", "content": "And?"})
    assert complete(trims, messages, max_tokens=1)["x_kinglet"]["messages_left_out"] % 3 == 0


def test_the_last_question_is_never_cut(trims):
    messages = conversation(5, last="word " * 3000)
    reply = post(trims, CHAT, {"messages": messages})
    assert reply.status == 400 and reply.error["code"] == "context_length_exceeded"
    assert reply.error["n_ctx"] == 512 < reply.error["n_prompt_tokens"]


def test_the_request_overrides_the_server(trims):
    reply = post(trims, CHAT, {"messages": conversation(60), "context_policy": "error"})
    assert reply.status == 400 and reply.error["code"] == "context_length_exceeded"


def test_through_the_python_client(short):
    with openai.OpenAI(base_url=short.base_url + "/v1", api_key="none") as client:
        found = client.chat.completions.create(
            model="default", messages=conversation(60), max_tokens=4,
            extra_body={"context_policy": "trim"},
        )  # fmt: skip
    assert found.x_kinglet["messages_left_out"] > 0
    assert found.usage.completion_tokens == 4
