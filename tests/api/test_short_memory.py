"""Lack of memory: every allocation of every kind of request fails once. That request ends with a 503,
or its connection is closed; other clients are not affected, and nothing leaks."""

import json
import os
import uuid

import pytest
from api_client import CHAT, HELLO, Connection, call, health, wait_until

SYSTEM = {"role": "system", "content": "You are the keeper of a lighthouse. Answer in one word."}
CLOCK = {"role": "system", "content": "Current time is 12:34:56.\nAnswer in one word."}
TURNS = [
    {"role": "user", "content": "Who is there? " + "It is dark, and the rain falls. " * 8},
    {"role": "assistant", "content": "A ship."},
    {"role": "user", "content": "Where?"},
]
TEXTS = ["A ship.", [5, 6], {"content": [{"type": "text", "text": "a "}, {"type": "text", "text": "b"}]}]
TOOL = {"type": "function", "function": {"name": "light", "parameters": {"type": "object"}}}
FLAT = {"type": "function", **TOOL["function"]}
ITEMS = [
    {"role": "user", "content": [{"type": "input_text", "text": "Hello"}]},
    {"type": "function_call", "call_id": "c", "name": "light", "arguments": "{}"},
    {"type": "function_call_output", "call_id": "c", "output": "on"},
]
BLOCKS = [
    {"role": "user", "content": [{"type": "text", "text": "Hello"}]},
    {"role": "assistant", "content": [{"type": "tool_use", "id": "c", "name": "light", "input": {}}]},
    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c", "content": "on"}]},
]
BRIEF = {"max_tokens": 3, "temperature": 0}


def text_of(choices, holder):
    return [(c["index"], c[holder].get("content") or "", c["finish_reason"]) for c in choices]


def document(data):
    d = json.loads(data)
    usage = {k: v for k, v in d["usage"].items() if k != "prompt_tokens_details"}
    return sorted(d), text_of(d["choices"], "message"), usage, sorted(d["timings"])


def events(data):
    """Returns the events of a stream; none if it is not complete."""
    lines = [line[6:] for line in data.decode().split("\n") if line.startswith("data: ")]
    assert lines.pop() == "[DONE]"
    return [json.loads(line) for line in lines]


def chunks(data):
    found = [(sorted(c), text_of(c["choices"], "delta")) for c in events(data)]
    # the number of progress events depends on the steps
    return [f for f in found if "prompt_progress" not in f[0]]


def vectors(data):
    return json.loads(data)


def texts(data):
    return [(c["text"], c["logprobs"]) for c in json.loads(data)["choices"]]


def texts_of_chunks(data):
    return [texts(json.dumps(c)) for c in events(data)]


def results(data):
    """The results of /completion, without times."""
    return [{k: v for k, v in r.items() if k not in ("timings", "tokens_cached")} for r in json.loads(data)]


def names(data):
    """Returns the names of the values on /metrics."""
    return [line.rpartition(" ")[0] for line in data.decode().split("\n")]


def shape(value):
    if isinstance(value, dict):
        return {k: shape(v) for k, v in value.items()}
    return type(value).__name__


def ollama(data):
    """The lines of an answer without times."""
    lines = [json.loads(line) for line in data.decode().splitlines()]
    return [{k: v for k, v in line.items() if "_at" not in k and "duration" not in k} for line in lines]


def names_of_models(data):
    return [model["name"] for model in json.loads(data)["models"]]


def status(data):
    found = json.loads(data)
    # measured values: the memory of the computer and of the process are never 0
    assert found["memory_total_bytes"] > 0 and found["resident_bytes"] > 0
    return {k: shape(v) for k, v in found.items()}


def chat(read, messages, **fields):
    return lambda n: ("POST", CHAT, {"messages": messages, **BRIEF, **fields}, 200, read)


def long_prompt(n):
    """Returns a new prompt, of which nothing is cached."""
    messages = [{"role": "user", "content": f"{n} " + "word and " * 60}]
    return "POST", CHAT, {"messages": messages, **BRIEF}, 200, document


