"""Clients that disconnect, in every way, at every stage, of every kind of answer: resources are freed.

The limit is 50 ms, which is less than a step of many models: at most one more is completed.
"""

import itertools
import os
import socket
import time
import uuid

import pytest
from api_client import CHAT, Connection, call, expect_end, health, wait_until

STAGES = ["header", "body", "queued", "prefill", "first", "middle", "end"]
NUMBERS = itertools.count()


def fin(c):
    c.socket.close()


def half_close(c):
    c.socket.shutdown(socket.SHUT_WR)


WAYS = [fin, Connection.reset, half_close]


@pytest.fixture(scope="module")
def matrix(server_factory, tiny_model_path):
    """A server with one slot, whose answers are long enough to disconnect in the middle."""
    server = server_factory(
        "--offline", "--parallel", 1, "--queue", 4, "--threads", 1, model=tiny_model_path
    )
    yield server
    server.end()


def descriptors(server):
    return len(os.listdir(f"/proc/{server.pid}/fd"))


def state(server):
    h = health(server)
    return h["running"], h["queued"]


def ended(server):
    h = health(server)
    return h["requests_finished"] + h["requests_cancelled"] + h["requests_failed"]


def go_to(stage, c, server, body, headers=None):
    """Sends the request on c and waits until it reaches this stage."""
    if stage == "header":
        c.socket.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nConte")
    elif stage == "body":
        c.socket.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
                         b"Content-Length: 1000\r\n\r\n{\"mess")  # fmt: skip
    else:
        before = ended(server)
        c.send("POST", CHAT, body, headers)
        if stage == "queued":
            wait_until(lambda: state(server)[1] == 1, "it does not wait")
        elif stage == "end":
            wait_until(lambda: ended(server) > before, "it does not end")
        else:
            wait_until(lambda: state(server)[0] == 1, "it does not begin")
        if body["stream"] and stage in ("first", "middle"):
            c.read_head()
            chunks = c.chunks()
            for _ in range(2 if stage == "first" else 200):
                next(chunks)
        elif stage == "middle":
            time.sleep(0.05)


@pytest.mark.parametrize("leave", WAYS)
@pytest.mark.parametrize("streamed", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("stage", STAGES)
def test_resources_are_freed(matrix, endless, stage, streamed, leave):
    wait_until(lambda: state(matrix) == (0, 0), "something is left of another test")
    descriptors_before, cancelled_before = descriptors(matrix), health(matrix)["requests_cancelled"]
    # a prompt of which nothing is cached
    long_prompt = [{"role": "user", "content": f"{next(NUMBERS)}. " + "word and " * 950}]
    messages = long_prompt if stage == "prefill" else endless
    body = {"messages": messages, "stream": streamed, "max_tokens": 2 if stage == "end" else -1}
    holder = Connection(matrix) if stage == "queued" else None
    if holder:
        go_to("first", holder, matrix, {"messages": endless, "stream": True, "max_tokens": -1})
    with Connection(matrix) as c:
        go_to(stage, c, matrix, body)
        leave(c)
        expected = (1, 0) if holder else (0, 0)
        if holder:  # whose steps continue
            wait_until(lambda: state(matrix) == expected, "it still has its place")
        else:
            expect_end(matrix, lambda: state(matrix) == expected, "it still has its place")
        if stage in ("header", "body") and leave is half_close:
            assert c.socket.recv(1) == b""  # half a request has no answer
    if stage in ("queued", "prefill", "first", "middle"):
        assert health(matrix)["requests_cancelled"] == cancelled_before + 1
    if holder:
        holder.socket.close()
        expect_end(matrix, lambda: state(matrix) == (0, 0), "the other one is not free")
    wait_until(lambda: descriptors(matrix) <= descriptors_before, "a descriptor is left")


@pytest.mark.parametrize("leave", WAYS)
@pytest.mark.parametrize("streamed", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("stage", ["queued", "prefill", "first", "middle"])
def test_an_answer_with_an_id_goes_on_until_it_is_deleted(matrix, endless, stage, streamed, leave):
    wait_until(lambda: state(matrix) == (0, 0), "something is left of another test")
    descriptors_before, cancelled_before = descriptors(matrix), health(matrix)["requests_cancelled"]
    long_prompt = [{"role": "user", "content": f"{next(NUMBERS)}. " + "word and " * 950}]
    messages = long_prompt if stage == "prefill" else endless
    body = {"messages": messages, "stream": streamed, "max_tokens": -1}
    holder = Connection(matrix) if stage == "queued" else None
    if holder:
        go_to("first", holder, matrix, {"messages": endless, "stream": True, "max_tokens": -1})
    answer_id = str(uuid.uuid4())
    with Connection(matrix) as c:
        go_to(stage, c, matrix, body, {"X-Answer-Id": answer_id})
        leave(c)
        is_gone = descriptors_before + (1 if holder else 0)
        wait_until(lambda: descriptors(matrix) <= is_gone, "a descriptor is left")
    assert state(matrix) == ((1, 1) if holder else (1, 0))
    assert call(matrix, "DELETE", f"/v1/answers/{answer_id}").status == 200
    expected = (1, 0) if holder else (0, 0)
    wait_until(lambda: state(matrix) == expected, "it still has its place")
    assert health(matrix)["requests_cancelled"] == cancelled_before + 1
    found = health(matrix)["statistics"]
    assert found["live_answers"] == {"running": 0, "ended": 0} and found["kept_answer_bytes"] == 0
    if holder:
        holder.socket.close()
    wait_until(lambda: descriptors(matrix) <= descriptors_before, "a descriptor is left")


PROMPTS = ["one", "two", "three"]  # one runs, the others wait
RAW = [
    ("/v1/completions", {"prompt": PROMPTS, "max_tokens": -1, "ignore_eos": True, "logprobs": 2}),
    ("/completion", {"prompt": PROMPTS, "n_predict": -1, "ignore_eos": True, "n_probs": 2}),
]


@pytest.mark.parametrize("leave", WAYS)
@pytest.mark.parametrize("streamed", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("path, body", RAW, ids=["completions", "llama-server"])
def test_answers_of_several_prompts_are_freed(matrix, path, body, streamed, leave):
    wait_until(lambda: state(matrix) == (0, 0), "something is left of another test")
    descriptors_before, cancelled_before = descriptors(matrix), health(matrix)["requests_cancelled"]
    with Connection(matrix) as c:
        c.send("POST", path, {**body, "stream": streamed})
        wait_until(lambda: state(matrix) == (1, 2), "they do not begin")
        leave(c)
        expect_end(matrix, lambda: state(matrix) == (0, 0), "they still have their places")
    assert health(matrix)["requests_cancelled"] == cancelled_before + len(PROMPTS)
    wait_until(lambda: descriptors(matrix) <= descriptors_before, "a descriptor is left")
