"""What a model's chat template can not express is refused by name, not left out without a word."""

from pathlib import Path

import pytest
from api_client import CHAT, HELLO, complete, post

QWEN3_TEMPLATE = Path(__file__).resolve().parents[1] / "fidelity" / "qwen3.jinja"
TOOLS = [{"type": "function", "function": {"name": "get_time"}}]
CALL = {"type": "function", "function": {"name": "get_time", "arguments": "{}"}}


@pytest.fixture(scope="module")
def smollm(server_factory, make_tiny_model, smollm_path):
    """A tiny model with the template of SmolLM2."""
    model = make_tiny_model("--architecture", "llama", "--template-from", str(smollm_path))
    server = server_factory("--offline", model=model)
    yield server
    server.end()


@pytest.fixture(scope="module")
def qwen3(server_factory, make_tiny_model):
    model = make_tiny_model("--architecture", "qwen3", "--template", str(QWEN3_TEMPLATE))
    server = server_factory("--offline", model=model)
    yield server
    server.end()


def test_tools_for_a_template_without(smollm):
    reply = post(smollm, CHAT, {"messages": HELLO, "tools": TOOLS})
    assert reply.status == 400
    assert reply.error["code"] == "unsupported" and reply.error["param"] == "tools"
    assert "smollm2" in reply.error["message"]
    called = [*HELLO, {"role": "assistant", "tool_calls": [CALL]}, {"role": "tool", "content": "1"}]
    reply = post(smollm, CHAT, {"messages": called})
    assert reply.status == 400
    assert reply.error["code"] == "unsupported" and reply.error["param"] == "messages"


@pytest.mark.parametrize(
    "fields", [{"tools": []}, {"tools": None}, {"tools": TOOLS, "tool_choice": "none"}]
)
def test_no_tools_after_all(smollm, fields):
    plain = complete(smollm, max_tokens=4)["choices"]
    assert complete(smollm, max_tokens=4, **fields)["choices"] == plain


def test_thinking(qwen3):
    def prompt_tokens(**fields):
        return complete(qwen3, max_tokens=1, **fields)["usage"]["prompt_tokens"]

    plain = prompt_tokens()
    without = prompt_tokens(enable_thinking=False)
    assert without > plain  # an empty thought stands in the prompt
    assert prompt_tokens(enable_thinking=True) == prompt_tokens(enable_thinking=None) == plain
    assert prompt_tokens(chat_template_kwargs={"enable_thinking": False}) == without
    assert prompt_tokens(chat_template_kwargs={"enable_thinking": True}) == plain
    for nothing in ({}, None):
        assert prompt_tokens(chat_template_kwargs=nothing) == plain


@pytest.mark.parametrize("value", [True, False])
@pytest.mark.parametrize("path", [CHAT, "/chat"])
def test_thinking_where_there_is_none(tiny, path, value):
    for field in ({"enable_thinking": value}, {"chat_template_kwargs": {"enable_thinking": value}}):
        reply = post(tiny, path, {"messages": HELLO, **field})
        assert reply.status == 400
        assert reply.error["code"] == "unsupported" and reply.error["param"] == "enable_thinking"


@pytest.mark.parametrize(
    "fields, code, param",
    [
        ({"enable_thinking": "false"}, "invalid_type", "enable_thinking"),
        ({"chat_template_kwargs": {"enable_thinking": 0}}, "invalid_type", "enable_thinking"),
        ({"chat_template_kwargs": []}, "invalid_type", "chat_template_kwargs"),
        ({"chat_template_kwargs": {"style": 1}}, "unsupported", "chat_template_kwargs"),
    ],
)
def test_what_is_wrong_with_it(qwen3, fields, code, param):
    reply = post(qwen3, CHAT, {"messages": HELLO, **fields})
    assert reply.status == 400
    assert reply.error["code"] == code and reply.error["param"] == param
