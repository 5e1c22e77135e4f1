/*
 * Bytes to tokens and back: byte-level BPE as Qwen2 and SmolLM2 have it.
 *
 * text -> NFC (utf8proc), where the model wants it -> pre-tokenizer (a hand-written scanner chosen
 * by tokenizer.ggml.pre) -> BPE in O(n log n) per piece.
 * The vocabulary is read from a GGUF file's tokenizer.ggml.* keys and checked; the file may be
 * closed afterwards. One tokenizer serves many threads, except while _add runs.
 *
 * Bytes that are not UTF-8 are replaced by U+FFFD by the rule of base/utf8.h before anything else.
 */
#ifndef KL_TEXT_TOKENIZER_H
#define KL_TEXT_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "format/gguf.h"
#include "text/tokens.h"

struct kl_tokenizer;

/* A piece of text. Special tokens ("<|im_end|>") are recognised only where `special` is true:
 * what a user typed is never one. Spans that follow each other with no special token between them
 * are tokenized as one text, as the reference does with the whole rendered prompt. */
struct kl_span {
    const char *text;
    size_t len;
    bool special;
};

enum kl_status kl_tokenizer_open(const struct kl_gguf *gguf, struct kl_tokenizer **tokenizer,
                                 struct kl_error *err);
/* The same, with its tables mapped from directory dir (may be NULL) where they were kept there:
 * opening takes milliseconds. Otherwise, or where they are damaged, they are made. */
enum kl_status kl_tokenizer_open_kept(const struct kl_gguf *gguf, const char *dir,
                                      struct kl_tokenizer **tokenizer, struct kl_error *err);
/* Keeps the tables in dir, if they are not, for the next time: once, right after a tokenizer was
 * opened with the same dir, when the model it belongs to was accepted. */
void kl_tokenizer_keep(struct kl_tokenizer *tokenizer, const struct kl_gguf *gguf, const char *dir);
/* Where they are kept; NULL: nowhere. */
const char *kl_tokenizer_kept_path(const struct kl_tokenizer *tokenizer);
void kl_tokenizer_close(struct kl_tokenizer *tokenizer);

/* Adds one token (1..1024 bytes of UTF-8) to a loaded tokenizer; *id is its new id (the old size of
 * the vocabulary), or the old id if it is there already. Like every added token it is recognised in
 * special spans only; special: it is a control token and not shown. Pieces got before may move. */
enum kl_status kl_tokenizer_add(struct kl_tokenizer *tokenizer, const char *text, size_t len,
                                bool special, int32_t *id, struct kl_error *err);

/* Appends the ids of the spans to *out (initialise it with {0}; release it). */
enum kl_status kl_tokenizer_encode(const struct kl_tokenizer *tokenizer,
                                   const struct kl_span *spans, size_t n_spans,
                                   struct kl_tokens *out, struct kl_error *err);

/* The raw bytes of a token (not NUL-terminated, may be part of a code point); NULL if id is out of
 * range. */
const char *kl_tokenizer_piece(const struct kl_tokenizer *tokenizer, int32_t id, size_t *len);

/* A token that steers and is not shown ("<|im_start|>"). <tool_call> and its like are added tokens
 * but not control tokens: they are shown. */
bool kl_tokenizer_is_control(const struct kl_tokenizer *tokenizer, int32_t id);
/* An answer ends with one of these (Qwen2.5: <|im_end|>, <|endoftext|>). */
bool kl_tokenizer_is_end(const struct kl_tokenizer *tokenizer, int32_t id);
/* All of them; there are at most KL_MAX_ENDS. */
#define KL_MAX_ENDS 15
const int32_t *kl_tokenizer_ends(const struct kl_tokenizer *tokenizer, size_t *n);

/* The tokens that the file wants before and behind a text that is not a chat, such as one to embed
 * (tokenizer.ggml.add_bos_token, add_eos_token); -1: none. */
int32_t kl_tokenizer_text_begin(const struct kl_tokenizer *tokenizer);
int32_t kl_tokenizer_text_end(const struct kl_tokenizer *tokenizer);

size_t kl_tokenizer_size(const struct kl_tokenizer *tokenizer);
/* The id of a whole token given by its raw bytes, or -1. */
int32_t kl_tokenizer_find(const struct kl_tokenizer *tokenizer, const char *text, size_t len);

#endif
