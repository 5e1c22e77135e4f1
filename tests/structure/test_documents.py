"""The documents name the error codes of the program, and no others."""

import re
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
TABLE = "| status | code | |"
CALL = re.compile(r"\bkl_api_fail\(")
CODE = 2  # the argument of kl_api_fail with the code, counted from 0


def arguments(text, at):
    """Returns the arguments of a call in C, as they are written; `at` is behind its parenthesis."""
    found, depth, begin = [], 0, at
    for token in re.compile(r'"(?:\\.|[^"\\])*"|[()\[\]{},]').finditer(text, at):
        if token[0] in "([{":
            depth += 1
        elif token[0] == "," and depth == 0 or token[0] in ")]}" and depth == 0:
            found.append(text[begin : token.start()].strip())
            begin = token.end()
            if token[0] != ",":
                return found
        elif token[0] in ")]}":
            depth -= 1
    raise AssertionError(text[at : at + 80])


def codes_of(text):
    for call in CALL.finditer(text):
        yield from re.findall(r'"(\w+)"', arguments(text, call.end())[CODE])
    yield from re.findall(r'\bchar code\[\] = "(\w+)"', text)


def test_codes_are_found():
    text = 'kl_api_fail(e, f(1, 2), a ? "one" : "two", NULL, "a (b, %s", x); char code[] = "three";'
    assert list(codes_of(text)) == ["one", "two", "three"]


def test_error_codes_are_documented():
    used = {code for path in (REPOSITORY / "src").rglob("*.c") for code in codes_of(path.read_text())}
    rows = (REPOSITORY / "docs/http-api.md").read_text().split(TABLE)[1].split("\n\n")[0]
    named = {code for row in rows.splitlines()[2:] for code in re.findall(r"`(\w+)`", row.split("|")[2])}
    assert len(used) > 40
    assert named == used, f"undocumented: {sorted(used - named)}; not in the source: {sorted(named - used)}"