def asked(path, read, **body):
    return lambda n: ("POST", path, body, 200, read)


def outliving(path, read, **body):
    """An answer with an X-Answer-Id, which is read again by it, and deleted."""
    return lambda n: ("POST", path, body, 200, read, {"X-Answer-Id": str(uuid.uuid4())})


def answered(data):
    """Returns an answer of the Responses or Messages API without its ID and its time."""
    found = json.loads(data)
    usage = {k: v for k, v in found.pop("usage").items() if k == "output_tokens"}
    content = [[p["text"] for p in i["content"]] if "content" in i else i["text"]
               for i in found.pop("output", None) or found.pop("content")]  # fmt: skip
    return {k: v for k, v in found.items() if k not in ("id", "created_at")}, usage, content


def named(data):
    """Returns the names of the events of a stream with the pieces of its text, if it is complete."""
    found = [json.loads(line[6:]) for line in data.decode().split("\n") if line.startswith("data: ")]
    assert found[-1]["type"] in ("message_stop", "response.completed", "response.incomplete")
    texts = [e["delta"] if isinstance(e["delta"], str) else e["delta"].get("text") for e in found
             if "delta" in e]  # fmt: skip
    # the number of pings depends on the steps
    return [e["type"] for e in found if e["type"] != "ping"], texts


KEPT = "/v1/chats/01234567-0123-4123-8123-0123456789ab"
KEPT_MESSAGE = {"id": KEPT[10:], "parent": None, "role": "user", "content": "Who is there?", "own": [1]}


def kept(data):
    """Returns a kept chat, or its entry, without what each change changes."""
    found = json.loads(data)
    return {k: v for k, v in found.items() if k not in ("etag", "changed")}


def kept_list(data):
    return [kept(json.dumps(row)) for row in json.loads(data)["data"]]


