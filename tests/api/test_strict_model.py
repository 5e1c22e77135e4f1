"""Requests that name another model: answered by the one that is here, or refused with --strict-model."""

import pytest
from api_client import CHAT, HELLO, complete, get, post, stream

BODY = {"messages": HELLO, "max_tokens": 2}
OTHERS = ["gpt-4o", "qwen3:8b", "vendor/model", "x" * 500, "你好"]


@pytest.fixture(scope="module")
def strict(server_factory, tiny_model_path):
    server = server_factory("--offline", "--strict-model", "--alias", "gpt-4o-mini", model=tiny_model_path)
    yield server
    server.end()


@pytest.mark.parametrize("name", OTHERS)
def test_another_model(tiny, name):
    """Programs send the name that was configured once; the answer says which model it is of."""
    here = get(tiny, "/v1/models").json()["data"][0]["id"]
    assert complete(tiny, **BODY, model=name)["model"] == here
    assert {chunk["model"] for chunk in stream(tiny, **BODY, model=name).chunks} == {here}
    # to ask for it is another question
    assert get(tiny, "/v1/models/gpt-4o").status == 404


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("streamed", [False, True], ids=["document", "stream"])
def test_strict(strict, name, streamed):
    here = get(strict, "/v1/models").json()["data"][0]["id"]
    reply = post(strict, CHAT, {**BODY, "model": name, "stream": streamed})
    assert reply.status == 404
    error = reply.error
    assert error["code"] == "model_not_found" and error["param"] == "model" and here in error["message"]


def test_its_own_names(strict):
    here = get(strict, "/v1/models").json()["data"][0]
    for name in (here["id"], here["meta"]["file"], "default", "", None, "gpt-4o-mini"):
        assert post(strict, CHAT, {**BODY, "model": name}).status == 200
    assert complete(strict, **BODY, model="gpt-4o-mini")["model"] == here["id"]
