"""Access control: host names, origins of web pages, content types, API keys, addresses."""

import subprocess

import pytest
from api_client import CHAT, HELLO, get, post

BODY = {"messages": HELLO, "max_tokens": 1}
KEY = "correct-horse-battery"


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST", "localhost.", "localhost:{port}", "127.0.0.1", "127.0.0.1:99",
     "[::1]", "[::1]:{port}", "127.1.2.3"],
)  # fmt: skip
def test_own_hosts(tiny, host):
    headers = {"Host": host.format(port=tiny.port)}
    assert get(tiny, "/health", headers).status == 200
    assert get(tiny, "/", headers).status == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:{port}", "localhost.evil.example", "127.0.0.1.evil.example",
     "8.8.8.8", "0.0.0.0", "[::2]", "", "127.0.0.1@evil", "local host", "localhost:port",
     "localhost:80:80", "evil.example#localhost", "2130706433", "0x7f.1", "::1"],
)  # fmt: skip
def test_foreign_hosts(tiny, host):
    headers = {"Host": host.format(port=tiny.port)}
    for path in ("/", "/health", "/v1/models", "/chat?prompt=x"):
        reply = get(tiny, path, headers)
        assert reply.status == 403, path
        assert reply.error["code"] == "host_not_allowed" and "--allow-host" in reply.error["message"]


def test_host_in_the_request_line(tiny):
    assert get(tiny, f"http://localhost:{tiny.port}/health").status == 200
    assert get(tiny, "http://evil.example/health").status == 403


def test_allowed_host(start_server):
    server = start_server("--offline", "--allow-host", "Box.LAN", "--allow-host", "other")
    for host in ("box.lan", "BOX.lan:7860", "other", "localhost"):
        assert get(server, "/health", {"Host": host}).status == 200
    assert get(server, "/health", {"Host": "box.lan.evil.example"}).status == 403
    own = {"Host": "box.lan:7860", "Origin": "http://box.lan:7860"}
    assert post(server, CHAT, BODY, own).status == 200
    tls = {"Host": "box.lan", "Origin": "https://box.lan"}
    assert post(server, CHAT, BODY, tls).status == 200


def test_allowed_endings(start_server):
    server = start_server("--offline", "--allow-host", "*.LAN")
    for host in ("box.lan", "a.b.lan:7860", "localhost"):
        assert get(server, "/health", {"Host": host}).status == 200, host
    for host in ("lan", ".lan", "boxlan", "box.lan.evil.example", "*"):
        assert get(server, "/health", {"Host": host}).status == 403, host


@pytest.mark.parametrize("option, name, words", [
    ("--allow-host", "*", (b"DNS rebinding", b"*.lan")),
    ("--allow-host", "b*x.lan", (b"--allow-host b*x.lan", b"*.lan")),
    ("--host", "127.0.0.1:80", (b"127.0.0.1:80", b"--port")),
    ("--host", "[::1]:80", (b"[::1]:80", b"--port")),
    ("--host", "[]", (b"[]",)),
])  # fmt: skip
def test_refused_host_names(run_kinglet, tiny_model_path, option, name, words):
    done = run_kinglet("serve", "--offline", "--model", tiny_model_path, option, name, "--port", 0,
                       check=False)  # fmt: skip
    assert done.returncode == 2
    for word in words:
        assert word in done.stderr


@pytest.mark.parametrize(
    "origin",
    ["null", "http://evil.example", "http://localhost.evil.example", "http://127.0.0.1",
     "http://127.0.0.1:1", "http://localhost:{port}", "file://", "chrome-extension://abc",
     "http://127.0.0.1:{port}@evil.example", "", "127.0.0.1:{port}"],
)  # fmt: skip
def test_foreign_origin(tiny, origin):
    headers = {"Origin": origin.format(port=tiny.port)}
    for reply in (
        post(tiny, CHAT, BODY, headers),
        post(tiny, "/chat", {"prompt": "x", "max_new_tokens": 1}, headers),
        get(tiny, "/chat?prompt=x&max_new_tokens=1", headers),
        get(tiny, "/v1/models", headers),
    ):
        assert reply.status == 403
        assert reply.error["code"] == "origin_not_allowed"


