"""kinglet doctor --model FILE before its first use: whether it runs, fits, and how fast it will be."""

import json
import os
import re
import shlex
import struct

import pytest
from split_model import split

GOOD, WARNINGS, BROKEN = 0, 1, 5
U32, STRING = 4, 8


@pytest.fixture
def doctor(run_kinglet, tmp_path):
    """doctor(model, *args) -> (exit code, findings), with a cache directory in which nothing is."""

    def run(model, *args):
        done = run_kinglet("doctor", "--json", "--model", model, *args, check=False,
                           env={"XDG_CACHE_HOME": str(tmp_path / "cache")})  # fmt: skip
        found = json.loads(done.stdout)
        codes = {"good": GOOD, "note": GOOD, "warning": WARNINGS, "broken": BROKEN}
        assert done.returncode == codes[found["status"]], done.stderr
        return done.returncode, found["findings"]

    return run


@pytest.fixture
def changed(tiny_model_path, tmp_path):
    """changed(old, new) -> a copy of the tiny model in which these bytes, of equal length, are others."""

    def change(old, new):
        data = tiny_model_path.read_bytes()
        assert len(old) == len(new) and data.count(old) == 1
        path = tmp_path / "changed.gguf"
        path.write_bytes(data.replace(old, new))
        return path

    return change


def string(text):
    return struct.pack("<Q", len(text)) + text.encode()


def found(findings, part):
    matching = [f for f in findings if part in f["text"]]
    assert matching, f"nothing about {part!r} in {findings}"
    return matching[0]


def broken(findings):
    return [f for f in findings if f["weight"] == "broken"]


def test_a_model_that_was_not_used_yet(doctor, tiny_model_path, tmp_path):
    code, findings = doctor(tiny_model_path)
    assert code != BROKEN, findings
    assert "qwen2, 3 layers of width 256" in found(findings, "made for contexts")["text"]
    types = found(findings, " tensors")
    assert types["area"] == "types" and types["weight"] == "good"
    assert {"Q5_0", "Q8_0", "Q6_K", "Q4_K", "F32"} == set(re.findall(r"(\w+) [\d.]+ [kM]?B in", types["text"]))
    assert "661 tokens" in found(findings, "pre-tokenizer qwen2")["text"]
    assert "<|im_end|>" in found(findings, "an answer ends with")["text"]
    assert found(findings, "serve takes at most")["weight"] == "good"
    assert "are free" in found(findings, "the first start packs")["text"]
    for speed in ("answers", "prompts"):
        text = found(findings, f"{speed}: ")["text"]
        low, high = map(float, re.search(r"([\d.e+]+) to ([\d.e+]+) tokens/s are expected", text).groups())
        assert 0 < low < high
    assert "--measure" in found(findings, "was not used on this computer yet")["remedy"]
    assert not (tmp_path / "cache" / "kinglet" / "packed").exists()


@pytest.mark.parametrize("content, said", [
    (b"", "empty"),
    (b"<!DOCTYPE html><html>", "web page"),
    (b"PK\x03\x04" + bytes(100), "not"),
    (b"GGUF\x03\0\0\0" + b"\xff" * 40, "n_tensors"),
])  # fmt: skip
def test_files_that_are_no_models(doctor, tmp_path, content, said):
    path = tmp_path / "foreign.gguf"
    path.write_bytes(content)
    code, findings = doctor(path)
    assert code == BROKEN
    assert [said in f["text"] for f in broken(findings)] == [True], broken(findings)


def test_a_directory(doctor, tmp_path):
    code, findings = doctor(tmp_path)
    assert code == BROKEN and len(broken(findings)) == 1


def test_a_truncated_file(doctor, tiny_model_path, tmp_path):
    path = tmp_path / "short.gguf"
    path.write_bytes(tiny_model_path.read_bytes()[:-100_000])
    code, findings = doctor(path)
    assert code == BROKEN
    assert ["truncated" in f["text"] for f in broken(findings)] == [True]


def test_a_type_that_is_not_supported(doctor, changed, tiny_model_path):
    """All types are listed, with those that are not read here."""
    data = tiny_model_path.read_bytes()
    at = data.index(string("blk.1.ffn_gate.weight"))
    directory = data[at : at + 8 + 21 + 4 + 16 + 4]
    path = changed(directory, directory[:-4] + struct.pack("<I", 19))
    code, findings = doctor(path)
    assert code == BROKEN
    types = found(findings, "IQ1_S")
    found(findings, "is not supported")
    listed = next(f for f in findings if f["area"] == "types")
    assert "in 1 tensor (not supported)" in listed["text"] and "Q8_0" in listed["text"]
    assert types in broken(findings) and "Q4_K" in listed["remedy"]


