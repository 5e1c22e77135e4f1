"""A second address (--also-listen): the same server, and the rules of --host."""

import socket
import types

import pytest
from api_client import CHAT, HELLO, get, post
from test_port_in_use import listener

BODY = {"messages": HELLO, "max_tokens": 1}


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def at(port):
    return types.SimpleNamespace(port=port)


def test_a_second_address(start_server):
    port, third = free_port(), free_port()
    server = start_server("--offline", "--also-listen", f"127.0.0.1:{port}", "--also-listen",
                          f"localhost:{third}")  # fmt: skip
    for place in (server, at(port), at(third)):
        assert get(place, "/health").status == 200
        assert post(place, CHAT, BODY).status == 200
        assert get(place, "/health", {"Host": "evil.example"}).status == 403
        assert post(place, CHAT, BODY, {"Origin": "http://evil.example"}).status == 403
        assert post(place, CHAT, BODY, {"Origin": f"http://127.0.0.1:{place.port}"}).status == 200
    log = server.log_with(f"also listening on localhost:{third}")
    assert f"also listening on 127.0.0.1:{port}" in log
    assert f"listening on http://127.0.0.1:{server.port} " in log


def serve(run_kinglet, model, *options):
    return run_kinglet("serve", "--offline", "--model", model, "--port", 0, *options, check=False)


def test_addresses_that_others_reach_need_keys(run_kinglet, start_server, tiny_model_path, tmp_path):
    done = serve(run_kinglet, tiny_model_path, "--also-listen", f"0.0.0.0:{free_port()}")
    assert done.returncode == 2
    for word in (b"0.0.0.0", b"--api-key-file", b"--no-auth"):
        assert word in done.stderr

    keys = tmp_path / "keys"
    keys.write_text("the-key-123456\n")
    keys.chmod(0o600)
    port = free_port()
    start_server("--offline", "--also-listen", f"0.0.0.0:{port}", "--api-key-file", keys)
    assert get(at(port), "/v1/models").status == 401
    assert get(at(port), "/v1/models", {"x-api-key": "the-key-123456"}).status == 200


@pytest.mark.parametrize("text", ["11434", "127.0.0.1", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:65536",
                                  "127.0.0.1:port", ":11434", "::1:11434", "http://127.0.0.1:11434", ""])  # fmt: skip
def test_refused_addresses(run_kinglet, tiny_model_path, text):
    done = serve(run_kinglet, tiny_model_path, "--also-listen", text)
    assert done.returncode == 2
    assert b"ADDRESS:PORT" in done.stderr and b"127.0.0.1:11434" in done.stderr


def test_no_more_than_three(run_kinglet, tiny_model_path):
    options = [word for i in range(4) for word in ("--also-listen", f"127.0.0.1:{11434 + i}")]
    done = serve(run_kinglet, tiny_model_path, *options)
    assert done.returncode == 2 and b"3 times" in done.stderr


def test_a_port_in_use(run_kinglet, tiny, tiny_model_path):
    done = serve(run_kinglet, tiny_model_path, "--also-listen", f"127.0.0.1:{tiny.port}")
    assert done.returncode == 1
    said = f"127.0.0.1 port {tiny.port} is in use by another kinglet, process {tiny.pid}"
    assert said.encode() in done.stderr and b"another port with --also-listen" in done.stderr
    with listener("127.0.0.1") as s:
        done = serve(run_kinglet, tiny_model_path, "--also-listen", f"127.0.0.1:{s.getsockname()[1]}")
        assert done.returncode == 1 and b"(process " in done.stderr


def test_an_address_given_twice(run_kinglet, tiny_model_path):
    port = free_port()
    done = run_kinglet("serve", "--offline", "--model", tiny_model_path, "--port", port, "--also-listen",
                       f"127.0.0.1:{port}", check=False)  # fmt: skip
    assert done.returncode == 1
    assert f"127.0.0.1 port {port} is given twice".encode() in done.stderr


def test_an_ipv6_address(start_server):
    port = free_port()
    start_server("--offline", "--also-listen", f"[::1]:{port}")
    with socket.create_connection(("::1", port), 10) as s:
        s.sendall(b"GET /live HTTP/1.1\r\nHost: [::1]:%d\r\nConnection: close\r\n\r\n" % port)
        assert s.recv(100).startswith(b"HTTP/1.1 200")
