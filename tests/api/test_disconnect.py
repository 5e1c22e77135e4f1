"""A client that disconnects costs nothing more, at any stage of its request."""

import socket
import time

import pytest
from api_client import CHAT, SOON, Connection, expect_end, health, wait_until

STORY = [{"role": "user", "content": "Tell me a very long story about a lighthouse."}]
LONG_PROMPT = [{"role": "user", "content": "word and " * 1800}]


def fin(c):
    c.socket.close()


def half_close(c):
    c.socket.shutdown(socket.SHUT_WR)


def pipelined_fin(c):
    """Sends bytes that stay unread, then closes."""
    c.send("GET", "/health")
    time.sleep(0.05)
    c.socket.close()


WAYS = [fin, Connection.reset, half_close, pipelined_fin]


@pytest.mark.parametrize("leave", WAYS)
@pytest.mark.parametrize("streamed", [True, False])
def test_in_decode(tiny, endless, cancelled, streamed, leave):
    with Connection(tiny) as c:
        c.send("POST", CHAT, {"messages": endless, "stream": streamed, "max_tokens": -1, "n": 4})
        if streamed:
            c.read_head()
            next(c.chunks())
        wait_until(lambda: health(tiny)["running"] > 0, "it does not begin")
        leave(c)
        expect_end(tiny, lambda: health(tiny)["running"] == 0, "it still runs")
        assert cancelled() == 4


@pytest.fixture(scope="module")
def one_place(server_factory, model_path):
    # without drafts a pass computes one token of an answer, so that wasted tokens can be counted
    options = ("--offline", "--parallel", 1, "--queue", 2, "--cache-ram", 0, "--draft-max", 0)
    server = server_factory(*options, model=model_path)
    yield server
    server.end()


@pytest.mark.parametrize("leave", WAYS)
@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("stage", ["prefill", "decode"])
def test_in_a_long_answer(one_place, stage, streamed, leave):
    messages = LONG_PROMPT if stage == "prefill" else STORY
    counted = "prompt_tokens" if stage == "prefill" else "answer_tokens"
    before = health(one_place)
    with Connection(one_place) as c:
        c.send("POST", CHAT, {"messages": messages, "stream": streamed, "max_tokens": -1})
        wait_until(lambda: health(one_place)[counted] > before[counted], "it stands still")
        leave(c)
        expect_end(one_place, lambda: health(one_place)["running"] == 0, "it still runs")
    after = health(one_place)
    assert after["requests_cancelled"] == before["requests_cancelled"] + 1
    assert after["kv_cache_size"] == before["kv_cache_size"]
    wasted, prompt, answered = (
        after["statistics"]["tokens"][kind] - before["statistics"]["tokens"][kind]
        for kind in ("wasted", "prompt", "answer")
    )
    # all computed tokens were wasted; the last token of an answer is chosen, not computed, unless the
    # client left between a pass and the choice after it
    assert wasted - (prompt + max(0, answered - 1)) in (0, 1)
    if stage == "prefill":
        assert answered == 0 and prompt < 3600 / 2


@pytest.mark.parametrize("leave", WAYS)
@pytest.mark.parametrize("streamed", [True, False])
def test_in_the_queue(one_place, streamed, leave):
    with Connection(one_place) as running, Connection(one_place) as waiting:
        running.send("POST", CHAT, {"messages": LONG_PROMPT, "stream": True, "max_tokens": 1})
        running.read_head()
        waiting.send("POST", CHAT, {"messages": LONG_PROMPT, "stream": streamed, "max_tokens": 1})
        wait_until(lambda: health(one_place)["queued"] == 1, "it does not wait")
        leave(waiting)
        wait_until(lambda: health(one_place)["queued"] == 0, "it still waits")
        assert health(one_place)["running"] == 1  # it did not wait for the running request
    expect_end(one_place, lambda: health(one_place)["running"] == 0, "it still runs")


def test_pipelined_bytes_cost_no_cpu_time(one_place):
    """While an answer is generated, bytes of later requests are left in the socket."""

    def cpu_seconds():
        with open(f"/proc/{one_place.pid}/task/{one_place.pid}/stat") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / 100

    with Connection(one_place) as c:
        c.send("POST", CHAT, {"messages": LONG_PROMPT, "max_tokens": 1})
        c.send("GET", "/health")
        time.sleep(0.2)
        before = cpu_seconds()
        time.sleep(2)
        assert cpu_seconds() - before < 0.3  # of the network thread
    expect_end(one_place, lambda: health(one_place)["running"] == 0, "it still runs")


def test_many_abandoned_requests(tiny, endless, cancelled):
    """Requests abandoned at every stage; afterwards the server is in the same state as before."""
    for i in range(150):
        with Connection(tiny) as c:
            body = {"messages": endless, "stream": i % 3 > 0, "max_tokens": -1, "n": 1 + i % 4}
            c.send("POST", CHAT, body)
            time.sleep(0.0007 * (i % 7))
            if i % 2:
                c.reset()
    wait_until(
        lambda: health(tiny)["running"] + health(tiny)["queued"] == 0, "some still run", SOON
    )  # fmt: skip
    assert cancelled() > 50
