#!/usr/bin/env python3
"""Checks by the symbols of the object files that no files of a room, and no rooms, use each other in
a circle, and that a room uses only what check_layers.EDGES allows: an include that is missing hides
an edge, a declaration by hand hides it from the includes.

    check_symbols.py BUILD       a directory of meson's with everything built; exit code 1: breaches
    check_symbols.py --edges BUILD [ROOM]   prints which file uses which
"""

import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

from check_layers import EDGES

# lib*.a.p/x.c.o; what is generated lies in the build directory and has its path in its name
OBJECT = re.compile(r"^(?:meson-generated_\.*_?)?(.+)\.c\.o$")


def symbols(objects):
    """{object: (defined, undefined)}, the global ones."""
    found = {path: (set(), set()) for path in objects}
    if not objects:
        return found
    out = subprocess.run(
        ["nm", "-A", "-g", "-P", *map(str, objects)], capture_output=True, text=True, check=True
    ).stdout
    for line in out.splitlines():
        name, symbol, kind = re.match(r"(.*?): (\S+) (\S)", line).groups()
        if kind in "Uvw":
            found[Path(name)][1].add(symbol)
        else:
            found[Path(name)][0].add(symbol)
    return found


def graph(build):
    """{(room, file): {(room, file) that it uses: a symbol}} of the libraries and the program."""
    defined, wanted = {}, defaultdict(set)
    objects = sorted(p for p in (build / "src").rglob("*.c.o"))
    for path, (has, needs) in symbols(objects).items():
        place = (path.relative_to(build / "src").parts[0], OBJECT.match(path.name)[1])
        wanted[place] |= needs
        for symbol in has:
            defined.setdefault(symbol, place)
    uses = {place: {} for place in wanted}
    for place, needs in wanted.items():
        for symbol in sorted(needs):
            if symbol in defined and defined[symbol] != place:
                uses[place].setdefault(defined[symbol], symbol)
    return uses


def circles(uses):
    """The strongly connected parts of more than one node (Tarjan 1972, without recursion)."""
    index, low, on_stack, stack, found = {}, {}, set(), [], []
    for root in uses:
        work = [(root, iter(uses[root]))] if root not in index else []
        if work:
            index[root] = low[root] = len(index)
            stack.append(root)
            on_stack.add(root)
        while work:
            node, rest = work[-1]
            for other in rest:
                if other not in index:
                    index[other] = low[other] = len(index)
                    stack.append(other)
                    on_stack.add(other)
                    work.append((other, iter(uses.get(other, ()))))
                    break
                if other in on_stack:
                    low[node] = min(low[node], index[other])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    part = []
                    while not part or part[-1] != node:
                        part.append(stack.pop())
                        on_stack.discard(part[-1])
                    if len(part) > 1:
                        found.append(sorted(part))
    return found


def breaches(build, edges=EDGES):
    uses = graph(build)
    found = []
    for place, others in sorted(uses.items()):
        for other, symbol in sorted(others.items()):
            if other[0] != place[0] and other[0] not in edges[place[0]]:
                found.append(f"{'/'.join(place)}.c uses {symbol} of {'/'.join(other)}.c; {place[0]} may not see {other[0]}")
    for circle in circles(uses):
        found.append("a circle: " + ", ".join("/".join(place) for place in circle))
        for a in circle:
            for b in circle:
                if b in uses[a]:
                    found.append(f"    {'/'.join(a)} uses {uses[a][b]} of {'/'.join(b)}")
    return found


def main(arguments):
    if arguments[:1] == ["--edges"]:
        for place, others in sorted(graph(Path(arguments[1])).items()):
            for other, symbol in sorted(others.items()):
                if len(arguments) < 3 or place[0] == arguments[2]:
                    print(f"{'/'.join(place)} -> {'/'.join(other)} ({symbol})")
        return 0
    found = breaches(Path(arguments[0]))
    print("\n".join(found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
