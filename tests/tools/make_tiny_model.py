#!/usr/bin/env python3
"""Writes a tiny random model (qwen2, qwen3, llama, llama3): 3 layers, width 256, 661 tokens, 1.5 MB.

Its answers are nonsense, but it has all parts of a real model: the architecture, its biases or norms,
the byte-level vocabulary with merges and control tokens, and any mix of the weight types. The same
options give the same bytes.

--types sets the type of each kind of matrix: KIND=TYPE[/TYPE...], several separated by commas.
KIND is one of embd, output, q, k, v, o, gate, up, down, or all; with several types the layers take
turns. Later ones win: --types all=Q8_0,down=Q6_K/Q4_K
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFWriter, PoolingType
from gguf.quants import dequantize, quantize

sys.path.insert(0, str(Path(__file__).resolve().parent))
from gguf_file import GgufFile  # noqa: E402

N_EMBD, N_FF, N_LAYERS, N_HEADS, N_KV_HEADS, HEAD_DIM = 256, 512, 3, 8, 2, 32
ROPE_BASE, EPS = 1e6, 1e-6
# the architecture, the pre-tokenizer, and the width of a head (qwen3's is no quotient)
FAMILIES = {
    "qwen2": ("qwen2", "qwen2", HEAD_DIM), "qwen3": ("qwen3", "qwen2", 64),
    "llama": ("llama", "smollm", HEAD_DIM), "llama3": ("llama", "llama-bpe", HEAD_DIM),
}  # fmt: skip
N_MERGES = 500
N_UNUSED = 6  # padded like the real one; and 661 rows do not divide into groups of 8

# The mix of the real Q4_K_M file.
DEFAULT_TYPES = "all=Q5_0,v=Q8_0/Q5_0,down=Q6_K/Q4_K,output=Q8_0"
KINDS = {
    "embd": "token_embd.weight", "output": "output.weight",
    "q": "blk.{}.attn_q.weight", "k": "blk.{}.attn_k.weight", "v": "blk.{}.attn_v.weight",
    "o": "blk.{}.attn_output.weight", "gate": "blk.{}.ffn_gate.weight",
    "up": "blk.{}.ffn_up.weight", "down": "blk.{}.ffn_down.weight",
}  # fmt: skip
# Types of which the package gguf has no quantiser: where a block has its scale and its minimum, and the
# mean of the integers, which minima cancel.
RANDOM_BLOCKS = {
    "Q2_K": (80, 82, 1.5), "Q3_K": (108, None, 0), "Q4_K": (0, 2, 7.5), "Q5_K": (0, 2, 15.5),
    "Q6_K": (208, None, 0), "IQ3_XXS": (0, None, 0), "IQ3_S": (0, None, 0), "IQ4_XS": (0, None, 0),
    "IQ4_NL": (0, None, 0),
}  # fmt: skip
TYPES = ("F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "TQ1_0", "TQ2_0",
         *RANDOM_BLOCKS)  # fmt: skip
CONTROL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|fim_prefix|>")
USER_DEFINED_TOKENS = ("<tool_call>", "</tool_call>")
LLAMA3_CONTROL_TOKENS = (
    "<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eom_id|>", "<|eot_id|>",
)  # fmt: skip
# Tokens that no merges make: Llama 3 takes a piece that is a token as it is.
LLAMA3_WHOLE_TOKENS = ("12", "123", "456", "000", "Ġquick", "Ġtélé", "elephants", "internationalization", "Ġ" * 40, "ĠĠĊĊ")
NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5  # llama_token_type

# The text from which merges are learnt: English, Chinese, code, whitespace.
CORPUS = """
The quick brown fox jumps over the lazy dog. A small machine in the house can answer the questions
of the people who live there, and it does not send what they say to anyone else. Hello, how are you?
Write a function that returns the sum of the numbers, and say what it does in one sentence please.
You are a helpful assistant. user system assistant What is the weather like today in the city?
你好,请问今天天气怎么样?谢谢你的帮助,再见。请用中文写一个函数,判断一个字符串是不是回文。
你好!我是一个助手,可以回答问题,也可以写代码。请问有什么可以帮助你的吗?谢谢!中国 北京 上海
今天我们学习中文,明天我们写代码。这个问题的答案是什么?你好你好,谢谢谢谢。
def add(a, b):
    return a + b

for (int i = 0; i < n; i++) {
    printf("%d\\n", i);
}
if __name__ == "__main__":
    print("hello world")
"""

CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content']"
    " + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def byte_alphabet():
    """Returns the printable characters for bytes as in GPT-2, in the order of Qwen's ids."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in printable]
    table = {b: chr(b) for b in printable} | {b: chr(256 + i) for i, b in enumerate(others)}
    return table


def words(text):
    """Splits the corpus at least where Qwen2 does, so that no merge crosses a split."""
    word, kind = "", None
    for c in text:
        k = "letter" if c.isalpha() else "space" if c.isspace() else "digit" if c.isdigit() else "sign"
        if k == kind != "digit" or (kind == "space" and word == " " and k != "digit"):
            word, kind = word + c, k
        else:
            if word:
                yield word
            word, kind = c, k
    yield word


