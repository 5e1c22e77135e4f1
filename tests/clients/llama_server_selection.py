"""A plugin of pytest: of llama.cpp's server tests, leaves those that KINGLET_SUITE_TESTS names, one a line,
as "unit.test_basic::test_server_props". A name that is no test fails the run."""

import os
import re
from pathlib import Path

try:
    import pytest
except ImportError:
    pytest = None  # only the names are wanted


def plain(name):
    """A name with one backslash in place of several: how many there are depends on pytest's version."""
    return re.sub(r"\\+", r"\\", name)


def name_of(item):
    return plain(f"unit.{item.path.stem}::{item.name}")


def pytest_collection_modifyitems(config, items):
    wanted = set(Path(os.environ["KINGLET_SUITE_TESTS"]).read_text().splitlines())
    chosen = [i for i in items if name_of(i) in wanted]
    missing = wanted - {name_of(i) for i in chosen}
    if missing:
        raise pytest.UsageError(f"these are no tests: {', '.join(sorted(missing))}")
    config.hook.pytest_deselected(items=[i for i in items if name_of(i) not in wanted])
    items[:] = chosen


def pytest_sessionstart():
    """There are no models to download, for which the tests would start a server of each kind first."""
    import utils  # of the tests

    utils.ServerPreset.load_all = staticmethod(lambda: None)
