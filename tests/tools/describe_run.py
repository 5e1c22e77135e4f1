#!/usr/bin/env python3
"""describe_run.py RESULTS PART...  prints of a run of test.sh, from Meson's and pytest's reports: the slowest
tests of all parts, the time of builds, and each test that failed, with the end of what it said.
"""

import json
import re
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import NamedTuple

N_TESTS = 15
N_FAILURES = 20
N_LINES = 12  # of a failure


class Test(NamedTuple):
    seconds: float
    part: str
    name: str
    failure: str | None  # its output


def meson_tests(path, part):
    for line in path.read_text().splitlines():
        test = json.loads(line)
        output = test.get("stdout", "") + test.get("stderr", "")
        failure = None if test["result"] == "OK" else f"{output}\n{test['result']}"
        yield Test(test.get("duration", 0), part, test["name"].split(" / ")[-1], failure)


def pytest_tests(path, part):
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        name = case.get("classname", "").split(".")[-1] + "::" + case.get("name", "")
        failure = None
        for outcome in case:
            if outcome.tag in ("failure", "error", "skipped"):
                # pytest marks lines of the error with E
                marked = re.findall(r"^(?:E |>).*", outcome.text or "", re.M)
                failure = "\n".join(marked) or outcome.get("message") or outcome.tag
        yield Test(float(case.get("time") or 0), part, name, failure)


def tests_of(results, part):
    for path in sorted(results.glob(f"{part}[-.]*json")):
        yield from meson_tests(path, part)
    for path in sorted(results.glob(f"{part}[-.]*xml")):
        yield from pytest_tests(path, part)


def print_builds(results, part):
    output = results / f"{part}.out"
    if output.is_file():
        for what, seconds in re.findall(r"^    (\w+): (\d+) s$", output.read_text(), re.M):
            print(f"{seconds:>7} s  {part:10} made {what}")


def print_failures(failed):
    for test in failed[:N_FAILURES]:
        print(f"\nFAILED {test.part}: {test.name}")
        for line in test.failure.strip().splitlines()[-N_LINES:]:
            print(f"    {line[:200]}")
    if len(failed) > N_FAILURES:
        print(f"\nand {len(failed) - N_FAILURES} more")


def main(results, parts):
    tests = [test for part in parts for test in tests_of(results, part)]
    for test in sorted(tests, key=lambda t: t.seconds, reverse=True)[:N_TESTS]:
        print(f"{test.seconds:7.1f} s  {test.part:10} {test.name[:76]}")
    for part in parts:
        print_builds(results, part)
    print_failures([test for test in tests if test.failure is not None])


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
