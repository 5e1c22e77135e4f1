"""A real Prometheus that scrapes a real server, with the configuration in deploy/."""

import json
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import pytest
from api_client import CHAT, HELLO, Connection, complete, get, health, post, stream, wait_until

REPOSITORY = Path(__file__).resolve().parents[2]
SHIPPED = REPOSITORY / "deploy" / "prometheus"
PATIENCE = 120  # seconds; only guards against hanging
INTERVAL = "1s"  # between two scrapes; 15s in deploy/
KEY_LINES = "#authorization:\n    #  credentials_file: kinglet.key"
ENDLESS = ("one", "two", "three", "四", "5", "six", "7 7 7", "eight")


class Prometheus:
    """A separate Prometheus, which scrapes the server every second."""

    def __init__(self, directory, server, key=None):
        shutil.copytree(SHIPPED, directory)
        self.change(directory / "prometheus.yml", "15s", INTERVAL)
        self.change(directory / "targets.yml", "kinglet:7860", f"127.0.0.1:{server.port}")
        if key is not None:
            self.change(directory / "prometheus.yml", KEY_LINES, KEY_LINES.replace("#", ""))
            (directory / "kinglet.key").write_text(key + "\n")
        command = ["prometheus", f"--config.file={directory / 'prometheus.yml'}"]
        command += [f"--storage.tsdb.path={directory / 'data'}", "--web.listen-address=127.0.0.1:0"]
        self.log = directory / "log"
        with open(self.log, "wb") as out:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out
            )

        self.wait_until(self.address, "listen")
        self.url = f"http://{self.address()}"
        self.wait_until(self.is_ready, "get ready")

    def address(self):
        """Returns the address in its log, as soon as it listens."""
        said = re.search(r'"Listening on" address=(\S+)', self.log.read_text())
        return said and said[1]

    def is_ready(self):
        try:
            return urllib.request.urlopen(f"{self.url}/-/ready", timeout=PATIENCE).status == 200
        except urllib.error.HTTPError:
            return False

    @staticmethod
    def change(path, old, new):
        text = path.read_text()
        assert old in text, f"{path} does not have {old!r}"
        path.write_text(text.replace(old, new))

    def api(self, path, **parameters):
        """Returns the data of an answer of its HTTP API; an error fails the test."""
        url = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=PATIENCE) as reply:
                answer = json.load(reply)
        except urllib.error.HTTPError as e:
            answer = json.load(e)
        assert answer["status"] == "success", (parameters, answer)
        return answer["data"]

    def query(self, expression):
        """Returns the current series of an expression: (labels, value)."""
        data = self.api("query", query=expression)
        assert data["resultType"] == "vector", (expression, data)
        return [(r["metric"], float(r["value"][1])) for r in data["result"]]

    def wait_until(self, condition, what):
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            assert self.process.poll() is None, self.log.read_text()
            if condition():
                return
            time.sleep(0.05)
        pytest.fail(f"Prometheus did not {what} in {PATIENCE} s:\n{self.log.read_text()[-4000:]}")

    def wait_for(self, expression):
        """Waits until the expression has a value."""
        self.wait_until(lambda: self.query(expression), f"find {expression}")

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def ends(server):
    return health(server)["statistics"]["requests"]


def is_idle(server):
    found = health(server)
    return found["running"] + found["queued"] == 0


def abandon(server):
    """Begins streams and disconnects at the first text; some of these answers fill the tiny model's
    context."""
    for text in ENDLESS:
        with Connection(server) as c:
            messages = [{"role": "user", "content": text}]
            c.send("POST", CHAT, {"messages": messages, "stream": True, "max_tokens": -1})
            assert c.read_head()[0] == 200
            next((data for _, data in c.chunks() if b'"delta":{"content":' in data), None)
            c.reset()
        wait_until(lambda: is_idle(server), "the place is not free")
    assert ends(server)["client_left"] > 0
    assert health(server)["statistics"]["tokens"]["wasted"] > 0


def refuse(server):
    """One answer runs and one waits, so the next one is refused."""
    endless = {"messages": HELLO, "stream": True, "max_tokens": -1, "ignore_eos": True}
    with Connection(server) as running, Connection(server) as waiting:
        for c in (running, waiting):
            c.send("POST", CHAT, endless)
            assert c.read_head()[0] == 200
        assert post(server, CHAT, {"messages": HELLO}).status == 429
        running.reset()
        waiting.reset()
    wait_until(lambda: is_idle(server), "the place is not free")


def load(server):
    """Sends load to a server with one slot and a queue of one: answers, the same prompt again, refusals,
    clients that disconnect, invalid requests."""
    for n in range(3):
        messages = [{"role": "user", "content": "Please say something about it. " * 20 + str(n)}]
        complete(server, messages, max_tokens=20)
        stream(server, messages, max_tokens=20)
    refuse(server)
    assert post(server, CHAT, {"messages": HELLO, "temperature": 9}).status == 400
    assert get(server, "/nothing").status == 404
    abandon(server)


class Watched:
    def __init__(self, server, prometheus):
        self.server, self.prometheus = server, prometheus


@pytest.fixture(scope="session")
def start_prometheus(tmp_path_factory):
    """start_prometheus(server, key=None) -> Prometheus, ended with the session."""
    started = []

    def start(server, key=None):
        directory = tmp_path_factory.mktemp("prometheus") / "etc"
        started.append(Prometheus(directory, server, key))
        return started[-1]

    yield start
    for prometheus in started:
        prometheus.stop()


@pytest.fixture(scope="session")
def watched(server_factory, start_prometheus, tiny_model_path):
    """Watched: .server, a server on the tiny model after some load, and .prometheus, which scraped it
    before, during and after that, so that rates have values."""
    server = server_factory("--offline", "--parallel", 1, "--queue", 1, model=tiny_model_path)
    prometheus = start_prometheus(server)
    prometheus.wait_for('kinglet_requests_total{end="answered"} == 0')
    load(server)
    now = ends(server)
    for end in ("answered", "client_left", "refused_queue_full"):
        prometheus.wait_for(f'kinglet_requests_total{{end="{end}"}} == {now[end]}')
    yield Watched(server, prometheus)
    server.end()
