"""Fields that the model's chat template cannot express are refused by name, not ignored silently."""

import re
from pathlib import Path

import pytest
from api_client import CHAT, HELLO, complete, get, post

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


def test_tools_for_a_template_without_tools(smollm):
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
def test_requests_whose_tools_are_not_used(smollm, fields):
    plain = complete(smollm, max_tokens=4)["choices"]
    assert complete(smollm, max_tokens=4, **fields)["choices"] == plain


def test_thinking(qwen3):
    def prompt_tokens(**fields):
        return complete(qwen3, max_tokens=1, **fields)["usage"]["prompt_tokens"]

    plain = prompt_tokens()
    without = prompt_tokens(enable_thinking=False)
    assert without > plain  # the prompt has an empty thought
    assert prompt_tokens(enable_thinking=True) == prompt_tokens(enable_thinking=None) == plain
    assert prompt_tokens(chat_template_kwargs={"enable_thinking": False}) == without
    assert prompt_tokens(chat_template_kwargs={"enable_thinking": True}) == plain
    for nothing in ({}, None):
        assert prompt_tokens(chat_template_kwargs=nothing) == plain


OFF = [
    {"enable_thinking": False},
    {"chat_template_kwargs": {"enable_thinking": False}},
    {"chat_template_kwargs": {"thinking": False, "style": None}},
    {"thinking": False},
    {"thinking": {"type": "disabled"}},
    {"thinking": {"type": "disabled", "budget_tokens": 0}},
    {"reasoning_effort": "none"},
    {"thinking": True, "enable_thinking": False},
]
NOT_SAID = [
    {"enable_thinking": None}, {"thinking": None}, {"thinking": {"type": "auto"}},
    {"thinking": {"type": "adaptive"}}, {"reasoning_effort": "medium"}, {"reasoning_effort": None},
    {"chat_template_kwargs": {"enable_thinking": None}},
]  # fmt: skip
ON = [
    ({"enable_thinking": True}, "enable_thinking"),
    ({"chat_template_kwargs": {"enable_thinking": True}}, "enable_thinking"),
    ({"chat_template_kwargs": {"thinking": True}}, "thinking"),
    ({"thinking": True}, "thinking"),
    ({"thinking": {"type": "enabled"}}, "thinking"),
    ({"reasoning_effort": "none", "thinking": True}, "thinking"),
]
FIRST = [{"role": "user", "content": "Hello"}]


def prompt_of(server, **fields):
    return complete(server, FIRST, max_tokens=1, **fields)["usage"]["prompt_tokens"]


def test_every_field_for_thinking(qwen3):
    plain, without = prompt_of(qwen3), prompt_of(qwen3, enable_thinking=False)
    assert [prompt_of(qwen3, **fields) for fields in OFF] == [without] * len(OFF)
    assert [prompt_of(qwen3, **fields) for fields in NOT_SAID] == [plain] * len(NOT_SAID)
    assert [prompt_of(qwen3, **fields) for fields, _ in ON] == [plain] * len(ON)


def test_a_model_that_always_thinks(server_factory, make_tiny_model):
    """A request may switch thinking on, but switching it off is refused."""
    model = make_tiny_model("--architecture", "qwen3")
    server = server_factory("--offline", "--chat-template", "qwen3-thinking-2507", model=model)
    try:
        plain = prompt_of(server)
        assert [prompt_of(server, **fields) for fields, _ in ON] == [plain] * len(ON)
        for fields in OFF:
            reply = post(server, CHAT, {"messages": FIRST, **fields})
            assert reply.status == 400 and reply.error["code"] == "unsupported", fields
            assert "always thinks" in reply.error["message"]
    finally:
        server.end()


def test_switching_thinking_off_without_thinking(tiny):
    """Only fields that would change the answer are refused."""
    plain = complete(tiny, FIRST, max_tokens=8)
    for fields in (*OFF, *NOT_SAID):
        found = complete(tiny, FIRST, max_tokens=8, **fields)
        assert found["choices"] == plain["choices"]
        assert found["usage"]["prompt_tokens"] == plain["usage"]["prompt_tokens"]
        assert post(tiny, "/chat", {"messages": FIRST, "max_new_tokens": 1, **fields}).status == 200
    for query in ("enable_thinking=false", "thinking=false", "reasoning_effort=none"):
        assert get(tiny, "/chat?prompt=a&max_new_tokens=1&" + query).status == 200


@pytest.mark.parametrize("path", [CHAT, "/chat"])
@pytest.mark.parametrize("field, param", ON)
def test_switching_thinking_on_without_thinking(tiny, path, field, param):
    reply = post(tiny, path, {"messages": HELLO, **field})
    assert reply.status == 400
    assert reply.error["code"] == "unsupported" and reply.error["param"] == param
    assert param in reply.error["message"]


