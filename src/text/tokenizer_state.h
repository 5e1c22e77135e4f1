/* The parts of a tokenizer. Internal to text/; constant once it is open, except in _add. */
#ifndef KL_TEXT_TOKENIZER_STATE_H
#define KL_TEXT_TOKENIZER_STATE_H

#include "text/char_class.h"
#include "text/pretokenizer.h"
#include "text/tables.h"
#include "text/tokenizer.h"

/* Keys of a file, and names of control tokens, that end an answer. */
enum { KL_N_END_KEYS = 3, KL_MAX_END_NAMES = 12 };

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
    int32_t text_begin, text_end; /* -1: none */
};
_Static_assert(KL_N_END_KEYS + KL_MAX_END_NAMES == KL_MAX_ENDS, "the limit that tokenizer.h names");

#endif
