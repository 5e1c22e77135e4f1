#!/usr/bin/env python3
"""count_results.py FILE...  prints "PASSED FAILED" of Meson's testlog.json files and JUnit files.

A skipped test counts as failed, since it has not shown anything.
"""

import json
import re
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path


def count_meson(path):
    """Counts the cmocka tests in the output of each program. A program without any counts as one test,
    and a crash counts as a further failure."""
    passed = failed = 0
    for line in path.read_text().splitlines():
        test = json.loads(line)
        output = test.get("stdout", "") + test.get("stderr", "")
        good = len(re.findall(r"^\[ +OK \] ", output, re.M))
        bad = len(set(re.findall(r"^\[ +(?:FAILED|ERROR|SKIPPED) +\] ([A-Za-z_]\w*)$", output, re.M)))
        ok = test["result"] == "OK"
        if ok and good + bad == 0:
            good = 1
        if not ok and bad == 0:
            bad = 1
        passed, failed = passed + good, failed + bad
    return passed, failed


def count_junit(path):
    passed = failed = 0
    for suite in ElementTree.parse(path).getroot().iter("testsuite"):
        n = {k: int(suite.get(k, 0)) for k in ("tests", "failures", "errors", "skipped")}
        bad = n["failures"] + n["errors"] + n["skipped"]
        # a test with a failed teardown counts as a failure and again as an error
        passed, failed = passed + max(n["tests"] - bad, 0), failed + bad
    return passed, failed


def main(names):
    counts = [count_meson(p) if p.suffix == ".json" else count_junit(p) for p in map(Path, names)]
    print(sum(c[0] for c in counts), sum(c[1] for c in counts))


if __name__ == "__main__":
    main(sys.argv[1:])
