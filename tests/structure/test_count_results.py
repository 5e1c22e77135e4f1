"""The counts and the description at the end of test.sh: nothing that failed, crashed or was skipped is a success."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).resolve().parents[1] / "tools" / "count_results.py"

# The output of cmocka 1.1: its report of one failed test on both streams.
CMOCKA_GOOD = "[ RUN      ] test_a\n[       OK ] test_a\n[ RUN      ] test_b\n[       OK ] test_b\n"
CMOCKA_BAD_OUT = "[ RUN      ] test_a\n[       OK ] test_a\n[ RUN      ] test_b\n[  FAILED  ] test_b\n"
CMOCKA_BAD_ERR = "[  PASSED  ] 1 test(s).\n[  FAILED  ] 1 test(s), listed below:\n[  FAILED  ] test_b\n"


def count(*paths):
    done = subprocess.run([sys.executable, TOOL, *paths], capture_output=True, text=True, check=True)
    return tuple(map(int, done.stdout.split()))


def describe(results, *parts):
    command = [sys.executable, TOOL.parent / "describe_run.py", results, *parts]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(
    "tests, expected",
    [
        ([("OK", CMOCKA_GOOD, "")], (2, 0)),
        ([("FAIL", CMOCKA_BAD_OUT, CMOCKA_BAD_ERR)], (1, 1)),
        ([("FAIL", CMOCKA_GOOD, "Segmentation fault")], (2, 1)),
        ([("TIMEOUT", "", "")], (0, 1)),
        ([("SKIP", "", "")], (0, 1)),
        ([("OK", "", "")], (1, 0)),
        ([("OK", CMOCKA_GOOD, ""), ("FAIL", CMOCKA_BAD_OUT, CMOCKA_BAD_ERR)], (3, 1)),
    ],
)
def test_meson(tests, expected, tmp_path):
    log = tmp_path / "testlog.json"
    lines = (json.dumps({"name": "t", "result": r, "stdout": o, "stderr": e}) for r, o, e in tests)
    log.write_text("\n".join(lines))
    assert count(log) == expected


def test_pytest(tmp_path):
    source = tmp_path / "test_it.py"
    source.write_text(
        "import pytest\n"
        "def test_good(): pass\n"
        "def test_bad(): assert 0\n"
        "def test_skipped(): pytest.skip('no reason')\n"
        "@pytest.fixture\n"
        "def broken(): raise ValueError\n"
        "def test_broken(broken): pass\n"
    )
    result = tmp_path / "result.xml"
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", f"--junitxml={result}", source],
        cwd=tmp_path, capture_output=True,
    )  # fmt: skip
    assert count(result) == (1, 3)
    assert count(result, result) == (2, 6)


def test_the_slowest_tests(tmp_path):
    (tmp_path / "unit-meson.json").write_text(
        '{"name": "kinglet / base/slow", "duration": 5.25, "result": "OK"}\n'
        '{"name": "base/quick", "duration": 0.1, "result": "OK"}\n'
    )
    (tmp_path / "api.xml").write_text(
        '<testsuites><testsuite><testcase classname="tests.api.test_a" name="test_b" time="7.5"/>'
        "</testsuite></testsuites>"
    )
    (tmp_path / "api.out").write_text("==== api\n    release: 12 s\n")
    lines = [line.split() for line in describe(tmp_path, "unit", "api").splitlines()]
    assert lines[:2] == [["7.5", "s", "api", "test_a::test_b"], ["5.2", "s", "unit", "base/slow"]]
    assert lines[3:] == [["12", "s", "api", "made", "release"]]


def test_a_failure_is_described(tmp_path):
    """By its part and name, with the end of what it said; also one of Meson's, and a skipped test."""
    source = tmp_path / "test_it.py"
    source.write_text(
        "import pytest\n"
        "def test_good(): pass\n"
        "def test_bad(): assert 1 + 1 == 3, 'the sum'\n"
        "def test_skipped(): pytest.skip('no reason')\n"
    )
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", f"--junitxml={tmp_path}/api.xml", source],
        cwd=tmp_path, capture_output=True,
    )  # fmt: skip
    lines = [
        {"name": "unit / base/list", "result": "OK", "stdout": "fine"},
        {"name": "unit / base/map", "result": "TIMEOUT", "stdout": "line 1\nline 2"},
    ]
    (tmp_path / "unit-meson.json").write_text("\n".join(map(json.dumps, lines)))
    described = describe(tmp_path, "unit", "api")
    first, *failures = described.split("\nFAILED ")
    assert "base/map" in first and "test_it::test_good" in first
    assert [f.splitlines()[0] for f in failures] == [
        "unit: base/map", "api: test_it::test_bad", "api: test_it::test_skipped"
    ]  # fmt: skip
    assert "    line 2\n    TIMEOUT\n" in failures[0] and "the sum" in failures[1]
    assert "no reason" in failures[2] and "fine" not in described
