"""llama-server's own routes, in its shapes: /completion, /infill, /tokenize, /props and the like."""

import json
import random
import re
import select
import sys
from pathlib import Path

import jinja2
import pytest
from api_client import HELLO, Connection, get, health, post, wait_until

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tools"))
from gguf_file import GgufFile  # noqa: E402

PROMPT = "Once upon a time"
FIELDS = {
    "index", "content", "tokens", "id_slot", "stop", "model", "tokens_predicted", "tokens_evaluated",
    "generation_settings", "prompt", "has_new_line", "truncated", "stop_type", "stopping_word",
    "tokens_cached", "timings",
}  # fmt: skip


def answer(server, path, **body):
    reply = post(server, path, body)
    assert reply.status == 200, reply.body
    return reply.json()


def complete(server, prompt=PROMPT, **fields):
    return answer(server, "/completion", prompt=prompt, **fields)


def tokenize(server, content, **fields):
    return answer(server, "/tokenize", content=content, **fields)["tokens"]


def detokenize(server, tokens):
    return answer(server, "/detokenize", tokens=tokens)["content"]


def refused(server, path, param, status=400, **body):
    reply = post(server, path, body)
    assert reply.status == status, reply.body
    assert reply.error["param"] == param, reply.error
    return reply.error


def stream(server, path="/completion", **body):
    """The objects of a stream, which ends without [DONE]."""
    with Connection(server) as c:
        c.send("POST", path, {"stream": True, **body})
        status, headers = c.read_head()
        assert status == 200 and headers["content-type"].startswith("text/event-stream")
        text = b"".join(data for _, data in c.chunks()).decode()
    lines = [line for line in text.splitlines() if line and not line.startswith(":")]
    assert all(line.startswith("data: ") for line in lines)
    return [json.loads(line[6:]) for line in lines]


# ---- tokens -----------------------------------------------------------------------------------------


def random_texts():
    source = random.Random(5)
    for length in (0, 1, 7, 300, 5000):
        yield "".join(chr(source.choice((9, 10, 32, 65, 97, 48, 0xE9, 0x4E16, 0x1F600))) for _ in range(length))
        yield bytes(source.randrange(128) for _ in range(length)).decode()
    yield bytes(range(256)).decode(errors="replace")
    yield "a\x00b<|im_start|>\ud7ff\U0010ffff"


@pytest.mark.parametrize("parse_special", [True, False])
def test_round_trip(tiny, parse_special):
    for text in random_texts():
        tokens = tokenize(tiny, text, parse_special=parse_special)
        assert detokenize(tiny, tokens) == text
        assert len(tokens) <= len(text.encode())


def test_special_tokens(tiny):
    (token,) = tokenize(tiny, "<|im_start|>")
    assert tokenize(tiny, "<|im_start|>", add_special=True) == [token]
    assert len(tokenize(tiny, "<|im_start|>", parse_special=False)) > 1
    assert tokenize(tiny, ["a", token, "b", 5]) == [*tokenize(tiny, "a"), token, *tokenize(tiny, "b"), 5]


def test_pieces(tiny):
    text = "naïve 媽 🤗 <|im_end|>"
    pieces = tokenize(tiny, text, with_pieces=True)
    assert [p["id"] for p in pieces] == tokenize(tiny, text)
    raw = b"".join(bytes(p["piece"]) if isinstance(p["piece"], list) else p["piece"].encode() for p in pieces)
    assert raw.decode() == text


def test_pieces_of_the_longest_text(tiny):
    assert len(tokenize(tiny, "1" * 100_000, with_pieces=True)) == 100_000
    text = "1" * 1_000_000
    error = refused(tiny, "/tokenize", "content", content=text, with_pieces=True)
    assert error["code"] == "answer_too_large" and "with_pieces" in error["message"]
    assert len(tokenize(tiny, text)) == len(text)


def test_nothing_to_tokenize(tiny):
    assert answer(tiny, "/tokenize") == {"tokens": []} == answer(tiny, "/tokenize", content="")
    assert answer(tiny, "/detokenize") == {"content": ""} == answer(tiny, "/detokenize", tokens=[])


