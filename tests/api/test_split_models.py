"""Models in several files: the parts are read as they are, and what is wrong with them is said by name."""

import re
import shutil
import struct
import time

import pytest
from api_client import complete, get
from split_model import part_of, split

TICK = 0.05  # seconds; a file that was changed later than that is not remembered


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def parts(tiny_model_path, tmp_path):
    """The tiny model in three parts or more."""
    (tmp_path / "m").mkdir()
    paths = split(tiny_model_path, tmp_path / "m" / "tiny-q4", 10)
    assert len(paths) > 2
    time.sleep(TICK)
    return paths


@pytest.fixture
def chat(run_kinglet, cache):
    """chat(model) -> CompletedProcess of one greedy answer, with the test's own cache."""

    def chat(model, check=True):
        env = {"XDG_CACHE_HOME": str(cache), "LOG_LEVEL": "info", "KINGLET_MODEL": ""}
        return run_kinglet("chat", "-m", model, "-t", 1, "-n", 8, "--temperature", 0, "hi",
                           env=env, check=check)  # fmt: skip

    return chat


def refused(chat, model, *words):
    done = chat(model, check=False)
    text = done.stderr.decode()
    assert done.returncode == 1 and done.stdout == b"", text
    for word in words:
        assert word in text, text
    return text


def rewrite(path, change):
    data = bytearray(path.read_bytes())
    change(data)
    path.write_bytes(data)


def set_key(name, form, value):
    """Changes the value of a scalar key, which is found by its name and type."""

    def change(data):
        at = data.index(name) + len(name) + 4
        struct.pack_into("<" + form, data, at, value)

    return change


def test_parts_answer_as_the_whole_and_share_its_weights(chat, cache, parts, tiny_model_path):
    first = chat(parts[0])
    assert f"in {len(parts)} files".encode() in first.stderr
    assert b"kept for the next start" in first.stderr
    again = chat(parts[0])
    assert b", mapped)" in again.stderr
    whole = chat(tiny_model_path)
    assert first.stdout == again.stdout == whole.stdout
    assert len(list((cache / "kinglet" / "packed").glob("*.packed"))) == 1


def test_a_change_of_any_part_is_seen(chat, parts):
    before = chat(parts[0]).stdout
    size = parts[-1].stat().st_size
    rewrite(parts[-1], lambda data: data.__setitem__(slice(size - 3000, size), bytes(3000)))
    time.sleep(TICK)
    done = chat(parts[0])
    assert b"kept for the next start" in done.stderr  # packed anew
    assert chat(parts[0]).stdout == done.stdout and before is not None


def test_the_server_names_it_and_knows_its_digest(start_server, cache, parts, tiny_model_path):
    server = start_server("--offline", "-t", 1, model=parts[0], env={"XDG_CACHE_HOME": str(cache)})
    assert complete(server, [{"role": "user", "content": "hi"}], max_tokens=4)["model"] == "tiny-q4"
    listed = get(server, "/api/tags").json()["models"][0]
    assert listed["size"] == sum(path.stat().st_size for path in parts)
    assert re.fullmatch("(sha256:)?[0-9a-f]{64}", listed["digest"])


def test_parts_in_the_models_directory_have_a_name(run_kinglet, cache, parts):
    models = cache / "kinglet" / "models"
    models.mkdir(parents=True)
    for path in parts:
        shutil.move(path, models)
    env = {"XDG_CACHE_HOME": str(cache), "KINGLET_MODEL": ""}
    done = run_kinglet("pull", "--offline", "TINY-q4", env=env)
    assert done.stdout.decode() == f"{models / parts[0].name}\n"


def test_other_commands_read_parts_too(run_kinglet, cache, parts, tmp_path):
    env = {"XDG_CACHE_HOME": str(cache), "KINGLET_MODEL": ""}
    text = tmp_path / "text"
    text.write_text("one two three four five " * 20)
    assert run_kinglet("tokenize", "--model", parts[0], text, env=env).stdout
    done = run_kinglet("eval", "--model", parts[0], "--ctx-size", 64, "--ppl", text, env=env)
    assert b"erplexity" in done.stdout


@pytest.mark.parametrize("which", [1, -1], ids=["second", "last"])
def test_a_missing_part_is_named(chat, parts, which):
    parts[which].unlink()
    refused(chat, parts[0], str(parts[which]), "No such file", f"a model in {len(parts)} files")


def test_a_later_part_names_the_first(chat, parts):
    refused(chat, parts[1], f"part 2 of {len(parts)}", f"name the first of them, {parts[0].name}")


def test_a_part_with_another_name_is_refused(chat, parts, tmp_path):
    alone = tmp_path / "alone.gguf"
    shutil.copy(parts[0], alone)
    refused(chat, alone, f"part 1 of {len(parts)}", f"end in -00001-of-{len(parts):05}.gguf")


def test_a_wrong_order_is_refused(chat, parts):
    swapped = parts[1].with_suffix(".tmp")
    parts[1].rename(swapped)
    parts[2].rename(parts[1])
    swapped.rename(parts[2])
    refused(chat, parts[0], parts[1].name, f"expected part 2 of {len(parts)}", "found part 3")


@pytest.mark.parametrize(
    "name, change, words",
    [
        (1, set_key(b"split.no", "H", 0), "expected part 2"),
        (1, set_key(b"split.count", "H", 1), "found part 1 of 1"),
        (1, set_key(b"split.tensors.count", "i", 7), "of another model than the first part"),
        (1, lambda data: data.__delitem__(slice(0, None)), "is empty"),
        (1, lambda data: data.__delitem__(slice(-5000, None)), "truncated"),
        (1, lambda data: data.__setitem__(slice(0, 4), b"GGUM"), "not a GGUF file"),
        (0, set_key(b"split.count", "H", 60000), "end in -00001-of-60000.gguf"),
    ],
)
def test_damaged_parts_are_refused(chat, parts, name, change, words):
    rewrite(parts[name], change)
    refused(chat, parts[0], parts[name].name, words)


def test_parts_of_different_models_are_refused(chat, parts):
    """Without the count of tensors, by their names and number."""
    shutil.copy(parts[1], parts[2])
    rewrite(parts[2], set_key(b"split.no", "H", 2))
    refused(chat, parts[0], "the parts are of different models", "found a duplicate")
    n_all = struct.unpack_from("<i", parts[0].read_bytes(),
                               parts[0].read_bytes().index(b"split.tensors.count") + 23)[0]  # fmt: skip
    parts[2].write_bytes(part_of(2, len(parts), n_all, [(b"other", [32], 0, bytes(128))]))
    refused(chat, parts[0], f"expected {n_all} tensors in all parts")


def key(name, kind, value):
    return struct.pack("<Q", len(name)) + name + struct.pack("<I", kind) + value


def test_parts_that_name_another_model_are_refused(chat, parts):
    """Those of gguf-split do not name it; others may."""
    n_all = struct.unpack_from("<i", parts[0].read_bytes(),
                               parts[0].read_bytes().index(b"split.tensors.count") + 23)[0]  # fmt: skip
    name = key(b"general.name", 8, struct.pack("<Q", 5) + b"other")
    parts[1].write_bytes(part_of(1, len(parts), n_all, [(b"other", [32], 0, bytes(128))], (1, name)))
    refused(chat, parts[0], "00002-of-", "of another model than the first part: general.name differs")


def test_too_many_parts_are_refused(chat, tmp_path, parts):
    many = tmp_path / "m-00001-of-00129.gguf"
    shutil.copy(parts[0], many)
    rewrite(many, set_key(b"split.count", "H", 129))
    refused(chat, many, "expected at most 128 parts, found 129")
