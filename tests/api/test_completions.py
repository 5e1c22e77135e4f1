"""POST /v1/completions, in OpenAI's form."""

import json

import openai
import pytest
from api_client import Connection, Stream, counts, health, post, wait_until

COMPLETIONS = "/v1/completions"
PROMPT = "Once upon a time"


def complete(server, prompt=PROMPT, **fields):
    reply = post(server, COMPLETIONS, {"prompt": prompt, **fields})
    assert reply.status == 200, reply.body
    return reply.json()


def texts(document):
    assert [c["index"] for c in document["choices"]] == list(range(len(document["choices"])))
    return [c["text"] for c in document["choices"]]


def tokens_of(server, text):
    return post(server, "/tokenize", {"content": text}).json()["tokens"]


def refused(server, param, prompt=PROMPT, status=400, **fields):
    reply = post(server, COMPLETIONS, {"prompt": prompt, **fields})
    assert reply.status == status, reply.body
    assert reply.error["param"] == param, reply.error
    return reply.error


def test_document(tiny):
    document = complete(tiny, max_tokens=5, model="another")
    assert document["id"].startswith("cmpl-") and document["object"] == "text_completion"
    assert document["created"] > 0 and document["model"] != "another"
    (choice,) = document["choices"]
    assert choice["logprobs"] is None and choice["finish_reason"] in ("stop", "length")
    usage = document["usage"]
    assert usage["prompt_tokens"] == len(tokens_of(tiny, PROMPT))
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert document["timings"]["predicted_n"] == usage["completion_tokens"]


def test_prompts(tiny):
    """Texts, ids and both mixed; several prompts have the answers that each would have alone."""
    ids = tokens_of(tiny, PROMPT)
    alone = [texts(complete(tiny, p, max_tokens=6))[0] for p in (PROMPT, "one two", "3")]
    assert texts(complete(tiny, ids, max_tokens=6)) == alone[:1]
    assert texts(complete(tiny, [ids], max_tokens=6)) == alone[:1]
    assert texts(complete(tiny, [PROMPT, "one two", "3"], max_tokens=6)) == alone
    assert texts(complete(tiny, ["3", ids], max_tokens=6)) == [alone[2], alone[0]]
    assert texts(complete(tiny, {"prompt_string": PROMPT}, max_tokens=6)) == alone[:1]
    mixed = complete(tiny, [ids[0], "a text", ids[1]], max_tokens=1)
    expected = [ids[0], *tokens_of(tiny, "a text"), ids[1]]
    assert mixed["usage"]["prompt_tokens"] == len(expected)
    several = complete(tiny, [PROMPT, PROMPT, "3"], max_tokens=2)
    assert several["usage"]["prompt_tokens"] == 2 * len(ids) + len(tokens_of(tiny, "3"))


def test_special_tokens_of_a_prompt(tiny):
    """A raw prompt has nothing else to mark turns with."""
    text = "<|im_start|>user\nhi<|im_end|>"
    n = complete(tiny, text, max_tokens=1)["usage"]["prompt_tokens"]
    assert n == len(tokens_of(tiny, text)) < len(
        post(tiny, "/tokenize", {"content": text, "parse_special": False}).json()["tokens"]
    )


def test_choices(tiny):
    document = complete(tiny, [PROMPT, "3"], n=3, max_tokens=5, temperature=1.5, seed=7)
    assert len(texts(document)) == 6
    assert texts(document) == texts(
        complete(tiny, [PROMPT, "3"], n=3, max_tokens=5, temperature=1.5, seed=7)
    )
    assert complete(tiny, n=2, best_of=2, max_tokens=1)
    refused(tiny, "best_of", n=1, best_of=3)
    refused(tiny, "best_of", best_of=2)
    refused(tiny, "n", n=9)
    assert "32" in refused(tiny, "n", prompt=[PROMPT] * 5, n=8)["message"]
    # more than the slots and the queue take will never be admitted: to try again would not help
    error = refused(tiny, None, prompt=[PROMPT] * 21)
    assert error["code"] == "too_many_answers" and "20" in error["message"]


