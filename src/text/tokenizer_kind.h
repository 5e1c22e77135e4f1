/*
 * A kind of tokenizer: how a file's vocabulary is loaded and how text becomes tokens. Internal to
 * text/.
 *
 * Chosen by tokenizer.ggml.model. The kinds are constants that any number of threads may use; the
 * state of a text is in its kl_encoder. Added tokens and ends of answers are the same for all kinds
 * (tokenizer.c), and so are segments and the limits of a text (encoder.c).
 *
 * A further kind is four edits: its file, its line in meson.build, its declaration below and its
 * row in the table of tokenizer.c; a fifth, in kl_encoder, where it needs state from one step to
 * the next. A kind with a table of its own to keep adds it to tables.c (and raises TABLES_VERSION).
 */
#ifndef KL_TEXT_TOKENIZER_KIND_H
#define KL_TEXT_TOKENIZER_KIND_H

#include "text/encoder.h"
#include "text/tokenizer.h"

struct kl_tokenizer_kind {
    const char *model; /* the value of tokenizer.ggml.model */

    /* Fills t->tables, t->classes and t->pretokenizer from the file; dir: where the tables may have
     * been kept, or NULL. On failure the caller closes t. */
    enum kl_status (*load)(struct kl_tokenizer *t, const struct kl_gguf *gguf, const char *dir,
                           struct kl_error *err);

    /* Continues with the text of an encoder as kl_encoder_step says, and appends to *out. The ids
     * need not be checked against a changed file: the caller does that. */
    enum kl_status (*encode)(struct kl_encoder *e, size_t *effort, size_t max_tokens,
                             struct kl_tokens *out, bool *done);
};

/* Byte-level BPE (GPT-2, Qwen2, SmolLM2): byte_bpe.c. */
extern const struct kl_tokenizer_kind kl_tokenizer_byte_bpe;

#endif
