"""Ollama's API: /api/chat, generate, embed, tags, ps, show, version, by plain HTTP and the ollama package."""

import hashlib
import json
import math
import threading
from datetime import datetime
from pathlib import Path

import ollama
import pytest
from api_client import Connection, call, complete, expect_end, get, health, post, wait_until

MODEL = "tiny"
ASK = [{"role": "user", "content": "Hello"}]
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tells the weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
NANOSECONDS = ("total_duration", "load_duration", "prompt_eval_duration", "eval_duration")


@pytest.fixture
def client(tiny):
    return ollama.Client(host=tiny.base_url)


def error_of(reply):
    """The text of an error; checks that its shape is Ollama's."""
    assert reply.headers["content-type"].startswith("application/json")
    found = reply.json()
    assert list(found) == ["error"] and isinstance(found["error"], str) and found["error"]
    return found["error"]


def lines_of(server, path, body):
    """The objects of a stream; checks its framing: one object a line, and no other lines."""
    with Connection(server) as c:
        c.send("POST", path, body)
        status, headers = c.read_head()
        assert status == 200 and headers["content-type"] == "application/x-ndjson"
        text = b"".join(data for _, data in c.chunks()).decode()
    assert text.endswith("\n")
    return [json.loads(line) for line in text[:-1].split("\n")]


def chat(server, messages=ASK, **fields):
    reply = post(server, "/api/chat", {"model": MODEL, "messages": messages, "stream": False, **fields})
    assert reply.status == 200, reply.body
    return reply.json()


def generate(server, prompt="Hello", **fields):
    reply = post(server, "/api/generate", {"model": MODEL, "prompt": prompt, "stream": False, **fields})
    assert reply.status == 200, reply.body
    return reply.json()


def refused(server, path, status, **fields):
    reply = post(server, path, {"model": MODEL, **fields})
    assert reply.status == status, reply.body
    return error_of(reply)


# ---- models ---------------------------------------------------------------------------------------


def test_root(tiny):
    """A browser gets the page, other clients the text that they look for."""
    for headers in ({}, {"Accept": "*/*"}, {"Accept": "application/json"}):
        reply = get(tiny, "/", headers)
        assert reply.body == b"Ollama is running" and reply.headers["content-type"].startswith("text/plain")
    assert call(tiny, "HEAD", "/").status == 200
    page = get(tiny, "/", {"Accept": "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"})
    assert b"<html" in page.body


def test_models(tiny, client):
    (model,) = get(tiny, "/api/tags").json()["models"]
    assert model["name"] == model["model"] == "tiny:latest"
    assert len(model["digest"]) == 64 and set(model["digest"]) <= set("0123456789abcdef")
    assert model["size"] > 1000 and datetime.fromisoformat(model["modified_at"]).tzinfo
    details = model["details"]
    assert details["format"] == "gguf" and details["families"] == [details["family"]] == ["qwen2"]
    assert details["parent_model"] == "" and details["parameter_size"][-1] in "KMB"
    (running,) = get(tiny, "/api/ps").json()["models"]
    assert running["digest"] == model["digest"] and running["size_vram"] == 0
    assert running["context_length"] == 4096
    assert datetime.fromisoformat(running["expires_at"]).year > 2100
    assert client.list().models[0].model == client.ps().models[0].model == "tiny:latest"
    version = get(tiny, "/api/version").json()["version"]
    assert tuple(map(int, version.split("."))) >= (0, 6, 4)


def test_digest_is_that_of_the_file(tiny, tiny_model_path):
    whole = hashlib.sha256(Path(tiny_model_path).read_bytes()).hexdigest()
    wait_until(lambda: get(tiny, "/api/tags").json()["models"][0]["digest"] == whole, "another digest")


def test_aliases_are_models(start_server):
    server = start_server("--offline", "--alias", "llama3.2:3b", "--alias", "phi")
    names = [m["name"] for m in get(server, "/api/tags").json()["models"]]
    assert names == ["tiny:latest", "llama3.2:3b", "phi:latest"]
    for name in ("phi", "PHI:latest", "llama3.2:3b"):
        assert chat(server, model=name, options={"num_predict": 1})["model"] == name


