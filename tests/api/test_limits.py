"""Requests that are too large, too deep or too many are refused with the matching status."""

import json
import os
import time

import pytest
from api_client import CHAT, HELLO, SOON, Connection, Stream, complete, get, health, post, raw, wait_until

MEGABYTE = 1 << 20


def body_of_size(size):
    """Returns a request of exactly this many bytes, filled with an unknown field."""
    body = b'{"prompt":"x","max_new_tokens":1,"filling":"'
    return body + b"a" * (size - len(body) - 2) + b'"}'


def test_body_size(tiny):
    assert post(tiny, "/chat", body_of_size(MEGABYTE)).status == 200
    reply = post(tiny, "/chat", body_of_size(MEGABYTE + 1))
    assert reply.status == 413 and reply.error["code"] == "body_too_large"


def test_body_far_too_large(tiny):
    reply = post(tiny, "/chat", b"x" * (6 * MEGABYTE))
    assert reply.status == 413 and reply.error["code"] == "body_too_large"
    assert get(tiny, "/health").status == 200


@pytest.mark.parametrize("chunk", [1000, MEGABYTE])
def test_chunked_body_size(tiny, chunk):
    with Connection(tiny) as c:
        c.socket.sendall(b"POST /chat HTTP/1.1\r\nHost: localhost\r\n"
                         b"Transfer-Encoding: chunked\r\n\r\n")  # fmt: skip
        try:
            for _ in range(6 * MEGABYTE // chunk):
                c.socket.sendall(b"%x\r\n" % chunk + b"a" * chunk + b"\r\n")
            c.socket.sendall(b"0\r\n\r\n")
            assert c.read_head()[0] == 413
        except (BrokenPipeError, ConnectionResetError):
            pass  # the server did not wait for the rest
    assert get(tiny, "/health").status == 200


def test_an_endless_chunk_size(tiny):
    with Connection(tiny) as c:
        c.socket.sendall(b"POST /chat HTTP/1.1\r\nHost: localhost\r\n"
                         b"Transfer-Encoding: chunked\r\n\r\n")  # fmt: skip
        with pytest.raises(OSError):
            for _ in range(64):
                c.socket.sendall(b"0" * MEGABYTE)
    assert get(tiny, "/health").json()["resident_bytes"] < 500e6


def test_a_flood_during_an_answer(tiny, endless, cancelled):
    with Connection(tiny) as c:
        c.send("POST", CHAT, {"messages": endless, "stream": True, "max_tokens": -1, "n": 4})
        c.read_head()
        with pytest.raises(OSError):
            for _ in range(64):
                c.socket.sendall(b"x" * MEGABYTE)
    wait_until(lambda: cancelled() == 4, "its answers are still made")


def test_header_size(tiny):
    assert get(tiny, "/health", {"X-Large": "a" * 15000}).status == 200
    reply = get(tiny, "/health", {"X-Large": "a" * 20000})
    assert reply.status == 431 and reply.error["code"] == "header_too_large"
    reply = get(tiny, "/health", {f"X-{i}": "a" for i in range(4000)})
    assert reply.status == 431
    reply = get(tiny, "/health?" + "a" * 20000)
    assert reply.status == 431


def test_header_far_too_large(tiny):
    received = raw(tiny, b"GET /health HTTP/1.1\r\nX: " + b"a" * 200000)
    assert received.startswith(b"HTTP/1.1 431 ") and b'"code":"header_too_large"' in received
    assert get(tiny, "/health").status == 200


@pytest.mark.parametrize("opening, closing", [(b"[", b"]"), (b'{"a":', b"}")])
def test_json_depth(tiny, opening, closing):
    for depth, status in ((62, 200), (65, 400), (100000, 400)):
        nested = opening * depth + b"1" + closing * depth
        reply = post(tiny, "/chat", b'{"prompt":"x","max_new_tokens":1,"a":' + nested + b"}")
        assert reply.status == status, depth
    assert "levels" in reply.error["message"]


def test_json_depth_of_a_string_in_the_json(tiny):
    call = {"function": {"name": "f", "arguments": "[" * 100000}}
    messages = [*HELLO, {"role": "assistant", "tool_calls": [call]}, *HELLO]
    reply = post(tiny, CHAT, {"messages": messages, "max_tokens": 1})
    assert reply.status == 400 and reply.error["code"] == "context_length_exceeded"


def test_json_nodes(tiny):
    for count, status in ((40000, 200), (60000, 400)):
        body = b'{"prompt":"x","max_new_tokens":1,"a":[' + b",".join([b"1"] * count) + b"]}"
        assert post(tiny, "/chat", body).status == status


def test_separators_in_strings_do_not_count_as_nodes(tiny):
    text = '[{,:}]"\\' * 10000
    reply = post(tiny, "/chat", {"prompt": "x", "max_new_tokens": 1, "a": text})
    assert reply.status == 200


@pytest.mark.parametrize("stream", [False, True])
def test_context_length(tiny, stream):
    messages = [{"role": "user", "content": "word " * 20000}]
    reply = post(tiny, CHAT, {"messages": messages, "stream": stream})
    assert reply.status == 400
    error = reply.error
    assert error["code"] == "context_length_exceeded" and error["param"] == "messages"
    assert error["n_ctx"] == 4096 < error["n_prompt_tokens"]


def test_queue_full(tight, endless):
    streams = []
    try:
        for place in range(2):
            c = Connection(tight)
            streams.append(c)
            c.send("POST", CHAT, {"messages": endless, "stream": True, "max_tokens": -1})
            assert c.read_head()[0] == 200
        reply = post(tight, CHAT, {"messages": endless, "stream": True})
        assert reply.status == 429
        assert 1 <= int(reply.headers["retry-after"]) <= 120
        assert reply.error["code"] == "queue_full" and reply.error["type"] == "rate_limit_error"
        assert health(tight)["requests_refused"] == 1
    finally:
        for c in streams:
            c.socket.close()
    wait_until(
        lambda: health(tight)["running"] + health(tight)["queued"] == 0, "there is no room again", SOON
    )  # fmt: skip
    complete(tight, max_tokens=1)


def test_n_counts_against_the_queue(tight):
    reply = post(tight, CHAT, {"messages": HELLO, "n": 4, "max_tokens": 1})
    # it will never be admitted, so it must not be sent again
    assert reply.status == 400 and reply.error["code"] == "too_many_answers"
    assert "retry-after" not in reply.headers
    assert health(tight)["running"] + health(tight)["queued"] == 0
    assert len(complete(tight, n=2, max_tokens=1)["choices"]) == 2


@pytest.mark.parametrize(
    "head, status",
    [
        (b"POST /chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n"
         b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", 400),
        (b"POST /chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n"
         b"Content-Length: 3\r\n\r\n{}", 400),
        (b"POST /chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n{}", 400),
        (b"POST /chat HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"
         b"2\r\n{}\r\n0\r\n\r\n", 501),
        (b"GET /health HTTP/1.1\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nHost : localhost\r\nHost: localhost\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nHost: localhost\r\n folded: 1\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: a\0b\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\nHost: localhost\n\n", 400),
        (b"POST /chat HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
         b"2x\r\n{}\r\n0\r\n\r\n", 400),
        (b"POST /chat HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\n", 505),
        (b"nonsense\r\n\r\n", 400),
    ],
)  # fmt: skip
def test_ambiguous_framing_closes_the_connection(tiny, head, status):
    received = raw(tiny, head + b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert received.startswith(b"HTTP/1.1 %d " % status)
    assert received.count(b"\r\n\r\n") == 1 and b'"status":"ok"' not in received
    assert "message" in json.loads(received.split(b"\r\n\r\n")[1])["error"]


def test_a_client_that_reads_nothing(start_server, endless):
    """Only a part of the answer is generated; after a timeout the connection is closed and counted."""
    server = start_server("--offline", "--reader-timeout", 1)
    with Connection(server, receive_buffer=4096) as c:
        c.send("POST", CHAT, {"messages": endless, "stream": True, "max_tokens": -1, "n": 4})
        wait_until(lambda: health(server)["running"] == 4, "it does not begin")
        wait_until(lambda: health(server)["running"] == 0, "the reader is kept")
        h = health(server)
        assert h["connections"]["readers_late"] == 1 and h["requests_cancelled"] == 4
        assert h["answer_tokens"] < 10000  # of 16,000
        with pytest.raises(ConnectionResetError):
            while c.socket.recv(1 << 20):
                pass


def test_a_slow_client_gets_everything(tiny, endless):
    with Connection(tiny, receive_buffer=4096) as c:
        c.send("POST", "/chat", {"messages": endless, "max_new_tokens": 500})
        time.sleep(1)
        body = c.read().body
    quick = Stream(tiny, "/chat", {"messages": endless, "max_new_tokens": 500})
    assert [e for e in body.split(b"\n") if e.startswith(b"data")] == [
        e for e in quick.raw.split(b"\n") if e.startswith(b"data")
    ]


def test_nothing_leaks(tiny, endless):
    """Compares descriptors and memory after many requests that ended in every way."""

    def descriptors():
        return len(os.listdir(f"/proc/{tiny.pid}/fd"))

    def round_of_requests():
        for _ in range(20):
            post(tiny, CHAT, {"messages": HELLO, "max_tokens": 1})
            post(tiny, CHAT, b"{")
            Stream(tiny, "/chat", {"prompt": "x", "max_new_tokens": 2})
            with Connection(tiny) as c:
                c.send("POST", CHAT, {"messages": endless, "stream": True, "max_tokens": -1})
                c.read_head()
            with Connection(tiny) as c:
                c.send("POST", CHAT, {"messages": endless, "max_tokens": -1})
                c.reset()
        wait_until(lambda: health(tiny)["running"] + health(tiny)["queued"] == 0, "left over")

    round_of_requests()
    before = descriptors()
    round_of_requests()
    wait_until(lambda: descriptors() <= before, "descriptors leak", SOON)
