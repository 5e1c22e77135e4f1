"""How tokens are chosen: biases, penalties, DRY and the shares that are left, on both routes. Their
exact definitions are tested in tests/unit/engine/test_sampler_steps.c."""

import json
from urllib.parse import quote

import pytest
from api_client import CHAT, HELLO, Stream, answer, complete, get, post, stream


def native(server, **fields):
    body = {"messages": HELLO, "max_new_tokens": 40, **fields}
    return Stream(server, "/chat", body).text()


def tokens(server, messages, **fields):
    """Returns the tokens of an answer, as bytes."""
    fields |= {"logprobs": True}
    choice = complete(server, messages, **fields)["choices"][0]
    return [bytes(token["bytes"]) for token in choice["logprobs"]["content"]]


@pytest.fixture(scope="module")
def ended(tiny):
    """Messages whose answer the tiny model ends by itself, after a few tokens."""
    for n in range(200):
        messages = [{"role": "user", "content": f"question {n}"}]
        document = complete(tiny, messages, max_tokens=100)
        if document["choices"][0]["finish_reason"] == "stop":
            assert document["usage"]["completion_tokens"] < 100
            return messages
    pytest.fail("the tiny model ends no answer early")


# ---- logit_bias -------------------------------------------------------------------------------------


@pytest.mark.parametrize("bias", [{"65": 100}, [[65, 100]], {"065": 100}])
def test_a_bias_of_100_is_exclusive(tiny, endless, bias):
    for fields in ({}, {"temperature": 1, "seed": 5}, {"temperature": 1, "top_k": 3}):
        found = tokens(tiny, endless, max_tokens=10, logit_bias=bias, **fields)
        assert len(found) == 10 and len(set(found)) == 1


@pytest.mark.parametrize("value", [False, -100])
def test_a_banned_token_never_occurs(tiny, endless, value):
    """Each token of an answer is banned in turn, by its text."""
    first = tokens(tiny, endless, max_tokens=20)
    printable = [token.decode() for token in first if token.isascii() and len(token) == 1]
    assert printable
    for text in printable[:5]:
        found = tokens(tiny, endless, max_tokens=20, logit_bias={text: value} if not text.isdigit()
                       else [[text, value]])  # fmt: skip
        assert text.encode() not in found and found != first
        assert native(tiny, logit_bias=[[text, value]]).count(text) <= native(tiny).count(text)


def test_biases_of_one_token_add_up(tiny, endless):
    plain = answer(tiny, endless, max_tokens=10)
    assert answer(tiny, endless, max_tokens=10, logit_bias=[[65, 100], [65, -100]]) == plain
    assert answer(tiny, endless, max_tokens=10, logit_bias=[[65, 100], [65, -1]]) != plain


def test_a_bias_of_0_changes_nothing(tiny, endless):
    for fields in ({}, {"temperature": 0.8, "top_k": 20, "seed": 3}, {"temperature": 1, "seed": 3}):
        plain = answer(tiny, endless, max_tokens=30, **fields)
        biases = [[n, 0] for n in range(300)]
        assert answer(tiny, endless, max_tokens=30, logit_bias=biases, **fields) == plain


# ---- the end ----------------------------------------------------------------------------------------


def test_ignore_eos(tiny, ended):
    document = complete(tiny, ended, max_tokens=120, ignore_eos=True)
    assert document["choices"][0]["finish_reason"] == "length"
    assert document["usage"]["completion_tokens"] == 120
    plain = answer(tiny, ended, max_tokens=120)
    assert document["choices"][0]["message"]["content"].startswith(plain.rstrip("\ufffd"))
    assert answer(tiny, ended, max_tokens=120, ignore_eos=False) == plain


# ---- penalties --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["frequency_penalty", "presence_penalty"])
def test_occurrences_in_the_answer_count(tiny, endless, name):
    plain = tokens(tiny, endless, max_tokens=200)
    penalised = tokens(tiny, endless, max_tokens=200, ignore_eos=True, **{name: 2})
    assert len(set(penalised)) > len(set(plain))
    wanted = tokens(tiny, endless, max_tokens=200, ignore_eos=True, **{name: -2})
    assert len(set(wanted)) <= len(set(plain))
    # the prompt does not: the first token is the same
    assert penalised[0] == plain[0] == wanted[0]
    assert tokens(tiny, endless, max_tokens=200, **{name: 0}) == plain


def test_repeat_last_n(tiny, endless):
    fields = {"max_tokens": 100, "repetition_penalty": 1.5, "ignore_eos": True}
    whole = answer(tiny, endless, **fields)
    assert answer(tiny, endless, repeat_last_n=-1, **fields) == whole
    assert answer(tiny, endless, repeat_last_n=100000, **fields) == whole
    none = answer(tiny, endless, repeat_last_n=0, **fields)
    assert none == answer(tiny, endless, max_tokens=100, ignore_eos=True) != whole
    short = answer(tiny, endless, repeat_last_n=3, **fields)
    assert short not in (none, whole)


