/*
 * The tokens of a tokenizer: id to raw bytes and back. Internal to text/.
 *
 * Raw bytes of all tokens lie in one block; a hash table finds a token by its bytes. Everything
 * that comes from a file is checked here: lengths, types, the byte alphabet, duplicates.
 */
#ifndef KL_TEXT_VOCAB_H
#define KL_TEXT_VOCAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "format/gguf.h"

#define KL_TOKEN_MAX_BYTES 1024u
/* Several times the largest vocabularies there are; ids fit the 21 bits that merges.h has for them.
 */
#define KL_VOCAB_MAX (1u << 20)

/* The values of tokenizer.ggml.token_type. Types 2 (unknown) and 6 (byte) do not occur in
 * byte-level vocabularies. */
enum kl_token_type {
    KL_TOKEN_NORMAL = 1,  /* made by merges */
    KL_TOKEN_CONTROL = 3, /* "<|im_end|>": steers, is not shown */
    KL_TOKEN_ADDED = 4,   /* "<tool_call>": found before merges like a control token, but shown */
    KL_TOKEN_UNUSED = 5,  /* a row of the embedding table without a token; has no bytes */
    /* Not in a file: a normal token of whose own bytes merges make something else. The library that
     * the model was trained with always merges, so it must not be taken for a piece. */
    KL_TOKEN_UNREACHED = 7
};

struct kl_vocab_slot {
    uint32_t hash;
    int32_t id; /* -1: empty */
};

struct kl_vocab {
    char *bytes;
    size_t bytes_len;
    size_t bytes_allocated;
    uint32_t *offsets; /* [n + 1] into bytes */
    uint8_t *types;    /* [n] enum kl_token_type */
    size_t n;
    size_t allocated;
    struct kl_vocab_slot *slots; /* open addressing; [n_slots], a power of two */
    size_t n_slots;
    bool borrowed; /* the arrays point into a mapped file: neither written nor freed */
};

/* A token that steers in every family that has it, whatever type a file gives it: some converters
 * lose the types, and then an answer would go on behind its end. */
struct kl_control_name {
    const char *text;
    bool ends; /* an answer ends with it */
};
/* The i-th one; NULL past the end. */
const struct kl_control_name *kl_control_name_at(size_t i);

/* Reads tokenizer.ggml.tokens and .token_type. */
enum kl_status kl_vocab_load(struct kl_vocab *v, const struct kl_gguf *gguf, struct kl_error *err);
void kl_vocab_release(struct kl_vocab *v);

/* Logs which control tokens have another type in the file that v was loaded from. */
void kl_vocab_log_corrections(const struct kl_vocab *v, const struct kl_gguf *gguf);

/* The id of the token with exactly these bytes, or -1. */
int32_t kl_vocab_find(const struct kl_vocab *v, const char *bytes, size_t len);

/* Appends a token of up to KL_TOKEN_MAX_BYTES bytes; *id is its id. If there is one with these
 * bytes already, *id is that one's and nothing changes. Tokens without bytes are never the same. */
enum kl_status kl_vocab_append(struct kl_vocab *v, const char *bytes, size_t len,
                               enum kl_token_type type, int32_t *id, struct kl_error *err);

/* The bytes of token 0 <= id < n. Borrowed arrays can change while they are in use: an offset that
 * leads outside gives a token without bytes. */
static inline const char *kl_vocab_bytes(const struct kl_vocab *v, int32_t id, size_t *len)
{
    uint32_t begin = v->offsets[id], end = v->offsets[id + 1];
    bool inside = begin <= end && end <= v->bytes_len && end - begin <= KL_TOKEN_MAX_BYTES;
    *len = inside ? end - begin : 0;
    return v->bytes + (inside ? begin : 0);
}

/* GPT-2's byte alphabet, in which files write tokens: a printable character for each byte. Turns
 * text back into raw bytes: out has room for text.len of them. false when a character is not one
 * of the 256. */
bool kl_byte_alphabet_decode(struct kl_gguf_string text, char *out, size_t *len);

#endif