@pytest.mark.parametrize(
    "path, param, body",
    [
        ("/tokenize", "content", {"content": 5}),
        ("/tokenize", "content", {"content": {"a": 1}}),
        ("/tokenize", "content", {"content": [1.5]}),
        ("/tokenize", "content", {"content": [10**9]}),
        ("/tokenize", "with_pieces", {"content": "a", "with_pieces": 1}),
        ("/tokenize", "parse_special", {"content": "a", "parse_special": "no"}),
        ("/detokenize", "tokens", {"tokens": "a"}),
        ("/detokenize", "tokens", {"tokens": ["a"]}),
        ("/detokenize", "tokens", {"tokens": [-1]}),
        ("/detokenize", "tokens", {"tokens": [2**31]}),
        ("/apply-template", "messages", {"messages": []}),
        ("/apply-template", "messages", {}),
        ("/v1/chat/completions/input_tokens", "messages", {"messages": "a"}),
    ],
)
def test_wrong_tokens(tiny, path, param, body):
    refused(tiny, path, param, **body)


def test_large_texts(tiny):
    """A megabyte is cut into slices, and other requests are answered in the meantime."""
    text, answered = "word " * 180_000, 0
    with Connection(tiny) as c:
        c.send("POST", "/tokenize", {"content": text})
        while not select.select([c.socket], [], [], 0)[0]:
            assert get(tiny, "/health").status == 200
            answered += 1
        tokens = c.read().json()["tokens"]
    assert answered > 2
    assert len(tokens) > 100_000


CONVERSATIONS = [
    HELLO,
    [{"role": "system", "content": "Be brief."}, *HELLO],
    [*HELLO, {"role": "assistant", "content": "Hi! <|im_end|>"}, {"role": "user", "content": "ü\n"}],
]
TOOLS = [
    {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {"ä": {"type": "string"}}}}}
]


@pytest.mark.parametrize("messages", CONVERSATIONS)
@pytest.mark.parametrize("tools", [None, TOOLS])
def test_apply_template(server, model_path, messages, tools):
    """Equal to what Jinja makes of the model's own template."""
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
    environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    template = environment.from_string(GgufFile(model_path).metadata["tokenizer.chat_template"])
    expected = template.render(messages=messages, tools=tools, add_generation_prompt=True)
    prompt = answer(server, "/apply-template", messages=messages, tools=tools)["prompt"]
    assert prompt == expected
    count = answer(server, "/v1/chat/completions/input_tokens", messages=messages, tools=tools)
    assert count == {"object": "response.input_tokens", "input_tokens": count["input_tokens"]}
    assert answer(server, "/chat/completions/input_tokens", messages=messages, tools=tools) == count
    if "<|im_end|>" not in str(messages):  # where the user's text has one, it is text
        assert count["input_tokens"] == len(tokenize(server, prompt))


THOUGHTS = [
    {"role": "user", "content": "Fix it"},
    {"role": "assistant", "content": "", "reasoning_content": "\nfirst\n", "tool_calls": [
        {"id": "1", "type": "function", "function": {"name": "f", "arguments": {"ä": "."}}}]},
    {"role": "tool", "tool_call_id": "1", "content": "a.py"},
    {"role": "assistant", "content": "\nDone", "reasoning_content": "second"},
]  # fmt: skip


@pytest.mark.parametrize("messages", [THOUGHTS, [*THOUGHTS, {"role": "user", "content": "Thanks"}]])
def test_thoughts(start_server, messages):
    """reasoning_content is rendered where the template has a place for it."""
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
    environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    file = Path(__file__).resolve().parent.parent / "fidelity" / "qwen3.jinja"
    template = environment.from_string(file.read_text())
    server = start_server("--offline", "--chat-template", "qwen3")
    if messages[-1]["role"] == "assistant":
        messages = messages[:-1]
    expected = template.render(messages=messages, tools=TOOLS, add_generation_prompt=True)
    assert answer(server, "/apply-template", messages=messages, tools=TOOLS)["prompt"] == expected
    assert ("first" in expected) == (messages[-1]["role"] == "tool")
    wrong = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "reasoning_content": 5}]
    refused(server, "/apply-template", "messages[1].reasoning_content", messages=wrong)


def test_thoughts_without_a_place(tiny):
    without = [{k: v for k, v in m.items() if k != "reasoning_content"} for m in THOUGHTS[:3]]
    path = "/apply-template"
    assert answer(tiny, path, messages=THOUGHTS[:3]) == answer(tiny, path, messages=without)


