"""Details of HTTP that clients and proxies rely on, for every route of web/openapi.json: HEAD, slashes,
methods, keys, long and repeated headers, bodies of DELETE, no compression."""

import re

import pytest
from api_client import CHAT, Connection, HELLO, call, get, post, raw
from test_openapi import DOCUMENT, check

BODY = {"messages": HELLO, "max_tokens": 1}
KEY = "the-key-123456"
PATHS = [path for path in DOCUMENT["paths"] if "{" not in path]
GETS = [path for path in PATHS if "get" in DOCUMENT["paths"][path] and path != "/chat"]
POSTS = [path for path in PATHS if "post" in DOCUMENT["paths"][path]]
OPEN = {path for path, ops in DOCUMENT["paths"].items() for op in ops.values() if op.get("security") == []}


def figures(headers):
    """Headers without those that differ in each answer."""
    return {k: v for k, v in headers.items() if k not in ("date", "x-request-id", "content-length")}


@pytest.mark.parametrize("path", GETS)
def test_head_is_get_without_the_body(tiny, path):
    with Connection(tiny) as c:
        c.send("HEAD", path)
        head = c.read(head=True)
        c.send("GET", path)  # no byte of a body was sent before
        whole = c.read()
    assert head.status == whole.status
    assert figures(head.headers) == figures(whole.headers)
    assert int(head.headers["content-length"]) > 0


@pytest.mark.parametrize("path", PATHS)
def test_slashes(tiny, path):
    methods = set()
    for form in (path, path + "/", "/" + path, path.replace("/", "//"), path + "?a=b", path + "/?"):
        reply = call(tiny, "OPTIONS", form)
        assert reply.status == 204
        methods.add(reply.headers["allow"])
    assert len(methods) == 1


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "POST", "GET", "TRACE"])
def test_methods(tiny, path, method):
    """A method that a route lacks is a 405 with those that it has; it costs nothing."""
    allowed = call(tiny, "OPTIONS", path).headers["allow"].split(", ")
    if method in allowed:
        return
    reply = call(tiny, method, path, b"")
    assert reply.status == 405
    assert reply.headers["allow"].split(", ") == [m for m in allowed if m != "OPTIONS"]


@pytest.fixture(scope="module")
def keyed(server_factory, tiny_model_path, tmp_path_factory):
    keys = tmp_path_factory.mktemp("keys") / "keys"
    keys.write_text(KEY + "\n")
    keys.chmod(0o600)
    server = server_factory("--offline", "--api-key-file", keys, model=tiny_model_path)
    yield server
    server.end()


@pytest.mark.parametrize("path", PATHS)
def test_keys(keyed, path):
    for method in DOCUMENT["paths"][path]:
        body = b"{" if method != "get" else None
        bad = ({}, {"Authorization": "Bearer " + KEY[:-1]}, {"x-api-key": KEY + "x"}, {"Authorization": KEY})
        for headers in bad:
            reply = call(keyed, method.upper(), path, body, headers)
            assert (reply.status == 401) == (path not in OPEN), (method, headers)
            if reply.status == 401:
                assert reply.headers["www-authenticate"] == "Bearer"
        for headers in ({"Authorization": "Bearer " + KEY}, {"x-api-key": KEY},
                        {"x-api-key": KEY, "Authorization": "Bearer wrong"}):  # fmt: skip
            assert call(keyed, method.upper(), path, body, headers).status != 401


def test_long_headers(tiny):
    """Cookies and tokens of proxies may have 8 KiB and more; the SDKs send dozens of their own."""
    stainless = {f"X-Stainless-{i}": "value" for i in range(60)}
    assert post(tiny, CHAT, BODY, {"Cookie": "c" * 9000, **stainless}).status == 200
    reply = post(tiny, CHAT, BODY, {"Cookie": "c" * 16384})
    assert reply.status == 431 and reply.error["code"] == "header_too_large"


