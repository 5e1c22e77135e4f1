"""The rules of the tree hold, and the checker sees each kind of breach."""

import re
import subprocess
from pathlib import Path

import pytest
from check_layers import EDGES, MAX_FILE_LINES, MAX_FUNCTION_LINES, MAX_ROOM_LINES, MAX_SOURCE_LINES, breaches

REPOSITORY = Path(__file__).resolve().parents[2]


def test_the_tree_keeps_its_rules():
    found = breaches(REPOSITORY)
    assert not found, "\n".join(found)


def long_function(lines):
    return "int f(void)\n{\n" + "    ;\n" * lines + "}\n"


@pytest.mark.parametrize(
    "name, text, expected",
    [
        ("src/format/a.c", '#include "model/model.h"\n', "may not see model"),
        ("src/format/a.c", '#include "elsewhere/a.h"\n', "in no room"),
        ("src/format/a.c", '#include "a.h"\n', "without its room"),
        ("src/engine/a.c", "#include <event2/http.h>\n", "may see"),
        ("src/engine/a.c", "#include <jansson.h>\n", "may see"),
        ("src/server/a.c", "#include <curl/curl.h>\n", "may see"),
        ("src/server/a.c", "#include <histedit.h>\n", "only cli may see"),
        ("src/model/a.c", "#include <immintrin.h>\n", "only kernels may see"),
        ("src/model/a.c", "#ifdef __x86_64__\n#endif\n", "instruction set"),
        ("src/model/a.c", "#if defined(__AVX2__)\n#endif\n", "instruction set"),
        ("src/kernels/a.c", "#ifdef __linux__\n#endif\n", "operating system"),
        ("src/other/a.c", "int x;\n", "is in no room"),
        ("src/base/a.c", "//\n" * (MAX_SOURCE_LINES + 1), "a file has at most"),
        ("tests/a.py", "#\n" * (MAX_FILE_LINES + 1), "a file has at most"),
        ("src/base/a.c", long_function(MAX_FUNCTION_LINES + 1), "a function of"),
    ],
)
def test_a_breach_is_found(tmp_path, name, text, expected):
    path = tmp_path / name
    path.parent.mkdir(parents=True)
    path.write_text(text)
    found = breaches(tmp_path)
    assert len(found) == 1 and expected in found[0], found


@pytest.mark.parametrize(
    "names",
    [("src/base/a.c", "src/model/a.h"), ("tests/api/test_a.py", "tests/web/test_a.py")],
)
def test_equal_names_are_found(tmp_path, names):
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("")
    assert breaches(tmp_path)


def test_what_is_allowed(tmp_path):
    files = {
        "src/base/a.c": '#include "base/a.h"\n#ifdef __linux__\n#endif\n',
        "src/base/a.h": "#include <stdint.h>\n",
        "src/kernels/b.c": '#include <immintrin.h>\n#include "base/a.h"\n#ifdef __AVX2__\n#endif\n',
        "src/server/c.c": '#include <jansson.h>\n#include "engine/d.h"\n',
        "src/server/meson.build": "",
        "src/base/meson.build": "",
        "src/engine/e.c": long_function(MAX_FUNCTION_LINES),
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert breaches(tmp_path) == []


def test_a_room_that_is_too_large_is_found(tmp_path):
    room = tmp_path / "src/cli"
    room.mkdir(parents=True)
    for i in range(6):
        (room / f"part_{i}.c").write_text("//\n" * (MAX_ROOM_LINES["cli"] // 6 + 1))
    found = breaches(tmp_path)
    assert len(found) == 1 and "this room has at most" in found[0], found


def test_the_drawing_shows_the_edges():
    drawn = subprocess.run([REPOSITORY / "tools/draw-rooms"], capture_output=True, text=True, check=True)
    assert (REPOSITORY / "docs/rooms.svg").read_text() == drawn.stdout, "tools/draw-rooms > docs/rooms.svg"
    assert "](docs/rooms.svg)" in (REPOSITORY / "ARCHITECTURE.md").read_text()


def test_the_table_of_the_document_has_the_edges():
    """ARCHITECTURE's table of rooms, in the order of the data, says what each may use."""
    rows = re.findall(r"^\| `src/(\w+)/` \|.*\| ([\w ,-]+) \|$", (REPOSITORY / "ARCHITECTURE.md").read_text(), re.M)
    told = {room: set(re.findall(r"\w+", uses)) for room, uses in rows}
    existing = {room for room in EDGES if (REPOSITORY / "src" / room).is_dir()}
    assert told == {room: EDGES[room] & existing for room in existing}
