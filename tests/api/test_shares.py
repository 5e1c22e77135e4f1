"""Memory held by connections, and connections, are shared fairly: stalled clients do not prevent the
answers of others."""

import contextlib
import resource
import select
import socket
import threading
import time

import pytest
from api_client import CHAT, HELLO, SOON, Connection, Stream, get, health, post, wait_until

KEY = "a-key-of-the-tests"
MIB = 1 << 20
POST = b"POST /chat HTTP/1.1\r\nHost: localhost\r\n"
ANNOUNCED = POST + b"Content-Length: 1048576\r\n\r\n"
BIG = "/openapi.json"


@pytest.fixture(autouse=True, scope="module")
def descriptors():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture(scope="module")
def keyed(server_factory, tiny_model_path, tmp_path_factory):
    keys = tmp_path_factory.mktemp("keys") / "keys"
    keys.write_text(KEY + "\nanother-key\n")
    keys.chmod(0o600)
    server = server_factory("--offline", "--api-key-file", keys, model=tiny_model_path)
    yield server
    server.end()


def anonymous(server):
    status = open(f"/proc/{server.pid}/status").read()
    return int(status.split("RssAnon:")[1].split()[0]) * 1024


@pytest.fixture
def planned(start_server):
    """A server, and check(): its growth stays within the planned memory of connections. Also marks tests
    (see selection.toml), since sanitizers keep freed memory."""
    server = start_server("--offline")
    megabytes = [
        float(line.split("memory:")[1].split()[0])
        for line in server.log_with("MB  in all").splitlines()
        if "MB  connections (" in line or "MB  requests and answers on their way" in line
    ]
    assert len(megabytes) == 2
    before = anonymous(server)

    def check():
        assert anonymous(server) - before < sum(megabytes) * 1e6

    return server, check


class Crowd(threading.Thread):
    """Connections that send as much of this data as fits at once, and then nothing; closed ones are
    opened again, some 300 per second."""

    def __init__(self, server, data, addresses, per_address=64):
        super().__init__()
        self.server, self.data, self.poll = server, data, select.epoll()
        self.open, self.ended = {}, threading.Event()
        for address in addresses:
            for _ in range(per_address):
                self.connect(address)
        self.start()

    def connect(self, address):
        s = socket.create_connection(("127.0.0.1", self.server.port), source_address=(address, 0))
        s.setblocking(False)
        self.open[s.fileno()] = s, address
        with contextlib.suppress(BlockingIOError, ConnectionError):
            sent = s.send(self.data)
            s.send(self.data[sent:])
        self.poll.register(s, select.EPOLLRDHUP)

    def run(self):
        while not self.ended.is_set():
            time.sleep(0.05)
            for fileno, _ in self.poll.poll(0, 16):
                s, address = self.open.pop(fileno)
                s.close()
                self.connect(address)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.ended.set()
        self.join()
        for s, _ in self.open.values():
            s.close()
        self.poll.close()


ADDRESSES = {"one address": ["127.0.0.1"], "16 addresses": [f"127.0.0.{i}" for i in range(1, 17)]}
STALLED = {
    "nothing": b"",
    "half a head": POST[:-5],
    "a head": ANNOUNCED,
    "a wrong key": ANNOUNCED.replace(b"\r\n\r\n", b"\r\nAuthorization: Bearer x\r\n\r\n"),
}


@pytest.mark.parametrize("addresses", ADDRESSES)
@pytest.mark.parametrize("sent", STALLED)
def test_a_key_is_answered_among_clients_without(keyed, sent, addresses):
    body = {"messages": HELLO, "max_tokens": 1}
    headers = {"Authorization": f"Bearer {KEY}"}
    with Crowd(keyed, STALLED[sent], ADDRESSES[addresses]), Connection(keyed) as kept:
        for i in range(100):
            if i % 2:
                kept.send("POST", CHAT, body, headers)
                reply = kept.read()
            else:
                reply = post(keyed, CHAT, body, headers)
            assert reply.status == 200, (i, reply.body)


@pytest.mark.parametrize("addresses", ADDRESSES)
def test_small_requests_are_answered_among_large_ones_that_stall(start_server, addresses):
    """Without keys, shares are per address: an address within its share is answered."""
    server = start_server("--offline")
    body = {"messages": HELLO, "max_tokens": 1, "filling": "x" * 20000}
    stalled = ANNOUNCED + b" " * (MIB - 1 if addresses == "one address" else 50_000)
    with Crowd(server, stalled, ADDRESSES[addresses]):
        wait_until(lambda: health(server)["connections"]["held_most"] > 0, "all have room")
        for i in range(100):
            reply = post(server, CHAT, body)
            assert reply.status == 200, (i, reply.body)
        assert health(server)["connections"]["held_bytes"] <= 16 * MIB


