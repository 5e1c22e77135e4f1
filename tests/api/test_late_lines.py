"""Late lines: with a clock in the system message, only the clock and the question are computed again."""

import random

import pytest
from api_client import CHAT, complete, get, health, post

PAGE = 32  # tokens of a page of the cache

# As Home Assistant writes it: homeassistant/helpers/llm.py, components/conversation/chat_log.py.
CLOCK = "Current time is 12:34:{:02}. Today's date is 2026-11-28."
INSTRUCTIONS = """You are a voice assistant for Home Assistant.
Answer questions about the world truthfully.
Answer in plain text. Keep it simple and to the point.
When controlling Home Assistant always call the intent tools. Use HassTurnOn to lock and HassTurnOff to \
unlock a lock. When controlling a device, prefer passing just name and domain.
You are in area Kitchen and all generic commands like 'turn on the lights' should target this area.
Static Context: An overview of the areas and the devices in this smart home:
- names: Ceiling light
  domain: light
  areas: Kitchen"""
OLD = CLOCK + "\n" + INSTRUCTIONS  # until 2025
NEW = INSTRUCTIONS + "\n" + CLOCK

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": f"HassTool{i}",
            "description": f"Turns on device {i}",
            "parameters": {"type": "object", "properties": {"name": {"type": "string"}}},
        },
    }
    for i in range(30)
]


def request(system, question, second):
    messages = [{"role": "system", "content": system.format(second)}, {"role": "user", "content": question}]
    return {"messages": messages, "tools": TOOLS, "max_tokens": 1, "temperature": 0}


def ask(server, system, question, second):
    """Returns how many tokens the prompt had, and how many of them were computed."""
    usage = complete(server, **request(system, question, second))["usage"]
    return usage["prompt_tokens"], usage["prompt_tokens"] - usage["prompt_tokens_details"]["cached_tokens"]


@pytest.fixture
def open_server(start_server, make_tiny_model, tmp_path):
    """open_server(*options) -> a server with room for the tools, each of which has some 100 tokens here,
    and a cache of its own."""
    model = make_tiny_model("--context", "16384")

    def start(*options):
        env = {"XDG_CACHE_HOME": str(tmp_path)}
        return start_server("--offline", "--ctx-size", 16384, "--cache-ram", "1G", *options,
                            model=model, env=env)  # fmt: skip

    return start


@pytest.mark.parametrize("system", [OLD, NEW], ids=["clock first", "clock last"])
def test_the_second_request_of_home_assistant(open_server, system):
    server = open_server("--late-lines", "home-assistant")
    total, first = ask(server, system, "Turn on the light", 1)
    assert first > total - PAGE * 2
    _, second = ask(server, system, "And now the heating, please", 2)
    assert second < 0.15 * first
    assert "kinglet_late_lines_total 4" in get(server, "/metrics").body.decode()  # time and area
    server.log_with("that match \"home-assistant\" are moved")


FUNCTIONS = [tool["function"] for tool in TOOLS]
# path: the fields of a request with this system message and question, as its clients send it
DIALECTS = {
    "/api/chat": lambda system, question: {
        "model": "default", "stream": False, "keep_alive": "-1s", "tools": TOOLS,
        "options": {"num_ctx": 8192, "num_predict": 1, "temperature": 0},
        "messages": [{"role": "system", "content": system}, {"role": "user", "content": question}],
    },
    "/v1/responses": lambda system, question: {
        "instructions": system, "input": question, "max_output_tokens": 16, "store": False,
        "tools": [{"type": "function", **function} for function in FUNCTIONS],
    },
    "/v1/messages": lambda system, question: {
        "system": system, "max_tokens": 1, "messages": [{"role": "user", "content": question}],
        "tools": [{"name": f["name"], "description": f["description"], "input_schema": f["parameters"]}
                  for f in FUNCTIONS],
    },
}  # fmt: skip


@pytest.mark.parametrize("path", DIALECTS)
def test_each_dialect(open_server, path):
    server = open_server("--late-lines", "home-assistant")

    def computed(question, second):
        before = health(server)["statistics"]["tokens"]["prompt"]
        reply = post(server, path, DIALECTS[path](NEW.format(second), question))
        assert reply.status == 200, reply.body
        return health(server)["statistics"]["tokens"]["prompt"] - before

    first = computed("Turn on the light", 1)
    assert first > 1000
    assert computed("And now the heating, please", 2) < 0.15 * first


