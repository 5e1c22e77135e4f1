"""Compares kl_python_json with Python: compare_python_json.py PROGRAM, where PROGRAM converts each
line of its input (python_json_stdin.c)."""

import json
import random
import struct
import subprocess
import sys

random.seed(14)
BLANKS = ["", "", "", " ", "\t", "  ", "\r "]
CHARACTERS = 'abc"\\/\b\f\r\t\n\x00\x01\x1f\x7f\x80\xa0é\u2028\u200b中\ud7ff\ue000\ufffd😀\U0010ffff'


def blank():
    return random.choice(BLANKS)


def string():
    text = []
    for _ in range(random.choice([0, 1, 2, 3, 8])):
        c = random.choice(CHARACTERS)
        how = random.randrange(3)
        if ord(c) < 0x20 or c in '"\\' or how == 0:
            text.append(json.dumps(c)[1:-1] if how else escaped(c))
        elif how == 1 and c == "/":
            text.append("\\/")
        else:
            text.append(c)
    return '"' + "".join(text) + '"'


def escaped(c):
    units = c.encode("utf-16-be")
    return "".join(
        random.choice(["\\u%04x", "\\u%04X"]) % int.from_bytes(units[i : i + 2], "big")
        for i in range(0, len(units), 2)
    )


def number():
    kind = random.randrange(6)
    if kind == 0:
        return str(random.randrange(-(10 ** random.randrange(1, 60)), 10 ** random.randrange(1, 60)))
    if kind == 1:
        bits = struct.pack("<Q", random.getrandbits(64))
        value = struct.unpack("<d", bits)[0]
        return repr(value) if value == value and abs(value) != float("inf") else "1e400"
    if kind == 2:
        return "%d.%de%+d" % (random.randrange(100), random.randrange(1000), random.randrange(-30, 30))
    if kind == 3:
        return "%.*f" % (random.randrange(1, 25), random.uniform(-1000, 1000))
    if kind == 4:
        return "%.*e" % (random.randrange(0, 25), random.uniform(-1, 1) * 10.0 ** random.randrange(-320, 309))
    return random.choice(["0", "-0", "-0.0", "0e5", "-0E-5", "1e5", "1E16", "1e-5", "123456789012345680.0",
                          "1e400", "-1e400", "1e-400", "9007199254740993", "5e-324", "1e22", "1e23", "NaN",
                          "Infinity", "-Infinity", "0.1", "100", "1.0", "9999999999999998.0", "0.0001"])


def value(depth):
    kind = random.randrange(8 if depth < 4 else 5)
    if kind < 2:
        return number()
    if kind < 4:
        return string()
    if kind == 4:
        return random.choice(["true", "false", "null"])
    n = random.choice([0, 1, 2, 3, 6])
    if kind == 5:
        inner = ",".join(blank() + value(depth + 1) + blank() for _ in range(n))
        return "[" + (inner or blank()) + "]"
    names = [random.choice([string(), '"a"', '"b"', '"\\u0061"']) for _ in range(n)]
    inner = ",".join(f"{blank()}{k}{blank()}:{blank()}{value(depth + 1)}{blank()}" for k in names)
    return "{" + (inner or blank()) + "}"


def damaged(text):
    at = random.randrange(len(text) + 1)
    how = random.randrange(3)
    if how == 0:
        return text[:at]
    if how == 1:
        return text[:at] + text[at + 1 :]
    return text[:at] + random.choice('{}[],:"\\0-+.eEu1 tn') + text[at:]


def members(pairs):
    json.dumps(pairs, ensure_ascii=False).encode()  # also the text of members that others replace
    return dict(pairs)


def expected(text):
    """The text, or None if it is not JSON in UTF-8."""
    try:
        out = json.dumps(json.loads(text, object_pairs_hook=members), ensure_ascii=False)
        out.encode()
        return out
    except (ValueError, UnicodeEncodeError):
        return None


def main():
    texts = [value(0) for _ in range(20000)]
    texts += [damaged(t) for t in texts[:10000]]
    for power in range(-1074, 1024):
        x = 2.0**power
        texts += [repr(x), repr(-x * 3), "%.17g" % x + ("" if "." in "%.17g" % x else ".0" * ("e" not in "%.17g" % x))]
    texts += ["[" * 400 + "]" * 400, '{"a":' * 400 + "1" + "}" * 400, '"\\ud800"', '"\\udc00\\ud800"',
              '"\\ud800\\u0041"', "01", "1.", "-", "+1", ".5", "1e", "[1,]", '{"a":1,}', "", "nul", "NaN1"]
    texts = [t for t in texts if "\n" not in t]
    ran = subprocess.run([sys.argv[1]], input="\n".join(texts) + "\n", capture_output=True,
                         encoding="utf-8", check=True)
    lines = ran.stdout.split("\n")[:-1]
    assert len(lines) == len(texts), (len(lines), len(texts))
    wrong = refused = 0
    for text, line in zip(texts, lines):
        want = expected(text)
        refused += want is None
        if (want is None and not line.startswith("error: ")) or (want is not None and line != want):
            wrong += 1
            if wrong < 20:
                print(f"{text!r}:\n  Python {want!r}\n  kinglet {line!r}")
    print(f"{len(texts)} texts, {refused} not JSON, {wrong} wrong")
    assert refused > 1000 and len(texts) - refused > 15000
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
