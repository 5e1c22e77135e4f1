"""Embeddings: /v1/embeddings with the openai package, llama-server's /embedding and /embeddings."""

import base64
import math
import os
import socket
import struct
import threading
import time

import openai
import pytest
from api_client import (
    CHAT, HELLO, Connection, complete, expect_end, get, health, post, wait_until,
)  # fmt: skip

EMBEDDINGS = "/v1/embeddings"
TEXT = "The quick brown fox jumps over the lazy dog."
MOST = 2048


@pytest.fixture
def client(tiny):
    with openai.OpenAI(base_url=tiny.base_url + "/v1", api_key="none", max_retries=0) as c:
        yield c


def floats(encoded):
    """Returns the numbers of a vector in base64, as the openai package decodes it."""
    data = base64.b64decode(encoded, validate=True)
    return list(struct.unpack(f"<{len(data) // 4}f", data))


def f32(numbers):
    return list(struct.unpack(f"<{len(numbers)}f", struct.pack(f"<{len(numbers)}f", *numbers)))


def length(vector):
    return math.sqrt(sum(x * x for x in vector))


def embed(server, texts, **fields):
    """Returns the vectors of a request, as floats."""
    reply = post(server, EMBEDDINGS, {"input": texts, **fields})
    assert reply.status == 200, reply.body
    found = reply.json()
    assert [d["index"] for d in found["data"]] == list(range(len(found["data"])))
    return [f32(d["embedding"]) for d in found["data"]]


# ---- the openai package ---------------------------------------------------------------------------


def test_document(tiny, client):
    """The package asks for base64 unless told otherwise; both are the same floats."""
    found = client.embeddings.create(model="text-embedding-3-small", input=TEXT)
    written = client.embeddings.create(model="x", input=TEXT, encoding_format="float")
    vector = found.data[0].embedding
    assert vector == f32(written.data[0].embedding) and abs(length(vector) - 1) < 1e-5
    assert found.object == "list" and found.data[0].object == "embedding"
    assert found.model == "tiny" and found.usage.prompt_tokens == found.usage.total_tokens > 5
    raw = post(tiny, EMBEDDINGS, {"input": TEXT, "encoding_format": "base64"}).json()
    assert floats(raw["data"][0]["embedding"]) == vector
    plain = post(tiny, EMBEDDINGS, {"input": TEXT}).json()
    assert f32(plain["data"][0]["embedding"]) == vector


def test_several_inputs(client):
    texts = [TEXT, "a", "汉字", TEXT, "b " * 500]
    found = client.embeddings.create(model="x", input=texts)
    vectors = [d.embedding for d in found.data]
    assert [d.index for d in found.data] == [0, 1, 2, 3, 4]
    alone = [client.embeddings.create(model="x", input=t) for t in texts]
    assert vectors == [a.data[0].embedding for a in alone]
    assert vectors[0] == vectors[3] and len(set(map(tuple, vectors))) == 4
    assert found.usage.prompt_tokens == sum(a.usage.prompt_tokens for a in alone)


def test_token_ids(client):
    one = client.embeddings.create(model="x", input=[5, 6, 7])
    many = client.embeddings.create(model="x", input=[[5, 6, 7], [8]])
    assert one.usage.prompt_tokens == 3 and many.usage.prompt_tokens == 4
    assert many.data[0].embedding == one.data[0].embedding != many.data[1].embedding


def test_dimensions(client):
    whole = client.embeddings.create(model="x", input=TEXT).data[0].embedding
    cut = client.embeddings.create(model="x", input=TEXT, dimensions=10).data[0].embedding
    scale = length(whole[:10])
    assert len(cut) == 10 and abs(length(cut) - 1) < 1e-6
    assert all(abs(c - w / scale) < 1e-6 for c, w in zip(cut, whole))
    assert client.embeddings.create(model="x", input=TEXT, dimensions=len(whole)).data[0].embedding == whole
    with pytest.raises(openai.BadRequestError) as refused:
        client.embeddings.create(model="x", input=TEXT, dimensions=len(whole) + 1)
    assert refused.value.param == "dimensions" and str(len(whole)) in str(refused.value)


