"""POST /api/pull: what it may download, its progress, and clients that leave, with a source on this computer."""

import http.server
import json
import threading
import time

import ollama
import pytest
from api_client import Connection, post, wait_until

NAME = "qwen2.5-0.5b-instruct"
BYTES = 491400032
SHA256 = "74a4da8c9fdbcd15bd1f6d01d621410d31c6fc00986f5eb687824e7b93d7a9db"


class Source(http.server.BaseHTTPRequestHandler):
    """A mirror that sends the right number of wrong bytes, slowly."""

    def log_message(self, *_):
        pass

    def do_GET(self):
        server = self.server
        server.running += 1
        try:
            self.send_response(200)
            self.send_header("Content-Length", str(BYTES))
            self.end_headers()
            while not server.over.is_set():
                self.wfile.write(b"x" * 50_000)
                time.sleep(0.02)
        except ConnectionError:
            pass
        finally:
            server.running -= 1


@pytest.fixture
def source():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Source)
    server.daemon_threads = True
    server.running, server.over = 0, threading.Event()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.over.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def start(start_server, tmp_path):
    """start(*options, source) -> a server with a cache of its own, whose models come from this source."""

    def run(*options, source=None):
        mirror = f"http://127.0.0.1:{source.server_port if source else 1}"
        env = {"XDG_CACHE_HOME": str(tmp_path), "HF_ENDPOINT": mirror, "MODELSCOPE_ENDPOINT": "http://127.0.0.1:1",
               "http_proxy": "", "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": ""}  # fmt: skip
        return start_server("--offline", *options, env=env)

    return run


def pull(server, name=NAME, **fields):
    return post(server, "/api/pull", {"model": name, **fields})


def test_a_model_that_is_here(tiny):
    for name in ("tiny", "TINY:latest"):
        lines = [json.loads(line) for line in pull(tiny, name).body.splitlines()]
        assert lines[0] == {"status": "pulling manifest"} and lines[-1] == {"status": "success"}
        assert pull(tiny, name, stream=False).json() == {"status": "success"}
    assert ollama.Client(tiny.base_url).pull("tiny").status == "success"


def test_it_needs_the_option(start):
    server = start()
    for name in (NAME, "nothing-like-this"):
        reply = pull(server, name)
        assert reply.status == 403 and "--allow-pull" in reply.json()["error"]
    for body, status in ((b"{", 400), ({}, 400), ({"model": 5}, 400), ({"model": "x" * 20000}, 413),
                         ({"model": NAME, "stream": "yes"}, 400)):  # fmt: skip
        reply = post(server, "/api/pull", body)
        assert reply.status == status and list(reply.json()) == ["error"]


def test_unknown_names(start):
    server = start("--allow-pull")
    reply = pull(server, "llama3.2")
    assert reply.status == 404 and reply.json()["error"].startswith("model 'llama3.2' not found")


def test_a_source_that_cannot_be_reached(start):
    server = start("--allow-pull")
    lines = [json.loads(line) for line in pull(server).body.splitlines()]
    assert lines[0] == {"status": "pulling manifest"} and "no source" in lines[-1]["error"]
    reply = pull(server, stream=False)
    assert reply.status == 502 and "no source" in reply.json()["error"]


def test_progress_and_a_client_that_leaves(start, source):
    server = start("--allow-pull", source=source)
    with Connection(server) as c:
        c.send("POST", "/api/pull", {"name": NAME + ":latest"})
        assert c.read_head()[0] == 200
        seen = []
        for _, data in c.chunks():
            seen.append(json.loads(data))
            if len(seen) > 4 and seen[-1]["completed"] > 100_000:
                break
        assert seen[0] == {"status": "pulling manifest"}
        for line in seen[1:]:
            assert line["digest"] == f"sha256:{SHA256}" and line["total"] == BYTES
            assert line["status"] == f"pulling {SHA256[:12]}"
        done = [line["completed"] for line in seen[1:]]
        assert done == sorted(done)

        second = pull(server)
        assert second.status == 429 and NAME in second.json()["error"] and second.headers["retry-after"]
        assert post(server, "/v1/chat/completions",
                    {"messages": [{"role": "user", "content": "x"}], "max_tokens": 1}).status == 200  # fmt: skip
        c.reset()
    wait_until(lambda: source.running == 0, "the download goes on")
    wait_until(lambda: pull_begins(server), "the place of the download is still taken")


def pull_begins(server):
    with Connection(server) as c:
        c.send("POST", "/api/pull", {"model": NAME})
        return c.read_head()[0] == 200


def test_the_total_is_bounded(start, source, tmp_path):
    """All files in the models directory count, unfinished downloads included; a client gets Ollama's error."""
    models = tmp_path / "kinglet" / "models"
    (models / "someone" / "repository").mkdir(parents=True)
    for path in (models / "a.gguf", models / "someone" / "repository" / "b.gguf.part"):
        with path.open("wb") as file:
            file.truncate(100 << 20)
    server = start("--allow-pull", "--allow-pull-size", "600M", source=source)
    reply = pull(server, stream=False)
    assert reply.status == 507 and "--allow-pull-size" in reply.json()["error"]
    lines = [json.loads(line) for line in pull(server).body.splitlines()]
    assert lines[0] == {"status": "pulling manifest"}
    assert list(lines[-1]) == ["error"] and "--allow-pull-size" in lines[-1]["error"]
    wait_until(lambda: source.running == 0, "the download goes on")
    (models / "a.gguf").unlink()
    assert pull_begins(server)  # now there is room


def test_stopping_the_server(start, source):
    """A download does not keep the server from stopping."""
    server = start("--allow-pull", source=source)
    with Connection(server) as c:
        c.send("POST", "/api/pull", {"model": NAME})
        assert c.read_head()[0] == 200
        wait_until(lambda: source.running == 1, "no download")
        assert server.stop() == 0
