"""Connections that are slow, too many or cut off do not affect other clients."""

import gzip
import random
import resource
import socket
import subprocess
import threading
import time
from types import SimpleNamespace

import pytest
from api_client import CHAT, SOON, Connection, Stream, complete, get, health, post, raw, wait_until

GET_HEALTH = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
SHORT = ["--header-timeout", 1, "--body-timeout", 1, "--idle-timeout", 1, "--reader-timeout", 1]


@pytest.fixture(scope="module")
def hasty(server_factory, tiny_model_path):
    """A server whose timeouts are all 1 s."""
    server = server_factory("--offline", *SHORT, model=tiny_model_path)
    yield server
    server.end()


def dribble(c, data, seconds):
    """Sends byte by byte, so that data always arrives, until an answer arrives."""
    c.socket.settimeout(0.05)
    end = time.monotonic() + seconds
    for i in range(len(data)):
        c.socket.sendall(data[i : i + 1])
        try:
            c.rest += c.more()
            break
        except TimeoutError:
            assert time.monotonic() < end, "the server still waits for it"
    c.socket.settimeout(10)
    return c.read()


@pytest.mark.parametrize("what", ["head", "body", "chunks"])
def test_a_request_that_arrives_slowly(hasty, what):
    before = health(hasty)["connections"]["requests_late"]
    with Connection(hasty) as c:
        if what == "head":
            slow = b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 1000
        elif what == "body":
            c.socket.sendall(b"POST /chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n")
            slow = b"a" * 1000
        else:
            c.socket.sendall(b"POST /chat HTTP/1.1\r\nHost: localhost\r\n"
                             b"Transfer-Encoding: chunked\r\n\r\n")  # fmt: skip
            slow = b"1\r\na\r\n" * 200
        reply = dribble(c, slow, 20)
        assert reply.status == 408 and reply.error["code"] == "request_timeout"
        assert reply.headers["connection"] == "close"
    assert health(hasty)["connections"]["requests_late"] == before + 1


def test_idle_connections_are_closed(hasty):
    with Connection(hasty) as fresh, Connection(hasty) as used:
        used.send("GET", "/health")
        assert used.read().status == 200
        assert fresh.socket.recv(1) == b"" and used.socket.recv(1) == b""


def test_answers_have_no_deadline_for_requests(hasty, endless):
    """An answer may take longer than the timeout of requests."""
    answer = Stream(hasty, CHAT, {"messages": endless, "stream": True, "max_tokens": 3000})
    assert answer.finish_reason() == "length"


def test_pipelined_requests(tiny):
    """Pipelined requests are answered in their order, with bodies of all kinds between them."""
    body = b'{"prompt":"x","max_new_tokens":1}'
    post_length = b"POST /chat HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    post_chunks = b"POST /nowhere HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    post_chunks += b"2\r\n{}\r\n0\r\nTrailer: 1\r\n\r\n"
    last = GET_HEALTH.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    received = raw(tiny, GET_HEALTH + b"\r\n" + post_length + post_chunks + last)
    statuses = [part[:3] for part in received.split(b"HTTP/1.1 ")[1:]]
    assert statuses == [b"200", b"403", b"404", b"200"]


def test_a_half_closed_connection_is_answered(tiny):
    """An immediate answer is sent to a client that closed its sending side, as `nc` does."""
    with Connection(tiny) as c:
        c.socket.sendall(GET_HEALTH)
        c.socket.shutdown(socket.SHUT_WR)
        assert c.read().status == 200
        assert c.socket.recv(1) == b""


def test_damaged_requests(tiny):
    """Valid requests with random changes are answered or closed, and the server still works."""
    random_ = random.Random(7)
    body = b'{"prompt":"x","max_new_tokens":1}'
    good = [
        GET_HEALTH,
        b"POST /chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body,
        b"POST /chat HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"9;a=b\r\n" + body[:9] + b"\r\n%x\r\n" % len(body[9:]) + body[9:] + b"\r\n0\r\n\r\n",
    ]  # fmt: skip
    statuses = set()
    for i in range(300):
        data = bytearray(good[i % 3] * 2)
        for _ in range(random_.randrange(1, 4)):
            at = random_.randrange(len(data))
            if random_.random() < 0.5:
                data[at] = random_.choice(b"\r\n\0 :;0af\xff")
            else:
                del data[at : at + random_.randrange(1, 4)]
        with Connection(tiny, timeout=10) as c:
            c.socket.sendall(data)
            c.socket.shutdown(socket.SHUT_WR)
            received = b""
            try:
                while piece := c.socket.recv(65536):
                    received += piece
            except ConnectionResetError:
                pass
        statuses |= {part[:3] for part in received.split(b"HTTP/1.1 ")[1:]}
    assert {b"200", b"400"} <= statuses and b"500" not in statuses
    assert get(tiny, "/health").status == 200


def test_expect_100_continue(tiny):
    body = b'{"prompt":"x","max_new_tokens":1}'
    head = b"POST /chat HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n"
    with Connection(tiny) as c:
        c.socket.sendall(head % len(body))
        assert c.read_head()[0] == 100
        c.socket.sendall(body)
        assert c.read().status == 200
    with Connection(tiny) as c:
        c.socket.sendall(head % (9 << 20))
        assert c.read().status == 413