@pytest.mark.parametrize("encoding", ("float", "base64"))
def test_most_inputs(tiny, client, encoding, thousands):
    """The document is sent in pieces, none of which is waited for."""
    found = client.embeddings.create(
        model="x", input=[f"text {i}" for i in range(MOST)], encoding_format=encoding
    )
    assert [d.index for d in found.data] == list(range(MOST))
    for i in (0, 1000, MOST - 1):
        vector = found.data[i].embedding  # the package decodes base64 that it asked for itself
        vector = floats(vector) if encoding == "base64" else f32(vector)
        assert vector == embed(tiny, f"text {i}")[0]


def test_too_many_inputs(client):
    with pytest.raises(openai.BadRequestError, match="more than 2048 texts"):
        client.embeddings.create(model="x", input=["a"] * (MOST + 1))


def test_many_token_ids(tiny):
    """As langchain-openai sends texts. Ids are counted apart from other values, which are larger."""
    error = post(tiny, EMBEDDINGS, {"input": [[5] * 100] * 1500 + [[10**6]]}).error
    assert error["param"] == "input" and "1000000 is no token" in error["message"]
    assert "200000 numbers" in post(tiny, EMBEDDINGS, {"input": [[5] * 2048] * 100}).error["message"]
    assert "50000 values" in post(tiny, EMBEDDINGS, {"input": ["a"] * 50001}).error["message"]


def test_texts_that_wait_are_held(start_server, endless):
    """Their tokens count as bytes that a client makes the server hold."""
    server = start_server("--offline", "--parallel", 1)
    held = lambda: health(server)["connections"]["held_bytes"]
    with Connection(server) as chat, Connection(server) as c:
        chat.send("POST", CHAT, {"messages": endless, "stream": True, "max_tokens": -1})
        wait_until(lambda: health(server)["running"] == 1, "the chat does not run")
        c.send("POST", EMBEDDINGS, {"input": [[5] * 1000] * 100})
        wait_until(lambda: health(server)["queued"] == 1, "it does not wait")
        assert 4 * 1000 * 99 <= held() < 4 * 1000 * 99 + 200_000  # the rest is the chat's, which changes
    wait_until(lambda: held() < 4096, "something is held")


# ---- fields ---------------------------------------------------------------------------------------


def test_pooling(tiny):
    last, mean, first = (embed(tiny, TEXT, pooling=p)[0] for p in ("last", "mean", "cls"))
    assert embed(tiny, TEXT)[0] == last and last != mean != first != last
    (word,) = {tuple(embed(tiny, [[300]], pooling=p)[0]) for p in ("last", "mean", "cls")}
    assert abs(length(word) - 1) < 1e-5
    assert embed(tiny, [[300, 301]], pooling="cls")[0] == list(word)


def test_not_normalized(tiny):
    raw = embed(tiny, TEXT, embd_normalize=-1)[0]
    size = length(raw)
    assert abs(size - 1) > 0.1
    assert all(abs(r / size - n) < 1e-6 for r, n in zip(raw, embed(tiny, TEXT)[0]))


def test_control_tokens_in_texts(tiny):
    """They are read as tokens, as in the training of models for embeddings."""
    count = lambda text: post(tiny, EMBEDDINGS, {"input": text}).json()["usage"]["prompt_tokens"]
    assert count("a<|endoftext|>") == count("a") + 1


def test_truncate(start_server):
    server = start_server("--offline", "--ctx-size", 64)
    fits, cut = post(server, EMBEDDINGS, {"input": [[7] * 64]}), {"input": [[7] * 65, "a"], "truncate": True}
    assert fits.status == 200 and fits.json()["usage"]["prompt_tokens"] == 64
    found = post(server, EMBEDDINGS, cut).json()
    assert found["data"][0]["embedding"] == fits.json()["data"][0]["embedding"]
    assert found["usage"]["prompt_tokens"] == 65
    error = post(server, EMBEDDINGS, cut | {"truncate": False}).error
    assert error["code"] == "context_length_exceeded" and error["param"] == "input"
    assert error["n_prompt_tokens"] == 65 and error["n_ctx"] == 64
    assert error["message"].startswith("text 1 of input is too large: it has 65 tokens")
    assert "exceeds the available context size" in error["message"]  # LiteLLM searches for this


