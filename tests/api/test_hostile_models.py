"""Several models in one server, and files and clients that do their worst."""

import os
import shutil
import signal

import pytest
from api_client import CHAT, HELLO, Connection, complete, get, health, post, wait_until

FIELDS = {"max_tokens": 4, "messages": HELLO}


@pytest.fixture(scope="module")
def made(make_tiny_model, tiny_model_path, tmp_path_factory):
    first = tmp_path_factory.mktemp("models") / "first.gguf"
    first.symlink_to(tiny_model_path)
    return {
        "first": first,
        "second": make_tiny_model("--architecture", "qwen3", "--seed", "2"),
        "other": make_tiny_model("--seed", "3", "--context", "512"),
        "types": make_tiny_model("--architecture", "qwen3", "--seed", "2", "--template-from", tiny_model_path, "--tied"),
    }


@pytest.fixture(scope="module")
def path(made, tmp_path_factory):
    """The file of the second model."""
    return shutil.copy(made["second"], tmp_path_factory.mktemp("second") / "second.gguf")


@pytest.fixture(scope="module")
def server(server_factory, made, path):
    server = server_factory("--offline", "--model", path, model=made["first"])
    yield server
    server.end()


@pytest.fixture
def second(server, path):
    """The same file, whose model is closed; it is as before after the test."""
    close_second(server)
    whole = path.read_bytes()
    yield path
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    elif path.exists() or path.is_symlink():
        path.unlink()
    path.write_bytes(whole)


def ask(server, **fields):
    return post(server, CHAT, {**FIELDS, "model": "second", **fields})


def close_second(server):
    def is_closed():
        post(server, "/api/generate", {"model": "second", "keep_alive": 0})
        return [m["name"] for m in get(server, "/api/ps").json()["models"]] == ["first:latest"]

    wait_until(is_closed, "the second model is closed")


def test_a_file_that_vanishes(server, second, tmp_path):
    said = ask(server).json()["choices"]
    second.rename(tmp_path / "elsewhere")
    assert ask(server).json()["choices"] == said  # open: it does not need its name
    close_second(server)
    for _ in range(3):
        reply = ask(server)
        assert reply.status == 503 and reply.error["code"] == "model_not_loaded"
        assert "second" in reply.error["message"]
    assert "second" in [m["id"] for m in get(server, "/v1/models").json()["data"]]
    (tmp_path / "elsewhere").rename(second)
    assert ask(server).json()["choices"] == said


def test_a_file_that_is_replaced_by_another_model(server, second, made):
    said = ask(server).json()["choices"]
    kept = second.read_bytes()
    for by in ("other", "types"):
        close_second(server)
        second.unlink()
        shutil.copy(made[by], second)
        reply = ask(server)
        assert reply.status == 503 and "replaced by one of another model" in reply.error["message"]
        assert post(server, "/api/show", {"model": "second"}).json()["details"]["family"] == "qwen3"
        second.write_bytes(kept)
        assert ask(server).json()["choices"] == said


@pytest.mark.parametrize("by", ["pipe", "directory", "loop", "empty", "zeros", "text", "device"])
def test_a_file_that_is_replaced_by_something_else(server, second, by):
    second.unlink()
    if by == "pipe":
        os.mkfifo(second)
    elif by == "directory":
        second.mkdir()
    elif by in ("loop", "device"):
        second.symlink_to(second if by == "loop" else "/dev/zero")
    else:
        second.write_bytes({"empty": b"", "zeros": bytes(1 << 20), "text": b"GGUF" + b"x" * 1000}[by])
    for _ in range(2):
        assert ask(server).error["code"] == "model_not_loaded"
    assert complete(server, **FIELDS)["model"] == "first"
    assert health(server)["status"] == "ok"


