"""A writer of small GGUF files that records the offset of each field, so that tests can damage it.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

import functools
import math
import struct

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
SCALARS = {
    U8: "B", I8: "b", U16: "H", I16: "h", U32: "I", I32: "i", F32: "f", BOOL: "B",
    U64: "Q", I64: "q", F64: "d",
}  # fmt: skip

# Elements and bytes of a block (ggml-common.h), and the id.
TENSOR_TYPES = {
    "F32": (0, 1, 4), "F16": (1, 1, 2), "Q4_0": (2, 32, 18), "Q4_1": (3, 32, 20),
    "Q5_0": (6, 32, 22), "Q5_1": (7, 32, 24), "Q8_0": (8, 32, 34), "IQ4_NL": (20, 32, 18),
    "BF16": (30, 1, 2),
}  # fmt: skip
# f16 fields of a block
SCALED = {"Q4_0": 1, "Q4_1": 2, "Q5_0": 1, "Q5_1": 2, "Q8_0": 1, "IQ4_NL": 1}

NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5


class Tensor:
    def __init__(self, name, dims, kind):
        self.name, self.dims, self.kind = name, list(dims), kind

    def data(self):
        return tensor_data(self.kind, math.prod(self.dims))


@functools.cache
def tensor_data(kind, n):
    """Returns the bytes of n numbers between -1 and 1."""
    elements, size = TENSOR_TYPES[kind][1:]
    if kind in ("F32", "F16", "BF16"):
        numbers = [(i * 37 % 19 - 9) / 9 for i in range(n)]
        if kind == "F16":
            return struct.pack(f"<{n}e", *numbers)
        data = struct.pack(f"<{n}f", *numbers)
        if kind == "BF16":  # the upper half of each
            return b"".join(data[i + 2 : i + 4] for i in range(0, len(data), 4))
        return data
    scales = struct.pack("<e", 0.01) * SCALED[kind]
    quants = size - len(scales)
    return b"".join(
        scales + bytes((i * 37 + k * 11) % 256 for k in range(quants)) for i in range(n // elements)
    )


class Model:
    """The content of a file: values, a dict of key -> (type, value), or (ARRAY, element type, list); and
    tensors. Change it, then write()."""

    def __init__(self, values, tensors):
        self.values, self.tensors = values, tensors

    def tensor(self, name):
        return next(t for t in self.tensors if t.name == name)

    def write(self):
        return Writer(self)


class Writer:
    """data: the file; places: label -> (offset, struct format); starts: where parts begin."""

    def __init__(self, model):
        self.data = bytearray()
        self.places = {}
        self.starts = []
        self._put("magic", "4s", b"GGUF")
        self._put("version", "I", 3)
        self._put("n_tensors", "Q", len(model.tensors))
        self._put("n_kv", "Q", len(model.values))
        for key, value in model.values.items():
            self._string(key, key.encode())
            self._value(key, *value)
        alignment = model.values.get("general.alignment", (U32, 32))[1]
        blobs = [t.data() for t in model.tensors]
        offset = 0
        for t, blob in zip(model.tensors, blobs):
            self._string(t.name, t.name.encode())
            self._put(f"{t.name}/n_dims", "I", len(t.dims))
            for i, d in enumerate(t.dims):
                self._put(f"{t.name}/dim{i}", "Q", d)
            self._put(f"{t.name}/type", "I", TENSOR_TYPES[t.kind][0])
            self._put(f"{t.name}/offset", "Q", offset)
            offset += -(-len(blob) // alignment) * alignment
        self.header_end = len(self.data)
        self._pad(alignment)
        for t, blob in zip(model.tensors, blobs):
            self._pad(alignment)
            self.starts.append(len(self.data))
            self.data += blob

    def _put(self, label, form, value):
        self.places[label] = (len(self.data), "<" + form)
        self.starts.append(len(self.data))
        self.data += struct.pack("<" + form, value)

    def _string(self, label, text):
        self._put(f"{label}/length", "Q", len(text))
        self.places[f"{label}/bytes"] = (len(self.data), f"{len(text)}s")
        self.starts.append(len(self.data))
        self.data += text

    def _value(self, key, kind, *value):
        self._put(f"{key}/type", "I", kind)
        if kind != ARRAY:
            self._scalar(f"{key}/value", kind, value[0])
            return
        element, values = value
        self._put(f"{key}/element type", "I", element)
        self._put(f"{key}/array length", "Q", len(values))
        for i, v in enumerate(values):
            self._scalar(f"{key}/{i}", element, v)

    def _scalar(self, label, kind, value):
        if kind == STRING:
            self._string(label, value if isinstance(value, bytes) else value.encode())
        else:
            self._put(label, SCALARS[kind], value)

    def _pad(self, alignment):
        self.data += bytes(-len(self.data) % alignment)

    def changed(self, label, value):
        """Returns a copy of the file with another value in one field."""
        at, form = self.places[label]
        copy = bytearray(self.data)
        struct.pack_into(form, copy, at, value)
        return bytes(copy)

    def value(self, label):
        at, form = self.places[label]
        return struct.unpack_from(form, self.data, at)[0]


def byte_alphabet():
    """Returns the characters of a byte-level vocabulary for each byte (openai/gpt-2, encoder.py)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in printable]
    return [chr(b) for b in printable] + [chr(256 + i) for i in range(len(others))]


