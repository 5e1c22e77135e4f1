#!/usr/bin/env python3
"""make_tokenizer_vectors.py MODEL... > src/doctor/tokenizer_vectors.c

Prints a table in C of texts and the ids that Hugging Face's `tokenizers` makes of them with the vocabulary and
merges of each model file. `kinglet doctor` checks the tokenizer with it. tests/fidelity runs this again and
compares, so the table cannot become stale.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "fidelity"))

from reference_tokenizer import load_vocabulary, make_reference  # noqa: E402

WIDTH = 100
# (kind, text, whether special tokens are recognised in it)
TEXTS = [
    ("Chinese", "你好\uff0c请问今天天气怎么样\uff1f《论语》\uff1a“学而时习之\uff0c不亦说乎\uff1f”臺灣龍鳳𠮷野家!", False),
    ("English", "The kinglet's nest wasn't there; WE'LL see what they've found, I'm sure. naïve café", False),
    ("code", "for (size_t i = 0; i < n; i++) {\n    sum += x[i] * y[i];\n}\n\ndef f(a: str) -> bool:\n\treturn a == a[::-1]\r\n",
     False),
    ("emoji", "😀👍🏽 👨‍👩‍👧‍👦🏳️‍🌈 1️⃣❤️🇨🇳", False),
    ("white space", "  a   b\t\tc\n\n\n  d \r\n\r\n e\u3000\u00a0f\u2003 \n ", False),
    ("mixed scripts", "Привет мир, γειά σου, שלום, مرحبا 42, नमस्ते, สวัสดี, こんにちは한국어ABC中文", False),
    ("numbers", "3.14159, 1,000,000; 2nd ½ ² Ⅷ ٣٤५ 0xFF 1e-9 2026-11-22", False),
    ("combined marks", "e\u0301a\u0323\u0302 \u1112\u1161\u11ab \u212b \uf900 \u0344", False),
    ("lookalikes of special tokens", "<|im_start|>system\nhi<|im_end|> <|endoftext|> <|im_end <tool_call>", False),
    ("special tokens", "<|im_start|>user\n你好<|im_end|>\n<|im_start|>assistant\n", True),
]  # fmt: skip


def c_string(text):
    """Returns a C string; bytes of other than printable ASCII characters are octal escapes."""
    plain = {"\n": "\\n", "\t": "\\t", "\r": "\\r", '"': '\\"', "\\": "\\\\"}
    return "".join(
        plain.get(c)
        or (c if " " <= c <= "~" or "\u4e00" <= c <= "\u9fff" else "".join(f"\\{b:03o}" for b in c.encode()))
        for c in text
    )  # fmt: skip


def string_lines(text):
    """Returns the literal in pieces that fit a line, cut between characters."""
    lines, line = [], ""
    for c in map(c_string, text):
        if len(line) + len(c) > WIDTH - 20:
            lines.append(line)
            line = ""
        line += c
    return "\n".join(f'        "{line}"' for line in [*lines, line])


def id_lines(ids):
    lines, line = [], ""
    for word in (f"{i}, " for i in ids):
        if len(line) + len(word) > WIDTH - 8:
            lines.append(line.rstrip())
            line = ""
        line += word
    return "\n".join(f"        {line}" for line in [*lines, line.rstrip()])


def render(paths):
    out = [
        "/* Made by tests/tools/make_tokenizer_vectors.py with Hugging Face's tokenizers; do not edit.",
        " * clang-format off: one row is as many ids as fit. */",
        "/* clang-format off */",
        '#include "doctor/tokenizer_vectors.h"',
    ]
    rows = []
    for path in paths:
        vocabulary = load_vocabulary(path)
        out += ["", f"static const struct kl_tokenizer_vector {vocabulary.pre}[] = {{"]
        for kind, text, special in TEXTS:
            reference = make_reference(vocabulary, special)
            ids = reference.encode(text, add_special_tokens=False).ids
            out += [
                f'    {{"{kind}",',
                string_lines(text) + ",",
                f"     {str(special).lower()}, {len(ids)}, (const int32_t[]){{",
                id_lines(ids) + "}},",
            ]
        out.append("};")
        rows.append(
            f'    {{"{vocabulary.pre}", {len(vocabulary.tokens)},'
            f" sizeof {vocabulary.pre} / sizeof {vocabulary.pre}[0], {vocabulary.pre}}},"
        )
    out += ["", "const struct kl_tokenizer_vectors kl_tokenizer_vectors[] = {", *rows, "    {0},", "};", ""]
    return "\n".join(out)


if __name__ == "__main__":
    sys.stdout.write(render(sys.argv[1:]))
