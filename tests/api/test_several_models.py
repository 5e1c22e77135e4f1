"""Several models in one server: which answers, when they are open, and what they share."""

import re
import shutil
import subprocess
import time

import pytest
from api_client import CHAT, HELLO, Connection, complete, get, health, post, stream

FIELDS = {"max_tokens": 12, "messages": HELLO}
PATIENCE_S = 60


@pytest.fixture(scope="module")
def files(make_tiny_model, tiny_model_path, tmp_path_factory):
    """{name: file}: the default, and two others."""
    directory = tmp_path_factory.mktemp("models")
    made = {
        "first": tiny_model_path,
        "second": make_tiny_model("--architecture", "qwen3", "--seed", "2"),
        "third": make_tiny_model("--seed", "3", "--context", "512"),
    }
    for name, path in made.items():
        shutil.copy(path, directory / f"{name}.gguf")
    return {name: directory / f"{name}.gguf" for name in made}


@pytest.fixture(scope="module")
def several(server_factory, files):
    server = server_factory(
        "--offline", "--model", files["second"], "--model", files["third"], "--alias", "small=third",
        "--alias", "gpt-4o", model=files["first"],
    )  # fmt: skip
    yield server
    server.end()


@pytest.fixture(scope="module")
def alone(server_factory, files):
    """The text of each model where it is the only one."""
    texts = {}
    for name, path in files.items():
        server = server_factory("--offline", model=path)
        texts[name] = text_of(complete(server, **FIELDS))
        server.end()
    assert len(set(texts.values())) == 3
    return texts


def text_of(document):
    return document["choices"][0]["message"]["content"]


def wait_for(condition):
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def open_names(server):
    return [m["name"].removesuffix(":latest") for m in get(server, "/api/ps").json()["models"]]


def unload(server, name):
    assert post(server, "/api/generate", {"model": name, "keep_alive": 0}).json()["done_reason"] == "unload"
    wait_for(lambda: name not in open_names(server))


def test_each_name_has_its_model(several, alone):
    """The same bits as alone, by each name and in each dialect's way to name it."""
    for name, model in {
        "first": "first", "second": "second", "SECOND:latest": "second", "third.gguf": "third",
        "small": "third", "gpt-4o": "first", "default": "first", "another": "first", None: "first",
    }.items():  # fmt: skip
        document = complete(several, **FIELDS, model=name)
        assert document["model"] == model
        assert text_of(document) == alone[model]
        received = stream(several, **FIELDS, model=name)
        assert received.text() == alone[model]
        assert {chunk["model"] for chunk in received.chunks} == {model}
    reply = post(several, "/api/chat", {"model": "second", "messages": HELLO, "stream": False,
                                        "options": {"num_predict": 12, "temperature": 0}})  # fmt: skip
    assert reply.json()["message"]["content"] == alone["second"]
    assert post(several, "/api/chat", {"model": "another", "messages": HELLO}).status == 404


def test_lists(several):
    listed = get(several, "/v1/models").json()["data"]
    assert [m["id"] for m in listed] == ["first", "gpt-4o", "second", "third", "small"]
    assert [m["meta"]["n_ctx"] for m in listed] == [4096, 4096, 4096, 512, 512]
    assert listed[0]["meta"]["loaded"] is True
    unload(several, "second")
    assert get(several, "/v1/models/second").json()["meta"]["loaded"] is False
    assert get(several, "/v1/models/small").json()["id"] == "small"
    assert get(several, "/v1/models/another").status == 404
    tags = get(several, "/api/tags").json()["models"]
    assert [m["name"] for m in tags] == [f"{m['id']}:latest" for m in listed]
    assert tags[2]["details"]["family"] == "qwen3"
    complete(several, **FIELDS, model="second")
    assert get(several, "/v1/models/second").json()["meta"]["loaded"] is True
    assert "second" in open_names(several)
    figures = health(several)
    assert figures["model"] == "first"
    assert figures["statistics"]["models"]["open"] >= 2
    assert 'kinglet_models{state="open"}' in get(several, "/metrics").body.decode()


def test_closed_models_are_shown_without_opening_them(several):
    unload(several, "second")
    shown = post(several, "/api/show", {"model": "second"}).json()
    assert shown["details"]["family"] == "qwen3" and "completion" in shown["capabilities"]
    unload(several, "second")  # again: it stays closed
    assert "second" not in open_names(several)


