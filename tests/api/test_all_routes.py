"""All routes with all kinds of faults: refusals are in the shape of the route's dialect, streams do not begin
before a request is known to be good, nothing is left of clients that leave, and nothing is a 500.

The routes and their fields are those of web/openapi.json; the tests of each dialect check what the fields
mean."""

import json
import os
import time
from pathlib import Path

import pytest
from api_client import HELLO, PATIENCE, Connection, call, get, health, post, wait_until
from jsonschema import Draft202012Validator

DOCUMENT = json.loads((Path(__file__).resolve().parents[2] / "web" / "openapi.json").read_text())

# A good body of each route that answers a POST, which asks for little work.
CHAT = {"messages": HELLO, "max_tokens": 1}
RAW = {"prompt": "Hello", "n_predict": 1}
OLLAMA = {"model": "tiny", "options": {"num_predict": 1}}
BODIES = {
    "/chat": {"prompt": "Hello", "max_new_tokens": 1},
    "/v1/chat/completions": CHAT,
    "/v1/chat/completions/input_tokens": CHAT,
    "/v1/completions": {"prompt": "Hello", "max_tokens": 1},
    "/v1/embeddings": {"input": "Hello"},
    "/v1/responses": {"input": "Hello", "max_output_tokens": 1},
    "/v1/responses/input_tokens": {"input": "Hello"},
    "/v1/messages": CHAT,
    "/v1/messages/count_tokens": CHAT,
    "/api/show": {"model": "tiny"},
    "/api/chat": {**OLLAMA, "messages": HELLO},
    "/api/generate": {**OLLAMA, "prompt": "Hello"},
    "/api/embed": {"model": "tiny", "input": "Hello"},
    "/api/embeddings": {"model": "tiny", "prompt": "Hello"},
    "/api/pull": {"model": "tiny"},
    "/completion": RAW,
    "/completions": RAW,
    "/infill": {"input_prefix": "a", "input_suffix": "b", "n_predict": 1},
    "/tokenize": {"content": "Hello"},
    "/detokenize": {"tokens": [1, 2]},
    "/apply-template": CHAT,
    "/embedding": {"content": "Hello"},
    "/embeddings": {"content": "Hello"},
}
# Where the text of a prompt is, if it is not in messages.
TEXTS = {"/chat": "prompt", "/v1/completions": "prompt", "/completion": "prompt", "/completions": "prompt",
         "/v1/embeddings": "input", "/v1/responses": "input", "/api/generate": "prompt", "/api/embed": "input",
         "/api/embeddings": "prompt", "/embedding": "content", "/embeddings": "content"}  # fmt: skip
OTHERS = ("/v1/chat/completions/input_tokens", "/v1/responses/input_tokens", "/v1/messages/count_tokens",
          "/api/show", "/api/pull", "/infill", "/tokenize", "/detokenize", "/apply-template")  # fmt: skip
ANSWERING = [path for path in BODIES if path not in OTHERS]
EMBEDDING = [path for path in BODIES if "embed" in path]


def nested(depth):
    value = 1
    for _ in range(depth):
        value = [{"a": value}] if depth % 2 else [value]
    return value


def tool(parameters):
    return [{"type": "function", "name": "f", "input_schema": parameters, "parameters": parameters,
             "function": {"name": "f", "parameters": parameters}}]  # fmt: skip


VALUES = [
    None, True, False, 0, -1, 1.5, 2**31, -(2**63), 10**19, 1e308, "", "x", "8", "a\0b", "\ud800", "😀" * 80,
    [], {}, [None], [[]], [{}], [1], [-1], ["x"], [["x", 2**40]], nested(59), nested(60),
    {"type": 1}, {"type": "x"}, {"type": "function"}, {"type": "function", "function": {"name": 1}}, {"a": "b"},
    [{"role": 1}], [{"role": "user"}], [{"role": "user", "content": 1}], [{"role": "user", "content": [{}]}],
    [{"role": "user", "content": [{"type": "text", "text": 1}]}], [{"role": "user", "content": [{"type": "image"}]}],
    [{"role": "assistant", "tool_calls": [{}]}], [{"role": "tool", "content": None}],
    [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}],
    [{"role": "user", "content": [{"type": "tool_result"}]}], [{"role": "assistant", "content": [{"type": "tool_use"}]}],
    [{"type": "function_call"}], [{"type": "function_call_output", "output": 1}], [{"type": "item_reference"}],
    tool(1), tool({"$ref": "#"}), tool({"type": "object", "properties": {"a": {"pattern": "(a{1,99}){1,99}b"}}}),
]  # fmt: skip


