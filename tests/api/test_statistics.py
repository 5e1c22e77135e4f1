"""The statistics of /health."""

import pytest
from api_client import CHAT, HELLO, Connection, Stream, complete, health, post, wait_until

HISTOGRAMS = ("queue_seconds", "first_token_seconds", "token_seconds", "request_seconds")


def ends(server):
    return health(server)["statistics"]["requests"]


@pytest.fixture
def grown(tiny):
    """grown(NAME...) -> the increase of a figure of the statistics since the test began."""

    def read(*names):
        found = health(tiny)["statistics"]
        for name in names:
            found = found[name]
        return found

    before = health(tiny)["statistics"]

    def difference(*names):
        old = before
        for name in names:
            old = old[name]
        return read(*names) - old

    return difference


def test_an_answer(tiny, grown):
    answer = complete(tiny, max_tokens=5)
    usage, accepted = answer["usage"], answer["timings"].get("draft_n_accepted", 0)
    assert usage["completion_tokens"] == 5
    assert grown("requests", "answered") == 1
    for name in HISTOGRAMS:
        assert grown(name, "count") == (4 if name == "token_seconds" else 1), name
        assert grown(name, "sum") >= 0
    assert grown("steps") >= 5 - accepted
    cached = usage["prompt_tokens_details"]["cached_tokens"]
    assert grown("tokens", "prompt") == usage["prompt_tokens"] - cached
    assert grown("tokens", "cached") == cached
    wait_until(lambda: grown("tokens", "answer") == 5, "the answer is not counted")


def test_quantiles(tiny):
    for _ in range(3):
        Stream(tiny, "/chat", {"prompt": "x", "max_new_tokens": 3})
    for name in HISTOGRAMS:
        found = health(tiny)["statistics"][name]
        assert set(found) == {"count", "sum", "p50", "p95", "p99"}
        assert 0 <= found["p50"] <= found["p95"] <= found["p99"]


def test_a_client_that_disconnected(tiny, endless, grown):
    with Connection(tiny) as c:
        c.send("POST", CHAT, {"messages": endless, "stream": True, "max_tokens": -1})
        c.read_head()
        wait_until(lambda: grown("steps") > 3, "it does not begin")
    wait_until(lambda: grown("requests", "client_left") == 1, "it is not counted")
    assert grown("requests", "answered") == 0
    wait_until(lambda: grown("tokens", "wasted") > 3, "what was computed in vain is not counted")


def test_a_client_that_does_not_read(start_server, endless):
    server = start_server("--offline", "--reader-timeout", 1)
    with Connection(server, receive_buffer=4096) as c:
        c.send("POST", CHAT, {"messages": endless, "stream": True, "max_tokens": -1, "n": 4})
        wait_until(lambda: ends(server)["slow_reader"] == 1, "it is not counted", seconds=120)
    assert ends(server)["client_left"] == 0


def test_refused_requests_and_messages_left_out(tiny, grown):
    assert post(tiny, CHAT, {"messages": HELLO, "temperature": 9}).status == 400
    turn = [{"role": "user", "content": "word " * 1000}, {"role": "assistant", "content": "ok"}]
    complete(tiny, [*turn * 9, *HELLO], max_tokens=1, context_policy="trim")
    assert grown("messages_left_out") > 0
    assert grown("requests", "answered") == 1  # an invalid request does not count as a request for an answer
