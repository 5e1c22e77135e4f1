"""The openai package for Python: chat, tools, objects, embeddings, Responses, completions."""

import json
import math
from typing import Literal

import openai
from features import KEY, V1, expect_idle, feature, model_name, raises, try_all
from pydantic import BaseModel

client = openai.OpenAI(base_url=V1, api_key=KEY, max_retries=0)
MODEL = model_name()
FACT = [
    {"role": "system", "content": "Answer briefly."},
    {"role": "user", "content": "What is the capital of France?"},
]
WEATHER = [{"role": "user", "content": "What is the weather in Paris, in celsius?"}]


class GetWeather(BaseModel):
    """The weather in a city now."""

    city: str
    unit: Literal["celsius", "fahrenheit"]


class Person(BaseModel):
    name: str
    age: int


TOOL = openai.pydantic_function_tool(GetWeather, name="get_weather")
ABOUT_ANN = [{"role": "user", "content": "Ann is 41 years old. Write her name and age as JSON."}]


def chat(messages=FACT, **fields):
    return client.chat.completions.create(model=MODEL, messages=messages, **{"max_tokens": 48, **fields})


def check_weather(call):
    assert call.type == "function" and call.function.name == "get_weather" and call.id
    GetWeather.model_validate_json(call.function.arguments)


@feature("models: list, retrieve")
def _():
    assert client.models.retrieve(MODEL).id == MODEL
    assert MODEL in [m.id for m in client.models.list()]


@feature("chat: an answer with usage")
def _():
    answer = chat()
    assert "Paris" in answer.choices[0].message.content
    assert answer.choices[0].finish_reason in ("stop", "length")
    usage = answer.usage
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens > 10


@feature("chat: any name of a model is served, and the answer says by which model")
def _():
    answer = client.chat.completions.create(model="gpt-4o-mini", messages=FACT, max_tokens=4)
    assert answer.model == chat(max_tokens=1).model != "gpt-4o-mini"


@feature("stream: joins to the text, one id, usage at the end")
def _():
    whole = chat()
    chunks = list(chat(stream=True, stream_options={"include_usage": True}))
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == whole.choices[0].message.content
    assert len({(c.id, c.created, c.model) for c in chunks}) == 1
    assert chunks[-1].choices == [] and chunks[-1].usage.total_tokens == whole.usage.total_tokens


@feature("tools: required, a valid call, then an answer with its result")
def _():
    answer = chat(WEATHER, tools=[TOOL], tool_choice="required")
    assert answer.choices[0].finish_reason == "tool_calls"
    message = answer.choices[0].message
    for call in message.tool_calls:
        check_weather(call)
    results = [
        {"role": "tool", "tool_call_id": call.id, "content": "sunny, 21 degrees"}
        for call in message.tool_calls
    ]
    end = chat([*WEATHER, message, *results], tools=[TOOL], tool_choice="none").choices[0]
    assert end.message.content and not end.message.tool_calls


@feature("tools: a named function; auto; none")
def _():
    other = {"type": "function", "function": {"name": "send_mail", "parameters": {"type": "object"}}}
    named = {"type": "function", "function": {"name": "get_weather"}}
    choice = chat(WEATHER, tools=[other, TOOL], tool_choice=named).choices[0]
    for call in choice.message.tool_calls:
        check_weather(call)
    choice = chat(WEATHER, tools=[other, TOOL], parallel_tool_calls=False).choices[0]
    assert choice.message.content or len(choice.message.tool_calls) == 1
    assert not chat(WEATHER, tools=[TOOL], tool_choice="none").choices[0].message.tool_calls


@feature("tools: streamed arguments join to those of the whole answer")
def _():
    fields = {"tools": [TOOL], "tool_choice": "required"}
    whole = chat(WEATHER, **fields).choices[0].message.tool_calls[0]
    with client.chat.completions.stream(
        model=MODEL, messages=WEATHER, max_tokens=48, **fields
    ) as stream:
        pieces = [e for e in stream if e.type == "tool_calls.function.arguments.delta"]
        final = stream.get_final_completion().choices[0].message.tool_calls[0]
    assert len(pieces) > 1 and "".join(p.arguments_delta for p in pieces) == final.function.arguments
    assert final.function.arguments == whole.function.arguments
    assert isinstance(final.function.parsed_arguments, GetWeather)