def test_keep_alive(several):
    """A model that is used is not closed; the default stays; -1 is as long as --keep-alive."""
    fields = {"model": "second", "messages": HELLO, "stream": False}
    with Connection(several) as c:
        c.send("POST", CHAT, {"messages": HELLO, "model": "second", "max_tokens": 3000, "stream": True,
                              "ignore_eos": True})  # fmt: skip
        assert c.read_head()[0] == 200
        post(several, "/api/chat", {**fields, "options": {"num_predict": 1}, "keep_alive": 0})
        assert "second" in open_names(several)
    wait_for(lambda: "second" not in open_names(several))
    post(several, "/api/chat", {**fields, "options": {"num_predict": 1}, "keep_alive": -1})
    (second,) = [m for m in get(several, "/api/ps").json()["models"] if m["name"] == "second:latest"]
    assert not second["expires_at"].startswith("21")
    assert post(several, "/api/generate", {"model": "first", "keep_alive": 0}).status == 200
    assert "first" in open_names(several)


def test_closed_after_a_while(start_server, files):
    server = start_server("--offline", "--keep-alive", 1, "--model", files["second"], model=files["first"])
    complete(server, **FIELDS, model="second")
    wait_for(lambda: open_names(server) == ["first"])
    complete(server, **FIELDS, model="second")
    assert "second" in open_names(server)


def test_same_bits_beside_a_busy_model(several, alone):
    """All models answer at the same time, and the caches of prompts are apart."""
    busy = {"messages": HELLO, "max_tokens": 3000, "stream": True, "ignore_eos": True}
    connections = [Connection(several) for _ in range(4)]
    for i, c in enumerate(connections):
        c.send("POST", CHAT, {**busy, "model": ("first", "third")[i % 2], "seed": i})
    for c in connections:
        assert c.read_head()[0] == 200
    for _ in range(3):
        for name, text in alone.items():
            assert text_of(complete(several, **FIELDS, model=name)) == text
    for c in connections:
        c.socket.close()


def test_other_work_of_each_model(several, files, start_server):
    """Rules, tokens, embeddings and kept answers are those of the model that is named."""
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    rule = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    one = start_server("--offline", model=files["second"])
    for fields in ({"response_format": rule}, {"logprobs": True, "top_logprobs": 2}):
        body = {**FIELDS, **fields, "model": "second"}
        assert complete(several, **body)["choices"] == complete(one, **body)["choices"]
    for path, body in (("/v1/embeddings", {"input": ["a b c", "d"]}), ("/tokenize", {"content": "hello"}),
                       ("/v1/messages/count_tokens", {"messages": HELLO})):  # fmt: skip
        reply = post(several, path, {**body, "model": "second"})
        assert reply.status == 200
        assert reply.json() == post(one, path, {**body, "model": "second"}).json()
    body = {"model": "second", "input": "hi", "max_output_tokens": 16}
    first = post(several, "/v1/responses", body).json()
    assert first["model"] == "second"
    again = post(several, "/v1/responses", {**body, "previous_response_id": first["id"]}).json()
    assert again["model"] == "second" and again["status"] in ("completed", "incomplete")


def test_strict(start_server, files):
    server = start_server("--offline", "--strict-model", "--model", files["second"], model=files["first"])
    assert post(server, CHAT, {**FIELDS, "model": "another"}).error["code"] == "model_not_found"
    assert complete(server, **FIELDS, model="second")["model"] == "second"


def test_a_directory(start_server, files, tmp_path):
    """All that are models, by their names; the first is the default."""
    for name in ("second", "third"):
        shutil.copy(files[name], tmp_path)
    (tmp_path / "broken.gguf").write_bytes(b"GGUF" + bytes(100))
    (tmp_path / "notes.txt").write_text("no model")
    (tmp_path / "mmproj-x.gguf").write_text("no model")
    server = start_server("--offline", "--models", tmp_path, model=files["first"])
    assert [m["id"] for m in get(server, "/v1/models").json()["data"]] == ["first", "second", "third"]
    server.log_with("broken.gguf is left out")


