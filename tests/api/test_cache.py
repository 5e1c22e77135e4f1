"""The cache directory: files shared by models, removal of files, `kinglet cache`; and files that
others put there."""

import hashlib
import json
import os
import re
import shutil
import struct
import subprocess
import time

import pytest
from api_client import complete, health, wait_until

PAGE = 32  # tokens
TICK = 0.05  # seconds; a file that was changed later than that is not remembered


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache" / "kinglet"


@pytest.fixture
def chat(run_kinglet, cache):
    """chat(model) -> (answer, log), with the test's own cache."""

    def chat(model, *args, check=True):
        env = {"XDG_CACHE_HOME": str(cache.parent), "LOG_LEVEL": "info", "KINGLET_MODEL": ""}
        done = run_kinglet("chat", "-m", model, "-t", 1, "-n", 8, "--temperature", 0, *args, "hi",
                           env=env, check=check)
        return done.stdout, done.stderr.decode()

    return chat


@pytest.fixture
def run_cache(run_kinglet, cache):
    """run_cache(*args) -> CompletedProcess of `kinglet cache`."""
    env = {"XDG_CACHE_HOME": str(cache.parent)}
    return lambda *args, check=True: run_kinglet("cache", *args, env=env, check=check)


@pytest.fixture
def serve(start_server, cache):
    def serve(model, *args):
        env = {"XDG_CACHE_HOME": str(cache.parent)}
        return start_server("--offline", "-t", 1, *args, model=model, env=env)

    return serve


@pytest.fixture
def copy(tiny_model_path, tmp_path):
    """copy(name, change=None) -> a copy of the tiny model, changed by a function of its bytes."""

    def copy(name, change=None):
        content = bytearray(tiny_model_path.read_bytes())
        if change:
            change(content)
        path = tmp_path / name
        path.write_bytes(content)
        time.sleep(TICK)
        return path

    return copy


def files(cache, suffix):
    return sorted(p for p in (cache / "packed").glob("*" + suffix))


def say(server, text="hi", system="Be brief."):
    messages = [{"role": "system", "content": system}, {"role": "user", "content": text}]
    said = complete(server, messages, temperature=0, max_tokens=8)
    usage = said["usage"]
    return said["choices"][0]["message"]["content"], usage["prompt_tokens_details"]["cached_tokens"]


# ---- what is shared ------------------------------------------------------------------------------


def rename_in_header(content):
    """Another general.name of the same length."""
    at = content.index(b"general.name") + len("general.name") + 4 + 8
    content[at] = ord("X")


def test_names_links_and_headers_share_one_packed_file(chat, copy, cache, tiny_model_path, tmp_path):
    expected, log = chat(tiny_model_path)
    assert "prepared, and kept" in log
    (packed,) = files(cache, ".packed")
    before = packed.stat()
    link = tmp_path / "link.gguf"
    link.symlink_to(tiny_model_path)
    for model in (link, copy("copy.gguf"), copy("header.gguf", rename_in_header), tiny_model_path):
        answer, log = chat(model)
        assert answer == expected and "mapped" in log, log
        again, log = chat(model)
        assert again == expected and "mapped" in log
    assert files(cache, ".packed") == [packed]
    assert (packed.stat().st_ino, packed.stat().st_size) == (before.st_ino, before.st_size)
    assert len(files(cache, ".tokenizer")) == 1
    assert not files(cache, ".tmp")


def test_other_weights_are_another_file(chat, copy, cache, tiny_model_path):
    """Changes the last byte, which belongs to a tensor; a change of a norm, which is in no packed file,
    counts, too."""

    def change_last(content):
        content[-1] ^= 1

    chat(tiny_model_path)
    chat(copy("last.gguf", change_last))
    assert len(files(cache, ".packed")) == 2
    assert len(files(cache, ".tokenizer")) == 1


def test_an_overwritten_model_file(chat, copy, cache, make_tiny_model):
    """The file keeps its name, inode and size, but has other content: nothing of the old one is used."""
    model = copy("model.gguf")
    first, _ = chat(model)
    other = make_tiny_model("--seed", "2")
    assert other.stat().st_size == model.stat().st_size
    expected, _ = chat(other)
    assert len(files(cache, ".packed")) == 2
    with open(model, "r+b") as f:
        f.write(other.read_bytes())
    assert chat(model)[0] == expected
    assert len(files(cache, ".packed")) == 2