def test_own_origin(tiny):
    headers = {"Origin": f"http://127.0.0.1:{tiny.port}", "Sec-Fetch-Site": "same-origin"}
    assert post(tiny, CHAT, BODY, headers).status == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site", "nonsense", ""])
def test_foreign_site(tiny, site):
    headers = {"Sec-Fetch-Site": site}
    assert get(tiny, "/chat?prompt=x&max_new_tokens=1", headers).status == 403
    assert post(tiny, CHAT, BODY, headers).status == 403
    # a link from another site to the page is harmless
    assert get(tiny, "/", headers).status == 200


@pytest.mark.parametrize("site", ["same-origin", "none"])
def test_own_site(tiny, site):
    assert post(tiny, CHAT, BODY, {"Sec-Fetch-Site": site}).status == 200


@pytest.mark.parametrize(
    "content_type, alone, from_page",
    [
        ("application/json", 200, 200),
        ("application/json; charset=utf-8", 200, 200),
        ("APPLICATION/JSON", 200, 200),
        (None, 200, 200),
        ("application/x-www-form-urlencoded", 200, 415),
        ("text/plain", 200, 415),
        ("text/plain;charset=UTF-8", 200, 415),
        ("multipart/form-data; boundary=x", 415, 415),
        ("application/jsonx", 415, 415),
        ("text/html", 415, 415),
    ],
)
def test_content_type(tiny, content_type, alone, from_page):
    headers = {"Content-Type": content_type}
    assert post(tiny, CHAT, BODY, headers).status == alone
    headers["Origin"] = f"http://127.0.0.1:{tiny.port}"
    assert post(tiny, CHAT, BODY, headers).status == from_page


@pytest.mark.parametrize(
    "headers, answered",
    [
        ({"User-Agent": "curl/8.5.0", "Accept": "*/*"}, True),
        ({"User-Agent": "Mozilla/5.0"}, False),
        ({"Accept-Language": "de"}, False),
        ({"Sec-Fetch-Mode": "no-cors"}, False),
        ({"Referer": "http://evil.example/"}, False),
        ({"Accept-Language": "de", "Referer": "http://127.0.0.1:{port}/"}, True),
    ],
)
def test_requests_that_pages_can_send(tiny, headers, answered):
    """tests/web/test_foreign_pages.py shows that browsers send these; the table is in test_access.c."""
    headers = {name: value.format(port=tiny.port) for name, value in headers.items()}
    expected = 200 if answered else 403
    simple = headers | {"Content-Type": "text/plain"}
    assert get(tiny, "/chat?prompt=x&max_new_tokens=1", headers).status == expected
    native = {"messages": BODY["messages"], "max_new_tokens": 1}
    for path, body in ((CHAT, BODY), ("/chat", native)):
        reply = post(tiny, path, body, simple)
        assert reply.status == expected
        assert answered or reply.error["code"] == "origin_not_allowed"
        assert post(tiny, path, body, headers).status == 200  # JSON: a browser would ask first
    for path in ("/", "/health", "/live", "/v1/models", "/metrics"):
        assert get(tiny, path, headers).status == 200


def test_plain_curl(tiny):
    done = subprocess.run(
        ["curl", "-sN", "-d", '{"prompt":"x","max_new_tokens":2}', tiny.base_url + "/chat"],
        capture_output=True, check=True,
    )  # fmt: skip
    assert done.stdout.endswith(b"data: [DONE]\n\n")


@pytest.fixture
def key_file(tmp_path):
    path = tmp_path / "keys"
    path.write_text(f"first-key-1234\n{KEY}\n")
    path.chmod(0o600)
    return path


