"""Answers that outlive their clients: X-Answer-Id, and GET and DELETE /v1/answers/ID."""

import json
import uuid

import pytest
from api_client import CHAT, HELLO, PATIENCE, Connection, call, get, health, post, wait_until

NO_MODEL = 3
LONG = {"max_tokens": -1, "ignore_eos": True, "temperature": 0}
PLAIN = {"prompt": "one two", **LONG}
TURNS = {"messages": HELLO, **LONG}
OLLAMA = {"options": {"num_predict": 400, "temperature": 0, "ignore_eos": True}}
# path, body of a stream
ROUTES = {
    "chat": (CHAT, {**TURNS, "stream": True}),
    "native": ("/chat", {"messages": HELLO, "max_new_tokens": 300}),
    "completions": ("/v1/completions", {**PLAIN, "stream": True}),
    "llama-server": ("/completion", {"prompt": "one two", "n_predict": -1, "ignore_eos": True, "stream": True}),
    "responses": ("/v1/responses", {"input": "Hello", "max_output_tokens": 400, "stream": True}),
    "messages": ("/v1/messages", {"messages": HELLO, "max_tokens": 400, "stream": True}),
    "ollama chat": ("/api/chat", {"model": "tiny", "messages": HELLO, **OLLAMA}),
    "ollama generate": ("/api/generate", {"model": "tiny", "prompt": "one", **OLLAMA}),
}


def new_id():
    return str(uuid.uuid4())


def begin(server, path, body, answer_id, events=1):
    """Sends a request, reads as many events, and leaves. Returns them."""
    with Connection(server) as c:
        c.send("POST", path, body, {"X-Answer-Id": answer_id})
        status, _ = c.read_head()
        assert status == 200, c.rest
        found = []
        chunks = c.chunks()
        while len(found) < events:
            _, data = next(chunks)
            if not data.startswith(b":"):
                found.append(data)
        return found


def without_comments(pieces):
    return [data for _, data in pieces if not data.startswith(b":")]


def resume(server, answer_id, start=None, headers=None):
    """Returns the events of an answer, to its end."""
    with Connection(server) as c:
        query = "" if start is None else f"?from={start}"
        c.send("GET", f"/v1/answers/{answer_id}{query}", headers=headers)
        status, got = c.read_head()
        assert status == 200, c.rest
        return got["content-type"], without_comments(c.chunks())


@pytest.fixture(scope="module")
def server(server_factory, tiny_model_path):
    server = server_factory("--offline", "--parallel", 2, "--queue", 4, model=tiny_model_path)
    yield server
    server.end()


@pytest.fixture
def answer_id(server):
    """An ID, whose answer is deleted behind the test."""
    name = new_id()
    yield name
    call(server, "DELETE", f"/v1/answers/{name}")


@pytest.mark.parametrize("route", ROUTES)
def test_the_answer_goes_on_without_its_client(server, answer_id, route):
    path, body = ROUTES[route]
    first = begin(server, path, body, answer_id)
    kind, events = resume(server, answer_id)
    assert events[: len(first)] == first
    assert kind.startswith("application/x-ndjson" if path.startswith("/api") else "text/event-stream")
    assert all(e.endswith(b"}\n") if path.startswith("/api") else e.endswith(b"\n\n") for e in events)
    assert resume(server, answer_id) == (kind, events)  # it is kept
    assert resume(server, answer_id, 3) == (kind, events[3:])
    assert resume(server, answer_id, len(events) - 1) == (kind, events[-1:])
    assert resume(server, answer_id, len(events) + 5) == (kind, [])
    assert call(server, "DELETE", f"/v1/answers/{answer_id}").status == 200
    assert get(server, f"/v1/answers/{answer_id}").status == 404


