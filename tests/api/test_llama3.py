"""Models of the family Llama 3.2: their turns, calls without tags, texts that begin with BOS."""

import json
import re
from datetime import datetime
from pathlib import Path

import pytest
import requests

TEMPLATE = Path(__file__).resolve().parent.parent / "fidelity" / "llama3.jinja"
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"unit": {"enum": ["celsius", "fahrenheit"]}, "days": {"type": "integer"}},
            "required": ["unit", "days"],
        },
    },
}
QUESTION = {"role": "user", "content": " Hello "}


@pytest.fixture(scope="module")
def llama3(server_factory, make_tiny_model):
    server = server_factory(model=make_tiny_model("--architecture", "llama3", "--template", str(TEMPLATE)))
    yield server
    server.end()


def post(server, path, **body):
    done = requests.post(server.base_url + path, json=body, timeout=60)
    assert done.status_code == 200, done.text
    return done.json()


def test_a_prompt_has_turns_of_the_family_and_the_date_of_today(llama3):
    before = datetime.now()
    prompt = post(llama3, "/apply-template", messages=[QUESTION])["prompt"]
    dates = [d.strftime("%d %b %Y") for d in (before, datetime.now())]
    assert prompt in [
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\n"
        f"Today Date: {date}\n\n<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nHello<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
        for date in dates
    ]
    assert re.search("(chat template|using) llama3.2", llama3.log_with("llama3.2"))


@pytest.mark.parametrize("stream", (False, True), ids=("document", "stream"))
def test_a_demanded_call_is_an_object_without_tags(llama3, stream):
    """The tiny model answers nonsense, but the rule leaves it no choice."""
    body = {"messages": [QUESTION], "tools": [WEATHER], "tool_choice": "required", "max_tokens": 200, "seed": 1}
    answer = requests.post(f"{llama3.base_url}/v1/chat/completions", json={**body, "stream": stream}, timeout=60)
    assert answer.status_code == 200, answer.text
    if stream:
        events = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]
        deltas = [e["choices"][0]["delta"] for e in events if e["choices"]]
        assert not any(d.get("content") for d in deltas)
        calls = [c for d in deltas for c in d.get("tool_calls", [])]
        name = calls[0]["function"]["name"]
        arguments = "".join(c["function"].get("arguments", "") for c in calls)
        assert {c["index"] for c in calls} == {0}
    else:
        message = answer.json()["choices"][0]["message"]
        assert message["content"] is None
        (call,) = message["tool_calls"]
        name, arguments = call["function"]["name"], call["function"]["arguments"]
    assert name == "get_weather"
    found = json.loads(arguments)
    assert found["unit"] in ("celsius", "fahrenheit") and isinstance(found["days"], int)


def test_a_result_comes_back_as_json(llama3):
    call = {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": '{"unit": "celsius"}'}}
    prompt = post(
        llama3, "/apply-template", tools=[WEATHER],
        messages=[QUESTION, {"role": "assistant", "content": None, "tool_calls": [call]},
                  {"role": "tool", "tool_call_id": "c1", "content": 'It is "cold".'}],
    )["prompt"]  # fmt: skip
    assert 'user<|end_header_id|>\n\nGiven the following functions' in prompt
    assert '{\n    "type": "function",\n    "function": {\n        "name": "get_weather"' in prompt
    assert '{"name": "get_weather", "parameters": {"unit": "celsius"}}<|eot_id|>' in prompt
    assert '<|start_header_id|>ipython<|end_header_id|>\n\n"It is \\"cold\\"."<|eot_id|>' in prompt


def test_texts_begin_with_bos_once(llama3):
    def ids(**fields):
        return post(llama3, "/tokenize", **fields)["tokens"]

    (bos,) = ids(content="<|begin_of_text|>")
    plain = ids(content="Hello")
    assert ids(content="Hello", add_special=True) == [bos, *plain]
    for prompt in ("Hello", "<|begin_of_text|>Hello", [bos, *plain]):
        done = post(llama3, "/v1/completions", prompt=prompt, max_tokens=1)
        assert done["usage"]["prompt_tokens"] == 1 + len(plain)


def test_arguments_for_the_template_are_refused_by_name(llama3):
    body = {"messages": [QUESTION], "chat_template_kwargs": {"date_string": "1 Jan 2030"}}
    answer = requests.post(f"{llama3.base_url}/v1/chat/completions", json=body, timeout=60)
    assert answer.status_code == 400
    assert "chat_template_kwargs.date_string" in answer.json()["error"]["message"]


def test_tools_that_are_nested_too_deeply_are_refused(llama3):
    deep = {"type": "object"}
    for _ in range(24):
        deep = {"a": [deep]}
    tool = {"type": "function", "function": {"name": "f", "description": "x", "parameters": {"type": "object", "examples": [deep]}}}
    answer = requests.post(f"{llama3.base_url}/apply-template", json={"messages": [QUESTION], "tools": [tool]}, timeout=60)
    assert answer.status_code == 400
    assert "indented" in answer.json()["error"]["message"]