REFUSED = {
    401: b"POST /chat HTTP/1.1\r\nHost: localhost\r\n",
    403: b"POST /chat HTTP/1.1\r\nHost: evil.example\r\n",
    404: b"POST /nowhere HTTP/1.1\r\nHost: localhost\r\n",
    405: b"POST /health HTTP/1.1\r\nHost: localhost\r\n",
    413: b"POST /chat HTTP/1.1\r\nHost: localhost\r\nX-Api-Key: the-key-of-it\r\n",
    415: b"POST /chat HTTP/1.1\r\nHost: localhost\r\nX-Api-Key: the-key-of-it\r\nContent-Type: a/b\r\n",
}


@pytest.fixture(scope="module")
def keyed(server_factory, tiny_model_path, tmp_path_factory):
    keys = tmp_path_factory.mktemp("keys") / "keys"
    keys.write_text("the-key-of-it\n")
    keys.chmod(0o600)
    server = server_factory("--offline", "--api-key-file", keys, model=tiny_model_path)
    yield server
    server.end()


LENGTH, CHUNKED = b"Content-Length: 2000000\r\n", b"Transfer-Encoding: chunked\r\n"


@pytest.mark.parametrize(
    "status, length",
    [(s, LENGTH) for s in REFUSED] + [(s, CHUNKED) for s in REFUSED if s != 413],
)
def test_a_refusal_does_not_wait_for_the_body(keyed, status, length):
    """The request is answered after its head, without 100 Continue; its body is not read as a request."""
    with Connection(keyed) as c:
        c.socket.sendall(REFUSED[status] + length + b"Expect: 100-continue\r\n\r\n")
        reply = c.read()
        assert reply.status == status and reply.headers["connection"] == "close"
        c.socket.sendall(GET_HEALTH * 20)
        assert c.socket.recv(1) == b""


@pytest.mark.parametrize("status", [s for s in REFUSED if s != 413])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_refused_body_that_arrived_is_skipped(keyed, status, chunked):
    """If the whole body arrived with its head, the next request begins after it."""
    body = GET_HEALTH * 3
    if chunked:
        sent = b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    else:
        sent = b"Content-Length: %d\r\n\r\n" % len(body) + body
    with Connection(keyed) as c:
        c.socket.sendall(REFUSED[status] + sent + GET_HEALTH.replace(b"health", b"live"))
        assert c.read().status == status
        reply = c.read()
        assert reply.status == 200 and "statistics" not in reply.json()
        c.send("GET", "/live")
        assert c.read().status == 200


def test_an_unexpected_body(tiny):
    """The body of a GET is skipped; if it has not arrived yet, the connection ends with the answer."""
    with Connection(tiny) as c:
        c.send("GET", "/live", b"{}")
        assert c.read().status == 200
        c.send("GET", "/live", None, {"Content-Length": 100})
        reply = c.read()
        assert reply.status == 200 and reply.headers["connection"] == "close"
        c.socket.sendall(GET_HEALTH)
        assert c.socket.recv(1) == b""
    path = "/chat?prompt=x&max_new_tokens=3"
    with Connection(tiny) as c:
        c.send("GET", path, None, {"Content-Length": 5000000, "Expect": "100-continue"})
        status, headers = c.read_head()
        assert status == 200 and headers["connection"] == "close"
        c.socket.sendall(b"x" * 8000)
        assert b"".join(data for _, data in c.chunks()).endswith(b"\n\n")
        assert c.socket.recv(1) == b""


def test_a_compressed_body_is_refused_by_name(tiny):
    body = gzip.compress(b'{"prompt":"x","max_new_tokens":1}')
    reply = post(tiny, "/chat", body, {"Content-Encoding": "gzip"})
    assert reply.status == 415 and reply.error["code"] == "unsupported_encoding"
    assert reply.error["param"] == "Content-Encoding" and "gzip" in reply.error["message"]
    assert reply.headers["accept-encoding"] == "identity"
    plain = {"Content-Encoding": "identity"}
    assert post(tiny, "/chat", {"prompt": "x", "max_new_tokens": 1}, plain).status == 200


def test_an_empty_line_in_two_pieces(tiny):
    """Some clients send an empty line after a body, in front of the next request."""
    with Connection(tiny) as c:
        for piece in (b"\r", b"\n\r", b"\n\r\n\r", b"\n" + GET_HEALTH):
            c.socket.sendall(piece)
            assert get(tiny, "/live").status == 200  # so the piece was read
        assert c.read().status == 200
    assert raw(tiny, b"\r\rGET / HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 400 ")


def test_a_body_in_chunks_of_one_byte(tiny):
    body = b'{"prompt":"x","max_new_tokens":1,"filling":"%s"}' % (b"y" * 20000)
    with Connection(tiny) as c:
        c.socket.sendall(b"POST /chat HTTP/1.1\r\nHost: localhost\r\n"
                         b"Transfer-Encoding: chunked\r\n\r\n")  # fmt: skip
        for at in range(0, len(body), 100):
            c.socket.sendall(b"".join(b"1\r\n%c\r\n" % byte for byte in body[at : at + 100]))
        c.socket.sendall(b"0\r\n\r\n")
        assert c.read().status == 200


