"""The tokenizer of each real model against Hugging Face's `tokenizers`, built from the same vocabulary and merges.

Ids must be the same for every string, and the detokenizer must return the string: NFC(string) for a
model that normalizes, the string without the missing bytes for a vocabulary that lacks some.
"""

import random
import re
import struct
import subprocess
import unicodedata

import numpy as np
import pytest
from make_tiny_model import byte_alphabet
from reference_tokenizer import load_vocabulary, make_reference
from tokenizers import normalizers

SPACES = "".join(
    chr(c) for c in (*range(9, 14), 0x20, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B),
                     0x2028, 0x2029, 0x202F, 0x205F, 0x3000)
)  # fmt: skip
CHINESE = (
    "你好,请问今天天气怎么样?我想写一个函数判断回文。中华人民共和国成立于一九四九年十月一日;"
    "机器学习、深度学习和大语言模型正在改变世界。“学而时习之,不亦说乎?”(论语)价格是¥128.50元!"
    "臺灣繁體字測試,龍飛鳳舞。𠀀𠮷野家,㐀䶵"
)
ENGLISH = (
    "The quick brown fox jumps over the lazy dog. I'll say it's what they've wanted; you're right, "
    "I'm sure we'd DON'T WE'LL it'S naïve café coöperate Straße ‘quoted’ words-with-hyphens "
    "internationalization antidisestablishmentarianism 3.14159 and 1,000,000 or 2nd e.g. U.S.A."
)
CODE = (
    "def is_palindrome(s: str) -> bool:\n    return s == s[::-1]\n\n"
    "#include <stdio.h>\nint main(void)\n{\n\tprintf(\"%d\\n\", x->y[i++] & 0xFF);\n\treturn 0;\r\n}\n"
    "SELECT * FROM users WHERE id = 'a''b'; -- comment\n<div class=\"x\">&nbsp;</div>\n"
    "const f = async (a, b) => { await g(`${a}`); };\n\n\n        // TODO\n$ ls -la | grep '^d' > /dev/null 2>&1\n"
)
EMOJI = ["😀", "👨‍👩‍👧‍👦", "🏳️‍🌈", "👍🏽", "🇨🇳", "1️⃣", "❤️", "🤷🏻‍♀️", "\u200d", "\ufe0f", "🏴󠁧󠁢󠁥󠁮󠁧󠁿"]
SPECIAL = [
    "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<tool_call>", "</tool_call>", "<|fim_prefix|>",
    "<|im_end", "|im_end|>", "<|IM_END|>", "<|im_start|><|im_end|>", "< |im_end|>", "<<|im_end|>>",
    "<tool_call", "<|im_<|im_end|>end|>", "[PAD151665]", "<|im_end|", "<|", "|>", "<", "<tool_call></tool_call>",
]  # fmt: skip


def blocks(*ranges):
    return [chr(c) for low, high in ranges for c in range(low, high + 1)]


HANGUL = blocks((0x1100, 0x11FF), (0x3131, 0x318E), (0xA960, 0xA97C), (0xAC00, 0xAC80), (0xD7B0, 0xD7FB))
THAI = blocks((0x0E01, 0x0E3A), (0x0E3F, 0x0E5B))
MARKS = [chr(c) for c in range(0x300, 0x1E900) if unicodedata.category(chr(c))[0] == "M"]
BASES = list("aAeEoOuUnNsSyz") + blocks((0xC0, 0xFF), (0x391, 0x3C9), (0x1EA0, 0x1EF9), (0x5D0, 0x5EA)) + [
    "か", "は", "ワ", "ก", "क", "ড", "\u0b47", "\u1025", "\U00011099", "\U0001d157", "\u212b", "\uf900",
    "\u0344", "\u0958", "\ufb2a", "가", "\u1100", "각"]  # fmt: skip


def fragments(text, rng, count):
    for _ in range(count):
        at = rng.randrange(len(text))
        yield text[at : at + rng.choice((1, 2, 3, 5, 8, 13, 30, 80, 200))]


def mixture(parts, rng, count, longest=12):
    for _ in range(count):
        yield "".join(rng.choice(parts) for _ in range(rng.randint(1, longest)))