# name: n -> method, path, body, status, a function for the reproducible part of the answer, and headers
SCENARIOS = {
    "whole": chat(document, HELLO),
    "stream": chat(chunks, HELLO, stream=True, stream_options={"include_usage": True}),
    "query": lambda n: ("GET", "/chat?prompt=a%20b&top_k=3&max_new_tokens=3", None, 200, events),
    "native": lambda n: ("POST", "/chat", {"prompt": "Hello", "max_new_tokens": 3}, 200, events),
    "system": chat(document, [SYSTEM, *HELLO], stop=["never", "\n\n\n"], service_tier="flex"),
    "turns": chat(chunks, [SYSTEM, *TURNS], stream=True, return_progress=True),
    "late": chat(document, [CLOCK, *HELLO]),
    "tools": chat(document, HELLO, tools=[TOOL], n=2, context_policy="trim"),
    "wrong": lambda n: ("POST", CHAT, {"messages": HELLO, "n": "two"}, 400, json.loads),
    "broken": lambda n: ("POST", CHAT, b'{"messages": [', 400, json.loads),
    "nowhere": lambda n: ("GET", "/nowhere%2Fat%20all?x", None, 404, json.loads),
    "embeddings": lambda n: ("POST", "/v1/embeddings", {"input": TEXTS}, 200, vectors),
    "embeddings of llama-server": lambda n: (
        "POST", "/embedding", {"content": TEXTS, "pooling": "mean", "truncate": True}, 200, vectors),
    "ollama": lambda n: ("POST", "/api/chat", {
        "model": "tiny", "messages": HELLO, "stream": False, "tools": [TOOL], "format": {"type": "boolean"},
        "options": {"num_predict": 3, "stop": "never"}}, 200, ollama),
    "ollama stream": lambda n: ("POST", "/api/generate", {
        "model": "tiny", "prompt": "Hello", "options": {"num_predict": 3}}, 200, ollama),
    "ollama show": lambda n: ("POST", "/api/show", {"model": "tiny"}, 200, ollama),
    "ollama tags": lambda n: ("GET", "/api/tags", None, 200, names_of_models),
    "responses": asked("/v1/responses", named, input=ITEMS, stream=True, store=False, tools=[FLAT],
                       text={"format": {"type": "json_object"}}, max_output_tokens=3),
    "whole response": asked("/v1/responses", answered, input="Hello", store=False,
                            metadata={"a": "b"}, max_output_tokens=3),
    "messages": asked("/v1/messages", named, messages=BLOCKS, system="Be brief.", stream=True,
                      stop_sequences=["never"], max_tokens=3),
    "whole message": asked("/v1/messages", answered, messages=HELLO, max_tokens=3, tools=[
        {"name": "light", "input_schema": {"type": "object"}}]),
    "count_tokens": asked("/v1/messages/count_tokens", json.loads, messages=BLOCKS),
    "completions": lambda n: (
        "POST", "/v1/completions", {"prompt": ["Hi", [5, 6]], "max_tokens": 3, "logprobs": 2}, 200, texts),
    "completions, streamed": lambda n: (
        "POST", "/v1/completions",
        {"prompt": "Hi", "max_tokens": 3, "logprobs": 1, "stream": True}, 200, texts_of_chunks),
    "echo": lambda n: (
        "POST", "/v1/completions", {"prompt": "Hi", "max_tokens": 0, "echo": True}, 200, texts),
    "completion of llama-server": lambda n: (
        "POST", "/completion",
        {"prompt": ["Hi", "a"], "n_predict": 3, "n_probs": 2, "return_tokens": True, "seed": 1}, 200, results),
    "no tokens": lambda n: (
        "POST", "/completion", {"prompt": "Hi", "n_predict": 0, "response_fields": ["content", "stop"]},
        200, json.loads),
    "tokens": lambda n: ("POST", "/tokenize", {"content": ["a", 5], "with_pieces": True}, 200, json.loads),
    "text of tokens": lambda n: ("POST", "/detokenize", {"tokens": [300, 301]}, 200, json.loads),
    "template": lambda n: ("POST", "/apply-template", {"messages": HELLO}, 200, json.loads),
    "count": lambda n: (
        "POST", "/v1/chat/completions/input_tokens", {"messages": HELLO}, 200, json.loads),
    "props": lambda n: ("GET", "/props", None, 200, json.loads),
    "slots": lambda n: ("GET", "/slots?fail_on_no_slot=1", None, 200, json.loads),
    "models": lambda n: ("GET", "/v1/models", None, 200, json.loads),
    "metrics": lambda n: ("GET", "/metrics", None, 200, names),
    "health": lambda n: ("GET", "/health", None, 200, status),
    "page": lambda n: ("GET", "/favicon.svg", None, 200, len),
    "openapi": lambda n: ("GET", "/openapi.json", None, 200, json.loads),
    "outliving": outliving(CHAT, chunks, messages=HELLO, stream=True, **BRIEF),
    "outliving document": outliving("/v1/responses", answered, input="Hello", store=False, max_output_tokens=3),
    "kept chat, written": lambda n: (
        "PUT", KEPT, {"title": "A", "created": 1, "messages": [KEPT_MESSAGE]}, 200, kept, {"If-Match": "*"}),
    "kept chat, added to": asked(KEPT + "/messages", kept, messages=[KEPT_MESSAGE], current=KEPT[10:]),
    "kept chat": lambda n: ("GET", KEPT, None, 200, kept),
    "kept chats": lambda n: ("GET", "/v1/chats", None, 200, kept_list),
    "long": long_prompt,
}
# Only this many need no further memory.
LEAST_FAILURES = 8
TOGETHER = 5

NO_MEMORY, CUT = "no memory", "cut"


def said_so(data):
    """Returns whether a stream ended with the error for a lack of memory."""
    if data.startswith(b"{"):
        return "try again" in json.loads(data.splitlines()[-1]).get("error", "")
    lines = [line for line in data.decode().split("\n") if line.startswith("data: ")]
    if lines[-1] == "data: [DONE]":
        return '"no_memory"' in lines[-2]
    return any('"error"' in line and "try again in a moment" in line for line in lines[-2:])


