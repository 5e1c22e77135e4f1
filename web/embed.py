#!/usr/bin/env python3
"""Writes the page's files as one C source (assets_data.c); run by Meson during the build."""

import argparse
import hashlib
import os
import re

CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}

# Debian's highlight.js holds 185 languages; these are the ones people ask a small model about.
LANGUAGES = """bash cpp cs css diff dockerfile go ini java javascript json kotlin lua makefile
    markdown nginx php plaintext powershell python ruby rust shell sql swift typescript xml
    yaml""".split()

# Debian 12's security update of DOMPurify (2.4.1, deb12u1) reads a variable of another function before
# it starts, and so fails on all input. The check is for tampering that no parsed string can cause;
# with this variable it finds nothing. The guards on each node are unchanged.
DOMPURIFY_REPAIR = "const shadowNode = Object.freeze({});\n"


def as_module(source, what):
    """Returns an ES module around a UMD library, which detects CommonJS."""
    return ("const module = { exports: {} };\nconst exports = module.exports;\n"
            f"{source}\nexport default {what};\n")


def select_languages(source):
    """Returns highlight.js with LANGUAGES only. The file has its core, then a statement each."""
    core, *statements = re.split(r'(?=hljs\.registerLanguage\(")', source)
    by_name = {re.match(r'hljs\.registerLanguage\("([^"]+)"', s).group(1): s for s in statements}
    missing = [name for name in LANGUAGES if name not in by_name]
    if missing:
        raise SystemExit(f"embed.py: highlight.js has no language named {', '.join(missing)}")
    return core + "".join(by_name[name] for name in LANGUAGES)


def c_string(data):
    """Returns C string literals, one for every 64 bytes."""
    def escape(byte):
        char = chr(byte)
        if char in '"\\?':
            return "\\" + char
        return char if 32 <= byte < 127 else f"\\{byte:03o}"
    pieces = [data[i:i + 64] for i in range(0, len(data), 64)] or [b""]
    return "\n".join('    "' + "".join(map(escape, piece)) + '"' for piece in pieces)


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", required=True)
    parser.add_argument("--marked", required=True)
    parser.add_argument("--dompurify", required=True)
    parser.add_argument("--highlight", required=True)
    parser.add_argument("--licence", action="append", default=[])
    parser.add_argument("pages", nargs="+")
    args = parser.parse_args()

    assets = {}
    for page in args.pages:
        name = os.path.basename(page)
        assets["/" if name == "index.html" else "/" + name] = read(page)
    assets["/vendor/marked.js"] = as_module(read(args.marked), "module.exports")
    assets["/vendor/dompurify.js"] = as_module(DOMPURIFY_REPAIR + read(args.dompurify),
                                               "module.exports")
    assets["/vendor/highlight.js"] = as_module(select_languages(read(args.highlight)), "hljs")
    assets["/licenses.txt"] = ("\n\n" + "-" * 80 + "\n\n").join(map(read, args.licence))

    arrays, rows = [], []
    for i, (path, text) in enumerate(assets.items()):
        data = text.encode()
        content_type = CONTENT_TYPES[os.path.splitext(path)[1] or ".html"]
        etag = hashlib.sha256(data).hexdigest()[:16]
        arrays.append(f"static const unsigned char data_{i}[] =\n{c_string(data)};\n")
        rows.append(f'    {{"{path}", "{content_type}", "\\"{etag}\\"", data_{i}, {len(data)}}},\n')
    with open(args.output, "w", encoding="ascii") as out:
        out.write('/* Written by web/embed.py; do not edit. */\n#include "web/assets.h"\n\n')
        out.write("\n".join(arrays))
        out.write("\nconst struct kl_asset kl_assets[] = {\n" + "".join(rows) + "};\n")
        out.write("const size_t kl_n_assets = sizeof kl_assets / sizeof kl_assets[0];\n")


if __name__ == "__main__":
    main()
