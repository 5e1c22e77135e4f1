"""Damaged model files are refused with a message that names the fault, and never cause a bad access.

Each case is a small valid file with one change, and words that the message must contain. The program
open_models opens them like the server; built with sanitizers (by test.sh), it ends at the first bad
access, overflow or leak. CASES is the table by the stage that must refuse the file: the GGUF reader, the
tokenizer, the model. To add a case, append to the function of its stage.
"""

import os
import random
import re
import struct
import subprocess

import pytest
from model_file import (
    ARRAY, BOOL, CONTROL, F32, F64, I32, I64, NORMAL, STRING, TENSOR_TYPES, U8, U16, U32, U64,
    Tensor, tiny_qwen2,
)  # fmt: skip

HUGE = 2**64 - 1
WRONG_IDS = ((U32, 300), (U32, 2**32 - 1), (I32, -1), (I64, -(2**63)), (U64, HUGE))
TOKENS, TYPES, MERGES = (f"tokenizer.ggml.{k}" for k in ("tokens", "token_type", "merges"))
# A line of open_models: the status, the file, a text without control characters.
REFUSAL = re.compile(
    r"(format|unsupported|limit|not_found) /proc/self/fd/\d+: [^\x00-\x1f\x7f]{10,}"
)


# ---- the GGUF reader --------------------------------------------------------------------------