@pytest.mark.parametrize("route", ROUTES)
def test_a_document_is_kept(server, answer_id, route):
    path, body = ROUTES[route]
    if route == "native":
        return  # has only streams
    body = {**body, "stream": False}
    with Connection(server) as c:
        c.send("POST", path, body, {"X-Answer-Id": answer_id})
        first = c.read()
    assert first.status == 200
    again = get(server, f"/v1/answers/{answer_id}")
    assert (again.status, again.body) == (200, first.body)
    assert again.headers["content-type"] == first.headers["content-type"]
    assert get(server, f"/v1/answers/{answer_id}?from=1").error["param"] == "from"


def test_a_document_is_waited_for(server, answer_id):
    with Connection(server) as c:
        c.send("POST", CHAT, TURNS, {"X-Answer-Id": answer_id})
        wait_until(lambda: health(server)["running"] == 1, "it does not begin")
    reply = get(server, f"/v1/answers/{answer_id}")
    assert reply.status == 200 and reply.json()["object"] == "chat.completion"


def test_several_watch_while_it_runs(server, answer_id):
    # short enough for the buffers of a socket: the others are read when the owner's is at its end
    body = {**ROUTES["chat"][1], "max_tokens": 300}
    with Connection(server) as owner, Connection(server) as one, Connection(server) as other:
        owner.send("POST", CHAT, body, {"X-Answer-Id": answer_id})
        owner.read_head()
        one.send("GET", f"/v1/answers/{answer_id}")
        one.read_head()
        other.send("GET", f"/v1/answers/{answer_id}?from=20")  # which is not there yet, perhaps
        other.read_head()
        whole = without_comments(owner.chunks())
        assert without_comments(one.chunks()) == whole
        assert without_comments(other.chunks()) == whole[20:]
    assert whole[-1] == b"data: [DONE]\n\n"


@pytest.mark.parametrize("name", ["", "x", "123", new_id() + "0", new_id().replace("-", "x"), "g" + new_id()[1:]])
def test_what_is_no_id(server, name):
    error = post(server, CHAT, TURNS, {"X-Answer-Id": name})
    assert error.status == 400 and error.error["param"] == "X-Answer-Id"
    assert get(server, f"/v1/answers/{name}").status == 404


@pytest.mark.parametrize("start", ["-1", "x", "1.5", "", "%201", "1e3", "99999999999999999999"])
def test_what_is_no_number(server, answer_id, start):
    begin(server, *ROUTES["chat"], answer_id)
    reply = get(server, f"/v1/answers/{answer_id}?from={start}")
    assert reply.status == 400 and reply.error["param"] == "from"


def test_a_nul_is_not_the_end_of_a_number(server, answer_id):
    begin(server, *ROUTES["chat"], answer_id)
    assert get(server, f"/v1/answers/{answer_id}?from=0%00x").status == 400


def test_an_id_in_use(server, answer_id):
    path, body = ROUTES["chat"]
    begin(server, path, body, answer_id)
    for name in (answer_id, answer_id.upper()):
        reply = post(server, path, body, {"X-Answer-Id": name})
        assert reply.status == 409 and reply.error["code"] == "answer_id_in_use"
    resume(server, answer_id)
    assert post(server, path, body, {"X-Answer-Id": answer_id}).status == 409  # it is kept
    call(server, "DELETE", f"/v1/answers/{answer_id}")
    begin(server, path, body, answer_id)


def test_a_refused_request_leaves_its_id_free(server, answer_id):
    assert post(server, CHAT, {"messages": 3}, {"X-Answer-Id": answer_id}).status == 400
    assert get(server, f"/v1/answers/{answer_id}").status == 404
    begin(server, *ROUTES["chat"], answer_id)


def test_delete_stops_it(server, answer_id):
    with Connection(server) as watcher:
        begin(server, *ROUTES["chat"], answer_id)
        watcher.send("GET", f"/v1/answers/{answer_id}")
        watcher.read_head()
        reply = call(server, "DELETE", f"/v1/answers/{answer_id}")
        assert reply.json() == {"id": answer_id, "object": "answer", "deleted": True}
        events = without_comments(watcher.chunks())
    assert json.loads(events[-2][6:])["error"]["code"] == "cancelled" and events[-1] == b"data: [DONE]\n\n"
    wait_until(lambda: health(server)["running"] == 0, "it still runs")
    assert get(server, f"/v1/answers/{answer_id}").status == 404
    assert call(server, "DELETE", f"/v1/answers/{answer_id}").status == 404


