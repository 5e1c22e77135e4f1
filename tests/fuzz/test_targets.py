"""Coverage-guided fuzzing (libFuzzer, with sanitizers) of all code that reads foreign bytes.

A target is a short file in targets/ that checks properties. These tests run each one a fixed number of
times from a fixed seed, some ten seconds on a small CPU. Its seeds are the files in seeds/NAME, or are
created by seeds_of(). For a longer run:

    mkdir found; build/fuzz/tests/fuzz/targets/fuzz_http -max_total_time=900 found tests/fuzz/seeds/http

Environment (test.sh sets it): KINGLET_FUZZ_BUILD, the build directory (build/fuzz), set up by
`CC=clang meson setup --buildtype=debugoptimized -Dfuzzers=true build/fuzz`.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from model_file import tiny_qwen2
from split_model import parts_of

HERE = Path(__file__).resolve().parent
# number of runs, and length of the longest input
TARGETS = {
    "answers": (1_500, 1024),
    "calls": (30_000, 512),
    "chat": (15_000, 4096),
    "foreign": (50_000, 512),
    "gbnf": (8_000, 1024),
    "gguf": (1_500, 42_000),
    "http": (150_000, 4096),
    "hub": (40_000, 1024),
    "kept_chat": (30_000, 1024),
    "key_file": (100_000, 1024),
    "late_lines": (20_000, 512),
    "page": (6_000, 128),
    "regex": (8_000, 256),
    "schema": (20_000, 512),
    "sections": (8_000, 512),
    "server": (8_000, 2048),
    "split": (600, 42_000),
    "stream": (80_000, 4096),
    "tables": (40_000, 512),
    "template": (25_000, 4096),
    "tokenizer": (40_000, 4096),
}


def seeds_of(name, directory):
    if name == "gguf":
        (directory / "whole").write_bytes(bytes(tiny_qwen2().write().data))
    if name == "split":
        whole = directory / "whole"
        whole.write_bytes(bytes(tiny_qwen2().write().data))
        for n in (2, 3):
            parts = parts_of(whole, -(-len(tiny_qwen2().tensors) // n))
            (directory / f"parts-{n}").write_bytes(
                bytes([len(parts) - 2]) + b"".join(len(p).to_bytes(3, "big") + p for p in parts)
            )
        whole.unlink()
    if name == "template":
        shutil.copy(HERE.parent / "fidelity" / "qwen3.jinja", directory)
    for file in sorted((HERE / "seeds" / name).glob("*")):
        shutil.copy(file, directory)


@pytest.fixture(scope="module")
def targets():
    build = Path(os.environ.get("KINGLET_FUZZ_BUILD", HERE.parents[1] / "build" / "fuzz"))
    directory = build / "tests" / "fuzz" / "targets"
    if not directory.is_dir():
        pytest.fail(f"{directory} does not exist; build it with ./test.sh fuzz")
    return directory


def test_every_target_is_run():
    assert sorted(TARGETS) == sorted(
        file.stem.removeprefix("fuzz_") for file in (HERE / "targets").glob("fuzz_*.c")
    )


@pytest.mark.parametrize("name", TARGETS)
def test_no_fault_is_found(targets, tiny_model_path, tmp_path, name):
    runs, max_len = TARGETS[name]
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    seeds_of(name, corpus)
    n_seeds = len(list(corpus.iterdir()))
    assert n_seeds > 0
    done = subprocess.run(
        [
            str(targets / f"fuzz_{name}"),
            f"-runs={runs}",
            f"-max_len={max_len}",
            "-seed=1",
            "-timeout=60",
            "-rss_limit_mb=2048",
            f"-artifact_prefix={tmp_path}/",
            str(corpus),
        ],
        capture_output=True,
        text=True,
        errors="replace",
        env={**os.environ, "KINGLET_TEST_TINY_MODEL": str(tiny_model_path)},
    )
    assert done.returncode == 0, done.stderr[-6000:]
    assert int(re.search(r"Done (\d+) runs", done.stderr)[1]) >= runs
    # the generated inputs cover more than the seeds
    covered = [int(n) for n in re.findall(r"\bcov: (\d+)", done.stderr)]
    assert covered[-1] > covered[0] and len(list(corpus.iterdir())) > n_seeds