def test_verbose(tiny):
    """The answer of a chat repeats its prompt."""
    prompt = answer(tiny, "/apply-template", messages=HELLO)["prompt"]
    body = {"messages": HELLO, "max_tokens": 2}
    assert answer(tiny, "/v1/chat/completions", verbose=True, **body)["__verbose"] == {"prompt": prompt}
    assert "__verbose" not in answer(tiny, "/v1/chat/completions", verbose=False, **body)
    refused(tiny, "/v1/chat/completions", "verbose", verbose=1, **body)


# ---- /completion ------------------------------------------------------------------------------------


def test_document(tiny):
    for path in ("/completion", "/completions"):
        document = answer(tiny, path, prompt=PROMPT, n_predict=5, ignore_eos=True)
        assert set(document) == FIELDS
        assert document["stop"] is True and document["stop_type"] == "limit"
        assert document["tokens"] == [] and document["prompt"] == PROMPT
        assert document["tokens_predicted"] == 5 == document["timings"]["predicted_n"]
        assert document["tokens_evaluated"] == len(tokenize(tiny, PROMPT))
        assert document["tokens_cached"] == document["tokens_evaluated"] + 5
        assert not document["truncated"]
        settings = document["generation_settings"]
        assert settings["n_predict"] == 5 == settings["max_tokens"] and settings["ignore_eos"]
        assert all(bias["bias"] is None for bias in settings["logit_bias"]) and settings["logit_bias"]


def test_settings(tiny):
    fields = {
        "temperature": 0.7, "top_k": 3, "top_p": 0.9, "min_p": 0.05, "seed": 11, "typical_p": 0.8,
        "presence_penalty": 0.25, "frequency_penalty": -0.5, "repeat_last_n": 7, "dry_multiplier": 0.5,
        "stop": ["x", "yy"], "min_keep": 2,
    }  # fmt: skip
    settings = complete(tiny, n_predict=1, logit_bias=[[5, -2.5], [6, False]], **fields)["generation_settings"]
    assert {name: settings[name] for name in fields} == fields
    assert settings["logit_bias"] == [{"bias": -2.5, "token": 5}, {"bias": None, "token": 6}]
    again = complete(tiny, n_predict=8, temperature=1.2)
    same = complete(tiny, n_predict=8, temperature=1.2, seed=again["generation_settings"]["seed"])
    assert same["content"] == again["content"]


def test_samplers(tiny):
    settings = complete(tiny, n_predict=1, samplers=["top_k", "infill"], top_k=4, top_p=0.5, temperature=0.3)
    settings = settings["generation_settings"]
    assert (settings["top_k"], settings["top_p"], settings["temperature"]) == (4, 1, 1)
    settings = complete(tiny, n_predict=1, samplers="kt", top_k=4, top_p=0.5, temperature=0.5)
    assert settings["generation_settings"]["temperature"] == 0.5
    for wrong in ("kq", ["best"], 5, [3]):
        refused(tiny, "/completion", "samplers", prompt="a", samplers=wrong)


def test_prompts(tiny):
    alone = [complete(tiny, p, n_predict=6)["content"] for p in (PROMPT, "3")]
    ids = tokenize(tiny, PROMPT)
    results = complete(tiny, [ids, "3", {"prompt_string": PROMPT}], n_predict=6)
    assert [r["content"] for r in results] == [alone[0], alone[1], alone[0]]
    assert [r["index"] for r in results] == [0, 1, 2]
    assert [r["prompt"] for r in results] == [PROMPT, "3", PROMPT]
    assert complete(tiny, [ids[0], " x ", 7], n_predict=1)["tokens_evaluated"] == 2 + len(tokenize(tiny, " x "))
    assert len(complete(tiny, n=3, n_predict=2)) == 3


def test_no_tokens(tiny):
    document = complete(tiny, n_predict=0)
    assert document["content"] == "" and document["tokens_predicted"] == 0
    assert document["stop_type"] == "limit"


def test_all_tokens(tiny):
    """n_predict -1 is what the context holds."""
    document = complete(tiny, n_predict=-1, ignore_eos=True, loop_guard="off")
    assert document["truncated"] and document["stop_type"] == "limit"
    assert document["tokens_cached"] == document["generation_settings"]["n_ctx"]


