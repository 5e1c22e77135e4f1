"""Unsupported fields that would change the answer are refused by name on every route where they have
an effect, and accepted with values that mean the same as leaving them out."""

import json
import re
from pathlib import Path
from urllib.parse import quote

import pytest
from api_client import CHAT, get, post

DOCS = Path(__file__).resolve().parents[2] / "docs" / "http-api.md"
NATIVE = "/chat"
BOTH = (CHAT, NATIVE)

EMPTY = ["", [], {}]
OFF = [False]
SCHEMA = {"type": "object"}
# name: (values that change the answer, values that do not, routes)
FIELDS = {
    # OpenAI
    "audio": ([{"voice": "alloy"}, {}], [], BOTH),
    "function_call": ([{"name": "f"}, "f", 1], ["none", "auto"], (NATIVE,)),
    "functions": ([[{"name": "f"}], "f", 1], [[]], (NATIVE,)),
    "modalities": ([["text", "audio"], ["audio"], "audio"], [["text"], []], BOTH),
    "response_format": (
        [{"type": "json_object"}, {"type": "json_schema", "json_schema": {}}, {}, "json", 1],
        [{"type": "text"}], (NATIVE,),
    ),
    "verbosity": (["low", "high"], ["medium"], BOTH),
    "web_search_options": ([{}, {"user_location": {}}], [], BOTH),
    "best_of": ([2], [1], BOTH),
    "echo": ([True], OFF, BOTH),
    "suffix": (["x"], [""], BOTH),
    # llama-server
    "adaptive_target": ([0.5], [-1], BOTH),
    "dynatemp_range": ([0.5], [0], BOTH),
    "grammar": (['root ::= "a"'], [""], (NATIVE,)),
    "image_data": ([[{"data": "x"}]], [[]], BOTH),
    "json_schema": ([SCHEMA, {}], [], (NATIVE,)),
    "lora": ([[{"id": 0, "scale": 1}]], [[]], BOTH),
    "mirostat": ([1, 2], [0], BOTH),
    "multimodal_data": ([["x"]], [[]], BOTH),
    "n_cmpl": ([2], [1], BOTH),
    "n_indent": ([4], [0], BOTH),
    "n_predict": ([-1, 8, "2"], [2, 2.0], (NATIVE,)),  # 2: the limit of the request
    "n_probs": ([3], [0], BOTH),
    "reasoning_budget": ([0, 99], [-1], BOTH),
    "return_tokens": ([True], OFF, BOTH),
    "samplers": ([["top_k"], "kmt"], [[]], BOTH),
    "system_prompt": (["x"], [""], BOTH),
    "t_max_predict_ms": ([100], [0], BOTH),
    "thinking_budget_tokens": ([0, 99], [-1], BOTH),
    "top_n_sigma": ([1.5], [0, -1], BOTH),
    "xtc_probability": ([0.5], [0], BOTH),
    # vLLM, SGLang
    "add_generation_prompt": ([False], [True], (NATIVE,)),
    "continue_final_message": ([True, False], [], (NATIVE,)),
    "allowed_token_ids": ([[1]], [[]], BOTH),
    "bad_words": ([["x"]], [[]], BOTH),
    "chat_template": (["x"], [""], BOTH),
    "documents": ([[{"text": "x"}]], [[]], BOTH),
    "ebnf": (["x"], [""], BOTH),
    "guided_choice": ([["a", "b"]], [[]], BOTH),
    "guided_grammar": (["x"], [""], BOTH),
    "guided_json": ([SCHEMA, {}], [], BOTH),
    "guided_regex": (["x"], [""], BOTH),
    "include_stop_str_in_output": ([True], OFF, BOTH),
    "length_penalty": ([2], [1], BOTH),
    "logits_processors": ([["x"]], [[]], BOTH),
    "min_tokens": ([5], [0], BOTH),
    "prompt_logprobs": ([0, 1], OFF, BOTH),
    "regex": (["x"], [""], (NATIVE,)),
    "skip_special_tokens": ([False], [True], BOTH),
    "stop_token_ids": ([[1]], [[]], BOTH),
    "structural_tag": ([{"x": 1}], [""], BOTH),
    "structured_outputs": ([{"json": SCHEMA}], [{}], BOTH),
    "truncate_prompt_tokens": ([5], [-1], BOTH),
    "use_beam_search": ([True], OFF, BOTH),
    # others
    "ban_eos_token": ([True], OFF, BOTH),
    "banned_strings": ([["x"]], EMPTY, BOTH),
    "banned_tokens": ([[1]], EMPTY, BOTH),
    "custom_token_bans": (["1,2"], EMPTY, BOTH),
    "dynamic_temperature": ([True], OFF, BOTH),
    "encoder_repetition_penalty": ([1.1], [1], BOTH),
    "epsilon_cutoff": ([1], [0], BOTH),
    "eta_cutoff": ([1], [0], BOTH),
    "guidance_scale": ([1.5], [1], BOTH),
    "images": ([["x"]], [[]], BOTH),
    "min_length": ([5], [0], BOTH),
    "mirostat_mode": ([2], [0], BOTH),
    "no_repeat_ngram_size": ([3], [0], BOTH),
    "nsigma": ([1], [0], BOTH),
    "num_beams": ([2], [1], BOTH),
    "penalty_alpha": ([0.6], [0], BOTH),
    "sampler_order": ([[6, 0]], [[]], BOTH),
    "sampler_priority": ([["top_k"]], [[]], BOTH),
    "smoothing_factor": ([0.2], [0], BOTH),
    "system": (["x"], [""], BOTH),
    "temperature_last": ([True], OFF, BOTH),
    "tfs": ([0.9], [1], BOTH),
    "tfs_z": ([0.9], [1], BOTH),
    "top_a": ([0.2], [0], BOTH),
    "typical": ([0.9], [1], BOTH),
    # fields that only the other route supports
    "choice": ([["a", "b"]], [[]], (NATIVE,)),
    "schema": ([SCHEMA, {}], [], (CHAT,)),
    "max_new_tokens": ([8], [2], (CHAT,)),
    "max_tokens": ([8, -1], [2], (NATIVE,)),
    "max_completion_tokens": ([8], [2], (NATIVE,)),
    "logprobs": ([True, 1, "true"], [False, 0], (NATIVE,)),
    "top_logprobs": ([1, 20, "1"], [0], (NATIVE,)),
    "n": ([2], [1], (NATIVE,)),
    "stream": ([False], [True], (NATIVE,)),
    "tool_choice": (["required", {"type": "function"}], ["none", "auto"], (NATIVE,)),
    "tools": ([[{"type": "function", "function": {"name": "f"}}]], [[]], (NATIVE,)),
}  # fmt: skip
CASES = [(route, name) for name, (_, _, routes) in FIELDS.items() for route in routes]


