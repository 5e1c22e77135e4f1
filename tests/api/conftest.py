"""Servers that the API tests share. The tiny model answers nonsense within milliseconds."""

import pytest
from api_client import complete, health


@pytest.fixture(scope="session")
def tiny(server_factory, tiny_model_path, tmp_path_factory):
    """A server on the tiny model, for the whole session."""
    history = tmp_path_factory.mktemp("history")
    server = server_factory("--offline", "--history", history, model=tiny_model_path)
    yield server
    server.end()


@pytest.fixture
def tight(start_server):
    """A server with one slot and a queue of one."""
    return start_server("--offline", "--parallel", 1, "--queue", 1)


@pytest.fixture(scope="session")
def endless(tiny):
    """Messages that the tiny model answers, greedily, until its context is full."""
    for text in ("你好", "a b c", "one", "two", "three", "四", "5", "six", "7 7 7", "eight"):
        messages = [{"role": "user", "content": text}]
        if complete(tiny, messages, max_tokens=-1)["choices"][0]["finish_reason"] == "length":
            return messages
    pytest.fail("the tiny model ends all its answers early")


@pytest.fixture
def cancelled(tiny):
    """cancelled() -> the number of requests cancelled since the test began."""
    before = health(tiny)["requests_cancelled"]
    return lambda: health(tiny)["requests_cancelled"] - before


@pytest.fixture
def thousands():
    """Marks tests (see selection.toml) that compute thousands of texts or items."""