@pytest.mark.parametrize(
    "fields, code, param",
    [
        ({"enable_thinking": "false"}, "invalid_type", "enable_thinking"),
        ({"chat_template_kwargs": {"enable_thinking": 0}}, "invalid_type", "enable_thinking"),
        ({"chat_template_kwargs": []}, "invalid_type", "chat_template_kwargs"),
        ({"thinking": "on"}, "invalid_type", "thinking"),
        ({"thinking": {"type": 1}}, "invalid_type", "thinking"),
        ({"thinking": {"type": "some"}}, "invalid_value", "thinking"),
        ({"thinking": {}}, "invalid_value", "thinking"),
        ({"thinking": {"type": "enabled", "budget_tokens": 99}}, "unsupported", "thinking"),
        ({"reasoning_effort": "high"}, "unsupported", "reasoning_effort"),
        ({"reasoning_effort": 1}, "invalid_type", "reasoning_effort"),
    ],
)
def test_invalid_fields_for_thinking(qwen3, fields, code, param):
    reply = post(qwen3, CHAT, {"messages": HELLO, **fields})
    assert reply.status == 400
    assert reply.error["code"] == code and reply.error["param"] == param


def test_arguments_of_templates(qwen3, server_factory, make_tiny_model, tmp_path):
    """None of the known templates reads another name; a template that is not known might."""
    plain = complete(qwen3, max_tokens=2)
    found = complete(qwen3, max_tokens=2, chat_template_kwargs={"style": 1, "none": None})
    assert found["choices"] == plain["choices"]
    other = tmp_path / "unknown.jinja"
    other.write_text("{{ messages[0].content }}{{ style }}")
    model = make_tiny_model("--architecture", "qwen3", "--template", str(other))
    server = server_factory("--offline", model=model)
    assert chosen(server)["by"] == "fallback"
    reply = post(server, CHAT, {"messages": HELLO, "chat_template_kwargs": {"style": 1}})
    assert reply.status == 400 and reply.error["param"] == "chat_template_kwargs"
    assert "style" in reply.error["message"]
    server.end()


def chosen(server):
    return get(server, "/health").json()["chat_template"]


def prompt_tokens(server, **fields):
    return complete(server, max_tokens=1, **fields)["usage"]["prompt_tokens"]


def test_the_same_template_written_differently(qwen3, server_factory, make_tiny_model, tmp_path):
    """It is recognised as qwen3: the prompt has the same tokens, and thinking can be switched off."""
    assert chosen(qwen3) == {"name": "qwen3", "by": "exact text"}
    text = QWEN3_TEMPLATE.read_text()
    other = tmp_path / "other.jinja"
    other.write_text(text.replace("message.role", "message['role']").replace("{%- ", "{%-   ") + "\n")
    assert other.read_text() != text
    model = make_tiny_model("--architecture", "qwen3", "--template", str(other))
    server = server_factory("--offline", model=model)
    assert chosen(server) == {"name": "qwen3", "by": "normal form"}
    server.log_with("chat template qwen3 (by normal form)")
    for fields in ({}, {"enable_thinking": False}):
        assert prompt_tokens(server, **fields) == prompt_tokens(qwen3, **fields)
    server.end()


def test_an_unknown_template_and_the_option(server_factory, make_tiny_model, tmp_path):
    """The fallback is ChatML with a warning; --chat-template overrides it."""
    unknown = tmp_path / "unknown.jinja"
    unknown.write_text("{% for m in messages %}{{ m.role ~ m.content }}{% endfor %}")
    model = make_tiny_model("--template", str(unknown))
    server = server_factory("--offline", model=model)
    assert chosen(server) == {"name": "chatml", "by": "fallback"}
    server.log_with("an unknown chat template, using chatml")
    server.log_with("--chat-template NAME")
    plain = prompt_tokens(server)
    server.end()
    server = server_factory("--offline", "--chat-template", "qwen2.5", model=model)
    assert chosen(server) == {"name": "qwen2.5", "by": "option"}
    server.log_with("chat template qwen2.5 (by option)")
    assert prompt_tokens(server) > plain  # Qwen's default system message
    server.end()


def test_names_of_templates(run_kinglet, tiny_model_path):
    """--help of every command that renders prompts lists the names; the error for another name does, too."""
    wrong = run_kinglet("chat", "--model", tiny_model_path, "--chat-template", "qwen", "hello", check=False)
    assert wrong.returncode == 2
    said = re.search(r"there is no chat template 'qwen'; there are (.*)", wrong.stderr.decode())
    names = said.group(1).split(", ")
    assert len(names) == 13
    for command in ("serve", "chat", "bench", "eval", "doctor"):
        text = " ".join(run_kinglet(command, "--help").stdout.decode().split())
        option = text[text.index("--chat-template NAME") :]
        for name in names:
            assert re.search(rf"\b{re.escape(name)}\b", option), (command, name)
    for name in names:
        run_kinglet("chat", "--model", tiny_model_path, "--chat-template", name, "--max-tokens", "1", "hi")
