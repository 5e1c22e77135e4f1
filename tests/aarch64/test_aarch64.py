"""The program for aarch64, under qemu-user with the CPU of a Raspberry Pi 5.

KINGLET_BIN is the emulated program, KINGLET_NATIVE_BIN the one for this computer."""

import os
import subprocess
from pathlib import Path

import numpy as np
import openai
import pytest

PAGE_SIZES = (4096, 16384, 65536)  # of most kernels, of the Pi 5's, and the largest one
QUESTION = [{"role": "user", "content": "Hello"}]


def emulation(page_size=16384, cpu="cortex-a76"):
    return {"QEMU_CPU": cpu, "QEMU_PAGESIZE": str(page_size)}


@pytest.fixture(scope="session")
def programs(run_kinglet):
    """The native and the emulated program, as functions: arguments -> standard output. They share packed
    weights, which do not depend on the tier."""
    path = os.environ.get("KINGLET_NATIVE_BIN")
    assert path and Path(path).is_file(), "KINGLET_NATIVE_BIN names no program"

    def native(*args):
        command = [path, *map(str, args)]
        return subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=True
        ).stdout

    return native, lambda *args: run_kinglet(*args, env=emulation()).stdout


def test_the_program_is_for_aarch64(kinglet, run_kinglet, tiny_model_path):
    args = ("chat", "--model", tiny_model_path, "--log-level", "info", "-t", 1, "-n", 1, "Hello")
    for cpu, tier in (("cortex-a72", b"neon "), ("cortex-a76", b"neon-dotprod ")):
        assert b"kernels: " + tier in run_kinglet(*args, env=emulation(cpu=cpu)).stderr
    refused = run_kinglet("chat", "--cpu", "avx2", *args[1:], env=emulation(), check=False)
    assert refused.returncode != 0 and b"neon-dotprod" in refused.stderr


@pytest.mark.parametrize("page_size", PAGE_SIZES)
def test_a_chat_over_http(start_server, page_size):
    server = start_server("--offline", "-t", 2, "--kv-type", "int8", env=emulation(page_size))
    client = openai.OpenAI(base_url=server.base_url + "/v1", api_key="none")
    ask = {"model": "tiny", "messages": QUESTION, "max_tokens": 8, "temperature": 0}
    whole = client.chat.completions.create(**ask)
    assert whole.choices[0].message.content and whole.usage.completion_tokens == 8
    chunks = list(client.chat.completions.create(**ask, stream=True))
    streamed = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert streamed == whole.choices[0].message.content


def test_the_same_logits(programs, tiny_model_path, tmp_path):
    """Bit for bit: both tiers give the logits of the scalar one."""
    tokens = tmp_path / "tokens"
    tokens.write_text(" ".join(map(str, range(5, 80))) + "\n")
    logits = []
    for program in programs:
        path = tmp_path / f"{len(logits)}.npy"
        program("eval", "-m", tiny_model_path, "-t", 2, "--tokens", tokens, "--logits", path)
        logits.append(np.load(path))
    assert logits[0].shape[0] == 75 and np.array_equal(*logits)


@pytest.mark.parametrize("model, tokens", [("smollm_path", 12), ("model_path", 5)])
def test_the_same_text(programs, request, model, tokens):
    """With a real model. The system message is short, since qemu takes half a second per token; without
    drafts no costs of passes are measured, which would take a minute."""
    path = request.getfixturevalue(model)
    options = ("-t", 2, "--draft-max", 0, "-n", tokens)
    answers = [
        program("chat", "-m", path, *options, "-s", "Be brief.", "Name a colour.")
        for program in programs
    ]
    assert answers[0] == answers[1] and answers[0].strip()
