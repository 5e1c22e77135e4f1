"""kinglet doctor's findings about an nginx with wrong settings; test_nginx.py has the right ones."""

import json

import proxies
import pytest

WARNINGS, BROKEN = 1, 5

CONFIGURATION = """
daemon off;
pid {directory}/nginx.pid;
error_log stderr;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    scgi_temp_path {directory}/scgi;
    uwsgi_temp_path {directory}/uwsgi;
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://127.0.0.1:{upstream};
            proxy_set_header Host $http_host;
            {settings}
        }}
    }}
}}
"""


@pytest.fixture
def examine(start_server, model_path, run_kinglet, tmp_path):
    """examine(*settings) -> (exit code, findings) of doctor for a server behind nginx."""
    nginx = None

    def run(*settings):
        nonlocal nginx
        server = start_server("--offline", "--drain-seconds", 1, model=model_path)
        port = proxies.free_port()
        text = CONFIGURATION.format(directory=tmp_path, port=port, upstream=server.port,
                                    settings="\n            ".join(settings))  # fmt: skip
        (tmp_path / "nginx.conf").write_text(text)
        command = ["nginx", "-p", tmp_path, "-e", "stderr", "-c", tmp_path / "nginx.conf"]
        nginx = proxies.Proxy(command, port, tmp_path / "log")
        done = run_kinglet("doctor", "--json", "--url", nginx.base_url, check=False)
        return done.returncode, json.loads(done.stdout)["findings"]

    yield run
    if nginx is not None:
        nginx.end()


def found(findings, *parts):
    matching = [f for f in findings if any(p in f["text"] for p in parts)]
    assert matching, f"nothing about {parts} in {findings}"
    return matching[0]


def test_an_nginx_that_buffers(examine):
    """nginx's defaults, with the server's header about buffering ignored."""
    code, findings = examine("proxy_buffering on;", "proxy_ignore_headers X-Accel-Buffering;")
    assert code in (WARNINGS, BROKEN)
    assert "proxy_buffering off" in found(findings, "held back on", "not a stream")["remedy"]
    found(findings, "the work stops", "the work continues")


def test_an_nginx_that_compresses(examine):
    code, findings = examine("proxy_http_version 1.1;", "gzip on;", "gzip_types text/event-stream;")
    assert code == WARNINGS
    assert "gzip_types" in found(findings, "the stream is compressed (gzip)")["remedy"]
    found(findings, "a real stream")  # for a client that does not offer gzip
    found(findings, "the work stops")
