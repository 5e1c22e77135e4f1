"""kinglet schema against the JSON-Schema-Test-Suite, which the source package of jsonschema has.

A schema that is refused by name is no failure; an instance that is judged wrongly is.
"""

import json
import subprocess
import sys
import tarfile

import pytest

PACKAGE = "jsonschema==4.26.0"
DRAFTS = {
    "draft4": "http://json-schema.org/draft-04/schema#",
    "draft6": "http://json-schema.org/draft-06/schema#",
    "draft7": "http://json-schema.org/draft-07/schema#",
    "draft2019-09": "https://json-schema.org/draft/2019-09/schema",
    "draft2020-12": "https://json-schema.org/draft/2020-12/schema",
}
# format, content and vocabulary: what they assert is optional; formats have tests of their own.
LEFT_OUT = {"format.json", "content.json", "vocabulary.json", "refRemote.json"}
# Groups that may be refused by name, at most.
MOST_REFUSED = 0.16


@pytest.fixture(scope="session")
def suite(tmp_path_factory):
    """The folder of the suite's tests."""
    folder = tmp_path_factory.mktemp("suite")
    subprocess.run(
        [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", "jsonschema",
         "--disable-pip-version-check", "-d", str(folder), PACKAGE],
        check=True, timeout=300,
    )
    with tarfile.open(next(folder.glob("*.tar.gz"))) as archive:
        tests = [m for m in archive if m.isfile() and "/json/tests/" in m.name and ".." not in m.name]
        archive.extractall(folder, tests)
    return next(folder.glob("*/json/tests"))


def groups(suite, draft):
    """The groups of tests of a draft, as files in the form that kinglet schema reads."""
    for path in sorted((suite / draft).glob("*.json")):
        if path.name in LEFT_OUT:
            continue
        for number, group in enumerate(json.loads(path.read_text())):
            schema = group["schema"]
            if isinstance(schema, dict):
                schema = {"$schema": DRAFTS[draft], **schema}
            yield f"{path.stem}-{number:03}", {**group, "schema": schema}


@pytest.mark.parametrize("draft", DRAFTS)
def test_draft(suite, draft, tmp_path, kinglet, tiny_model_path):
    expected = {}
    for name, group in groups(suite, draft):
        (tmp_path / f"{name}.json").write_text(json.dumps(group))
        expected[f"{name}.json"] = group
    run = subprocess.run(
        [kinglet, "schema", str(tmp_path), "--json", "--model", str(tiny_model_path)],
        capture_output=True, text=True, timeout=300,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    results = {r["file"]: r for r in map(json.loads, run.stdout.splitlines())}
    assert results.keys() == expected.keys()
    refused = {name for name, r in results.items() if r["error"]}
    wrong = []
    for name, group in expected.items():
        if name in refused:
            assert results[name]["error"]["text"]
            continue
        for test, judged in zip(group["tests"], results[name]["instances"], strict=True):
            if judged["accepted"] != test["valid"]:
                wrong.append(f"{name}: {group['description']}: {test['description']}: {judged}")
    assert not wrong, "\n".join(wrong)
    assert len(refused) <= MOST_REFUSED * len(expected), sorted(refused)
