#!/usr/bin/env python3
"""Checks what design and CONTRIBUTING say about the tree and a compiler does not: which layer
includes what, which library is seen where, names, lengths. Prints each breach; exit code 1 if any.
"""

import re
import sys
from pathlib import Path

# The rooms that each room may use.
EDGES = {
    "base": "",
    "format": "base",
    "kernels": "base format",
    "text": "base format",
    "model": "base format kernels",
    "engine": "base kernels text grammar model",
    "json": "base",
    "history": "base json",
    "grammar": "base text",
    "schema": "base text json grammar",
    "http": "base",
    "service": "base json text grammar engine http history",
    "api": "base json text grammar schema engine http service history",
    "server": "base json text engine http service api",
    "client": "base json",
    "console": "base",
    "fetch": "base client console",
    "load": "base format kernels text model engine console fetch",
    "bench": "base kernels text model engine client console load",
    "doctor": "base format kernels text model client console fetch load bench",
    "cli": "base text grammar schema model engine server console fetch load bench doctor",
}
EDGES = {room: set(may.split()) for room, may in EDGES.items()}

# Libraries that only these rooms may see.
LIBRARIES = {
    r"event2/|event\.h|evhttp\.h": "http",
    r"jansson\.h": "json api server client schema history",
    r"curl/": "client",
    r"histedit\.h|editline/": "cli",
    r"qrencode\.h": "console",
    r"utf8proc\.h": "text",
    r"[a-z]*mmintrin\.h|x86intrin\.h|arm_\w+\.h|cpuid\.h": "kernels",
    r"sys/auxv\.h": "kernels",
}
INSTRUCTION_SETS = r"__x86_64|__i386|__amd64|__aarch64|__arm|__ARM|__AVX|__SSE|__FMA|__F16C|__BMI|__riscv"
SYSTEMS = r"__linux|__APPLE__|_WIN32|__FreeBSD__|__NetBSD__|__OpenBSD__|__ANDROID__"

MAX_FILE_LINES = 1000
MAX_SOURCE_LINES = 600  # in src
MAX_ROOM_LINES = {"cli": 3100}  # the commands decide what is printed; all else has a room
MAX_FUNCTION_LINES = 80

# Names that every folder may have.
COMMON_NAMES = {"meson.build", "README.md", "conftest.py", "__init__.py", "Dockerfile", ".gitignore"}
COMMON_NAMES |= {"kustomization.yaml"}
FOLDERS = ("src", "tests", "web", "bench", "tools", "deploy")
TEXT = {".c", ".h", ".py", ".js", ".mjs", ".css", ".html", ".sh", ""}
IGNORED = {"__pycache__", "node_modules", ".pytest_cache"}

INCLUDE = re.compile(r'^\s*#\s*include\s*(?:"([^"]+)"|<([^>]+)>)')
CONDITION = re.compile(r"^\s*#\s*(?:if|ifdef|ifndef|elif)\b(.*)")


def files(root, folders=FOLDERS):
    for folder in folders:
        for path in sorted((root / folder).rglob("*")):
            if path.is_file() and not IGNORED & set(path.parts):
                yield path


def check_include(room, ours, theirs):
    if ours and "/" in ours:
        other = ours.split("/")[0]
        if other == "web" and room == "server":  # the page, made into a C file by web/meson.build
            return None
        if other not in EDGES:
            return f'includes "{ours}", which is in no room ({", ".join(EDGES)})'
        if other != room and other not in EDGES[room]:
            return f'room {room} includes "{ours}", but may not see {other}'
    elif ours:
        return f'includes "{ours}" without its room'
    for pattern, homes in LIBRARIES.items():
        if theirs and re.match(pattern, theirs) and room not in homes.split():
            return f"includes <{theirs}>, which only {homes} may see"
    return None


def check_condition(layer, condition):
    if re.search(INSTRUCTION_SETS, condition) and layer not in ("base", "kernels"):
        return "asks for an instruction set; only kernels and base may"
    if re.search(SYSTEMS, condition) and layer != "base":
        return "asks for an operating system; only base may"
    return None


def check_source(path, layer):
    """The breaches of one C file of a layer, as (line, text)."""
    for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
        include, condition = INCLUDE.match(line), CONDITION.match(line)
        breach = None
        if include:
            breach = check_include(layer, *include.groups())
        elif condition:
            breach = check_condition(layer, condition[1])
        if breach:
            yield number, breach


def check_lengths(path, most):
    lines = path.read_text(errors="replace").splitlines()
    if len(lines) > most:
        yield len(lines), f"{len(lines)} lines; a file has at most {most}"
    if path.suffix != ".c":
        return
    begin = 0
    for number, line in enumerate(lines, 1):
        # clang-format puts the braces of a function, and of nothing else, on lines of their own
        if line == "{":
            begin = number
        elif line == "}" and begin:
            if number - begin - 1 > MAX_FUNCTION_LINES:
                yield begin, (
                    f"a function of {number - begin - 1} lines; at most {MAX_FUNCTION_LINES}"
                )
            begin = 0


def check_rooms(root):
    for room, most in MAX_ROOM_LINES.items():
        sources = [p for p in (root / "src" / room).glob("*.[ch]")]
        n = sum(len(p.read_text(errors="replace").splitlines()) for p in sources)
        if n > most:
            yield root / "src" / room, n, f"{n} lines; this room has at most {most}"


def check_names(root):
    """A file's name is unique in the tree; below src even without its ending, but for a .c and .h
    side by side."""
    seen, stems = {}, {}
    for path in files(root):
        if path.name in COMMON_NAMES:
            continue
        other = seen.setdefault(path.name, path)
        if other != path:
            yield path, 1, f"has the same name as {other.relative_to(root)}"
        if path.is_relative_to(root / "src"):
            home = stems.setdefault(path.stem, path.parent)
            if home != path.parent:
                yield path, 1, f"is named like a file in {home.relative_to(root)}"


def breaches(root):
    """All breaches below root as "file:line: text"."""
    found = list(check_names(root)) + list(check_rooms(root))
    for path in files(root):
        if path.suffix in TEXT:
            most = MAX_SOURCE_LINES if path.is_relative_to(root / "src") else MAX_FILE_LINES
            found += [(path, *b) for b in check_lengths(path, most)]
        layer = path.relative_to(root).parts[1]
        if path.is_relative_to(root / "src") and path.suffix in (".c", ".h"):
            if layer in EDGES:
                found += [(path, *b) for b in check_source(path, layer)]
            else:
                found.append((path, 1, f"is in no room ({', '.join(EDGES)})"))
    return [f"{path.relative_to(root)}:{line}: {text}" for path, line, text in found]


def main():
    found = breaches(Path(__file__).resolve().parents[2])
    for breach in found:
        print(breach)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
