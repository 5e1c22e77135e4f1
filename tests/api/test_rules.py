"""Answers by rule. The tiny model answers nonsense, so the answers need not make sense, but each must
be what its rule allows."""

import json
import re
import time

import jsonschema
import pytest
from api_client import CHAT, HELLO, PATIENCE, Connection, complete, health, post, stream, wait_until

HOT = {"temperature": 1.5, "top_k": 0}
CONTACT = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 20},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "kind": {"enum": ["friend", "colleague", "family"]},
        "tags": {"type": "array", "items": {"type": "string", "maxLength": 8}, "maxItems": 3},
    },
    "required": ["name", "age", "kind", "tags"],
}
GRAMMAR = r"""
root  ::= pair ("; " pair){0,3}
pair  ::= name "=" ("yes" | "no" | [0-9]{1,4})
name  ::= [a-z] [a-z0-9_]{0,6}
"""
PAIRS = r"[a-z][a-z0-9_]{0,6}=(yes|no|[0-9]{1,4})(; [a-z][a-z0-9_]{0,6}=(yes|no|[0-9]{1,4})){0,3}"


def text_of(document, choice=0):
    return document["choices"][choice]["message"]["content"]


def is_contact(text):
    jsonschema.validate(json.loads(text), CONTACT)
    return True


def is_object(text):
    return isinstance(json.loads(text), dict)


# name of the field, its value, whether a whole answer follows it
RULES = [
    ("regex", r"\d{3}-\d{4}( ext [a-f]{2,5})?", re.compile(r"\d{3}-\d{4}( ext [a-f]{2,5})?").fullmatch),
    ("regex", r"(é|你好|x){1,5}\n", re.compile(r"(é|你好|x){1,5}\n").fullmatch),
    ("choice", ["red", "green", "blue", "not at all"], {"red", "green", "blue", "not at all"}.__contains__),
    ("choice", ["only this"], "only this".__eq__),
    ("grammar", GRAMMAR, re.compile(PAIRS).fullmatch),
    ("json_schema", CONTACT, is_contact),
    ("response_format", {"type": "json_schema", "json_schema": {"name": "c", "strict": True, "schema": CONTACT}}, is_contact),
    ("response_format", {"type": "json_object", "schema": CONTACT}, is_contact),
]  # fmt: skip


@pytest.mark.parametrize("name, value, follows", RULES)
def test_the_answer_follows_the_rule(tiny, name, value, follows):
    for seed in range(12):
        fields = {name: value, "seed": seed, "max_tokens": 400, **(HOT if seed % 3 else {})}
        document = complete(tiny, **fields)
        text = text_of(document)
        assert document["choices"][0]["finish_reason"] == "stop", text
        assert follows(text), text
        assert document["usage"]["completion_tokens"] == document["timings"]["predicted_n"]


@pytest.mark.parametrize("name, value, follows", RULES)
def test_a_stream_is_the_same(tiny, name, value, follows):
    fields = {name: value, "seed": 7, "max_tokens": 400, **HOT}
    document = complete(tiny, **fields)
    streamed = stream(tiny, **fields, stream_options={"include_usage": True})
    assert streamed.text() == text_of(document) and streamed.finish_reason() == "stop"
    usage = streamed.chunks[-1]["usage"]
    assert usage["completion_tokens"] == document["usage"]["completion_tokens"]


def test_any_object(tiny):
    """A model without sense does not close its brackets: some answers are cut."""
    n_whole = 0
    for seed in range(8):
        document = complete(
            tiny, response_format={"type": "json_object"}, seed=seed, max_tokens=200, **HOT
        )
        text, end = text_of(document), document["choices"][0]["finish_reason"]
        assert text.startswith("{")
        if end == "stop":
            assert is_object(text)
            n_whole += 1
    assert n_whole > 0


def test_several_choices_follow_one_rule(tiny):
    document = complete(tiny, regex="[ab]{6}", n=4, seed=1, **HOT)
    texts = [text_of(document, i) for i in range(4)]
    assert all(re.fullmatch("[ab]{6}", text) for text in texts)
    assert len(set(texts)) > 1


def test_cut_by_max_tokens(tiny):
    whole = text_of(complete(tiny, json_schema=CONTACT, seed=3, max_tokens=400, **HOT))
    for limit in (1, 5, 17):
        document = complete(tiny, json_schema=CONTACT, seed=3, max_tokens=limit, **HOT)
        assert document["choices"][0]["finish_reason"] == "length"
        assert document["usage"]["completion_tokens"] == limit
        assert whole.startswith(text_of(document))


