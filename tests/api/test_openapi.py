"""GET /openapi.json is valid, and true: its examples are accepted, and answers and errors have the shapes
that it says. That it has every route is in tests/unit/server/test_openapi.c."""

import json
from pathlib import Path

import pytest
from api_client import call, get
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

DOCUMENT = json.loads((Path(__file__).resolve().parents[2] / "web" / "openapi.json").read_text())
OPERATIONS = [(path, method, op) for path, ops in DOCUMENT["paths"].items() for method, op in ops.items()]


def name(operation):
    return operation["operationId"]


def check(value, schema):
    """Checks a value by a schema of the document, whose references are relative to the document."""
    Draft202012Validator({**schema, "components": DOCUMENT["components"]}).validate(value)


def resolved(response):
    where = response.get("$ref")
    return DOCUMENT["components"]["responses"][where.rsplit("/", 1)[1]] if where else response


def test_document(tiny):
    reply = get(tiny, "/openapi.json")
    assert reply.status == 200 and reply.headers["content-type"] == "application/json"
    assert reply.json() == DOCUMENT
    assert get(tiny, "/openapi.json", {"If-None-Match": reply.headers["etag"]}).status == 304
    assert call(tiny, "HEAD", "/openapi.json").headers["content-length"] == str(len(reply.body))


def test_it_is_valid():
    validate(DOCUMENT)
    assert DOCUMENT["openapi"].startswith("3.1.")
    ids = [name(op) for _, _, op in OPERATIONS]
    assert len(set(ids)) == len(ids)
    assert {tag for _, _, op in OPERATIONS for tag in op["tags"]} == {t["name"] for t in DOCUMENT["tags"]}


def example_of(path, operation):
    """Returns the path and body of the example, or None if a value has none."""
    query = []
    for parameter in operation.get("parameters", ()):
        value = parameter.get("example")
        if parameter["in"] == "path" and value is not None:
            path = path.replace("{" + parameter["name"] + "}", value)
        elif parameter["in"] == "query" and value is not None:
            query.append(f"{parameter['name']}={value}")
        elif parameter.get("required"):
            return None
    body = None
    if "requestBody" in operation:
        body = operation["requestBody"]["content"]["application/json"].get("example")
        if body is None:
            return None
    return path + ("?" + "&".join(query) if query else ""), body


TRIED = [(path, method, op) for path, method, op in OPERATIONS
         if "200" in op["responses"] and example_of(path, op) is not None]  # fmt: skip


@pytest.mark.parametrize("path, method, operation", TRIED, ids=[name(op) for _, _, op in TRIED])
def test_examples(tiny, path, method, operation):
    target, body = example_of(path, operation)
    if body is not None:
        check(body, operation["requestBody"]["content"]["application/json"]["schema"])
    reply = call(tiny, method.upper(), target, body)
    assert reply.status == 200, reply.body
    content = operation["responses"]["200"]["content"]
    found = reply.headers["content-type"].split(";")[0]
    assert found in content
    if found == "application/json":
        check(reply.json(), content[found]["schema"])


STREAMS = [(path, op) for path, method, op in TRIED
           if method == "post" and len(op["responses"]["200"]["content"]) > 1
           and "model" not in op["requestBody"]["content"]["application/json"]["example"]]  # fmt: skip


@pytest.mark.parametrize("path, operation", STREAMS, ids=[name(op) for _, op in STREAMS])
def test_streams(tiny, path, operation):
    body = operation["requestBody"]["content"]["application/json"]["example"] | {"stream": True}
    reply = call(tiny, "POST", path, body)
    assert reply.status == 200
    assert reply.headers["content-type"].split(";")[0] == "text/event-stream"
    assert reply.headers["content-type"].split(";")[0] in operation["responses"]["200"]["content"]


POSTS = [(path, op) for path, method, op in OPERATIONS if method == "post" and "200" in op["responses"]]


@pytest.mark.parametrize("path, operation", POSTS, ids=[name(op) for _, op in POSTS])
def test_errors(tiny, path, operation):
    error = resolved(operation["responses"]["default"])["content"]["application/json"]["schema"]
    for method, body, headers, status in (
        ("POST", b"{", {}, 400),
        ("POST", b"[]", {}, 400),
        ("POST", b"{}", {"Content-Type": "text/html"}, 415),
        ("POST", b"{}", {"Content-Length": str(1 << 30)}, 413),
        ("PUT", b"{}", {}, 405),
    ):
        reply = call(tiny, method, path, body, headers)
        assert reply.status == status, (method, body, reply.body)
        assert reply.headers["content-type"].startswith("application/json")
        check(reply.json(), error)
