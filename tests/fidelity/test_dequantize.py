"""Dequantised weights of every type have the same bits as with the Python package gguf."""

import subprocess

import numpy as np
import pytest
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize

# Offsets of the f16 fields (scales, minima) of a block.
F16_FIELDS = {
    "F16": [0],
    "Q4_0": [0],
    "Q4_1": [0, 2],
    "Q5_0": [0],
    "Q5_1": [0, 2],
    "Q8_0": [0],
    "Q2_K": [80, 82],
    "Q3_K": [108],
    "Q4_K": [0, 2],
    "Q5_K": [0, 2],
    "Q6_K": [208],
    "IQ3_XXS": [0],
    "IQ3_S": [0],
    "IQ4_XS": [0],
    "IQ4_NL": [0],
    "TQ1_0": [52],
    "TQ2_0": [64],
}
# Zeros, the smallest and largest subnormals and normals, one, and usual scales; of both signs.
F16_EDGES = [0x0000, 0x0001, 0x0002, 0x03FF, 0x0400, 0x0401, 0x2E66, 0x3C00, 0x7BFE, 0x7BFF]
F16_EDGES = np.array(F16_EDGES + [e | 0x8000 for e in F16_EDGES], np.uint16)
N_BLOCKS = 20000


def ours(build_dir, name, blocks):
    program = build_dir / "tests" / "fidelity" / "dequantize_dump"
    done = subprocess.run([str(program), name], input=blocks.tobytes(), capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    return np.frombuffer(done.stdout, np.uint32)


def random_f16(rng, n):
    """Returns n values: half of them arbitrary finite ones, half edge cases."""
    values = rng.integers(0, 0x7C00, n, dtype=np.uint16) | rng.integers(0, 2, n, dtype=np.uint16) << 15
    return np.where(rng.random(n) < 0.5, values, rng.choice(F16_EDGES, n)).astype(np.uint16)


def random_blocks(name, rng):
    elements, size = GGML_QUANT_SIZES[GGMLQuantizationType[name]]
    blocks = rng.integers(0, 256, (N_BLOCKS, size), dtype=np.uint8)
    # all bits of the numbers clear, and all set
    blocks[0] = 0
    blocks[1] = 255
    for at in F16_FIELDS.get(name, []):
        blocks[:, at : at + 2] = random_f16(rng, N_BLOCKS).view(np.uint8).reshape(-1, 2)
    return blocks


@pytest.mark.parametrize("name", sorted(F16_FIELDS))
def test_random_blocks(build_dir, name):
    blocks = random_blocks(name, np.random.default_rng(20260101))
    expected = dequantize(blocks, GGMLQuantizationType[name]).view(np.uint32).ravel()
    assert np.isfinite(expected.view(np.float32)).all()
    found = ours(build_dir, name, blocks)
    assert found.size == expected.size
    wrong = np.flatnonzero(found != expected)
    assert wrong.size == 0, f"{wrong.size} differ, the first at {wrong[0]}"


@pytest.mark.parametrize("name", sorted(F16_FIELDS))
def test_damaged_scales(build_dir, name):
    """Scales that are infinite or no number make the same numbers infinite, and the same ones no number."""
    rng = np.random.default_rng(3)
    blocks = random_blocks(name, rng)[:2000]
    for at in F16_FIELDS[name]:
        damage = rng.choice(np.array([0x7C00, 0xFC00, 0x7E00, 0xFE01], np.uint16), len(blocks))
        blocks[:, at : at + 2] = damage.view(np.uint8).reshape(-1, 2)
    with np.errstate(invalid="ignore"):
        expected = dequantize(blocks, GGMLQuantizationType[name]).ravel()
    found = ours(build_dir, name, blocks).view(np.float32)
    assert not np.isfinite(expected).all()
    np.testing.assert_array_equal(found, expected)  # takes NaN for equal to NaN


def test_every_f16(build_dir):
    halves = np.arange(65536, dtype=np.uint16)
    halves = halves[~np.isnan(halves.view(np.float16))]
    expected = halves.view(np.float16).astype(np.float32).view(np.uint32)
    assert (ours(build_dir, "F16", halves) == expected).all()


def test_every_bf16(build_dir):
    values = np.arange(65536, dtype=np.uint16)
    expected = dequantize(values.view(np.uint8).reshape(-1, 2), GGMLQuantizationType.BF16)
    assert (ours(build_dir, "BF16", values) == expected.view(np.uint32).ravel()).all()


def test_f32_is_a_copy(build_dir):
    bits = np.random.default_rng(1).integers(0, 2**32, N_BLOCKS, dtype=np.uint32)
    assert (ours(build_dir, "F32", bits) == bits).all()


def test_the_real_models_tensors(build_dir, model_path):
    """Compares one tensor of each type in the real model."""
    from tools.gguf_file import GgufFile

    model = GgufFile(model_path)
    tensors = {t.type: t for t in model.tensors.values() if t.shape[-1] > 1}
    assert len(tensors) >= 4
    for kind, tensor in tensors.items():
        n_rows = min(tensor.raw.shape[0], 2000)
        expected = np.ascontiguousarray(tensor.rows(0, n_rows), np.float32).view(np.uint32).ravel()
        found = ours(build_dir, kind.name, np.ascontiguousarray(tensor.raw[:n_rows]))
        assert (found == expected).all(), f"{tensor.name} ({kind.name})"
