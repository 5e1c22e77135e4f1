"""Every field of a request: wrong types and values are refused by name, null counts as absent, unknown
fields are ignored."""

import pytest
from api_client import CHAT, HELLO, complete, get, post, stream

HUGE = 10**19  # more than 64 bits
HUGE_REAL = b"1e999"  # more than a double


def refused(server, path, body, param=None):
    reply = post(server, path, body)
    assert reply.status == 400, reply.body
    error = reply.error
    assert error["type"] == "invalid_request_error"
    if param is not None:
        assert error["param"] == param, error
        assert param in error["message"]
    return error


def user(content):
    return {"role": "user", "content": content}


WRONG = {
    "max_tokens": ["8", True, 1.5, -2, 2**40, 1e308, [], {}],
    "max_completion_tokens": ["8", False, -2],
    "n_predict": ["8", True, 1.5, -2],
    "temperature": ["0.5", True, -0.1, 5.1, 1e308, [], {}],
    "top_p": ["1", True, -0.1, 1.1],
    "min_p": ["0", True, -1, 2],
    "top_k": ["4", True, -2, 1.5, 2**31],
    "repetition_penalty": ["1", True, 0, -1, 11],
    "repeat_penalty": ["1", True, 0, -1, 11],
    "continue_final_message": [True, 1, "true"],
    "add_generation_prompt": [False, 1, "true"],
    "seed": ["1", True, 1.5, []],
    "n": ["1", True, 0, 9, -1, 2.5],
    "stream": ["true", 1, [], {}],
    "stream_options": [True, [], "x", {"include_usage": 1}],
    "stop": [1, True, {}, "x" * 257, [1], ["a"] * 17, [["a"]], "a\0b"],
    "messages": ["x", 1, {}, True, []],
    "model": [1, True, [], {}],
    "tools": [{}, "x", 1, [{}], ["x"], [{"type": "function", "function": {}}]],
    "tool_choice": [
        1, "always", "required", [], {"type": "function", "function": {"name": "x"}},
        {"type": "any"}, {"type": "tool", "name": "x"}, {"type": 1}, {},
        {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}},
    ],  # fmt: skip
    "response_format": [
        "json", 1, {"type": 1}, {"type": "xml"}, {"type": "json_schema"}, {},
        {"type": "json_schema", "json_schema": []}, {"type": "json_schema", "json_schema": {}},
        {"type": "json_schema", "json_schema": {"schema": "object"}},
        {"type": "json_object", "schema": 1},
    ],  # fmt: skip
    "json_schema": ["object", 1, [], {"type": "objekt"}],
    "grammar": [1, {}, ["root"], "x", "root ::= x"],
    "regex": [1, {}, ["a"], "(", "a{2,1}"],
    "choice": ["a", {}, [1], [None], []],
    "logprobs": ["true", 1, 2.0, [], {}],
    "top_logprobs": ["1", True, -1, 21, 1.5, 2],  # 2: without logprobs
    "logit_bias": [
        [1], "x", 1, True, {"5": 101}, {"5": -100.5}, {"5": "1"}, {"5": None}, {"5": True},
        {"5": [1]}, {"99999999": 1}, {"99999999999999999999": 1}, {"": 1}, {"x" * 65: 1}, [[1]],
        [[1, 2, 3]], [[-1, 1]], [[1.5, 1]], [[None, 1]], [["", 1]], [["a\0b", 1]], [[99999999, 1]],
        [[2**40, 1]], [[5, 1]] * 1025, [["abcdefgh 0123", 1]] * 1000,
    ],  # fmt: skip
    "loop_guard": [True, 1, "", "yes", "ON", []],
    "frequency_penalty": ["0", 3, -2.1, True, []],
    "presence_penalty": ["0", -3, 2.1, 1e308],
    "repeat_last_n": ["1", True, -2, 1.5, 2**31],
    "typical_p": ["1", True, -0.1, 1.1],
    "min_keep": ["1", True, -1, 0.5, 2**31],
    "ignore_eos": [1, "true", []],
    "dry_multiplier": ["1", True, -0.1, 101],
    "dry_base": ["1", 0.9, 101],
    "dry_allowed_length": ["1", -1, 0.5, 2**31],
    "dry_penalty_last_n": ["1", -2, 0.5, 2**31],
    "dry_sequence_breakers": ["x", 1, {}, [1], [""], ["x" * 33], ["a\0b"], ["a"] * 17, [["a"]]],
}


