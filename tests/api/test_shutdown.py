"""SIGTERM and SIGINT: new requests are refused, running answers may finish, then the program exits
with 0."""

import json
import signal
import socket
import time

import pytest
from api_client import CHAT, Connection, HELLO, get, post

STORY = [{"role": "user", "content": "Tell me a very long story about a lighthouse."}]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_idle(start_server, number):
    server = start_server("--offline")
    with Connection(server) as kept_alive:
        kept_alive.send("POST", CHAT, {"messages": HELLO, "max_tokens": 1})
        assert kept_alive.read().status == 200
        server.process.send_signal(number)
        assert server.process.wait(20) == 0  # before --drain-seconds, since nothing runs
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", server.port), timeout=1)


def test_a_short_answer_is_finished(start_server, model_path):
    server = start_server("--offline", model=model_path)
    with Connection(server) as running, Connection(server) as idle:
        idle.send("GET", "/health")
        assert idle.read().json()["status"] == "ok"
        running.send("POST", CHAT, {"messages": STORY, "stream": True, "max_tokens": 150})
        running.read_head()
        next(running.chunks())
        server.process.terminate()
        time.sleep(0.1)
        # old and new connections get a 503
        idle.send("POST", CHAT, {"messages": HELLO})
        for refused in (idle.read(), post(server, CHAT, {"messages": HELLO})):
            assert refused.status == 503 and refused.error["code"] == "stopping"
            assert refused.headers["connection"] == "close"
            assert 1 <= int(refused.headers["retry-after"]) <= 120
        assert get(server, "/ready").status == 503
        assert get(server, "/health").json()["status"] == "stopping"
        assert get(server, "/live").status == 200
        body = b"".join(data for _, data in running.chunks())
    assert b'"finish_reason":"length"' in body and body.endswith(b"data: [DONE]\n\n")
    assert b'"error"' not in body
    assert server.process.wait(20) == 0


def test_a_long_answer_is_cut(start_server, model_path):
    server = start_server("--offline", "--drain-seconds", 5, model=model_path)
    with Connection(server) as streamed, Connection(server) as whole:
        streamed.send("POST", CHAT, {"messages": STORY, "stream": True, "max_tokens": -1})
        streamed.read_head()
        whole.send("POST", CHAT, {"messages": STORY, "max_tokens": -1})
        next(streamed.chunks())
        began = time.monotonic()
        server.process.terminate()
        body = b"".join(data for _, data in streamed.chunks())
        events = [e for e in body.decode().split("\n\n") if e]
        assert events[-1] == "data: [DONE]"
        error = json.loads(events[-2].removeprefix("data: "))["error"]
        assert error["code"] == "stopping"
        assert whole.read().status == 503
        assert server.process.wait(60) == 0
        assert time.monotonic() - began > 4


def test_a_second_signal_ends_at_once(start_server, model_path):
    server = start_server("--offline", "--drain-seconds", 300, model=model_path)
    with Connection(server) as c:
        c.send("POST", CHAT, {"messages": STORY, "stream": True, "max_tokens": -1})
        c.read_head()
        server.process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        assert server.process.poll() is None
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(30) == 0  # the answer would take longer
