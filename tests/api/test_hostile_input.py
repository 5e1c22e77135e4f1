"""Hostile input of tokenize and eval: endless files, arbitrary bytes, no lines, far too many tokens,
directories. Each command ends by itself, within bounds, with an error that names the file."""

import os
import random
import subprocess
import unicodedata

import numpy as np
import pytest
from api_client import get

MB = 1 << 20


@pytest.fixture
def run(run_kinglet, tiny_model_path):
    """run(command, *args, input=b"", check=True) on the tiny model."""

    def go(command, *args, **options):
        return run_kinglet(command, "--model", tiny_model_path, *args, **options)

    return go


def complaint(done, code=1):
    assert done.returncode == code, (done.returncode, done.stderr)
    lines = [x for x in done.stderr.decode().splitlines() if x.startswith("kinglet ")]
    assert len(lines) == 1, done.stderr
    assert done.stdout == b""
    return lines[0]


@pytest.mark.parametrize(
    "args",
    [("tokenize",), ("tokenize", "--decode"), ("eval", "--ppl")],
    ids=["tokenize", "decode", "ppl"],
)
def test_endless_input(run, args):
    """At most 256 MiB are read."""
    text = complaint(run(args[0], *args[1:], "/dev/zero", check=False))
    assert "/dev/zero is larger than 268435456 bytes" in text


@pytest.mark.parametrize(
    "args",
    [("tokenize", "{}"), ("tokenize", "--decode", "{}"), ("eval", "--ppl", "{}"),
     ("eval", "--tokens", "{}", "--logits", "{}/x.npy")],
    ids=["tokenize", "decode", "ppl", "tokens"],
)  # fmt: skip
def test_a_directory(run, tmp_path, args):
    args = [a.format(tmp_path) for a in args]
    assert f"{tmp_path}: Is a directory" in complaint(run(*args, check=False))


def test_any_bytes_become_text(run):
    data = bytes(range(256)) * 40 + random.Random(1).randbytes(3000)
    data += b"\xf0\x9f\x98 \xed\xa0\x80 \xc2\x9b\xe2\x80\xae"
    ids = run("tokenize", "--ids", input=data).stdout
    text = unicodedata.normalize("NFC", data.decode(errors="replace"))
    assert run("tokenize", "--decode", input=ids).stdout.decode() == text
    pieces = run("tokenize", input=data).stdout.decode()  # one line each, and only printable text
    assert len(pieces.splitlines()) == len(ids.split())
    assert all(line.replace("\t", "").isprintable() for line in pieces.splitlines())


@pytest.mark.parametrize("data", [b"1 2\0 3", b"\0", b"\xef\xbb\xbf1\0"])
def test_ids_after_a_nul_are_not_ignored(run, tmp_path, data):
    path = tmp_path / "ids"
    path.write_bytes(data)
    assert f"{path} is not text: it has a NUL byte" in complaint(run("tokenize", "--decode", path, check=False))
    out = tmp_path / "out.npy"
    done = run("eval", "--tokens", path, "--logits", out, check=False)
    assert f"{path} is not text: it has a NUL byte" in complaint(done)
    assert not out.exists()
    done = run("tokenize", "--decode", input=data, check=False)
    assert "standard input is not text" in complaint(done)


def test_a_byte_order_mark_before_ids(run):
    assert run("tokenize", "--decode", input=b"\xef\xbb\xbf1 2").stdout == run(
        "tokenize", "--decode", input=b"1 2"
    ).stdout


@pytest.mark.parametrize("option", ["--api-key-file", "--warm"])
def test_lines_after_a_nul_are_not_ignored(run, tmp_path, option):
    """A key that was silently ignored would be refused later without an explanation."""
    path = tmp_path / "lines"
    path.write_bytes(b"first-key\n\0second-key\n")
    path.chmod(0o600)
    line = complaint(run("serve", "--offline", option, path, check=False))
    assert f"{path} is not text: it has a NUL byte after 10 bytes" in line


def test_a_byte_order_mark_before_keys(start_server, tmp_path):
    path = tmp_path / "keys"
    path.write_bytes(b"\xef\xbb\xbffirst-key\r\n")
    path.chmod(0o600)
    server = start_server("--offline", "--api-key-file", path)
    assert get(server, "/v1/models", {"Authorization": "Bearer first-key"}).status == 200


@pytest.mark.parametrize(
    "text, code, said",
    [
        ("1 2 3\n\n4 x\n", 2, 'line 3: "x" is not a token id'),
        ("1\n" + "7 " * 5000, 1, "line 2: a sequence of 5000 tokens, where this model was made for 4096"),
        ("1\n" * 65537, 1, "line 65537: more than 65536 sequences"),
        ("[[[[" * 1000, 2, 'line 1: "[[[['),
        ("\xff\n", 2, "line 1: "),
        ("\n\n", 2, "holds no sequence of token ids"),
        ("", 2, "holds no sequence of token ids"),
    ],
)
def test_invalid_sequences(run, tmp_path, text, code, said):
    path, out = tmp_path / "ids", tmp_path / "out.npy"
    path.write_text(text, encoding="latin-1")
    line = complaint(run("eval", "--tokens", path, "--logits", out, check=False), code)
    assert str(path) in line and said in line
    assert not out.exists()


def test_many_sequences_need_the_memory_of_one(kinglet, tiny_model_path, tmp_path, faults):
    """Sequences reuse the same memory, where all at once would not fit. (Not under sanitizers, which
    need more than this limit themselves: the fixture `faults` leaves it out there.)"""
    path, out = tmp_path / "ids", tmp_path / "out.npy"

    def go(*more):
        return subprocess.run(
            ["prlimit", f"--data={64 * MB}", str(kinglet), "eval", "--model", str(tiny_model_path),
             "--threads", "1", "--tokens", str(path), "--logits", str(out), *more],
            capture_output=True, timeout=120,
        )  # fmt: skip

    path.write_text("1 2 3\n" * 5000)
    assert "memory" in complaint(go("--together"))
    done = go()
    assert done.returncode == 0, done.stderr
    alone = np.load(out)
    assert alone.shape[0] == 15000
    path.write_text("1 2 3\n" * 5)
    assert go("--together").returncode == 0
    assert np.array_equal(np.load(out), alone[:15])


def test_no_partial_result_remains(kinglet, tiny_model_path, tmp_path):
    path, out = tmp_path / "ids", tmp_path / "out.npy"
    path.write_text("1 2 3\n" * 50)
    for limit in (100, 50000):  # in the header, in the rows
        done = subprocess.run(
            ["prlimit", f"--fsize={limit}", str(kinglet), "eval", "--model", str(tiny_model_path),
             "--tokens", str(path), "--logits", str(out)], capture_output=True, timeout=120,
        )  # fmt: skip
        assert f"cannot write {out}: File too large" in complaint(done)
        assert not out.exists()


@pytest.mark.parametrize("out", ["/dev/full", "/", "/nowhere/x"])
def test_unwritable_output_paths(run, tmp_path, out):
    path = tmp_path / "ids"
    path.write_text("1 2 3\n")
    line = complaint(run("eval", "--tokens", path, "--logits", out, check=False))
    assert f"cannot write {out}" in line or f"cannot create {out}" in line
    assert os.path.exists("/dev/full")