def head_cases(w):
    for i in range(4):
        damaged = bytearray(w.data)
        damaged[i] ^= 0x20
        yield f"magic byte {i}", bytes(damaged), "not a GGUF file"
    for version in (0, 4, 0x7FFFFFFF):
        yield f"version {version}", w.changed("version", version), "version: expected 2 or 3"
    yield "version 1", w.changed("version", 1), "version: expected 2 or 3, found 1"
    yield "big-endian", w.changed("version", 3 << 24), "big-endian"
    for name, data, words in (
        ("nothing", b"", "it is empty"),
        ("an LFS pointer", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "git lfs pull"),
        ("a page", b"<!DOCTYPE html>\n<html>", "it is a web page"),
        ("a page with a mark and room", b"\xef\xbb\xbf \r\n<HTML lang=en>", "it is a web page"),
        ("a short page", b"<html", "it is a web page"),
        ("XML", b"<?xml version='1.0'?><Error/>", "it is a web page"),
        ("JSON", b'{"error":"Invalid \x1b[31m\xc2\x9b credentials"}', 'instead of the file: {"error":"Invalid ?[31m?? cred'),
        ("JSON on lines", b'{\n  "error": 404\n}\n', "it is JSON"),
        ("safetensors", struct.pack("<Q", 999) + b'{"__metadata__":{}}', "it is a safetensors file"),
        ("gzip", b"\x1f\x8b\x08", "gunzip"),
        ("zip", b"PK\x03\x04\x14", "it is a zip archive"),
        ("zstd", b"\x28\xb5\x2f\xfd", "unzstd"),
        ("xz", b"\xfd7zXZ\x00", "unxz"),
        ("bzip2", b"BZh91AY", "bunzip2"),
        ("7z", b"7z\xbc\xaf\x27\x1c", "7z archive"),
        ("ggjt", b"tjgg\x03\0\0\0", "the format before GGUF (ggjt)"),
        ("zeros", bytes(1000), "begins with zeros"),
        ("something else", b"#", "found 23 00 00 00"),
    ):
        yield name, data, "not a GGUF file"
        yield f"{name}, by name", data, words
    n_tensors, n_kv = w.value("n_tensors"), w.value("n_kv")
    for n in (4097, 2**31, 2**32, 2**63, HUGE // 33 + 1, HUGE):
        yield f"n_tensors {n}", w.changed("n_tensors", n), "n_tensors: expected at most 4096"
    for n in (513, 2**31, 2**32, 2**63, HUGE // 14 + 1, HUGE):
        yield f"n_kv {n}", w.changed("n_kv", n), "n_kv: expected at most 512"
    yield "one tensor too many", w.changed("n_tensors", n_tensors + 1), "a tensor name"
    yield "many tensors too many", w.changed("n_tensors", 4096), "n_tensors: 4096 entries do not fit"
    # the first tensor is parsed as a key with a u16
    yield "one key too many", w.changed("n_kv", n_kv + 1), "a tensor name"
    yield "one key too few", w.changed("n_kv", n_kv - 1), "tensor test.doubles: n_dims"
    # the counts must not be trusted
    yield "tensors without content", w.changed("n_tensors", 15)[:60], "n_tensors: 15 entries do not fit"
    yield "keys without content", w.changed("n_kv", 512)[:600], "n_kv: 512 entries do not fit"


def key_cases(w, model):
    for key in model.values:
        for n in (0, 257, len(w.data), 2**32, 2**63, HUGE):
            yield f"{key}: key length {n}", w.changed(f"{key}/length", n), "a metadata key"
        for kind in (13, 255, 2**32 - 1):
            yield f"{key}: type {kind}", w.changed(f"{key}/type", kind), f"key {key}: the value type"
    for byte in (b"\0", b"\x1b", b"\n", b"\x7f", b"\xff"):
        name = byte + b"eneral.name"
        yield f"key with {byte!r}", w.changed("general.name/bytes", name), "printable ASCII"


def value_cases(w, model):
    left = len(w.data)
    for key, (kind, *value) in model.values.items():
        if kind == STRING:
            for n in (2**20 + 1, 2**31, 2**32, 2**63, HUGE - 7, HUGE):
                yield f"{key}: length {n}", w.changed(f"{key}/value/length", n), f"key {key}: a string"
            yield (
                f"{key}: longer than the file",
                w.changed(f"{key}/value/length", left),
                "the file ends too soon",
            )
        if kind == ARRAY:
            element, values = value
            label = f"{key}/element type"
            yield f"{key}: nested", w.changed(label, ARRAY), "arrays of arrays"
            for t in (13, 99, 2**32 - 1):
                yield f"{key}: element type {t}", w.changed(label, t), f"key {key}: the element type"
            # 2**61 values of 8 bytes are 0 bytes in 64 bits
            for n in (left, 2**31, 2**32, 2**61, 2**61 + 1, 2**62, 2**63, HUGE):
                yield f"{key}: {n} elements", w.changed(f"{key}/array length", n), f"key {key}: the values"
            if element == STRING:
                for i in (0, len(values) - 1):
                    for n in (2**20 + 1, 2**63, HUGE):
                        yield (
                            f"{key}[{i}]: length {n}",
                            w.changed(f"{key}/{i}/length", n),
                            f"key {key}: a string",
                        )
        if kind == BOOL:
            yield f"{key}: 2", w.changed(f"{key}/value", 2), "a bool at byte"
    yield "test.bools[1]: 255", w.changed("test.bools/1", 255), "expected 0 or 1, found 255"
    # bytes after a wrong end are parsed as something else
    for key, n, words in (
        (TOKENS, +1, "a metadata key"),
        (TOKENS, -1, "key [PAD1]: the value type"),
        (MERGES, +1, "a metadata key"),
        (MERGES, -1, "key he ll: the value type"),
    ):
        label = f"{key}/array length"
        yield f"{key}: {n:+}", w.changed(label, w.value(label) + n), words


def alignment_cases():
    for a in (0, 1, 2, 4, 3, 24, 33, 4095, 8192, 2**30, 2**31, 2**32 - 1):
        w = tiny_qwen2().write()
        yield f"alignment {a}", w.changed("general.alignment/value", a), "a power of two from 8 to 4096"
    for kind, value in ((U64, 32), (I32, 32), (F32, 32.0), (STRING, "32"), (BOOL, 1)):
        model = tiny_qwen2()
        model.values["general.alignment"] = (kind, value)
        text = "general.alignment: expected a u32"
        yield f"alignment of type {kind}", retyped(model, "general.alignment"), text
    model = tiny_qwen2()
    model.values["general.alignment"] = (ARRAY, U32, [32])
    yield "alignment as an array", retyped(model, "general.alignment"), "found an array of u32"
    # the header says 64, but the offsets are for 32
    w = tiny_qwen2().write()
    yield "another alignment", w.changed("general.alignment/value", 64), "a multiple of the alignment 64"


def retyped(model, key):
    """Returns the file with a value of any type under a key that the writer itself uses."""
    model.values["x" + key] = model.values.pop(key)
    data = bytes(model.write().data)
    old, new = b"x" + key.encode(), key.encode()
    return data.replace(struct.pack("<Q", len(old)) + old, struct.pack("<Q", len(new)) + new)


def tensor_cases(w, model):
    for t in model.tensors:
        for n in (0, 65, 2**32, 2**63, HUGE):
            yield f"{t.name}: name length {n}", w.changed(f"{t.name}/length", n), "a tensor name"
        for n in (0, 5, 2**31, 2**32 - 1):
            yield f"{t.name}: n_dims {n}", w.changed(f"{t.name}/n_dims", n), f"tensor {t.name}: n_dims"
        for i in range(len(t.dims)):
            for d in (0, 2**40 + 1, 2**63, HUGE):
                text = f"tensor {t.name}: dimension {i}: expected 1 to"
                yield f"{t.name}: dim {i} = {d}", w.changed(f"{t.name}/dim{i}", d), text
        for kind, name in ((4, "unknown"), (9, "Q8_1"), (16, "IQ2_XXS"), (22, "IQ2_S"), (24, "I8"),
                           (31, "unknown"), (2**32 - 1, "unknown")):  # fmt: skip
            text = f"tensor {t.name}: type: {name} ({kind}) is not supported; supported are F32, F16"
            yield f"{t.name}: type {kind}", w.changed(f"{t.name}/type", kind), text
        for offset in (1, 16, 31, HUGE):
            text = f"tensor {t.name}: offset: expected a multiple of the alignment 32"
            yield f"{t.name}: offset {offset}", w.changed(f"{t.name}/offset", offset), text
        for offset in (len(w.data) // 32 * 32, 2**40, 2**63, 2**64 - 32):
            text = f"tensor {t.name}: expected"
            yield f"{t.name}: offset {offset}", w.changed(f"{t.name}/offset", offset), text
        if TENSOR_TYPES[t.kind][1] > 1:
            for d in (1, 31, 33, 2**40 - 1):
                text = f"tensor {t.name}: row length: expected a multiple of 32"
                yield f"{t.name}: rows of {d}", w.changed(f"{t.name}/dim0", d), text
        if len(t.dims) == 2:
            # 2**80 elements; 2**62 elements, of which F32 has 2**64 bytes; and all of these bytes
            for a, b in ((2**40, 2**40), (2**40, 2**22), (2**31, 2**31), (2**32, 2**32)):
                data = bytearray(w.changed(f"{t.name}/dim0", a))
                struct.pack_into("<Q", data, w.places[f"{t.name}/dim1"][0], b)
                yield f"{t.name}: {a} x {b}", bytes(data), f"tensor {t.name}: "
    for byte in (b"\0", b"\x1b", b"\xe4"):
        name = byte + b"oken_embd.weight"
        yield f"tensor name with {byte!r}", w.changed("token_embd.weight/bytes", name), "printable ASCII"


def arrangement_cases(w, model):
    names = [t.name for t in model.tensors]
    for first, second in zip(names, names[1:]):
        same = w.changed(f"{second}/offset", w.value(f"{first}/offset"))
        yield f"{second} on top of {first}", same, "their data overlap"
    last = w.changed("token_embd.weight/offset", w.value("output.weight/offset") + 32)
    yield "one inside another", last, "their data overlap"
    name = "blk.0.attn_k.bias"
    yield "duplicate tensor", w.changed("blk.0.attn_v.bias/bytes", name.encode()), f"tensor {name}: expected once"
    yield "duplicate key", w.changed("test.u8/bytes", b"test.i8"), "key test.i8: expected once"
    yield "two alignments", w.changed("general.file_type/bytes", b"general.alignment"), "expected once"
    yield "65 MB of metadata", big_metadata(), "over the limit of 67108864 bytes"


def big_metadata():
    model = tiny_qwen2()
    model.values["padding"] = (ARRAY, U8, [])
    w = model.write()
    at = w.places["padding/array length"][0]
    n = 65 << 20
    return bytes(w.data[:at]) + struct.pack("<Q", n) + bytes(n) + bytes(w.data[at + 8 :])


def truncation_cases(w):
    """Truncates where a part begins, one byte later, and at random offsets."""
    rng = random.Random(2)
    ends = {rng.randrange(1, len(w.data)) for _ in range(100)}
    for start in w.starts:
        if not label_before(w, start).startswith((f"{TOKENS}/", f"{TYPES}/")):  # 264 of them
            ends |= {start, start + 1}
    for end in sorted(ends - {0}):
        yield f"cut to {end} bytes", bytes(w.data[:end]), re.compile("truncated|ends too soon|do not fit")
    yield "empty file", b"", "it is empty"
    yield "last byte missing", bytes(w.data[:-1]), "truncated"


def label_before(w, at):
    """Returns the label of the field at an offset, or the last one before it."""
    return max((place, label) for label, (place, _) in w.places.items() if place <= at)[1]


def gguf_cases():
    model = tiny_qwen2()
    w = model.write()
    yield from head_cases(w)
    yield from key_cases(w, model)
    yield from value_cases(w, model)
    yield from alignment_cases()
    yield from tensor_cases(w, model)
    yield from arrangement_cases(w, model)
    yield from truncation_cases(w)
    for number, count, words in ((0, 2, "part 1 of 2"), (6, 30, "part 7 of 30")):

        def split(m, number=number, count=count):
            m.values |= {"split.no": (U16, number), "split.count": (U16, count)}
            del m.tensors[3:]

        yield f"split, {words}", edited(split), f"this is {words} of a model"
        yield f"split, {words}: what to do", edited(split), "put all into one directory, with names"


# ---- the tokenizer ----------------------------------------------------------------------------

def edited(change):
    """Returns the tiny model's file after change(model)."""
    model = tiny_qwen2()
    change(model)
    return bytes(model.write().data)


def with_value(key, *value):
    return edited(lambda m: m.values.__setitem__(key, value))


def without(key):
    return edited(lambda m: m.values.pop(key))


def with_element(key, i, value):
    return edited(lambda m: m.values[key][2].__setitem__(i, value))


def wrong_types(key, kinds):
    samples = {
        U32: (U32, 1), F32: (F32, 1.0), F64: (F64, 1.0), BOOL: (BOOL, 1), STRING: (STRING, "1"),
        "array": (ARRAY, U32, [1]), "strings": (ARRAY, STRING, ["1"]), "bytes": (ARRAY, U8, [1]),
    }  # fmt: skip
    for kind in kinds:
        yield f"{key} as {samples[kind]}", with_value(key, *samples[kind]), f"key {key}: expected"


def tokenizer_cases():
    tokens, types, merges = (tiny_qwen2().values[k][2] for k in (TOKENS, TYPES, MERGES))
    n = len(tokens)
    for key in ("tokenizer.ggml.model", "tokenizer.ggml.pre", TOKENS, TYPES, MERGES):
        yield f"no {key}", without(key), f"key {key}: expected"
    for key in ("tokenizer.ggml.model", "tokenizer.ggml.pre"):
        yield from wrong_types(key, (U32, BOOL, "strings"))
        for text in ("", "llama", "qwen", "qwen2 ", "gpt2\0", "\x1b[2J", b"\xff\xfe"):
            yield f"{key} {text!r}", with_value(key, STRING, text), "supported"
    yield from wrong_types(TOKENS, (U32, STRING, "array"))
    yield from wrong_types(TYPES, (U32, STRING, "array", "strings", "bytes"))
    yield from wrong_types(MERGES, (U32, STRING, "array"))

    yield "no tokens at all", with_value(TOKENS, ARRAY, STRING, []), "tokens has 0"
    yield "a type too few", with_value(TYPES, ARRAY, I32, types[:-1]), "token_type has"
    yield "a type too many", with_value(TYPES, ARRAY, I32, types + [1]), "token_type has"
    yield "no types", with_value(TYPES, ARRAY, I32, []), "token_type has 0"
    for kind in (0, 2, 6, 7, -1, 2**31 - 1, -(2**31)):
        yield f"token type {kind}", with_element(TYPES, 5, kind), f"token_type[5] is {kind}"
    for name, i, text, words in (
        ("empty token", 5, "", "tokens[5]"),
        ("empty control token", n - 4, "", f"tokens[{n - 4}]"),
        ("long token", 257, "a" * 1025, "tokens[257]"),
        ("huge token", 257, "a" * 100000, "tokens[257]"),
        ("token with a blank", 257, "a b", "tokens[257]"),
        ("token with a NUL", 257, "a\0", "tokens[257]"),
        ("token outside the alphabet", 257, "\u0400", "tokens[257]"),
        ("token outside the alphabet", 257, "中", "tokens[257]"),
        ("token of half a character", 257, b"\xc4", "tokens[257]"),
        ("token of an overlong form", 257, b"\xc0\x80", "tokens[257]"),
        ("control token that is not UTF-8", n - 4, b"<|im_end|\xff>", f"tokens[{n - 4}]"),
        ("control token of a surrogate", n - 4, b"\xed\xa0\x80", f"tokens[{n - 4}]"),
        ("duplicate token", 257, "he", "tokens[257] is the same token"),
        ("duplicate of a byte", 257, "!", "tokens[257] is the same token"),
        ("duplicate control token", n - 4, "<|endoftext|>", "is the same token"),
        ("no token for a byte", 0, "zz", "no token for the byte 0x21"),
    ):
        yield f"{name} {i}", with_element(TOKENS, i, text), words
    yield "byte token as a control token", with_element(TYPES, 0, CONTROL), "no token for the byte 0x21"

    for name, text in (
        ("empty", ""), ("one token", "h"), ("only a blank", " "), ("no first half", " e"),
        ("no second half", "h "), ("two blanks", "h  e"), ("three tokens", "h e l"),
        ("first half unknown", "heh e"), ("second half unknown", "h eh"), ("result unknown", "x y"),
        ("not in the alphabet", "h \u0400"), ("not UTF-8", b"h \xff"), ("too long", "h " + "e" * 3000),
        ("a control token", "<|im_end|> h"),
    ):  # fmt: skip
        yield f"merge: {name}", with_element(MERGES, 1, text), "merges[1]"
    yield "merge: duplicate", with_element(MERGES, 2, merges[0]), "merges[2] is there twice"

    def without_end(change):
        """Returns a file in which no token has a name that is known to end an answer."""

        def edit(m):
            m.values[TOKENS][2][n - 5 : n - 3] = ["<end>", "<over>"]
            change(m)

        return edited(edit)

    key = "tokenizer.ggml.eos_token_id"
    for kind, value in WRONG_IDS:
        data = without_end(lambda m, v=(kind, value): m.values.update({key: v}))
        yield f"{key} {value}", data, f"key {key}: expected 0 to {n - 1}"

    def many_controls(m):
        m.values[TOKENS][2].extend(f"<|{i}|>" for i in range(9000))
        m.values[TYPES][2].extend([CONTROL] * 9000)

    yield "9000 control tokens", edited(many_controls), "more than 8192"


# ---- the model --------------------------------------------------------------------------------


def hyper_parameter_cases():
    sizes = {
        "block_count": (0, 257, 2**32 - 1),
        "context_length": (0,),
        "embedding_length": (0, 1, 31, 2**20, 2**32 - 1),
        "feed_forward_length": (0, 1, 31, 2**20, 2**32 - 1),
        "attention.head_count": (0, 257, 2**32 - 1),
        "attention.head_count_kv": (0, 257, 2**32 - 1),
    }
    for name, values in sizes.items():
        key = f"qwen2.{name}"
        if name != "attention.head_count_kv":
            yield f"no {key}", without(key), f"key {key}: expected"
        yield from wrong_types(key, (F32, BOOL, STRING, "array"))
        for kind, value in [(U32, v) for v in values] + [(I32, -1), (I64, -(2**63)), (U64, HUGE)]:
            yield f"{key} {value}", with_value(key, kind, value), f"key {key}: expected"
    for name in ("attention.layer_norm_rms_epsilon", "rope.freq_base"):
        key = f"qwen2.{name}"
        yield f"no {key}", without(key), f"key {key}: expected"
        yield from wrong_types(key, (U32, BOOL, STRING, "array"))
        for value in (float("nan"), float("inf"), float("-inf"), 0.0, -0.0, -1.0, 1e300, 1e-300):
            yield f"{key} {value}", with_value(key, F64, value), f"key {key}: expected"

    architecture = "general.architecture"
    yield "no architecture", without(architecture), f"key {architecture}: expected"
    yield from wrong_types(architecture, (U32, BOOL, "strings"))
    for text in ("", "qwen", "qwen2moe", "gpt-j", "qwen2\0", "\x1b[2J", b"\xff" * 100, "q" * 10000):
        text = text if isinstance(text, bytes) else text.encode()
        words = "is not supported; these are: llama, qwen2, qwen3"
        yield f"architecture {text[:20]!r}", with_value(architecture, STRING, text), words

    for name, key, value, words in (
        ("heads that do not divide", "attention.head_count_kv", 3, "heads"),
        ("more KV heads than heads", "attention.head_count_kv", 4, "heads"),
        ("width that does not divide", "attention.head_count", 3, "heads"),
        ("heads of 1", "attention.head_count", 32, "head"),
        ("another width", "embedding_length", 64, "shape"),
        ("another feed-forward", "feed_forward_length", 96, "shape"),
        ("a layer too many", "block_count", 2, "is missing"),
        ("heads of 32", "attention.head_count", 1, "shape"),
        ("as many KV heads", "attention.head_count_kv", 2, "are not supported"),
        ("a head of 64", "attention.key_length", 64, "shape"),
        ("a head of 0", "attention.key_length", 0, "key_length"),
        ("a huge head", "attention.key_length", 2**31, "key_length"),
        ("RoPE of half a head", "rope.dimension_count", 8, "dimension_count is 8: only"),
        ("values of another width", "attention.value_length", 32, "value_length is 32: only"),
    ):
        yield name, with_value(f"qwen2.{key}", U32, value), words
    for name, n, words in (
        ("factors of RoPE below 0", 8, "expected factors of 0.001 to 1000"),
        ("factors of a longer head", 9, "expected the shape [8, 1]"),
    ):
        yield name, edited(lambda m: m.tensors.append(Tensor("rope_freqs.weight", (n,), "F32"))), words
    for value in ((STRING, "longrope"), (STRING, "\x1b[31m"), (U32, 1)):
        yield f"rope scaling {value}", with_value("qwen2.rope.scaling.type", *value), "rope.scaling.type"
    for kind in ("yarn", "linear"):
        scaled = with_scaling(("type", STRING, kind), ("factor", F32, 4.0))
        yield f"rope scaling {kind} by 4", scaled, f'"{kind}" is not supported: only "none"'
    scaled = with_scaling(("type", STRING, "yarn"), ("attn_factor", F32, 0.5))
    yield "rope scaling with attn_factor", scaled, '"yarn" is not supported'
    yield "rope scaled as files once said", with_value("qwen2.rope.scale_linear", F32, 2.0), '"linear" is not'


def with_scaling(*facts):
    def edit(m):
        m.values.update({f"qwen2.rope.scaling.{name}": value for name, *value in facts})

    return edited(edit)


def harmless_cases():
    """Returns (depth, name, file) of files with faults in unused parts, all of which open."""
    for key in ("bos", "padding", "unknown"):
        for kind, *value in (*WRONG_IDS, (STRING, "none"), (ARRAY, U32, [1, 2])):
            yield "model", f"{key} {value}", with_value(f"tokenizer.ggml.{key}_token_id", kind, *value)
    for key in ("eos", "eot", "eom"):  # <|im_end|> ends an answer anyway
        for value in WRONG_IDS:
            yield "model", f"{key} {value}", with_value(f"tokenizer.ggml.{key}_token_id", *value)
    yield "model", "no eos", without("tokenizer.ggml.eos_token_id")
    for kind in ("linear", "yarn"):
        yield "model", f"{kind} by 1", with_scaling(("type", STRING, kind), ("factor", F32, 1.0))
        yield "model", f"{kind} by nothing", with_scaling(("type", STRING, kind))
    unscaled = with_scaling(("type", STRING, "none"), ("factor", F32, 4.0))
    yield "model", "not scaled, and by how much", unscaled
    yield "model", "scale_linear of 1", with_value("qwen2.rope.scale_linear", F32, 1.0)
    whole = {"split.no": (U16, 0), "split.count": (U16, 1), "split.tensors.count": (I32, 15)}
    yield "model", "a whole of one part", edited(lambda m: m.values.update(whole))
    yield "model", "a huge context", with_value("qwen2.context_length", U32, 2**32 - 1)
    yield "gguf", "a long text", with_value("tokenizer.huggingface.json", STRING, "x" * (2**20 + 1))

    def long_unused(m):
        m.values[TOKENS][2][-1] = "[PAD" + "1" * 2000 + "]"

    yield "model", "an unused token of 2000 bytes", edited(long_unused)

    def as_many_kv_heads(m):
        del m.values["qwen2.attention.head_count_kv"]
        m.values["qwen2.attention.head_count"] = (U32, 1)
        for t in m.tensors:
            if t.name.startswith(("blk.0.attn_k.", "blk.0.attn_v.")):
                t.dims[-1] = 32

    yield "model", "heads, and nothing on KV heads", edited(as_many_kv_heads)


def model_tensor_cases():
    def without_tensor(name):
        return edited(lambda m: m.tensors.remove(m.tensor(name)))

    def reshaped(name, dims):
        return edited(lambda m: setattr(m.tensor(name), "dims", list(dims)))

    n_tokens = len(tiny_qwen2().values[TOKENS][2])
    for t in tiny_qwen2().tensors:
        if t.name != "output.weight":  # without it, the embedding table is the head
            yield f"no {t.name}", without_tensor(t.name), f"tensor {t.name} is missing"
        about = f"{t.name}: expected"
        if len(t.dims) == 1:
            yield f"{t.name}: one more", reshaped(t.name, [t.dims[0] + 1]), about
            yield f"{t.name}: one less", reshaped(t.name, [t.dims[0] - 1]), about
            yield f"{t.name}: of one number", reshaped(t.name, [1]), about
            yield f"{t.name}: as a matrix", reshaped(t.name, [t.dims[0], 1]), about
            continue
        rows, k = t.dims[1], t.dims[0]
        yield f"{t.name}: a row more", reshaped(t.name, [k, rows + 1]), about
        yield f"{t.name}: a row less", reshaped(t.name, [k, rows - 1]), about
        yield f"{t.name}: one row", reshaped(t.name, [k]), about
        yield f"{t.name}: longer rows", reshaped(t.name, [k + 32, rows]), about
        yield f"{t.name}: three dimensions", reshaped(t.name, [k, rows, 2]), about
        yield f"{t.name}: four dimensions", reshaped(t.name, [k, rows, 1, 3]), about
        if k != rows and rows % 32 == 0:
            yield f"{t.name}: transposed", reshaped(t.name, [rows, k]), about
    extra = Tensor("blk.0.attn_q_norm.weight", (32,), "F32")
    yield "a tensor too many", edited(lambda m: m.tensors.append(extra)), "attn_q_norm.weight is not part"
    yield "a layer too few", edited(
        lambda m: m.tensors.append(Tensor("blk.1.attn_norm.weight", (32,), "F32"))
    ), "is not part"

    def one_token_more(m):
        m.values[TOKENS][2].append("[PAD2]")
        m.values[TYPES][2].append(NORMAL + 4)

    yield "more tokens than rows", edited(one_token_more), f"each of the {n_tokens + 1} tokens"


def model_cases():
    yield from hyper_parameter_cases()
    yield from model_tensor_cases()


# ---- tests ------------------------------------------------------------------------------------

CASES = {"gguf": [*gguf_cases()], "tokenizer": [*tokenizer_cases()], "model": [*model_cases()]}


@pytest.fixture(scope="module")
def open_files(build_dir):
    """open_files(depth, files, *options) -> a line per file."""
    program = build_dir / "tests" / "fuzz" / "open_models"
    # none of these files may cause a large allocation
    limits = os.environ.get("ASAN_OPTIONS", "") + ":max_allocation_size_mb=256"

    def run(depth, files, *options):
        done = subprocess.run(
            [str(program), depth, *options],
            input=b"".join(struct.pack("<Q", len(f)) + f for f in files),
            capture_output=True,
            env={**os.environ, "ASAN_OPTIONS": limits},
        )
        lines = done.stdout.decode(errors="replace").splitlines()
        errors = done.stderr.decode(errors="replace")
        assert len(lines) == len(files), f"file {len(lines)} ended the program:\n{errors[-6000:]}"
        assert done.returncode == 0, f"exit code {done.returncode}:\n{errors[-6000:]}"
        return lines

    return run


@pytest.mark.parametrize("depth", CASES)
def test_the_undamaged_file_opens(open_files, depth):
    """A case is only meaningful if the unchanged file opens."""
    whole = bytes(tiny_qwen2().write().data)
    assert open_files(depth, [whole, whole]) == ["ok", "ok"]


@pytest.fixture(scope="module")
def answers(open_files):
    """The results of all cases, each followed by an undamaged file, which must open."""
    whole = bytes(tiny_qwen2().write().data)
    found = {}
    for depth, cases in CASES.items():
        lines = open_files(depth, [f for _, data, _ in cases for f in (data, whole)])
        assert set(lines[1::2]) == {"ok"}
        found |= {(depth, i): line for i, line in enumerate(lines[::2])}
    return found


@pytest.mark.parametrize(
    "depth, i, words",
    [
        pytest.param(depth, i, words, id=f"{depth}: {name}")
        for depth, cases in CASES.items()
        for i, (name, _, words) in enumerate(cases)
    ],
)
def test_a_damaged_file_is_refused(answers, depth, i, words):
    line = answers[depth, i]
    assert REFUSAL.fullmatch(line), line
    assert words.search(line) if isinstance(words, re.Pattern) else words in line, line


def test_files_with_faults_in_unused_parts_open(open_files):
    cases = [*harmless_cases()]
    for depth in ("gguf", "model"):
        names, files = zip(*[(name, data) for d, name, data in cases if d == depth])
        lines = open_files(depth, files)
        assert [(n, line) for n, line in zip(names, lines) if line != "ok"] == []


def test_there_are_enough_cases():
    assert all(len(CASES[depth]) >= 80 for depth in CASES)


# ---- random changes ---------------------------------------------------------------------------

EXTREMES = [0, 1, 2, 7, 8, 0x7F, 0x80, 0xFF, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, HUGE]


def mutated(w, rng):
    """Applies one to four random changes, most of them in the header."""
    data = bytearray(w.data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(w.header_end if rng.random() < 0.8 else len(data)) % max(len(data), 1)
        what = rng.random()
        if what < 0.3:
            data[at : at + 1] = bytes([rng.randrange(256)])
        elif what < 0.5:
            data[at : at + 1] = bytes([data[at] ^ 1 << rng.randrange(8)]) if data else b""
        elif what < 0.8:  # a whole field
            place, form = w.places[rng.choice(list(w.places))]
            size = struct.calcsize(form)
            value = struct.pack("<Q", rng.choice(EXTREMES + [rng.randrange(2**16)]))
            data[place : place + size] = (value * (size // 8 + 1))[:size]
        elif what < 0.87:  # extra or missing bytes
            data[at:at] = rng.randbytes(rng.randint(1, 40))
        elif what < 0.94:
            del data[at : at + rng.randint(1, 40)]
        elif what < 0.97:  # a part copied elsewhere
            other = rng.randrange(len(data) + 1)
            n = rng.randint(1, 200)
            data[at : at + n] = data[other : other + n]
        else:
            del data[at:]
    return bytes(data)


@pytest.mark.parametrize("depth, n", [("gguf", 6000), ("tokenizer", 1000), ("model", 1000)])
def test_random_damage(open_files, depth, n):
    """A file opens and all its contents can be read, or it is refused with a message."""
    w = tiny_qwen2().write()
    rng = random.Random(f"kinglet {depth}")
    files = [mutated(w, rng) for _ in range(n)]
    lines = open_files(depth, files)
    refused = [line for line in lines if line != "ok"]
    assert n / 4 < len(refused) < n
    for line in refused:
        assert REFUSAL.fullmatch(line), line


@pytest.mark.parametrize("depth, at_least", [("gguf", 5), ("tokenizer", 12), ("model", 20)])
def test_no_memory(open_files, depth, at_least):
    """If any allocation of a load fails, the load fails with the message about memory, and nothing leaks."""
    (line,) = open_files(depth, [bytes(tiny_qwen2().write().data)], "out-of-memory")
    opened = re.fullmatch(r"ok (\d+)", line)
    assert opened, line
    assert int(opened[1]) >= at_least
