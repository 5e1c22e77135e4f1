"""The limit of connections per address, tested from other computers in a network namespace; needs root."""

import json
from contextlib import ExitStack

import pytest
from api_client import wait_until

LIMIT = 64  # from one address, unless it is this computer
GET = b"GET /live HTTP/1.1\r\nHost: %s\r\n\r\n"
POST = (b"POST /v1/chat/completions HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n")  # fmt: skip
V4, V6 = "10.77.0.1", "fd77::1"


class Crowd:
    """Connections from another computer to the server, each with a running stream: idle ones would
    make room for new ones."""

    def __init__(self, computer, server, stack, messages):
        self.computer, self.server, self.stack = computer, server, stack
        self.messages = messages
        self.body = json.dumps({"messages": messages, "stream": True, "max_tokens": -1}).encode()

    def join(self, to, source=""):
        """Opens a connection from source and returns the status of its request."""
        connection = self.computer.connect(to, self.server.port, source=source)
        self.stack.enter_context(connection)
        host = f"[{to}]" if ":" in to else to
        connection.sendall(POST % (host.encode(), len(self.body)) + self.body)
        return int(connection.recv(4096).split()[1])


@pytest.fixture
def box(two_computers):
    return two_computers[0]


@pytest.fixture
def crowd(two_computers, start_server, endless):
    """A server on --host [::], which listens on IPv4, too."""
    box, other = two_computers
    server = start_server("--offline", "--host", "[::]", "--no-auth", "--queue", 200, "--max-wait", 0,
                          computer=box)  # fmt: skip
    with ExitStack() as stack:
        yield Crowd(other, server, stack, endless)


def test_an_ipv4_address_has_its_share(crowd):
    crowd.computer.add_address("10.77.0.3")
    assert [crowd.join(V4) for _ in range(LIMIT)] == [200] * LIMIT
    assert crowd.join(V4) == 503
    assert crowd.join(V4, "10.77.0.3") == 200  # the next address
    assert crowd.join(V6) == 200  # the same computer, by another family
    # this computer has no limit
    loopback = [crowd.stack.enter_context(crowd.server.connect(30)) for _ in range(LIMIT + 6)]
    for connection in loopback:
        connection.sendall(GET % b"localhost")
    assert all(c.recv(4096).startswith(b"HTTP/1.1 200") for c in loopback)


def test_an_ipv6_network_has_its_share(crowd):
    """The 2^64 addresses of a /64 network, which one customer has, count as one."""
    same = [f"fd77::{n:x}" for n in range(0x10, 0x10 + 16)] + ["fd77::8000:0:0:1"]
    beyond = ["fd77:0:0:1::2", "fd77:0:0:8000::2"]  # networks of their own
    for address in same + beyond:
        crowd.computer.add_address(address)
    sources = [same[n % len(same)] for n in range(LIMIT)]
    assert [crowd.join(V6, source) for source in sources] == [200] * LIMIT
    assert [crowd.join(V6, source) for source in same] == [503] * len(same)
    assert [crowd.join(V6, source) for source in beyond] == [200] * len(beyond)
    assert crowd.join(V4) == 200


def test_closed_connections_free_the_share(crowd):
    with ExitStack() as stack:
        leaving = Crowd(crowd.computer, crowd.server, stack, crowd.messages)
        assert [leaving.join(V6) for _ in range(LIMIT)] == [200] * LIMIT
        assert crowd.join(V6) == 503
    wait_until(lambda: crowd.join(V6) == 200, "the places are not free again")


def test_an_ipv6_address_in_brackets(box, start_server):
    """The option accepts the form used in URLs."""
    server = start_server("--offline", "--host", "[::]", "--no-auth", computer=box)
    server.log_with(f"listening on http://127.0.0.1:{server.port}")
    for address in ("::1", V6, V4, "127.0.0.1"):
        with box.connect(address, server.port) as connection:
            host = f"[{address}]" if ":" in address else address
            connection.sendall(GET % host.encode())
            assert connection.recv(4096).startswith(b"HTTP/1.1 200"), address