def test_stop_strings_work(tiny):
    text = text_of(complete(tiny, choice=["one, two, three"], stop=[", t"]))
    assert text == "one"


def test_log_probabilities_change_no_text(tiny):
    """Forced tokens have theirs, too."""
    for name, value, _ in RULES:
        for seed in range(4):
            fields = {name: value, "seed": seed, "max_tokens": 400, **(HOT if seed % 2 else {})}
            plain = complete(tiny, **fields)
            told = complete(tiny, **fields, logprobs=True, top_logprobs=2)
            assert text_of(plain) == text_of(told)
            assert plain["usage"]["completion_tokens"] == told["usage"]["completion_tokens"]
            content = told["choices"][0]["logprobs"]["content"]
            assert len(content) == told["usage"]["completion_tokens"]
            assert bytes(b for t in content for b in t["bytes"]).decode() == text_of(told)
            assert all(t["logprob"] <= 0 and len(t["top_logprobs"]) == 2 for t in content)


def test_native_route(tiny):
    for seed in range(4):
        reply = post(
            tiny, "/chat",
            {"prompt": "a", "schema": CONTACT, "do_sample": True, "seed": seed, "max_new_tokens": 400},
        )  # fmt: skip
        assert reply.status == 200
        lines = [line[6:] for line in reply.body.decode().splitlines() if line.startswith("data: ")]
        assert is_contact("".join(json.loads(line)["text"] for line in lines[:-1]))
    assert post(tiny, "/chat", {"prompt": "a", "schema": {"type": "x"}}).error["param"] == "schema"


# ---- refusals ------------------------------------------------------------------------------------

REFUSED = [
    ({"json_schema": {"type": "object", "properties": {"a": {"not": {"$dynamicRef": "#x"}}}}}, "json_schema", "#/properties/a"),
    ({"json_schema": {"type": "objekt"}}, "json_schema", "type"),
    ({"regex": r"(a)\1"}, "regex", ""),
    ({"regex": "("}, "regex", ""),
    ({"grammar": "root ::= rot"}, "grammar", "rot"),
    ({"grammar": 'root ::= root "a"'}, "grammar", "root"),
    ({"choice": []}, "choice", ""),
    ({"choice": ["a", 1]}, "choice", "choice[1]"),
    ({"regex": "a", "choice": ["a"]}, "choice", "regex"),
    ({"regex": "a", "response_format": {"type": "json_object"}}, "regex", "response_format"),
    ({"grammar": 'root ::= "a"', "json_schema": {}}, "grammar", "json_schema"),
    ({"regex": "a", "thinking": True}, "thinking", ""),
]  # fmt: skip


@pytest.mark.parametrize("fields, param, names", REFUSED)
def test_refused_by_name(tiny, fields, param, names):
    for streams in (False, True):
        reply = post(tiny, CHAT, {"messages": HELLO, "stream": streams, **fields})
        assert reply.status == 400, reply.body
        assert reply.error["param"] == param and names in reply.error["message"]


def test_fields_without_effect(tiny):
    free = text_of(complete(tiny, max_tokens=20))
    for fields in (
        {"response_format": {"type": "text"}}, {"grammar": ""}, {"regex": ""}, {"regex": None},
        {"json_schema": None}, {"choice": None}, {"tool_choice": "auto"},
    ):  # fmt: skip
        assert text_of(complete(tiny, max_tokens=20, **fields)) == free


HOSTILE = {
    "nested quantifiers": {"regex": "(((((a{1,99}){1,99}){1,99}){1,99}){1,99}){1,99}"},
    "a long repetition": {"regex": "(ab?c*){1,100000}"},
    "exponential states": {"regex": "[ab]*a[ab]{400}"},
    "nested groups": {"regex": "(" * 5000 + "a" + ")" * 5000},
    "many alternatives": {"regex": "|".join("a" * 40 + str(i) for i in range(1000))},
    "a recursive grammar": {"grammar": "root ::= root root | root"},
    "an ambiguous grammar": {"grammar": 'root ::= a*\na ::= "a" | "a" a | b\nb ::= "a" a?'},
    "many rules": {"grammar": "root ::= r0\n" + "".join(f'r{i} ::= "a" r{i + 1} | "b"\n' for i in range(20000)) + 'r20000 ::= "c"'},
    "a large enum": {"json_schema": {"enum": ["x" * 20 + str(i) for i in range(20000)]}},
    "deep schemas": {"json_schema": json.loads('{"items":' * 120 + "true" + "}" * 120)},
    "references": {"json_schema": {"$ref": "#/$defs/a", "$defs": {"a": {"allOf": [{"$ref": "#/$defs/a"}] * 2}}}},
    "wide unions": {"json_schema": {"anyOf": [{"type": "object", "properties": {f"p{j}": {"type": "string"} for j in range(i, i + 8)}, "required": [f"p{i}"]} for i in range(1000)]}},
    "a bound of a million": {"json_schema": {"type": "string", "minLength": 1000000, "pattern": "^(a|b)*$"}},
}  # fmt: skip