def learn_merges(text, n):
    """Returns byte-pair merges by frequency; among equals, the alphabetically first pair."""
    alphabet = byte_alphabet()
    pieces = [[alphabet[b] for b in w.encode()] for w in words(text)]
    merges = []
    while len(merges) < n:
        counts = {}
        for piece in pieces:
            for pair in zip(piece, piece[1:]):
                counts[pair] = counts.get(pair, 0) + 1
        best = min(counts, key=lambda pair: (-counts[pair], pair), default=None)
        if best is None:
            break
        merges.append(best)
        for piece in pieces:
            i = 0
            while i + 1 < len(piece):
                if (piece[i], piece[i + 1]) == best:
                    piece[i : i + 2] = [best[0] + best[1]]
                i += 1
    return merges


def vocabulary(family):
    merges = learn_merges(CORPUS, N_MERGES)
    tokens = list(byte_alphabet().values())
    for a, b in merges:
        if a + b not in tokens:  # two merges may spell the same token
            tokens.append(a + b)
    if family == "llama3":
        alphabet = byte_alphabet()
        whole = ["".join(alphabet[b] for b in t.replace("Ġ", " ").replace("Ċ", "\n").encode()) for t in LLAMA3_WHOLE_TOKENS]
        tokens += [t for t in whole if t not in tokens]
    types = [NORMAL] * len(tokens)
    unused = [f"[PAD{i}]" for i in range(N_UNUSED)]
    control = LLAMA3_CONTROL_TOKENS if family == "llama3" else CONTROL_TOKENS
    for group, kind in ((control, CONTROL), (USER_DEFINED_TOKENS, USER_DEFINED), (unused, UNUSED)):
        tokens += group
        types += [kind] * len(group)
    return tokens, types, [f"{a} {b}" for a, b in merges]


def random_blocks(kind, shape, std, rng):
    """Returns blocks with random integers and scales. Weights have mean 0 and about the given standard
    deviation; factors use their full range."""
    elements, size = GGML_QUANT_SIZES[kind]
    n_blocks = shape[0] * shape[1] // elements
    raw = rng.integers(0, 256, (n_blocks, size), dtype=np.uint8)
    at, least_at, mean = RANDOM_BLOCKS[kind.name]
    spread = rng.uniform(0.5, 1.5, n_blocks)

    def put_f16(place, values):
        raw[:, place : place + 2] = np.float16(values).view(np.uint8).reshape(-1, 2)

    def put_scales(d):
        put_f16(at, d * spread)
        if least_at is not None:  # minima must cancel the mean of the integers
            put_f16(least_at, d * mean * spread)

    put_scales(2.0**-10)
    put_scales(2.0**-10 * std / float(dequantize(raw, kind).std()))
    return raw.reshape(shape[0], -1)


def parse_types(spec, tied):
    chosen = {}
    for part in f"{DEFAULT_TYPES},{spec}".strip(",").split(","):
        kind, _, names = part.partition("=")
        names = names.split("/")
        if (kind != "all" and kind not in KINDS) or any(n not in TYPES for n in names):
            raise SystemExit(f"--types: '{part}' is not KIND=TYPE[/TYPE...]; see --help")
        for k in KINDS if kind == "all" else [kind]:
            chosen[k] = [GGMLQuantizationType[n] for n in names]
    if tied:
        del chosen["output"]
    return chosen


