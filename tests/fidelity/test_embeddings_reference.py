"""Embeddings of the API, compared with those of the float64 reference for the same weights."""

import json
from urllib.request import Request, urlopen

import numpy as np
import pytest
from gguf_file import GgufFile
from reference import Reference

TEXTS = (
    "The capital of China is Beijing.",
    "Instruct: Given a web search query, retrieve relevant passages that answer the query\n"
    "Query: What is the capital of China?",
    "万有引力是任意两个物体之间的相互吸引。" * 8,
    "x",
)
POOLINGS = {"last": lambda x: x[-1], "mean": lambda x: x.mean(axis=0), "cls": lambda x: x[0]}

# Activations in int8 blocks of 32 turn the vectors, here to cosines of 0.99973 and more, and move a
# component of a vector of length 1 by up to 0.0053. A wrong row or a missing norm costs far more.
LEAST_COSINE = 0.9995
MAX_ERROR = 0.008


def embed(server, texts, **fields):
    request = Request(
        f"http://127.0.0.1:{server.port}/v1/embeddings",
        json.dumps({"input": texts, **fields}).encode(),
        {"Content-Type": "application/json"},
    )
    with urlopen(request) as reply:
        return np.array([d["embedding"] for d in json.load(reply)["data"]])


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def compare(server, path, tokenize, capsys, end=(), kinds=POOLINGS):
    sequences = [[*tokenize(path, text), *end] for text in TEXTS]
    rows = np.split(Reference(path).hidden(sequences), np.cumsum([len(s) for s in sequences])[:-1])
    for name in kinds:
        got = embed(server, list(TEXTS), **({"pooling": name} if name else {}))
        expected = unit(np.array([POOLINGS[name or "last"](x) for x in rows]))
        cosines, errors = (got * expected).sum(axis=1), np.abs(got - expected).max(axis=1)
        with capsys.disabled():
            print(f"\n  {name or 'of the file'}: cosine {cosines.min():.6f}, error {errors.max():.2e}")
        assert np.abs(np.linalg.norm(got, axis=1) - 1).max() < 1e-6
        assert cosines.min() >= LEAST_COSINE and errors.max() <= MAX_ERROR


@pytest.mark.parametrize("family", ("qwen2", "llama"))
def test_poolings(family, make_tiny_model, server_factory, tokenize, capsys):
    path = make_tiny_model("--architecture", family)
    server = server_factory("--offline", model=path)
    compare(server, path, tokenize, capsys)
    server.end()


def test_qwen3_embedding(make_tiny_model, server_factory, tokenize, capsys):
    """The shape of Qwen3-Embedding: pooling of the last token, which is <|endoftext|>; both by the file."""
    path = make_tiny_model("--architecture", "qwen3", "--tied", "--pooling", "LAST", "--add-eos")
    end = GgufFile(path).metadata["tokenizer.ggml.tokens"].index("<|endoftext|>")
    server = server_factory("--offline", model=path)
    compare(server, path, tokenize, capsys, end=(end,), kinds=(None,))
    server.end()


def test_real_model(model_path, server, tokenize, capsys):
    compare(server, model_path, tokenize, capsys, kinds=("last", "mean"))
