"""What was computed for a prompt is not computed again: the next turn, after a restart, for
greetings; and never for somebody else. The text is the same in all cases."""

import time
from pathlib import Path

import pytest
from api_client import CHAT, health, post, wait_until

LONG = "The quick brown fox jumps over the lazy dog and the cat looks on. " * 12
QUESTION = [
    {"role": "system", "content": LONG},
    {"role": "user", "content": "What does the cat do?"},
]
PAGE = 32  # tokens that are kept together on disk


def ask(server, messages, key=None):
    """Text, prompt tokens, and how many of these were known."""
    body = {"messages": messages, "temperature": 0, "max_tokens": 20}
    reply = post(server, CHAT, body, {"Authorization": f"Bearer {key}"} if key else None)
    assert reply.status == 200, reply.body
    answer = reply.json()
    usage = answer["usage"]
    text = answer["choices"][0]["message"]["content"]
    return text, usage["prompt_tokens"], usage["prompt_tokens_details"]["cached_tokens"]


@pytest.fixture
def cache(tmp_path):
    """A cache directory of its own: other tests have asked the same before."""
    return {"XDG_CACHE_HOME": str(tmp_path)}


def test_next_turn_computes_only_what_is_new(start_server, cache):
    server = start_server("--offline", env=cache)
    text, n, cached = ask(server, QUESTION)
    assert n > 100 and cached < PAGE
    again, _, cached = ask(server, QUESTION)
    assert again == text and cached == n - 1

    turns = [
        *QUESTION,
        {"role": "assistant", "content": "It looks on."},
        {"role": "user", "content": "And the dog?"},
    ]
    _, longer, cached = ask(server, turns)
    assert longer > n and n - 8 <= cached < longer  # up to where the assistant's turn begins
    counted = health(server)["statistics"]["tokens"]
    assert counted["cached"] >= 2 * n - 10


def test_off(start_server, cache):
    server = start_server("--offline", "--cache-ram", 0, env=cache)
    texts = {ask(server, QUESTION)[::2] for _ in range(3)}
    assert len(texts) == 1 and texts.pop()[1] == 0


def test_restart(start_server, cache):
    server = start_server("--offline", env=cache)
    text, n, _ = ask(server, QUESTION)
    for _ in range(3):
        ask(server, QUESTION)  # pages that came too fast for the disk are offered again
    directory = Path(cache["XDG_CACHE_HOME"]) / "kinglet" / "prefixes"
    wait_until(lambda: len(list(directory.glob("*.page"))) >= n // PAGE, 60, "pages on disk")
    server.stop()
    server = start_server("--offline", env=cache)
    again, _, cached = ask(server, QUESTION)
    assert again == text and cached >= (n - 1) // PAGE * PAGE

    server = start_server("--offline", "--cache-disk", 0, env=cache)
    again, _, cached = ask(server, QUESTION)
    assert again == text and cached < PAGE


KEYS = [f"the-key-{i:03}" for i in range(250)]


@pytest.fixture
def key_file(tmp_path):
    file = tmp_path / "keys"
    file.write_text("\n".join(KEYS))
    file.chmod(0o600)
    return file


def test_keys_do_not_meet(start_server, cache, key_file):
    server = start_server("--offline", "--api-key-file", key_file, env=cache)
    text, n, _ = ask(server, QUESTION, KEYS[0])
    other, _, cached = ask(server, QUESTION, KEYS[1])
    assert other == text and cached < PAGE  # the beginning that all greetings have
    assert ask(server, QUESTION, KEYS[0]) == (text, n, n - 1)


def test_greetings_are_computed_ahead(start_server, cache, key_file, tmp_path):
    """Each key asks once, so what it finds is not its own."""
    file = tmp_path / "greetings"
    file.write_text("Good morning, Kinglet!\n\n" + LONG + "\n")
    server = start_server("--offline", "--warm", file, "--api-key-file", key_file, env=cache)
    keys = iter(KEYS)
    for text in ("Good morning, Kinglet!", LONG, "你好", "hello"):
        messages = [{"role": "user", "content": text}]
        answers = set()

        def is_known(messages=messages, answers=answers):
            time.sleep(0.2)  # it is computed while nobody asks
            answer, n, cached = ask(server, messages, next(keys))
            answers.add(answer)
            return cached == n - 1

        wait_until(is_known, 60, "a greeting that is known")
        assert len(answers) == 1


def test_refused_options(run_kinglet, tiny_model_path, tmp_path):
    done = run_kinglet("serve", "-m", tiny_model_path, "--warm", tmp_path / "none", check=False)
    assert done.returncode != 0 and b"none" in done.stderr
    file = tmp_path / "many"
    file.write_text("hello\n" * 65)
    done = run_kinglet("serve", "-m", tiny_model_path, "--warm", file, check=False)
    assert done.returncode != 0 and b"more than 64 lines" in done.stderr
    done = run_kinglet("serve", "-m", tiny_model_path, "--cache-ram", "much", check=False)
    assert done.returncode == 2 and b"--cache-ram takes" in done.stderr


def test_nothing_on_disk_when_it_can_not_be(start_server, cache, tmp_path):
    (tmp_path / "kinglet").mkdir(mode=0o700)
    (tmp_path / "kinglet" / "prefixes").write_text("a file, not a directory")
    server = start_server("--offline", env=cache)
    text, n, _ = ask(server, QUESTION)
    assert ask(server, QUESTION) == (text, n, n - 1)
    server.log_with("prompts are not kept on disk")
