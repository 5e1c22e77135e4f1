"""Drafts: answers with them are those without, in the same pieces; the field `prediction`."""

import pytest
from api_client import CHAT, HELLO, complete, get, post, stream
from prometheus_client.parser import text_string_to_metric_families

SETTINGS = [
    {},
    {"repetition_penalty": 1.2},
    {"temperature": 0.9, "seed": 5},
    {"temperature": 1.5, "top_p": 0.9, "seed": 6},
    {"temperature": 0.7, "top_k": 20, "seed": 7, "stop": ["e"]},
]


def text_of(document):
    return document["choices"][0]["message"]["content"]


def without_times(document):
    usage = {k: v for k, v in document["usage"].items() if k != "prompt_tokens_details"}
    return text_of(document), document["choices"][0]["finish_reason"], usage


@pytest.fixture
def plain(start_server):
    """A server without drafts."""
    return start_server("--offline", "--draft-max", 0)


def test_answers_are_those_without_drafts(tiny, plain):
    drafted = 0
    for fields in SETTINGS:
        messages = [{"role": "user", "content": "one two three one two three one"}]
        want = complete(plain, messages, max_tokens=150, **fields)
        assert want["timings"]["draft_n"] == want["timings"]["draft_n_accepted"] == 0
        prediction = {"type": "content", "content": text_of(want)}
        for extra in ({}, {}, {"prediction": prediction}):  # the second time, from an earlier one
            got = complete(tiny, messages, max_tokens=150, **fields, **extra)
            assert without_times(got) == without_times(want)
            drafted += got["timings"]["draft_n_accepted"]
            assert got["timings"]["draft_n_accepted"] <= got["timings"]["draft_n"]
    assert drafted > 20  # how many depends on the cost of a pass, which is measured


def test_streams_have_the_same_pieces(tiny, plain):
    messages = [{"role": "user", "content": "pieces " * 20}]

    def pieces(server):
        s = stream(server, messages, max_tokens=100)
        found = [c["choices"][0]["delta"].get("content") for c in s.chunks if c["choices"]]
        return [piece for piece in found if piece]

    want = pieces(plain)
    assert len(want) > 20
    assert pieces(tiny) == want and pieces(tiny) == want


def counter(server, name):
    reply = get(server, "/metrics")
    return {
        sample.labels["source"]: sample.value
        for family in text_string_to_metric_families(reply.body.decode())
        for sample in family.samples
        if sample.name == name
    }


def test_drafts_are_counted_by_source(start_server):
    server = start_server("--offline")
    want = complete(server, max_tokens=100)
    again = complete(server, max_tokens=100)
    predicted = complete(
        server,
        [{"role": "user", "content": "another"}],
        max_tokens=100,
        prediction={"type": "content", "content": [{"type": "text", "text": text_of(want)}]},
    )
    drafted = counter(server, "kinglet_tokens_drafted_total")
    accepted = counter(server, "kinglet_tokens_accepted_total")
    assert set(drafted) == set(accepted) == {"conversation", "earlier", "prediction", "rule"}
    assert text_of(want) == text_of(again)
    assert accepted["earlier"] > 0
    timings = [answer["timings"] for answer in (want, again, predicted)]
    assert sum(drafted.values()) == sum(t["draft_n"] for t in timings)
    assert sum(accepted.values()) == sum(t["draft_n_accepted"] for t in timings)


@pytest.mark.parametrize(
    ("prediction", "param"),
    [
        ("text", "prediction"),
        ({}, "prediction.type"),
        ({"type": "other", "content": "a"}, "prediction.type"),
        ({"type": "content"}, "prediction.content"),
        ({"type": "content", "content": 5}, "prediction.content"),
        ({"type": "content", "content": [{"type": "image_url"}]}, "prediction.content[0]"),
    ],
)
def test_wrong_predictions_are_refused(tiny, prediction, param):
    reply = post(tiny, CHAT, {"messages": HELLO, "prediction": prediction})
    assert reply.status == 400
    assert reply.error["param"].startswith(param)


def test_no_prediction_and_a_long_one(tiny):
    want = complete(tiny, max_tokens=5)
    for text in ("", "x", "long " * 50000):
        got = complete(tiny, max_tokens=5, prediction={"type": "content", "content": text})
        assert text_of(got) == text_of(want)
    assert text_of(complete(tiny, max_tokens=5, prediction=None)) == text_of(want)
