"""The words that CONTRIBUTING rules out occur nowhere, and the checker sees each kind."""

from pathlib import Path

import pytest
from check_words import breaches, names_below

REPOSITORY = Path(__file__).resolve().parents[2]


def test_the_tree_keeps_to_plain_words():
    found = breaches(REPOSITORY, names_below(REPOSITORY))
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "name, text, n",
    [
        ("a.c", "/* it can not be */\n", 1),
        ("a.c", "/* it can\n * not be */\n", 1),
        ("a.c", 'f("nobody asks");\n', 1),
        ("a.c", "int who = 1; /* fine */\n", 0),
        ("a.c", 'f("whoever");  // who\n', 2),
        ("a.h", "/* What a row wants. */\n", 1),
        ("a.h", "/* Whatever a row wants. */\n", 0),
        ("a.h", "/* ---- One that waits ---- */\n", 1),
        ("a.h", "/* One of those that wait. */\n", 0),
        ("a.py", '"""Who may ask."""\nwho = 1  # those who ask\n', 3),
        ("a.py", "# it takes so long\n", 1),
        ("a.md", "so many words\n", 1),
        ("a.md", "the WHO-list\n", 0),
        ("bench/prompts/a.c", "/* who */\n", 0),
    ],
)
def test_a_breach_is_found(tmp_path, name, text, n):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    assert len(breaches(tmp_path, [name])) == n
