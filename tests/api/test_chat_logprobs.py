"""logprobs and top_logprobs of /v1/chat/completions, in OpenAI's form."""

import math

import openai
import pytest
from api_client import CHAT, HELLO, answer, complete, post, stream


def content(choice):
    assert set(choice["logprobs"]) == {"content", "refusal"}
    assert choice["logprobs"]["refusal"] is None
    return choice["logprobs"]["content"]


def check_token(token, n_top):
    assert set(token) == {"token", "logprob", "bytes", "top_logprobs"}
    assert len(token["top_logprobs"]) == n_top
    for one in (token, *token["top_logprobs"]):
        assert one["token"] == bytes(one["bytes"]).decode(errors="replace")
        assert -9999.0 <= one["logprob"] <= 0
    values = [one["logprob"] for one in token["top_logprobs"]]
    assert values == sorted(values, reverse=True)
    assert sum(map(math.exp, values)) <= 1 + 1e-9
    if values and token["logprob"] > values[-1]:
        assert {**token, "top_logprobs": None} in [
            {**one, "top_logprobs": None} for one in token["top_logprobs"]
        ]


def text_of(tokens):
    return b"".join(bytes(token["bytes"]) for token in tokens).decode(errors="replace")


@pytest.mark.parametrize("n_top", [None, 0, 1, 20])
def test_document(tiny, endless, n_top):
    fields = {} if n_top is None else {"top_logprobs": n_top}
    document = complete(tiny, endless, max_tokens=40, logprobs=True, **fields)
    choice = document["choices"][0]
    tokens = content(choice)
    for token in tokens:
        check_token(token, n_top or 0)
        if n_top:  # greedy: the chosen one is the most likely one
            assert token["logprob"] == token["top_logprobs"][0]["logprob"]
    assert text_of(tokens) == choice["message"]["content"] == answer(tiny, endless, max_tokens=40)
    assert len(tokens) <= document["usage"]["completion_tokens"] == 40


def test_without(tiny):
    for fields in ({}, {"logprobs": False}, {"logprobs": None, "top_logprobs": 0}):
        assert complete(tiny, max_tokens=2, **fields)["choices"][0]["logprobs"] is None
        chunks = stream(tiny, max_tokens=2, **fields).chunks
        assert all(chunk["choices"][0]["logprobs"] is None for chunk in chunks)
    reply = post(tiny, CHAT, {"messages": HELLO, "top_logprobs": 2})
    assert reply.status == 400 and reply.error["param"] == "top_logprobs"


def streamed(found, index=0):
    """The tokens of a choice; checks that each chunk has those of its text."""
    tokens, text = [], ""
    for chunk in found.chunks:
        for choice in chunk["choices"]:
            if choice["index"] != index or choice["logprobs"] is None:
                continue
            tokens += content(choice)
            text += choice["delta"]["content"]
            assert text_of(tokens).startswith(text) or text_of(tokens).rstrip("\ufffd") in text
    return tokens


def rounded(tokens):
    """A document has 10 digits."""
    if isinstance(tokens, list):
        return [rounded(token) for token in tokens]
    if isinstance(tokens, dict):
        return {name: rounded(value) for name, value in tokens.items()}
    return float(f"{tokens:.10g}") if isinstance(tokens, float) else tokens


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"temperature": 1.5, "seed": 3},
        {"temperature": 1, "seed": 4, "top_k": 5, "n": 3},
        {"frequency_penalty": 1, "dry_multiplier": 2, "repetition_penalty": 1.2},
        {"logit_bias": {"65": 100}},
        {"stop": ["a", "的", "ing"], "temperature": 1.5, "seed": 9},
    ],
)
def test_a_stream_and_a_document_are_the_same(tiny, endless, fields):
    fields = {"max_tokens": 60, **fields}
    document = complete(tiny, endless, logprobs=True, top_logprobs=3, **fields)
    plain = complete(tiny, endless, **fields)
    found = stream(tiny, endless, logprobs=True, top_logprobs=3, **fields)
    for i, choice in enumerate(document["choices"]):
        tokens = content(choice)
        for token in tokens:
            check_token(token, 3)
        assert choice["message"] == plain["choices"][i]["message"]
        assert found.text(i) == choice["message"]["content"]
        assert rounded(streamed(found, i)) == rounded(tokens)
        if "stop" not in fields:
            assert text_of(tokens) == choice["message"]["content"]
        else:  # the last token may go on in the stop string
            assert text_of(tokens).startswith(choice["message"]["content"])
            assert len(text_of(tokens[:-1])) < max(len(choice["message"]["content"]), 1)


def test_they_are_those_before_penalties_and_temperature(tiny, endless):
    """The distribution of the first token is the same, whatever is chosen from it."""
    first = content(complete(tiny, endless, max_tokens=1, logprobs=True, top_logprobs=20)["choices"][0])
    for fields in (
        {"temperature": 2, "seed": 1},
        {"logit_bias": [[n, -100] for n in range(300)]},
        {"repetition_penalty": 2},
        {"top_k": 1},
    ):
        choice = complete(tiny, endless, max_tokens=1, logprobs=True, top_logprobs=20, **fields)
        tokens = content(choice["choices"][0])
        if tokens:  # it is not the beginning of a code point
            assert tokens[0]["top_logprobs"] == first[0]["top_logprobs"]


