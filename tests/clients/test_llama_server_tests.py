"""llama.cpp's own tests of its server pass, but for those that llama-server-tests.toml names with a reason."""

import os
import subprocess
import tomllib
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
TABLE = tomllib.loads((HERE / "llama-server-tests.toml").read_text())


def test_the_table():
    """At least 105 of the 125 that llama-server passes with this model; each other one has its reason."""
    assert len(set(TABLE["passes"]) | set(TABLE["fails"])) == 125
    assert len(TABLE["passes"]) >= 105 and not set(TABLE["passes"]) & set(TABLE["fails"])
    assert all(TABLE["fails"].values())


# All take minutes, since each starts a server of its own: ./test.sh llama runs them.
SOME = [] if os.environ.get("KINGLET_TEST_LLAMA_SUITE") == "all" else ["-k", "tokenize or progress"]


@pytest.mark.timeout(3600)
def test_results(kinglet, model_path, monkeypatch):
    monkeypatch.setenv("KINGLET_BIN", str(kinglet))
    monkeypatch.setenv("KINGLET_TEST_MODEL", str(model_path))
    done = subprocess.run(
        [HERE / "llama-server-suite", *SOME], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout
