"""A proxy installed on this system in front of kinglet servers, with the configuration in deploy/, and
checks that every proxy must pass."""

import json
import re
import socket
import ssl
import subprocess
import urllib.request
from pathlib import Path

import openai
import pytest
from api_client import CHAT, Connection, get, health, post, wait_until

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
STORY = [{"role": "user", "content": "Tell me a very long story about a lighthouse."}]
SOON = 30  # seconds, for operations without delay: only guards against hanging


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as s:
        return s.getsockname()[1]


class Proxy:
    """A foreground process that listens on a port of 127.0.0.1; its output goes to log."""

    def __init__(self, command, port, log):
        self.port, self.log = port, Path(log)
        self.base_url = f"http://127.0.0.1:{port}"
        with open(log, "wb") as out:
            self.process = subprocess.Popen(
                [str(c) for c in command], stdin=subprocess.DEVNULL, stdout=out, stderr=out
            )
        wait_until(self.listens, "the proxy does not listen")

    def listens(self):
        said = self.log.read_text(errors="replace")
        assert self.process.poll() is None, f"the proxy ended at its start:\n{said[-4000:]}"
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", self.port)) == 0

    def end(self):
        self.process.terminate()
        try:
            self.process.wait(SOON)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            pytest.fail(f"the proxy did not end:\n{self.log.read_text(errors='replace')[-4000:]}")


def replaced(text, **changes):
    """Returns a configuration with other ports and files; the replaced texts must occur in it."""
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, str(new))
    return text


def check_stream(proxy, server):
    """Checks that the answer arrives in pieces while it is generated, not at its end."""
    reads, received, running = 0, b"", None
    with Connection(proxy) as c:
        c.send("POST", CHAT, {"messages": STORY, "stream": True, "max_tokens": 64})
        while b"data: [DONE]" not in received:
            received += c.more()
            reads += 1
            if running is None and b'"content":"' in received.replace(b'"content":""', b""):
                running = health(server)["running"]
    head = received.split(b"\r\n\r\n")[0].lower()
    assert b"content-type: text/event-stream" in head
    assert b"transfer-encoding: chunked" in head and b"content-encoding" not in head
    assert running == 1, "the first text arrived when the answer was complete"
    # a pass gives up to 8 tokens, where guesses were right
    assert reads > 7, f"64 tokens arrived in {reads} pieces"


def check_disconnect(proxy, server, streamed):
    """Checks that a disconnect from the proxy frees the slot in the server."""
    before = health(server)["requests_cancelled"]
    with Connection(proxy) as c:
        c.send("POST", CHAT, {"messages": STORY, "stream": streamed, "max_tokens": -1})
        if streamed:
            c.read_head()
        wait_until(lambda: health(server)["running"] == 1, "it does not begin")
    wait_until(lambda: health(server)["running"] == 0, "it still runs")
    assert health(server)["requests_cancelled"] == before + 1


def check_openai_client(proxy):
    with openai.OpenAI(base_url=proxy.base_url + "/v1", api_key="none", max_retries=0) as client:
        (model,) = client.models.list().data
        fields = {"model": model.id, "messages": STORY, "max_tokens": 16}
        whole = client.chat.completions.create(**fields)
        chunks = list(client.chat.completions.create(**fields, stream=True))
        text = "".join(c.choices[0].delta.content or "" for c in chunks)
        assert text == whole.choices[0].message.content
        with pytest.raises(openai.BadRequestError, match="temperature"):
            client.chat.completions.create(**fields, temperature=9)


def check_page(proxy, server):
    """Checks that the page and its files have the same bytes as without the proxy."""
    named = re.findall(r'(?:src|href)="([\w./-]+)"', get(server, "/", {"Accept": "text/html"}).body.decode())
    assert len(named) >= 2
    for path in ("/", "/licenses.txt", *(f"/{name}" for name in named)):
        reply, own = (get(at, path, {"Accept": "text/html"}) for at in (proxy, server))
        assert reply.status == own.status == 200 and reply.body == own.body, path
        assert reply.headers["content-type"] == own.headers["content-type"]
    origin = {"Origin": proxy.base_url, "Sec-Fetch-Site": "same-origin"}
    assert post(proxy, "/chat", {"prompt": "Hi", "max_new_tokens": 1}, origin).status == 200
    foreign = {"Origin": "http://elsewhere.example"}
    assert post(proxy, "/chat", {"prompt": "Hi"}, foreign).error["code"] == "origin_not_allowed"


def check_errors(proxy):
    """Checks that kinglet's own errors pass unchanged."""
    assert post(proxy, CHAT, b"{").error["code"] == "invalid_json"
    assert get(proxy, "/nothing").error["code"] == "not_found"
    with Connection(proxy) as c:
        c.send("GET", "/health", headers={"Host": "rebound.example"})
        assert c.read().error["code"] == "host_not_allowed"


def check_refusal(proxy, server):
    """Checks that a 429 of a server with one slot and a queue of one passes with Retry-After."""
    fields = {"messages": STORY, "stream": True, "max_tokens": -1}
    with Connection(proxy) as first, Connection(proxy) as second:
        first.send("POST", CHAT, fields)
        first.read_head()
        wait_until(lambda: health(server)["running"] == 1, "it does not begin")
        second.send("POST", CHAT, fields)
        second.read_head()
        reply = post(proxy, CHAT, fields)
    assert reply.status == 429 and reply.error["code"] == "queue_full"
    assert int(reply.headers["retry-after"]) >= 1


def check_metrics_are_not_public(proxy):
    for path in ("/metrics", "/metrics/", "//metrics", "/%6detrics", "/v1/metrics", "/metrics?a=b"):
        reply = get(proxy, path)
        assert reply.status == 404 and reply.error["code"] == "not_found", path


def check_doctor(proxy, run_kinglet):
    done = run_kinglet("doctor", "--url", proxy.base_url + "/v1", check=False)
    said = done.stdout.decode()
    assert done.returncode == 0, said
    assert "a real stream" in said and "the work stops" in said


def check_tls(proxy, certificate):
    origin = f"https://localhost:{proxy.port}"
    request = urllib.request.Request(
        origin + "/chat",
        json.dumps({"prompt": "Hi", "max_new_tokens": 2}).encode(),
        {"Origin": origin, "Content-Type": "application/json"},
    )
    trusted = ssl.create_default_context(cafile=certificate.crt)
    with urllib.request.urlopen(request, context=trusted) as reply:
        assert reply.read().endswith(b"data: [DONE]\n\n")