def test_echo(tiny):
    text = texts(complete(tiny, max_tokens=4))[0]
    assert texts(complete(tiny, max_tokens=4, echo=True)) == [PROMPT + text]
    ids = tokens_of(tiny, "über 😀")
    assert texts(complete(tiny, [ids, "3"], max_tokens=0, echo=True)) == ["über 😀", "3"]
    refused(tiny, "echo", echo=True, logprobs=1)
    stream = Stream(
        tiny, COMPLETIONS, {"prompt": PROMPT, "stream": True, "echo": True, "max_tokens": 4}
    )
    assert "".join(c["choices"][0]["text"] for c in stream.chunks) == PROMPT + text


def test_no_tokens(tiny):
    """max_tokens 0 computes the prompt."""
    document = complete(tiny, max_tokens=0)
    assert texts(document) == [""] and document["choices"][0]["finish_reason"] == "length"
    assert document["usage"]["completion_tokens"] == 0
    assert complete(tiny, max_tokens=1)["usage"]["prompt_tokens_details"]["cached_tokens"] > 0


def test_empty_prompt(tiny):
    """It begins a text, as in OpenAI's API."""
    assert complete(tiny, "", max_tokens=1)["usage"]["prompt_tokens"] == 1
    assert complete(tiny, ["", []], max_tokens=1)["usage"]["prompt_tokens"] == 2


def test_stream(tiny):
    body = {"prompt": [PROMPT, "3"], "n": 2, "max_tokens": 6, "temperature": 1, "seed": 3}
    document = complete(tiny, **body)
    body |= {"stream": True, "stream_options": {"include_usage": True}}
    stream = Stream(tiny, COMPLETIONS, body)
    *chunks, last = stream.chunks
    assert last["choices"] == [] and counts(last["usage"]) == counts(document["usage"])
    assert len({(c["id"], c["created"], c["model"], c["object"]) for c in stream.chunks}) == 1
    assert stream.chunks[0]["object"] == "text_completion"
    found, reasons = [""] * 4, [None] * 4
    for chunk in chunks:
        (choice,) = chunk["choices"]
        assert reasons[choice["index"]] is None and chunk["usage"] is None
        found[choice["index"]] += choice["text"]
        reasons[choice["index"]] = choice["finish_reason"]
    assert found == texts(document)
    assert reasons == [c["finish_reason"] for c in document["choices"]]


def check_logprobs(logprobs, text, n_top):
    names = ("tokens", "token_logprobs", "top_logprobs", "text_offset")
    assert tuple(logprobs) == names
    assert len({len(logprobs[name]) for name in names}) == 1
    for token, value, top, at in zip(*logprobs.values(), strict=True):
        assert -9999 <= value <= 0
        if not token.startswith("bytes:"):
            # behind a character that was not completed, its U+FFFD comes first
            assert token in text[at : at + len(token) + 1]
        if n_top == 0:
            assert top is None
        else:
            assert n_top <= len(top) <= n_top + 1
            assert top[token] == value


@pytest.mark.parametrize("n_top", [0, 1, 5])
def test_logprobs(tiny, n_top):
    body = {"prompt": [PROMPT, "3"], "max_tokens": 30, "logprobs": n_top, "ignore_eos": True}
    document = complete(tiny, **body)
    for choice in document["choices"]:
        check_logprobs(choice["logprobs"], choice["text"], n_top)
        assert len(choice["logprobs"]["tokens"]) > 20
    stream = Stream(tiny, COMPLETIONS, body | {"stream": True})
    for choice in document["choices"]:
        merged = {name: [] for name in choice["logprobs"]}
        for chunk in stream.chunks:
            piece = chunk["choices"][0]
            if piece["index"] == choice["index"] and piece["logprobs"]:
                for name in merged:
                    merged[name] += piece["logprobs"][name]
        for name in ("tokens", "text_offset"):
            assert merged[name] == choice["logprobs"][name]
        assert merged["token_logprobs"] == pytest.approx(choice["logprobs"]["token_logprobs"])


