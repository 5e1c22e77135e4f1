"""kinglet schema: what it says of a schema, of values, and of a directory of schemas with tests."""

import json
import os

import pytest

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 5},
        "age": {"type": "integer", "minimum": 0, "multipleOf": 1},
    },
    "required": ["name"],
    "additionalProperties": False,
}
# No supported draft makes a look-behind a regular language.
UNSUPPORTED = {"properties": {"a": {"pattern": "(?<=a)b"}}}
KEYS = ["compile_us", "states", "error", "instances", "masks", "mask_us_mean", "mask_us_p99"]


@pytest.fixture
def schema(run_kinglet, tiny_model_path, tmp_path):
    """schema(schema, *args, instances=text) -> CompletedProcess, on the tiny model's tokenizer."""

    def run(schema, *args, instances=None, check=True):
        path = tmp_path / "schema.json"
        path.write_text(schema if isinstance(schema, str) else json.dumps(schema))
        if instances is not None:
            values = tmp_path / "values"
            values.write_text(instances, encoding="utf-8")
            args += ("--instances", values)
        env = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "LOG_LEVEL": ""}
        return run_kinglet("schema", "-m", tiny_model_path, path, *args, env=env, check=check)

    return run


@pytest.fixture
def judge(schema):
    """judge(schema, *texts) -> the instances of --json, for texts of JSON."""

    def run(rule, *texts, args=()):
        report = json.loads(schema(rule, "--json", *args, instances=f"[{','.join(texts)}]").stdout)
        assert list(report) == KEYS and report["error"] is None
        assert len(report["instances"]) == len(texts)
        return report["instances"]

    return run


def python(text):
    return json.dumps(json.loads(text), ensure_ascii=False)


def test_a_schema_is_compiled(schema):
    done = schema(PERSON)
    assert b"every keyword is supported" in done.stdout and done.stderr == b""
    report = json.loads(schema(PERSON, "--json").stdout)
    assert list(report) == KEYS
    assert report["error"] is None and report["instances"] == [] and report["masks"] == 0
    assert report["compile_us"] > 0 and report["states"] > 0


def test_values_are_judged(judge):
    texts = ['{"name":"Ann","age":3}', '{"age":-3,"name":"Ann"}', '{"age":3}', '{"name":"Annabel"}',
             '{"name":"中é😀","x":1}', "[]", '{"age": 3.0, "name": ""}', '{"age": 3.5, "name": ""}']
    found = judge(PERSON, *texts)
    assert [i["accepted"] for i in found] == [True, False, False, False, False, False, True, False]
    stops = [None, '{"age": -3', '{"age": 3', '{"name": "Annab', '{"name": "中é😀", "', "", None,
             '{"age": 3.5']
    for text, instance, stop in zip(texts, found, stops):
        assert instance["stopped_at"] == (None if stop is None else len(stop.encode()))
        assert python(text).startswith(stop or "")
        assert 0 < instance["tokens"] <= len(python(text).encode())


def test_stops_are_bytes_of_the_text_that_python_writes(judge):
    # spaces, escapes, digits: none of them as in the file
    (found,) = judge({"type": "array", "items": {"type": "string"}},
                     '["\\u4e2d\\u000a\\/",\t\t"\\uD83D\\uDE00" ,1e5]')
    assert python('["\\u4e2d\\u000a\\/","\\uD83D\\uDE00",1e5]').endswith("100000.0]")
    assert found["stopped_at"] == len('["中\\n/", "😀", '.encode())


def test_a_text_may_be_refused_only_at_its_end(judge, schema):
    found = judge({"type": "number", "minimum": 10}, "9", "12", "99999999999999999999999999", "1e400")
    assert [i["accepted"] for i in found] == [False, True, True, False]
    assert found[0]["stopped_at"] == 1 and found[3]["stopped_at"] == 0
    done = schema({"minimum": 10}, instances="9 10")
    assert b"1: refused at byte 1: '9' may not end here\n2: accepted, " in done.stdout


def test_integers_of_any_length_are_exact(judge):
    rule = {"type": "integer", "minimum": 9007199254740992, "multipleOf": 3}
    found = judge(rule, "9007199254740993", "9007199254740994", "9" * 400, "9" * 399 + "8")
    assert [i["accepted"] for i in found] == [True, False, True, False]


def test_text_that_a_normaliser_would_change_is_judged_as_it_is(judge):
    decomposed = "e\u0301"
    found = judge({"const": decomposed}, json.dumps(decomposed), json.dumps("\u00e9"))
    assert [i["accepted"] for i in found] == [True, False]
    (found,) = judge({"minLength": 2}, f'"{decomposed}"')
    assert found["accepted"]


def test_instances_are_lines_or_an_array(schema):
    def count(text):
        return len(json.loads(schema({}, "--json", instances=text).stdout)["instances"])

    assert count("1\n2\n\n[3]\n") == 3
    assert count(' [1, [2],\n "3"]\n') == 3
    assert count("[]") == 0
    assert count("[1]\n[2]") == 2
    assert count("\ufeff7") == 1
    for text, said in (("1\n{2}", b"the name of a member was expected at byte 3"),
                       ("", b"a value was expected at byte 0"), ('"\\ud800"', b"surrogate")):
        done = schema({}, instances=text, check=False)
        assert done.returncode == 2 and said in done.stderr and b"values: " in done.stderr
        assert done.stdout == b""


