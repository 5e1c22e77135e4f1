"""The prefix cache on disk: computed prompts are available after a restart, also after `kill -9`, and
the answers do not depend on it, even if the disk fails."""

import errno
import random
import re
import resource
import signal
import stat

import pytest
from api_client import CHAT, Connection, complete, health, wait_until

PAGE = 32  # tokens
MOONS = ["new", "waxing", "full", "waning", "red", "hidden"]


def rules(n):
    """Returns a system prompt; it has three times as many tokens for the tiny model as for the real one."""
    return " ".join(
        f"Rule {i}: answer questions about lamp number {i} only when the moon is {MOONS[i % 6]}."
        for i in range(n)
    )


RULES = rules(18)  # about 700 tokens of the tiny model
LONG_RULES = rules(54)  # over 1000 of the real one


def question(text, system=RULES):
    return [{"role": "system", "content": system}, {"role": "user", "content": text}]


def ask(server, messages, **fields):
    """Returns the greedy answer, and how many tokens of the prompt were cached."""
    said = complete(server, messages, temperature=0, max_tokens=24, **fields)
    usage = said["usage"]
    return (
        said["choices"][0]["message"]["content"],
        usage["prompt_tokens_details"]["cached_tokens"],
        usage["prompt_tokens"],
    )


@pytest.fixture
def start(start_server, share_prepared, tmp_path):
    """start(*args, model=None) -> Server. All servers of a test share one cache directory, which begins
    with only the files that take long to prepare."""
    share_prepared(tmp_path / "kinglet", "packed", "threads")

    def start(*args, model=None, env=None, **options):
        env = {"XDG_CACHE_HOME": str(tmp_path), **(env or {})}
        return start_server("--offline", *args, model=model, env=env, **options)

    return start


@pytest.fixture
def pages(tmp_path):
    """pages() -> the files of the cache, including partially written ones."""
    directory = tmp_path / "kinglet" / "prefixes"
    return lambda: sorted(directory.glob("*")) if directory.exists() else []


def disk(server):
    """Returns the server's statistics of the disk."""
    found = health(server)["statistics"]
    return {k.removeprefix("disk_"): v for k, v in found.items() if k.startswith("disk_")}


def wait_for_pages(pages, n):
    """Waits for n pages; they are written a little later than they are computed."""
    wait_until(lambda: sum(p.suffix == ".page" for p in pages()) >= n, f"{n} pages on disk")


def wait_for_no_unfinished(pages):
    """Waits until no file is left over; the server may just be writing one of its own."""
    wait_until(lambda: not any(p.name.startswith("writing.") for p in pages()), "finished files")


