"""Routes that need no answer of the model: paths, methods, the page's files, models, health."""

import re

import pytest
from api_client import CHAT, Connection, HELLO, call, get, post, raw


HTML = {"Accept": "text/html"}


def test_page(tiny):
    reply = get(tiny, "/", HTML)
    assert reply.status == 200
    assert reply.headers["content-type"].startswith("text/html")
    assert b"<html" in reply.body.lower()
    policy = reply.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
    assert "unsafe-inline" not in policy.split("script-src")[1].split(";")[0]
    assert reply.headers["x-content-type-options"] == "nosniff"

    again = get(tiny, "/", HTML | {"If-None-Match": reply.headers["etag"]})
    assert again.status == 304 and again.body == b""
    other = get(tiny, "/", HTML | {"If-None-Match": '"something-else"'})
    assert other.status == 200 and other.body == reply.body


def test_page_script(tiny):
    (name,) = re.findall(r'src="(app-[0-9a-f]{16}\.js)"', get(tiny, "/", HTML).body.decode())
    reply = get(tiny, f"/{name}?v=1")
    assert reply.status == 200
    assert "javascript" in reply.headers["content-type"]


@pytest.mark.parametrize("path", ["/", "/health", "/v1/models"])
def test_head(tiny, path):
    length = get(tiny, path).headers["content-length"]
    reply = call(tiny, "HEAD", path)
    assert reply.status == 200 and reply.body == b""
    # the figures of /health change
    assert abs(int(reply.headers["content-length"]) - int(length)) < 40


@pytest.mark.parametrize(
    "path",
    ["/v1/models", "/v1/models/", "/models", "/models/", "//v1//models", "/v1/models?x=1"],
)
def test_model_list(tiny, path):
    reply = get(tiny, path)
    assert reply.status == 200
    models = reply.json()
    assert models["object"] == "list" and len(models["data"]) == 1
    model = models["data"][0]
    assert model["object"] == "model" and model["owned_by"] == "kinglet"
    assert isinstance(model["created"], int) and model["created"] > 0
    assert model["meta"]["n_ctx"] == 4096
    assert get(tiny, "/v1/models/" + model["id"]).json() == model
    assert get(tiny, "/models/" + model["id"]).json() == model


@pytest.mark.parametrize("name", ["gpt-4o", "vendor/model", "%E4%BD%A0"])
def test_unknown_model(tiny, name):
    reply = get(tiny, "/v1/models/" + name)
    assert reply.status == 404 and reply.error["code"] == "model_not_found"


@pytest.mark.parametrize("path", [CHAT, "/chat/completions", CHAT + "/", "//v1/chat/completions"])
def test_paths_of_chat_completions(tiny, path):
    assert post(tiny, path, {"messages": HELLO, "max_tokens": 1}).status == 200


def test_health(tiny):
    post(tiny, CHAT, {"messages": HELLO, "max_tokens": 2})
    found = get(tiny, "/health").json()
    assert found["status"] == "ok"
    assert 0 < found["memory_percent"] < 100
    assert found["latency_95"] > 0
    assert found["kv_cache_size"] >= 0
    assert found["ctx_size"] == 4096 and found["running"] == 0 and found["queued"] == 0
    assert found["requests_finished"] > 0 and found["answer_tokens"] > 0
    assert 1e6 < found["resident_bytes"] < found["memory_total_bytes"]


@pytest.mark.parametrize(
    "method, path, allow",
    [
        ("GET", CHAT, "POST"),
        ("HEAD", CHAT, "POST"),
        ("PATCH", CHAT, "POST"),
        ("PUT", "/chat", "GET, POST"),
        ("HEAD", "/chat?prompt=x", "GET, POST"),
        ("DELETE", "/v1/models", "GET, HEAD"),
        ("BREW", "/health", "GET, HEAD"),
        ("POST", "/", "GET, HEAD"),
    ],
)
def test_wrong_method(tiny, method, path, allow):
    reply = call(tiny, method, path)
    assert reply.status == 405 and reply.headers["allow"] == allow
    if method != "HEAD":
        assert reply.error["code"] == "method_not_allowed"


@pytest.mark.parametrize("path", ["/nothing", "/v1", "/v1/chat", "/chat/completions/x", "/..%2f"])
def test_unknown_path(tiny, path):
    reply = get(tiny, path)
    assert reply.status == 404 and reply.error["code"] == "not_found"


def test_no_cors_headers(tiny):
    for reply in (get(tiny, "/health"), post(tiny, CHAT, {"messages": HELLO, "max_tokens": 1})):
        assert not [h for h in reply.headers if h.startswith("access-control")]


def test_keep_alive_and_pipelining(tiny):
    with Connection(tiny) as c:
        for _ in range(3):
            c.send("POST", CHAT, {"messages": HELLO, "max_tokens": 2})
            assert c.read().status == 200
        c.send("POST", "/chat", {"prompt": "x", "max_new_tokens": 3})
        c.send("GET", "/health")
        c.send("POST", CHAT, {"messages": HELLO, "max_tokens": 2})
        assert c.read().body.endswith(b"data: [DONE]\n\n")
        assert c.read().json()["status"] == "ok"
        assert c.read().json()["usage"]["completion_tokens"] == 2


def test_http_1_0_ends_with_the_connection(tiny):
    for extra in (b"", b"Connection: keep-alive\r\n"):
        received = raw(tiny, b"GET /chat?prompt=x&max_new_tokens=3 HTTP/1.0\r\n" + extra + b"\r\n")
        head, body = received.split(b"\r\n\r\n", 1)
        assert head.startswith(b"HTTP/1.1 200") and b"chunked" not in head.lower()
        assert body.endswith(b"data: [DONE]\n\n")


def test_chunked_request_body(tiny):
    body = b'{"prompt":"x","max_new_tokens":2}'
    chunks = b"".join(b"1\r\n" + bytes([b]) + b"\r\n" for b in body) + b"0\r\n\r\n"
    received = raw(
        tiny,
        b"POST /chat HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n" + chunks,
    )
    assert received.startswith(b"HTTP/1.1 200") and b"data: [DONE]" in received


def test_expect_100_continue(tiny):
    body = b'{"prompt":"x","max_new_tokens":1}'
    with Connection(tiny) as c:
        c.socket.sendall(
            b"POST /chat HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"
            b"Content-Length: %d\r\n\r\n" % len(body)
        )
        assert c.read_head()[0] == 100
        c.socket.sendall(body)
        assert c.read().status == 200