def test_an_unknown_architecture_and_tokenizer(doctor, changed, tmp_path):
    """Each reason is a finding, and what is known is told in spite of it."""
    key = string("general.architecture") + struct.pack("<I", STRING)
    path = changed(key + string("qwen2"), key + string("qwenX"))
    key = string("tokenizer.ggml.model") + struct.pack("<I", STRING)
    data = path.read_bytes()
    path.write_bytes(data.replace(key + string("gpt2"), key + string("gptX")))
    code, findings = doctor(path)
    assert code == BROKEN
    assert {f["area"] for f in broken(findings)} == {"file", "tokenizer"}
    assert "these are" in found(findings, "qwenX")["text"]
    assert next(f for f in findings if f["area"] == "types")["weight"] == "good"


@pytest.mark.parametrize("eos, weight, said", [
    (5, "warning", "which is text and no control token"),
    (100_000, "note", "tokenizer.ggml.eos_token_id"),
])  # fmt: skip
def test_bad_ends(doctor, changed, tiny_model_path, eos, weight, said):
    key = string("tokenizer.ggml.eos_token_id") + struct.pack("<I", U32)
    data = tiny_model_path.read_bytes()
    at = data.index(key)
    old = data[at : at + len(key) + 4]
    code, findings = doctor(changed(old, key + struct.pack("<I", eos)))
    assert found(findings, said)["weight"] == weight
    found(findings, "an answer ends with")


def test_a_model_in_several_files(doctor, tiny_model_path, tmp_path):
    parts = split(tiny_model_path, tmp_path / "tiny", 20)
    code, findings = doctor(parts[0])
    assert code != BROKEN
    assert found(findings, "made for contexts")["text"].endswith(f"; in {len(parts)} files")
    parts[1].unlink()
    code, findings = doctor(parts[0])
    assert code == BROKEN and [parts[1].name in f["text"] for f in broken(findings)] == [True]


def test_an_unknown_template(doctor, make_tiny_model, tmp_path):
    template = tmp_path / "template.jinja"
    template.write_text("{% for m in messages %}[{{ m.role }}] {{ m.content }}{% endfor %}")
    code, findings = doctor(make_tiny_model("--template", str(template)))
    assert code == WARNINGS
    template = found(findings, "chat template chatml, by fallback")
    assert template["weight"] == "warning" and "--chat-template" in template["remedy"]


def test_memory_that_is_too_small(doctor, tiny_model_path):
    code, findings = doctor(tiny_model_path, "--memory", "20M")
    assert code == BROKEN
    memory = found(findings, "more than the 21.0 MB that --memory allows")
    assert "even for one conversation" in memory["cost"] and "raise the limit" in memory["remedy"]
    found(findings, "it does not fit, so it was not opened")


def plan_of(server):
    return float(re.search(r"memory: +([\d.]+) MB  in all", server.log_with("in all"))[1])


def test_what_is_said_to_fit_starts(doctor, start_server, make_tiny_model):
    """The plan is that of serve; where its defaults do not fit, the command that is proposed starts."""
    model = make_tiny_model("--context", "65536")
    said = found(doctor(model)[1], "serve takes at most")["text"]
    whole = float(re.search(r"at most ([\d.]+) MB", said)[1])
    assert "or one of 65536 (--ctx-size 65536 --parallel 1)" in said
    assert abs(whole - plan_of(start_server("--offline", model=model))) < 5
    code, findings = doctor(model, "--ctx-size", 65536, "--memory", "85M")
    least = found(findings, "serve needs")
    assert code == WARNINGS and "the 89.1 MB that --memory allows" in least["text"]
    assert least["cost"] == "it does not start"
    words = shlex.split(least["remedy"])
    assert words[:4] == ["kinglet", "serve", "--model", os.fspath(model)]
    assert words[4:7:2] == ["--ctx-size", "--parallel"] and int(words[5]) < 65536
    start_server("--offline", "--memory", "85M", *words[4:], model=model)


def test_a_server_has_its_own_model(run_kinglet, tiny_model_path):
    done = run_kinglet("doctor", "--model", tiny_model_path, "--url", "127.0.0.1:1", check=False)
    assert done.returncode == 2 and b"give one of them" in done.stderr