def test_tokens_and_stop(tiny):
    document = complete(tiny, n_predict=30, ignore_eos=True, return_tokens=True)
    assert detokenize(tiny, document["tokens"]) == document["content"]
    word = document["content"][8:11]
    stopped = complete(tiny, n_predict=30, ignore_eos=True, stop=["never", word])
    assert stopped["stop_type"] == "word" and stopped["stopping_word"] == word
    assert stopped["content"] == document["content"][: document["content"].index(word)]
    ended = complete(tiny, n_predict=3, grammar='root ::= "yes"')
    assert ended["stop_type"] == "eos" and ended["content"] == "yes" and ended["stopping_word"] == ""


def test_probabilities(tiny):
    document = complete(tiny, n_predict=5, n_probs=3, ignore_eos=True)
    tokens = document["completion_probabilities"]
    assert len(tokens) == 5 and document["tokens"] == []
    for token in tokens:
        assert set(token) == {"id", "token", "bytes", "logprob", "top_logprobs"}
        assert len(token["top_logprobs"]) == 3 and token["top_logprobs"][0]["id"] == token["id"]
    pieces = stream(tiny, prompt=PROMPT, n_predict=5, n_probs=3, ignore_eos=True)
    streamed = [t for p in pieces[:-1] for t in p["completion_probabilities"]]
    assert [t["id"] for t in streamed] == [t["id"] for t in tokens]
    refused(tiny, "/completion", "n_probs", prompt="a", n_probs=21)
    refused(tiny, "/completion", "post_sampling_probs", prompt="a", n_probs=2, post_sampling_probs=True)


def test_stream(tiny):
    document = complete(tiny, n_predict=12, ignore_eos=True, return_tokens=True)
    *pieces, last = stream(tiny, prompt=PROMPT, n_predict=12, ignore_eos=True)
    assert set(last) == FIELDS and last["stop"] is True and last["content"] == ""
    assert all(p["stop"] is False and p["tokens"] for p in pieces)
    assert "".join(p["content"] for p in pieces) == document["content"]
    assert [t for p in pieces for t in p["tokens"]] == document["tokens"]
    assert pieces[-1]["tokens_predicted"] == 12


def test_stream_of_prompts(tiny):
    alone = complete(tiny, "3", n_predict=4, ignore_eos=True)["content"]
    pieces = stream(tiny, prompt=[PROMPT, "3"], n_predict=4, ignore_eos=True)
    assert "".join(p["content"] for p in pieces if p["index"] == 1) == alone
    assert sum(p["stop"] for p in pieces) == 2


def test_response_fields(tiny):
    names = ["content", "generation_settings/n_predict", "timings/predicted_n", "nothing/here", "tokens"]
    document = complete(tiny, n_predict=3, ignore_eos=True, response_fields=names)
    assert set(document) == set(names) - {"nothing/here"}
    assert document["generation_settings/n_predict"] == 3 == document["timings/predicted_n"]
    assert set(stream(tiny, prompt="a", n_predict=1, response_fields=["stop"])[-1]) == {"stop"}
    assert complete(tiny, n_predict=1, response_fields=["nothing"]) == {}
    refused(tiny, "/completion", "response_fields", prompt="a", response_fields=[5])
    refused(tiny, "/completion", "response_fields", prompt="a", response_fields=["a"] * 65)


def test_progress(tiny):
    pieces = stream(tiny, prompt="a b c " * 200, n_predict=2, return_progress=True, timings_per_token=True)
    progress = [p for p in pieces if "prompt_progress" in p]
    assert len(progress) > 1
    assert progress[0]["timings"]["prompt_n"] == 0 and progress[0]["timings"]["prompt_ms"] == 0
    times = [p["timings"]["prompt_ms"] for p in progress]
    assert times == sorted(times) and times[-1] > 0
    assert all(v >= 0 for p in pieces for v in p["timings"].values())


def test_timings(tiny):
    """The first token comes with the prompt, so it is not part of the rate."""
    one = complete(tiny, n_predict=1, ignore_eos=True)["timings"]
    assert one["predicted_n"] == 1 and one["predicted_per_second"] == 0 == one["predicted_per_token_ms"]
    more = complete(tiny, n_predict=16, ignore_eos=True)["timings"]
    assert more["predicted_per_second"] == pytest.approx(15e3 / more["predicted_ms"], rel=1e-6)