def test_api_keys(start_server, key_file):
    server = start_server("--offline", "--api-key-file", key_file)
    for headers in ({}, {"Authorization": f"Bearer {KEY}x"}, {"Authorization": KEY},
                    {"Authorization": "Bearer "}, {"x-api-key": KEY[:-1]}, {"x-api-key": ""},
                    {"Authorization": f"Basic {KEY}"}):  # fmt: skip
        for reply in (
            post(server, CHAT, BODY, headers),
            post(server, CHAT, b"{", headers),
            get(server, "/v1/models", headers),
            get(server, "/chat?prompt=x", headers),
        ):
            assert reply.status == 401, headers
            assert reply.error["code"] == "invalid_api_key"
            assert reply.headers["www-authenticate"] == "Bearer"
    for headers in ({"Authorization": f"Bearer {KEY}"}, {"Authorization": f"bearer {KEY}"},
                    {"x-api-key": KEY}, {"x-api-key": "first-key-1234"},
                    {"Authorization": "Bearer other", "x-api-key": KEY}):  # fmt: skip
        assert post(server, CHAT, BODY, headers).status == 200
        assert get(server, "/v1/models", headers).status == 200
    for path in ("/", "/favicon.svg", "/health"):
        assert get(server, path).status == 200
    assert KEY not in server.log_text()


STATUS = {"status", "version"}


def test_health_shows_figures_with_a_key(start_server, key_file):
    server = start_server("--offline", "--api-key-file", key_file)
    for headers in ({}, {"x-api-key": KEY + "x"}, {"x-api-key": ""}, {"Authorization": KEY}):
        reply = get(server, "/health", headers)
        assert reply.status == 200 and set(reply.json()) == STATUS, headers
        assert reply.json()["status"] == "ok"
    for headers in ({"x-api-key": KEY}, {"Authorization": f"Bearer {KEY}"}):
        told = get(server, "/health", headers).json()
        assert {"statistics", "connections", "running", "uptime_seconds"} | STATUS < set(told)
    for path in ("/live", "/ready"):
        assert set(get(server, path).json()) == {"status"}


def test_health_while_loading(hold_server, key_file):
    held = hold_server("--api-key-file", key_file)
    loading = STATUS | {"stage", "stage_done", "stage_total"}
    reply = get(held.server, "/health")
    assert reply.status == 503 and set(reply.json()) == loading
    told = get(held.server, "/health", {"x-api-key": KEY}).json()
    assert set(told) == loading | {"uptime_seconds", "history"}


def test_listening_on_all_addresses_needs_keys(run_kinglet, tiny_model_path):
    done = run_kinglet("serve", "--offline", "--model", tiny_model_path, "--host", "0.0.0.0",
                       "--port", 0, check=False)  # fmt: skip
    assert done.returncode != 0
    for word in (b"0.0.0.0", b"--api-key-file", b"--no-auth"):
        assert word in done.stderr


def test_listening_on_all_addresses_with_keys_or_an_option(start_server, key_file):
    server = start_server("--offline", "--host", "0.0.0.0", "--api-key-file", key_file)
    assert get(server, "/v1/models").status == 401
    server = start_server("--offline", "--host", "0.0.0.0", "--no-auth")
    assert get(server, "/v1/models").status == 200
    assert get(server, "/v1/models", {"Host": "evil.example"}).status == 403


def test_the_advice_in_a_container(start_server, key_file):
    """The image sets the variable `container`, like systemd and podman."""
    said, inside = "--host 0.0.0.0 and --api-key-file FILE, or --no-auth", {"container": "oci"}
    server = start_server("--offline", env=inside)
    assert said in server.log_with("s after the start)").splitlines()[2]
    server = start_server("--offline", "--host", "localhost", "--api-key-file", key_file, env=inside)
    assert said in server.log_with("s after the start)")
    for options, env in ((("--host", "0.0.0.0", "--no-auth"), inside), ((), {})):
        server = start_server("--offline", *options, env=env)
        assert said not in server.log_with("s after the start)")


def test_a_port_in_use(run_kinglet, tiny, tiny_model_path):
    done = run_kinglet("serve", "--offline", "--model", tiny_model_path, "--port", tiny.port,
                       check=False)  # fmt: skip
    assert done.returncode != 0
    assert f"127.0.0.1 port {tiny.port} is in use".encode() in done.stderr
    assert b"--port" in done.stderr
