"""Each model of a server has its own prompts on disk, warm prompts and chat template."""

import shutil

import pytest
from api_client import CHAT, HELLO, complete, health, post, wait_until

SYSTEM = "You answer questions about lamps, and only when the moon is full. " * 8
FIELDS = {"max_tokens": 4, "temperature": 0}


@pytest.fixture(scope="module")
def files(make_tiny_model, tiny_model_path, tmp_path_factory):
    directory = tmp_path_factory.mktemp("models")
    made = {"first": tiny_model_path, "second": make_tiny_model("--architecture", "qwen3", "--seed", "2")}
    for name, path in made.items():
        shutil.copy(path, directory / f"{name}.gguf")
    return {name: directory / f"{name}.gguf" for name in made}


def ask(server, model):
    """Returns the answer, and how many tokens of its prompt were cached."""
    messages = [{"role": "system", "content": SYSTEM}, *HELLO]
    said = complete(server, messages, model=model, **FIELDS)
    return said["choices"][0]["message"]["content"], said["usage"]["prompt_tokens_details"]["cached_tokens"]


def test_prompts_on_disk(start_server, share_prepared, files, tmp_path):
    """Those of each model are found after a restart, and after it was closed."""
    share_prepared(tmp_path / "kinglet", "packed", "threads")

    def start(*args):
        return start_server(
            "--offline", "--model", files["second"], *args, model=files["first"], env={"XDG_CACHE_HOME": str(tmp_path)}
        )

    server = start()
    said = {name: ask(server, name)[0] for name in files}
    server.end()
    assert len(set(said.values())) == 2
    server = start("--cache-ram", "1M")
    for name in files:
        text, cached = ask(server, name)
        assert text == said[name] and cached > 100
    unload = {"model": "second", "keep_alive": 0}
    assert post(server, "/api/generate", unload).json()["done_reason"] == "unload"
    wait_until(lambda: health(server)["statistics"]["models"]["open"] == 1, "the second model is closed")
    text, cached = ask(server, "second")
    assert text == said["second"] and cached > 100
    server.end()


def test_warm_prompts(start_server, make_tiny_model, files, tmp_path):
    """The lines of --warm are computed for a model when it is opened; not for one that only embeds."""
    text = "Which lamps are on when the moon is full, and which of them are red or blue? " * 4
    keys = [f"key-{i:032}" for i in range(200)]  # each asks once: it finds nothing that it computed itself
    for name, content in (("warm", text + "\n"), ("keys", "\n".join(keys))):
        (tmp_path / name).write_text(content)
        (tmp_path / name).chmod(0o600)
    server = start_server(
        "--offline", "--warm", tmp_path / "warm", "--api-key-file", tmp_path / "keys", "--model", files["second"],
        model=make_tiny_model("--pooling", "MEAN", "--no-template"),
    )  # fmt: skip

    def is_known():
        body = {"messages": [{"role": "user", "content": text}], "model": "second", **FIELDS}
        used = post(server, CHAT, body, {"Authorization": f"Bearer {keys.pop()}"}).json()["usage"]
        return used["prompt_tokens_details"]["cached_tokens"] == used["prompt_tokens"] - 1 > 100

    wait_until(is_known, "the prompt is computed")
    assert "precomputed" not in server.log_text()  # no warning


def prompt_of(server, model):
    return post(server, "/apply-template", {"messages": HELLO, "model": model}).json()["prompt"]


def test_chat_templates(start_server, files):
    """NAME=MODEL, by the model's name or its file's."""
    server = start_server(
        "--offline", "--model", files["second"], "--chat-template", "llama3.2=second",
        "--chat-template", "qwen2.5=first.gguf", model=files["first"],
    )  # fmt: skip
    assert "<|start_header_id|>" in prompt_of(server, "second")
    assert "You are Qwen" in prompt_of(server, "first")
    complete(server, HELLO, model="second", **FIELDS)  # open or not
    assert "<|start_header_id|>" in prompt_of(server, "second")
    server.end()


@pytest.mark.parametrize("words, expected", [
    (["chatml"], "say which one it is for, as in chatml=first"),
    (["chatml=third"], "no model that is served has this name"),
    (["chatml="], "no model that is served has this name"),
    (["chatml=first", "qwen3=FIRST"], "two are given for the model first"),
    (["chatmll=first"], "there is no chat template 'chatmll'"),
])  # fmt: skip
def test_refused_templates(run_kinglet, files, words, expected):
    options = [o for word in words for o in ("--chat-template", word)]
    ended = run_kinglet(
        "serve", "--offline", "--port", "0", "--model", files["first"], "--model", files["second"], *options, check=False
    )
    assert ended.returncode not in (0, -6, -11) and expected in ended.stderr.decode()
    assert b"--chat-template" in ended.stderr