def test_large_bodies_that_stall_stay_within_the_plan(planned):
    server, check = planned
    with Crowd(server, ANNOUNCED + b" " * (MIB - 1), ADDRESSES["16 addresses"], per_address=4):
        wait_until(lambda: health(server)["connections"]["held_most"] > 0, "all have room")
        for _ in range(20):
            assert get(server, "/live").status == 200
            check()


def test_the_tokens_of_the_longest_text(planned):
    server, check = planned
    post(server, "/tokenize", {"content": "1" * 1_000_000, "with_pieces": True})
    check()


def test_announced_bodies_hold_no_memory(tiny):
    """17 bodies of 1 MiB are announced, then completed one after the other."""
    held = [Connection(tiny) for _ in range(17)]
    body = b'{"prompt":"x","max_new_tokens":1}'
    try:
        for c in held:
            c.socket.sendall(ANNOUNCED)
        assert health(tiny)["connections"]["held_bytes"] < 100_000
        for c in held:
            c.socket.sendall(body + b" " * (MIB - len(body)))
            assert c.read().status == 200
    finally:
        for c in held:
            c.socket.close()


def test_one_address_has_a_share(start_server):
    """Of 20 bodies that lack a byte, the connection that holds most is closed; the others are answered."""
    server = start_server("--offline")
    held = [Connection(server) for _ in range(20)]
    try:
        for c in held:
            c.socket.sendall(ANNOUNCED + b" " * (MIB - 1))
        wait_until(lambda: health(server)["connections"]["held_most"] > 0, "all have room")
        assert 8 * MIB < health(server)["connections"]["held_bytes"] <= 12 * MIB
        replies = []
        for c in held:
            c.socket.sendall(b"x")
            replies.append(c.read())
        ended = [r for r in replies if r.status == 503]
        assert {r.status for r in replies} == {400, 503} and len(ended) <= 10
        for r in ended:
            assert r.error["code"] == "busy" and "for this address" in r.error["message"]
            assert r.headers["retry-after"] == "1" and r.headers["connection"] == "close"
    finally:
        for c in held:
            c.socket.close()
    wait_until(lambda: health(server)["connections"]["held_bytes"] < 4096, "it is kept", SOON)


def test_one_key_has_a_share(keyed):
    """The share of a key counts all its addresses; another key has its own share."""
    head = ANNOUNCED.replace(b"\r\n\r\n", f"\r\nAuthorization: Bearer {KEY}\r\n\r\n".encode())
    with contextlib.ExitStack() as stack:
        held = []
        for i in range(20):
            source = (f"127.0.0.{i + 1}", 0)
            s = socket.create_connection(("127.0.0.1", keyed.port), source_address=source)
            held.append(stack.enter_context(s))
            s.sendall(head + b" " * (MIB - 1))
        other = stack.enter_context(Connection(keyed))
        body = b'{"prompt":"x","max_new_tokens":1}'
        body += b" " * (MIB - len(body))
        other.socket.sendall(head.replace(KEY.encode(), b"another-key") + body[:-1])
        wait_until(lambda: any(select.select(held, [], [], 0)), "none ends", SOON)
        ended = [s for s in held if s in select.select(held, [], [], 0)[0]]
        assert ended and all(b"for this API key" in s.recv(4096) for s in ended)
        other.socket.sendall(body[-1:])
        assert other.read().status == 200


def send_what_goes(s, data):
    """Sends as much as fits without waiting; returns the number of bytes."""
    try:
        return s.send(data)
    except BlockingIOError:
        return 0


def test_clients_that_do_not_read_are_not_read(planned):
    """1,000 connections request a large file 12 times, read nothing, and send 1 MB more."""
    server, check = planned
    assert len(get(server, BIG).body) > 50_000
    ask = f"GET {BIG} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode() * 12
    left = {}
    try:
        for _ in range(1000):
            s = Connection(server, receive_buffer=4096).socket
            s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
            s.sendall(ask)
            s.setblocking(False)
            left[s] = MIB
        goes = True
        while goes:
            goes = False
            for s in left:
                sent = send_what_goes(s, b"x" * min(left[s], 65536))
                left[s] -= sent
                goes = goes or sent > 0
            assert get(server, "/live").status == 200
            check()
        assert min(left.values()) > MIB / 2  # it stays in the socket's buffer
        h = health(server)["connections"]
        assert h["held_bytes"] < 16 * MIB and h["held_most"] == 0
    finally:
        for s in left:
            s.close()


