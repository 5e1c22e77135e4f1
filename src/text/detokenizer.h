/*
 * Tokens to text, one at a time, for streams: never emits part of a code point.
 *
 * Bytes of a sequence that the next token may complete are held back (at most 3); bytes that
 * cannot become valid are replaced by U+FFFD (the rule of base/utf8.h). Control tokens give
 * nothing.
 */
#ifndef KL_TEXT_DETOKENIZER_H
#define KL_TEXT_DETOKENIZER_H

#include "base/buffer.h"
#include "text/tokenizer.h"

struct kl_detokenizer {
    const struct kl_tokenizer *tokenizer;
    char pending[4];
    size_t n_pending;
};

void kl_detokenizer_init(struct kl_detokenizer *d, const struct kl_tokenizer *tokenizer);

/* Appends the text that can be shown after this token: valid UTF-8, possibly empty. */
enum kl_status kl_detokenizer_push(struct kl_detokenizer *d, int32_t id, struct kl_buffer *out);

/* The end: bytes still held back become one U+FFFD. */
enum kl_status kl_detokenizer_finish(struct kl_detokenizer *d, struct kl_buffer *out);

#endif
