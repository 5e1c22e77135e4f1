#!/usr/bin/env python3
"""slowest_tests.py RESULTS PART...  prints the slowest tests of all parts of a run of test.sh, from Meson's and
pytest's reports, and the time of builds.
"""

import json
import re
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

N_TESTS = 15


def reported(results, part):
    """Yields (seconds, name) of each test of a part."""
    for path in results.glob(f"{part}[-.]*json"):
        for line in path.read_text().splitlines():
            test = json.loads(line)
            yield test.get("duration", 0), test["name"].split(" / ")[-1]
    for path in results.glob(f"{part}[-.]*xml"):
        for case in ElementTree.parse(path).getroot().iter("testcase"):
            name = case.get("classname", "").split(".")[-1] + "::" + case.get("name", "")
            yield float(case.get("time") or 0), name


def main(results, parts):
    tests = [(s, part, name) for part in parts for s, name in reported(Path(results), part)]
    for seconds, part, name in sorted(tests, reverse=True)[:N_TESTS]:
        print(f"{seconds:7.1f} s  {part:10} {name[:76]}")
    for part in parts:
        output = Path(results) / f"{part}.out"
        if output.is_file():
            for what, seconds in re.findall(r"^    (\w+): (\d+) s$", output.read_text(), re.M):
                print(f"{seconds:>7} s  {part:10} made {what}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
