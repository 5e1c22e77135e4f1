"""The reference tokenizer: Hugging Face's `tokenizers` with the vocabulary and merges of a model file."""

from functools import lru_cache

from gguf import GGUFReader
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

NORMAL, CONTROL, USER_DEFINED = 1, 3, 4
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


LLAMA3_SPLIT = SPLIT.replace(r"\p{N}|", r"\p{N}{1,3}|")


class Vocabulary:
    def __init__(self, path):
        fields = GGUFReader(path).fields
        self.pre = fields["tokenizer.ggml.pre"].contents()
        self.template = fields["tokenizer.chat_template"].contents()
        self.tokens = fields["tokenizer.ggml.tokens"].contents()
        self.types = fields["tokenizer.ggml.token_type"].contents()
        self.merges = [tuple(m.split(" ")) for m in fields["tokenizer.ggml.merges"].contents()]
        self.added = [t for t, k in zip(self.tokens, self.types) if k in (CONTROL, USER_DEFINED)]
        self.byte_tokens = {t for t, k in zip(self.tokens, self.types) if k == NORMAL and len(t) == 1}
        self.control = {t for t, kind in zip(self.tokens, self.types) if kind == CONTROL}


@lru_cache(maxsize=2)
def load_vocabulary(path):
    """Returns the vocabulary of a file; cached, since reading takes seconds."""
    return Vocabulary(path)


def set_qwen2(reference):
    """Configures it like tokenizer.json of Qwen2.5."""
    reference.normalizer = normalizers.NFC()
    reference.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(SPLIT), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])  # fmt: skip


def set_smollm(reference):
    """Configures it like tokenizer.json of SmolLM2: no normalizer, single digits, then GPT-2's rule."""
    reference.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
    ])  # fmt: skip


def set_llama3(reference):
    """Configures it like tokenizer.json of Llama 3.2: no normalizer, up to three digits."""
    reference.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(LLAMA3_SPLIT), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])  # fmt: skip


SETTINGS = {"qwen2": set_qwen2, "smollm": set_smollm, "llama-bpe": set_llama3}


@lru_cache(maxsize=4)
def make_reference(vocabulary, with_added):
    known = (NORMAL, CONTROL, USER_DEFINED)
    ids = {t: i for i, t in enumerate(vocabulary.tokens) if vocabulary.types[i] in known}
    ignore_merges = vocabulary.pre == "llama-bpe"
    reference = Tokenizer(models.BPE(ids, vocabulary.merges, ignore_merges=ignore_merges))
    SETTINGS[vocabulary.pre](reference)
    if with_added:
        for i, (token, kind) in enumerate(zip(vocabulary.tokens, vocabulary.types)):
            if kind in (CONTROL, USER_DEFINED):
                added = AddedToken(token, normalized=False, special=kind == CONTROL)
                (reference.add_special_tokens if kind == CONTROL else reference.add_tokens)([added])
                assert reference.token_to_id(token) == i
    return reference
