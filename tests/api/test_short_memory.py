"""Lack of memory: every allocation of every kind of request fails once. That request ends with a 503,
or its connection is closed; other clients are not affected, and nothing leaks."""

import json
import os

import pytest
from api_client import CHAT, HELLO, Connection, health, wait_until

SOON = 30
SYSTEM = {"role": "system", "content": "You are the keeper of a lighthouse. Answer in one word."}
TURNS = [
    {"role": "user", "content": "Who is there? " + "It is dark, and the rain falls. " * 8},
    {"role": "assistant", "content": "A ship."},
    {"role": "user", "content": "Where?"},
]
TOOL = {"type": "function", "function": {"name": "light", "parameters": {"type": "object"}}}
BRIEF = {"max_tokens": 3, "temperature": 0}


def text_of(choices, holder):
    return [(c["index"], c[holder].get("content", ""), c["finish_reason"]) for c in choices]


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


def names(data):
    """Returns the names of the values on /metrics."""
    return [line.rpartition(" ")[0] for line in data.decode().split("\n")]


def shape(value):
    if isinstance(value, dict):
        return {k: shape(v) for k, v in value.items()}
    return type(value).__name__


def status(data):
    found = json.loads(data)
    # measured values: the memory of the computer and of the process are never 0
    assert found["memory_total_bytes"] > 0 and found["resident_bytes"] > 0
    return {k: shape(v) for k, v in found.items()}


def chat(read, messages, **fields):
    return lambda n: ("POST", CHAT, {"messages": messages, **BRIEF, **fields}, 200, read)


def long_prompt(n):
    """Returns a new prompt, of which nothing is cached."""
    messages = [{"role": "user", "content": f"{n} " + "word and " * 120}]
    return "POST", CHAT, {"messages": messages, **BRIEF}, 200, document


# name: n -> method, path, body, status, and a function for the reproducible part of the answer
SCENARIOS = {
    "whole": chat(document, HELLO),
    "stream": chat(chunks, HELLO, stream=True, stream_options={"include_usage": True}),
    "query": lambda n: ("GET", "/chat?prompt=a%20b&top_k=3&max_new_tokens=3", None, 200, events),
    "native": lambda n: ("POST", "/chat", {"prompt": "Hello", "max_new_tokens": 3}, 200, events),
    "system": chat(document, [SYSTEM, *HELLO], stop=["never", "\n\n\n"], service_tier="flex"),
    "turns": chat(chunks, [SYSTEM, *TURNS], stream=True, return_progress=True),
    "tools": chat(document, HELLO, tools=[TOOL], n=2, context_policy="trim"),
    "wrong": lambda n: ("POST", CHAT, {"messages": HELLO, "n": "two"}, 400, json.loads),
    "broken": lambda n: ("POST", CHAT, b'{"messages": [', 400, json.loads),
    "nowhere": lambda n: ("GET", "/nowhere%2Fat%20all?x", None, 404, json.loads),
    "models": lambda n: ("GET", "/v1/models", None, 200, json.loads),
    "metrics": lambda n: ("GET", "/metrics", None, 200, names),
    "health": lambda n: ("GET", "/health", None, 200, status),
    "page": lambda n: ("GET", "/", None, 200, len),
    "long": long_prompt,
}
# Only this many need no further memory.
LEAST_FAILURES = 8

NO_MEMORY, CUT = "no memory", "cut"


def said_so(data):
    """Returns whether a stream ended with the error for a lack of memory."""
    lines = [line for line in data.decode().split("\n") if line.startswith("data: ")]
    return lines[-1] == "data: [DONE]" and '"no_memory"' in lines[-2]


def ask(server, scenario, n):
    """Sends a request; returns NO_MEMORY, CUT, or the answer."""
    method, path, body, expected, read = scenario(n)
    try:
        with Connection(server) as c:
            c.send(method, path, body)
            reply = c.read()
    except (EOFError, ConnectionError):
        return CUT
    if reply.status == 503:
        assert reply.error["code"] == "no_memory" and reply.headers["retry-after"] == "1"
        return NO_MEMORY
    assert reply.status == expected, reply.body
    if reply.headers["content-type"].startswith("text/event-stream") and said_so(reply.body):
        return NO_MEMORY
    return read(reply.body)


@pytest.fixture(scope="module")
def failing(server_factory, tiny_model_path, faults):
    """A server whose allocations can be made to fail, and its numbers of blocks and descriptors when
    idle."""
    options = ("--parallel", 2, "--cache-ram", "1M", "--cache-disk", 0, "--log-level", "error")
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
    for n, scenario in enumerate(SCENARIOS.values()):
        assert ask(server, scenario, -1 - n) not in (NO_MEMORY, CUT)
    wait_until(lambda: is_idle(server), SOON, "greetings are not computed")
    server.kept = faults.blocks(), descriptors(server)
    yield server
    server.end()


def descriptors(server):
    return len(os.listdir(f"/proc/{server.pid}/fd"))


def is_idle(server):
    h = health(server)
    return h["running"] + h["queued"] == 0


def test_every_allocation(failing, faults):
    for name, scenario in SCENARIOS.items():
        usual = ask(failing, scenario, 0)
        assert usual not in (NO_MEMORY, CUT)
        failures, number = 0, 1
        while True:
            faults.no_memory_at(number)
            came = ask(failing, scenario, number)
            if not faults.had_no_memory():
                break
            where = f"{name}, allocation {number}"
            after = ask(failing, scenario, number)
            assert after not in (NO_MEMORY, CUT), where
            assert name == "long" or after == usual, where
            assert came in (NO_MEMORY, CUT, after), where
            failures += came in (NO_MEMORY, CUT)
            blocks, open_files = failing.kept
            wait_until(lambda: faults.blocks() <= blocks, SOON, f"{where}: something is lost")
            number += 1
        assert failures >= LEAST_FAILURES, name
        wait_until(lambda: is_idle(failing), SOON, f"{name}: something runs")
        assert descriptors(failing) <= open_files + 1, name