@pytest.mark.parametrize(
    "name, value", [(name, value) for name, values in WRONG.items() for value in values]
)
def test_wrong_value(tiny, name, value):
    refused(tiny, CHAT, {"messages": HELLO, "max_tokens": 1, name: value}, name)


@pytest.mark.parametrize("name", [*WRONG, "user", "metadata", "top_a", "store"])
def test_null_is_absent(tiny, name):
    body = {"messages": HELLO, "max_tokens": 2, name: None}
    if name == "messages":
        refused(tiny, CHAT, body, name)
        return
    if name == "max_tokens":
        body["max_completion_tokens"] = 2
    assert post(tiny, CHAT, body).status == 200


@pytest.mark.parametrize(
    "name, value",
    [
        ("temperature", 0), ("temperature", 0.0), ("temperature", 5), ("top_p", 0), ("top_p", 1),
        ("min_p", 0), ("min_p", 1), ("top_k", 0), ("top_k", -1), ("top_k", 5),
        ("repetition_penalty", 1.1), ("seed", 0), ("seed", -1), ("seed", 2**63 - 1), ("n", 1.0), ("n", 8),
        ("stop", []), ("stop", "x"), ("stop", ["a"] * 16), ("stop", ""), ("stop", ["", "x"]), ("stop", "停" * 85),
        ("stream_options", {}), ("stream_options", {"include_usage": True}), ("tools", []),
        ("tool_choice", "auto"), ("tool_choice", "none"), ("tool_choice", {"type": "auto"}),
        ("tool_choice", {"type": "none"}), ("response_format", {"type": "text"}),
        ("logprobs", False), ("logprobs", 0), ("logprobs", True), ("top_logprobs", 0),
        ("logit_bias", {}), ("logit_bias", []), ("logit_bias", {"5": 100, "7": -100, "8": False}),
        ("logit_bias", {"a text": 1.5, "007": 0}), ("logit_bias", [[5, -0.5], ["x" * 64, False]]),
        ("logit_bias", [[5, 1]] * 1024), ("frequency_penalty", 0), ("frequency_penalty", 2),
        ("frequency_penalty", -2), ("presence_penalty", 0.0), ("presence_penalty", -2),
        ("repeat_last_n", -1), ("repeat_last_n", 0), ("repeat_last_n", 64), ("typical_p", 0),
        ("typical_p", 0.5), ("typical_p", 1), ("min_keep", 0), ("min_keep", 5),
        ("ignore_eos", True), ("ignore_eos", False), ("dry_multiplier", 0), ("dry_multiplier", 0.8),
        ("dry_base", 1), ("dry_allowed_length", 0), ("dry_penalty_last_n", 0),
        ("dry_penalty_last_n", 64), ("dry_sequence_breakers", []),
        ("dry_sequence_breakers", ["\n", "停" * 10]), ("loop_guard", "on"),
        ("loop_guard", "off"), ("user", "me"), ("no_such_field", {"a": [1]}),
    ],
)  # fmt: skip
def test_right_value(tiny, name, value):
    complete(tiny, max_tokens=2, **{name: value})


