"""Fixtures that run `kinglet eval` and `kinglet tokenize`."""

import numpy as np
import pytest


@pytest.fixture
def evaluate(run_kinglet, tmp_path):
    """evaluate(model, sequences, *options) -> the program's logits, float32 [positions of all
    sequences in order, vocabulary]."""

    def run(model, sequences, *options):
        tokens, logits = tmp_path / "tokens.txt", tmp_path / "logits.npy"
        lines = (" ".join(map(str, s)) for s in sequences)
        tokens.write_text("".join(f"{line}\n" for line in lines))
        run_kinglet(
            "eval", "--model", model, "--tokens", tokens, "--logits", logits, *options
        )
        array = np.load(logits, mmap_mode="r")
        logits.unlink()  # the mapping keeps the file until the array is freed
        assert array.dtype == np.float32
        assert array.ndim == 2 and len(array) == sum(map(len, sequences))
        return array

    return run


@pytest.fixture(scope="session")
def tokenize(run_kinglet):
    """tokenize(model, text) -> ids of plain text, without special tokens."""

    def run(model, text):
        out = run_kinglet("tokenize", "--ids", "--model", model, input=text.encode())
        return [int(i) for i in out.stdout.split()]

    return run