# ---- API keys ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def keyed(server_factory, tiny_model_path, tmp_path_factory):
    keys = tmp_path_factory.mktemp("keys") / "keys"
    keys.write_text("one-of-the-keys\nanother-of-them\n")
    keys.chmod(0o600)
    server = server_factory("--offline", "--api-key-file", keys, model=tiny_model_path)
    yield server
    server.end()


def test_an_answer_is_of_one_key(keyed):
    mine, other = {"x-api-key": "one-of-the-keys"}, {"x-api-key": "another-of-them"}
    name, unknown = new_id(), new_id()
    body = {"messages": HELLO, "max_tokens": 5}
    first = post(keyed, CHAT, body, {"X-Answer-Id": name, **mine})
    assert first.status == 200
    path = f"/v1/answers/{name}"
    hidden = get(keyed, path, other)
    nothing = get(keyed, f"/v1/answers/{unknown}", mine)
    assert hidden.status == nothing.status == 404 and hidden.body == nothing.body
    assert call(keyed, "DELETE", path, None, other).status == 404
    assert get(keyed, path).status == 401
    second = post(keyed, CHAT, body, {"X-Answer-Id": name, **other})  # their own
    assert second.status == 200
    assert get(keyed, path, mine).body == first.body != second.body
    assert get(keyed, path, other).body == second.body
    assert call(keyed, "DELETE", path, None, mine).status == 200
    assert get(keyed, path, other).status == 200


# ---- the background ------------------------------------------------------------------------------


def live(server):
    return health(server)["statistics"]["live_answers"]


@pytest.fixture(scope="module")
def one_place(server_factory, tiny_model_path):
    server = server_factory("--offline", "--parallel", 1, "--queue", 2, model=tiny_model_path)
    yield server
    server.end()


def text_of(events):
    chunks = [json.loads(e[6:]) for e in events[:-1]]
    return "".join(c["delta"].get("content") or "" for e in chunks for c in e["choices"])


def test_an_answer_without_a_reader_waits_for_others(one_place, endless):
    body = {"messages": endless, "stream": True, "max_tokens": -1, "temperature": 0}
    name = new_id()
    with Connection(one_place) as c:
        c.send("POST", CHAT, body)
        c.read_head()
        usual = without_comments(c.chunks())
    begin(one_place, CHAT, body, name)
    for _ in range(3):
        assert post(one_place, CHAT, {"messages": HELLO, "max_tokens": 5}).status == 200
    assert live(one_place) == {"running": 1, "ended": 0}
    assert text_of(resume(one_place, name)[1]) == text_of(usual)
    assert live(one_place) == {"running": 0, "ended": 1}
    call(one_place, "DELETE", f"/v1/answers/{name}")
    assert live(one_place) == {"running": 0, "ended": 0}


def test_one_that_waits_goes_on_waiting(one_place, endless):
    body = {"messages": endless, "stream": True, "max_tokens": -1}
    name = new_id()
    with Connection(one_place) as first, Connection(one_place) as second:
        first.send("POST", CHAT, body)
        first.read_head()
        second.send("POST", CHAT, {**body, "max_tokens": 5}, {"X-Answer-Id": name})
        second.read_head()
    _, events = resume(one_place, name)
    assert events[-1] == b"data: [DONE]\n\n"
    call(one_place, "DELETE", f"/v1/answers/{name}")


# ---- memory --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small(server_factory, tiny_model_path):
    """A server whose answers have 512 KB, of which one client may take a quarter for live ones."""
    options = ("--offline", "--parallel", 1, "--queue", 40, "--memory", "600M")
    server = server_factory(*options, model=tiny_model_path)
    yield server
    server.end()