def ask(server, scenario, n):
    """Sends a request; returns NO_MEMORY, CUT, or the answer."""
    method, path, body, expected, read, *headers = scenario(n)
    came = send(server, method, path, body, expected, read, *headers)
    if not headers or "X-Answer-Id" not in headers[0]:
        return came
    kept = f"/v1/answers/{headers[0]['X-Answer-Id']}"
    if came not in (NO_MEMORY, CUT):
        again = send(server, "GET", kept, None, expected, read)
        assert again in (came, NO_MEMORY, CUT)
        came = again
    while send(server, "DELETE", kept, None, None, len) in (NO_MEMORY, CUT):
        pass
    return came


def send(server, method, path, body, expected, read, headers=None):
    try:
        with Connection(server) as c:
            c.send(method, path, body, headers)
            reply = c.read()
    except (EOFError, ConnectionError):
        return CUT
    if reply.status == 503:
        assert b"try again in a moment" in reply.body and reply.headers["retry-after"] == "1"
        return NO_MEMORY
    assert expected is None or reply.status == expected, reply.body
    is_stream = reply.headers["content-type"].startswith(("text/event-stream", "application/x-ndjson"))
    if is_stream and said_so(reply.body):
        return NO_MEMORY
    return read(reply.body)


@pytest.fixture(scope="module")
def failing(server_factory, tiny_model_path, faults, tmp_path_factory):
    """A server whose allocations can be made to fail, and its numbers of blocks and descriptors when
    idle."""
    options = ("--parallel", 2, "--cache-ram", "1M", "--cache-disk", 0, "--log-level", "error",
               "--late-lines", "home-assistant", "--allow-origin", "apps",
               "--history", tmp_path_factory.mktemp("kept"))  # fmt: skip
    # freed memory is overwritten, so that uses of it show
    env = faults.env | {"MALLOC_PERTURB_": "165"}
    server = server_factory("--offline", *options, model=tiny_model_path, env=env)
    # creates objects that are kept: for descriptors, and in libraries
    held = [Connection(server) for _ in range(8)]
    for c in held:
        c.send("GET", "/live")
        assert c.read().status == 200
    for c in held:
        c.socket.close()
    assert call(server, "PUT", KEPT, {}, {"If-None-Match": "*"}).status == 201
    for n, scenario in enumerate(SCENARIOS.values()):
        assert ask(server, scenario, -1 - n) not in (NO_MEMORY, CUT)
    wait_until(lambda: is_idle(server), "greetings are not computed")
    server.kept = faults.blocks(), descriptors(server)
    yield server
    server.end()


def descriptors(server):
    return len(os.listdir(f"/proc/{server.pid}/fd"))


def is_idle(server):
    h = health(server)
    return h["running"] + h["queued"] == 0


def test_every_allocation(failing, faults):
    """After each few failures, the same request is answered as usual, and nothing is lost."""
    blocks, open_files = failing.kept

    def expect_unharmed(name, scenario, usual, number):
        where = f"{name}, allocation {number} or one of the {TOGETHER - 1} before"
        after = ask(failing, scenario, number)
        assert after not in (NO_MEMORY, CUT) and (name == "long" or after == usual), where
        wait_until(lambda: faults.blocks() <= blocks, f"{where}: something is lost")

    for name, scenario in SCENARIOS.items():
        usual = ask(failing, scenario, 0)
        assert usual not in (NO_MEMORY, CUT)
        failures, number = 0, 1
        while True:
            faults.no_memory_at(number)
            came = ask(failing, scenario, number)
            if not faults.had_no_memory():
                break
            if came in (NO_MEMORY, CUT):
                failures += 1
            else:
                expected = ask(failing, scenario, number) if name == "long" else usual
                assert came == expected, f"{name}, allocation {number}"
            if number % TOGETHER == 0:
                expect_unharmed(name, scenario, usual, number)
            number += 1
        expect_unharmed(name, scenario, usual, number)
        assert failures >= LEAST_FAILURES, name
        wait_until(lambda: is_idle(failing), f"{name}: something runs")
        assert descriptors(failing) <= open_files + 1, name
