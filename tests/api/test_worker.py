"""The worker prepares requests: large ones delay neither the loop nor other clients."""

import json
import re
import signal
import socket

import pytest
from api_client import CHAT, HELLO, Connection, get, health, post, wait_until

LARGEST = 1_000_000


class From(Connection):
    """A connection of another client of this computer."""

    def __init__(self, server, address):
        self.port = server.port
        self.rest = b""
        self.socket = socket.create_connection(
            ("127.0.0.1", server.port), 120, source_address=(address, 0)
        )


def large(**fields):
    """Returns a body close to the limit: 2,000 small turns and a message that does not fit any context."""
    turns = [{"role": "user", "content": f"turn {i}"} for i in range(2000)]
    body = {"messages": [*turns, {"role": "user", "content": ""}], **fields}
    words = "word " * (LARGEST // 5)
    body["messages"][-1]["content"] = words[: LARGEST - len(json.dumps(body))]
    return json.dumps(body).encode()


def answered(server, ids):
    """Returns the requests of ids that the log has, in the log's order."""
    for one in ids:
        server.log_with(f"request {one}")
    found = re.findall(r"request (\w+): \S+, status (\d+)", server.log_text())
    return [one for one, _ in found if one in ids]


def test_large_requests_do_not_delay_others(start_server):
    """The server is stopped while all requests arrive, so that it gets them at once; the log has the order
    of the answers."""
    server = start_server("--offline", "--log-level", "debug")
    body = large(context_policy="trim")
    crowd = [From(server, f"127.0.0.{2 + i % 3}") for i in range(6)]
    short, live = From(server, "127.0.0.9"), Connection(server)
    for c in crowd:
        head = f"POST {CHAT} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n\r\n"
        c.socket.sendall(head.encode() + body[:-1])
    get(server, "/live")  # the earlier requests have been read
    server.process.send_signal(signal.SIGSTOP)
    try:
        for c in crowd:
            c.socket.sendall(body[-1:])
        short.send("POST", CHAT, {"messages": [{"role": "nobody", "content": ""}]})
        live.send("GET", "/live")
    finally:
        server.process.send_signal(signal.SIGCONT)
    replies = [c.read() for c in (*crowd, short, live)]
    assert [r.status for r in replies] == [400] * 7 + [200]
    for r in replies[:6]:
        assert r.error["code"] == "context_length_exceeded"
        assert r.error["n_prompt_tokens"] > r.error["n_ctx"]
    ids = [r.headers["x-request-id"] for r in replies]
    order = answered(server, ids)
    assert order.index(ids[-1]) == 0  # the loop is free
    assert order.index(ids[-2]) <= 2  # one slice of each other client, not all their work
    for c in (*crowd, short, live):
        c.socket.close()


def test_a_full_queue_refuses_before_parsing(start_server, endless):
    """A full queue is checked before the body is parsed, so invalid JSON gets the same refusal."""
    server = start_server("--offline", "--parallel", 1, "--queue", 1)
    with Connection(server) as runs, Connection(server) as waits:
        for c in (runs, waits):
            c.send("POST", CHAT, {"messages": endless, "stream": True, "max_tokens": -1})
            assert c.read_head()[0] == 200
        wait_until(lambda: health(server)["queued"] == 1, "it is not queued")
        reply = post(server, CHAT, b"{" * 1000)
        assert reply.status == 429 and reply.error["code"] == "queue_full"
    wait_until(lambda: health(server)["running"] == 0, "left over")
    assert post(server, CHAT, b"{" * 1000).status == 400


@pytest.mark.parametrize("leave", ["close", "reset"])
def test_abandoned_requests_are_not_parsed_further(start_server, leave):
    """The text of abandoned requests is released, and later requests are answered."""
    server = start_server("--offline")
    body = large()
    for _ in range(3):
        for _ in range(6):
            with Connection(server) as c:
                c.send("POST", CHAT, body)
                if leave == "reset":
                    c.reset()
        assert post(server, CHAT, {"messages": HELLO, "max_tokens": 1}).status == 200
    assert server.stop() == 0


def test_a_stop_does_not_wait_for_the_worker(start_server):
    server = start_server("--offline", "--drain-seconds", 1)
    clients = [Connection(server) for _ in range(6)]
    for c in clients:
        c.send("POST", CHAT, large())
    assert server.stop() == 0
    for c in clients:
        c.socket.close()


def test_the_deadline_counts_during_preparation(start_server):
    server = start_server("--offline")
    with Connection(server) as c:
        c.send("POST", CHAT, large(), {"X-Deadline-Ms": "1"})
        reply = c.read()
    assert (reply.status, reply.error["code"]) in [
        (504, "deadline_exceeded"),
        (400, "context_length_exceeded"),  # it was faster than the check of the clock
    ]
    assert post(server, CHAT, {"messages": HELLO, "max_tokens": 1}).status == 200