@pytest.mark.parametrize("name, first, second, status", [
    ("Host", "localhost", "localhost", 400),
    ("Content-Length", "2", "2", 400),
    ("Transfer-Encoding", "chunked", "chunked", 400),
    ("Accept", "a/b", "c/d", 200),
    ("X-Forwarded-For", "10.0.0.1", "10.0.0.2", 200),
    ("Cookie", "a=b", "c=d", 200),
    # a proxy might have checked the other one
    ("Origin", "http://localhost:{port}", "http://evil.example", 400),
    ("Origin", "http://localhost:{port}", "http://localhost:{port}", 200),
    ("Origin", "http://evil.example", "http://evil.example", 403),
    ("Authorization", "Bearer a", "Bearer b", 400),
    ("x-api-key", "a", "b", 400),
    ("Content-Type", "application/json", "text/plain", 400),
])  # fmt: skip
def test_repeated_headers(tiny, name, first, second, status):
    lines = "" if name == "Host" else f"Host: localhost:{tiny.port}\r\n"
    lines += "".join(f"{name}: {value.format(port=tiny.port)}\r\n" for value in (first, second))
    received = raw(tiny, f"GET /v1/models HTTP/1.1\r\n{lines}Connection: close\r\n\r\n".encode())
    assert int(received.split()[1]) == status


def test_a_body_of_delete_is_read(tiny):
    """Ollama's clients send one; it must not be taken for the next request."""
    body = b'{"model": "x"}\n'
    for path in ("/v1/models", "/nowhere"):
        with Connection(tiny) as c:
            c.send("DELETE", path, body)
            assert c.read().status in (404, 405)
            c.send("GET", "/live")
            assert c.read().status == 200
    text = b"DELETE /v1/models HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n"
    received = raw(tiny, text)  # the body does not come: the connection ends with the answer
    assert received.startswith(b"HTTP/1.1 405") and b"\r\nConnection: close\r\n" in received


def test_nothing_is_compressed(tiny):
    headers = {"Accept-Encoding": "gzip, deflate, br, zstd"}
    for reply in (get(tiny, "/", headers), get(tiny, "/v1/models", headers),
                  post(tiny, CHAT, {**BODY, "stream": True}, headers)):  # fmt: skip
        assert reply.status == 200 and "content-encoding" not in reply.headers
    assert b"[DONE]" in reply.body


@pytest.mark.parametrize("expect", ["100-continue", "100-Continue", "something-else"])
def test_expect(tiny, expect):
    """Only a client that waits for it gets a 100; an unknown expectation is ignored."""
    body = b'{"messages": [{"role": "user", "content": "x"}], "max_tokens": 1}'
    with Connection(tiny) as c:
        c.socket.sendall(b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\nExpect: %s\r\n\r\n"
                         % (CHAT.encode(), len(body), expect.encode()))  # fmt: skip
        if expect.lower() == "100-continue":
            assert c.read_head()[0] == 100
        c.socket.sendall(body)
        assert c.read().status == 200


@pytest.mark.parametrize("path", POSTS)
def test_answers_name_their_request(tiny, path):
    ids = {post(tiny, path, b"{").headers["x-request-id"] for _ in range(3)}
    assert len(ids) == 3 and all(re.fullmatch("[0-9a-f]+", i) for i in ids)


@pytest.mark.parametrize("path, kind", [(CHAT, "OpenAI"), ("/v1/messages", "Messages")])
def test_every_refusal_has_the_shape_of_its_route(keyed, path, kind):
    schema = DOCUMENT["components"]["schemas"]["Error" if kind == "OpenAI" else kind + "Error"]
    keys = {"x-api-key": KEY}
    for method, headers, status in (
        ("POST", {"Host": "evil.example"}, 403),
        ("POST", {"Origin": "http://evil.example", **keys}, 403),
        ("POST", {}, 401),
        ("PUT", keys, 405),
        ("POST", {"Content-Type": "text/html", **keys}, 415),
        ("POST", {"Content-Length": str(1 << 30), **keys}, 413),
        ("POST", keys, 400),
    ):
        reply = call(keyed, method, path, b"{", headers)
        assert reply.status == status
        check(reply.json(), schema)