def test_stop_strings_are_not_part_of_it(tiny, endless):
    """A stop string of several tokens: those that are withheld are never reported. Not behind a part of
    a character, which shows as much with one of its bytes as with two."""
    text = answer(tiny, endless, max_tokens=60)
    for at in range(5, len(text) - 4, 7):
        stop = text[at : at + 4]
        if "\ufffd" in stop or text.find(stop) < 1 or text[text.find(stop) - 1] == "\ufffd":
            continue
        choice = complete(tiny, endless, max_tokens=60, logprobs=True, stop=stop)["choices"][0]
        shown = choice["message"]["content"]
        assert shown == text[: text.find(stop)]
        tokens = content(choice)
        assert text_of(tokens).startswith(shown)
        assert not text_of(tokens[:-1]).startswith(shown)


def test_documents_are_bounded(tiny, endless):
    body = {"messages": endless, "max_tokens": -1, "logprobs": True, "top_logprobs": 20}
    reply = post(tiny, CHAT, body)
    assert reply.status == 400 and reply.error["param"] == "top_logprobs"
    assert "stream" in reply.error["message"]
    assert post(tiny, CHAT, {**body, "max_tokens": 3120}).status == 200
    assert post(tiny, CHAT, {**body, "max_tokens": 3121}).status == 400
    # all answers of a document together
    reply = post(tiny, CHAT, {**body, "max_tokens": 3000, "n": 2})
    assert reply.status == 400 and "2 answers" in reply.error["message"]
    reply = post(tiny, "/completion", {"prompt": ["Hello"] * 8, "n_predict": 400, "n_probs": 20})
    assert reply.status == 400 and "8 answers" in reply.error["message"]
    found = stream(tiny, endless, max_tokens=-1, logprobs=True, top_logprobs=20)
    assert len(streamed(found)) > 3000


def test_openai_python(tiny):
    client = openai.OpenAI(base_url=f"http://127.0.0.1:{tiny.port}/v1", api_key="none")
    asked = {"model": "default", "messages": HELLO, "max_tokens": 10, "logprobs": True,
             "top_logprobs": 2, "logit_bias": {"70": 5}, "frequency_penalty": 0.5}  # fmt: skip
    choice = client.chat.completions.create(**asked).choices[0]
    assert choice.logprobs.content[0].top_logprobs[1].logprob <= 0
    parts = []
    for chunk in client.chat.completions.create(**asked, stream=True):
        for one in chunk.choices:
            parts += one.logprobs.content if one.logprobs else []
    assert [part.token for part in parts] == [part.token for part in choice.logprobs.content]


RULES = [
    {"regex": "The answer to question [0-9]{3} is (yes|no), without any doubt\\."},
    {"choice": ["the first of them", "the second of them", "none"]},
    {"grammar": 'root ::= "{\\"name\\": \\"" [a-z]{3,9} "\\", \\"kind\\": \\"" ("cat" | "dog") "\\"}"'},
]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("sampling", [{}, {"temperature": 1, "seed": 4}, {"temperature": 1, "top_k": 9}])
def test_ruled_answers(tiny, endless, rule, sampling):
    """Forced tokens have log-probabilities, too, over the whole vocabulary; the text is the same."""
    fields = {"max_tokens": 80, "seed": 1, **rule, **sampling}
    plain = complete(tiny, endless, **fields)
    told = complete(tiny, endless, logprobs=True, top_logprobs=2, **fields)
    choice = told["choices"][0]
    assert choice["message"] == plain["choices"][0]["message"]
    assert told["usage"]["completion_tokens"] == plain["usage"]["completion_tokens"]
    tokens = content(choice)
    for token in tokens:
        check_token(token, 2)
    assert text_of(tokens) == choice["message"]["content"]
    assert len(tokens) == told["usage"]["completion_tokens"]
    found = stream(tiny, endless, logprobs=True, top_logprobs=2, **fields)
    assert rounded(streamed(found)) == rounded(tokens)


@pytest.mark.parametrize("seed", range(8))
def test_a_ruled_answer_that_is_drafted_has_the_same(tiny, seed):
    """Drafts of an answer that was given before contain forced tokens."""
    place = {"type": "object", "properties": {"time": {"type": "string", "format": "time", "maxLength": 60},
             "tags": {"type": "array", "items": {"enum": ["red", "green"]}, "minItems": 2}}, "required": ["time", "tags"]}
    fields = {"json_schema": place, "temperature": 1.5, "top_k": 0, "seed": seed, "max_tokens": 300}
    first = complete(tiny, HELLO, **fields)["choices"][0]
    answers = [complete(tiny, HELLO, logprobs=True, top_logprobs=2, **fields)["choices"][0] for _ in range(3)]
    for answer in answers:
        assert answer["message"] == first["message"]
        assert content(answer) == content(answers[0])
        assert text_of(content(answer)) == first["message"]["content"]