@pytest.mark.parametrize("name", list(HOSTILE))
def test_hostile_rules_end_soon(tiny, name):
    """Refused, or answered; the server answers others meanwhile."""
    began = time.monotonic()
    reply = post(tiny, CHAT, {"messages": HELLO, "max_tokens": 8, **HOSTILE[name]})
    assert reply.status in (200, 400), reply.body
    if reply.status == 400:  # without the name of a field: a limit of the body
        assert reply.error["param"] in (None, *HOSTILE[name])
    assert time.monotonic() - began < PATIENCE
    assert health(tiny)["status"] == "ok"


# ---- ends ----------------------------------------------------------------------------------------

def test_a_client_that_leaves(tiny, cancelled):
    body = {"messages": HELLO, "stream": True, "regex": "([a-z ]{10})*!", "max_tokens": -1}
    for seed in range(20):
        with Connection(tiny) as connection:
            connection.send("POST", CHAT, {**body, **HOT, "seed": seed})
            assert connection.read_head()[0] == 200
            next(connection.chunks())
        if cancelled():
            break
    wait_until(cancelled, "the answer goes on without its client")
    assert re.fullmatch("[ab]", text_of(complete(tiny, regex="[ab]")))


def test_a_deadline(tiny):
    reply = post(
        tiny, CHAT, {"messages": HELLO, "regex": "[a-z]{4000}", "max_tokens": -1, **HOT},
        {"X-Deadline-Ms": "60"},
    )  # fmt: skip
    if reply.status == 200:
        choice = reply.json()["choices"][0]
        assert re.fullmatch("[a-z]{0,4000}", choice["message"]["content"])
    else:
        assert reply.status == 504


def test_cached_rules_and_prompts_change_nothing(tiny):
    first = complete(tiny, json_schema=CONTACT, seed=9, max_tokens=300, **HOT)
    complete(tiny, regex="[a-z]{5}", seed=1, **HOT)
    again = complete(tiny, json_schema=CONTACT, seed=9, max_tokens=300, **HOT)
    assert text_of(first) == text_of(again)
    assert first["usage"]["completion_tokens"] == again["usage"]["completion_tokens"]


# ---- kinglet chat --------------------------------------------------------------------------------


@pytest.fixture
def chat(run_kinglet, tiny_model_path, tmp_path):
    """chat(*options, **files) -> the process of one answer; files are written first."""

    def run(*options, check=True, **files):
        for name, text in files.items():
            (tmp_path / name).write_text(text)
        options = [o.replace("DIR", str(tmp_path)) for o in options]
        return run_kinglet("chat", "-m", tiny_model_path, "--offline", "--no-input", *options,
                           "--temperature", 1.5, "--seed", 3, "say", check=check)  # fmt: skip

    return run


def test_chat_by_rule(chat):
    schema = json.dumps(CONTACT)
    assert is_contact(chat("--schema", "DIR/schema", schema=schema).stdout.decode())
    text = chat("--grammar", "DIR/grammar", grammar=GRAMMAR).stdout.decode()
    assert re.fullmatch(PAIRS, text.rstrip("\n"))
    assert chat("--regex", "(yes|no) [0-9]{3}").stdout.decode().split()[0] in ("yes", "no")


@pytest.mark.parametrize(
    "options, said",
    [
        (["--regex", "("], "--regex: "),
        (["--schema", "DIR/file"], "/file: not valid JSON"),
        (["--grammar", "DIR/file"], "/file: grammar, line 1"),
        (["--schema", "DIR/none"], "/none"),
        (["--schema", "DIR/file", "--regex", "a"], "at most one"),
    ],
)
def test_chat_refuses_rules_by_name(chat, options, said):
    done = chat(*options, check=False, file="{'no'}")
    assert done.returncode != 0 and done.stdout == b""
    assert said in done.stderr.decode()