@feature("tools: functions and function_call, the older fields")
def _():
    function = {"name": "get_weather", "parameters": GetWeather.model_json_schema()}
    choice = chat(WEATHER, functions=[function], function_call={"name": "get_weather"}).choices[0]
    assert choice.message.function_call.name == "get_weather"
    GetWeather.model_validate_json(choice.message.function_call.arguments)


@feature("parse: an object of a class")
def _():
    answer = client.chat.completions.parse(model=MODEL, messages=ABOUT_ANN, response_format=Person)
    assert answer.choices[0].message.parsed == Person(name="Ann", age=41)


@feature("response_format: json_object")
def _():
    answer = chat(ABOUT_ANN, response_format={"type": "json_object"}, max_tokens=64)
    assert isinstance(json.loads(answer.choices[0].message.content), dict)


@feature("logprobs: their tokens join to the text")
def _():
    choice = chat(logprobs=True, top_logprobs=3).choices[0]
    entries = choice.logprobs.content
    assert b"".join(bytes(e.bytes) for e in entries).decode() == choice.message.content
    assert all(e.logprob <= 0 and len(e.top_logprobs) == 3 for e in entries)


@feature("n, seed, temperature, stop, penalties, logit_bias")
def _():
    fields = {"n": 3, "seed": 7, "temperature": 0.8, "top_p": 0.9, "max_tokens": 16}
    first, second = (chat(**fields) for _ in range(2))
    assert [c.index for c in first.choices] == [0, 1, 2]
    texts = [[c.message.content for c in answer.choices] for answer in (first, second)]
    assert texts[0] == texts[1]
    assert "Paris" not in chat(stop=["Paris"]).choices[0].message.content
    assert chat(presence_penalty=0.5, frequency_penalty=0.5, logit_bias={"0": -100}).choices


@feature("fields that programs send: store, metadata, user, prediction, service_tier, max_completion_tokens")
def _():
    answer = client.chat.completions.create(
        model=MODEL, messages=FACT, max_completion_tokens=8, store=False, metadata={"a": "b"},
        user="u", service_tier="auto", prediction={"type": "content", "content": "Paris"},
        parallel_tool_calls=True,
    )  # fmt: skip
    assert answer.usage.completion_tokens <= 8


@feature("completions: text, stream, echo, logprobs, suffix, several prompts, token ids")
def _():
    def complete(prompt="The capital of France is", **fields):
        return client.completions.create(model=MODEL, prompt=prompt, **{"max_tokens": 8, **fields})

    whole = complete()
    assert whole.object == "text_completion" and "Paris" in whole.choices[0].text
    assert "".join(c.choices[0].text for c in complete(stream=True) if c.choices) == whole.choices[0].text
    assert complete(echo=True).choices[0].text == "The capital of France is" + whole.choices[0].text
    assert len(complete(logprobs=2).choices[0].logprobs.tokens) == whole.usage.completion_tokens
    assert len(complete(["One, two,", "A, B,"]).choices) == 2
    assert complete([785, 6722, 315]).usage.prompt_tokens == 3
    assert complete("def add(a, b):\n    return ", suffix="\n\nprint(add(1, 2))").choices[0].text


