"""Progress as JSON (return_progress), and the timings of an answer."""

import json
import subprocess
from pathlib import Path

import openai
import pytest
from api_client import CHAT, HELLO, Stream, complete, post, stream

LONG_PROMPT = [{"role": "user", "content": "word and " * 900}]
SCRIPT = Path(__file__).with_name("openai_progress.mjs")


def check_progress(found):
    assert found
    for p in found:
        assert set(p) == {"total", "cache", "processed", "time_ms"}
        assert all(isinstance(value, int) for value in p.values())
        assert 0 <= p["cache"] <= p["processed"] <= p["total"]
    processed = [p["processed"] for p in found]
    assert processed == sorted(processed) and processed[-1] == found[-1]["total"]
    assert len(found) >= 2 and processed[0] == found[0]["cache"]
    times = [p["time_ms"] for p in found]
    assert times == sorted(times) and times[-1] < 1e6


def test_progress_in_chunks(tiny):
    s = stream(tiny, LONG_PROMPT, max_tokens=2, return_progress=True)
    chunks = [chunk for chunk in s.chunks if "prompt_progress" in chunk]
    check_progress([chunk["prompt_progress"] for chunk in chunks])
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert [chunk["choices"][0]["delta"] for chunk in chunks] == [{}] * len(chunks)
    assert not any(text.startswith("prefill") for _, text in s.comments)
    assert s.text() == complete(tiny, LONG_PROMPT, max_tokens=2)["choices"][0]["message"]["content"]


def test_progress_of_the_native_route(tiny):
    body = {"messages": LONG_PROMPT, "max_new_tokens": 2, "return_progress": True}
    s = Stream(tiny, "/chat", body)
    check_progress([chunk["prompt_progress"] for chunk in s.chunks if "prompt_progress" in chunk])
    assert all("text" in chunk for chunk in s.chunks)


def test_progress_only_when_asked_for(tiny):
    for fields in ({}, {"return_progress": False}, {"return_progress": None}):
        s = stream(tiny, LONG_PROMPT, max_tokens=2, **fields)
        assert not any("prompt_progress" in chunk for chunk in s.chunks)
    assert "prompt_progress" not in complete(tiny, LONG_PROMPT, max_tokens=1, return_progress=True)
    reply = post(tiny, CHAT, {"messages": HELLO, "return_progress": "yes"})
    assert reply.status == 400 and reply.error["param"] == "return_progress"


@pytest.mark.parametrize("progress", [False, True])
def test_the_python_client_accepts_progress(tiny, progress):
    """The client accepts comments, and chunks that only have the progress."""
    fields = {"model": "default", "messages": LONG_PROMPT, "max_tokens": 8}
    extra = {"return_progress": progress}
    want = complete(tiny, LONG_PROMPT, max_tokens=8)["choices"][0]["message"]
    with openai.OpenAI(base_url=tiny.base_url + "/v1", api_key="none", max_retries=0) as client:
        with client.chat.completions.stream(**fields, extra_body=extra) as events:
            events.until_done()
            message = events.current_completion_snapshot.choices[0].message
        assert message.content == want["content"] and message.role == "assistant"
        chunks = list(client.chat.completions.create(**fields, stream=True, extra_body=extra))
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == want["content"]


def test_the_node_client_accepts_progress(tiny):
    done = subprocess.run(
        ["node", str(SCRIPT), tiny.base_url + "/v1"], capture_output=True, timeout=300
    )
    assert done.returncode == 0, done.stderr.decode()
    want = complete(tiny, LONG_PROMPT, max_tokens=8)["choices"][0]["message"]["content"]
    assert json.loads(done.stdout) == {"plain": want, "progress": want, "role": "assistant"}


def test_timings(tiny):
    whole = complete(tiny, LONG_PROMPT, max_tokens=8)
    counted = stream(tiny, LONG_PROMPT, max_tokens=8, stream_options={"include_usage": True})
    plain = stream(tiny, LONG_PROMPT, max_tokens=8)
    for document in (whole, counted.chunks[-1]):
        usage, timings = document["usage"], document["timings"]
        cached = usage["prompt_tokens_details"]["cached_tokens"]
        assert timings["cache_n"] == cached <= usage["prompt_tokens"]
        assert timings["prompt_n"] == usage["prompt_tokens"] - cached
        assert timings["predicted_n"] == usage["completion_tokens"]
    assert plain.chunks[-1]["timings"]["predicted_n"] == whole["usage"]["completion_tokens"]
    assert sum("timings" in chunk for chunk in plain.chunks + counted.chunks) == 2
    for value in whole["timings"].values():
        assert value >= 0