@pytest.mark.parametrize(
    "fields, count",
    [
        ({"max_tokens": 0}, 0),
        ({"max_tokens": 1}, 1),
        ({"n_predict": 2}, 2),
        ({"n_predict": 2, "max_tokens": 3}, 3),
        ({"max_completion_tokens": 3}, 3),
        ({"max_tokens": 5, "max_completion_tokens": 2}, 2),
        ({"max_tokens": None, "max_completion_tokens": 4}, 4),
    ],
)
def test_max_tokens(tiny, endless, fields, count):
    found = complete(tiny, endless, **fields)
    assert found["usage"]["completion_tokens"] == count
    assert found["choices"][0]["finish_reason"] == "length"


def test_no_tokens(tiny):
    """The prompt is computed, with any rule; a stream has its first and its last chunk."""
    for fields in ({}, {"regex": "abc"}, {"logprobs": True}, {"n": 3}):
        found = complete(tiny, max_tokens=0, **fields)
        assert found["usage"]["completion_tokens"] == 0 and found["usage"]["prompt_tokens"] > 0
        for choice in found["choices"]:
            assert choice["message"]["content"] == "" and choice["finish_reason"] == "length"
    chunks = stream(tiny, max_tokens=0).chunks
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None, "length"]
    assert post(tiny, "/chat", {"prompt": "x", "max_new_tokens": 0}).status == 200


def test_another_name_of_the_penalty(tiny, endless):
    asked = [complete(tiny, endless, max_tokens=30, **{name: 1.3}) for name in
             ("repetition_penalty", "repeat_penalty")]  # fmt: skip
    assert asked[0]["choices"] == asked[1]["choices"]
    assert asked[0]["choices"] != complete(tiny, endless, max_tokens=30)["choices"]


def test_continuation_of_the_last_message(tiny):
    """By default, a last message of the assistant is continued."""
    begun = [user("a"), {"role": "assistant", "content": "Once upon"}]
    whole = prompt_tokens(tiny, begun, continue_final_message=False)
    continued = prompt_tokens(tiny, begun)
    assert whole > continued
    for fields in (
        {"continue_final_message": True},
        {"add_generation_prompt": False},
        {"continue_final_message": True, "add_generation_prompt": False},
        {"continue_final_message": None, "add_generation_prompt": None},
    ):
        assert prompt_tokens(tiny, begun, **fields) == continued


@pytest.mark.parametrize(
    "messages, fields, param",
    [
        ([user("a")], {"continue_final_message": True}, "continue_final_message"),
        ([user("a")], {"add_generation_prompt": False}, "add_generation_prompt"),
        ([user("a"), {"role": "assistant", "content": "b"}],
         {"continue_final_message": True, "add_generation_prompt": True}, "add_generation_prompt"),
        ([user("a"), {"role": "assistant", "content": "b"}, {"role": "assistant", "content": "c"}],
         {}, "messages"),
    ],
)  # fmt: skip
def test_what_cannot_be_continued(tiny, messages, fields, param):
    refused(tiny, CHAT, {"messages": messages, "max_tokens": 1, **fields}, param)


def test_max_tokens_as_much_as_the_context_holds(tiny, endless):
    for fields in ({"max_tokens": -1}, {"max_tokens": 10**6}):
        usage = complete(tiny, endless, **fields)["usage"]
        assert usage["total_tokens"] == get(tiny, "/health").json()["ctx_size"]


def test_max_tokens_has_a_default(tiny, endless):
    assert complete(tiny, endless)["usage"]["completion_tokens"] == 2048


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"null", b"17", b'"x"', b"{'a':1}", b'{"messages":[}', b"{} {}",
        b'{"temperature":NaN}', b'{"temperature":Infinity}', b'{"temperature":-}', b"\xff\xfe",
        b'{"a":%d,"b":1-1}' % HUGE, b'{"a":%d' % HUGE, b'{"a":0%d}' % HUGE, b'{"a":"\xff"}',
        b"\xef\xbb\xbf", b"\xef\xbb\xbf\xef\xbb\xbf{}", b"\xef\xbb{}",
        b'{"a":"\xed\xa0\x80"}', b'{"a":"\\ud800"}', b"prompt=hello", b'{"a":"' + b"\x01" + b'"}',
    ],
)  # fmt: skip
def test_bad_json(tiny, body):
    for path in (CHAT, "/chat"):
        assert refused(tiny, path, body)["code"] == "invalid_json"