def test_masks_are_counted_and_timed(schema):
    report = json.loads(schema(PERSON, "--json", instances='{"name":"Ann"}').stdout)
    assert report["masks"] == report["instances"][0]["tokens"] + 1  # the end is a token, too
    assert 0 < report["mask_us_mean"] and 0 < report["mask_us_p99"]


def test_unsupported_schemas_are_refused_by_name(schema):
    done = schema(UNSUPPORTED, check=False)
    assert done.returncode == 1 and done.stdout == b""
    assert b"schema.json: " in done.stderr and b"#/properties/a" in done.stderr
    report = json.loads(schema(UNSUPPORTED, "--json", instances='{"a":"b"}').stdout)
    assert list(report) == KEYS and report["instances"] == []
    assert report["error"]["path"].startswith("#/properties/a")
    assert report["error"]["keyword"] == "pattern" and report["error"]["text"]


def test_wrong_usage(schema, run_kinglet, tmp_path, tiny_model_path):
    for rule, said in (("{", b"not JSON"), ("[" * 600 + "]" * 600, b"levels deep"), ("", b"not JSON")):
        done = schema(rule, check=False)
        assert done.returncode in (1, 2) and said in done.stderr and done.stdout == b""
    for args in ([], [tmp_path, "--instances", "x"], [tmp_path / "missing"], [tmp_path, "more"]):
        done = run_kinglet("schema", "-m", tiny_model_path, *args, check=False)
        assert done.returncode in (1, 2) and done.stdout == b"" and done.stderr


def document_of(schema, *pairs):
    return json.dumps({"schema": schema, "tests": [{"valid": v, "data": d} for v, d in pairs]})


@pytest.fixture
def directory(tmp_path):
    home, elsewhere = tmp_path / "set", tmp_path / "elsewhere.json"
    home.mkdir()
    (home / "b.json").write_text(document_of(PERSON, (True, {"name": "x"}), (False, {"age": 1})))
    (home / "a.json").write_text(document_of(UNSUPPORTED, (True, {})))
    # its test is wrong, so it is not right
    elsewhere.write_text(document_of({"type": "integer"}, (True, 1), (True, "no"), (False, 2)))
    os.symlink(elsewhere, home / "c.json")
    # numbers that no double holds, and "data" in other places
    (home / "d.json").write_text('{"tests":[{"data":{"data":%s},"valid":true}],"schema":{"properties":'
                                 '{"data":{"type":"integer"}}},"data":0}' % ("9" * 50))
    (home / "ignored.txt").write_text("x")
    return home


def test_a_directory_gives_a_line_for_each_file(run_kinglet, tiny_model_path, directory):
    done = run_kinglet("schema", "-m", tiny_model_path, directory)
    reports = [json.loads(line) for line in done.stdout.splitlines()]
    assert all(list(r) == ["file"] + KEYS for r in reports)
    a, b, c, d = reports
    assert [r["file"] for r in reports] == ["a.json", "b.json", "c.json", "d.json"]
    assert a["error"]["keyword"] == "pattern" and a["instances"] == []
    assert [i["accepted"] for i in b["instances"]] == [True, False]
    assert [i["accepted"] for i in c["instances"]] == [True, False, True]
    assert [i["accepted"] for i in d["instances"]] == [True]
    table = done.stderr.decode()
    for line in ("files right 2 of 4 50.00 %", "files refused 1 of 4 25.00 %",
                 "invalid accepted 1 of 2 50.00 %", "valid refused 1 of 4 25.00 %", "refused: 1 pattern"):
        assert line in [" ".join(row.split()) for row in table.splitlines()], table
    masks = sum(r["masks"] for r in reports)
    rows = {row.split()[0]: row.split()[1:] for row in table.splitlines()}
    assert rows["mask"][-1] == str(masks) and rows["compile"][-1] == "3"


def test_files_of_another_form_are_told_and_fail_at_the_end(run_kinglet, tiny_model_path, directory):
    (directory / "aa.json").write_text("{]")
    (directory / "ab.json").write_text(json.dumps({"schema": {}, "tests": [{"data": 1}]}))
    (directory / "ac.json").write_text(json.dumps({"type": "object"}))
    os.symlink("nowhere", directory / "z.json")
    done = run_kinglet("schema", "-m", tiny_model_path, directory, check=False)
    reports = {r["file"]: r for r in map(json.loads, done.stdout.splitlines())}
    assert len(reports) == 8 and done.returncode == 1
    for name, said in (("aa", "not JSON"), ("ab", "test 1"), ("ac", '"tests"'), ("z", "No such file")):
        assert said in reports[f"{name}.json"]["error"]["text"]
    assert reports["d.json"]["instances"][0]["accepted"]
    assert b"4 files of" in done.stderr and b"files right" in done.stderr