def test_a_model_for_embeddings(start_server, make_tiny_model):
    """As Qwen3-Embedding's file: the end of text is appended to texts, also to those that are cut."""
    model = make_tiny_model("--architecture", "qwen3", "--tied", "--pooling", "MEAN", "--add-eos")
    server = start_server("--offline", "--ctx-size", 64, model=model)
    ids = lambda *fields: post(server, EMBEDDINGS, dict(*fields)).json()
    long = ids({"input": "x " * 500, "truncate": True})
    assert long["usage"]["prompt_tokens"] == 64
    assert embed(server, TEXT) == embed(server, TEXT, pooling="mean") != embed(server, TEXT, pooling="last")
    plain = post(server, EMBEDDINGS, {"input": TEXT}).json()["usage"]["prompt_tokens"]
    ended = post(server, EMBEDDINGS, {"input": TEXT + "<|endoftext|>"}).json()["usage"]["prompt_tokens"]
    assert ended == plain + 1  # it is appended whatever the text ends with
    assert post(server, EMBEDDINGS, {"input": [[5, 6]]}).json()["usage"]["prompt_tokens"] == 2


WRONG = [
    ({}, "input"),
    ({"input": None}, "input"),
    ({"input": ""}, "input"),
    ({"input": []}, "input"),
    ({"input": ["a", ""]}, "input"),
    ({"input": [[1], []]}, "input"),
    ({"input": 5}, "input"),
    ({"input": True}, "input"),
    ({"input": {"a": 1}}, "input"),
    ({"input": ["a", None]}, "input"),
    ({"input": [[1, [2]]]}, "input"),
    ({"input": [1.5]}, "input"),
    ({"input": [-1]}, "input"),
    ({"input": [10**7]}, "input"),
    ({"input": [10**30]}, "input"),
    ({"input": {"content": "text"}}, "input"),
    ({"input": {"content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}}, "input"),
    ({"input": {"content": [{"type": "text", "text": 5}]}}, "input"),
    ({"input": "a", "model": 5}, "model"),
    ({"input": "a", "user": 5}, "user"),
    ({"input": "a", "dimensions": 0}, "dimensions"),
    ({"input": "a", "dimensions": "10"}, "dimensions"),
    ({"input": "a", "dimensions": 100000}, "dimensions"),
    ({"input": "a", "encoding_format": "hex"}, "encoding_format"),
    ({"input": "a", "encoding_format": 5}, "encoding_format"),
    ({"input": "a", "pooling": "none"}, "pooling"),
    ({"input": "a", "truncate": "yes"}, "truncate"),
    ({"input": "a", "embd_normalize": 1}, "embd_normalize"),
]


@pytest.mark.parametrize(("body", "field"), WRONG, ids=lambda v: str(v)[:40])
def test_wrong_fields_are_named(tiny, body, field):
    for path in (EMBEDDINGS, "/embeddings"):
        reply = post(tiny, path, body)
        assert reply.status == 400, reply.body
        assert reply.error["param"] == field and field in reply.error["message"]


def test_absent_fields(tiny):
    nothing = {"model": None, "user": None, "dimensions": None, "encoding_format": None, "pooling": None}
    assert embed(tiny, TEXT, **nothing, truncate=None, embd_normalize=None, unknown=5) == embed(tiny, TEXT)


def test_strict_names(start_server):
    server = start_server("--offline")
    assert post(server, EMBEDDINGS, {"input": "a", "model": "no-such"}).json()["model"] == "tiny"


# ---- llama-server's own shape ---------------------------------------------------------------------


@pytest.mark.parametrize("path", ("/embedding", "/embeddings"))
@pytest.mark.parametrize("field", ("input", "content"))
def test_llama_shape(tiny, path, field):
    (vector,) = embed(tiny, "a")
    found = post(tiny, path, {field: ["a", [5, 6], [5, "a", 6]]}).json()
    assert [sorted(d) for d in found] == [["embedding", "index"]] * 3
    assert [d["index"] for d in found] == [0, 1, 2]
    assert [f32(v) for v in found[0]["embedding"]] == [vector]
    assert all(len(d["embedding"]) == 1 for d in found)
    (one,) = post(tiny, path, {field: "a"}).json()
    assert one == found[0]


def test_objects_as_input(tiny):
    """A text in parts is one text; ids and strings may stand next to each other."""
    parts = {"content": [{"type": "text", "text": "hello "}, {"type": "text", "text": "world"}]}
    whole, joined, prompt, mixed = embed(tiny, ["hello world", parts, {"prompt_string": "hello world"}, [5, "a"]])
    assert whole == joined == prompt != mixed
    assert embed(tiny, parts)[0] == whole and embed(tiny, [5, "a"])[0] == mixed


# ---- together with others -------------------------------------------------------------------------


def texts_of(seed, n, words):
    return [" ".join(f"w{seed}x{i}y{j}" for j in range(words)) for i in range(n)]


def test_in_company(tiny):
    """Vectors and answers are the same, however the requests are batched."""
    alone = {seed: embed(tiny, texts_of(seed, 4, 5 + 10 * seed)) for seed in range(4)}
    answer = complete(tiny, HELLO, max_tokens=60)["choices"][0]["message"]["content"]
    wrong = []

    def run(seed):
        if embed(tiny, texts_of(seed, 4, 5 + 10 * seed)) != alone[seed]:
            wrong.append(seed)

    def chat():
        if complete(tiny, HELLO, max_tokens=60)["choices"][0]["message"]["content"] != answer:
            wrong.append("chat")

    threads = [threading.Thread(target=run, args=(seed % 4,)) for seed in range(8)]
    threads += [threading.Thread(target=chat) for _ in range(3)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


def test_a_large_request_lets_others_pass(start_server, thousands):
    """With one slot and no queue, too: thousands of texts delay a chat, and another text, by a step."""
    server = start_server("--offline", "--parallel", 1, "--queue", 1)
    done = {}

    def large():
        done["vectors"] = embed(server, texts_of(1, 150, 40))
        done["large"] = time.monotonic()

    thread = threading.Thread(target=large)
    thread.start()
    wait_until(lambda: health(server)["statistics"]["steps"] > 0, "the first step")
    complete(server, HELLO, max_tokens=3)
    embed(server, "a")
    others = time.monotonic()
    thread.join()
    assert len(done["vectors"]) == 150 and others < done["large"]


def test_a_client_that_leaves(tiny):
    for texts in (texts_of(2, MOST, 30), ["a " * 2000]):
        with Connection(tiny) as c:
            before = health(tiny)["statistics"]["steps"]
            c.send("POST", EMBEDDINGS, {"input": texts})
            wait_until(lambda: health(tiny)["statistics"]["steps"] > before, "a step")
            c.reset()
        expect_end(tiny, lambda: health(tiny)["running"] == 0, "the texts to be dropped")
    assert len(embed(tiny, TEXT)) == 1


def test_a_client_that_does_not_read(start_server, thousands):
    """The work pauses: what the client has not taken is bounded. It goes on when the client reads."""
    server = start_server("--offline", "--reader-timeout", 60)
    with Connection(server, receive_buffer=4096) as c:
        c.send("POST", EMBEDDINGS, {"input": texts_of(3, MOST, 3), "encoding_format": "base64"})
        steps = -1
        while steps != (steps := health(server)["statistics"]["steps"]) or steps == 0:
            time.sleep(0.5)
        assert health(server)["running"] == 0
        assert health(server)["connections"]["held_bytes"] < 2.5e6
        other = embed(server, TEXT)
        reply = c.read()
    assert len(reply.json()["data"]) == MOST
    assert embed(server, TEXT) == other


def test_deadline(tiny):
    """A document that has not begun becomes an error; one that has is cut."""
    reply = post(tiny, EMBEDDINGS, {"input": ["a " * 3000] * 8}, {"X-Deadline-Ms": "1"})
    assert reply.status == 504 and reply.error["code"] == "deadline_exceeded"
    body = {"input": [*texts_of(4, 300, 1), *["a " * 2000] * 80]}
    for milliseconds in (1500, 4000, 10000):  # on a busy computer it has not begun after the first
        with Connection(tiny) as c:
            c.send("POST", EMBEDDINGS, body, {"X-Deadline-Ms": str(milliseconds)})
            try:
                assert c.read().status == 504
            except EOFError:
                break
    else:
        pytest.fail("it was never cut")
    wait_until(lambda: health(tiny)["running"] == 0, "the end of the work")
    assert len(embed(tiny, TEXT)) == 1


def test_other_methods(tiny):
    for path in (EMBEDDINGS, "/embedding", "/embeddings"):
        assert get(tiny, path).status == 405


def test_a_request_that_waits_for_the_model(hold_server, model_path):
    held = hold_server(model=model_path)
    with Connection(held.server) as c:
        c.send("POST", EMBEDDINGS, {"input": TEXT})
        time.sleep(0.3)
        held.give()
        reply = c.read()
        assert reply.status == 200 and len(reply.json()["data"]) == 1, reply.body


def test_chat_is_preferred(tiny):
    """An embedding is background work, unless its header says otherwise."""
    assert post(tiny, EMBEDDINGS, {"input": "a"}, {"X-Priority": "interactive"}).status == 200
    assert post(tiny, EMBEDDINGS, {"input": "a"}, {"X-Priority": "loud"}).status == 400
    assert post(tiny, CHAT, {"messages": HELLO, "max_tokens": 1}).status == 200


def test_pooling_option(start_server, tiny):
    server = start_server("--offline", "--pooling", "mean")
    assert embed(server, TEXT) == embed(tiny, TEXT, pooling="mean")
    assert embed(server, TEXT, pooling="last") == embed(tiny, TEXT)


def test_unknown_pooling(run_kinglet):
    done = run_kinglet("serve", "--pooling", "rank", check=False)
    assert done.returncode != 0 and b"--pooling: expected last, mean or cls" in done.stderr


# ---- clients that disconnect ----------------------------------------------------------------------


def fin(c):
    c.socket.close()


def half_close(c):
    c.socket.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize("leave", [fin, Connection.reset, half_close])
@pytest.mark.parametrize("stage", ["body", "queued", "prefill", "middle"])
def test_resources_are_freed(start_server, endless, stage, leave):
    server = start_server("--offline", "--parallel", 1, "--queue", 4)
    state = lambda: (health(server)["running"], health(server)["queued"])
    descriptors = lambda: len(os.listdir(f"/proc/{server.pid}/fd"))
    wait_until(lambda: state() == (0, 0), "the start")
    before = descriptors()
    holder = Connection(server) if stage == "queued" else None
    if holder:
        holder.send("POST", CHAT, {"messages": endless, "stream": True, "max_tokens": -1})
        wait_until(lambda: state() == (1, 0), "the other request does not run")
    with Connection(server) as c:
        if stage == "body":
            c.socket.sendall(b"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n{")
        else:
            long = ["a " * 3000] * 50
            c.send("POST", EMBEDDINGS, {"input": [*texts_of(5, 300, 1), *long] if stage == "middle" else long})
        if stage == "middle":
            c.read_head()
            next(c.chunks())
        elif stage != "body":
            wait_until(lambda: state() == ((1, 1) if holder else (1, 0)), "it does not begin")
        leave(c)
        wait_until(lambda: state() == ((1, 0) if holder else (0, 0)), "it still has its place")
    if holder:
        holder.socket.close()
    wait_until(lambda: state() == (0, 0) and descriptors() <= before, "something is left")
    assert len(embed(server, TEXT)) == 1
