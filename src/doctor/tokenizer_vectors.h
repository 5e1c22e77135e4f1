/*
 * Texts, and the ids that Hugging Face's tokenizers make of them with the vocabularies of the
 * models in the catalogue. tests/fidelity makes the table again and compares.
 */
#ifndef KL_DOCTOR_TOKENIZER_VECTORS_H
#define KL_DOCTOR_TOKENIZER_VECTORS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct kl_tokenizer_vector {
    const char *kind; /* "Chinese", "white space" */
    const char *text;
    bool special; /* special tokens are recognised in it */
    size_t n_ids;
    const int32_t *ids; /* [n_ids] */
};

/* They are those of a vocabulary of this size under this rule (tokenizer.ggml.pre). */
struct kl_tokenizer_vectors {
    const char *pre; /* NULL in the last row, which has nothing */
    size_t n_vocab;
    size_t n;
    const struct kl_tokenizer_vector *items; /* [n] */
};

extern const struct kl_tokenizer_vectors kl_tokenizer_vectors[];

#endif
