"""A chat model and a model for embeddings in one server, as programs that search documents use it."""

import concurrent.futures
import json

import pytest
from api_client import CHAT, HELLO, complete, get, post, stream

FIELDS = {"max_tokens": 12, "messages": HELLO}
TEXTS = ["The quick brown fox", "你好", "a b c " * 40]
EMBED, TALK = "embed", "talk"


@pytest.fixture(scope="module")
def files(make_tiny_model, tiny_model_path, tmp_path_factory):
    """The chat model, and one of Qwen3-Embedding's shape without a chat template."""
    directory = tmp_path_factory.mktemp("models")
    made = make_tiny_model(
        "--architecture", "qwen3", "--tied", "--pooling", "LAST", "--add-eos", "--no-template", "--seed", "7"
    )
    (directory / f"{TALK}.gguf").symlink_to(tiny_model_path)
    (directory / f"{EMBED}.gguf").symlink_to(made)
    return directory / f"{TALK}.gguf", directory / f"{EMBED}.gguf"


@pytest.fixture(scope="module")
def both(server_factory, files):
    server = server_factory("--offline", "--model", files[1], model=files[0])
    yield server
    server.end()


@pytest.fixture(scope="module")
def alone(server_factory, files):
    """The only model of its server is for embeddings: its vectors, and what it refuses."""
    server = server_factory("--offline", model=files[1])
    yield server
    server.end()


def vectors(server, **fields):
    reply = post(server, "/v1/embeddings", {"input": TEXTS, **fields})
    assert reply.status == 200, reply.body
    return [d["embedding"] for d in reply.json()["data"]]


def text_of(document):
    return document["choices"][0]["message"]["content"]


def test_at_the_same_time(both, alone, tiny):
    """Both at once give the bits that each gives alone, in each dialect."""
    expected = vectors(alone), text_of(complete(tiny, **FIELDS))
    busy = {**FIELDS, "max_tokens": 400, "ignore_eos": True}
    long = text_of(complete(tiny, **busy))
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        streams = [pool.submit(stream, both, **busy, model=TALK) for _ in range(2)]
        for _ in range(3):
            embedded = pool.submit(vectors, both, model=EMBED)
            answered = pool.submit(complete, both, **FIELDS, model=TALK)
            assert (embedded.result(), text_of(answered.result())) == expected
            ollama = post(both, "/api/embed", {"model": EMBED, "input": TEXTS}).json()
            assert ollama["model"] == EMBED and ollama["embeddings"] == expected[0]
        assert [s.result().text() for s in streams] == [long, long]
    document = post(both, "/v1/embeddings", {"model": EMBED, "input": "a"}).json()
    assert document["model"] == EMBED
    # without a name it is the default that embeds, as it is the default that answers
    assert post(both, "/v1/embeddings", {"input": "a"}).json()["model"] == TALK


@pytest.mark.parametrize("path, body", [
    (CHAT, {"messages": HELLO}), (CHAT, {"messages": HELLO, "stream": True}),
    ("/v1/completions", {"prompt": "a"}), ("/completion", {"prompt": "a"}),
    ("/v1/responses", {"input": "a"}), ("/v1/messages", {"messages": HELLO, "max_tokens": 4}),
    ("/api/chat", {"messages": HELLO}), ("/api/generate", {"prompt": "a"}),
])  # fmt: skip
@pytest.mark.parametrize("name", ["both", "alone"])
def test_no_answers(name, path, body, request):
    server = request.getfixturevalue(name)
    reply = post(server, path, {"model": EMBED, **body})
    error = reply.json()["error"]
    message = error if isinstance(error, str) else error["message"]
    assert reply.status == 400 and message.startswith(f'"{EMBED}" does not support c')
    if path == CHAT:
        assert reply.error["code"] == "model_only_embeds" and reply.error["param"] == "model"


def test_refused_without_being_opened(server_factory, files):
    server = server_factory("--offline", "--model", files[1], model=files[0])
    assert post(server, CHAT, {**FIELDS, "model": EMBED}).status == 400
    assert [m["name"] for m in get(server, "/api/ps").json()["models"]] == [f"{TALK}:latest"]
    server.end()


def test_what_each_can_do(both):
    listed = {m["id"]: m["meta"]["capabilities"] for m in get(both, "/v1/models").json()["data"]}
    assert listed[EMBED] == ["embedding"]
    assert "completion" in listed[TALK] and "embedding" not in listed[TALK]
    tags = {m["name"]: m["capabilities"] for m in get(both, "/api/tags").json()["models"]}
    assert tags == {f"{name}:latest": found for name, found in listed.items()}
    for name, found in listed.items():
        assert post(both, "/api/show", {"model": name}).json()["capabilities"] == found


def test_a_template_makes_it_answer(server_factory, files, make_tiny_model):
    """One of the file, or of --chat-template."""
    server = server_factory("--offline", "--chat-template", "chatml", model=files[1])
    assert complete(server, **FIELDS)["model"] == EMBED
    assert get(server, "/v1/models").json()["data"][0]["meta"]["capabilities"][:2] == ["embedding", "completion"]
    server.end()


def test_commands(run_kinglet, files):
    ended = run_kinglet("chat", "--model", files[1], "hello", check=False)
    assert ended.returncode != 0 and b"model for embeddings" in ended.stderr
    found = run_kinglet("doctor", "--json", "--model", files[1], check=False)
    assert b"for embeddings only" in found.stdout
    assert json.loads(found.stdout)
