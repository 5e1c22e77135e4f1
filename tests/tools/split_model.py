"""Splits a GGUF file into parts, as llama.cpp's gguf-split does: the metadata stay in the first part.

    python tests/tools/split_model.py MODEL.gguf PREFIX TENSORS-PER-PART
"""

import struct
import sys
from pathlib import Path

from gguf_file import GgufFile

U16, I32 = 2, 5


def _key(name, kind, form, value):
    return struct.pack("<Q", len(name)) + name + struct.pack("<I" + form, kind, value)


def part_of(number, count, n_all, tensors, metadata=(0, b"")):
    """Returns the bytes of one part: tensors are (name, dims, type, data), metadata (n, bytes)."""
    keys = (
        _key(b"split.no", U16, "H", number)
        + _key(b"split.count", U16, "H", count)
        + _key(b"split.tensors.count", I32, "i", n_all)
    )
    out = struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), metadata[0] + 3) + metadata[1] + keys
    data = b""
    for name, dims, kind, raw in tensors:
        out += struct.pack("<Q", len(name)) + name + struct.pack("<I", len(dims))
        out += struct.pack(f"<{len(dims)}QIQ", *dims, kind, len(data))
        data += raw + bytes(-len(raw) % 32)
    return out + bytes(-len(out) % 32) + data


class _Walked(GgufFile):
    """Remembers where the metadata end, and the directory as it is in the file."""

    def _tensor_info(self):
        if not hasattr(self, "directory"):
            self.directory, self.end = [], self.at
        info = super()._tensor_info()
        self.directory.append(info)
        return info


def parts_of(path, per_part):
    """Returns the bytes of the parts of a model, per_part tensors in each."""
    file = _Walked(path)
    metadata = (len(file.metadata), bytes(file.data[24 : file.end]))
    tensors = [
        (name.encode(), dims, int(kind), file.tensors[name].raw.tobytes())
        for name, dims, kind, _ in file.directory
    ]
    groups = [tensors[at : at + per_part] for at in range(0, len(tensors), per_part)]
    return [
        part_of(i, len(groups), len(tensors), group, metadata if i == 0 else (0, b""))
        for i, group in enumerate(groups)
    ]


def split(path, prefix, per_part):
    """Writes the parts and returns their paths."""
    parts = parts_of(path, per_part)
    paths = [Path(f"{prefix}-{i:05}-of-{len(parts):05}.gguf") for i in range(1, len(parts) + 1)]
    for name, data in zip(paths, parts):
        name.write_bytes(data)
    return paths


if __name__ == "__main__":
    for written in split(sys.argv[1], sys.argv[2], int(sys.argv[3])):
        print(written)
