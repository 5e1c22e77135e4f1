"""No circles between files or rooms by the symbols of what was built, and the checker sees each kind."""

import os
import re
import subprocess
from pathlib import Path

import pytest
import check_layers
from check_symbols import breaches, graph

REPOSITORY = Path(__file__).resolve().parents[2]
EDGES = {"low": set(), "high": {"low"}, "top": {"high"}}


def test_the_program_has_no_circles():
    build = Path(os.environ["KINGLET_BUILD_DIR"])
    assert len(list((build / "src").rglob("*.c.o"))) > 150, f"{build} is not built"
    found = breaches(build)
    assert not found, "\n".join(found)


def test_every_edge_of_the_table_is_used():
    """By an include or by a symbol."""
    used = {room: set() for room in check_layers.EDGES}
    for (room, _), others in graph(Path(os.environ["KINGLET_BUILD_DIR"])).items():
        used[room] |= {other for other, _ in others} - {room}
    for path in (REPOSITORY / "src").rglob("*.[ch]"):
        room = path.relative_to(REPOSITORY / "src").parts[0]
        used[room] |= set(re.findall(r'#include "(\w+)/', path.read_text())) & set(used) - {room}
    existing = {room for room in used if (REPOSITORY / "src" / room).is_dir()}
    for room in existing:
        assert check_layers.EDGES[room] & existing == used[room], room


@pytest.mark.parametrize(
    "sources, expected",
    [
        ({"high/a": "b", "high/b": "a"}, ["a circle: high/a, high/b"]),
        ({"high/a": "b", "high/b": "c", "high/c": "a"}, ["a circle: high/a, high/b, high/c"]),
        ({"high/a": "b", "high/b": "c", "low/c": ""}, []),
        ({"low/a": "b", "high/b": ""}, ["low may not see high"]),
        ({"top/a": "b", "low/b": ""}, ["top may not see low"]),
        ({"low/a": "b", "high/b": "a"}, ["low may not see high", "a circle: high/b, low/a"]),
    ],
)
def test_a_breach_is_found(tmp_path, sources, expected):
    """{file: the functions that it calls}; each file defines the function of its name."""
    for place, calls in sources.items():
        room, name = place.split("/")
        source, target = tmp_path / f"{name}.c", tmp_path / f"src/{room}/lib{room}.a.p/{name}.c.o"
        body = "".join(f"void {c}(void);\n" for c in calls) + f"void {name}(void);\nvoid {name}(void)\n{{\n"
        source.write_text(body + "".join(f"    {c}();\n" for c in calls) + "}\n")
        target.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cc", "-c", source, "-o", target], check=True)
    found = [line for line in breaches(tmp_path, EDGES) if not line.startswith(" ")]
    assert len(found) == len(expected), found
    for line, text in zip(found, expected):
        assert text in line