def test_logprobs_switch(tiny):
    for value in (None, False):
        assert complete(tiny, max_tokens=1, logprobs=value)["choices"][0]["logprobs"] is None
    assert complete(tiny, max_tokens=1, logprobs=True)["choices"][0]["logprobs"]["tokens"]
    refused(tiny, "logprobs", logprobs=21)
    refused(tiny, "logprobs", logprobs="2")


def test_rules(tiny):
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    for fields in (
        {"json_schema": schema},
        {"response_format": {"type": "json_schema", "json_schema": {"schema": schema}}},
    ):
        (text,) = texts(complete(tiny, max_tokens=200, **fields))
        assert isinstance(json.loads(text)["a"], int)
    assert texts(complete(tiny, ["1", "2"], grammar='root ::= "yes"')) == ["yes", "yes"]


def test_stop(tiny):
    (text,) = texts(complete(tiny, max_tokens=40, ignore_eos=True))
    stop = text[10:13]
    document = complete(tiny, max_tokens=40, ignore_eos=True, stop=stop)
    assert texts(document) == [text[: text.index(stop)]]
    assert document["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize(
    "prompt",
    [
        None, 3, True, [], {}, {"prompt_string": 4}, [[[1]]], [1.5], [-1], [2**31], [10**9], [None],
        ["a", None], [{"text": "a"}], ["a"] * 33, {"prompt_string": "a", "multimodal_data": ["x"]},
    ],
)  # fmt: skip
def test_wrong_prompts(tiny, prompt):
    refused(tiny, "prompt", prompt)


def test_prompt_is_required(tiny):
    reply = post(tiny, COMPLETIONS, {"max_tokens": 1})
    assert reply.status == 400 and reply.error["param"] == "prompt"


@pytest.mark.parametrize(
    "name, value",
    [
        ("echo", 1), ("echo", "yes"), ("suffix", 3), ("n", 0), ("n", "2"), ("max_tokens", -2),
        ("max_tokens", "5"), ("stream", 1), ("stop", 5), ("seed", "1"), ("temperature", -1),
        ("logit_bias", []), ("model", 5), ("best_of", "1"), ("grammar", "root ::= ("),
    ],
)  # fmt: skip
def test_wrong_fields(tiny, name, value):
    if (name, value) == ("logit_bias", []):
        value = [[0]]
    refused(tiny, name, **{name: value})


def test_too_long(tiny):
    error = refused(tiny, "prompt", "a b c " * 4000)
    assert error["code"] == "context_length_exceeded" and error["n_prompt_tokens"] > error["n_ctx"]
    assert refused(tiny, "prompt", ["a", "a b c " * 4000])["code"] == "context_length_exceeded"


def test_suffix_without_tokens(tiny):
    """The tiny model's vocabulary has not all tokens for filling in."""
    error = refused(tiny, "suffix", suffix="the end")
    assert error["code"] == "unsupported" and "cannot fill in" in error["message"]
    refused(tiny, "suffix", prompt=["a", "b"], suffix="the end")
    for empty in (None, ""):
        assert complete(tiny, suffix=empty, max_tokens=1)


def test_disconnect(tiny, cancelled):
    """A client that leaves ends the answers of all its prompts."""
    with Connection(tiny) as c:
        c.send("POST", COMPLETIONS, {"prompt": ["a"] * 8, "max_tokens": -1, "ignore_eos": True})
        wait_until(lambda: health(tiny)["running"] > 0, "nothing runs")
    wait_until(lambda: cancelled() == 8, "they were not cancelled")


def test_client(tiny):
    client = openai.OpenAI(base_url=f"{tiny.base_url}/v1", api_key="none", max_retries=0)
    document = client.completions.create(model="any", prompt=PROMPT, max_tokens=5, logprobs=2)
    assert document.choices[0].logprobs.text_offset[0] == 0
    pieces = client.completions.create(model="any", prompt=PROMPT, max_tokens=5, stream=True)
    assert "".join(p.choices[0].text for p in pieces) == document.choices[0].text
    with pytest.raises(openai.BadRequestError) as caught:
        client.completions.create(model="any", prompt=[-1])
    assert caught.value.param == "prompt"
