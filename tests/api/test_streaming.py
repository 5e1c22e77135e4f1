"""Streams: pieces are sent as they are generated, and no client waits without a sign of life."""

import json
import select
import threading
import uuid

import pytest
from api_client import CHAT, Connection, Stream, complete, health, stream

STORY = [{"role": "user", "content": "Tell me a long story about a lighthouse."}]


def long_prompt():
    """Returns a new long prompt each time, of which nothing is cached."""
    text = f"Summarise number {uuid.uuid4()}: " + "the quick brown fox. " * 120
    return [{"role": "user", "content": text}]


def arrived(c):
    """Returns the bytes that can be read now; b"" also at the end."""
    data = b""
    while select.select([c.socket], [], [], 0)[0] and (piece := c.socket.recv(65536)):
        data += piece
    return data


@pytest.mark.parametrize(
    "path, text, limit",
    [(CHAT, b'"delta":{"content":', "max_tokens"), ("/chat", b'data: {"text":', "max_new_tokens")],
)
def test_pieces_come_one_by_one(start_server, model_path, path, text, limit):
    """At any time, all generated tokens have been sent, except the ones that a step has just made:
    without drafts it makes one."""
    server = start_server("--offline", "--draft-max", 0, model=model_path)
    before = health(server)["answer_tokens"]
    with Connection(server) as c:
        c.send("POST", path, {"messages": STORY, "stream": True, limit: 64})
        data, seen = b"", set()
        while b"[DONE]" not in data:
            made = health(server)["answer_tokens"] - before
            health(server)  # bytes that were on their way have arrived now
            data += arrived(c)
            assert data.count(text) >= made - 1, f"{made} tokens were generated, {data.count(text)} arrived"
            seen.add(made)
    assert data.count(text) == 64
    assert len(seen) > 5, "no observation during the answer"


def test_each_piece_is_its_own_chunk(server):
    s = Stream(server, "/chat", {"messages": STORY, "max_new_tokens": 20})
    texts = [data for _, data in s.pieces if data.startswith(b'data: {"text"')]
    assert len(texts) == 20
    assert all(data.count(b"\n\n") == 1 and data.endswith(b"\n\n") for data in texts)


def test_headers_arrive_before_prefill(server):
    s = stream(server, long_prompt(), max_tokens=2)
    first_text = s.texts()[0][0]
    assert s.head_time - s.began < 0.5 * (first_text - s.began)
    # the role chunk is sent with them
    assert s.events[0][0] - s.began < 0.5 * (first_text - s.began)


def test_progress_during_prefill(server):
    s = stream(server, long_prompt(), max_tokens=2)
    progress = [c for _, c in s.comments if c.startswith("prefill ")]
    percents = [float(c.split()[1].rstrip("%")) for c in progress]
    assert len(percents) >= 2 and percents == sorted(percents)
    assert 0 <= percents[0] and percents[-1] <= 100


def test_a_sign_of_life_every_second(start_server, model_path):
    """Heartbeats for any time of waiting: the first answer is as long as the context, and is abandoned.
    (tests/unit/service/test_generation.c checks the intervals with a simulated clock.)"""
    server = start_server("--offline", "--parallel", 1, model=model_path)
    question = {"messages": [{"role": "user", "content": "Count from 1 to 9999."}], "stream": True}
    with Connection(server) as first, Connection(server) as second:
        for c in (first, second):
            c.send("POST", CHAT, {**question, "max_tokens": -1})
            assert c.read_head()[0] == 200
        comments = 0
        for _, data in second.chunks():
            comments += data.startswith(b": queue 1")
            if comments == 4:
                break


def test_the_position_in_the_queue(start_server, model_path):
    server = start_server("--offline", "--parallel", 1, "--queue", 2, model=model_path)
    with Connection(server) as first, Connection(server) as second, Connection(server) as third:
        for c in (first, second, third):
            c.send("POST", CHAT, {"messages": long_prompt(), "stream": True, "max_tokens": 1})
            assert c.read_head()[0] == 200
        comments = []
        for _, data in third.chunks():
            if data.startswith(b": "):
                comments.append(data.decode().split(",")[0].strip(": \n"))
            if any(c.startswith("prefill") for c in comments):
                break
        assert comments[-1].startswith("prefill")
        places = [int(c.removeprefix("queue ")) for c in comments[:-1]]
        assert {1, 2} <= set(places) and places == sorted(places, reverse=True)


@pytest.mark.parametrize("path", [CHAT, "/chat"])
def test_comments_do_not_end_an_event(server, path):
    """A comment is one line, without a blank line after it; there are no id: or retry: lines."""
    s = Stream(server, path, {"messages": long_prompt(), "stream": True, "max_tokens": 2,
                              "max_new_tokens": 2})  # fmt: skip
    assert s.comments
    for line in s.raw.split(b"\n"):
        assert line == b"" or line.startswith((b": ", b"data: "))
    assert b"\n\n\n" not in s.raw
    for before, after in zip(s.raw.split(b"\n"), s.raw.split(b"\n")[1:]):
        assert not (before.startswith(b":") and after == b"")


def test_answers_continue_during_a_long_prefill(server):
    """Each step with a chunk of a long prompt also computes a token of the running answer."""
    with Connection(server) as c, Connection(server) as other:
        c.send("POST", CHAT, {"messages": STORY, "stream": True, "max_tokens": 400})
        c.read_head()
        pieces = c.chunks()
        for _ in range(5):
            next(pieces)
        other.send("POST", CHAT, {"messages": long_prompt(), "stream": True, "max_tokens": 1,
                                  "return_progress": True})  # fmt: skip
        parts, texts, said = [], 0, b""
        while b'"content":"' not in said.replace(b'"content":""', b""):  # the role chunk has an empty text
            ready = select.select([c.socket, other.socket], [], [], 60)[0]
            assert ready, "neither stream makes progress"
            if other.socket in ready:
                said += other.more()
            if c.socket in ready:
                data = c.more()
                # from the first prefill chunk on
                texts += data.count(b'"content":"') if b"prompt_progress" in said else 0
        parts = [json.loads(line[6:])["prompt_progress"]["processed"]
                 for line in said.split(b"\n") if b"prompt_progress" in line]  # fmt: skip
        assert len(parts) > 4 and parts == sorted(parts)
        # the last texts may be unread when the first one of the long prompt arrives, and the first ones
        # may arrive with it
        texts += arrived(c).count(b'"content":"')
        assert texts >= len(parts) - 3, f"{texts} texts during {len(parts)} chunks of a prompt"


def test_concurrent_answers_are_the_same_as_single_ones(server):
    questions = [[{"role": "user", "content": f"What is {n} plus {n}?"}] for n in (2, 30, 400)]
    alone = [complete(server, q, max_tokens=16)["choices"] for q in questions]
    together = [None] * len(questions)

    def run(i):
        together[i] = complete(server, questions[i], max_tokens=16)["choices"]

    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(questions))]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert together == alone
