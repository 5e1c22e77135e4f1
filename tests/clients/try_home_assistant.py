"""Home Assistant's ollama integration: its requests (recorded/home-assistant.json, written from its source,
since it needs a newer Python) by its client library, and a conversation that goes on as it does.
"""

import json
from pathlib import Path

import ollama
from features import URL, feature, try_all

RECORD = json.loads(Path(__file__).with_name("recorded").joinpath("home-assistant.json").read_text())
CHATS = [request["body"] for request in RECORD if request["path"] == "/api/chat"]


async def chat(body, messages):
    """Sends a request as the integration does: a stream, to which it listens for text and calls."""
    client = ollama.AsyncClient(host=URL)
    fields = {key: body[key] for key in ("tools", "options", "keep_alive", "format") if body.get(key)}
    text, calls, last = "", [], None
    async for last in await client.chat(
        model=(await client.list()).models[0].model, messages=messages, stream=True,
        think=body.get("think"), **fields,
    ):  # fmt: skip
        text += last["message"].get("content") or ""
        calls += last["message"].get("tool_calls") or []
    assert last.done
    return text, calls


def with_tools():
    return next(body for body in CHATS if body.get("tools"))


@feature("it finds the server: the list of models")
async def _():
    assert (await ollama.AsyncClient(host=URL).list()).models


@feature("a light is switched on: a call of one of its tools with arguments that the tool has")
async def _():
    body = with_tools()
    ask = {"role": "user", "content": "Turn on the kitchen light."}
    text, calls = await chat(body, [*body["messages"][:1], ask])
    assert calls, text
    tools = {tool["function"]["name"]: tool["function"]["parameters"] for tool in body["tools"]}
    function = calls[0]["function"]
    assert set(function["arguments"]) <= set(tools[function["name"]]["properties"])


@feature("the result goes back without an id or a name, and the answer is a text")
async def _():
    body = with_tools()
    function = {"name": "HassTurnOn", "arguments": {"name": "Kitchen light"}}
    messages = [
        *body["messages"][:1],
        {"role": "user", "content": "Turn on the kitchen light."},
        {"role": "assistant", "content": "", "tool_calls": [{"function": function}]},
        {"role": "tool", "content": json.dumps({"response_type": "action_done", "data": {"success": []}})},
    ]
    text, calls = await chat(body, messages)
    assert text or calls


@feature("a task for data: an object with the fields that were asked for")
async def _():
    body = next(body for body in CHATS if body.get("format"))
    text, _ = await chat(body, body["messages"])
    assert set(json.loads(text)) <= set(body["format"]["properties"])


try_all()