def every_code_point():
    """Returns texts with each code point after a letter, after a space, alone at the end of a line, and
    before a letter."""
    chars = [chr(c) for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF]
    for i in range(0, len(chars), 8):
        yield "".join(f"x{c} {c}y{c}\n" for c in chars[i : i + 8])


def user_texts():
    rng = random.Random(1)
    yield from ("", " ", "\n", "a", "\x00", "\x00\x01\x7f", "'s", "'ſ", "' s", "'S'Ll'RE'", "''s", "'")
    yield from every_code_point()
    yield from fragments(CHINESE, rng, 10000)
    yield from fragments(ENGLISH, rng, 10000)
    yield from fragments(CODE, rng, 10000)
    words = (CHINESE + ENGLISH + CODE).split() + list("',.!?-_/\\(){}[]<>|&^%$#@*+=~`\"0123456789")
    yield from mixture([w + s for w in words for s in ("", " ", "  ", "\n")], rng, 20000)
    yield from mixture(EMOJI + list("ab 1\n"), rng, 4000)
    yield from mixture(BASES + MARKS, rng, 8000, 6)
    for _ in range(12000):
        yield "".join(rng.choice(BASES) + "".join(rng.choices(MARKS, k=rng.randint(0, 4)))
                      for _ in range(rng.randint(1, 5)))  # fmt: skip
    yield from mixture(HANGUL + [" "], rng, 5000)
    yield from mixture(THAI + [" "], rng, 4000)
    yield from mixture(list("0123456789٣٤५६一二Ⅷ½²①𝟘 .,a"), rng, 4000)
    yield from mixture(list(SPACES) + list("  \n\n\r\r\t") + list("a1.'中"), rng, 12000, 10)
    yield from mixture(list(SPACES), rng, 4000)
    yield from mixture(["'", "s", "S", "t", "re", "VE", "m", "ll", "lL", "D", "ſ", " ", "a", "1"], rng, 4000, 8)
    yield from mixture(SPECIAL + list("ab <|>\n"), rng, 4000, 6)
    for _ in range(8000):
        yield "".join(chr(rng.choice((rng.randrange(0xD800), rng.randrange(0xE000, 0x110000))))
                      for _ in range(rng.randint(1, 20)))  # fmt: skip
    # Long pieces, for which BPE uses another algorithm than for short ones.
    alphabets = ("a", "ab", "aab ", "abcdefghijklmnopqrstuvwxyz", "中文字符的是了我", "=-", " ", "\n ", "ก็", "e\u0301")
    for _ in range(300):
        alphabet = rng.choice(alphabets)
        yield "".join(rng.choice(alphabet) for _ in range(rng.randint(100, 3000)))


def damaged_texts():
    rng = random.Random(2)
    good = (CHINESE + ENGLISH + "".join(EMOJI)).encode()
    for _ in range(8000):
        yield rng.randbytes(rng.randint(1, 40))
    for _ in range(8000):
        at = rng.randrange(len(good))
        data = bytearray(good[at : at + rng.randint(1, 40)])
        for _ in range(rng.randint(1, 3)):
            data[rng.randrange(len(data))] = rng.choice((0x80, 0xBF, 0xC0, 0xC2, 0xE0, 0xED, 0xF0, 0xF4, 0xFF, 0x41))
        yield bytes(data)
    lead = (b"\xe0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc0\xaf", b"\xf0\x9f\x98", b"\xe4\xbd", b"\xcc\x81")
    for _ in range(2000):
        yield b"".join(rng.choice((*lead, b"a", b" ", "é".encode(), "好".encode())) for _ in range(6))


# Of how many strings the made model gets one: it adds Llama 3's rule to what the others have tried.
MADE_SHARE = 8


@pytest.fixture(scope="module", params=("model_path", "smollm_path", "llama3"), ids=("qwen2", "smollm", "llama3"))
def each_model_path(request, make_tiny_model):
    """The real models, and one made with Llama 3's rule."""
    if request.param == "llama3":
        return make_tiny_model("--architecture", "llama3")
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def vocabulary(each_model_path):
    return load_vocabulary(each_model_path)


