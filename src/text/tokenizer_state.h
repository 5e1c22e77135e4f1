/*
 * The parts of a tokenizer, and the kinds of tokenizers. Internal to text/.
 *
 * A new kind is one file with its row, like byte_level.c, and its name in KL_TOKENIZER_KINDS.
 */
#ifndef KL_TEXT_TOKENIZER_STATE_H
#define KL_TEXT_TOKENIZER_STATE_H

#include "text/char_class.h"
#include "text/encoder.h"
#include "text/pretokenizer.h"
#include "text/tables.h"
#include "text/tokenizer.h"

/* Keys of a file, and names of control tokens, that end an answer. */
enum { KL_N_END_KEYS = 3, KL_MAX_END_NAMES = 8 };

struct kl_tokenizer_kind {
    const char *model; /* the value of tokenizer.ggml.model */
    /* Fills pretokenizer, tables and classes; dir: as for kl_tokenizer_open_kept. */
    enum kl_status (*load)(struct kl_tokenizer *t, const struct kl_gguf *gguf, const char *dir,
                           struct kl_error *err);
    /* As kl_encoder_step, but does not check the ids. */
    enum kl_status (*encode)(struct kl_encoder *e, size_t *effort, size_t max_tokens,
                             struct kl_tokens *out, bool *done);
};

#define KL_TOKENIZER_KINDS(X)      X(byte_level)
#define KL_DECLARE_TOKENIZER(name) extern const struct kl_tokenizer_kind kl_tokenizer_##name;
KL_TOKENIZER_KINDS(KL_DECLARE_TOKENIZER)

struct kl_tokenizer {
    const struct kl_tokenizer_kind *kind;
    const struct kl_pretokenizer *pretokenizer;
    struct kl_tables tables;
    struct kl_char_classes classes;
    int32_t *added; /* [n_added] control and user-defined tokens, the longest first */
    size_t n_added;
    bool begins_added[256]; /* bytes that one of them begins with */
    int32_t ends[KL_N_END_KEYS + KL_MAX_END_NAMES];
    size_t n_ends;
};

#endif
