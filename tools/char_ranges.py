"""Writes src/text/char_ranges.h: the tokenizer's data about Unicode.

usage: char_ranges.py > src/text/char_ranges.h      (needs the Python package `tokenizers`)

The ranges come from the reference itself, one code point at a time, because it mixes versions of
Unicode: its regular expressions (oniguruma) use 16.0, its NFC an older one. The header names the
version of the package that it was generated with; tests/fidelity compares every code point again.
"""

import sys

import tokenizers
from tokenizers import Regex, normalizers, pre_tokenizers

SCALAR_VALUES = [c for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF]


def matching(pattern):
    split = pre_tokenizers.Split(Regex(pattern), "removed")
    return {c for c in SCALAR_VALUES if not split.pre_tokenize_str(chr(c))}


def combining():
    """Returns the code points that NFC may change or move, or join to preceding ones."""
    nfc = normalizers.NFC().normalize_str
    nfd = normalizers.NFD().normalize_str
    found = set()
    for c in SCALAR_VALUES:
        char = chr(c)
        # A combining class other than 0 shows when the sign changes places with one of class
        # 232 (U+0315) before it or of class 1 (U+0334) after it.
        moving = ("\u2190\u0315" + char, "\u2190" + char + "\u0334")
        if nfc(char) != char or any(nfc(text) != text for text in moving):
            found.add(c)
        found.update(ord(part) for part in nfd(char)[1:])
    return found


def ranges(code_points):
    out = []
    for c in sorted(code_points):
        if out and out[-1][1] == c - 1:
            out[-1][1] = c
        else:
            out.append([c, c])
    return out


def table(name, comment, code_points):
    print(f"\n/* {comment} */")
    print(f"static const struct char_range {name}[] = {{")
    cells = [f"{{0x{low:X}, 0x{high:X}}}," for low, high in ranges(code_points)]
    line = "   "
    for cell in cells:
        if len(line) + 1 + len(cell) > 100:
            print(line)
            line = "   "
        line += " " + cell
    print(line)
    print("};")


def main():
    print("/* Made by tools/char_ranges.py from the Python package tokenizers "
          f"{tokenizers.__version__}; do not edit.")
    print(" * clang-format off: one row is as many ranges as fit. */")
    print("/* clang-format off */")
    print("#ifndef KL_TEXT_CHAR_RANGES_H\n#define KL_TEXT_CHAR_RANGES_H\n\n#include <stdint.h>\n")
    print("struct char_range {\n    uint32_t first;\n    uint32_t last; /* included */\n};")
    table("letter_ranges", "\\p{L} of Unicode 16.0", matching(r"\p{L}"))
    table("number_ranges", "\\p{N} of Unicode 16.0", matching(r"\p{N}"))
    table("space_ranges", "\\s: the property White_Space", matching(r"\s"))
    table("combining_ranges", "what NFC may change, move or join to what stands before",
          combining())
    print("\n#endif")


if __name__ == "__main__":
    sys.exit(main())