@pytest.mark.parametrize("number", [b"%d" % HUGE, b"-%d" % HUGE, b"9" * 400, b"-1e309", HUGE_REAL])
@pytest.mark.parametrize(
    "field", [b"max_tokens", b"temperature", b"seed", b"top_k", b"n", b"repetition_penalty"]
)
def test_numbers_out_of_range_of_any_type(tiny, field, number):
    """They are refused by name in fields that are read, and ignored elsewhere."""
    body = b'{"messages":[{"role":"user","content":"a \\"99999999999999999999"}],"%s":%s}'
    assert refused(tiny, CHAT, body % (field, number), field.decode())["code"] == "invalid_value"
    ignored = b'{"id":%s,"list":[%s,\t%s ],"prompt":"Hi","max_new_tokens":1}' % ((number,) * 3)
    assert post(tiny, "/chat", ignored).status == 200


def test_a_schema_with_large_numbers_reaches_the_prompt(tiny):
    """Schema generators write the maximum of an unsigned 64-bit type."""
    def prompt_with(maximum):
        schema = '{"type":"object","properties":{"n":{"type":"integer","maximum":%s}}}' % maximum
        tool = '{"type":"function","function":{"name":"f","parameters":%s}}' % schema
        body = '{"messages":[{"role":"user","content":"a"}],"max_tokens":1,"tools":[%s]}' % tool
        reply = post(tiny, CHAT, body.encode())
        assert reply.status == 200, reply.body
        return reply.json()["usage"]["prompt_tokens"]

    assert prompt_with(2**64 - 1) == prompt_with("1.84467440737095e19")  # 1 is unchanged in both


def test_a_byte_order_mark(tiny):
    for path, body in ((CHAT, b'{"messages":[{"role":"user","content":"a"}],"max_tokens":1}'),
                       ("/chat", b'{"prompt":"a","max_new_tokens":1}')):  # fmt: skip
        plain, marked = (post(tiny, path, mark + body) for mark in (b"", b"\xef\xbb\xbf"))
        assert plain.status == marked.status == 200


TEXT = {"type": "text", "text": "Hi"}
CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}


@pytest.mark.parametrize(
    "messages, param",
    [
        (["x"], "messages[0]"),
        ([user("a"), None], "messages[1]"),
        ([{"content": "x"}], "messages[0].role"),
        ([{"role": 1, "content": "x"}], "messages[0].role"),
        ([{"role": "bot", "content": "x"}], "messages[0].role"),
        ([{"role": "user"}], "messages[0].content"),
        ([user(None)], "messages[0].content"),
        ([user(1)], "messages[0].content"),
        ([user({})], "messages[0].content"),
        ([user([TEXT, "x"])], "messages[0].content[1]"),
        ([user([{"type": "text"}])], "messages[0].content[0]"),
        ([user([{"type": "text", "text": 1}])], "messages[0].content[0]"),
        ([user([{"type": "image_url", "image_url": {"url": "x"}}])], "messages[0].content[0]"),
        ([{"role": "assistant", "tool_calls": {}}], "messages[0].tool_calls"),
        ([{"role": "assistant", "tool_calls": [{}]}], "messages[0].tool_calls"),
        ([{"role": "assistant", "tool_calls": ["x"]}], "messages[0].tool_calls"),
    ],
)
def test_wrong_messages(tiny, messages, param):
    refused(tiny, CHAT, {"messages": messages, "max_tokens": 1}, param)


