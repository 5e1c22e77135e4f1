"""The ollama package for Python: chat, generate, tools, objects, embeddings, models."""

import json
import math

import ollama
from features import URL, expect_idle, feature, raises, try_all
from pydantic import BaseModel

client = ollama.Client(host=URL)
MODEL = client.list().models[0].model
FACT = [{"role": "user", "content": "What is the capital of France? Answer briefly."}]
WEATHER = [{"role": "user", "content": "Use the tool: what is the weather in Paris?"}]
BRIEF = {"num_predict": 32, "temperature": 0}


class Person(BaseModel):
    name: str
    age: int


def get_weather(city: str) -> str:
    """Tells the weather in a city now.

    Args:
        city: the name of the city
    """
    return f"sunny in {city}, 21 degrees"


def chat(messages=FACT, options=BRIEF, **fields):
    return client.chat(model=MODEL, messages=messages, options=options, **fields)


@feature("models: list, show, ps")
def _():
    model = client.list().models[0]
    assert model.model.endswith(":latest") and model.size > 1e6 and len(model.digest) == 64
    assert model.details.format == "gguf" and model.details.quantization_level
    shown = client.show(MODEL)
    family = shown.modelinfo["general.architecture"]
    assert shown.modelinfo[f"{family}.context_length"] > 1000 and "completion" in shown.capabilities
    assert client.show(MODEL.removesuffix(":latest")).details.family == model.details.family
    assert MODEL in [loaded.model for loaded in client.ps().models]


@feature("chat: an answer with figures")
def _():
    answer = chat()
    assert "Paris" in answer.message.content and answer.message.role == "assistant"
    assert answer.done and answer.done_reason in ("stop", "length")
    assert answer.prompt_eval_count > 5 and 0 < answer.eval_count <= 32
    assert answer.total_duration >= answer.eval_duration > 1000  # nanoseconds


@feature("chat: a stream joins to the text")
def _():
    chunks = list(chat(stream=True))
    assert "".join(c.message.content or "" for c in chunks) == chat().message.content
    assert len(chunks) > 2 and [c.done for c in chunks] == [False] * (len(chunks) - 1) + [True]


@feature("chat: a limit of tokens, a stop string, the options that programs send")
def _():
    assert chat(options={"num_predict": 2}).done_reason == "length"
    assert "Paris" not in chat(options={**BRIEF, "stop": ["Paris"]}).message.content
    options = {
        "num_ctx": 8192, "num_predict": 2, "temperature": 0.8, "top_k": 40, "top_p": 0.9, "min_p": 0.0,
        "seed": 1, "stop": [], "repeat_penalty": 1.1, "repeat_last_n": 64, "presence_penalty": 0.0,
        "frequency_penalty": 0.0, "mirostat": 0, "mirostat_tau": 5.0, "mirostat_eta": 0.1, "tfs_z": 1,
        "typical_p": 0.7, "num_keep": 5, "num_batch": 2, "num_thread": 8, "num_gpu": 1, "use_mmap": True,
    }  # fmt: skip
    assert chat(options=options, keep_alive="5m", think=False).eval_count == 2
    assert chat(options=options, keep_alive=-1).eval_count == 2


@feature("tools: a Python function; its result goes back")
def _():
    answer = chat(WEATHER, tools=[get_weather], options={"temperature": 0, "num_predict": 64})
    assert answer.message.tool_calls, answer.message.content
    call = answer.message.tool_calls[0].function
    assert call.name == "get_weather"
    result = get_weather(**call.arguments)
    messages = [*WEATHER, answer.message, {"role": "tool", "tool_name": call.name, "content": result}]
    assert chat(messages, tools=[get_weather]).message.content


@feature("tools: a streamed call comes whole")
def _():
    fields = {"tools": [get_weather], "options": {"temperature": 0, "num_predict": 64}}
    chunks = [c for c in chat(WEATHER, stream=True, **fields) if c.message.tool_calls]
    assert "city" in chunks[0].message.tool_calls[0].function.arguments
    assert "<tool_call>" not in "".join(c.message.content or "" for c in chat(WEATHER, stream=True, **fields))


@feature("format: a schema, and json")
def _():
    ask = [{"role": "user", "content": "Ann is 41 years old. Write her name and age as JSON."}]
    answer = chat(ask, format=Person.model_json_schema())
    assert Person.model_validate_json(answer.message.content) == Person(name="Ann", age=41)
    answer = chat(ask, format="json", options={"temperature": 0, "num_predict": 80})
    assert isinstance(json.loads(answer.message.content), dict)


@feature("generate: text, stream, system, raw, schema, load")
def _():
    def generate(prompt="What is the capital of France?", **fields):
        return client.generate(MODEL, prompt, **{"options": BRIEF, **fields})

    whole = generate(system="Answer briefly.")
    assert "Paris" in whole.response and whole.done_reason in ("stop", "length")
    assert "".join(c.response for c in generate(system="Answer briefly.", stream=True)) == whole.response
    assert "Paris" in generate("The capital of France is", raw=True).response
    ask = "Ann is 41 years old. Write her name and age as JSON."
    assert Person.model_validate_json(generate(ask, format=Person.model_json_schema()).response).age == 41
    assert client.generate(MODEL).done_reason == "load"


@feature("generate: suffix, the text in the middle")
def _():
    shown = client.show(MODEL)
    if "insert" not in shown.capabilities:  # a model without these tokens says so
        raises(ollama.ResponseError, client.generate, MODEL, "a", suffix="b")
        return
    middle = client.generate(MODEL, "def add(a, b):\n    return ", suffix="\n\nprint(add(1, 2))\n", options=BRIEF)
    assert "a" in middle.response and "b" in middle.response


@feature("embed: several texts, of length 1; embeddings")
def _():
    found = client.embed(MODEL, ["a cat", "a small cat"])
    assert len(found.embeddings) == 2 and found.prompt_eval_count > 3
    assert math.isclose(math.hypot(*found.embeddings[0]), 1, rel_tol=1e-3)
    assert len(client.embed(MODEL, "a cat").embeddings) == 1
    assert len(client.embeddings(MODEL, "a cat").embedding) == len(found.embeddings[0])


@feature("pull: a model that is here is a success")
def _():
    assert list(client.pull(MODEL, stream=True))[-1].status == "success"
    assert client.pull(MODEL).status == "success"


@feature("errors: ResponseError with the status and a text")
def _():
    error = raises(ollama.ResponseError, client.chat, model="no-such-model", messages=FACT)
    assert error.status_code == 404 and "no-such-model" in error.error
    error = raises(ollama.ResponseError, chat, options={"temperature": "hot"})
    assert error.status_code == 400 and "temperature" in error.error
    assert raises(ollama.ResponseError, client.delete, MODEL).status_code >= 400


@feature("cancel: a closed stream ends the work")
def _():
    stream = chat(stream=True, options={"num_predict": -1, "temperature": 1.5, "seed": 1})
    next(stream)
    stream.close()
    expect_idle()


@feature("async: a streamed answer")
async def _():
    text = ""
    async for chunk in await ollama.AsyncClient(host=URL).chat(MODEL, FACT, stream=True, options=BRIEF):
        text += chunk.message.content or ""
    assert text == chat().message.content


try_all()