def ask(server, route, **fields):
    limit = "max_tokens" if route == CHAT else "max_new_tokens"
    return post(server, route, {"messages": [{"role": "user", "content": "a"}], limit: 2, **fields})


@pytest.mark.parametrize("route, name", CASES)
def test_refused_where_it_has_an_effect(tiny, route, name):
    changing, neutral, _ = FIELDS[name]
    for value in changing:
        reply = ask(tiny, route, **{name: value})
        assert reply.status == 400, (value, reply.body)
        assert reply.error["code"] == "unsupported" and reply.error["param"] == name
        assert reply.error["message"].startswith(f"{name} is not offered by this server")
    for value in (None, *neutral):
        reply = ask(tiny, route, **{name: value})
        assert reply.status == 200, (value, reply.body)


@pytest.mark.parametrize("name", [name for route, name in CASES if route == NATIVE])
def test_refused_in_a_query(tiny, name):
    def query(value):
        text = value if isinstance(value, str) else json.dumps(value)
        return get(tiny, f"/chat?prompt=a&max_new_tokens=2&{name}={quote(text)}")

    changing, neutral, _ = FIELDS[name]
    reply = query(changing[0])
    assert reply.status == 400, reply.body
    assert reply.error["code"] == "unsupported" and reply.error["param"] == name
    for value in neutral:
        assert query(value).status == 200


def test_parameters_of_a_feature_that_is_off_are_ignored(tiny):
    shapes = {
        "mirostat_tau": 5.0, "mirostat_eta": 0.1, "xtc_threshold": 0.1,
        "dynatemp_exponent": 1, "parallel_tool_calls": False,
        "grammar_lazy": False, "cache_prompt": True, "id_slot": 0, "post_sampling_probs": False,
        "prediction": {"type": "content", "content": "x"}, "store": True, "metadata": {"a": "b"},
    }  # fmt: skip
    for route in BOTH:
        reply = ask(tiny, route, **shapes)
        assert reply.status == 200, reply.body


@pytest.mark.parametrize(
    "fields, param",
    [
        ({"typical_p": 0.9, "typical": 0.9}, None),
        ({"typical_p": 0.9, "typical": 0.8}, "typical"),
    ],
)
def test_fields_that_go_together(tiny, fields, param):
    reply = ask(tiny, CHAT, **fields)
    assert reply.status == (400 if param else 200), reply.body
    if param:
        assert reply.error["code"] == "unsupported" and reply.error["param"] == param


def test_the_documents_list_all_fields():
    """docs/http-api.md lists exactly the refused fields."""
    text = DOCS.read_text(encoding="utf-8").split("### Fields that are not offered")[1]
    listed = re.findall(r"`([a-z_0-9]+)`", text.split("\n### ")[0].split("\n## ")[0])
    words = {"unsupported", "medium", "none", "auto", "repetition_penalty"}
    assert set(FIELDS) == set(listed) - words
