"""Admission: priorities, deadlines, limits, and refusals with a Retry-After."""

import json
import subprocess
from contextlib import ExitStack
from pathlib import Path

import openai
import pytest
from api_client import (
    CHAT, HELLO, Connection, Stream, complete, health, late_in_prefill, post, stream, wait_until,
)

RETRY_SCRIPT = Path(__file__).with_name("openai_retry.mjs")


def ends(server):
    return health(server)["statistics"]["requests"]


@pytest.fixture
def hold(endless):
    """hold(server, n): begins n long streams."""
    with ExitStack() as stack:

        def start(server, n):
            for _ in range(n):
                c = stack.enter_context(Connection(server))
                c.send("POST", CHAT, {"messages": endless, "stream": True, "max_tokens": -1})
                assert c.read_head()[0] == 200

        yield start


# ---- priority ------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [CHAT, "/chat"])
def test_the_priority_header(tiny, path):
    body = {"messages": HELLO, "max_tokens": 1, "max_new_tokens": 1}
    for value in ("background", "interactive", "Background"):
        assert post(tiny, path, body, {"X-Priority": value}).status == 200
    for value in ("urgent", "", "background, interactive"):
        reply = post(tiny, path, body, {"X-Priority": value})
        assert reply.status == 400 and reply.error["param"] == "X-Priority"


TIERS = {"flex": "flex", "auto": "default", "default": "default"}


@pytest.mark.parametrize("asked, told", TIERS.items())
def test_the_service_tier(tiny, asked, told):
    assert complete(tiny, max_tokens=1, service_tier=asked)["service_tier"] == told
    s = stream(tiny, max_tokens=1, service_tier=asked)
    assert {chunk["service_tier"] for chunk in s.chunks} == {told}


def test_other_service_tiers(tiny):
    assert "service_tier" not in complete(tiny, max_tokens=1, service_tier=None)
    for value, code in (("gold", "invalid_value"), (1, "invalid_type")):
        reply = post(tiny, CHAT, {"messages": HELLO, "service_tier": value})
        assert reply.status == 400
        assert reply.error["param"] == "service_tier" and reply.error["code"] == code


def test_background_requests_are_preempted(tiny, endless):
    """A background request pauses while another one is answered, sends heartbeats meanwhile, and then
    continues with the same text."""
    question = {"messages": endless, "stream": True, "max_tokens": 1000}
    alone = Stream(tiny, CHAT, question).text()
    with Connection(tiny) as background, Connection(tiny) as other:
        background.send("POST", CHAT, question | {"service_tier": "flex"})
        assert background.read_head()[0] == 200
        pieces = []
        for _, data in background.chunks():
            pieces.append(data)
            if len(pieces) == 20:
                other.send("POST", CHAT, {"messages": endless, "max_tokens": -1, "n": 4})
        lines = b"".join(pieces).decode().split("\n")
        assert other.read().status == 200
    chunks = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
    text = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)
    assert text == alone and lines[-3] == "data: [DONE]"
    assert ": ping" in lines


# ---- deadlines -----------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["0", "-1", "3600001", "1e3", "soon", "", "1 2", "9" * 30])
def test_invalid_deadlines(tiny, value):
    reply = post(tiny, CHAT, {"messages": HELLO}, {"X-Deadline-Ms": value})
    assert reply.status == 400 and reply.error["param"] == "X-Deadline-Ms"


@pytest.mark.parametrize("value", ["3600000", "0060000"])
def test_a_deadline_far_away(tiny, value):
    reply = post(tiny, CHAT, {"messages": HELLO, "max_tokens": 2}, {"X-Deadline-Ms": value})
    assert reply.status == 200
    assert reply.json()["usage"]["completion_tokens"] == 2 and "x_kinglet" not in reply.json()


@pytest.mark.parametrize("streamed", [False, True])
def test_a_deadline_during_prefill(start_server, streamed):
    """The request is admitted, since the queue is empty, and has no text when its deadline passes."""
    server = start_server("--offline", "--cache-ram", 0)
    body = {"messages": [{"role": "user", "content": "word and " * 950}], "stream": streamed}
    asked = 1
    if streamed:
        found, asked = late_in_prefill(lambda headers: Stream(server, CHAT, body, headers))
        error = found.chunks[-1]["error"]
    else:
        reply = post(server, CHAT, body, {"X-Deadline-Ms": "5"})
        assert reply.status == 504 and reply.headers["x-should-retry"] == "false"
        error = reply.error
    assert error["code"] == "deadline_exceeded" and error["type"] == "server_error"
    assert health(server)["running"] == 0
    assert ends(server)["deadline"] == asked and ends(server)["answered"] == 0


def cut(ask):
    """ask(headers) -> a long answer. Uses the shortest deadline that allows some text, since that time
    depends on the machine and is not tested."""
    for milliseconds in (50, 100, 200, 400, 800, 1600, 3200):
        found = ask({"X-Deadline-Ms": str(milliseconds)})
        if found is not None:
            return found
    return pytest.fail("it never begins")


