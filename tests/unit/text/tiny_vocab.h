/*
 * A vocabulary small enough to see through, for the tests of text/: the 256 bytes (id = byte), then
 * what merges make, then whatever a test adds. It is written to a GGUF file and read from there, as
 * a real one is. Include after <cmocka.h>.
 */
#ifndef KL_TESTS_TINY_VOCAB_H
#define KL_TESTS_TINY_VOCAB_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/utf8.h"
#include "format/gguf.h"
#include "text/tokenizer.h"

#define TINY_MAX 400

struct tiny_vocab {
    const char *model;
    const char *pre;
    const char *tokens[TINY_MAX]; /* as in a file: bytes in GPT-2's alphabet */
    char made[TINY_MAX][64];      /* the text of those that are not literals */
    int32_t types[TINY_MAX];
    size_t n_tokens;
    size_t n_types;
    const char *merges[TINY_MAX];
    size_t n_merges;
    int64_t eos, eot, eom, bos; /* -1: no such key */
    int add_bos, add_eos;       /* likewise */
    const char *chat_template;
};

/* The character of GPT-2's byte alphabet, made the way bytes_to_unicode makes it. */
static inline void tiny_byte_name(int byte, char out[8])
{
    uint32_t next = 256;
    uint32_t name = 0;
    for (int b = 0; b <= byte; b++) {
        bool printable = (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
        name = printable ? (uint32_t)b : next++;
    }
    out[kl_utf8_encode(name, out)] = '\0';
}

static inline int32_t tiny_token(struct tiny_vocab *v, const char *text, int32_t type)
{
    assert_true(v->n_tokens < TINY_MAX && strlen(text) < sizeof v->made[0]);
    v->tokens[v->n_tokens] = strcpy(v->made[v->n_tokens], text);
    v->types[v->n_tokens] = type;
    v->n_types = v->n_tokens + 1;
    return (int32_t)v->n_tokens++;
}

static inline void tiny_init(struct tiny_vocab *v)
{
    memset(v, 0, sizeof *v);
    v->model = "gpt2";
    v->pre = "qwen2";
    v->eos = v->eot = v->eom = v->bos = v->add_bos = v->add_eos = -1;
    for (int byte = 0; byte < 256; byte++) {
        char name[8];
        tiny_byte_name(byte, name);
        tiny_token(v, name, 1);
    }
}

static inline bool tiny_has_merge(const struct tiny_vocab *v, const char *merge)
{
    size_t i = 0;
    while (i < v->n_merges && strcmp(v->merges[i], merge) != 0)
        i++;
    return i < v->n_merges;
}

/* Adds a merge ("a b") and, if there is none yet, the token it makes. */
static inline void tiny_merge(struct tiny_vocab *v, const char *merge)
{
    char token[64] = "";
    size_t left = strcspn(merge, " ");
    memcpy(token, merge, left);
    strcpy(token + left, merge + left + 1);
    bool there = false;
    for (size_t i = 0; i < v->n_tokens; i++)
        there = there || strcmp(v->tokens[i], token) == 0;
    if (!there)
        tiny_token(v, token, 1);
    v->merges[v->n_merges++] = merge;
}

static inline void tiny_put(struct kl_buffer *b, const void *data, size_t len)
{
    assert_int_equal(kl_buffer_append(b, data, len), KL_OK);
}

static inline void tiny_put_string(struct kl_buffer *b, const char *text)
{
    uint64_t len = strlen(text);
    tiny_put(b, &len, sizeof len);
    tiny_put(b, text, len);
}

static inline void tiny_put_key(struct kl_buffer *b, const char *key, uint32_t type)
{
    tiny_put_string(b, key);
    tiny_put(b, &type, sizeof type);
}

static inline void tiny_put_array(struct kl_buffer *b, const char *key, uint32_t type, uint64_t n)
{
    tiny_put_key(b, key, KL_GGUF_ARRAY);
    tiny_put(b, &type, sizeof type);
    tiny_put(b, &n, sizeof n);
}

static inline void tiny_put_id(struct kl_buffer *b, const char *key, int64_t id)
{
    uint32_t value = (uint32_t)id;
    if (id < 0)
        return;
    tiny_put_key(b, key, KL_GGUF_U32);
    tiny_put(b, &value, sizeof value);
}

static inline void tiny_put_bool(struct kl_buffer *b, const char *key, int value)
{
    const uint8_t byte = value != 0;
    if (value < 0)
        return;
    tiny_put_key(b, key, KL_GGUF_BOOL);
    tiny_put(b, &byte, 1);
}

static inline void tiny_put_all(struct kl_buffer *b, const struct tiny_vocab *v)
{
    const uint32_t version = 3;
    const uint64_t n_tensors = 0;
    const uint64_t n_keys = 5u + (v->eos >= 0) + (v->eot >= 0) + (v->eom >= 0) + (v->bos >= 0) +
                            (v->add_bos >= 0) + (v->add_eos >= 0) + (v->chat_template != NULL);
    tiny_put(b, "GGUF", 4);
    tiny_put(b, &version, sizeof version);
    tiny_put(b, &n_tensors, sizeof n_tensors);
    tiny_put(b, &n_keys, sizeof n_keys);
    tiny_put_key(b, "tokenizer.ggml.model", KL_GGUF_STRING);
    tiny_put_string(b, v->model);
    tiny_put_key(b, "tokenizer.ggml.pre", KL_GGUF_STRING);
    tiny_put_string(b, v->pre);
    tiny_put_array(b, "tokenizer.ggml.tokens", KL_GGUF_STRING, v->n_tokens);
    for (size_t i = 0; i < v->n_tokens; i++)
        tiny_put_string(b, v->tokens[i]);
    tiny_put_array(b, "tokenizer.ggml.token_type", KL_GGUF_I32, v->n_types);
    tiny_put(b, v->types, v->n_types * sizeof *v->types);
    tiny_put_array(b, "tokenizer.ggml.merges", KL_GGUF_STRING, v->n_merges);
    for (size_t i = 0; i < v->n_merges; i++)
        tiny_put_string(b, v->merges[i]);
    tiny_put_id(b, "tokenizer.ggml.eos_token_id", v->eos);
    tiny_put_id(b, "tokenizer.ggml.eot_token_id", v->eot);
    tiny_put_id(b, "tokenizer.ggml.eom_token_id", v->eom);
    tiny_put_id(b, "tokenizer.ggml.bos_token_id", v->bos);
    tiny_put_bool(b, "tokenizer.ggml.add_bos_token", v->add_bos);
    tiny_put_bool(b, "tokenizer.ggml.add_eos_token", v->add_eos);
    if (v->chat_template != NULL) {
        tiny_put_key(b, "tokenizer.chat_template", KL_GGUF_STRING);
        tiny_put_string(b, v->chat_template);
    }
}

static inline struct kl_gguf *tiny_gguf(const struct tiny_vocab *v)
{
    struct kl_buffer b;
    kl_buffer_init(&b, 1 << 20);
    tiny_put_all(&b, v);
    char path[] = "/tmp/kinglet-test-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, b.data, b.len), (ssize_t)b.len);
    close(fd);
    kl_buffer_release(&b);

    struct kl_gguf *gguf = NULL;
    struct kl_error err = {0};
    enum kl_status status = kl_gguf_open(path, &gguf, &err);
    unlink(path);
    if (status != KL_OK)
        fail_msg("%s", err.text);
    return gguf;
}

static inline struct kl_tokenizer *tiny_open(const struct tiny_vocab *v)
{
    struct kl_gguf *gguf = tiny_gguf(v);
    struct kl_tokenizer *tokenizer = NULL;
    struct kl_error err = {0};
    if (kl_tokenizer_open(gguf, &tokenizer, &err) != KL_OK)
        fail_msg("%s", err.text);
    kl_gguf_close(gguf);
    return tokenizer;
}

#endif
