"""The numeric contract: the logits of a token have the same bits for any number of threads, size of
chunks, batch and instruction set."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from chat_texts import CHATS
from gguf_file import GgufFile

THREADS = (1, 2, 3)
CHUNKS = (1, 7, 64, 512)
# In a model each: types, and mixes of the small ones.
TYPES = ("F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q4_K", "Q5_K", "Q6_K",
         "IQ4_NL/IQ4_XS", "IQ3_S/IQ3_XXS", "Q2_K/Q3_K/TQ1_0,up=TQ2_0")  # fmt: skip
# The tiers that this machine can run; scalar is the specification of all others.
FLAGS = {"sse4.1": "sse4_1", "avx2": "avx2", "avxvnni": "avx_vnni", "avx512": "avx512bw",
         "avx512vnni": "avx512_vnni"}  # fmt: skip
TIERS = ("scalar", *(t for t, f in FLAGS.items() if f in Path("/proc/cpuinfo").read_text().split()))
# Kinds of KV cache and of attention: each keeps the contract, with different bits for each kind.
ATTENTION = tuple(
    ("--kv-type", kv_type, "--flash-attn", flash)
    for kv_type in ("f16", "int8")
    for flash in ("on", "off")
)


def assert_same_bits(expected, got, what):
    assert expected.shape == got.shape
    same = expected.view(np.uint32) == got.view(np.uint32)
    if not same.all():
        row, column = np.argwhere(~same)[0]
        pytest.fail(
            f"{what}: {np.count_nonzero(~same)} of {same.size} logits differ, first at position "
            f"{row}, token {column}: {expected[row, column]!r} and {got[row, column]!r}"
        )


@pytest.fixture(scope="module")
def tiny_sequences():
    """Four sequences; the first is longer than the largest chunk."""
    rng = np.random.default_rng(11)
    return [rng.integers(0, 600, n).tolist() for n in (530, 40, 33, 1)]


@pytest.fixture(scope="module")
def expected_bits():
    """The logits of the scalar tier by kind of attention, shared by the tests of all tiers."""
    return {}


@pytest.mark.parametrize("attention", ATTENTION)
@pytest.mark.parametrize("tier", TIERS)
def test_tiny_model(tier, attention, evaluate, tiny_model_path, tiny_sequences, expected_bits):
    if attention not in expected_bits:
        # each sequence in a separate run: scalar, one thread, token by token
        options = (*attention, "--cpu", "scalar", "--threads", 1, "--chunk", 1)
        expected_bits[attention] = np.concatenate(
            [evaluate(tiny_model_path, [s], *options) for s in tiny_sequences]
        )
    alone = expected_bits[attention]
    ways = list(itertools.product(THREADS, CHUNKS, ((), ("--together",))))
    # scalar is slow, and its code is the same; the other two share most code with AVX2
    if tier in ("scalar", "sse4.1", "avx512"):
        ways = [(2, 64, ("--together",)), (3, 7, ())]
        if tier == "scalar":
            ways = ways + [(1, 512, ()), (2, 1, ("--together",))] if attention == ATTENTION[0] else ways[:1]
    for threads, chunk, company in ways:
        how = ("--cpu", tier, "--threads", threads, "--chunk", chunk, *company)
        got = evaluate(tiny_model_path, tiny_sequences, *attention, *how)
        assert_same_bits(alone, got, f"options {attention} {how}")


@pytest.mark.parametrize("tier", TIERS)
def test_the_requested_tier_is_used(tier, run_kinglet, tiny_model_path, tmp_path):
    tokens = tmp_path / "tokens.txt"
    tokens.write_text("1 2 3\n")
    done = run_kinglet("eval", "--model", tiny_model_path, "--tokens", tokens, "--logits",
                       tmp_path / "o.npy", "--cpu", tier, "--log-level", "info")  # fmt: skip
    assert f"kernels: {tier} " in done.stderr.decode()


@pytest.mark.parametrize("kind", TYPES)
def test_every_type(kind, evaluate, make_tiny_model, tiny_sequences):
    path = make_tiny_model("--types", f"all={kind}")
    sequences = tiny_sequences[1:]
    expected = evaluate(path, sequences, "--cpu", "scalar", "--threads", 1, "--chunk", 1)
    for tier in TIERS:
        options = ("--cpu", tier, "--threads", 2, "--chunk", 64, "--together")
        assert_same_bits(expected, evaluate(path, sequences, *options), f"options {options}")


@pytest.mark.parametrize("attention", ATTENTION)
@pytest.mark.parametrize("family", ("llama", "qwen3"))
def test_every_family(family, attention, evaluate, make_tiny_model, tiny_sequences):
    path = make_tiny_model("--architecture", family)
    sequences = tiny_sequences[1:]
    one_by_one = (*attention, "--cpu", "scalar", "--threads", 1, "--chunk", 1)
    expected = np.concatenate([evaluate(path, [s], *one_by_one) for s in sequences])
    for tier in TIERS:
        for how in (("--threads", 2, "--chunk", 64, "--together"), ("--threads", 3, "--chunk", 7)):
            options = (*attention, "--cpu", tier, *how)
            assert_same_bits(expected, evaluate(path, sequences, *options), f"options {options}")


@pytest.mark.parametrize("tier", TIERS)
def test_a_damaged_scale_reaches_the_logits(tier, evaluate, make_tiny_model, tmp_path):
    """It is noticed there. A maximum of floats that hides a NaN made numbers of it that look sound."""
    source = make_tiny_model("--types", "down=Q3_K")
    file = GgufFile(source)
    block = file.tensors["blk.1.ffn_down.weight"].raw
    at = block.__array_interface__["data"][0] - file.data.__array_interface__["data"][0]
    content = bytearray(source.read_bytes())
    content[at + 108 : at + 110] = b"\x00\x7e"  # the scale of its first block: a NaN
    damaged = tmp_path / "damaged.gguf"
    damaged.write_bytes(content)
    assert not np.isfinite(evaluate(damaged, [[1, 2, 3]], "--cpu", tier)).any()


@pytest.fixture(scope="module")
def chats(tokenize, model_path):
    """One chat of more than 512 tokens and three short ones."""
    pieces = {name: "\n".join(text for _, text in chat) for name, chat in CHATS.items()}
    long = tokenize(model_path, "\n".join(pieces.values()) * 2)[:520]
    return [long, *(tokenize(model_path, text)[:n] for text, n in zip(pieces.values(), (40, 9, 1)))]


def test_real_model(evaluate, model_path, chats):
    expected = np.concatenate([evaluate(model_path, [s]) for s in chats])
    for options in (
        ("--threads", 1, "--chunk", 64),
        ("--threads", 2, "--chunk", 512),
        ("--threads", 3),
        ("--together", "--threads", 3, "--chunk", 7),
    ):
        assert_same_bits(expected, evaluate(model_path, chats, *options), f"options {options}")
    few = chats[1:]  # token by token
    got = evaluate(model_path, few, "--chunk", 1)
    assert_same_bits(expected[len(chats[0]) :], got, "options --chunk 1")


def test_real_model_with_int8_kv(evaluate, model_path, chats):
    kind = ("--kv-type", "int8")
    expected = np.concatenate([evaluate(model_path, [s], *kind) for s in chats])
    for options in (("--chunk", 512), ("--together", "--threads", 3, "--chunk", 7)):
        got = evaluate(model_path, chats, *kind, *options)
        assert_same_bits(expected, got, f"options {kind} {options}")


def test_real_model_on_every_tier(evaluate, model_path, chats):
    """The prompt is short, since the scalar tier takes about a second per token."""
    sequences = [chats[1][:12], chats[2][:4]]
    expected = evaluate(model_path, sequences, "--cpu", "scalar", "--threads", 1)
    for tier in TIERS:
        options = ("--cpu", tier, "--threads", 2, "--together")
        assert_same_bits(expected, evaluate(model_path, sequences, *options), f"options {options}")
