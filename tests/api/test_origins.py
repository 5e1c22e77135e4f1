"""Pages of other sites, and apps, that the operator allows: CORS; and OPTIONS with and without it."""

import socket

import pytest
from api_client import CHAT, Connection, HELLO, Stream, call, get, post, raw

BODY = {"messages": HELLO, "max_tokens": 1}
SITE = "https://chat.example"
ASKED = "authorization,content-type,x-stainless-os"
PREFLIGHT = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": ASKED}


def cors(reply):
    return {name: v for name, v in reply.headers.items() if name.startswith("access-control")}


@pytest.fixture(scope="module")
def allowing(server_factory, tiny_model_path):
    server = server_factory("--offline", "--allow-origin", SITE, "--allow-origin", "http://box.lan:3000",
                            "--allow-origin", "apps", model=tiny_model_path)  # fmt: skip
    yield server
    server.end()


@pytest.fixture
def keyed(start_server, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("the-key-123456\n")
    keys.chmod(0o600)
    return start_server("--offline", "--api-key-file", keys, "--allow-origin", SITE)


NAMED = [SITE, "https://CHAT.example", "http://box.lan:3000"]
APPS = [
    "app://obsidian.md", "tauri://localhost", "file://", "vscode-webview://0abc", "vscode-file://vscode-app",
    "chrome-extension://abcdefghijklmnop", "moz-extension://0d1e-2f", "http://localhost:5173",
    "https://localhost", "http://127.0.0.1:8080", "http://tauri.localhost",
]  # fmt: skip
FOREIGN = [
    "https://evil.example", "https://chat.example.evil", "http://chat.example", "https://chat.example:444",
    "http://localhost.evil.com", "http://localhost.evil.com:5173", "http://127.0.0.1.evil.com", "null", "",
    "https://chat.example@evil", "app", "http://box.lan",
]  # fmt: skip


@pytest.mark.parametrize("origin", NAMED + APPS)
def test_allowed(allowing, origin):
    headers = {"Origin": origin, "Sec-Fetch-Site": "cross-site", "User-Agent": "Mozilla/5.0"}
    for reply in (post(allowing, CHAT, BODY, headers), get(allowing, "/v1/models", headers)):
        assert reply.status == 200
        assert reply.headers["access-control-allow-origin"] == origin
        assert reply.headers["vary"] == "Origin"
        exposed = reply.headers["access-control-expose-headers"]
        assert {"X-Request-Id", "X-Messages-Left-Out"} <= set(exposed.split(", "))
        # a whole group is not trusted with what a proxy in front knows of the user
        named = reply.headers.get("access-control-allow-credentials")
        assert named == ("true" if origin in NAMED else None)


@pytest.mark.parametrize("origin", NAMED + APPS)
def test_preflight(allowing, origin):
    for path in (CHAT, "/v1/models", "/chat", "/health", "/nowhere", "/"):
        reply = call(allowing, "OPTIONS", path, None, {"Origin": origin, **PREFLIGHT})
        assert reply.status == 204 and reply.body == b""
        assert "content-length" not in reply.headers and "content-type" not in reply.headers
        assert reply.headers["access-control-allow-origin"] == origin
        assert reply.headers["access-control-allow-methods"] == "GET, POST, PUT, DELETE, OPTIONS"
        assert reply.headers["access-control-allow-headers"] == ASKED
        assert 0 < int(reply.headers["access-control-max-age"]) <= 86400
        assert reply.headers["vary"] == "Origin"


@pytest.mark.parametrize("origin", FOREIGN)
def test_foreign(allowing, origin):
    headers = {"Origin": origin}
    replies = [
        post(allowing, CHAT, BODY, headers),
        get(allowing, "/v1/models", headers),
        call(allowing, "OPTIONS", CHAT, None, {**headers, **PREFLIGHT}),
        call(allowing, "OPTIONS", "/v1/models", None, {**headers, **PREFLIGHT}),
    ]
    for reply in replies:
        assert reply.status == 403 and reply.error["code"] == "origin_not_allowed"
        assert "--allow-origin" in reply.error["message"]
        assert not cors(reply) and reply.headers["vary"] == "Origin"
    # the page may be linked to, but no other page can read it
    for method in ("GET", "OPTIONS"):
        assert not cors(call(allowing, method, "/", None, {**headers, **PREFLIGHT}))


def test_errors_can_be_read(allowing):
    """Without the headers a page gets no error at all, only that something failed."""
    headers = {"Origin": SITE}
    for reply, status in (
        (post(allowing, CHAT, b"{", headers), 400),
        (post(allowing, CHAT, {"messages": []}, headers), 400),
        (post(allowing, CHAT, b"{}", {**headers, "Content-Type": "text/html"}), 415),
        (get(allowing, CHAT, headers), 405),
        (get(allowing, "/nowhere", headers), 404),
        (post(allowing, CHAT, BODY, {**headers, "Content-Length": str(1 << 30)}), 413),
    ):
        assert reply.status == status
        assert reply.headers["access-control-allow-origin"] == SITE


def test_a_stream_has_them(allowing):
    answer = Stream(allowing, CHAT, {**BODY, "stream": True}, {"Origin": SITE})
    assert answer.headers["access-control-allow-origin"] == SITE
    assert "x-request-id" in answer.headers


@pytest.mark.parametrize("content_type", ["text/plain", "text/plain;charset=UTF-8",
                                          "application/x-www-form-urlencoded"])  # fmt: skip
def test_types_that_need_no_preflight_are_refused(allowing, content_type):
    for origin in (SITE, "app://obsidian.md"):
        reply = post(allowing, CHAT, BODY, {"Origin": origin, "Content-Type": content_type})
        assert reply.status == 415
    # and so they are without an Origin, from what looks like a browser
    browser = {"User-Agent": "Mozilla/5.0", "Content-Type": content_type}
    assert post(allowing, CHAT, BODY, browser).status == 403


def test_a_preflight_needs_no_key(keyed):
    """A browser sends none with it."""
    headers = {"Origin": SITE}
    assert call(keyed, "OPTIONS", CHAT, None, {**headers, **PREFLIGHT}).status == 204
    reply = post(keyed, CHAT, BODY, headers)
    assert reply.status == 401 and reply.headers["access-control-allow-origin"] == SITE
    reply = post(keyed, CHAT, BODY, {**headers, "Authorization": "Bearer the-key-123456"})
    assert reply.status == 200
    assert call(keyed, "OPTIONS", CHAT, None, {"Origin": "http://evil.example", **PREFLIGHT}).status == 403


def test_a_host_is_checked_first(allowing):
    """An allowed page does not make a foreign name one of the server's: DNS rebinding."""
    headers = {"Origin": SITE, "Host": "evil.example"}
    for reply in (post(allowing, CHAT, BODY, headers),
                  call(allowing, "OPTIONS", CHAT, None, {**headers, **PREFLIGHT})):  # fmt: skip
        assert reply.status == 403 and reply.error["code"] == "host_not_allowed"
        assert not cors(reply)


def test_asked_headers_are_echoed_only_if_they_are_names(allowing):
    for asked in ("x-a: b", '"x"', "x" * 3000, "", None):
        headers = {"Origin": SITE, "Access-Control-Request-Method": "POST",
                   "Access-Control-Request-Headers": asked}  # fmt: skip
        reply = call(allowing, "OPTIONS", CHAT, None, headers)
        assert reply.status == 204
        usual = "Authorization, Content-Type, x-api-key, X-Answer-Id"
        assert reply.headers["access-control-allow-headers"] == usual


def test_private_networks(allowing):
    """A page of the internet and a server at home."""
    headers = {"Origin": SITE, **PREFLIGHT}
    reply = call(allowing, "OPTIONS", CHAT, None, headers)
    assert "access-control-allow-private-network" not in reply.headers
    headers["Access-Control-Request-Private-Network"] = "true"
    reply = call(allowing, "OPTIONS", CHAT, None, headers)
    assert reply.headers["access-control-allow-private-network"] == "true"


def test_default(tiny):
    """Without the option there is no header of CORS, and no Vary."""
    for origin in (SITE, "http://localhost:5173", "app://x", f"http://127.0.0.1:{tiny.port}", None):
        for reply in (
            get(tiny, "/", {"Origin": origin}),
            get(tiny, "/health", {"Origin": origin}),
            post(tiny, CHAT, BODY, {"Origin": origin}),
            call(tiny, "OPTIONS", CHAT, None, {"Origin": origin, **PREFLIGHT}),
        ):
            assert not cors(reply) and "vary" not in reply.headers
    reply = call(tiny, "OPTIONS", CHAT, None, {"Origin": SITE, **PREFLIGHT})
    assert reply.status == 403


@pytest.mark.parametrize(
    "path, allow",
    [
        (CHAT, "POST, OPTIONS"),
        ("/chat/completions/", "POST, OPTIONS"),
        ("/chat", "GET, POST, OPTIONS"),
        ("/v1/models", "GET, HEAD, OPTIONS"),
        ("/", "GET, HEAD, OPTIONS"),
        ("*", "GET, HEAD, POST, PUT, DELETE, OPTIONS"),
    ],
)
def test_options_without_origin(tiny, allowing, path, allow):
    for server in (tiny, allowing):
        with Connection(server) as c:
            for _ in range(2):  # the connection stays
                c.send("OPTIONS", path)
                reply = c.read()
                assert reply.status == 204 and reply.headers["allow"] == allow
                assert not cors(reply)
            c.send("GET", "/live")
            assert c.read().status == 200
    assert call(tiny, "OPTIONS", "/nowhere").status == 404


def test_options_with_a_body(tiny):
    with Connection(tiny) as c:
        c.send("OPTIONS", CHAT, b'{"a": 1}')
        assert c.read().status == 204
        c.send("GET", "/live")
        assert c.read().status == 200
    received = raw(tiny, b"OPTIONS /chat HTTP/1.0\r\n\r\n")
    assert received.startswith(b"HTTP/1.1 204 ") and received.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("name, word", [
    ("*", b"any web page"), ("null", b"any web page"), ("https://chat.example/", b"no path"),
    ("chat.example", b"a scheme"), ("https://*.example", b"--allow-origin https://*.example"),
])  # fmt: skip
def test_refused_options(run_kinglet, tiny_model_path, name, word):
    done = run_kinglet("serve", "--offline", "--model", tiny_model_path, "--allow-origin", name,
                       "--port", 0, check=False)  # fmt: skip
    assert done.returncode == 2 and word in done.stderr and b"apps" in done.stderr


def test_the_name_of_this_computer(tiny):
    name = socket.gethostname()
    for host in (name, name.upper(), name.split(".")[0] + ".local", f"{name}:{tiny.port}"):
        assert get(tiny, "/health", {"Host": host}).status == 200
    for host in (f"{name}.evil.example", f"x{name}", f"{name}.local.evil", "host.docker.internal"):
        assert get(tiny, "/health", {"Host": host}).status == 403


def test_names_of_containers(start_server):
    server = start_server("--offline", "--allow-host", "host.docker.internal")
    assert get(server, "/health", {"Host": "host.docker.internal:7860"}).status == 200