def test_a_damaged_file_is_not_read_for_each_request(server, second):
    """100 requests at once and one after another; it is read again when it has changed."""
    whole, read = second.read_bytes(), server.log_text().count("info    model second (")
    at = whole.index(b"qwen3.block_count") + len("qwen3.block_count") + 4
    second.write_bytes(whole[:at] + (77).to_bytes(4, "little") + whole[at + 4 :])
    connections = [Connection(server) for _ in range(10)]
    for c in connections:
        c.send("POST", CHAT, {**FIELDS, "model": "second", "stream": True})
    texts = {c.read().error["message"] for c in connections}
    texts |= {ask(server).error["message"] for _ in range(90)}
    assert len(texts) == 1 and "second" in texts.pop()
    for c in connections:
        c.socket.close()
    assert server.log_text().count("info    model second (") <= read + 1
    assert complete(server, **FIELDS)["model"] == "first"
    second.write_bytes(whole)
    assert ask(server).status == 200


def test_a_model_that_clients_close_again_and_again(server, second):
    """It stays open for a while; the computer does not open it all the time."""
    opened = health(server)["statistics"]["models_opened"]
    for _ in range(30):
        reply = post(server, "/api/generate", {"model": "second", "prompt": "a", "options": {"num_predict": 1},
                                               "stream": False, "keep_alive": 0})  # fmt: skip
        assert reply.json()["done"] is True
    assert health(server)["statistics"]["models_opened"] - opened < 15


def test_names_that_are_unknown(server, second):
    """None is opened for them."""
    opened = health(server)["statistics"]["models_opened"]
    for i in range(30):
        assert complete(server, **FIELDS, model=f"unknown-{i}")["model"] == "first"
        for path in ("/api/chat", "/api/embed", "/api/show"):
            body = {"model": f"unknown-{i}", "messages": HELLO, "input": "a"}
            reply = post(server, path, body)
            assert reply.status == 404 and reply.json()["error"] == f"model 'unknown-{i}' not found"
    for name in ("x" * 100_000, "../second", "second.gguf/..", "second\x00", "\ud800", " second", "sec\nond"):
        assert post(server, "/api/chat", {"model": name, "messages": HELLO}).status in (400, 404), name
    assert health(server)["statistics"]["models_opened"] == opened
    assert health(server)["statistics"]["models"]["open"] == 1


@pytest.mark.parametrize("value, accepted", [
    (0, True), ("0", True), (-1, True), ("-1", True), ("-5m", True), (1e308, True), (-1e308, True), (1e-300, True),
    ("99999999999999h", True), ("1h30m", True), ("", True), (None, True), ("nan", False), ("inf", False),
    ("5x", False), ("5m ", False), ([], False), ({}, False), (True, False),
])  # fmt: skip
def test_keep_alive(server, value, accepted):
    body = {"model": "second", "messages": HELLO, "keep_alive": value, "stream": False, "options": {"num_predict": 1}}
    reply = post(server, "/api/chat", body)
    assert reply.status == (200 if accepted else 400)
    if not accepted:
        assert "keep_alive" in reply.json()["error"]
    for model in get(server, "/api/ps").json()["models"]:
        assert model["name"] == "first:latest" or model["expires_at"] < "2100"
    assert complete(server, **FIELDS)["model"] == "first"


@pytest.mark.parametrize("signals", [[signal.SIGHUP] * 5, [signal.SIGHUP, signal.SIGTERM, signal.SIGTERM]])  # fmt: skip
def test_signals_while_a_model_is_opened(start_server, made, path, signals):
    server = start_server("--offline", "--model", path, model=made["first"])
    with Connection(server) as c:
        c.send("POST", CHAT, {**FIELDS, "model": "second"})
        for number in signals:
            server.process.send_signal(number)
        try:
            assert c.read().status in (200, 503)
        except (ConnectionResetError, EOFError):
            assert signal.SIGTERM in signals  # it came before the request was read
    if signal.SIGTERM in signals:
        assert server.process.wait(60) == 0
    else:
        assert ask(server).status == 200
