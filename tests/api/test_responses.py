"""/v1/responses: requests, answers, streams and kept answers, by hand and with the openai package."""

import json

import openai
import pytest
from api_client import (
    Connection, call, expect_end, get, health, late_in_prefill, post, wait_until,
)
from event_client import NamedEvents, refused
from pydantic import BaseModel

PATH = "/v1/responses"
TOOL = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather of a city",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
    "strict": True,
}


def respond(server, given="Hello", headers=None, **fields):
    reply = post(server, PATH, {"input": given, "max_output_tokens": 8, **fields}, headers)
    assert reply.status == 200, reply.body
    return reply.json()


def text_of(response):
    return "".join(p["text"] for i in response["output"] for p in i.get("content", ()))


# ---- the document --------------------------------------------------------------------------------


def test_document(tiny):
    found = respond(tiny, metadata={"a": "b"}, instructions="Be brief.", user="me")
    assert found["id"].startswith("resp_") and found["object"] == "response"
    assert found["status"] == "incomplete"
    assert found["incomplete_details"] == {"reason": "max_output_tokens"}
    assert found["error"] is None and found["metadata"] == {"a": "b"} and found["user"] == "me"
    assert found["instructions"] == "Be brief." and found["previous_response_id"] is None
    assert found["tools"] == [] and found["tool_choice"] == "auto" and found["store"] is True
    assert found["text"]["format"] == {"type": "text"} and found["truncation"] == "disabled"
    (item,) = found["output"]
    assert item["type"] == "message" and item["role"] == "assistant" and item["id"][:4] == "msg_"
    (part,) = item["content"]
    assert part["type"] == "output_text" and part["text"]
    assert part["annotations"] == [] and part["logprobs"] == []
    usage = found["usage"]
    assert usage["output_tokens"] == 8 and usage["output_tokens_details"]["reasoning_tokens"] == 0
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    assert usage["input_tokens_details"]["cached_tokens"] <= usage["input_tokens"]


def test_same_text_as_chat(tiny):
    """The two APIs give the model the same prompt."""
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "two"},
        {"role": "user", "content": "three\nfour"},
    ]
    items = [
        {"role": "user", "content": "one"},
        {"type": "message", "role": "assistant", "id": "msg_1", "status": "completed",
         "content": [{"type": "output_text", "text": "two", "annotations": []}]},
        {"type": "reasoning", "id": "rs_1", "summary": []},
        {"role": "user", "content": [{"type": "input_text", "text": "three"},
                                     {"type": "input_text", "text": "four"}]},
    ]  # fmt: skip
    chat = post(tiny, "/v1/chat/completions", {"messages": messages, "max_tokens": 8}).json()
    found = respond(tiny, items, instructions="Be brief.")
    assert text_of(found) == chat["choices"][0]["message"]["content"]
    assert found["usage"]["input_tokens"] == chat["usage"]["prompt_tokens"]


def test_last_message_of_the_assistant_is_not_continued(tiny):
    items = [{"role": "user", "content": "one"}, {"role": "assistant", "content": "two"}]
    whole = respond(tiny, items)["usage"]["input_tokens"]
    assert whole > respond(tiny, items[:1])["usage"]["input_tokens"] + 2


def test_logprobs(tiny):
    fields = {"include": ["message.output_text.logprobs"], "top_logprobs": 2}
    (item,) = respond(tiny, **fields)["output"]
    (part,) = item["content"]
    assert "".join(t["token"] for t in part["logprobs"]) == part["text"]
    assert all(len(t["top_logprobs"]) == 2 and t["logprob"] <= 0 for t in part["logprobs"])
    streamed = NamedEvents(tiny, PATH, {"input": "Hello", "max_output_tokens": 8, "stream": True,
                                        **fields})  # fmt: skip
    pieces = [t for d in streamed.of("response.output_text.delta") for t in d["logprobs"]]
    assert pieces == part["logprobs"]
    assert streamed.of("response.output_text.done")[0]["logprobs"] == part["logprobs"]


# ---- the stream ----------------------------------------------------------------------------------