@pytest.mark.parametrize("field", ["model", "name"])
def test_show(tiny, field):
    shown = post(tiny, "/api/show", {field: "tiny", "verbose": True}).json()
    info = shown["model_info"]
    assert info["general.architecture"] == "qwen2" and info["general.basename"]
    assert info["qwen2.context_length"] == 4096 and info["qwen2.embedding_length"] > 0
    assert info["general.parameter_count"] > 0
    assert shown["parameters"].split() == ["num_ctx", "4096"]
    assert {"completion", "tools"} <= set(shown["capabilities"])
    assert ("insert" in shown["capabilities"]) == (".Suffix" in shown["template"])
    assert {"license", "modelfile", "details", "modified_at"} <= set(shown)


@pytest.mark.parametrize("path", ["chat", "generate", "embed", "embeddings", "show"])
def test_names(tiny, path):
    body = {"messages": ASK, "prompt": "a", "input": "a", "stream": False, "options": {"num_predict": 1}}
    for name in ("tiny", "tiny:latest", "TINY", "Tiny:Latest"):
        assert post(tiny, f"/api/{path}", {**body, "model": name}).status == 200, name
    for name in ("other", "tiny:7b", "gpt-4"):
        reply = post(tiny, f"/api/{path}", {**body, "model": name})
        assert reply.status == 404 and error_of(reply) == f"model '{name}' not found"
    for empty in ({}, {"model": ""}, {"model": None}):
        reply = post(tiny, f"/api/{path}", {**body, **empty})
        assert reply.status == 400 and error_of(reply) == "model is required"


@pytest.mark.parametrize(
    "method,path",
    [("POST", "copy"), ("DELETE", "delete"), ("POST", "create"), ("POST", "push"), ("POST", "blobs/sha256:00"),
     ("GET", "blobs/sha256:00")],
)  # fmt: skip
def test_changes_are_refused(tiny, method, path):
    reply = call(tiny, method, f"/api/{path}", {"model": MODEL} if method != "GET" else None)
    assert reply.status == 501 and f"/api/{path}" in error_of(reply)


def test_shape_of_other_errors(tiny):
    assert call(tiny, "GET", "/api/chat").status == 405 and error_of(call(tiny, "GET", "/api/chat"))
    assert "/api/nothing" in error_of(get(tiny, "/api/nothing")) and get(tiny, "/api/nothing").status == 404
    for body in (b"", b"{", b"[]", b'"x"', b"\xff"):
        reply = post(tiny, "/api/chat", body)
        assert reply.status == 400 and error_of(reply)


# ---- chat -----------------------------------------------------------------------------------------


def test_document(tiny):
    answer = chat(tiny, options={"num_predict": 5})
    assert answer["model"] == MODEL and answer["message"]["role"] == "assistant"
    assert answer["done"] is True and answer["done_reason"] in ("stop", "length")
    assert datetime.fromisoformat(answer["created_at"]).tzinfo
    assert all(isinstance(answer[name], int) and answer[name] >= 0 for name in NANOSECONDS)
    assert answer["total_duration"] >= answer["eval_duration"] > 0
    assert answer["prompt_eval_count"] > 0 and answer["eval_count"] <= 5
    same = complete(tiny, ASK, max_tokens=5)
    assert answer["message"]["content"] == same["choices"][0]["message"]["content"]


def test_stream_is_the_default(tiny):
    fields = {"options": {"num_predict": 20}}
    *chunks, last = lines_of(tiny, "/api/chat", {"model": "tiny:latest", "messages": ASK, **fields})
    assert len(chunks) > 1
    for chunk in chunks:
        assert set(chunk) == {"model", "created_at", "message", "done"} and chunk["done"] is False
        assert set(chunk["message"]) == {"role", "content"} and chunk["model"] == "tiny:latest"
    assert last["done"] is True and last["message"] == {"role": "assistant", "content": ""}
    assert last["eval_count"] > 0 and last["done_reason"] in ("stop", "length")
    assert "".join(c["message"]["content"] for c in chunks) == chat(tiny, **fields)["message"]["content"]


