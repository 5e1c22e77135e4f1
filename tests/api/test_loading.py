"""While the model is being loaded, the page opens, /health shows the progress, and requests wait."""

import json
import re
import signal

import pytest
from api_client import CHAT, HELLO, SOON, Connection, get, post, wait_until

NO_MODEL = 3


def begin_stream(server, connection, **fields):
    """Sends a chat request, reads its head and first comment; returns the iterator of its chunks."""
    connection.send("POST", CHAT, {"messages": HELLO, "stream": True, "max_tokens": 4, **fields})
    status, headers = connection.read_head()
    assert status == 200 and headers["content-type"].startswith("text/event-stream")
    chunks = connection.chunks()
    assert next(chunks)[1].startswith(b": loading, downloading")
    return chunks


def events(chunks):
    text = b"".join(data for _, data in chunks).decode()
    return [line.removeprefix("data: ") for line in text.split("\n") if line.startswith("data: ")]


def test_health_page_and_models(hold_server):
    server = hold_server().server
    health = get(server, "/health")
    assert health.status == 503
    body = health.json()
    assert body["status"] == "loading" and body["stage"] == "downloading"
    assert body["stage_done"] == 0 and body["uptime_seconds"] >= 0
    page = get(server, "/", {"Accept": "text/html"})
    assert page.status == 200 and b"<html" in page.body
    models = get(server, "/v1/models")
    assert models.status == 503 and models.error["code"] == "loading"
    assert models.headers["retry-after"] == "1"


def test_invalid_requests_are_refused_at_once(hold_server):
    server = hold_server().server
    reply = post(server, CHAT, {"messages": HELLO, "temperature": "hot"})
    assert reply.status == 400 and reply.error["param"] == "temperature"
    assert post(server, "/chat", {"prompt": ""}).status == 400


def test_requests_wait_and_are_answered(hold_server, model_path):
    held = hold_server("--strict-model", model=model_path)
    server = held.server
    with (
        Connection(server) as streamed,
        Connection(server) as whole,
        Connection(server) as native,
        Connection(server) as wrong,
        Connection(server) as wrong_stream,
    ):
        chunks = begin_stream(server, streamed)
        whole.send("POST", CHAT, {"messages": HELLO, "max_tokens": 4})
        native.send("POST", "/chat", {"prompt": "Hello", "max_new_tokens": 4})
        wrong.send("POST", CHAT, {"messages": HELLO, "logit_bias": {"999999": 1}})
        refused = begin_stream(server, wrong_stream, logit_bias={"999999": 1})
        assert get(server, "/health").status == 503
        held.give()

        received = events(chunks)
        assert received[-1] == "[DONE]"
        first, *_, last = (json.loads(e) for e in received[:-1])
        assert first["choices"][0]["delta"]["role"] == "assistant"
        assert last["choices"][0]["finish_reason"] in ("stop", "length")
        text = "".join(
            json.loads(e)["choices"][0]["delta"].get("content") or "" for e in received[:-1]
        )
        assert text == whole.read().json()["choices"][0]["message"]["content"] != ""
        assert native.read_head()[0] == 200
        assert text == "".join(json.loads(e)["text"] for e in events(native.chunks())[:-1])
        reply = wrong.read()
        assert reply.status == 400 and reply.error["param"] == "logit_bias"
        error, done = events(refused)
        assert json.loads(error)["error"]["param"] == "logit_bias" and done == "[DONE]"
    assert get(server, "/health").json()["status"] == "ok"
    assert get(server, "/v1/models").status == 200


def test_the_limit_of_waiting_requests(hold_server):
    server = hold_server("--parallel", 1, "--queue", 1).server
    question = {"messages": HELLO, "stream": True}
    with Connection(server) as first, Connection(server) as second:
        begin_stream(server, first)
        begin_stream(server, second)
        refused = post(server, CHAT, question)
        assert refused.status == 429 and refused.error["code"] == "queue_full"
        assert int(refused.headers["retry-after"]) >= 1
        first.reset()
        status = 429
        while status == 429:  # until the server has noticed that the first client disconnected
            with Connection(server) as third:
                third.send("POST", CHAT, question)
                status, _ = third.read_head()
        assert status == 200


def test_waiting_requests_are_held_as_text(hold_server, model_path):
    """Parsed JSON would take several times as much memory, and is not counted."""
    held = hold_server(model=model_path)
    turns = [{"role": "user", "content": "word " * 14}] * 9900  # nearly as many values as allowed
    body = json.dumps({"messages": turns, "stream": True}).encode()

    def n_held():
        metrics = get(held.server, "/metrics").body.decode()
        return float(re.search(r"^kinglet_connection_held_bytes (\S+)", metrics, re.M)[1])

    with Connection(held.server) as streamed, Connection(held.server) as whole:
        streamed.send("POST", CHAT, body)
        assert streamed.read_head()[0] == 200
        assert len(body) <= n_held() < 2 * len(body)
        whole.send("POST", CHAT, {"messages": HELLO, "max_tokens": 1, "stop": ["a", "b"]})
        held.give()
        error, done = events(streamed.chunks())
        assert json.loads(error)["error"]["code"] == "context_length_exceeded"
        assert whole.read().status == 200
    wait_until(lambda: n_held() < 4096, "it is kept", SOON)


def test_an_unavailable_model(hold_server):
    held = hold_server()
    server = held.server
    with Connection(server) as streamed, Connection(server) as whole:
        chunks = begin_stream(server, streamed)
        whole.send("POST", CHAT, {"messages": HELLO})
        held.give_up()
        error, done = events(chunks)
        error = json.loads(error)["error"]
        assert error["code"] == "loading_failed" and held.name in error["message"]
        assert done == "[DONE]"
        reply = whole.read()
        assert reply.status == 503 and reply.error["code"] == "loading_failed"
    assert server.process.wait(30) == NO_MODEL
    assert f"no source has {held.name}" in server.log_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_at_once(hold_server, number):
    server = hold_server().server
    with Connection(server) as streamed, Connection(server) as whole:
        chunks = begin_stream(server, streamed)
        whole.send("POST", CHAT, {"messages": HELLO})
        get(server, "/health")  # the previous request has been received
        server.process.send_signal(number)
        error, done = events(chunks)
        assert json.loads(error)["error"]["code"] == "stopping" and done == "[DONE]"
        assert whole.read().status == 503
    assert server.process.wait(30) == 0