def test_time_limit(server):
    """t_max_predict_ms ends an answer that has a line break."""
    body = {"prompt": "1\n2\n3\n4\n", "n_predict": 400, "ignore_eos": True, "loop_guard": "off"}
    document = answer(server, "/completion", t_max_predict_ms=100, **body)
    assert document["stop_type"] == "limit" and document["has_new_line"]
    assert 0 < document["tokens_predicted"] < 300
    pieces = stream(server, t_max_predict_ms=100, **body)
    assert pieces[-1]["stop"] and pieces[-1]["tokens_predicted"] < 300


@pytest.mark.parametrize(
    "name, value",
    [
        ("n_predict", -2), ("n_predict", "5"), ("stream", "yes"), ("n", 0), ("n_probs", -1),
        ("id_slot", "a"), ("cache_prompt", 1), ("return_tokens", "x"), ("timings_per_token", 3),
        ("response_fields", "content"), ("t_max_predict_ms", "1"), ("n_indent", -1), ("stop", {}),
        ("lora", [{"id": 0, "scale": 1}]), ("mirostat", 2), ("temperature", "hot"), ("seed", 1.5),
        ("json_schema", 7), ("grammar", "root ::= ("), ("prompt", None), ("prompt", [[]] * 40),
    ],
)  # fmt: skip
@pytest.mark.parametrize("streamed", [False, True])
def test_wrong_fields(tiny, name, value, streamed):
    body = {"prompt": "a", "stream": streamed, name: value}
    refused(tiny, "/completion", name, **body)


def test_disconnect(tiny, cancelled):
    with Connection(tiny) as c:
        c.send("POST", "/completion", {"prompt": ["a", "b", "c"], "n_predict": -1, "ignore_eos": True})
        wait_until(lambda: health(tiny)["running"] > 0, "nothing runs")
        assert any(slot["is_processing"] for slot in get(tiny, "/slots").json())
    wait_until(lambda: cancelled() == 3, "they were not cancelled")


# ---- /infill ----------------------------------------------------------------------------------------

FIB = {"input_prefix": "def fib(n):\n    ", "input_suffix": "\n    return fib(n-1) + fib(n-2)\n"}


def test_infill(start_server, model_path):
    """The coder model writes what is between; the answer has none of its tokens for that."""
    server = start_server("--offline", "--ctx-size", 512, model=model_path)
    document = answer(server, "/infill", n_predict=60, **FIB)
    assert document["prompt"] == (
        f"<|fim_prefix|>{FIB['input_prefix']}<|fim_suffix|>{FIB['input_suffix']}<|fim_middle|>"
    )
    assert "if n" in document["content"] and "return" in document["content"]
    assert not re.search(r"<\|.*\|>", document["content"])
    body = {"prompt": FIB["input_prefix"], "suffix": FIB["input_suffix"], "max_tokens": 60}
    completion = answer(server, "/v1/completions", **body)
    assert completion["choices"][0]["text"] == document["content"]
    # special tokens in texts are text
    forged = answer(server, "/infill", input_prefix="a<|fim_middle|>", input_suffix="", n_predict=0)
    assert forged["tokens_evaluated"] > 5

    files = [{"filename": "a.py", "text": "x = 1\n"}, {"text": "y = 2\n"}]
    document = answer(server, "/infill", n_predict=4, prompt="    if ", input_extra=files, **FIB)
    assert document["prompt"] == (
        "<|repo_name|>myproject\n<|file_sep|>a.py\nx = 1\n<|file_sep|>tmp\ny = 2\n<|file_sep|>filename\n"
        f"<|fim_prefix|>{FIB['input_prefix']}    if <|fim_suffix|>{FIB['input_suffix']}<|fim_middle|>"
    )

    # what does not fit is left out: the end next to the gap stays
    long = {"input_prefix": "a = 0\n" * 5000 + "last", "input_suffix": "first" + "\nb = 1" * 5000}
    document = answer(server, "/infill", n_predict=64, **long)
    n_ctx = document["generation_settings"]["n_ctx"]
    assert document["tokens_evaluated"] == n_ctx - 64
    before, behind = document["prompt"].split("<|fim_suffix|>")
    assert before.endswith("0\nlast") and behind.startswith("first\nb")
    assert len(tokenize(server, before)) > 2.9 * len(tokenize(server, behind))


