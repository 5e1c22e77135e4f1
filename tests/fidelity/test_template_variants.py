"""Recognition of chat templates: the same template written differently is recognised, a different one is
not; a recognised template always renders the same bytes as Jinja2.

The templates are derived from four: those of the test models, qwen3.jinja and deepseek-r1.jinja (from
deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B, MIT). Variants in substance are
changes found in published models; variants in form are made with Jinja2's own lexer.
"""

import json
import random
import subprocess
from pathlib import Path

import pytest
from gguf_file import GgufFile
from jinja2.sandbox import ImmutableSandboxedEnvironment
from test_chat_template import FORGED, PLAIN, THOUGHTS, Reader, conversation, packed

ENVIRONMENT = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
ENVIRONMENT.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
N_CONVERSATIONS = 150


def replaced(text, *changes):
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    return text


@pytest.fixture(scope="module")
def sources(model_path, smollm_path):
    """{name: text} of templates of published models."""
    qwen2_5 = GgufFile(model_path).metadata["tokenizer.chat_template"]
    smollm2 = GgufFile(smollm_path).metadata["tokenizer.chat_template"]
    qwen3 = (Path(__file__).parent / "qwen3.jinja").read_text()
    deepseek = (Path(__file__).parent / "deepseek-r1.jinja").read_text()
    only_text = (
        "    {%- if message.content is string %}\n        {%- set content = message.content %}\n"
        "    {%- else %}\n        {%- set content = '' %}\n    {%- endif %}\n"
    )
    loop, turn = "{%- for message in messages %}\n", "'\\n' + message.content + '<|im_end|>'"
    july = replaced(
        qwen3,
        ("and not(message.content.starts", "and message.content is string and not(message.content.starts"),
        (loop, loop + only_text),
        (turn, "'\\n' + content + '<|im_end|>'"),
        ("        {%- set content = message.content %}\n        {%- set reasoning", "        {%- set reasoning"),
        ("is defined and message.reasoning_content is not none", "is string"),
        ("'</think>' in message.content", "'</think>' in content"),
        ("                {%- set content = message.content.split('</think>')[-1].lstrip('\\n') %}\n", ""),
        (
            "reasoning_content = message.content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}",
            "reasoning_content = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}"
            "{%- set content = content.split('</think>')[-1].lstrip('\\n') %}",
        ),
        ("{{- message.content }}", "{{- content }}"),
    )
    prompt = july[july.index("    {{- '<|im_start|>assistant\\n' }}") :]
    thinking = replaced(july, (prompt, "{{- '<|im_start|>assistant\\n<think>\\n' }}{%- endif %}"))
    begin = july.index("        {%- set reasoning_content = '' %}")
    end = july.index("        {%- if message.tool_calls %}")
    instruct = july[:begin] + "{{- '<|im_start|>' + message.role + '\\n' + content }}" + july[end:]
    begin, end = instruct.index("{%- set ns ="), instruct.index(loop)
    instruct = instruct[:begin] + instruct[end:]
    return {
        "qwen2": replaced(
            smollm2,
            ("a helpful AI assistant named SmolLM, trained by Hugging Face", "a helpful assistant."),
        ),
        "qwen2.5": qwen2_5,
        "qwen2.5-gguf": replaced(qwen2_5, ('{\\"name', '{{\\"name'), ("object>}", "object>}}")),
        "qwen3": qwen3,
        "qwen3 of july": july,
        "qwen3-gguf": replaced(
            qwen3,
            ("message in messages[::-1]", "index in range(ns.last_query_index, -1, -1)"),
            ("set index = (messages|length - 1) - loop.index0", "set message = messages[index]"),
            ("message.content.startswith('<tool_response>')", "'<tool_response>' in message.content"),
            ("message.content.endswith('</tool_response>')", "'</tool_response>' in message.content"),
        ),
        "qwen3-instruct-2507": replaced(instruct, (prompt, "{{- '<|im_start|>assistant\\n' }}{%- endif %}")),
        "qwen3-instruct-unsloth": replaced(
            thinking,
            ("<think>\\n' }}{%- endif", "' }}{%- endif"),
            ("if loop.last or (not loop.last and reasoning_content)", "if reasoning_content"),
        ),
        "qwen3-thinking-2507": thinking,
        "smollm2": smollm2,
        "deepseek-r1-distill": deepseek,
        "deepseek-r1-distill-first": replaced(deepseek, ("<think>\\n", "")),
        "chatml": smollm2[: smollm2.index("{% if loop.first")] + smollm2[smollm2.index("{{'<|im_start|>' + m") :],
    }