def repetitions(found, length=4):
    """The number of places at which the last `length` tokens occurred before."""
    seen, again = set(), 0
    for i in range(length, len(found) + 1):
        piece = tuple(found[i - length : i])
        again += piece in seen
        seen.add(piece)
    return again


def test_dry_ends_repetitions(tiny, endless):
    fields = {"max_tokens": 300, "ignore_eos": True}
    dry = {"dry_multiplier": 8, "dry_base": 2, "dry_allowed_length": 2}
    plain = tokens(tiny, endless, **fields)
    assert repetitions(plain) > 10
    assert repetitions(tokens(tiny, endless, **fields, **dry, dry_sequence_breakers=[])) == 0
    # switched off
    for off in ({"dry_multiplier": 0}, {"dry_penalty_last_n": 0}, {"dry_allowed_length": 1000}):
        assert tokens(tiny, endless, **fields, **{**dry, **off}) == plain


def test_the_defaults_of_dry(tiny, endless):
    fields = {"max_tokens": 300, "ignore_eos": True, "dry_multiplier": 0.8}
    defaults = {"dry_base": 1.75, "dry_allowed_length": 2, "dry_penalty_last_n": -1,
                "dry_sequence_breakers": ["\n", ":", '"', "*"]}  # fmt: skip
    assert answer(tiny, endless, **fields) == answer(tiny, endless, **fields, **defaults)
    assert answer(tiny, endless, **fields, **{**defaults, "dry_base": 3}) != answer(
        tiny, endless, **fields
    )


# ---- what is left for the draw ----------------------------------------------------------------------


def answers_of_seeds(server, messages, **fields):
    return {answer(server, messages, temperature=1, seed=n, max_tokens=5, **fields) for n in range(8)}


def test_typical_p(tiny, endless):
    assert len(answers_of_seeds(tiny, endless)) > 1
    assert answers_of_seeds(tiny, endless, typical_p=1) == answers_of_seeds(tiny, endless)
    assert len(answers_of_seeds(tiny, endless, typical_p=0)) == 1
    assert answers_of_seeds(tiny, endless, typical_p=0.5) != answers_of_seeds(tiny, endless)


@pytest.mark.parametrize("limit", [{"top_p": 0}, {"min_p": 1}, {"typical_p": 0}])
def test_min_keep(tiny, endless, limit):
    assert len(answers_of_seeds(tiny, endless, **limit)) == 1
    assert len(answers_of_seeds(tiny, endless, min_keep=1, **limit)) == 1
    assert len(answers_of_seeds(tiny, endless, min_keep=50, **limit)) > 1


# ---- routes -----------------------------------------------------------------------------------------

FIELDS = {
    "frequency_penalty": 1.5, "presence_penalty": 1.5, "ignore_eos": True, "logit_bias": {"65": 100},
    "dry_multiplier": 5, "repeat_last_n": 2,
}  # fmt: skip


@pytest.mark.parametrize("name", FIELDS)
def test_both_routes_choose_alike(tiny, name):
    fields = {"repetition_penalty": 1.3, name: FIELDS[name]}
    expected = answer(tiny, HELLO, max_tokens=40, **fields)
    assert native(tiny, **fields) == expected
    query = "&".join(f"{key}={quote(json.dumps(value))}" for key, value in fields.items())
    reply = get(tiny, f"/chat?prompt=Hello&max_new_tokens=40&{query}")
    lines = [line[6:] for line in reply.body.decode().split("\n") if line.startswith("data: ")]
    assert "".join(json.loads(line)["text"] for line in lines[:-1]) == expected
    assert stream(tiny, HELLO, max_tokens=40, **fields).text() == expected


def test_a_seed_gives_the_same_answer(tiny, endless):
    fields = {"temperature": 1, "typical_p": 0.9, "min_keep": 3, "frequency_penalty": 0.3,
              "dry_multiplier": 1, "logit_bias": {"65": 2, "66": -2}, "seed": 7}  # fmt: skip
    first = answer(tiny, endless, max_tokens=60, **fields)
    assert answer(tiny, endless, max_tokens=60, **fields) == first
    assert answer(tiny, endless, max_tokens=60, **{**fields, "seed": 8}) != first


def test_a_bias_of_another_model(tiny):
    reply = post(tiny, CHAT, {"messages": HELLO, "logit_bias": {"400000": 1}})
    assert reply.status == 400 and reply.error["param"] == "logit_bias"
    assert "ids end at" in reply.error["message"]