def test_stream(tiny):
    body = {"input": "Hello", "max_output_tokens": 8}
    whole = post(tiny, PATH, body).json()
    streamed = NamedEvents(tiny, PATH, {**body, "stream": True})
    assert streamed.names == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.incomplete",
    ]
    assert [d["sequence_number"] for _, d in streamed.events] == list(range(len(streamed.events)))
    assert "[DONE]" not in streamed.raw
    text = "".join(d["delta"] for d in streamed.of("response.output_text.delta"))
    assert text == text_of(whole) == streamed.of("response.output_text.done")[0]["text"]
    assert streamed.of("response.content_part.done")[0]["part"]["text"] == text
    last = streamed.of("response.incomplete")[0]["response"]
    assert streamed.of("response.output_item.done")[0]["item"] == last["output"][0]
    first = streamed.of("response.created")[0]["response"]
    assert first["status"] == "in_progress" and first["output"] == [] and first["usage"] is None
    assert first["id"] == last["id"]
    varying = {"id", "created_at", "output", "usage"}
    assert {k: v for k, v in last.items() if k not in varying} == {
        k: v for k, v in whole.items() if k not in varying
    }
    items = {d["item_id"] for _, d in streamed.events if "item_id" in d}
    assert items == {last["output"][0]["id"]}


def test_answer_of_nothing(tiny):
    """A rule that only the empty text fulfils: a list without items."""
    tool = {**TOOL, "parameters": {"type": "object", "properties": {}}}
    found = respond(tiny, tools=[tool], tool_choice="none", stop=["a", "e"], max_output_tokens=1)
    assert isinstance(found["output"], list)


def test_error_in_a_stream(start_server):
    """The deadline passes before any text: an error event, then response.failed."""
    server = start_server("--offline", "--cache-ram", 0)
    body = {"input": "word and " * 950, "stream": True}
    streamed, _ = late_in_prefill(lambda headers: NamedEvents(server, PATH, body, headers))
    assert streamed.names[-2:] == ["error", "response.failed"]
    (error,) = streamed.of("error")
    assert error["code"] == error["error"]["code"] == "deadline_exceeded"
    assert error["message"] == error["error"]["message"]
    failed = streamed.of("response.failed")[0]["response"]
    assert failed["status"] == "failed" and failed["error"]["message"] == error["message"]
    assert get(server, f"{PATH}/{failed['id']}").status == 404


def kept(server):
    found = health(server)["statistics"]
    return found["kept_answers"], found["kept_answer_bytes"]


