"""Answers to random schemas: each must be valid by an independent judge, the Python package
jsonschema with its format checks, although the tiny model writes nonsense at temperature 1.5."""

import json
import random
import re

import jsonschema
import pytest
from api_client import stream

N_SCHEMAS = 300
FORMATS = ("date", "date-time", "ipv4", "ipv6", "uuid", "email", "hostname", "duration")
PATTERNS = (r"^[a-z]{1,8}$", r"^\d{3}-\d{2}$", r"^(on|off|a\"b\\c)$", r"^[A-Z][a-z]*( [A-Z][a-z]*)?$", r"^é?[ü-ÿ]{0,3}$")
NAMES = ("name", "na", "id", "größe", "a b", 'qu"ote', "items", "x", "url", "back\\slash")

# Without further packages jsonschema checks neither of these, or by draft 3, where a time is HH:MM:SS.
CHECKER = jsonschema.Draft202012Validator.FORMAT_CHECKER
TIME = r"([01]\d|2[0-3]):[0-5]\d:([0-5]\d|60)(\.\d+)?([Zz]|[+-]([01]\d|2[0-3]):[0-5]\d)"
DATE = r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])"
LABEL = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
MORE_FORMATS = {
    "time": TIME,
    "date-time": f"{DATE}[Tt ]{TIME}",
    "duration": r"P(?=[\dT])(\d+W|(\d+Y)?(\d+M)?(\d+D)?(T(?=\d)(\d+H)?(\d+M)?(\d+(\.\d+)?S)?)?)",
    "hostname": rf"(?=.{{1,253}}$){LABEL}(\.{LABEL})*",
}
for name, pattern in MORE_FORMATS.items():
    CHECKER.checks(name)(
        lambda value, pattern=pattern: not isinstance(value, str) or re.fullmatch(pattern, value, re.ASCII) is not None
    )


def a_string(r, depth):
    kind = r.randrange(5)
    if kind == 0:
        low = r.randrange(4)
        return {"type": "string", "minLength": low, "maxLength": low + r.randrange(8)}
    if kind == 1:
        return {"type": "string", "format": r.choice(FORMATS), "maxLength": 60}
    if kind == 2:
        return {"type": "string", "pattern": r.choice(PATTERNS), "maxLength": 20}
    if kind == 3:
        return {"enum": r.sample(["red", "green", "re", 'a"b', "ÿ\n", "", "long enough"], r.randint(1, 4))}
    return {"const": r.choice(["x", "tab\there", "\\", "漢字"])}


def a_number(r, depth):
    kind = r.randrange(5)
    low = r.choice([-1000, -7, 0, 3, 0.5, -0.25])
    if kind == 0:
        return {"type": "integer", "minimum": int(low), "maximum": int(low) + r.randrange(2000)}
    if kind == 1:
        return {"type": "number", "exclusiveMinimum": low, "maximum": low + r.choice([1, 0.125, 400])}
    if kind == 2:
        return {"type": "integer", "multipleOf": r.choice([1, 5, 7, 12]), "minimum": 0, "maximum": 500}
    if kind == 3:
        return {"enum": r.sample([1, 2.5, -3, 1000000, 0.001], r.randint(1, 3))}
    return {"type": "number", "minimum": low, "exclusiveMaximum": low + 50, "multipleOf": 0.5}


def an_array(r, depth):
    kind = r.randrange(4)
    if kind == 0:
        low = r.randrange(3)
        return {"type": "array", "items": schema(r, depth - 1), "minItems": low, "maxItems": low + r.randrange(3)}
    if kind == 1:
        return {"type": "array", "prefixItems": [schema(r, depth - 1) for _ in range(r.randint(1, 3))],
                "items": False, "minItems": 1}
    if kind == 2:
        names = r.sample(NAMES, r.randint(2, 5))
        return {"type": "array", "items": {"enum": names}, "uniqueItems": True, "minItems": r.randrange(3)}
    return {"type": "array", "items": schema(r, 0), "maxItems": 3}


def few_names(r):
    """An object that needs many of the names that its pattern or their length leaves: they run out."""
    value = {"enum": [0, 1]}
    pattern, n = r.choice([("^[a-d]{1,3}$", 84), ("^[a-z][01]$", 52), ("^(x|yy?|[a-m]{2})$", 172), ("^[é-ü]{2}$", 400)])
    low = r.randrange(min(n, 100))
    rule = r.choice([{"patternProperties": {pattern: value}, "additionalProperties": False},
                     {"propertyNames": {"pattern": pattern}, "additionalProperties": value},
                     {"propertyNames": {"maxLength": 1}, "additionalProperties": value}])  # fmt: skip
    return {"type": "object", **rule, "minProperties": low, "maxProperties": low + r.randrange(10)}


def an_object(r, depth):
    if r.randrange(4) == 0:
        return few_names(r)
    names = r.sample(NAMES, r.randint(1, 4))
    properties = {name: schema(r, depth - 1) for name in names}
    result = {"type": "object", "properties": properties, "required": r.sample(names, r.randint(0, len(names)))}
    kind = r.randrange(5)
    if kind == 0:
        result["additionalProperties"] = False
    if kind == 1:
        result = {"allOf": [result, {"properties": {"more": schema(r, 0)}, "required": ["more"]}]}
    if kind == 2:
        result["$defs"] = {"unused": {"type": "null"}}
    return result


def alternatives(r, depth):
    kind = r.randrange(4)
    if kind == 0:
        return {"anyOf": [schema(r, depth - 1) for _ in range(r.randint(1, 3))]}
    if kind == 1:
        return {"oneOf": [a_string(r, 0), a_number(r, 0), {"type": "null"}]}
    if kind == 2:
        return {"oneOf": [
            {"type": "object", "properties": {"kind": {"const": tag}, "value": schema(r, depth - 1)},
             "required": ["kind", "value"]} for tag in ("a", "b", "ab")]}
    return {"type": ["string", "null", "boolean"], "maxLength": 5}


def schema(r, depth):
    makers = [a_string, a_number, lambda r, d: {"type": r.choice(["boolean", "null"])}]
    if depth > 0:
        makers += [an_array, an_object, an_object, alternatives]
    return r.choice(makers)(r, depth)


@pytest.mark.parametrize("part", range(10))
def test_answers_are_valid(tiny, part):
    n = N_SCHEMAS // 10
    for number in range(part * n, part * n + n):
        r = random.Random(number)
        rule = schema(r, 3)
        answer = stream(tiny, temperature=1.5, top_k=0, seed=number, max_tokens=3000,
                        response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": rule}})
        text = answer.text()
        assert answer.finish_reason() == "stop", (number, rule, text)
        value = json.loads(text)
        judge = jsonschema.Draft202012Validator(rule, format_checker=CHECKER)
        assert not list(judge.iter_errors(value)), (number, rule, text)
