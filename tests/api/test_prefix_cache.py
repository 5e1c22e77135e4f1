"""The prefix cache saves computing a prompt again: for the next turn, after a restart, for greetings;
and never across API keys. The text is the same in all cases."""

import time
from pathlib import Path

import pytest
from api_client import CHAT, health, post, wait_until

LONG = "The quick brown fox jumps over the lazy dog and the cat looks on. " * 12
QUESTION = [
    {"role": "system", "content": LONG},
    {"role": "user", "content": "What does the cat do?"},
]
PAGE = 32  # tokens of a page on disk


def ask(server, messages, key=None):
    """Returns the text, the number of prompt tokens, and how many of these were cached."""
    body = {"messages": messages, "temperature": 0, "max_tokens": 20}
    reply = post(server, CHAT, body, {"Authorization": f"Bearer {key}"} if key else None)
    assert reply.status == 200, reply.body
    answer = reply.json()
    usage = answer["usage"]
    text = answer["choices"][0]["message"]["content"]
    return text, usage["prompt_tokens"], usage["prompt_tokens_details"]["cached_tokens"]


@pytest.fixture
def cache(tmp_path):
    """A separate cache directory, since other tests send the same prompts."""
    return {"XDG_CACHE_HOME": str(tmp_path)}


def test_the_next_turn_computes_only_new_tokens(start_server, cache):
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
    assert longer > n and n - 8 <= cached < longer  # up to the beginning of the assistant's turn
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
        ask(server, QUESTION)  # pages that the disk was too slow for are offered again
    directory = Path(cache["XDG_CACHE_HOME"]) / "kinglet" / "prefixes"
    wait_until(lambda: len(list(directory.glob("*.page"))) >= n // PAGE, "pages on disk")
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


def wait_until_warm(server, keys):
    """Waits until the last greeting is precomputed; they are computed in order."""

    def is_known():
        time.sleep(0.05)  # computed while no request runs
        _, n, cached = ask(server, [{"role": "user", "content": "Who are you?"}], next(keys))
        return cached == n - 1

    wait_until(is_known, "the last greeting")


def costs(server, key):
    """Returns the costs of the question for a key, which determine its time: cached tokens, computed
    tokens, steps, pages from disk."""

    def counted():
        s = health(server, key)["statistics"]
        return [s["tokens"]["prompt"], s["steps"], s["disk_pages"]["found"]]

    before = counted()
    _, _, cached = ask(server, QUESTION, key)
    return [cached, *(after - first for after, first in zip(counted(), before))]


def test_keys_share_nothing(start_server, cache, key_file):
    """A question that another key has asked costs as much as the first time: neither the figures nor
    the work differ, in memory or after a restart. Without drafts, whose number depends on the speed."""
    keys = iter(KEYS[3:])
    server = start_server("--offline", "--draft-max", 0, "--api-key-file", key_file, env=cache)
    wait_until_warm(server, keys)
    first = costs(server, KEYS[0])
    assert first[0] < PAGE < first[1] and first[3] == 0  # cached: the common beginning of all greetings
    assert costs(server, KEYS[1]) == first
    again = costs(server, KEYS[0])
    assert again[0] == sum(first[:2]) - 1 and again[1] == 1  # the question of the same key is cached
    directory = Path(cache["XDG_CACHE_HOME"]) / "kinglet" / "prefixes"
    pages = sum(first[:2]) // PAGE

    def all_are_on_disk():
        for key in KEYS[:2]:
            costs(server, key)  # pages that the disk was too slow for are offered again
        return len(list(directory.glob("*.page"))) >= 2 * pages

    wait_until(all_are_on_disk, "pages on disk")
    server.stop()

    server = start_server("--offline", "--draft-max", 0, "--api-key-file", key_file, env=cache)
    wait_until_warm(server, keys)
    assert costs(server, KEYS[2]) == first
    known, _, _, found = costs(server, KEYS[0])
    assert found > 0 and known > first[0]


def test_greetings_are_precomputed(start_server, cache, key_file, tmp_path):
    """Each key asks once, so that it finds nothing that it computed itself."""
    file = tmp_path / "greetings"
    file.write_text("Good morning, Kinglet!\n\n" + LONG + "\n")
    server = start_server("--offline", "--warm", file, "--api-key-file", key_file, env=cache)
    keys = iter(KEYS)
    for text in ("Good morning, Kinglet!", LONG, "你好", "hello"):
        messages = [{"role": "user", "content": text}]
        answers = set()

        def is_known(messages=messages, answers=answers):
            time.sleep(0.2)  # computed while no request runs
            answer, n, cached = ask(server, messages, next(keys))
            answers.add(answer)
            return cached == n - 1

        wait_until(is_known, "a greeting that is known")
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


def test_an_unwritable_disk(start_server, cache, tmp_path):
    (tmp_path / "kinglet").mkdir(mode=0o700)
    (tmp_path / "kinglet" / "prefixes").write_text("a file, not a directory")
    server = start_server("--offline", env=cache)
    text, n, _ = ask(server, QUESTION)
    assert ask(server, QUESTION) == (text, n, n - 1)
    server.log_with("prompts are not kept on disk")
