"""Requests as clients really sent them, in recorded/, are answered the way these clients read answers.

tests/clients/run --record made those of the clients in CLIENTS. Home Assistant's, Open WebUI's and VS Code's
are written from their sources (the ollama integration of 2025 and 2026; Open WebUI's routers; the providers
for Ollama and OpenAI-compatible servers in vscode-copilot-chat). MODEL stands for the served model's name.
"""

import http.client
import json
from pathlib import Path

import jsonschema
import pytest

RECORDED = sorted(Path(__file__).with_name("recorded").glob("*.json"))
MODEL = "MODEL"  # stands for the served model


def requests():
    for path in RECORDED:
        for i, request in enumerate(json.loads(path.read_text())):
            name = f"{path.stem}-{i}-{request['path'].strip('/').replace('/', '.')}"
            yield pytest.param(request, id=name)


class Answer:
    """The end of an answer for a client: text, calls of tools as (name, arguments), why it ended, usage."""

    def __init__(self):
        self.text, self.calls, self.reason, self.usage = "", [], None, None


def send(server, request):
    """Returns the reply of a request; its status must be 200."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=300)
    body = request.get("body")
    text = None if body is None else json.dumps(body).replace(MODEL, model_of(server, request["path"]))
    headers = {"Content-Type": "application/json", **request["headers"]}
    connection.request(request["method"], request["path"], text, headers)
    reply = connection.getresponse()
    data = reply.read()
    assert reply.status == 200, (reply.status, data)
    return reply.headers["Content-Type"], data.decode()


def model_of(server, path):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.request("GET", "/v1/models")
    name = json.load(connection.getresponse())["data"][0]["id"]
    return f"{name}:latest" if path.startswith("/api/") else name


def events(text):
    """The objects of an event stream; [DONE] is the last event where there is one."""
    found = []
    for block in text.split("\n\n")[:-1]:
        lines = [line for line in block.split("\n") if not line.startswith(":")]
        data = [line[6:] for line in lines if line.startswith("data: ")]
        assert len(data) == 1 and all(line.startswith(("data: ", "event: ")) for line in lines), block
        found.append(data[0])
    if "[DONE]" in found:
        assert found.pop() == "[DONE]"
    return [json.loads(data) for data in found]


def read_chat(kind, text):
    """An answer of /v1/chat/completions."""
    answer = Answer()
    if kind.startswith("application/json"):
        document = json.loads(text)
        choice = document["choices"][0]
        message = choice["message"]
        answer.text, answer.reason = message["content"] or "", choice["finish_reason"]
        answer.usage = document["usage"]
        for call in message.get("tool_calls") or []:
            assert call["id"] and call["type"] == "function"
            answer.calls.append((call["function"]["name"], json.loads(call["function"]["arguments"])))
        return answer
    calls = {}
    chunks = events(text)
    assert len({(c["id"], c["created"], c["model"], c["object"]) for c in chunks}) == 1
    for chunk in chunks:
        answer.usage = chunk.get("usage") or answer.usage
        for choice in chunk["choices"]:
            assert answer.reason is None
            answer.text += choice["delta"].get("content") or ""
            answer.reason = choice["finish_reason"]
            for piece in choice["delta"].get("tool_calls") or []:
                assert ("id" in piece) == (piece["index"] not in calls)
                call = calls.setdefault(piece["index"], [piece["function"].get("name"), ""])
                call[1] += piece["function"].get("arguments") or ""
    answer.calls = [(name, json.loads(arguments)) for name, arguments in calls.values()]
    return answer


def read_completion(kind, text):
    """An answer of /v1/completions."""
    answer = Answer()
    for document in [json.loads(text)] if kind.startswith("application/json") else events(text):
        assert document["object"] == "text_completion"
        answer.usage = document.get("usage") or answer.usage
        for choice in document["choices"]:
            answer.text += choice["text"]
            answer.reason = choice["finish_reason"]
    return answer


def read_ollama(kind, text):
    """An answer of /api/chat or /api/generate."""
    answer = Answer()
    lines = text.splitlines()
    assert kind.startswith("application/x-ndjson" if len(lines) > 1 else "application/")
    for i, line in enumerate(lines):
        piece = json.loads(line)
        assert piece["done"] == (i == len(lines) - 1) and "error" not in piece
        message = piece.get("message") or {"content": piece.get("response")}
        answer.text += message["content"] or ""
        for call in message.get("tool_calls") or []:
            answer.calls.append((call["function"]["name"], call["function"]["arguments"]))
    answer.reason, answer.usage = piece["done_reason"], piece["eval_count"]
    return answer


def read_responses(kind, text):
    """An answer of /v1/responses."""
    answer = Answer()
    document = json.loads(text) if kind.startswith("application/json") else None
    if document is None:
        found = events(text)
        assert [e["sequence_number"] for e in found] == list(range(len(found)))
        assert found[0]["type"] == "response.created"
        document = found[-1]["response"]
        deltas = "".join(e["delta"] for e in found if e["type"] == "response.output_text.delta")
        arguments = "".join(e["delta"] for e in found if e["type"] == "response.function_call_arguments.delta")
        calls = [item for item in document["output"] if item["type"] == "function_call"]
        assert "".join(call["arguments"] for call in calls) == arguments
    for item in document["output"]:
        if item["type"] == "message":
            answer.text += "".join(part["text"] for part in item["content"])
        else:
            answer.calls.append((item["name"], json.loads(item["arguments"])))
    assert kind.startswith("application/json") or deltas == answer.text
    cut = document["status"] == "incomplete"
    answer.reason, answer.usage = "length" if cut else "stop", document["usage"]
    return answer


def read_messages(kind, text):
    """An answer of /v1/messages."""
    answer = Answer()
    if kind.startswith("application/json"):
        document = json.loads(text)
        blocks, answer.reason, answer.usage = document["content"], document["stop_reason"], document["usage"]
    else:
        blocks = []
        for event in events(text):
            if event["type"] == "content_block_start":
                blocks.append({**event["content_block"], "input": ""})
            elif event["type"] == "content_block_delta":
                blocks[-1]["text"] = blocks[-1].get("text", "") + event["delta"].get("text", "")
                blocks[-1]["input"] += event["delta"].get("partial_json", "")
            elif event["type"] == "message_delta":
                answer.reason, answer.usage = event["delta"]["stop_reason"], event["usage"]
        for block in blocks:
            block["input"] = json.loads(block["input"] or "{}")
    answer.text = "".join(b["text"] for b in blocks if b["type"] == "text")
    answer.calls = [(b["name"], b["input"]) for b in blocks if b["type"] == "tool_use"]
    return answer


READERS = {
    "/v1/chat/completions": read_chat,
    "/v1/completions": read_completion,
    "/api/chat": read_ollama,
    "/api/generate": read_ollama,
    "/v1/responses": read_responses,
    "/v1/messages": read_messages,
}


def tools_of(body):
    """{name: schema of its arguments} in each of the dialects."""
    tools = {}
    for tool in body.get("tools") or []:
        function = tool.get("function") or tool
        tools[function["name"]] = function.get("parameters") or function.get("input_schema") or {}
    return tools


def schema_of(body):
    """The schema that the text must follow, or None."""
    form = body.get("response_format") or (body.get("text") or {}).get("format") or body.get("format")
    if form in (None, "") or (isinstance(form, dict) and form.get("type") == "text"):
        return None
    if form == "json":
        return {"type": "object"}
    return form.get("json_schema", {}).get("schema") or form.get("schema") or (
        {"type": "object"} if form.get("type") == "json_object" else form
    )


def must_call(body):
    choice = body.get("tool_choice")
    return choice == "required" or (isinstance(choice, dict) and choice.get("type") not in ("auto", "none"))


def reports_usage(body):
    """Streams of Chat Completions do so on demand, the others always."""
    return not body.get("stream") or "stream_options" in body


@pytest.mark.parametrize("request_", list(requests()))
def test_request(request_, brief_server):
    kind, text = send(brief_server, request_)
    reader = READERS.get(request_["path"].split("?")[0])
    if reader is None:  # lists, vectors: an object
        assert request_["method"] == "HEAD" or "error" not in json.loads(text.splitlines()[-1])
        return
    body = request_["body"]
    answer = reader(kind, text)
    assert answer.reason and (answer.text or answer.calls)
    assert answer.usage or not reports_usage(body)
    tools = tools_of(body)
    for name, arguments in answer.calls:
        assert isinstance(arguments, dict)
        if answer.reason not in ("length", "max_tokens"):
            jsonschema.validate(arguments, tools[name])
    assert answer.calls or not must_call(body)
    assert "<tool_call>" not in answer.text
    schema = schema_of(body)
    if schema is not None and not answer.calls and answer.reason not in ("length", "max_tokens"):
        jsonschema.validate(json.loads(answer.text), schema)
