"""A stream is real: its pieces come when they are made, and nobody waits in silence."""

import threading
import time
import uuid

import pytest
from api_client import CHAT, Connection, Stream, complete, stream

STORY = [{"role": "user", "content": "Tell me a long story about a lighthouse."}]


def long_prompt():
    """Another one each time: what was read before is not read again."""
    text = f"Summarise number {uuid.uuid4()}: " + "the quick brown fox. " * 120
    return [{"role": "user", "content": text}]


def check_pieces(s, tokens):
    times = [at for at, _ in s.texts()]
    reads = len(set(times))  # texts that one recv() brought have one time
    # on a busy machine this process reads several at once; a buffer would make it three or four
    assert reads >= 0.4 * tokens, f"{tokens} tokens in {reads} reads"
    # spread over the time of the generation: not all at its end
    span = times[-1] - times[0]
    middle = times[len(times) // 2] - times[0]
    assert 0.05 * span < middle < 0.95 * span


def test_pieces_come_one_by_one(server):
    s = stream(server, STORY, max_tokens=48, stream_options={"include_usage": True})
    check_pieces(s, s.chunks[-1]["usage"]["completion_tokens"])


def test_pieces_come_one_by_one_from_the_native_route(server):
    check_pieces(Stream(server, "/chat", {"messages": STORY, "max_new_tokens": 48}), 48)


def test_each_piece_is_its_own_chunk(server):
    s = Stream(server, "/chat", {"messages": STORY, "max_new_tokens": 20})
    texts = [data for _, data in s.pieces if data.startswith(b'data: {"text"')]
    assert len(texts) == 20
    assert all(data.count(b"\n\n") == 1 and data.endswith(b"\n\n") for data in texts)


def test_headers_come_before_the_prompt_is_read(server):
    s = stream(server, long_prompt(), max_tokens=2)
    first_text = s.texts()[0][0]
    assert s.head_time - s.began < 0.5 * (first_text - s.began)
    # the role chunk comes with them
    assert s.events[0][0] - s.began < 0.5 * (first_text - s.began)


def test_progress_while_the_prompt_is_read(server):
    s = stream(server, long_prompt(), max_tokens=2)
    progress = [c for _, c in s.comments if c.startswith("prefill ")]
    percents = [float(c.split()[1].rstrip("%")) for c in progress]
    assert len(percents) >= 2 and percents == sorted(percents)
    assert 0 <= percents[0] and percents[-1] <= 100


def test_a_sign_of_life_every_second(start_server, model_path):
    """However long it waits: the first answer is as long as the context, and is given up here."""
    server = start_server("--offline", "--parallel", 1, model=model_path)
    question = {"messages": [{"role": "user", "content": "Count from 1 to 9999."}], "stream": True}
    with Connection(server) as first, Connection(server) as second:
        for c in (first, second):
            c.send("POST", CHAT, {**question, "max_tokens": -1})
            assert c.read_head()[0] == 200
        times, comments = [time.monotonic()], 0
        for at, data in second.chunks():
            times.append(at)
            comments += data.startswith(b": queue 1")
            if comments == 4:
                break
        # a second by the contract, and what a busy machine may add
        assert max(b - a for a, b in zip(times, times[1:])) < 5


def test_the_place_in_the_queue(start_server, model_path):
    server = start_server("--offline", "--parallel", 1, "--queue", 2, model=model_path)
    with Connection(server) as first, Connection(server) as second, Connection(server) as third:
        for c in (first, second, third):
            c.send("POST", CHAT, {"messages": long_prompt(), "stream": True, "max_tokens": 1})
            assert c.read_head()[0] == 200
        comments, times = [], [time.monotonic()]
        for at, data in third.chunks():
            times.append(at)
            if data.startswith(b": "):
                comments.append(data.decode().split(",")[0].strip(": \n"))
            if any(c.startswith("prefill") for c in comments):
                break
        assert comments[-1].startswith("prefill")
        places = [int(c.removeprefix("queue ")) for c in comments[:-1]]
        assert {1, 2} <= set(places) and places == sorted(places, reverse=True)
        assert max(b - a for a, b in zip(times, times[1:])) < 5  # on a busy machine


@pytest.mark.parametrize("path", [CHAT, "/chat"])
def test_comments_end_no_event(server, path):
    """A comment is one line, without a blank line after it; there are no id: or retry: lines."""
    s = Stream(server, path, {"messages": long_prompt(), "stream": True, "max_tokens": 2,
                              "max_new_tokens": 2})  # fmt: skip
    assert s.comments
    for line in s.raw.split(b"\n"):
        assert line == b"" or line.startswith((b": ", b"data: "))
    assert b"\n\n\n" not in s.raw
    for before, after in zip(s.raw.split(b"\n"), s.raw.split(b"\n")[1:]):
        assert not (before.startswith(b":") and after == b"")


def test_others_go_on_while_one_is_read(server):
    """A long prompt does not stop a stream that runs."""
    with Connection(server) as c:
        c.send("POST", CHAT, {"messages": STORY, "stream": True, "max_tokens": 60})
        c.read_head()
        pieces = c.chunks()
        for _ in range(5):
            next(pieces)
        with Connection(server) as other:
            other.send("POST", CHAT, {"messages": long_prompt(), "max_tokens": 1})
            texts = sum(b'"content":"' in data for _, data in pieces)
            assert texts > 40
            assert other.read().status == 200


def test_several_at_once_say_what_each_says_alone(server):
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