def schema_of(operation):
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    while "$ref" in schema:
        schema = DOCUMENT["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
    return schema


def shape_of(path):
    if path.startswith("/api/"):
        return "OllamaError"
    return "MessagesError" if path.startswith("/v1/messages") else "Error"


def check_error(path, reply):
    """Checks that an error has the shape of the dialect of its path."""
    assert reply.headers["content-type"].startswith("application/json"), reply.headers
    schema = {"$ref": f"#/components/schemas/{shape_of(path)}", "components": DOCUMENT["components"]}
    Draft202012Validator(schema).validate(reply.json())
    error = reply.json()["error"]
    assert (error if shape_of(path) == "OllamaError" else error["message"]), reply.body


@pytest.mark.parametrize("path", BODIES)
def test_values_of_fields(tiny, path):
    """Whatever a field is, the answer is one or says what is wrong, and the connection can go on."""
    fields = dict.fromkeys([*schema_of(DOCUMENT["paths"][path]["post"])["properties"], "options", "no_such_field"])
    fields.pop("prompt" if path == "/api/pull" else None, None)
    refused = 0
    connection = Connection(tiny)
    for name in fields:
        for value in VALUES:
            began = time.monotonic()
            connection.send("POST", path, {**BODIES[path], name: value})
            reply = connection.read()
            what = (name, value, reply.body[:300])
            assert reply.status in (200, 400, 403, 404), what
            assert time.monotonic() - began < PATIENCE, what
            assert reply.headers.get("connection") != "close", what
            reply.body.decode("utf-8")
            if reply.status != 200:
                refused += 1
                check_error(path, reply)
    connection.socket.close()
    assert refused > 0
    assert health(tiny)["requests_failed"] == 0


BROKEN = {
    "nothing": b"", "no object": b"[1]", "cut": b'{"model": "ti', "more behind it": b"{} x", "NaN": b'{"temperature": NaN}',
    "bytes": b'{"model": "\xff\xfe"}', "a surrogate": b'{"model": "\xed\xa0\x80"}', "NUL": b'{"model": "a\\u0000b"}',
    "a NUL byte": b'{"model": "a\0b"}', "deep": b'{"a": ' + b"[" * 4000 + b"]" * 4000 + b"}",
    "wide": b'{"a": [' + b"[]," * 4000 + b"[]], " + b'"b":"' + b'"}' * 2,
}  # fmt: skip


@pytest.mark.parametrize("fault", BROKEN)
def test_bodies_that_are_no_request(tiny, fault):
    for path in BODIES:
        reply = post(tiny, path, BROKEN[fault])
        assert reply.status == 400, (path, reply.body)
        check_error(path, reply)


@pytest.mark.parametrize("path", ANSWERING)
def test_too_long(tiny, path):
    text = "word " * 5000
    body = BODIES[path] | {"stream": True, "truncate": False}
    body |= {TEXTS[path]: text} if path in TEXTS else {"messages": [{"role": "user", "content": text}]}
    reply = post(tiny, path, body)
    assert reply.status == 400, reply.body
    check_error(path, reply)
    assert "exceeds the available context size" in reply.body.decode()  # as LiteLLM looks for it


@pytest.mark.parametrize("path", BODIES)
def test_another_model(tiny, path):
    """Its name is served by the model that is here, but for Ollama's clients, which ask whether it is."""
    reply = post(tiny, path, BODIES[path] | {"model": "another"})
    if path == "/infill":  # the tiny model has no tokens for it
        assert reply.status == 400
    elif path == "/api/pull":
        assert reply.status == 403
    else:
        assert reply.status == (404 if path.startswith("/api/") else 200), reply.body
    if reply.status != 200:
        check_error(path, reply)


@pytest.mark.parametrize("path", DOCUMENT["paths"])
def test_methods(tiny, path):
    """Only those of the document, and HEAD with GET; others are a 405 that says which."""
    offered = {m.upper() for m in DOCUMENT["paths"][path]} | {"OPTIONS"}
    target = path.replace("{model}", "tiny").replace("{id}", "1").replace("{digest}", "1")
    for method in ("GET", "HEAD", "POST", "DELETE", "PUT", "PATCH", "OPTIONS"):
        reply = call(tiny, method, target, BODIES.get(path, {}) if method == "POST" else None)
        assert reply.status != 500
        if method == "OPTIONS":
            assert reply.status == 204
        elif method == "HEAD":
            assert reply.body == b""
        elif method not in offered and reply.status not in (404, 501):
            assert reply.status == 405, (method, reply.status, reply.body)
            assert set(reply.headers["allow"].split(", ")) >= offered - {"OPTIONS"}
            check_error(path, reply)


def descriptors(server):
    return len(os.listdir(f"/proc/{server.pid}/fd"))


@pytest.mark.parametrize("path", ANSWERING)
def test_clients_that_leave(tiny, path):
    """A client leaves at once, or when the answer begins; a last one is answered as ever."""
    before = descriptors(tiny)
    long = {"ignore_eos": True, "max_tokens": 4000, "n_predict": 4000, "max_new_tokens": 4000,
            "stream": True}  # fmt: skip
    if path == "/v1/responses":
        long = {"max_output_tokens": 4000, "stream": True}
    body = BODIES[path] | long
    if "options" in body:
        body["options"] = {"num_predict": 4000, "ignore_eos": True}
    if path in EMBEDDING and path != "/api/embeddings":
        body[TEXTS[path]] = ["word " * 100] * 200
    for leave in (Connection.reset, lambda c: c.socket.close()):
        for begun in (False, True):
            with Connection(tiny) as c:
                c.send("POST", path, body)
                if begun and path not in EMBEDDING:
                    assert c.read_head()[0] == 200
                leave(c)
    wait_until(lambda: (health(tiny)["running"], health(tiny)["queued"]) == (0, 0), "it goes on")
    wait_until(lambda: descriptors(tiny) <= before, "a descriptor is left")
    assert post(tiny, path, BODIES[path]).status == 200
    assert get(tiny, "/live").status == 200