def test_unread_answers_have_a_bound(planned):
    """1,000 connections request generated text until each holds as much as it may."""
    server, check = planned
    ask = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n" * 60
    held = []
    try:
        for _ in range(1000):
            c = Connection(server, receive_buffer=4096)
            held.append(c.socket)
            c.socket.sendall(ask)
        assert get(server, "/live").status == 200
        assert health(server)["connections"]["held_bytes"] <= 16 * MIB
        check()
    finally:
        for s in held:
            s.close()
    assert post(server, CHAT, {"messages": HELLO, "max_tokens": 1}).status == 200


LEAVING = {
    "fin": lambda c: c.socket.close(),
    "reset": Connection.reset,
    "half-close": lambda c: c.socket.shutdown(socket.SHUT_WR),
}


@pytest.mark.parametrize("way", LEAVING)
@pytest.mark.parametrize("streamed", [True, False])
def test_disconnecting_after_pipelined_bytes(tiny, endless, cancelled, streamed, way):
    with Connection(tiny) as c:
        c.send("POST", CHAT, {"messages": endless, "stream": streamed, "max_tokens": -1, "n": 4})
        wait_until(lambda: health(tiny)["running"] > 0, "it does not begin")
        c.socket.sendall(b"x" * 10_000)
        LEAVING[way](c)
        wait_until(lambda: cancelled() == 4, "it still runs", SOON)


def test_pipelined_requests_are_answered(tiny, endless):
    """After an answer that is being generated, and after one that is not read."""
    large = {"X-Large": "a" * 3000}
    with Connection(tiny, receive_buffer=4096) as c:
        c.send("POST", CHAT, {"messages": endless, "stream": True, "max_tokens": 50})
        for _ in range(4):
            c.send("GET", "/live", None, large)
        assert c.read().body.endswith(b"data: [DONE]\n\n")
        assert [c.read().status for _ in range(4)] == [200] * 4
        for _ in range(6):
            c.send("GET", BIG)
        for i in range(30):
            c.send("GET", "/live" if i % 2 else "/nowhere", None, large)
        assert health(tiny)["connections"]["held_bytes"] < 50_000
        assert len({c.read().body for _ in range(6)}) == 1
        assert [c.read().status for _ in range(30)] == [404, 200] * 15


def test_the_oldest_incomplete_request_makes_room(start_server):
    server = start_server("--offline", "--max-connections-per-address", 4)
    with contextlib.ExitStack() as stack:
        first, second, third, idle = (stack.enter_context(Connection(server)) for _ in range(4))
        idle.send("GET", "/live")
        assert idle.read().status == 200
        for c, sent in ((second, POST), (first, ANNOUNCED + b"{"), (third, POST)):
            c.socket.sendall(sent)
            idle.send("GET", "/live")  # so the previous ones have been read
            assert idle.read().status == 200
        for gone in (idle, second, first):
            c = stack.enter_context(Connection(server))
            c.send("POST", "/chat", {"prompt": "x", "max_new_tokens": 1}, {"Connection": "close"})
            assert c.read().status == 200
            assert c.socket.recv(1) == b""
            stack.enter_context(Connection(server)).socket.sendall(POST)
            assert gone.socket.recv(1) == b""
        third.socket.sendall(b"\r\n")
        assert third.read().status == 400  # this one lacked its body, the other did not


def test_streams_are_not_closed_for_new_connections(start_server, endless):
    server = start_server("--offline", "--max-connections", 4, "--parallel", 4)
    texts = []

    def read():
        body = {"messages": endless, "stream": True, "max_tokens": 1000}
        texts.append(Stream(server, CHAT, body).finish_reason())

    threads = [threading.Thread(target=read) for _ in range(3)]
    for t in threads:
        t.start()
    wait_until(lambda: health(server)["running"] == 3, "they do not begin")
    with Crowd(server, ANNOUNCED, ["127.0.0.2"], per_address=8):
        for t in threads:
            t.join()
    assert texts == ["length"] * 3