# ---- variants in form ----


def retold(text, change):
    """Rewrites a template; change: a function of a token (kind, value) and the output before it."""
    out = []
    for _, kind, value in ENVIRONMENT.lex(text):
        out.append((kind, change(kind, value, out)))
    return "".join(value for _, value in out)


def quoted(text, quote, newline):
    def change(kind, value, _):
        if kind != "string":
            return value
        plain = value[1:-1].encode("ascii", "backslashreplace").decode("unicode-escape")
        for raw, escaped in (("\\", "\\\\"), (quote, "\\" + quote), ("\n", newline)):
            plain = plain.replace(raw, escaped)
        return quote + plain + quote

    return retold(text, change)


def subscripted(text):
    """Writes .x as ['x'], except in assignments to a namespace."""

    def change(kind, value, out):
        said = [v for k, v in out if k != "whitespace"]
        if kind == "operator" and value == "." and said[-2:] != ["set", "ns"]:
            return ""
        if kind == "name" and out[-1] == ("operator", ""):
            return f"['{value}']"
        return value

    return retold(text, change)


def attributed(text):
    return text.replace("['role']", ".role").replace("['content']", ".content")


def minified(text):
    """Removes whitespace between tags, and whitespace control."""

    def change(kind, value, _):
        if kind == "data" and not value.strip():
            return ""
        if kind.endswith("_begin"):
            return value.removesuffix("-")
        return value.strip().removeprefix("-") if kind.endswith("_end") else value

    return retold(text, change)


def spread(text):
    """Adds spaces within tags, a line for each tag, and a comment before it."""

    def change(kind, value, _):
        if kind in ("block_begin", "variable_begin"):
            return "{#- a comment with {{ tags }} -#}\n    " + value.rstrip("-") + "-  \t"
        if kind.endswith("_end"):
            return "\n  -" + value.strip().removeprefix("-") + "\n\n"
        return value + " \n" if kind == "operator" and value in "+=([" else value

    return retold(text, change)


def capital(text):
    return text.replace("=true", "=True").replace("= false", "= False")


FORMS = {
    "as published": lambda t: t,
    "double quotes": lambda t: quoted(t, '"', "\\n"),
    "single quotes, newlines as they are": lambda t: quoted(t, "'", "\n"),
    "subscripts": subscripted,
    "attributes": attributed,
    "no whitespace control": minified,
    "much whitespace and comments": spread,
    "capitals": capital,
    "carriage returns": lambda t: t.replace("\n", "\r\n"),
    "a newline more or less": lambda t: t.removesuffix("\n") if t.endswith("\n") else t + "\n",
    "all together": lambda t: spread(subscripted(quoted(minified(t), '"', "\n"))).replace("\n", "\r\n"),
}


# ---- recognition and rendering ----


@pytest.fixture(scope="module")
def render(build_dir, tiny_model_path, tmp_path_factory):
    """call(source, ...) -> the template that render_stdin recognises, and the rendered conversations."""
    program = build_dir / "tests" / "fidelity" / "render_stdin"
    file = tmp_path_factory.mktemp("template") / "template.jinja"

    def call(source, conversations=(), family=""):
        file.write_bytes(source if isinstance(source, bytes) else source.encode())
        done = subprocess.run(
            [program, tiny_model_path, file],
            input=b"".join(packed(c, family) for c in conversations),
            capture_output=True,
            check=True,
        )
        reader, texts = Reader(done.stdout), []
        for _ in conversations:
            texts.append(reader.array("u1").tobytes().decode())
            reader.array("<u4", 2), reader.array("<i4")
        return *done.stderr.decode().strip().split(": "), texts

    return call


def some_conversations(name, n):
    """Plain ChatML has no format for tools: kinglet's own is used there, and not compared. Nothing is written of
    tools for DeepSeek's distilled models, which were not trained for them."""
    rng, out = random.Random(11), []
    while len(out) < n:
        c = conversation(rng, PLAIN + THOUGHTS + FORGED, thinks=name in ("qwen3", "qwen3-gguf"))
        if name == "chatml" or name.startswith("deepseek"):
            c["tools"] = []
            c["messages"] = [{"role": m["role"], "content": m["content"]} for m in c["messages"] if m["role"] != "tool"]
        if c["messages"]:
            out.append(c)
    return out