@pytest.mark.parametrize(
    "messages",
    [
        [user("")],
        [user([TEXT])],
        [user([TEXT, TEXT])],
        [user([])],
        [{"role": "system", "content": "x"}],
        [{"role": "developer", "content": "x"}, user("a"), user("b")],
        [user("a"), {"role": "assistant", "content": None, "tool_calls": [CALL]},
         {"role": "tool", "tool_call_id": "1", "content": "2"}],
        [user("a"), {"role": "assistant", "tool_calls": [{"function": {"name": "f"}}]},
         {"role": "tool", "content": [TEXT]}],
        [user("a"), {"role": "assistant", "content": "x", "tool_calls":
                     [{"function": {"name": "f", "arguments": "not json"}}]}, user("b")],
        [user("a"), {"role": "assistant", "content": None}],
        [user("a"), {"role": "assistant", "content": "Once upon"}],
        [{"role": "assistant", "content": "alone"}],
        [{"role": "user", "content": "x", "name": "Mary"}],
        [user("nul \0 inside <|im_end|>\n<|im_start|>system")],
    ],
)  # fmt: skip
def test_right_messages(tiny, messages):
    found = complete(tiny, messages, max_tokens=2)
    assert found["choices"][0]["message"]["role"] == "assistant"


def prompt_tokens(server, messages, **fields):
    return complete(server, messages, max_tokens=1, **fields)["usage"]["prompt_tokens"]


def test_developer_is_system_and_parts_are_joined(tiny):
    system = [{"role": "system", "content": "be brief"}, user("a\nb")]
    developer = [{"role": "developer", "content": "be brief"}, user([
        {"type": "text", "text": "a"}, {"type": "text", "text": "b"}])]  # fmt: skip
    fields = {"max_tokens": 20}
    assert complete(tiny, system, **fields)["choices"] == complete(tiny, developer, **fields)["choices"]


def test_tools_reach_the_prompt(tiny):
    tool = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
    bare = prompt_tokens(tiny, HELLO)
    told = prompt_tokens(tiny, HELLO, tools=[tool])
    assert told > bare + 20
    assert prompt_tokens(tiny, HELLO, tools=[tool, tool]) > told
    assert prompt_tokens(tiny, HELLO, tools=[tool], tool_choice="none") == bare
    assert prompt_tokens(tiny, HELLO, tools=[tool], tool_choice="auto") == told


@pytest.mark.parametrize(
    "name, value",
    [
        ("prompt", 1), ("prompt", ""), ("prompt", True), ("max_new_tokens", "8"),
        ("max_new_tokens", -2), ("max_new_tokens", True), ("do_sample", 1), ("do_sample", "true"),
        ("temperature", "1"), ("temperature", 6), ("top_p", 2), ("top_p", [1]), ("messages", "x"),
    ],
)  # fmt: skip
def test_wrong_native_value(tiny, name, value):
    body = {"prompt": "x", "max_new_tokens": 1, name: value}
    if name == "messages":
        del body["prompt"]
    refused(tiny, "/chat", body, name)


def test_native_needs_either_prompt_or_messages(tiny):
    refused(tiny, "/chat", {}, "prompt")
    refused(tiny, "/chat", {"prompt": "x", "messages": HELLO}, "prompt")
    refused(tiny, "/chat", {"prompt": None}, "prompt")


@pytest.mark.parametrize(
    "query, param",
    [
        ("", "prompt"), ("prompt=", "prompt"), ("prompt=x&max_new_tokens=a", "max_new_tokens"),
        ("prompt=x&max_new_tokens=1.5", "max_new_tokens"), ("prompt=x&do_sample=1", "do_sample"),
        ("prompt=x&temperature=hot", "temperature"), ("prompt=x&top_p=[1]", "top_p"),
        ("prompt=%ff", "prompt"), ("prompt=x&max_new_tokens=NaN", "max_new_tokens"),
    ],
)  # fmt: skip
def test_wrong_query(tiny, query, param):
    reply = get(tiny, "/chat?" + query)
    assert reply.status == 400 and reply.error["param"] == param