def check_restart(start, pages, model, system):
    with_nothing = start("--cache-disk", 0, "--cache-ram", 0, model=model)
    expected, cached, n_prompt = ask(with_nothing, question("Lamp 7?", system))
    assert with_nothing.stop() == 0
    assert cached == 0 and pages() == []

    first = start(model=model)
    before, _, n_prompt = ask(first, question("Lamp 3?", system))
    wait_for_pages(pages, n_prompt // PAGE)
    with Connection(first) as c:
        c.send("POST", CHAT, {"messages": question("Tell me all.", system), "stream": True})
        c.read_head()
        next(c.chunks())
        first.process.kill()
        first.process.wait()

    second = start(model=model)
    text, cached, n_prompt = ask(second, question("Lamp 7?", system))
    # all whole pages of the common prefix, which is all but the last words
    assert n_prompt - 2 * PAGE < cached < n_prompt
    assert text == expected
    text, cached, n_prompt = ask(second, question("Lamp 3?", system))
    assert n_prompt - 2 * PAGE < cached < n_prompt
    assert text == before
    wait_for_no_unfinished(pages)
    return n_prompt


def test_after_kill_9(start, pages, tiny_model_path):
    check_restart(start, pages, tiny_model_path, RULES)


def test_after_kill_9_with_the_real_model(start, pages, model_path):
    n_prompt = check_restart(start, pages, model_path, LONG_RULES)
    assert n_prompt > 1000


def test_damaged_pages_are_computed_again(start, pages):
    first = start()
    text, _, n_prompt = ask(first, question("Lamp 3?"))
    wait_for_pages(pages, n_prompt // PAGE)
    assert first.stop() == 0
    for i, path in enumerate(pages()):
        content = bytearray(path.read_bytes())
        if i % 3 == 0:
            content[len(content) * i // len(pages())] ^= 0x10
        elif i % 3 == 1:
            content = content[: len(content) // 2]
        path.write_bytes(content)
    second = start()
    again, cached, _ = ask(second, question("Lamp 3?"))
    assert again == text
    assert cached < n_prompt // 2
    counted = disk(second)["pages"]
    assert counted["damaged"] == 1 and counted["found"] == cached // PAGE
    assert second.stop() == 0
    third = start()  # and is valid again
    again, cached, _ = ask(third, question("Lamp 3?"))
    assert again == text and cached > n_prompt - 2 * PAGE


def test_other_users_cannot_read_the_cache(start, pages):
    server = start()
    _, _, n_prompt = ask(server, question("Lamp 3?"))
    wait_for_pages(pages, n_prompt // PAGE)
    assert stat.S_IMODE(pages()[0].parent.stat().st_mode) == 0o700
    assert {stat.S_IMODE(p.stat().st_mode) for p in pages()} == {0o600}


def test_keys_do_not_share(start, pages, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("key-of-one\nkey-of-two\n")
    body = {"messages": question("Lamp 3?"), "temperature": 0, "max_tokens": 4}

    def cached(server, key):
        with Connection(server) as c:
            c.send("POST", CHAT, body, {"Authorization": f"Bearer {key}"})
            usage = c.read().json()["usage"]
            assert usage["prompt_tokens"] > 500
            return usage["prompt_tokens_details"]["cached_tokens"]

    # some tokens are of precomputed greetings, which all keys share
    first = start("--api-key-file", keys)
    assert cached(first, "key-of-one") < PAGE
    assert cached(first, "key-of-two") < PAGE
    assert cached(first, "key-of-one") > 500
    assert first.stop() == 0  # writes pending pages
    keys.write_text("key-of-three\nkey-of-two\nkey-of-one\n")
    second = start("--api-key-file", keys)
    assert cached(second, "key-of-three") < PAGE
    assert cached(second, "key-of-two") > 500
    assert cached(second, "key-of-one") > 500


def test_a_full_disk(start, pages):
    """The size of files is limited: a write fails in the middle of a page, as on a full disk."""
    server = start()
    text = ask(server, question("Lamp 3?"))[0]
    assert server.stop() == 0  # writes pending pages
    server = start()
    size, before = pages()[0].stat().st_size, len(pages())
    limit = size // 2 + 4096
    assert server.log.stat().st_size < limit // 2  # the log grows a little, too
    old = resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    for n in range(4):
        ask(server, question(f"Lamp {n}?", f"{n} " + RULES))
    wait_until(lambda: "takes no more pages" in server.log_text(), "word of the full disk")
    assert len(pages()) == before
    assert ask(server, question("Lamp 3?"))[0] == text
    assert len(re.findall("takes no more pages", server.log_text())) == 1
    assert disk(server)["on"] == 0 and disk(server)["write_errors"] >= 1
    assert disk(server)["pages"]["dropped"] > 0
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, old)
    n = 10
    while "takes pages again" not in server.log_text():  # after this many dropped pages
        ask(server, question(f"Lamp {n}?", f"{n} " + RULES))
        n += 1
        assert n < 40
    wait_until(lambda: len(pages()) > before, "new pages")
    assert disk(server)["on"] == 1
    assert health(server)["requests_failed"] == 0


def test_the_cap(start, pages):
    server = start("--cache-disk", "1M")
    for n in range(4):
        ask(server, question(f"Lamp {n}?", f"{n} " + RULES))
    assert 0 < disk(server)["bytes"] <= 1 << 20 and disk(server)["on"] == 1
    assert server.stop() == 0
    assert 800_000 < sum(p.stat().st_size for p in pages()) <= 1 << 20


def test_off(start, pages):
    server = start("--cache-disk", 0)
    ask(server, question("Lamp 3?"))
    assert disk(server)["on"] == 0
    assert server.stop() == 0
    assert pages() == []


def test_pending_pages_are_written_at_the_end(start, pages):
    server = start()
    _, _, n_prompt = ask(server, question("Lamp 3?"))
    assert server.stop() == 0
    assert len(pages()) >= n_prompt // PAGE


# ---- faults --------------------------------------------------------------------------------------

CALLS = 4  # the calls that write a page: the file is created, written, closed, renamed
STORY = "The keeper writes down what he sees: a ship, a bird, a cloud, and again a ship. " * 4


def new_pages(n):
    """Returns a prompt that begins like the others and has some pages of its own."""
    return question(f"{n}: {STORY}")


@pytest.fixture
def uncached(start):
    """The answer without any cache."""
    server = start("--cache-disk", 0, "--cache-ram", 0)
    return lambda messages: ask(server, messages)[0]


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("lasting", [False, True], ids=["once", "lasting"])
def test_each_write_fails(start, pages, uncached, faults, error, lasting):
    """One of the calls that write pages fails, or all from it on: answers have the same bits, and pages
    that were not written are computed again."""
    for number in range(1, 3 * CALLS):
        server = start(env=faults.env)
        messages = new_pages(number)
        expected = uncached(messages)
        faults.disk_fails_at(number, error, lasting)
        assert ask(server, messages)[0] == expected
        wait_until(lambda: disk(server)["write_errors"] > 0, f"call {number} does not fail")
        assert disk(server)["on"] == 0
        assert ask(server, messages)[0] == expected
        assert health(server)["requests_failed"] == 0
        faults.disk_fails_at(0, 0)
        assert server.stop() == 0
        assert len(re.findall("takes no more pages", server.log_text())) == 1
    server = start()
    for number in range(1, 3 * CALLS):
        assert ask(server, new_pages(number))[0] == uncached(new_pages(number))
    assert disk(server)["pages"]["damaged"] == 0


def kill_in_write(server, faults, number, messages):
    """Kills the server at one of the calls that write the first pages of a new prompt."""
    faults.killed_at(number)
    try:
        ask(server, messages)
    except (EOFError, ConnectionError):
        pass  # the page was written before the answer arrived
    server.process.wait(60)


def kill_anywhere(server, moment, messages):
    """Kills the server before an answer, in its middle, or after it."""
    with Connection(server) as c:
        c.send("POST", CHAT, {"messages": messages, "stream": True, "max_tokens": 24})
        if moment > 0:
            c.read_head()
            chunks = c.chunks()
            for _ in range(3 if moment == 1 else 1000):
                if next(chunks, None) is None:
                    break
        server.process.kill()
        server.process.wait()


def test_killed_100_times(start, pages, uncached, faults):
    """Half of the kills happen while a page is being written: each start finds valid pages or none."""
    chance = random.Random(200)
    found = 0
    for i in range(100):
        server = start(env=faults.env)
        if i % 20 == 19:
            server.process.kill()  # no request was sent
            server.process.wait()
            continue
        text, cached, _ = ask(server, new_pages(i - 1))
        assert text == uncached(new_pages(i - 1))
        found += cached // PAGE
        assert disk(server)["pages"]["damaged"] == 0
        if i % 2 == 0:
            kill_in_write(server, faults, chance.randint(1, 3 * CALLS), new_pages(i))
        else:
            kill_anywhere(server, chance.randrange(3), new_pages(i))
        assert server.process.returncode == -signal.SIGKILL
    assert found > 100 * 15  # the pages that the prompts have in common, in most runs
    server = start()
    assert ask(server, new_pages(99))[0] == uncached(new_pages(99))
    wait_for_no_unfinished(pages)