def test_the_index_saves_reading_the_model(chat, cache, tiny_model_path):
    """The second start recognises the file without reading it, and packs and writes nothing."""
    time.sleep(TICK)
    chat(tiny_model_path)
    index = cache / "packed" / "index"
    text, inode = index.read_text(), index.stat().st_ino
    assert [line[0] for line in text.splitlines()[1:-1]] in (["t", "v"], ["v", "t"])
    chat(tiny_model_path)
    assert index.stat().st_ino == inode
    index.write_text(text.replace("t ", "t f", 1))  # damaged: only the index is written again
    _, log = chat(tiny_model_path)
    assert "mapped" in log and index.read_text() == text
    assert len(files(cache, ".packed")) == 1


def test_cached_prompts_depend_on_the_content(serve, copy, cache, tiny_model_path):
    """Another name or other metadata have the same pages; other weights do not."""
    rules = "Answer only when the moon is full. " * 12

    def change_last(content):
        content[-1] ^= 1

    server = serve(tiny_model_path)
    text, cached = say(server, system=rules)
    assert server.stop() == 0 and cached < PAGE
    server = serve(copy("header.gguf", rename_in_header))
    again, cached = say(server, system=rules)
    assert again == text and cached > 3 * PAGE
    assert health(server)["statistics"]["disk_pages"]["found"] > 3
    assert server.stop() == 0
    server = serve(copy("last.gguf", change_last))
    say(server, system=rules)
    assert health(server)["statistics"]["disk_pages"]["found"] == 0


def test_concurrent_starts(kinglet, copy, cache):
    """Starts two names of one content, and the same file twice, at the same time."""
    models = [copy("one.gguf"), copy("two.gguf")] * 2
    env = {**os.environ, "XDG_CACHE_HOME": str(cache.parent)}
    started = [
        subprocess.Popen([kinglet, "chat", "-m", m, "-t", "1", "-n", "4", "--temperature", "0", "hi"],
                         env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE)
        for m in models
    ]
    said = [p.communicate(timeout=120) for p in started]
    assert [p.returncode for p in started] == [0] * 4, said
    assert len({out for out, _ in said}) == 1
    assert len(files(cache, ".packed")) == 1 and not files(cache, ".tmp")


# ---- removal -------------------------------------------------------------------------------------


def test_a_refused_model_leaves_nothing(chat, copy, cache):
    def another_architecture(content):
        at = content.index(b"general.architecture") + len("general.architecture") + 4 + 8
        content[at : at + 5] = b"qwenX"

    _, log = chat(copy("refused.gguf", another_architecture), check=False)
    assert "qwenX" in log
    assert not list(cache.glob("packed/*"))


OLD_PAGE = "0" * 64 + "-" + "1" * 64 + ".kv"


def test_files_of_older_versions(serve, cache, tiny_model_path):
    """They are removed at the first start of this version, which is logged once."""
    for name in ("packed", "prefixes"):
        (cache / name).mkdir(parents=True, mode=0o700)
    old = [cache / "packed" / f"tiny.gguf.0123456789abcdef.{s}"
           for s in ("packed", "tokenizer", "packed.tmp")]
    old.append(cache / "prefixes" / OLD_PAGE)
    mine = [cache / "packed" / "notes.txt", cache / "prefixes" / "notes.kv"]
    for file in old + mine:
        file.write_bytes(bytes(100_000))
    server = serve(tiny_model_path, "--log-level", "info")
    say(server)
    log = server.log_with("pages of prompts of an older version")
    assert len(re.findall(r"removed 3 files \(0.3 MB\) of an older version", log)) == 1
    assert len(re.findall("removed 1 pages of prompts of an older version", log)) == 1
    assert not any(f.exists() for f in old) and all(f.exists() for f in mine)
    assert server.stop() == 0
    server = serve(tiny_model_path, "--log-level", "info")
    say(server)
    assert "older version" not in server.log_text()