def test_keep_alive_lines_are_chunks(start_server, model_path):
    """While another answer runs, the client hears at least once a second, by lines without text. The tiny
    model would be done too soon."""
    server = start_server("--offline", "--parallel", 1, "--queue", 4, "--alias", MODEL, model=model_path)
    blocker = Connection(server)
    blocker.send("POST", "/api/chat", {"model": MODEL, "messages": ASK, "options": {"num_predict": -1},
                                       "format": {"type": "array", "items": {"type": "string", "minLength": 60},
                                                  "minItems": 4000}})  # fmt: skip
    assert blocker.read_head()[0] == 200
    with Connection(server) as c:
        c.send("POST", "/api/chat", {"model": MODEL, "messages": ASK, "options": {"num_predict": 3}})
        assert c.read_head()[0] == 200
        times, texts = [], []
        for at, data in c.chunks():
            times.append(at)
            texts.append(json.loads(data)["message"]["content"])
            if len(times) == 3 and blocker:
                blocker.reset()
                blocker = None
    assert max(b - a for a, b in zip(times, times[1:])) < 3  # a second, with slack for a busy machine
    assert texts[0] == "" and any(texts)


@pytest.mark.parametrize("path", ["chat", "generate"])
def test_accepted_without_a_word(tiny, path):
    options = {
        "num_predict": 2, "num_ctx": 8192.0, "temperature": 9.5, "top_k": 40.7, "top_p": 3, "min_p": -1, "seed": 1,
        "stop": "§", "repeat_penalty": 0, "repeat_last_n": 64, "presence_penalty": 7, "frequency_penalty": -9.0,
        "mirostat": 2, "mirostat_tau": 5.0, "mirostat_eta": 0.1, "tfs_z": 1, "typical_p": 0.7, "num_keep": 5,
        "num_batch": 2, "num_thread": 8, "num_gpu": 99, "use_mmap": True, "numa": False, "not_an_option": [1],
    }  # fmt: skip
    body = {"model": MODEL, "messages": ASK, "prompt": "a", "stream": False, "options": options, "tools": [],
            "format": "", "images": [], "think": False, "tool_choice": "auto", "max_output_tokens": 5,
            "unknown": {"a": 1}}  # fmt: skip
    assert post(tiny, f"/api/{path}", body).status == 200
    for value in (-1, -1.0, 0, "5m", "300s", "1h30m", "-1s", "0", "1.5h", "", 3600, None):
        assert post(tiny, f"/api/{path}", {**body, "keep_alive": value}).status == 200, value
    for value in (None, [], {}, {"stop": None, "seed": None}, {"stop": ["", "x"]}, {"seed": -1}):
        expected = 400 if value == [] else 200
        reply = post(tiny, f"/api/{path}", {**body, "options": value, "max_output_tokens": 1})
        assert reply.status == expected, value


@pytest.mark.parametrize(
    "fields,named",
    [
        ({"options": {"temperature": "hot"}}, "options.temperature"),
        ({"options": {"num_predict": "5"}}, "options.num_predict"),
        ({"options": {"num_ctx": "big"}}, "options.num_ctx"),
        ({"options": {"use_mmap": 1}}, "options.use_mmap"),
        ({"options": {"stop": 5}}, "options.stop"),
        ({"options": {"stop": [5]}}, "options.stop"),
        ({"options": [1]}, "options"),
        ({"keep_alive": "soon"}, "keep_alive"),
        ({"keep_alive": True}, "keep_alive"),
        ({"keep_alive": "5 m"}, "keep_alive"),
        ({"stream": "yes"}, "stream"),
        ({"think": "a lot"}, "think"),
        ({"think": 1}, "think"),
        ({"think": True}, "think"),
        ({"format": "xml"}, "format"),
        ({"format": 3}, "format"),
        ({"format": {"type": "no-such-type"}}, "format"),
        ({"model": 5}, "model"),
    ],
)
def test_wrong_values_are_named(tiny, fields, named):
    for path in ("/api/chat", "/api/generate"):
        assert named in refused(tiny, path, 400, **{"messages": ASK, "prompt": "a", **fields})


@pytest.mark.parametrize(
    "messages,named",
    [
        ("x", "messages"),
        ([5], "messages[0]"),
        ([{"role": "user", "content": 5}], "messages[0].content"),
        ([{"role": "robot", "content": "x"}], "messages[0].role"),
        ([{"role": "user", "content": "x", "images": ["aGk="]}], "messages[0].images"),
        ([{"role": "user", "content": "x", "images": "aGk="}], "messages[0].images"),
        ([{"role": "assistant", "tool_calls": [{"function": {}}]}], "messages[0].tool_calls"),
    ],
)
def test_wrong_messages_are_named(tiny, messages, named):
    assert named in refused(tiny, "/api/chat", 400, messages=messages)