@pytest.mark.parametrize("system", [OLD, NEW], ids=["clock first", "clock last"])
def test_without_the_option(open_server, system):
    """The template puts the tools behind the system message, so that all of them are computed again."""
    server = open_server()
    _, first = ask(server, system, "Turn on the light", 1)
    _, second = ask(server, system, "And now the heating, please", 2)
    assert second > 0.5 * first
    assert "kinglet_late_lines_total 0" in get(server, "/metrics").body.decode()


@pytest.mark.parametrize("template", ["qwen2", "qwen2.5", "qwen3", "qwen3-thinking-2507", "smollm2", "chatml"])
def test_the_prompt_is_that_of_a_second_system_message(start_server, template):
    """The answer, and the number of tokens, are those of the conversation with the line moved: every
    template has a place for a system message between turns."""
    plain = start_server("--offline", "--chat-template", template)
    moving = start_server("--offline", "--chat-template", template, "--late-lines", "^The time is [0-9:]+$")
    fields = {"temperature": 0, "max_tokens": 20}

    def answer(server, *messages):
        names = {"s": "system", "u": "user", "a": "assistant"}
        found = complete(server, [{"role": names[m[0]], "content": m[2:]} for m in messages], **fields)
        return found["choices"][0]["message"]["content"], found["usage"]["prompt_tokens"]

    moved = answer(moving, "s:Be brief.\nThe time is 12:30\nBe kind.", "u:Hi", "a:Hello", "u:What now?")
    assert moved == answer(plain, "s:Be brief.\nBe kind.", "u:Hi", "a:Hello", "s:The time is 12:30", "u:What now?")
    kept = ("s:Be brief.\nThe time is late\nBe kind.", "u:The time is 12:30")
    assert answer(moving, *kept) == answer(plain, *kept)


def test_a_template_with_one_system_message_keeps_its_lines(start_server):
    """DeepSeek's writes only the last one: a second would take the place of the instructions."""
    options = ("--offline", "--chat-template", "deepseek-r1-distill")
    messages = [{"role": "system", "content": "Be brief.\nThe time is 12:30"}, {"role": "user", "content": "Hi"}]
    answers = []
    for late in ((), ("--late-lines", "^The time is [0-9:]+$")):
        server = start_server(*options, *late)
        found = complete(server, messages, temperature=0, max_tokens=8)
        answers.append((found["choices"][0]["message"], found["usage"]["prompt_tokens"]))
    assert answers[0] == answers[1]


@pytest.mark.parametrize("pattern, word", [
    ("(a)\\1", b"back references"), ("(", b"expected ')'"), ("", b"empty line"), (".*", b"empty line"),
    ("\\bnow", b"boundaries"), ("(a{99}){99}", b"limit"), ("x" * 2000, b"1024 bytes"),
])  # fmt: skip
def test_refused_patterns(run_kinglet, tiny_model_path, pattern, word):
    done = run_kinglet("serve", "--offline", "--model", tiny_model_path, "--port", 0, "--late-lines",
                       pattern, check=False)  # fmt: skip
    assert done.returncode == 2
    assert b"--late-lines" in done.stderr and word in done.stderr


def test_a_hostile_text_costs_little(start_server):
    """A pattern whose automaton has 2^40 states, and a text that would reach many of them."""
    server = start_server("--offline", "--late-lines", "^Now|(a|b)*a(a|b){40}c$", "--ctx-size", 4096)
    draw = random.Random(1)
    text = "Now\n" + "\n".join("".join(draw.choices("ab", k=400)) for _ in range(500))
    body = {"messages": [{"role": "system", "content": text}, {"role": "user", "content": "q"}]}
    assert post(server, CHAT, body).status == 400  # too long for the context
    server.log_with("--late-lines: a request took more steps than it may")
    assert complete(server, max_tokens=1)
    assert health(server)["resident_bytes"] < 1 << 30