@pytest.mark.parametrize("streamed", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("name", ["responses", "messages"])
def test_a_client_that_leaves(tiny, endless, cancelled, name, streamed):
    """Its work ends within a step, and nothing of it is kept."""
    fields = {"input": endless, "max_output_tokens": 3000}
    if name == "messages":
        fields = {"messages": endless, "max_tokens": 3000}
    before = kept(tiny)
    with Connection(tiny) as c:
        c.send("POST", f"/v1/{name}", {**fields, "stream": streamed})
        wait_until(lambda: health(tiny)["running"] == 1, "it does not begin")
        if streamed:
            c.read_head()
            for _, _ in zip(range(20), c.chunks()):
                pass
        assert (kept(tiny)[1] > before[1]) == (name == "responses")
        c.reset()
        expect_end(tiny, lambda: health(tiny)["running"] == 0, "it still runs")
    wait_until(lambda: cancelled() == 1, "it was not cancelled")
    wait_until(lambda: kept(tiny) == before, "something is kept")


# ---- kept answers --------------------------------------------------------------------------------


def test_get_and_delete(tiny):
    found = respond(tiny)
    path = f"{PATH}/{found['id']}"
    assert get(tiny, path).json() == found
    assert get(tiny, path[3:]).json() == found  # without /v1
    assert get(tiny, path + "?include[]=message.output_text.logprobs").json() == found
    # Node's fetch looks like a browser without a Referer
    node = {"Sec-Fetch-Mode": "cors", "Accept-Language": "*", "User-Agent": "node"}
    assert get(tiny, path, node).json() == found
    refused(get(tiny, path + "?stream=true"), 400, "stream")
    refused(get(tiny, path + "?starting_after=3"), 400, "starting_after")
    assert call(tiny, "DELETE", path).json() == {
        "id": found["id"], "object": "response", "deleted": True}  # fmt: skip
    for method in ("GET", "DELETE"):
        error = refused(call(tiny, method, path), 404, found["id"])
        assert error["type"] == "not_found_error"
    assert refused(call(tiny, "POST", path, {}), 405)
    refused(get(tiny, PATH), 405, "POST")
    refused(get(tiny, path + "/input_items"), 404, "input_items")
    refused(get(tiny, PATH + "/nothing"), 404, "nothing")


def test_streamed_answers_are_kept(tiny):
    streamed = NamedEvents(tiny, PATH, {"input": "Hi", "max_output_tokens": 4, "stream": True})
    (last,) = streamed.of("response.incomplete")
    assert get(tiny, f"{PATH}/{last['response']['id']}").json() == last["response"]


def test_not_kept(tiny):
    found = respond(tiny, store=False)
    assert found["store"] is False
    refused(get(tiny, f"{PATH}/{found['id']}"), 404, found["id"])
    reply = post(tiny, PATH, {"input": "x", "previous_response_id": found["id"]})
    error = refused(reply, 400, found["id"])
    assert error["code"] == "previous_response_not_found"
    assert error["param"] == "previous_response_id"


def test_continued(tiny):
    """A conversation that is continued is the same as one that is sent whole."""
    first = respond(tiny, "one", instructions="Forget this.")
    second = respond(tiny, "two", previous_response_id=first["id"], instructions="Be brief.")
    items = [{"role": "user", "content": "one"}, *first["output"], {"role": "user", "content": "two"}]
    whole = respond(tiny, items, instructions="Be brief.", store=False)
    assert text_of(second) == text_of(whole)
    assert second["usage"]["input_tokens"] == whole["usage"]["input_tokens"]
    assert second["previous_response_id"] == first["id"]
    # the first answer is deleted; the conversation stays whole
    call(tiny, "DELETE", f"{PATH}/{first['id']}")
    third = respond(tiny, "three", previous_response_id=second["id"])
    items += [*second["output"], {"role": "user", "content": "three"}]
    assert third["usage"]["input_tokens"] == respond(tiny, items)["usage"]["input_tokens"]


def test_item_reference(tiny):
    """The AI SDK refers to the assistant's messages by their IDs."""
    first = respond(tiny, "one")
    items = [
        {"role": "user", "content": "one"},
        {"type": "item_reference", "id": first["output"][0]["id"]},
        {"role": "user", "content": "two"},
    ]
    second = respond(tiny, items)
    items[1] = first["output"][0]
    assert second["usage"]["input_tokens"] == respond(tiny, items)["usage"]["input_tokens"]
    # what was referred to is part of the new answer
    call(tiny, "DELETE", f"{PATH}/{first['id']}")
    respond(tiny, "three", previous_response_id=second["id"])
    items[1] = {"id": first["output"][0]["id"]}
    error = refused(post(tiny, PATH, {"input": items}), 404, first["output"][0]["id"])
    assert error["param"] == "input[1]"
    respond(tiny, [{"type": "item_reference", "id": "rs_1"}, items[0]])  # reasoning


def test_many_references(tiny, thousands):
    """References are found in little time in their order, and refused if that would take long."""
    items = [{"role": "user", "content": "", "id": f"a{i}"} for i in range(2000)]
    body = {"input": items, "max_output_tokens": 1, "truncation": "auto"}
    first = post(tiny, PATH, body).json()
    last = {"id": first["output"][0]["id"]}
    body["input"] = [last, last] * 1000
    error = refused(post(tiny, PATH, body), 400, "too many items")
    assert error["code"] == "input_too_large"


def test_another_key(start_server, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("first-key-1234\nsecond-key-567\n")
    keys.chmod(0o600)
    server = start_server("--offline", "--api-key-file", keys)
    own = {"Authorization": "Bearer first-key-1234"}
    other = {"x-api-key": "second-key-567"}
    found = respond(server, headers=own)
    path = f"{PATH}/{found['id']}"
    assert get(server, path, own).json() == found
    refused(get(server, path), 401)
    refused(get(server, path, other), 404, found["id"])
    refused(call(server, "DELETE", path, headers=other), 404, found["id"])
    fields = {"input": "x", "previous_response_id": found["id"]}
    refused(post(server, PATH, fields, other), 400, found["id"])
    items = [{"type": "item_reference", "id": found["output"][0]["id"]}]
    refused(post(server, PATH, {"input": items}, other), 404, found["output"][0]["id"])
    assert get(server, path, own).json() == found


def test_bounded(start_server, thousands):
    """Old answers make room for new ones; a very long input is answered, but not kept."""
    server = start_server("--offline", "--memory", "600M", "--context-policy", "trim")
    first = respond(server)
    turns = [{"role": "user", "content": "x" * 900}] * 50
    for _ in range(14):
        last = respond(server, turns, max_output_tokens=1)
        assert last["store"] is True
    refused(get(server, f"{PATH}/{first['id']}"), 404)
    assert get(server, f"{PATH}/{last['id']}").status == 200
    long = {"input": turns * 2, "max_output_tokens": 1}
    found = post(server, PATH, long).json()
    assert found["store"] is False
    refused(get(server, f"{PATH}/{found['id']}"), 404)
    refused(post(server, PATH, {**long, "store": True}), 400, "store")
    assert health(server)["running"] == 0


def test_continued_for_long(tiny, thousands):
    """A conversation longer than the server reads again is refused, or its beginning is left out."""
    turns = [{"role": "user", "content": "x" * 900}] * 100
    fields = {"truncation": "auto", "max_output_tokens": 1}
    last = respond(tiny, turns, **fields)
    for _ in range(3):
        last = respond(tiny, turns, previous_response_id=last["id"], **fields)
    body = {"input": "Hello", "previous_response_id": last["id"]}
    error = refused(post(tiny, PATH, body), 400, "before this request")
    assert error["code"] == "context_length_exceeded"
    respond(tiny, "Hello", previous_response_id=last["id"], truncation="auto")
    # the same for one of many short turns
    for turns in ([{"role": "user", "content": ""}] * 5000, *[[{"role": "user", "content": ""}]] * 2):
        last = respond(tiny, turns, **fields)
        fields["previous_response_id"] = last["id"]
    refused(post(tiny, PATH, body | {"previous_response_id": last["id"]}), 400, "before this request")
    # what hides that it refers to answers is served with none
    hidden = json.dumps(body).replace("previous", "\\u0070revious").encode()
    refused(post(tiny, PATH, hidden), 400, "before this request")


# ---- what is refused -----------------------------------------------------------------------------

USER = {"role": "user", "content": "x"}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": None}, "input"),
        ({"input": 5}, "input"),
        ({"input": []}, "input"),
        ({"input": [5]}, "input[0]"),
        ({"input": [{"role": "robot", "content": "x"}]}, "input[0].role"),
        ({"input": [{"role": "user"}]}, "input[0].content"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input[0].content[0]"),
        ({"input": [{"role": "user", "content": [{"type": "input_text"}]}]}, "input[0].content[0]"),
        ({"input": [{"type": "computer_call"}]}, "input[0]"),
        ({"input": [{"type": "function_call", "call_id": "c"}]}, "input[0].name"),
        ({"input": [{"type": "function_call_output", "output": "x"}]}, "input[0].call_id"),
        ({"input": [{"type": "function_call_output", "call_id": "c"}]}, "input[0].output"),
        ({"background": True}, "background"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"messages": [USER]}, "messages"),
        ({"max_tokens": 5}, "max_tokens"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"max_output_tokens": "8"}, "max_output_tokens"),
        ({"truncation": "left"}, "truncation"),
        ({"store": "yes"}, "store"),
        ({"metadata": {"a": 1}}, "metadata"),
        ({"metadata": {str(i): "x" for i in range(17)}}, "metadata"),
        ({"metadata": {"a": "x" * 513}}, "metadata"),
        ({"include": "logprobs"}, "include"),
        ({"top_logprobs": 21}, "top_logprobs"),
        ({"top_logprobs": 20, "max_output_tokens": 100_000}, "top_logprobs"),
        ({"reasoning": {"effort": "huge"}}, "reasoning.effort"),
        ({"text": {"format": {"type": "xml"}}}, "text.format"),
        ({"text": {"format": {"type": "json_schema"}}}, "text.format"),
        ({"text": {"format": {"type": "json_schema", "schema": {"type": 5}}}}, "text.format"),
        ({"tools": [{"type": "web_search"}]}, "tools"),
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "name": "other"}}, "tool_choice"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"service_tier": "gold"}, "service_tier"),
        ({"previous_response_id": 5}, "previous_response_id"),
        ({"instructions": 5}, "instructions"),
    ],
)  # fmt: skip
def test_refused(tiny, fields, param):
    reply = post(tiny, PATH, {"input": "x", **fields})
    error = refused(reply, 400, param.split("[")[0].split(".")[0])
    assert error["param"] == param