def test_the_limit_of_all_connections(start_server, endless):
    server = start_server("--offline", "--max-connections", 8, "--parallel", 8)
    opened = [Connection(server) for _ in range(8)]
    try:
        wait_until(lambda: health(server)["connections"]["evicted"] >= 1, "no room is made", SOON)
        assert opened[0].socket.recv(1) == b""  # the one that was idle longest
        # busy connections do not make room
        for _ in range(8):
            opened.append(Connection(server, receive_buffer=4096))
            opened[-1].send("POST", CHAT, {"messages": endless, "stream": True, "max_tokens": -1})
            opened[-1].read_head()
        with Connection(server) as c:
            reply = c.read()  # before any request
            assert reply.status == 503 and reply.error["code"] == "too_many_connections"
            assert reply.headers["retry-after"] == "1"
            assert c.socket.recv(1) == b""
    finally:
        for c in opened:
            c.socket.close()
    wait_until(lambda: get(server, "/live").status == 200, "there is no room again", SOON)
    assert health(server)["connections"]["refused"] >= 1


def test_connections_from_one_address(start_server, endless):
    server = start_server("--offline", "--max-connections-per-address", 4)
    held = [Connection(server) for _ in range(4)]
    for c in held:
        c.send("POST", CHAT, {"messages": endless, "stream": True, "max_tokens": -1})
        c.read_head()
    with Connection(server) as c:
        assert c.read().error["code"] == "too_many_connections"
    with socket.create_connection(("127.0.0.1", server.port), source_address=("127.0.0.2", 0)) as s:
        s.sendall(GET_HEALTH)
        assert s.recv(100).startswith(b"HTTP/1.1 200")
    for c in held:
        c.socket.close()
    wait_until(lambda: get(server, "/live").status == 200, "the places are not free again", SOON)


def cpu_seconds(server):
    fields = open(f"/proc/{server.pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


def test_out_of_descriptors(start_server):
    """Connections wait until descriptors are available again; the server does not spin meanwhile."""
    server = start_server("--offline")
    soft, hard = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
    with Connection(server) as before:
        before.send("GET", "/live")
        assert before.read().status == 200
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (8, hard))
        with Connection(server) as waiting:
            waiting.send("GET", "/live")
            time.sleep(0.3)
            began = cpu_seconds(server)
            time.sleep(1.5)
            assert cpu_seconds(server) - began < 0.3
            before.send("GET", "/health")
            assert before.read().json()["connections"]["accept_failures"] > 0
            resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (soft, hard))
            assert waiting.read().status == 200
    assert server.log_with("cannot be accepted").count("cannot be accepted") == 1


def test_a_low_limit_of_descriptors_limits_connections(kinglet, tiny_model_path, tmp_path):
    """If the limit cannot be raised, that is logged, and idle connections make room in time."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        server = SimpleNamespace(port=s.getsockname()[1])
    command = f"ulimit -n 160; exec {kinglet} serve --offline -m {tiny_model_path} -p {server.port}"
    log = tmp_path / "log"
    process = subprocess.Popen(["sh", "-c", command], stderr=log.open("wb"))
    try:
        wait_until(lambda: "info    ready (" in log.read_text(), "it does not start")
        assert "room for 32 connections" in log.read_text()
        opened = [Connection(server) for _ in range(60)]
        wait_until(lambda: health(server)["connections"]["evicted"] > 20, "no room is made", SOON)
        assert health(server)["connections"]["accept_failures"] == 0
        for c in opened:
            c.socket.close()
    finally:
        process.terminate()
        assert process.wait(30) == 0


def test_a_crowd(start_server, endless):
    """64 streams, 500 idle connections and 100 clients that never read, all at once: every client that
    reads gets its answer."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    server = start_server("--offline", "--parallel", 8, "--queue", 400)
    expected = complete(server, endless, max_tokens=20)["choices"][0]["message"]["content"]
    texts, opened = [], []

    def read_stream():
        body = {"messages": endless, "stream": True, "max_tokens": 20}
        texts.append(Stream(server, CHAT, body).text())

    try:
        opened += [Connection(server) for _ in range(500)]
        for _ in range(100):
            opened.append(Connection(server, receive_buffer=4096))
            opened[-1].send("POST", CHAT, {"messages": endless, "stream": True, "max_tokens": 200})
        threads = [threading.Thread(target=read_stream) for _ in range(64)]
        for t in threads:
            t.start()
        for _ in range(5):
            assert get(server, "/health").status == 200
        for t in threads:
            t.join()
    finally:
        for c in opened:
            c.socket.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert texts == [expected] * 64
    wait_until(
        lambda: health(server)["running"] + health(server)["queued"] == 0, "some still run"
    )
    h = health(server)["connections"]
    assert h["refused"] == h["evicted"] == 0 and h["accepted"] > 664
