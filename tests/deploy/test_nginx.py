"""deploy/nginx/kinglet.conf, run by Debian's nginx."""

import json

import proxies
import pytest
from api_client import Connection, get, health, post
from proxies import free_port

# The file that includes the configuration, like Debian's nginx.conf, in a separate directory.
MAIN = """
daemon off;
pid {directory}/nginx.pid;
error_log stderr;
events {{ worker_connections 256; }}
http {{
    access_log off;
    gzip on;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    scgi_temp_path {directory}/scgi;
    uwsgi_temp_path {directory}/uwsgi;
    include {directory}/kinglet.conf;
}}
"""


@pytest.fixture(scope="module")
def start_nginx(tmp_path_factory):
    """start_nginx(upstream_port, **changes) -> Proxy. changes: replacements in the configuration's text."""
    started = []

    def start(upstream_port, **changes):
        directory, port = tmp_path_factory.mktemp("nginx"), free_port()
        text = (proxies.DEPLOY / "nginx" / "kinglet.conf").read_text()
        ports = {"127.0.0.1:7860": f"127.0.0.1:{upstream_port}"}
        ports |= {k: v.format(port=port) for k, v in changes.items()}
        ports |= {"listen 80;": f"listen 127.0.0.1:{port};"} if not changes else {}
        (directory / "kinglet.conf").write_text(proxies.replaced(text, **ports))
        (directory / "nginx.conf").write_text(MAIN.format(directory=directory))
        command = ["nginx", "-p", directory, "-e", "stderr", "-c", directory / "nginx.conf"]
        started.append(proxies.Proxy(command, port, directory / "log"))
        return started[-1]

    yield start
    for nginx in started:
        nginx.end()


@pytest.fixture(scope="module")
def nginx(start_nginx, server):
    """nginx in front of the server with the real model."""
    return start_nginx(server.port)


def test_streams(nginx, server):
    proxies.check_stream(nginx, server)


@pytest.mark.parametrize("streamed", [True, False])
def test_a_client_that_disconnects(nginx, server, streamed):
    proxies.check_disconnect(nginx, server, streamed)


def test_the_openai_client(nginx):
    proxies.check_openai_client(nginx)


def test_the_page(nginx, server):
    proxies.check_page(nginx, server)


def test_errors(nginx):
    proxies.check_errors(nginx)


def test_a_refusal(start_nginx, start_server, model_path):
    server = start_server("--offline", "--parallel", 1, "--queue", 1, model=model_path)
    proxies.check_refusal(start_nginx(server.port), server)


def test_metrics(nginx):
    proxies.check_metrics_are_not_public(nginx)


def test_doctor(nginx, run_kinglet):
    proxies.check_doctor(nginx, run_kinglet)


def test_bodies(nginx):
    """The longest body that kinglet accepts passes; longer ones are refused in JSON."""
    longest = json.dumps({"prompt": "Hi", "max_new_tokens": 1}).encode().ljust(1 << 20)
    assert post(nginx, "/chat", longest).status == 200
    reply = post(nginx, "/chat", longest + b" ")
    assert reply.status == 413 and reply.error["code"] == "body_too_large"


def test_kinglet_is_not_running(start_nginx):
    reply = get(start_nginx(free_port()), "/health")
    assert reply.status == 503 and reply.error["code"] == "unreachable"
    assert reply.headers["retry-after"] == "5"


def test_connections_are_kept(start_nginx, start_server):
    server = start_server("--offline")
    nginx = start_nginx(server.port)
    before = health(server)["connections"]["accepted"]
    for _ in range(20):
        with Connection(nginx) as c:
            c.send("POST", "/v1/chat/completions", {"messages": proxies.STORY, "max_tokens": 1})
            assert c.read().status == 200
    # one worker's connection, of the last request and the next; and the test's own requests
    assert health(server)["connections"]["accepted"] - before < 10


def test_tls(start_nginx, server, certificate):
    """Uses the lines for TLS, which are a comment in the file."""
    nginx = start_nginx(
        server.port,
        **{
            "    listen 80;\n": "",
            "#tls listen 443": "#tls listen 127.0.0.1:{port}",
            "/etc/nginx/kinglet.key": str(certificate.key),
            "/etc/nginx/kinglet.crt": str(certificate.crt),
            "#tls ": "",
        },
    )
    proxies.check_tls(nginx, certificate)