def ours(build_dir, each_model_path, texts, special):
    """Returns a list of (ids, text that the detokenizer makes of them)."""
    records = b"".join(struct.pack("<BI", special, len(t)) + t for t in texts)
    program = build_dir / "tests" / "fidelity" / "tokenize_stdin"
    done = subprocess.run([program, each_model_path], input=records, stdout=subprocess.PIPE, check=True, timeout=300)
    answers, at = [], 0
    for _ in texts:
        (n,) = struct.unpack_from("<I", done.stdout, at)
        ids = np.frombuffer(done.stdout, "<i4", n, at + 4)
        at += 4 + 4 * n
        (n,) = struct.unpack_from("<I", done.stdout, at)
        answers.append((ids.tolist(), done.stdout[at + 4 : at + 4 + n].decode()))
        at += 4 + n
    assert at == len(done.stdout)
    return answers


@pytest.fixture(scope="module")
def plain(vocabulary):
    """plain(text) -> the text expected from the detokenizer."""
    alphabet = byte_alphabet()
    lacking = bytes(b for b, c in alphabet.items() if c not in vocabulary.byte_tokens)
    # the reference's NFC, which has an older version of Unicode than unicodedata
    normalize = normalizers.NFC().normalize_str if vocabulary.pre == "qwen2" else str
    return lambda text: normalize(text).encode().translate(None, lacking).decode(errors="replace")


def compare(build_dir, each_model_path, reference, texts, shown, special=False):
    """Compares ids and texts. texts: bytes. shown: text -> the text expected from the detokenizer."""
    repaired = [t.decode(errors="replace") for t in texts]
    answers = ours(build_dir, each_model_path, texts, special)
    for start in range(0, len(texts), 20000):
        part = slice(start, start + 20000)
        expected = reference.encode_batch_fast(repaired[part], add_special_tokens=False)
        for text, want, (ids, back) in zip(repaired[part], expected, answers[part]):
            assert ids == want.ids, ascii(text)
            assert back == shown(text), ascii(text)


def test_user_text(build_dir, each_model_path, vocabulary, plain):
    texts = [t.encode() for t in user_texts()]
    assert len(texts) >= 200_000
    if vocabulary.pre == "llama-bpe":
        texts = texts[::MADE_SHARE]
    compare(build_dir, each_model_path, make_reference(vocabulary, False), texts, plain)


def test_bytes_that_are_not_utf8(build_dir, each_model_path, vocabulary, plain):
    """Invalid UTF-8 becomes U+FFFD as with Python's errors="replace" (Unicode 3.9)."""
    compare(build_dir, each_model_path, make_reference(vocabulary, False), list(damaged_texts()), plain)


def test_special_tokens_in_special_spans(build_dir, each_model_path, vocabulary, plain):
    rng = random.Random(3)
    parts = SPECIAL + list("ab <|>\n") + ["e\u0301", "\u0301", "你好", "  ", "é"]
    texts = [t.encode() for t in mixture(parts, rng, 10000, 8)]

    added = re.compile("(" + "|".join(map(re.escape, vocabulary.added)) + ")")

    def shown(text):
        # NFC does not combine across an added token.
        parts = [part for part in added.split(text) if part not in vocabulary.control]
        return "".join(map(plain, parts))

    compare(build_dir, each_model_path, make_reference(vocabulary, True), texts, shown, True)


@pytest.mark.parametrize("unit", ["a", " ", "\n", "中", "7", "😀", ".", "\u0301\u0323", "abcdefghijklmnopqrstuvwxyz"])
def test_a_megabyte_of_one_kind(build_dir, each_model_path, vocabulary, plain, unit):
    """No algorithm is quadratic: each of these inputs took minutes in some tokenizer."""
    text = unit * (1_000_000 // len(unit.encode()))
    (ids, back), = ours(build_dir, each_model_path, [text.encode()], False)
    assert back == plain(text)
    if unit in ("a", " ", "\n", "7", "."):
        assert ids == make_reference(vocabulary, False).encode(text, add_special_tokens=False).ids