def write_model(path, family, types, seed, template, context, pooling=None, add_eos=False,
                sampling=None):
    rng = np.random.default_rng(seed)
    tokens, token_types, merges = vocabulary(family)
    architecture, pre_tokenizer, head_dim = FAMILIES[family]
    q_dim, kv_dim = N_HEADS * head_dim, N_KV_HEADS * head_dim
    # rows, columns and standard deviation: one over the root of the fan-in keeps activations at
    # the same size. The embedding is small so that a tied head does not just repeat the last token.
    shapes = {
        "embd": (len(tokens), N_EMBD, 0.125), "output": (len(tokens), N_EMBD, 2 / N_EMBD**0.5),
        "q": (q_dim, N_EMBD, 1 / N_EMBD**0.5), "k": (kv_dim, N_EMBD, 1 / N_EMBD**0.5),
        "v": (kv_dim, N_EMBD, 1 / N_EMBD**0.5), "o": (N_EMBD, q_dim, 1 / q_dim**0.5),
        "gate": (N_FF, N_EMBD, 1 / N_EMBD**0.5), "up": (N_FF, N_EMBD, 1 / N_EMBD**0.5),
        "down": (N_EMBD, N_FF, 1 / N_FF**0.5),
    }  # fmt: skip

    w = GGUFWriter(path, architecture)
    w.add_name(f"tiny random {family}")
    w.add_block_count(N_LAYERS)
    w.add_context_length(context)
    w.add_embedding_length(N_EMBD)
    w.add_feed_forward_length(N_FF)
    w.add_head_count(N_HEADS)
    w.add_head_count_kv(N_KV_HEADS)
    if family == "qwen3":
        w.add_key_length(head_dim)
        w.add_value_length(head_dim)
    if architecture == "llama":
        w.add_rope_dimension_count(head_dim)
    w.add_rope_freq_base(ROPE_BASE)
    w.add_layer_norm_rms_eps(EPS)
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre(pre_tokenizer)
    w.add_token_list(tokens)
    w.add_token_types(token_types)
    w.add_token_merges(merges)
    end = "<|end_of_text|>" if family == "llama3" else "<|endoftext|>"
    w.add_eos_token_id(tokens.index(end if add_eos else "<|eot_id|>" if family == "llama3" else "<|im_end|>"))
    w.add_pad_token_id(tokens.index(end))
    w.add_bos_token_id(tokens.index("<|begin_of_text|>" if family == "llama3" else end))
    if family != "llama3":  # whose files do not say it, and mean it
        w.add_add_bos_token(False)
    if add_eos:
        w.add_add_eos_token(True)
    if pooling:
        w.add_pooling_type(PoolingType[pooling])
    if template is not None:
        w.add_chat_template(template)
    w.add_quantization_version(2)
    if sampling is not None:
        temperature, top_p, top_k, penalty = sampling
        w.add_float32("general.sampling.temp", temperature)
        w.add_float32("general.sampling.top_p", top_p)
        w.add_int32("general.sampling.top_k", int(top_k))
        w.add_float32("general.sampling.penalty_repeat", penalty)

    def vector(name, n, mean, std):
        w.add_tensor(name, rng.normal(mean, std, n).astype(np.float32))

    def matrix(kind, layer):
        names = types[kind]
        quant = names[layer % len(names)]
        rows, columns, std = shapes[kind]
        if quant.name in RANDOM_BLOCKS:
            raw = random_blocks(quant, (rows, columns), std, rng)
        else:
            raw = quantize(rng.normal(0, std, (rows, columns)).astype(np.float32), quant)
        w.add_tensor(KINDS[kind].format(layer), raw, raw_dtype=quant)

    if family == "llama3":  # of other sizes than real ones, which change positions far away only
        w.add_tensor("rope_freqs.weight", 1 + 0.5 * np.arange(head_dim // 2, dtype=np.float32))
    if "output" in types:
        matrix("output", 0)
    matrix("embd", 0)
    for i in range(N_LAYERS):
        vector(f"blk.{i}.attn_norm.weight", N_EMBD, 1, 0.1)
        vector(f"blk.{i}.ffn_norm.weight", N_EMBD, 1, 0.1)
        for kind, n, std in (("q", q_dim, 0.3), ("k", kv_dim, 1.0), ("v", kv_dim, 0.3)):
            matrix(kind, i)
            if family == "qwen2":
                vector(f"blk.{i}.attn_{kind}.bias", n, 0, std)
            if family == "qwen3" and kind != "v":
                vector(f"blk.{i}.attn_{kind}_norm.weight", head_dim, 1, 0.3)
        for kind in ("o", "gate", "up", "down"):
            matrix(kind, i)
    vector("output_norm.weight", N_EMBD, 1, 0.1)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("path", type=Path)
    p.add_argument("--architecture", choices=FAMILIES, default="qwen2")
    p.add_argument("--types", default="", help=f"changes to {DEFAULT_TYPES}")
    p.add_argument("--tied", action="store_true", help="no output matrix: the embedding is the head")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--context", type=int, default=4096, help="tokens that it was made for")
    p.add_argument("--template", type=Path, metavar="FILE", help="take this text as the chat template")
    p.add_argument("--template-from", type=Path, metavar="GGUF",
                   help="take the chat template of this file instead of plain ChatML")  # fmt: skip
    p.add_argument("--no-template", action="store_true", help="no chat template at all")
    p.add_argument("--pooling", choices=("NONE", "MEAN", "CLS", "LAST"),
                   help="how the hidden vectors of a text become its embedding")  # fmt: skip
    p.add_argument("--add-eos", action="store_true",
                   help="as Qwen3-Embedding: <|endoftext|> ends a text, and is appended to each")  # fmt: skip
    p.add_argument("--sampling", type=float, nargs=4,
                   metavar=("TEMPERATURE", "TOP_P", "TOP_K", "PENALTY"),
                   help="advice of the makers: general.sampling of the file")  # fmt: skip
    a = p.parse_args()
    template = CHATML
    if a.template:
        template = a.template.read_text()
    if a.template_from:
        template = GgufFile(a.template_from).metadata["tokenizer.chat_template"]
    if a.no_template:
        template = None
    types = parse_types(a.types, a.tied)
    write_model(a.path, a.architecture, types, a.seed, template, a.context, a.pooling, a.add_eos,
                a.sampling)


if __name__ == "__main__":
    main()