@pytest.mark.parametrize("what", ["same", "missing", "empty", "alias", "many"])
def test_refused_starts(kinglet, files, tmp_path, what):
    args = {
        "same": ["--model", files["first"], "--model", tmp_path / "FIRST.gguf"],
        "missing": ["--model", files["first"], "--model", tmp_path / "none.gguf"],
        "empty": ["--models", tmp_path / "nothing"],
        "alias": ["--model", files["first"], "--model", files["second"], "--alias", "second"],
        "many": ["--models", tmp_path / "crowd"],
    }[what]
    (tmp_path / "nothing").mkdir()
    (tmp_path / "crowd").mkdir()
    shutil.copy(files["first"], tmp_path / "FIRST.gguf")
    for i in range(65):
        (tmp_path / "crowd" / f"{i}.gguf").symlink_to(files["first"])
    command = [str(kinglet), "serve", "--offline", "--port", "0", *map(str, args)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert ended.returncode not in (0, -6, -11)
    expected = {"same": "two models have the name", "missing": "none.gguf", "empty": "no GGUF file",
                "alias": "another model", "many": "at most 64"}[what]  # fmt: skip
    assert expected in ended.stderr


def test_a_model_that_cannot_be_opened(start_server, files, tmp_path):
    """Its requests get an error, others are answered, and it is opened once it can be."""
    path = tmp_path / "second.gguf"
    shutil.copy(files["second"], path)
    server = start_server("--offline", "--model", path, model=files["first"])
    whole = path.read_bytes()
    path.write_bytes(whole[:1000])
    for streamed in (False, True):
        error = post(server, CHAT, {**FIELDS, "model": "second", "stream": streamed}).error
        assert error["code"] == "model_not_loaded" and "second" in error["message"]
    assert post(server, "/api/chat", {"model": "second", "messages": HELLO}).status == 503
    assert complete(server, **FIELDS)["model"] == "first"
    path.write_bytes(whole)
    assert complete(server, **FIELDS, model="second")["model"] == "second"
    assert health(server)["statistics"]["models_failed"] == 3


def test_clients_that_leave_while_a_model_is_opened(start_server, files):
    server = start_server("--offline", "--model", files["second"], model=files["first"])
    for _ in range(5):
        with Connection(server) as c:
            c.send("POST", CHAT, {**FIELDS, "model": "second", "stream": True})
        unload(server, "second")
    assert complete(server, **FIELDS, model="second")["model"] == "second"


def test_stopped_while_a_model_is_opened(start_server, files):
    """The answer comes, or an error; the server ends at once."""
    server = start_server("--offline", "--model", files["second"], model=files["first"])
    with Connection(server) as c:
        c.send("POST", CHAT, {**FIELDS, "model": "second"})
        server.stop()
        try:
            assert c.read().status in (200, 503)
        except (ConnectionResetError, EOFError):
            pass  # the signal came before the request was read


SMALL = ["--offline", "--cache-ram", "0", "--parallel", "1", "--queue", "2", "--ctx-size", "512"]


@pytest.fixture(scope="module")
def planned(kinglet, files):
    """The bytes that are enough for either of the first and the second model."""
    command = [str(kinglet), "serve", *SMALL, "--port", "0", "--memory", "30M", "--model", str(files["first"])]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    (needed,) = re.findall(r"([0-9.]+) MB {2}in all", ended.stderr)
    return int((float(needed) + 4) * 1e6)  # the second one takes a little more than the first, some 8 MB


@pytest.fixture
def room_for_one(planned, files, start_server):
    return start_server(*SMALL, "--memory", planned, "--model", files["second"], model=files["first"])


def test_one_budget(room_for_one, alone):
    """A model that does not fit takes the place of one that is not used; at most once in 10 s."""
    server = room_for_one
    assert text_of(complete(server, **FIELDS, model="second")) == alone["second"]
    assert open_names(server) == ["second"]
    # the default is closed: all that is said about it still is
    assert health(server)["model"] == "first" and get(server, "/props").json()["model_alias"] == "first"
    assert get(server, "/ready").status == 200 and get(server, "/slots").status == 200
    with Connection(server) as c:  # back again: not within 10 s
        c.send("POST", CHAT, {**FIELDS, "model": "first", "stream": True})
        assert c.read_head()[0] == 200
        _, data = next(c.chunks())
        assert b"waiting for the place of another model" in data
    assert complete(server, **FIELDS, model="second")["model"] == "second"
    assert health(server)["statistics"]["models_replaced"] == 1


def test_a_model_that_is_used_keeps_its_place(room_for_one):
    server = room_for_one
    busy = {"messages": HELLO, "max_tokens": 450, "ignore_eos": True, "stream": True}
    with Connection(server) as used, Connection(server) as waits:
        used.send("POST", CHAT, {**busy, "model": "first"})
        assert used.read_head()[0] == 200
        waits.send("POST", CHAT, {**FIELDS, "model": "second"})
        received = b"".join(data for _, data in used.chunks())
        assert b"[DONE]" in received and b"error" not in received
        assert waits.read().status == 200
    assert open_names(server) == ["second"]
