#!/usr/bin/env python3
"""Logits of a model, computed in float64 with numpy: the reference for every engine.

Shares nothing with src/: it reads the file with tests/tools/gguf_file.py, dequantises with the
Python package gguf and follows the published architectures: qwen2 (technical report,
arXiv:2407.10671; transformers, modeling_qwen2.py), qwen3 (arXiv:2505.09388; modeling_qwen3.py) and
llama (arXiv:2307.09288 and 2407.21783; RoPE on neighbouring pairs as in Meta's own model.py, which is the order of
the rows of q and k in files of this architecture). Computes layer by layer, so that the weights of
one layer are in memory at a time, and the head in slices of the vocabulary.

Usage:    reference.py MODEL.gguf TOKENS OUT.npy   computes logits (TOKENS: a sequence of ids a line)
          reference.py --compare REF.npy OURS.npy  prints the divergence between two of them
"""

import hashlib
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tools"))
from gguf_file import GgufFile  # noqa: E402

HEAD_SLICE = 8192  # rows of the head at a time: 59 MB of float64 at width 896


class Reference:
    def __init__(self, path):
        self.file = GgufFile(path)
        get = self.file.metadata.__getitem__
        family = get("general.architecture")
        if family not in ("llama", "qwen2", "qwen3"):
            raise ValueError(f"{path}: the reference knows llama, qwen2 and qwen3 only")
        self.pairs_are_neighbours = family == "llama"
        self.n_layers = get(f"{family}.block_count")
        self.n_heads = get(f"{family}.attention.head_count")
        self.n_kv_heads = get(f"{family}.attention.head_count_kv")
        self.head_dim = self.file.metadata.get(
            f"{family}.attention.key_length", get(f"{family}.embedding_length") // self.n_heads
        )
        self.rope_base = float(get(f"{family}.rope.freq_base"))
        self.eps = float(get(f"{family}.attention.layer_norm_rms_epsilon"))

    def _weight(self, name):
        return self.file.tensors[name].rows().astype(np.float64)

    def _vector(self, name):
        return self._weight(name).reshape(-1)

    def _norm(self, x, name):
        scale = np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + self.eps)
        return x / scale * self._vector(name)

    def _rotate(self, x):
        """Applies RoPE with the pairs (i, i + dim/2) or (2i, 2i + 1); x: [positions, heads, dim]."""
        half = self.head_dim // 2
        frequency = self.rope_base ** (-np.arange(half) / half)
        if "rope_freqs.weight" in self.file.tensors:
            frequency /= self._vector("rope_freqs.weight")
        angle = np.arange(len(x))[:, None, None] * frequency
        neighbours = self.pairs_are_neighbours
        a, b = (x[..., ::2], x[..., 1::2]) if neighbours else (x[..., :half], x[..., half:])
        cosine, sine = np.cos(angle), np.sin(angle)
        turned = [a * cosine - b * sine, b * cosine + a * sine]
        return np.stack(turned, -1).reshape(x.shape) if neighbours else np.concatenate(turned, -1)

    def _attend(self, q, k, v):
        """Computes causal attention of one sequence; q: [n, heads, dim], k and v: [n, kv heads, dim]."""
        n = len(q)
        group = self.n_heads // self.n_kv_heads
        out = np.empty_like(q)
        future = np.triu(np.ones((n, n), dtype=bool), 1)
        for head in range(self.n_heads):
            score = q[:, head] @ k[:, head // group].T / np.sqrt(self.head_dim)
            score[future] = -np.inf
            p = np.exp(score - score.max(axis=-1, keepdims=True))
            out[:, head] = p / p.sum(axis=-1, keepdims=True) @ v[:, head // group]
        return out.reshape(n, -1)

    def _layer(self, x, begins, i):
        def project(h, name):
            y = h @ self._weight(f"blk.{i}.{name}.weight").T
            bias = f"blk.{i}.{name}.bias"
            return y + self._vector(bias) if bias in self.file.tensors else y

        h = self._norm(x, f"blk.{i}.attn_norm.weight")
        q = project(h, "attn_q").reshape(len(x), self.n_heads, self.head_dim)
        k = project(h, "attn_k").reshape(len(x), self.n_kv_heads, self.head_dim)
        v = project(h, "attn_v").reshape(len(x), self.n_kv_heads, self.head_dim)
        if f"blk.{i}.attn_q_norm.weight" in self.file.tensors:
            q = self._norm(q, f"blk.{i}.attn_q_norm.weight")
            k = self._norm(k, f"blk.{i}.attn_k_norm.weight")
        attended = [
            self._attend(self._rotate(q[a:b]), self._rotate(k[a:b]), v[a:b])
            for a, b in zip(begins, begins[1:])
        ]
        x = x + project(np.concatenate(attended), "attn_output")
        h = self._norm(x, f"blk.{i}.ffn_norm.weight")
        gate = project(h, "ffn_gate")
        return x + project(gate / (1 + np.exp(-gate)) * project(h, "ffn_up"), "ffn_down")

    def hidden(self, sequences):
        """Returns the vectors after the last norm: float64 [positions of all sequences in order, width];
        sequences are independent."""
        begins = np.cumsum([0, *map(len, sequences)])
        embedding = self.file.tensors["token_embd.weight"]
        ids = np.concatenate([np.asarray(s, dtype=np.int64) for s in sequences])
        distinct, place = np.unique(ids, return_inverse=True)
        rows = np.concatenate([embedding.rows(i, i + 1) for i in distinct])
        x = rows.astype(np.float64)[place]
        for i in range(self.n_layers):
            x = self._layer(x, begins, i)
        return self._norm(x, "output_norm.weight")

    def logits(self, sequences):
        """Returns float32 [positions of all sequences in order, vocabulary]."""
        x = self.hidden(sequences)
        embedding = self.file.tensors["token_embd.weight"]
        head = self.file.tensors.get("output.weight", embedding)
        out = np.empty((len(x), head.shape[0]), dtype=np.float32)
        for at in range(0, head.shape[0], HEAD_SLICE):
            part = head.rows(at, at + HEAD_SLICE).astype(np.float64)
            out[:, at : at + HEAD_SLICE] = x @ part.T
        return out


def cached_logits(path, sequences, cache):
    """Same as Reference(path).logits(sequences), cached in the folder `cache` under a hash of the model's
    content, the tokens and this program."""
    key = hashlib.sha256()
    with open(path, "rb") as f:
        key.update(hashlib.file_digest(f, "sha256").digest())
    key.update(repr([list(map(int, s)) for s in sequences]).encode())
    for source in (Path(__file__), Path(sys.modules["gguf_file"].__file__)):
        key.update(source.read_bytes())
    kept = Path(cache) / f"reference-{key.hexdigest()[:32]}.npy"
    if not kept.is_file():
        kept.parent.mkdir(parents=True, exist_ok=True)
        unfinished = kept.with_suffix(".unfinished.npy")
        np.save(unfinished, Reference(path).logits(sequences))
        unfinished.rename(kept)
    return np.load(kept, mmap_mode="r")


class Divergence:
    """The divergence of `ours` from `reference` (logits, [positions, vocabulary]) per position."""

    def __init__(self, reference, ours):
        if reference.shape != ours.shape:
            raise ValueError(f"logits of {ours.shape} where {reference.shape} was expected")
        self.kl = np.empty(len(reference))
        self.same_top = np.empty(len(reference), dtype=bool)
        for i, (r, o) in enumerate(zip(reference, ours)):
            log_p, log_q = log_softmax(r), log_softmax(o)
            self.kl[i] = np.sum(np.exp(log_p) * (log_p - log_q))
            self.same_top[i] = np.argmax(r) == np.argmax(o)

    @property
    def mean(self):
        return float(self.kl.mean())

    @property
    def p99(self):
        return float(np.percentile(self.kl, 99))

    @property
    def top1(self):
        return float(self.same_top.mean())

    def __str__(self):
        return (
            f"{len(self.kl)} positions: mean KL {self.mean:.2e}, p99 {self.p99:.2e}, "
            f"max {self.kl.max():.2e}, top-1 {100 * self.top1:.2f} %"
        )


def log_softmax(logits):
    x = np.asarray(logits, dtype=np.float64)
    x = x - x.max()
    return x - np.log(np.exp(x).sum())


def main(arguments):
    if len(arguments) != 3:
        sys.exit(__doc__)
    if arguments[0] == "--compare":
        print(Divergence(*(np.load(a, mmap_mode="r") for a in arguments[1:])))
        return
    model, tokens, out = arguments
    lines = Path(tokens).read_text().splitlines()
    np.save(out, Reference(model).logits([[int(i) for i in line.split()] for line in lines]))


if __name__ == "__main__":
    main(sys.argv[1:])