@pytest.mark.parametrize("path", ["chat", "generate"])
@pytest.mark.parametrize("empty", [{}, {"messages": [], "prompt": ""}, {"messages": None}])
def test_load(tiny, path, empty):
    for keep_alive, reason in ((None, "load"), ("5m", "load"), (0, "unload"), ("0s", "unload"), (-1, "load")):
        reply = post(tiny, f"/api/{path}", {"model": MODEL, "keep_alive": keep_alive, **empty})
        found = reply.json()
        assert found["done"] is True and found["done_reason"] == reason and found["model"] == MODEL
        assert found["message"]["content"] == "" if path == "chat" else found["response"] == ""


def test_stop_and_limit(tiny):
    text = chat(tiny, options={"num_predict": 30})["message"]["content"]
    cut = text[len(text) // 2 :][:3]
    assert chat(tiny, options={"num_predict": 30, "stop": cut})["message"]["content"] == text[: text.index(cut)]
    assert chat(tiny, options={"num_predict": 1})["done_reason"] == "length"
    assert chat(tiny, max_output_tokens=3, options={})["eval_count"] <= 3


def test_long_conversations_are_shortened(tiny):
    messages = [{"role": r, "content": "word " * 600} for _ in range(8) for r in ("user", "assistant")] + ASK
    body = {"model": MODEL, "messages": messages, "stream": False, "options": {"num_predict": 1}}
    reply = post(tiny, "/api/chat", body)
    assert reply.status == 200 and int(reply.headers["x-messages-left-out"]) > 0
    assert "context" in refused(tiny, "/api/chat", 400, messages=messages, truncate=False)


def test_logprobs(tiny):
    whole = chat(tiny, logprobs=True, top_logprobs=2, options={"num_predict": 4})
    streamed = lines_of(tiny, "/api/chat", {"model": MODEL, "messages": ASK, "logprobs": True, "top_logprobs": 2,
                                            "options": {"num_predict": 4}})  # fmt: skip
    assert [e for c in streamed for e in c.get("logprobs", ())] == whole["logprobs"]
    assert all(e["logprob"] <= 0 and len(e["top_logprobs"]) == 2 for e in whole["logprobs"])


# ---- rules and tools ------------------------------------------------------------------------------


def test_format(tiny):
    schema = {"type": "object", "properties": {"a": {"enum": ["x", "y"]}}, "required": ["a"],
              "additionalProperties": False}  # fmt: skip
    assert json.loads(chat(tiny, format=schema)["message"]["content"])["a"] in "xy"
    assert json.loads(generate(tiny, format=schema)["response"])["a"] in "xy"
    assert set(chat(tiny, format="json", options={"num_predict": 1})["message"]["content"]) <= set("{ \n")


def required(**fields):
    return {"model": MODEL, "messages": ASK, "tools": [TOOL], "tool_choice": "required", **fields}


def test_call_comes_whole(tiny):
    """A call that the answer must make, in a stream and in a document: an object, never a string."""
    limit = {"options": {"num_predict": 400, "temperature": 0.7, "seed": 5}}
    message = post(tiny, "/api/chat", required(stream=False, **limit)).json()["message"]
    assert message["content"] == ""
    calls = message.get("tool_calls", [])
    chunks = lines_of(tiny, "/api/chat", required(**limit))
    streamed = [call for c in chunks for call in c["message"].get("tool_calls", ())]
    assert all(c["message"]["content"] == "" for c in chunks if "tool_calls" in c["message"])
    assert [c["function"] for c in streamed] == [c["function"] for c in calls]
    for i, made in enumerate(calls):
        assert made["function"]["name"] == "get_weather" and made["function"]["index"] == i
        assert isinstance(made["function"]["arguments"]["city"], str)


def test_cut_call_does_not_come(tiny):
    answer = post(tiny, "/api/chat", required(stream=False, options={"num_predict": 12})).json()
    assert answer["done_reason"] == "length" and "tool_calls" not in answer["message"]
    chunks = lines_of(tiny, "/api/chat", required(options={"num_predict": 12}))
    assert not any("tool_calls" in c["message"] for c in chunks)


def test_history_of_home_assistant(tiny):
    """Calls without ids and results with neither id nor name: the prompt has them in their order."""
    call_of = lambda city: {"function": {"name": "get_weather", "arguments": {"city": city}}}  # noqa: E731
    history = [*ASK, {"role": "assistant", "content": "", "tool_calls": [call_of("Rome"), call_of("Oslo")]},
               {"role": "tool", "content": '{"t": 20}'}, {"role": "tool", "content": '{"t": 5}'}]  # fmt: skip
    with_ids = json.loads(json.dumps(history))
    for i, made in enumerate(with_ids[1]["tool_calls"]):
        made.update(id=f"call_{i}", type="function")
        made["function"]["arguments"] = json.dumps(made["function"]["arguments"])
        with_ids[2 + i]["tool_call_id"] = f"call_{i}"
    fields = {"tools": [TOOL], "max_tokens": 1}
    expected = complete(tiny, with_ids, **fields)["usage"]["prompt_tokens"]
    found = chat(tiny, history, tools=[TOOL], options={"num_predict": 1}, keep_alive=-1)
    assert found["prompt_eval_count"] == expected


def test_content_may_be_absent(tiny):
    options = {"num_predict": 1}
    empty = chat(tiny, [{"role": "user", "content": ""}], options=options)["prompt_eval_count"]
    assert chat(tiny, [{"role": "user"}], options=options)["prompt_eval_count"] == empty
    assert chat(tiny, [{"role": "user", "content": None, "images": []}], options=options)["done"]
    thought = {"role": "assistant", "thinking": "a thought", "content": "x"}
    assert chat(tiny, [*ASK, thought, *ASK], options=options)["done"]


def test_thoughts(start_server):
    """Thoughts of a model are the member `thinking`; one that always thinks does so with false, too."""
    server = start_server("--offline", "--chat-template", "qwen3-thinking-2507")
    options = {"num_predict": 6}
    text = complete(server, ASK, max_tokens=6)["choices"][0]["message"]
    text = text.get("reasoning_content") or text["content"]
    assert "thinking" in post(server, "/api/show", {"model": MODEL}).json()["capabilities"]
    for think in (None, True, False, "high"):
        message = chat(server, think=think, options=options)["message"]
        assert message["content"] == "" and message["thinking"].strip() == text.strip()
    *chunks, _ = lines_of(server, "/api/chat", {"model": MODEL, "messages": ASK, "options": options})
    assert "".join(c["message"].get("thinking", "") for c in chunks) == message["thinking"]
    assert generate(server, options=options)["thinking"] == message["thinking"]


# ---- generate -------------------------------------------------------------------------------------


def test_generate(tiny):
    fields = {"options": {"num_predict": 10}}
    answer = generate(tiny, system="Be brief.", **fields)
    assert answer["context"] == [] and "message" not in answer and answer["eval_count"] <= 10
    messages = [{"role": "system", "content": "Be brief."}, *ASK]
    assert answer["response"] == chat(tiny, messages, **fields)["message"]["content"]
    *chunks, last = lines_of(tiny, "/api/generate", {"model": MODEL, "prompt": "Hello", "system": "Be brief.",
                                                     "template": "{{ .Prompt }}", **fields})  # fmt: skip
    assert "".join(c["response"] for c in chunks) == answer["response"]
    assert all(set(c) == {"model", "created_at", "response", "done"} for c in chunks)
    assert last["response"] == "" and last["context"] == [] and last["done_reason"]


def test_raw(tiny):
    """A raw prompt is the text alone; special tokens in it are recognised."""
    options = {"num_predict": 4}
    plain = generate(tiny, "one two", raw=True, options=options)
    same = post(tiny, "/v1/completions", {"prompt": "one two", "max_tokens": 4}).json()
    assert plain["response"] == same["choices"][0]["text"]
    assert plain["prompt_eval_count"] == same["usage"]["prompt_tokens"]
    turn = generate(tiny, "<|im_start|>", raw=True, options=options)
    assert turn["prompt_eval_count"] == 1
    for fields in ({"system": "x"}, {"template": "x"}, {"context": [1]}):
        assert "raw" in refused(tiny, "/api/generate", 400, prompt="a", raw=True, **fields)


def test_context_is_refused_unless_empty(tiny):
    assert generate(tiny, context=[], options={"num_predict": 1})["context"] == []
    assert "/api/chat" in refused(tiny, "/api/generate", 400, prompt="a", context=[1, 2])
    assert "images" in refused(tiny, "/api/generate", 400, prompt="a", images=["aGk="])


def test_suffix(tiny):
    """The text of a gap: as /infill makes it, or refused by a model without the tokens for it."""
    capabilities = post(tiny, "/api/show", {"model": MODEL}).json()["capabilities"]
    body = {"model": MODEL, "prompt": "def f(", "suffix": "return", "stream": False, "options": {"num_predict": 3}}
    reply = post(tiny, "/api/generate", body)
    other = post(tiny, "/infill", {"input_prefix": "def f(", "input_suffix": "return", "n_predict": 3})
    assert reply.status == other.status == (200 if "insert" in capabilities else 400)
    if reply.status == 200:
        assert reply.json()["response"] == other.json()["content"]
    else:
        assert "fill" in error_of(reply)


# ---- embeddings -----------------------------------------------------------------------------------


def test_embed(tiny, client):
    found = post(tiny, "/api/embed", {"model": MODEL, "input": ["a cat", "two"]}).json()
    assert found["model"] == MODEL and found["prompt_eval_count"] > 1 and found["total_duration"] > 0
    first, second = found["embeddings"]
    assert math.isclose(math.hypot(*first), 1, rel_tol=1e-4) and len(first) == len(second) and first != second
    assert post(tiny, "/api/embeddings", {"model": MODEL, "prompt": "two"}).json() == {"embedding": second}
    assert client.embed(MODEL, "two").embeddings == [second]
    cut = post(tiny, "/api/embed", {"model": MODEL, "input": "two", "dimensions": 8}).json()["embeddings"][0]
    assert len(cut) == 8 and math.isclose(math.hypot(*cut), 1, rel_tol=1e-4)
    for empty in ({}, {"input": ""}, {"input": []}):
        assert post(tiny, "/api/embed", {"model": MODEL, **empty}).json()["embeddings"] == []
    assert post(tiny, "/api/embeddings", {"model": MODEL}).json() == {"embedding": []}


def test_embed_cuts_long_texts(tiny):
    long = "word " * 9000
    assert post(tiny, "/api/embed", {"model": MODEL, "input": long}).json()["prompt_eval_count"] <= 4096
    assert refused(tiny, "/api/embed", 400, input=long, truncate=False)
    assert "input" in refused(tiny, "/api/embed", 400, input={"a": 1})
    assert "prompt" in refused(tiny, "/api/embeddings", 400, prompt=5)


# ---- clients that leave, errors in the middle -----------------------------------------------------


@pytest.mark.parametrize("stream", [True, False])
def test_client_leaves(tiny, cancelled, stream):
    body = {"model": MODEL, "messages": ASK, "stream": stream, "options": {"num_predict": -1},
            "format": {"type": "array", "items": {"type": "string", "minLength": 60}, "minItems": 4000}}  # fmt: skip
    with Connection(tiny) as c:
        c.send("POST", "/api/chat", body)
        wait_until(lambda: health(tiny)["running"] == 1, "it does not begin")
        c.reset()
        expect_end(tiny, lambda: cancelled() == 1, "it is not cancelled")


def test_error_in_the_middle_of_a_stream(start_server, model_path):
    """A server that stops ends a stream with a line that has an error. The tiny model would be done before."""
    server = start_server("--offline", "--drain-seconds", 1, "--alias", MODEL, model=model_path)
    body = {"model": MODEL, "messages": ASK, "options": {"num_predict": -1},
            "format": {"type": "array", "items": {"type": "string", "minLength": 60}, "minItems": 4000}}  # fmt: skip
    with Connection(server) as c:
        c.send("POST", "/api/chat", body)
        assert c.read_head()[0] == 200
        chunks = c.chunks()
        next(chunks)
        stopping = threading.Thread(target=server.stop)
        stopping.start()
        lines = b"".join(data for _, data in chunks).decode().splitlines()
    stopping.join()
    assert set(json.loads(lines[-1])) == {"error"}


# ---- the package ----------------------------------------------------------------------------------


def test_package(client):
    options = {"num_predict": 8}
    whole = client.chat(MODEL, ASK, options=options)
    chunks = list(client.chat(MODEL, ASK, options=options, stream=True))
    assert "".join(c.message.content for c in chunks) == whole.message.content and chunks[-1].done
    assert client.generate(MODEL, "Hello", options=options).response is not None
    assert client.show(MODEL).modelinfo["general.architecture"] == "qwen2"
    with pytest.raises(ollama.ResponseError) as refusal:
        client.chat("other", ASK)
    assert refusal.value.status_code == 404 and refusal.value.error == "model 'other' not found"
    with pytest.raises(ollama.ResponseError) as refusal:
        client.delete(MODEL)
    assert refusal.value.status_code == 501
