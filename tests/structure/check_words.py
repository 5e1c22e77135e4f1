#!/usr/bin/env python3
"""Finds words that CONTRIBUTING rules out, in comments, in texts that a user reads and in documents.
Prints each with its place; exit code 1 if there are any.
"""

import re
import sys
from pathlib import Path

# Everywhere: C without its code, other files whole.
BANNED = [
    r"can not", r"nobody", r"somebody", r"anybody", r"everybody", r"whoever", r"so many", r"so long",
    r"goes its own way", r"in vain", r"who",
]  # fmt: skip
# At the beginning of a comment, of a header's sentence, or of a docstring.
BEGINNINGS = [r"What", r"Who", r"One that", r"Those that", r"Whoever"]

# The quoted words of others, and this file.
EXCEPT = {
    "tests/structure/check_words.py",
    "tests/structure/test_words.py",
    "CONTRIBUTING.md",  # which lists them
    "src/load/prefixes.c",  # which greets: "Who are you?"
    "tests/tools/make_tiny_model.py",  # whose corpus makes the model
}
# Texts that tests and measurements give to a model or a parser.
DATA = re.compile(r"bench/(prompts|accuracy)/|tests/fuzz/seeds/|\.(txt|jsonl?|csv|tsv)$|requirements")

BANNED_RE = re.compile(r"(?<![\w'-])(?:" + "|".join(w.replace(" ", r"\s+(?:\*\s+|#\s+|//\s+)?") for w in BANNED) + r")(?![\w'-])", re.I)
BEGINNING_RE = re.compile(r"^(?:" + "|".join(BEGINNINGS) + r")\b(?!.*\?)")

C_TOKEN = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)
HASH_COMMENT = re.compile(r"(?:^|\s)#(?!!)[^\n]*", re.M)
DOCSTRING = re.compile(r'"""(.*?)"""', re.S)


def in_c(text):
    """(offset, text, is_comment) of each comment and string of a C or JavaScript file."""
    for token in C_TOKEN.finditer(text):
        kind = token[0][:2]
        if kind in ("/*", "//"):
            yield token.start(), token[0], True
        elif token[0][0] == '"':
            yield token.start(), token[0], False


def words_of(path, text):
    """(offset, text, is_comment) of the parts of a file that are checked."""
    if path.suffix in (".c", ".h", ".js", ".mjs", ".css"):
        yield from in_c(text)
    elif path.suffix in (".py", ".sh", ".build", ".yml", ".yaml", ".ini", "") and path.suffix != ".md":
        for comment in HASH_COMMENT.finditer(text):
            yield comment.start(), comment[0].lstrip("\n"), True
        for docstring in DOCSTRING.finditer(text):
            yield docstring.start(), docstring[1], True
    else:
        yield 0, text, False


def check_file(path):
    try:
        text = path.read_text()
    except UnicodeDecodeError:
        return
    for offset, part, is_comment in words_of(path, text):
        line = text.count("\n", 0, offset) + 1
        for word in BANNED_RE.finditer(part):
            found = re.sub(r"\s+[*#/]*\s*", " ", word[0])
            yield line + part.count("\n", 0, word.start()), f'"{found}"'
        if is_comment:
            begin = re.sub(r"^[\s/*#\"]+(?:----\s*)?", "", part)
            word = BEGINNING_RE.match(begin)
            if word:
                yield line, f'a comment that begins with "{word[0]}"'


def breaches(root, names):
    """All breaches in these files below root as "file:line: text"."""
    found = []
    for name in names:
        if name not in EXCEPT and not DATA.search(name):
            found += [f"{name}:{line}: {text}" for line, text in check_file(root / name)]
    return found


FOLDERS = ("src", "tests", "web", "bench", "tools", "deploy", "docs")


def names_below(root):
    top = [p.name for p in sorted(root.iterdir()) if p.is_file() and p.suffix in (".md", ".sh", ".build", "")]
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("*")):
            if path.is_file() and not {"__pycache__", "node_modules", ".pytest_cache"} & set(path.parts):
                top.append(str(path.relative_to(root)))
    return top


def main():
    root = Path(__file__).resolve().parents[2]
    found = breaches(root, sys.argv[1:] or names_below(root))
    print("\n".join(found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
