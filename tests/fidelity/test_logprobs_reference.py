"""logprobs of the API, compared with the softmax of the float64 reference for the same weights."""

import json
from urllib.request import Request, urlopen

import numpy as np
from reference import Reference, log_softmax
from test_logits import chat_tokens

# Of the 20 most likely tokens; int8 activations move the logits of the tiny model: here by 0.076 at most.
MAX_DIFFERENCE = 0.12

CHATS = {
    "english": (("system", "Answer."), ("user", "Why is the sky blue?")),
    "chinese": (("system", "回答。"), ("user", "天空为什么是蓝色的？")),
    "turns": (("system", "a"), ("user", "b c"), ("assistant", "d e"), ("user", "f")),
}


def first_token(server, chat):
    messages = [{"role": role, "content": text} for role, text in chat]
    body = {"messages": messages, "max_tokens": 4, "logprobs": True, "top_logprobs": 20}
    request = Request(
        f"http://127.0.0.1:{server.port}/v1/chat/completions",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    with urlopen(request) as reply:
        return json.load(reply)["choices"][0]["logprobs"]["content"][0]


def test_the_reference(server_factory, tiny_model_path, tokenize, evaluate):
    server = server_factory("--offline", model=tiny_model_path)
    reference = Reference(tiny_model_path)
    for chat in CHATS.values():
        ids = chat_tokens(tokenize, tiny_model_path, (*chat, ("assistant", "")))[:-2]
        got = [top["logprob"] for top in first_token(server, chat)["top_logprobs"]]
        computed = np.sort(log_softmax(evaluate(tiny_model_path, [ids])[-1]))[::-1][:20]
        assert np.abs(computed - got).max() < 1e-9  # a document has 10 digits
        expected = np.sort(log_softmax(reference.logits([ids])[-1]))[::-1][:20]
        assert np.abs(expected - got).max() < MAX_DIFFERENCE
    server.end()