def test_an_answer_cut_by_its_deadline(tiny, endless):
    """The answer reports the deadline in addition to the finish reason that clients know."""

    def ask(headers):
        reply = post(tiny, CHAT, {"messages": endless, "max_tokens": -1, "n": 4}, headers)
        return reply.json() if reply.status == 200 else None

    found = cut(ask)
    assert [c["finish_reason"] for c in found["choices"]] == ["length"] * 4
    assert all(c["message"]["content"] for c in found["choices"])
    assert found["x_kinglet"] == {"ended_by": "deadline"}
    assert 0 < found["usage"]["completion_tokens"] < 4 * 4000


@pytest.mark.parametrize("path", [CHAT, "/chat"])
def test_a_stream_cut_by_its_deadline(tiny, endless, path):
    body = {"messages": endless, "stream": True, "max_tokens": -1, "max_new_tokens": -1}

    def ask(headers):
        s = Stream(tiny, path, body, headers)
        return None if "error" in s.chunks[-1] else s

    s = cut(ask)
    assert s.text()
    if path == CHAT:
        assert s.finish_reason() == "length"
        assert s.chunks[-1]["x_kinglet"] == {"ended_by": "deadline"}
        assert all("x_kinglet" not in chunk for chunk in s.chunks[:-1])
    else:
        assert s.chunks[-1] == {"text": "", "ended_by": "deadline"}


def test_an_unreachable_deadline_is_refused_at_once(tight, endless, hold):
    complete(tight, endless, max_tokens=-1)  # now it knows how long that takes
    hold(tight, 1)
    wait_until(lambda: health(tight)["running"] == 1, "it does not begin")
    reply = post(tight, CHAT, {"messages": HELLO, "stream": True}, {"X-Deadline-Ms": "1"})
    assert reply.status == 429 and reply.error["code"] == "deadline_unreachable"
    assert 1 <= int(reply.headers["retry-after"]) <= 120
    assert health(tight)["queued"] == 0 and ends(tight)["refused_deadline"] == 1


def test_a_deadline_while_the_model_is_loaded(hold_server):
    server = hold_server().server
    reply = post(server, CHAT, {"messages": HELLO}, {"X-Deadline-Ms": "50"})
    assert reply.status == 504 and reply.error["code"] == "deadline_exceeded"


# ---- limits of the operator ----------------------------------------------------------------------


def test_the_longest_answer(start_server, endless):
    server = start_server("--offline", "--max-tokens", 5)
    for asked in (-1, 5, 100, None):
        found = complete(server, endless, max_tokens=asked)
        assert found["usage"]["completion_tokens"] == 5
        assert found["choices"][0]["finish_reason"] == "length"
    assert complete(server, endless, max_tokens=3)["usage"]["completion_tokens"] == 3
    assert len(Stream(server, "/chat", {"messages": endless}).texts()) <= 5


def test_the_longest_time(start_server, endless):
    """The operator's limit wins over a later deadline of the client."""
    server = start_server("--offline", "--max-seconds", 1)
    body = {"messages": endless, "max_tokens": -1, "n": 4}
    found = post(server, CHAT, body, {"X-Deadline-Ms": "3600000"}).json()
    assert found["x_kinglet"] == {"ended_by": "deadline"}
    assert {c["finish_reason"] for c in found["choices"]} == {"length"}


# ---- 429 -----------------------------------------------------------------------------------------


def test_no_request_waits_longer_than_allowed(start_server, endless):
    server = start_server("--offline", "--parallel", 1, "--queue", 200, "--max-wait", 1)
    complete(server, endless, max_tokens=-1)  # now it knows how long that takes
    with ExitStack() as stack:
        status, n = 200, 0
        while status == 200 and n < 200:
            c = stack.enter_context(Connection(server))
            c.send("POST", CHAT, {"messages": endless, "stream": True, "max_tokens": -1})
            status, headers = c.read_head()
            n += 1
        assert status == 429
        assert 1 <= int(headers["retry-after"]) <= 120
        assert ends(server)["refused_wait"] == 1 and health(server)["queued"] < 200


def test_a_refusal_leaves_nothing_in_the_queue(tight, hold):
    """A request with two choices does not fit next to another one: none of them begins."""
    hold(tight, 1)
    assert post(tight, CHAT, {"messages": HELLO, "n": 2, "max_tokens": 1}).status == 429
    found = health(tight)
    assert found["running"] + found["queued"] == 1
    assert found["requests_cancelled"] == 0 and found["requests_refused"] == 1


def test_the_python_client_retries_by_itself(tight, endless, hold):
    complete(tight, endless, max_tokens=-1)  # now it knows how long that takes
    hold(tight, 2)
    with openai.OpenAI(base_url=tight.base_url + "/v1", api_key="none", max_retries=8) as client:
        found = client.chat.completions.create(model="default", messages=HELLO, max_tokens=2)
    assert found.usage.completion_tokens == 2
    assert ends(tight)["refused_queue_full"] > 0


def test_the_node_client_retries_by_itself(tight, endless):
    complete(tight, endless, max_tokens=-1)  # now it knows how long that takes
    done = subprocess.run(
        ["node", str(RETRY_SCRIPT), tight.base_url + "/v1", json.dumps(endless)],
        capture_output=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert json.loads(done.stdout) == {"tokens": 2}
    assert ends(tight)["refused_queue_full"] > 0