@feature("embeddings: base64 and float, of length 1; near texts are near")
def _():
    texts = ["a cat", "a small cat", "the stock market"]
    answer = client.embeddings.create(model=MODEL, input=texts)  # the package asks for base64
    vectors = [e.embedding for e in answer.data]
    floats = client.embeddings.create(model=MODEL, input=texts, encoding_format="float")
    for vector, same in zip(vectors, (e.embedding for e in floats.data)):
        assert math.isclose(math.hypot(*vector), 1, rel_tol=1e-3)
        assert all(math.isclose(a, b, abs_tol=1e-5) for a, b in zip(vector, same))
    near, far = (sum(a * b for a, b in zip(vectors[0], v)) for v in vectors[1:])
    assert near > far and answer.usage.prompt_tokens > 3
    assert len(client.embeddings.create(model=MODEL, input=[[1, 2], [3]]).data) == 2
    assert len(client.embeddings.create(model=MODEL, input="x", dimensions=64).data[0].embedding) == 64


@feature("responses: an answer, then one that follows it; retrieve and delete")
def _():
    first = client.responses.create(model=MODEL, input="My name is Ann.", max_output_tokens=24)
    assert first.status in ("completed", "incomplete") and first.output_text
    assert first.usage.total_tokens == first.usage.input_tokens + first.usage.output_tokens
    second = client.responses.create(
        model=MODEL, input="What is my name? Answer with the name.", previous_response_id=first.id,
        max_output_tokens=24,
    )  # fmt: skip
    assert "Ann" in second.output_text and second.previous_response_id == first.id
    assert client.responses.retrieve(first.id).output_text == first.output_text
    client.responses.delete(first.id)
    raises(openai.NotFoundError, client.responses.retrieve, first.id)


@feature("responses: a stream of events joins to the text")
def _():
    fields = {"model": MODEL, "input": FACT, "max_output_tokens": 24}
    with client.responses.stream(**fields) as stream:
        events = list(stream)
        final = stream.get_final_response()
    deltas = [e.delta for e in events if e.type == "response.output_text.delta"]
    assert len(deltas) > 1 and "".join(deltas) == final.output_text
    assert events[0].type == "response.created" and events[-1].type == "response.completed"
    assert [e.sequence_number for e in events] == sorted({e.sequence_number for e in events})


@feature("responses: a function call, its result, an object of a class")
def _():
    tool = {"type": "function", "name": "get_weather", "strict": True}
    tool |= {"parameters": TOOL["function"]["parameters"]}
    answer = client.responses.create(model=MODEL, input=WEATHER, tools=[tool], tool_choice="required")
    calls = [item for item in answer.output if item.type == "function_call"]
    GetWeather.model_validate_json(calls[0].arguments)
    result = {"type": "function_call_output", "call_id": calls[0].call_id, "output": "sunny, 21 degrees"}
    end = client.responses.create(
        model=MODEL, input=[*WEATHER, calls[0], result], tools=[tool], tool_choice="none",
        max_output_tokens=48,
    )  # fmt: skip
    assert end.output_text
    parsed = client.responses.parse(model=MODEL, input=ABOUT_ANN, text_format=Person)
    assert parsed.output_parsed == Person(name="Ann", age=41)


@feature("errors: the classes of the package, with the name of the field")
def _():
    assert raises(openai.BadRequestError, chat, temperature=9).param == "temperature"
    assert raises(openai.BadRequestError, chat, response_format={"type": "xml"}).param == "response_format"
    long = [{"role": "user", "content": "word " * 40000}]
    assert raises(openai.BadRequestError, chat, long, stream=True).code == "context_length_exceeded"
    raises(openai.NotFoundError, client.files.list)
    raises(openai.LengthFinishReasonError, client.chat.completions.parse, model=MODEL,
           messages=ABOUT_ANN, response_format=Person, max_tokens=2)  # fmt: skip


@feature("cancel: a closed stream ends the work")
def _():
    stream = chat(max_tokens=-1, stream=True, temperature=1.5, seed=1)
    next(iter(stream))
    stream.close()
    expect_idle()


@feature("async: two answers at a time")
async def _():
    import asyncio

    async with openai.AsyncOpenAI(base_url=V1, api_key=KEY) as c:
        create = c.chat.completions.create
        answers = await asyncio.gather(*(create(model=MODEL, messages=FACT, max_tokens=16) for _ in "ab"))
    assert answers[0].choices[0].message.content == answers[1].choices[0].message.content


try_all()