def assert_same(source, conversations, texts):
    template = ENVIRONMENT.from_string(source)
    for c, text in zip(conversations, texts, strict=True):
        assert text == template.render(bos_token="<｜begin▁of▁sentence｜>", **c), json.dumps(c, ensure_ascii=False)


NAMES = (
    "qwen2", "qwen2.5", "qwen2.5-gguf", "qwen3", "qwen3 of july", "qwen3-gguf", "qwen3-instruct-2507",
    "qwen3-instruct-unsloth", "qwen3-thinking-2507", "smollm2", "deepseek-r1-distill", "deepseek-r1-distill-first", "chatml",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_each_form_is_recognised_and_rendered_as_by_jinja(render, sources, name):
    expected = name.removesuffix(" of july")
    conversations = some_conversations(expected, N_CONVERSATIONS)
    changed = 0
    for form, rewrite in FORMS.items():
        source = rewrite(sources[name])
        changed += source != sources[name]
        found, by, texts = render(source, conversations, expected[:5])
        assert found == expected, form
        assert by in ("exact text", "normal form")
        assert_same(source, conversations, texts)
    assert changed >= 6


def test_text_outside_of_tags(render):
    source = (
        "{% for message in messages %}{% if loop.first and messages[0].role != 'system' %}<|im_start|>system\n"
        "You are a helpful assistant.<|im_end|>\n{% endif %}<|im_start|>{{ message.role }}\n{{ message.content }}"
        "<|im_end|>\n{% endfor %}\n{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    conversations = some_conversations("qwen2", 50)
    found, by, texts = render(source, conversations)
    assert (found, by) == ("qwen2", "normal form")
    assert_same(source, conversations, texts)


def test_templates_that_jinja_refuses_are_not_recognised(render, sources):
    """`is false` is a test of Jinja, `is False` is not."""
    source = replaced(sources["qwen3"], ("is false", "is False"))
    assert render(source)[:2] == ("chatml", "fallback")


def test_another_system_message_is_another_template(render, sources):
    for name in ("qwen2", "qwen2.5", "smollm2"):
        source = sources[name].replace("helpful", "careful")
        assert render(source)[:2] == ("chatml", "fallback")


@pytest.mark.parametrize("name", ["qwen2.5", "qwen3", "smollm2"])
def test_damaged_templates_are_recognised_only_if_the_output_is_the_same(render, sources, name):
    """One random position is damaged: a template that is still recognised renders the same as Jinja2."""
    rng = random.Random(5)
    conversations = some_conversations(name, 12)
    unknown = known = 0
    for _ in range(90):
        source = sources[name]
        at = rng.randrange(len(source))
        new = rng.choice(["", "", " ", "\n", "-", "'", '"', "+", "{", "}", "%", "\\", source[at] * 2, "x"])
        source = source[:at] + new + source[at + 1 :]
        found, by, texts = render(source, conversations, name)
        if by == "fallback":
            assert found == "chatml"
            unknown += 1
        else:
            known += source != sources[name]
            assert_same(source, conversations, texts)
    assert unknown > 40 and known > 0


def test_hostile_templates(render):
    rng = random.Random(6)
    parts = [b"{{", b"}}", b"{%", b"%}", b"{#", b"#}", b"-", b"+", b"'", b'"', b"\\", b"\n", b"(", b")", b"a", b"\0", b"\xff"]
    hostile = [b"", b"{", b"{{", b"{%", b"{#", b"{{-", b"{{'", b"{{'\\", b"{{ a", b"{{)}}", b"{%%}", b"{{}}", b"{% raw %}"]
    hostile += [unit * (60000 // len(unit)) for unit in (b"{", b"{#", b"{{(", b"{{ a + ", b"{%-\n", b" ", b"{{''}}", b"{{a}}")]
    hostile += [b"{{ a" + b" + a" * 10000 + b" }}", b"x" * 1000000]
    hostile += [b"".join(rng.choices(parts, k=40)) for _ in range(60)]
    for source in hostile:
        assert render(source)[:2] == ("chatml", "fallback"), source[:80]