def tiny_qwen2():
    """Returns a complete model of one layer of width 32, 60 KB, with most weight types, and keys of all types."""
    tokens = byte_alphabet() + ["he", "ll", "hell"]
    types = [NORMAL] * len(tokens)
    for token, kind in (
        ("<|endoftext|>", CONTROL),
        ("<|im_end|>", CONTROL),
        ("<tool_call>", USER_DEFINED),
        ("[PAD0]", UNUSED),
        ("[PAD1]", UNUSED),
    ):
        tokens.append(token)
        types.append(kind)
    values = {
        "general.architecture": (STRING, "qwen2"),
        "general.name": (STRING, "damaged"),
        "general.alignment": (U32, 32),
        "general.file_type": (U32, 15),
        "qwen2.block_count": (U32, 1),
        "qwen2.context_length": (U32, 64),
        "qwen2.embedding_length": (U32, 32),
        "qwen2.feed_forward_length": (U32, 64),
        "qwen2.attention.head_count": (U32, 2),
        "qwen2.attention.head_count_kv": (U32, 1),
        "qwen2.attention.layer_norm_rms_epsilon": (F32, 1e-6),
        "qwen2.rope.freq_base": (F32, 1e6),
        "tokenizer.ggml.model": (STRING, "gpt2"),
        "tokenizer.ggml.pre": (STRING, "qwen2"),
        "tokenizer.ggml.tokens": (ARRAY, STRING, tokens),
        "tokenizer.ggml.token_type": (ARRAY, I32, types),
        "tokenizer.ggml.merges": (ARRAY, STRING, ["h e", "l l", "he ll"]),
        "tokenizer.ggml.eos_token_id": (U32, tokens.index("<|im_end|>")),
        "tokenizer.ggml.bos_token_id": (U32, tokens.index("<|endoftext|>")),
        "tokenizer.ggml.padding_token_id": (U32, tokens.index("<|endoftext|>")),
        "tokenizer.ggml.add_bos_token": (BOOL, 0),
        "tokenizer.chat_template": (STRING, "{{ messages }}"),
        "test.u8": (U8, 1),
        "test.i8": (I8, -1),
        "test.u16": (U16, 1),
        "test.i16": (I16, -1),
        "test.u64": (U64, 1),
        "test.i64": (I64, -1),
        "test.f64": (F64, 0.5),
        "test.bools": (ARRAY, BOOL, [0, 1, 1]),
        "test.doubles": (ARRAY, F64, [0.5, -0.5]),
    }
    tensors = [
        Tensor("token_embd.weight", (32, len(tokens)), "Q5_0"),
        Tensor("output.weight", (32, len(tokens)), "Q8_0"),
        Tensor("output_norm.weight", (32,), "F32"),
        Tensor("blk.0.attn_norm.weight", (32,), "F32"),
        Tensor("blk.0.attn_q.weight", (32, 32), "F16"),
        Tensor("blk.0.attn_q.bias", (32,), "F32"),
        Tensor("blk.0.attn_k.weight", (32, 16), "Q4_0"),
        Tensor("blk.0.attn_k.bias", (16,), "F32"),
        Tensor("blk.0.attn_v.weight", (32, 16), "Q4_1"),
        Tensor("blk.0.attn_v.bias", (16,), "F32"),
        Tensor("blk.0.attn_output.weight", (32, 32), "Q5_1"),
        Tensor("blk.0.ffn_norm.weight", (32,), "F32"),
        Tensor("blk.0.ffn_gate.weight", (32, 64), "BF16"),
        Tensor("blk.0.ffn_up.weight", (32, 64), "F32"),
        Tensor("blk.0.ffn_down.weight", (64, 32), "IQ4_NL"),
    ]
    return Model(values, tensors)