@pytest.fixture
def occupied(small, endless):
    """The one place of `small` is taken, by a client that does not read."""
    with Connection(small, receive_buffer=4096) as c:
        more = {"logprobs": True, "top_logprobs": 20}
        c.send("POST", CHAT, {"messages": endless, "stream": True, "max_tokens": -1, **more})
        paused = lambda: health(small)["statistics"]["requests_active"]["paused"] == 1  # noqa: E731
        wait_until(paused, "it does not wait for its client")
        yield
    wait_until(lambda: health(small)["running"] == 0, "it has not ended")


def test_no_room_for_another(small, endless, occupied):
    body, names = {"messages": endless, "stream": True, "max_tokens": -1}, []
    done = new_id()
    loaded = post(small, "/api/generate", {"model": "tiny"}, {"X-Answer-Id": done})
    assert loaded.json()["done_reason"] == "load"  # this takes no place
    while True:
        names.append(new_id())
        with Connection(small) as c:
            c.send("POST", CHAT, body, {"X-Answer-Id": names[-1]})
            status, headers = c.read_head()
        if status != 200:
            break
        assert len(names) < 40
    assert status == 503 and headers["retry-after"] == "5"
    reply = post(small, CHAT, body, {"X-Answer-Id": names[-1]})
    assert reply.status == 503 and reply.error["code"] == "busy"
    assert get(small, f"/v1/answers/{done}").status == 404  # it has made room
    assert post(small, "/api/generate", {"model": "tiny"}).status == 200  # without an ID
    found = health(small)["statistics"]
    assert found["live_answers"] == {"running": len(names) - 1, "ended": 0}
    assert found["kept_answer_bytes"] <= 512 << 10
    for name in names[:-1]:
        assert call(small, "DELETE", f"/v1/answers/{name}").status == 200
    found = health(small)["statistics"]
    assert found["live_answers"] == {"running": 0, "ended": 0} and found["kept_answer_bytes"] == 0


def test_one_that_is_too_long_ends_with_an_error(small, endless):
    """Log-probabilities take most of an event."""
    name = new_id()
    body = {"messages": endless, "stream": True, "max_tokens": -1, "logprobs": True, "top_logprobs": 20}
    with Connection(small) as c:
        c.send("POST", CHAT, body, {"X-Answer-Id": name})
        c.read_head()
        events = without_comments(c.chunks())
    error = json.loads(events[-2][6:])["error"]
    assert error["code"] == "busy" and events[-1] == b"data: [DONE]\n\n"
    assert resume(small, name)[1] == events
    call(small, "DELETE", f"/v1/answers/{name}")


def test_a_long_document_is_an_error(server, endless, answer_id):
    body = {"messages": endless, "max_tokens": 1000, "logprobs": True, "top_logprobs": 20}
    reply = post(server, CHAT, body, {"X-Answer-Id": answer_id})
    assert reply.status == 400 and reply.error["code"] == "answer_too_long"


# ---- while the model is loaded -------------------------------------------------------------------


def test_while_the_model_is_loaded(hold_server):
    """A request that waits for the model waits without its client, too."""
    held, name = hold_server(), new_id()
    begun = {"messages": HELLO, "stream": True, "max_tokens": 3}
    with Connection(held.server) as c, Connection(held.server) as watcher:
        c.send("POST", CHAT, begun, {"X-Answer-Id": name})
        c.read_head()
        c.socket.close()
        assert post(held.server, CHAT, begun, {"X-Answer-Id": name}).status == 409
        watcher.send("GET", f"/v1/answers/{name}")
        assert watcher.read_head()[0] == 200
        held.give_up()
        error, done = without_comments(watcher.chunks())
    assert b'"loading_failed"' in error and done == b"data: [DONE]\n\n"
    assert held.server.process.wait(PATIENCE) == NO_MODEL
