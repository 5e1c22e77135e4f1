/*
 * Tokenizers for the tests of grammar/: one that is made here, that of the tiny model, and that of
 * a real model where there is one. Include after <cmocka.h>.
 */
#ifndef KL_TESTS_GRAMMAR_TOKENS_H
#define KL_TESTS_GRAMMAR_TOKENS_H

#include "grammar/token_trie.h"
#include "tiny_vocab.h"

/* Of the tokenizer that is made here: behind the 256 bytes. */
static const char *const made_tokens[] = {
    "aa",
    "aaa",
    "ab\"",
    "\",",
    "a\",",
    "\"]",
    "\":",
    "aaaaaaaaaaaaaaaaaaaaaaaa",
    "\\u",
    "\\uD8",
    "\\uDC",
    "\\n",
    "\\n\"",
    "\\\"]",
    "00\"",
    "\\\\\"",
    "[\"",
    "[\"a",
    "[\"aa\"",
    "[\"a\"]",
    "[\"aaaaaaaaaaaaaaaa",
    "[\"aaa\",",
    "\"]a",
    "\"\"",
    "u0041a",
    "[\"a\"]]",
    "n\"]",
    "uD834\\uDD1E",
    "uD834\\u00",
    "aaaaaaaaaaaaaaaa",
    "aaaaaaaaaaaaaaaaa",
    /* with a space, and a line break, as GPT-2's alphabet writes them */
    "\",\xC4\xA0\"",
    "\",\xC4\x8A\"",
    "a\",\xC4\xA0\"\"]",
    "\",\xC4\x8A\"\"]",
    "\",\xC4\xA0\"\",\xC4\x8A\"\"]",
    "a\",\xC4\xA0\"",
    "a\",\xC4\x8A\"b\"",
    "b\"]",
    /* a walk is large behind these */
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    "BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB",
    "CCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCC",
    "DDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDD",
    /* subtrees of letters; of letters and digits; with what is no character */
    "pa",
    "pb",
    "pc",
    "pd",
    "pe",
    "pf",
    "pg",
    "ph",
    "pi",
    "pj",
    "pk",
    "pl",
    "pm",
    "pn",
    "poo",
    "pp",
    "qa",
    "qb",
    "qc",
    "qd",
    "qe",
    "qf",
    "qg",
    "qh",
    "qi",
    "qj",
    "qk",
    "ql",
    "qm",
    "qn",
    "q1",
    "q1a",
    "ra",
    "rb",
    "rc",
    "rd",
    "re",
    "rf",
    "rg",
    "rh",
    "ri",
    "rj",
    "rk",
    "rl",
    "rm",
    "rn",
    "r\xC4\x8A",
    "r\xC3\xA9",
    /* white space, and what is behind it */
    "\xC4\xA0\xC4\xA0",
    "\xC4\xA0\xC4\x8A",
    "\xC4\x89\xC4\x8D\xC4\x8A\xC4\xA0",
    "\xC4\xA0\xC4\xA0\xC4\xA0z",
    "\xC4\xA0z",
    "\xC4\x8Az1",
    "\xC4\xA0-",
    "\xC4\xA0\"",
    "z\xC4\xA0y",
    "z-\xC4\xA0\xC4\xA0y",
    "z-\xC4\x8A",
    "9\xC4\x89x",
};
#define MADE_FIRST   256
#define MADE_CONTROL (MADE_FIRST + (int)(sizeof made_tokens / sizeof *made_tokens))

static inline struct kl_tokenizer *made_tokenizer(void)
{
    struct tiny_vocab v;
    tiny_init(&v);
    for (size_t i = 0; i < sizeof made_tokens / sizeof *made_tokens; i++)
        tiny_token(&v, made_tokens[i], 1);
    tiny_token(&v, "<|im_start|>", 3); /* MADE_CONTROL, ... */
    tiny_token(&v, "<|im_end|>", 3);
    tiny_token(&v, "<|endoftext|>", 3);
    tiny_token(&v, "[\"<tool_call>", 4);
    tiny_token(&v, "[PAD]", 5);
    return tiny_open(&v);
}

/* The tokenizer of the model that an environment variable names; NULL: none. */
static inline struct kl_tokenizer *model_tokenizer(const char *variable)
{
    const char *path = getenv(variable);
    struct kl_gguf *gguf = NULL;
    struct kl_tokenizer *tokenizer = NULL;
    struct kl_error err = {0};
    if (path == NULL || access(path, R_OK) != 0)
        return NULL;
    if (kl_gguf_open(path, &gguf, &err) != KL_OK ||
        kl_tokenizer_open(gguf, &tokenizer, &err) != KL_OK)
        fail_msg("%s", err.text);
    kl_gguf_close(gguf);
    return tokenizer;
}

static inline struct kl_token_trie *trie_of(const struct kl_tokenizer *tokenizer)
{
    struct kl_token_trie *trie = NULL;
    struct kl_error err = {0};
    if (kl_token_trie_open(tokenizer, &trie, &err) != KL_OK)
        fail_msg("%s", err.text);
    return trie;
}

#endif