@pytest.mark.parametrize(
    "fields",
    [
        {"background": False, "conversation": None, "prompt": None, "stream_options": None},
        {"include": ["reasoning.encrypted_content"], "reasoning": {"effort": "low", "summary": "auto"}},
        {"text": {"verbosity": "low"}, "prompt_cache_key": "k", "safety_identifier": "s"},
        {"parallel_tool_calls": False, "tool_choice": "auto", "max_tool_calls": 3, "tools": []},
        {"model": "gpt-5", "service_tier": "auto", "temperature": 1, "top_p": 0.9},
        {"truncation": "auto", "stream_options": {"include_obfuscation": False}},
    ],
)
def test_accepted(tiny, fields):
    respond(tiny, **fields)


def test_too_long(tiny):
    body = {"input": "word " * 5000, "max_output_tokens": 2}
    error = refused(post(tiny, PATH, body), 400)
    assert error["code"] == "context_length_exceeded" and error["param"] == "input"
    turns = [{"role": "user", "content": "word " * 700}] * 4
    found = respond(tiny, turns, truncation="auto")
    assert found["truncation"] == "auto" and found["x_kinglet"]["messages_left_out"] > 0


def test_input_tokens(tiny):
    fields = {"input": "Hello", "instructions": "Be brief.", "tools": [TOOL]}
    before = kept(tiny)
    found = post(tiny, PATH + "/input_tokens", {**fields, "truncation": "auto"}).json()
    assert kept(tiny) == before
    n = respond(tiny, "Hello", instructions="Be brief.", tools=[TOOL])["usage"]["input_tokens"]
    assert found == {"object": "response.input_tokens", "input_tokens": n}
    found = post(tiny, PATH + "/input_tokens", {"input": "word " * 20_000, "truncation": "auto"})
    assert found.json()["input_tokens"] > 4096
    refused(post(tiny, PATH + "/input_tokens", {"input": 5}), 400, "input")


