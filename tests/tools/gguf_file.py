"""A small GGUF reader for tests: metadata and raw tensors, in a second for a vocabulary of 150,000 tokens.

The package gguf reads a vocabulary one numpy view per token (11 s for the real model); this walks
the header once and maps the tensors. Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

import struct
from dataclasses import dataclass

import numpy as np
from gguf import GGMLQuantizationType, GGML_QUANT_SIZES
from gguf.quants import dequantize

STRING, ARRAY = 8, 9
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}


@dataclass
class Tensor:
    name: str
    shape: tuple  # in numpy's order: rows first
    type: GGMLQuantizationType
    raw: np.ndarray  # uint8 [rows, bytes of a row]

    def rows(self, begin=0, end=None):
        """Returns the dequantised rows as float32 [rows, shape[-1]]."""
        raw = self.raw[begin:end]
        if self.type == GGMLQuantizationType.F32:
            return raw.view(np.float32)
        return dequantize(raw, self.type)


class GgufFile:
    def __init__(self, path):
        self.data = np.memmap(path, mode="r")
        self.view = memoryview(self.data)
        self.at = 0
        magic, version = self._read("<4sI")
        if magic != b"GGUF" or version not in (2, 3):
            raise ValueError(f"{path}: no GGUF of version 2 or 3")
        n_tensors, n_values = self._read("<QQ")
        self.metadata = {}
        for _ in range(n_values):
            key = self._string()
            self.metadata[key] = self._value(self._read("<I"))
        directory = [self._tensor_info() for _ in range(n_tensors)]
        alignment = self.metadata.get("general.alignment", 32)
        base = -(-self.at // alignment) * alignment
        self.tensors = {}
        for name, dims, kind, offset in directory:
            elements, size = GGML_QUANT_SIZES[kind]
            row_bytes = dims[0] // elements * size
            n_rows = int(np.prod(dims[1:], dtype=np.int64))
            begin = base + offset
            raw = self.data[begin : begin + n_rows * row_bytes].reshape(n_rows, row_bytes)
            self.tensors[name] = Tensor(name, tuple(reversed(dims)), kind, raw)

    def _read(self, form):
        values = struct.unpack_from(form, self.view, self.at)
        self.at += struct.calcsize(form)
        return values if len(values) > 1 else values[0]

    def _string(self):
        n = self._read("<Q")
        text = bytes(self.view[self.at : self.at + n])
        self.at += n
        return text.decode("utf-8")

    def _value(self, kind):
        if kind == STRING:
            return self._string()
        if kind != ARRAY:
            return self._read("<" + SCALARS[kind])
        kind, n = self._read("<IQ")
        if kind == STRING:
            return [self._string() for _ in range(n)]
        values = self._read(f"<{n}{SCALARS[kind]}")
        return list(values) if n > 1 else [values]

    def _tensor_info(self):
        name = self._string()
        n_dims = self._read("<I")
        dims = [self._read("<Q") for _ in range(n_dims)]
        kind, offset = self._read("<IQ")
        return name, dims, GGMLQuantizationType(kind), offset
