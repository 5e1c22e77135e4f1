"""Every name in tests/selection.toml exists, and has a reason."""

import re
import tomllib
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
SELECTIONS = tomllib.loads((TESTS / "selection.toml").read_text())


@pytest.mark.parametrize("part", SELECTIONS)
def test_its_names_exist(part):
    sources = list(TESTS.rglob("*.py"))
    fixtures = set()
    for path in sources:
        fixtures |= set(re.findall(r"@pytest\.fixture.*\n(?:@.*\n)*def (\w+)", path.read_text()))
    tests = {f"{p.stem}::{t}" for p in sources for t in re.findall(r"^def (test_\w+)", p.read_text(), re.M)}
    known = {"fixtures": fixtures, "files": {path.stem for path in sources}, "tests": tests}
    known["repeated"] = known["files"]
    assert set(SELECTIONS[part]) <= set(known)
    for kind, names in SELECTIONS[part].items():
        assert set(names) <= known[kind], set(names) - known[kind]
        assert all(len(reason) > 10 for reason in names.values())


def test_no_other_use_is_left():
    assert "--without" not in (TESTS.parent / "test.sh").read_text()
