"""bench/compare, with a fake llama.cpp that reports known figures."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SPEEDS = {"prefill": 1e-3, "decode": 1e9}  # nothing is as slow, or as quick


@pytest.fixture
def compare(kinglet, tiny_model_path, tmp_path):
    """compare(*args) -> CompletedProcess; the peer prints llama-bench's JSON."""
    peer = tmp_path / "llama-bench"
    peer.write_text(
        f"#!{sys.executable}\n"
        "import json, sys\n"
        "options = dict(zip(sys.argv[1::2], sys.argv[2::2]))\n"
        "assert options['-o'] == 'json' and options['-r'] == '1' and options['-t'] == '2', options\n"
        "prompts = [int(n) for n in options['-p'].split(',')]\n"
        f"found = [dict(n_prompt=n, n_gen=0, avg_ts={SPEEDS['prefill']}) for n in prompts if n]\n"
        "if options['-n'] != '0':\n"
        f"    found += [dict(n_prompt=0, n_gen=int(options['-n']), avg_ts={SPEEDS['decode']})]\n"
        "print(json.dumps(found))\n"
    )
    peer.chmod(0o755)
    command = [sys.executable, REPOSITORY / "bench" / "compare", "--model", tiny_model_path]
    command += ["--peer", peer, "--kinglet", kinglet, "--threads", "2", "--rounds", "2"]

    def run(*args):
        return subprocess.run(
            [*map(str, command), "--prompt", "8,16", "--generate", "4", *args],
            capture_output=True,
            text=True,
            timeout=300,
            env={**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")},
        )

    return run


def test_speed(compare):
    done = compare("--json")
    assert done.returncode == 0, done.stderr
    rows = {(r["part"], r["test"], r["n"]): r for r in json.loads(done.stdout)["results"]}
    # there is no llama-batched-bench next to it: only kinglet has a figure in that row
    assert list(rows) == [
        ("speed", "prefill", 8), ("speed", "prefill", 16), ("speed", "decode", 4),
        ("speed", "together", 1), ("speed", "together", 4),
    ]  # fmt: skip
    for (_, test, _), row in rows.items():
        low, high = row["kinglet_range"]
        assert 0 < low <= row["kinglet"] <= high
        if test == "together":
            assert "peer" not in row and "ratio" not in row
        else:
            assert row["peer"] == SPEEDS[test]
            assert row["ratio"] == pytest.approx(row["kinglet"] / SPEEDS[test])


def test_a_required_ratio(compare):
    assert compare("--at-least", "1e-9").returncode == 0
    done = compare("--at-least", "1")  # decoding is never that fast
    assert done.returncode == 1 and "speed: decode 4, tokens/s" in done.stdout


def test_batches_and_long_contexts(compare, tmp_path):
    batched = tmp_path / "llama-batched-bench"
    batched.write_text(
        f"#!{sys.executable}\n"
        "import json, sys\n"
        "options = dict(zip(sys.argv[1::2], sys.argv[2::2]))\n"
        "assert options['-npp'] == '1' and options['-ntg'] == '32', options\n"
        "for n in options['-npl'].split(','):\n"
        f"    print(json.dumps(dict(pl=int(n), speed_tg={SPEEDS['decode']} * int(n))))\n"
    )
    batched.chmod(0o755)
    done = compare("--parts", "batch,long", "--rounds", "1", "--json")
    assert done.returncode == 0, done.stderr
    rows = {(r["part"], r["test"], r["n"]): r for r in json.loads(done.stdout)["results"]}
    batch = [("batch", "together", n) for n in (1, 2, 4, 6, 8, 16)]
    long = [("long", "prefill", 2048), ("long", "prefill", 4000), ("long", "decode behind", 4064)]
    assert list(rows) == batch + long
    for key, row in rows.items():
        known = SPEEDS["prefill"] if key[1] == "prefill" else SPEEDS["decode"]
        assert row["peer"] == known * (key[2] if key[0] == "batch" else 1)
        assert row["ratio"] == pytest.approx(row["kinglet"] / row["peer"])


def test_next_to_a_busy_process(compare):
    done = compare("--parts", "busy", "--json")
    assert done.returncode == 0, done.stderr
    rows = {(r["part"], r["test"], r["n"], r["unit"]): r for r in json.loads(done.stdout)["results"]}
    assert len(rows) == 9
    for test, n in (("prefill", 8), ("prefill", 16), ("decode", 4)):
        assert rows["busy", test, n, "%"]["peer"] == 100
        low, high = rows["busy", test, n, "%"]["kinglet_range"]
        busy, quiet = rows["busy", test, n, "tokens/s"], rows["quiet", test, n, "tokens/s"]
        assert low <= 100 * busy["kinglet_range"][1] / quiet["kinglet_range"][0]
        assert high >= 100 * busy["kinglet_range"][0] / quiet["kinglet_range"][1]


def test_an_unknown_part(compare):
    done = compare("--parts", "speed,smell")
    assert done.returncode == 2 and "speed, batch, long, busy, server, memory" in done.stderr
