"""The loop guard ends answers that only repeat themselves, if it is switched on."""

from urllib.parse import quote

import pytest
from api_client import Stream, complete, health, stream

QUESTIONS = ("what is it", "one two three", "a b c", "你好", "tell me", "seven", "x y", "why")
LONG = 2000  # tokens


@pytest.fixture(scope="module")
def looping(tiny):
    """Messages whose greedy answer by the tiny model becomes a loop; the text that the guard leaves, and
    its number of tokens."""
    for text in QUESTIONS:
        messages = [{"role": "user", "content": text}]
        found = complete(tiny, messages, max_tokens=LONG, loop_guard="on")
        if "x_kinglet" in found:
            tokens = found["usage"]["completion_tokens"]
            return messages, found["choices"][0]["message"]["content"], tokens
    pytest.fail("the tiny model runs into no loop")


def test_the_unguarded_answer_is_a_loop(tiny, looping):
    """The answer without the guard begins with the guarded one and continues its repetition."""
    messages, text, tokens = looping
    assert 256 <= tokens < LONG
    whole = complete(tiny, messages, max_tokens=LONG)
    assert "x_kinglet" not in whole and whole["usage"]["completion_tokens"] > tokens
    said = whole["choices"][0]["message"]["content"]
    assert said.startswith(text.rstrip("\ufffd"))
    # some text occurs repeatedly, and comes next
    period = next(p for p in range(1, len(text)) if text.endswith(text[-p:] * 7))
    rest = said[len(text) :]
    assert rest[:period] == text[-period:][: len(rest)]


def test_document(tiny, looping):
    messages, text, tokens = looping
    before = health(tiny)["statistics"]
    found = complete(tiny, messages, max_tokens=LONG, loop_guard="on")
    choice = found["choices"][0]
    assert choice["finish_reason"] == "stop" and choice["message"]["content"] == text
    assert found["x_kinglet"] == {"ended_by": "repetition"}
    assert found["usage"]["completion_tokens"] == tokens
    after = health(tiny)["statistics"]
    assert after["repetitions_ended"] == before["repetitions_ended"] + 1
    assert after["requests"]["answered"] == before["requests"]["answered"] + 1
    # exactly at this point: one token less is not a loop yet
    short = complete(tiny, messages, max_tokens=tokens - 1, loop_guard="on")
    assert short["choices"][0]["finish_reason"] == "length" and "x_kinglet" not in short


def test_stream_and_choices(tiny, looping):
    messages, text, _ = looping
    s = stream(tiny, messages, max_tokens=LONG, loop_guard="on", n=2)
    for i in range(2):
        assert s.text(i) == text and s.finish_reason(i) == "stop"
    ends = [c["x_kinglet"] for c in s.chunks if "x_kinglet" in c]
    assert ends == [{"ended_by": "repetition"}] * 2


def test_native_routes(tiny, looping):
    messages, text, _ = looping
    posted = Stream(tiny, "/chat", {"messages": messages, "max_new_tokens": LONG, "loop_guard": "on"})
    prompt = quote(messages[0]["content"])
    path = f"/chat?prompt={prompt}&max_new_tokens={LONG}&loop_guard=on"
    for s in (posted, Stream(tiny, path, None, method="GET")):
        assert s.text() == text
        assert s.chunks[-1] == {"text": "", "ended_by": "repetition"}


def test_the_servers_option_is_the_default(start_server, looping):
    messages, text, _ = looping
    guarded = start_server("--offline", "--loop-guard", "on")
    assert complete(guarded, messages, max_tokens=LONG)["x_kinglet"] == {"ended_by": "repetition"}
    assert Stream(guarded, "/chat", {"messages": messages, "max_new_tokens": LONG}).text() == text
    asked = complete(guarded, messages, max_tokens=LONG, loop_guard="off")
    assert "x_kinglet" not in asked
    assert asked["choices"][0]["message"]["content"] != text


def test_chat_command(run_kinglet, tiny_model_path, looping):
    messages, text, tokens = looping
    done = run_kinglet("chat", "-m", tiny_model_path, "-n", LONG, "--loop-guard", "on",
                       messages[0]["content"])  # fmt: skip
    assert done.stdout.decode().rstrip("\n") == text.rstrip("\n")
    assert f"[{tokens} tokens" in done.stderr.decode()
    assert "it only repeated itself" in done.stderr.decode()