# ---- the openai package --------------------------------------------------------------------------


@pytest.fixture
def client(server):
    with openai.OpenAI(base_url=server.base_url + "/v1", api_key="none", max_retries=0) as c:
        yield c


def test_client_conversation(client):
    first = client.responses.create(model="default", input="My name is Bob.", max_output_tokens=40)
    assert first.output_text and first.status == "completed"
    second = client.responses.create(
        model="default",
        input="What is my name?",
        previous_response_id=first.id,
        max_output_tokens=40,
    )
    assert "Bob" in second.output_text
    assert second.usage.input_tokens_details.cached_tokens > 0
    assert client.responses.retrieve(second.id).output_text == second.output_text
    client.responses.delete(second.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(second.id)


def test_client_stream(client):
    with client.responses.stream(model="default", input="Count to three.") as events:
        seen = list(events)
        final = events.get_final_response()
    deltas = [e.delta for e in seen if e.type == "response.output_text.delta"]
    assert len(deltas) > 1 and "".join(deltas) == final.output_text
    assert final.status == "completed"


class Person(BaseModel):
    name: str
    age: int


def test_client_schema(client):
    found = client.responses.parse(
        model="default", input="Bob is 42 years old.", text_format=Person, max_output_tokens=80
    )
    assert found.output_parsed == Person(name="Bob", age=42)


def test_client_tools(client):
    """A tool that is run twice in one conversation, by previous_response_id."""
    previous, message = None, "What is the weather in {}?"
    for city in ("Paris", "London"):
        asked = client.responses.create(
            model="default",
            input=message.format(city),
            previous_response_id=previous,
            tools=[TOOL],
            tool_choice="required",
            parallel_tool_calls=False,
            max_output_tokens=60,
        )
        (call_item,) = asked.output
        assert call_item.type == "function_call" and call_item.status == "completed"
        assert call_item.name == "get_weather" and call_item.call_id.startswith("call_")
        assert "city" in json.loads(call_item.arguments)
        told = client.responses.create(
            model="default",
            input=[{"type": "function_call_output", "call_id": call_item.call_id,
                    "output": f"It is sunny in {city}."}],
            previous_response_id=asked.id,
            tools=[TOOL],
            tool_choice="none",
            max_output_tokens=40,
        )  # fmt: skip
        assert told.output_text
        previous = told.id


def test_client_tools_streamed(client):
    fields = {"model": "default", "input": "What is the weather in Paris?", "tools": [TOOL],
              "tool_choice": "required", "parallel_tool_calls": False}  # fmt: skip
    with client.responses.stream(**fields) as events:
        seen = list(events)
        final = events.get_final_response()
    (item,) = final.output
    deltas = [e.delta for e in seen if e.type == "response.function_call_arguments.delta"]
    assert "".join(deltas) == item.arguments
    assert item.parsed_arguments == json.loads(item.arguments)


def test_client_error_in_a_stream(client, server):
    """The package raises an error that comes in the middle of a stream."""
    with pytest.raises(openai.APIError, match="deadline"):
        list(
            client.responses.create(
                model="default",
                input="word " * 3000,
                stream=True,
                extra_headers={"X-Deadline-Ms": "50"},
            )
        )