# ---- kinglet cache -------------------------------------------------------------------------------


def items(run_cache):
    listed = json.loads(run_cache("--json").stdout)["items"]
    return {i["kind"]: i for i in listed}


def test_list_and_clean(serve, run_cache, cache, tiny_model_path):
    assert items(run_cache) == {}
    before = int(time.time())
    (cache / "models").mkdir(parents=True, mode=0o700)
    model = cache / "models" / "mine.gguf"
    shutil.copy(tiny_model_path, model)
    time.sleep(TICK)
    server = serve("mine")
    say(server, system="Answer only when the moon is full. " * 12)
    pages = cache / "prefixes"
    wait_until(lambda: len(list(pages.glob("*.page"))) > 3, "pages")
    found = items(run_cache)
    assert set(found) == {"model", "weights", "tokenizer", "prompts"}
    assert all(i["in_use"] for i in found.values())
    assert found["model"]["name"] == "mine.gguf"
    assert found["weights"]["models"] == "mine.gguf" == found["tokenizer"]["models"]
    assert found["weights"]["bytes"] >= files(cache, ".packed")[0].stat().st_size // 2
    assert all(before - 2 <= found[k]["last_use"] <= time.time() + 2 for k in found)
    text = run_cache().stdout.decode()
    assert str(cache) in text and "mine.gguf" in text and "kinglet cache clean" in text

    # nothing that is in use is removed
    done = run_cache("clean").stdout.decode()
    assert "Freed 0 B" in done and "running processes use are kept" in done
    done = run_cache("clean", "mine", check=False)
    assert done.returncode == 1 and b"in use" in done.stderr
    assert set(items(run_cache)) == set(found)
    say(server)
    assert server.stop() == 0

    # without names, all but the models
    assert not any(i["in_use"] for i in items(run_cache).values())
    freed = json.loads(run_cache("clean", "--json").stdout)
    assert freed["files"] > 5 and freed["bytes"] > 1_000_000
    assert set(items(run_cache)) == {"model"} and model.exists()
    server = serve("mine")
    say(server)
    assert server.stop() == 0
    run_cache("clean", "mine")
    assert not model.exists() and not files(cache, ".packed")
    assert "weights" not in items(run_cache) and "prompts" in items(run_cache)


@pytest.mark.parametrize("args, code, text", [
    (("clean", "none"), 1, b"no model none"),
    (("clean", "../x"), 2, b"cannot be the name of a model"),
    (("cleen",), 2, b"expected clean or no argument"),
])
def test_wrong_usage(run_cache, args, code, text):
    done = run_cache(*args, check=False)
    assert done.returncode == code and text in done.stderr


# ---- other users ----------------------------------------------------------------------------------


def temporary_name(model, packed):
    """src/model/weights.c: the file is named after the model file while it is written."""
    s = model.stat()
    facts = struct.pack("<QQQqq", s.st_dev, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns)
    return hashlib.sha256(facts).hexdigest()[:32] + packed.name[32:] + ".tmp"


@pytest.mark.parametrize("hard", [False, True], ids=["symbolic", "hard"])
def test_planted_links_are_not_written_through(chat, cache, copy, tmp_path, hard):
    """Plants a link at each name that a start writes below packed/."""
    model = copy("model.gguf")
    expected, _ = chat(model)
    (packed,), (tables,) = files(cache, ".packed"), files(cache, ".tokenizer")
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    names = [packed.name, temporary_name(model, packed), tables.name, tables.name + ".tmp",
             "index", "index.tmp"]
    for name in names:
        for file in list((cache / "packed").iterdir()):
            file.unlink()
        planted = cache / "packed" / name
        planted.hardlink_to(victim) if hard else planted.symlink_to(victim)
        answer, log = chat(model)
        assert answer == expected, name
        assert "into memory" not in log.split("weights ready")[1].splitlines()[0], name
        assert victim.read_text() == "untouched", name
        assert not planted.is_symlink() and not files(cache, ".tmp"), name
        assert packed.is_file() and tables.is_file() and not packed.is_symlink()
    assert victim.stat().st_nlink == 1