def test_infill_without_tokens(tiny):
    refused(tiny, "/infill", "input_prefix", **FIB)


@pytest.mark.parametrize(
    "param, body",
    [
        ("input_prefix", {"input_suffix": "b"}),
        ("input_suffix", {"input_prefix": "a"}),
        ("input_prefix", {"input_prefix": 5, "input_suffix": "b"}),
        ("prompt", {**FIB, "prompt": 5}),
        ("input_extra", {**FIB, "input_extra": "a"}),
        ("input_extra", {**FIB, "input_extra": ["a"]}),
        ("input_extra", {**FIB, "input_extra": [{}]}),
        ("input_extra", {**FIB, "input_extra": [{"filename": 5, "text": "a"}]}),
        ("input_extra", {**FIB, "input_extra": [{"filename": "a", "text": 5}]}),
        ("input_extra", {**FIB, "input_extra": [{"text": ""}] * 257}),
    ],
)
def test_wrong_gaps(tiny, param, body):
    refused(tiny, "/infill", param, **body)


# ---- /props, /slots ---------------------------------------------------------------------------------


def test_props(tiny):
    props = get(tiny, "/props").json()
    assert props["model_path"].endswith(".gguf") and "/" not in props["model_path"]
    assert props["total_slots"] == health(tiny)["parallel"]
    assert props["modalities"] == {"vision": False, "video": False, "audio": False}
    defaults = props["default_generation_settings"]
    assert defaults["n_ctx"] == health(tiny)["ctx_size"] and defaults["params"]["n_predict"] == -1
    settings = complete(tiny, n_predict=-1, grammar='root ::= "a"')["generation_settings"]
    assert {**settings, "seed": 0} == {**defaults["params"], "seed": 0}
    reply = post(tiny, "/props", {"a": 1})
    assert reply.status == 501 and reply.error["code"] == "unsupported"


def test_default_seed(start_server):
    server = start_server("--offline", "--seed", 42)
    assert get(server, "/props").json()["default_generation_settings"]["params"]["seed"] == 42
    fields = {"prompt": "a", "n_predict": 8, "temperature": 2, "ignore_eos": True}
    first = answer(server, "/completion", **fields)
    assert first["generation_settings"]["seed"] == 42
    assert first["content"] == answer(server, "/completion", **fields)["content"]
    assert first["content"] != answer(server, "/completion", seed=43, **fields)["content"]


def test_slots(tiny):
    slots = get(tiny, "/slots").json()
    assert [slot["id"] for slot in slots] == list(range(health(tiny)["parallel"]))
    assert all(set(slot) == {"id", "n_ctx", "speculative", "is_processing"} for slot in slots)
    assert get(tiny, "/slots?fail_on_no_slot=1").status == 200
    for path in ("/slots/0?action=save", "/slots/0?action=erase", "/slots"):
        reply = post(tiny, path, {"filename": "../../x"})
        assert reply.status == 501 and reply.error["code"] == "unsupported"


def test_no_slot(tight):
    with Connection(tight) as c:
        c.send("POST", "/completion", {"prompt": "a", "n_predict": -1, "ignore_eos": True, "loop_guard": "off"})
        wait_until(lambda: health(tight)["running"] == 1, "it does not run")
        assert get(tight, "/slots").json()[0]["is_processing"]
        reply = get(tight, "/slots?fail_on_no_slot=1")
        if health(tight)["running"] == 1:
            assert reply.status == 503 and reply.error["code"] == "no_slot"


def test_keys(start_server, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("secret-key\n")
    keys.chmod(0o600)
    server = start_server("--offline", "--api-key-file", keys)
    for method, path in (("GET", "/props"), ("GET", "/slots")):
        assert get(server, path).status == 401
        assert get(server, path, {"x-api-key": "secret-key"}).status == 200
    for path in ("/completion", "/completions", "/tokenize", "/detokenize", "/infill", "/apply-template"):
        assert post(server, path, {}).status == 401