def test_links_to_directories_are_refused(chat, cache, tiny_model_path, tmp_path):
    """The link is not followed, and the answer is given anyway."""
    expected, _ = chat(tiny_model_path)
    shutil.move(cache / "packed", tmp_path / "elsewhere")
    (cache / "packed").symlink_to(tmp_path / "elsewhere")
    answer, log = chat(tiny_model_path)
    assert answer == expected
    assert "is a symbolic link" in log and "XDG_CACHE_HOME" in log and "into memory" in log


def test_the_cache_of_another_user(chat, cache, tiny_model_path):
    """Nothing is read or written there, the answer is the same, and the log has advice."""
    expected, _ = chat(tiny_model_path)
    before = {f: f.stat().st_mtime_ns for f in cache.rglob("*")}
    if os.geteuid() == 0:
        os.chown(cache, 1, 1)
    else:
        cache.rename(cache.with_name("mine"))
        cache.symlink_to("/usr")
    answer, log = chat(tiny_model_path)
    assert answer == expected
    assert "belongs to user" in log and "XDG_CACHE_HOME" in log and "into memory" in log
    if os.geteuid() == 0:
        assert {f: f.stat().st_mtime_ns for f in cache.rglob("*")} == before


def test_a_readable_cache_is_made_private(chat, cache, tiny_model_path):
    chat(tiny_model_path)
    cache.chmod(0o777)
    (cache / "packed").chmod(0o777)
    _, log = chat(tiny_model_path)
    assert "mapped" in log
    assert cache.stat().st_mode & 0o022 == 0 and (cache / "packed").stat().st_mode & 0o077 == 0


def test_a_file_replaced_while_it_is_mapped(serve, chat, cache, copy, tmp_path):
    """A server continues with the file it mapped; the next start checks the new one."""
    model = copy("model.gguf")
    server = serve(model)
    expected = [say(server, f"Lamp {n}?")[0] for n in range(3)]
    (packed,), (tables,) = files(cache, ".packed"), files(cache, ".tokenizer")
    for file in (packed, tables):
        other = tmp_path / "other"
        other.write_bytes(bytes(file.stat().st_size))
        os.replace(other, file)
    assert [say(server, f"Lamp {n}?")[0] for n in range(3)] == expected
    assert server.stop() == 0
    server = serve(model)
    assert [say(server, f"Lamp {n}?")[0] for n in range(3)] == expected
    server.log_with("damaged and are made again")


def test_changed_pages_never_change_a_text(serve, cache, tiny_model_path):
    """Changes each region of a page's file in turn, one prompt each: the damage is found, and the page
    is computed again."""
    header = 8 + 4 + 4 + 8 + 32 + 4 * PAGE + 8
    rules = "Answer only when the moon is full. " * 12

    def ask_all(server, n):
        return [say(server, system=f"{i}: {rules}") for i in range(n)]

    def regions(size):
        yield from (0, 8, 12, 16, 24, 56, header - 8, header)  # the header's fields, the first key
        yield from (header + (size - header) * i // 6 for i in range(1, 6))
        yield size - 1

    pages = cache / "prefixes"
    server = serve(tiny_model_path)
    first = ask_all(server, 1)
    wait_until(lambda: len(list(pages.glob("*.page"))) > 3, "pages")
    at = list(regions(next(pages.glob("*.page")).stat().st_size))
    expected = ask_all(server, len(at))
    assert server.stop() == 0 and expected[0][0] == first[0][0]
    # the first page of a prompt continues no other page
    names = [p.name[:-len(".page")].split("-") for p in pages.glob("*.page")]
    keys = {key for key, _ in names}
    roots = sorted("-".join(n) for n in names if n[1] not in keys)
    assert len(roots) >= len(at)
    for i, root in enumerate(roots):
        file = pages / (root + ".page")
        content = bytearray(file.read_bytes())
        content[at[i % len(at)]] ^= 1 << i % 8
        file.write_bytes(content)
    server = serve(tiny_model_path)
    again = ask_all(server, len(at))
    assert [text for text, _ in again] == [text for text, _ in expected]
    counted = health(server)["statistics"]["disk_pages"]
    assert counted["damaged"] >= len(at) and counted["found"] == 0
