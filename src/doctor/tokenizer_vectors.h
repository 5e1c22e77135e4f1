/*
 * Texts and their ids, made by Hugging Face's tokenizers with the vocabularies of the models in the
 * catalogue. tests/tools/make_tokenizer_vectors.py writes the .c file; tests/fidelity compares.
 * Constant data: any thread.
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

/* The vectors of a vocabulary, which is known by its size and its pre-tokenizer (the value of
 * tokenizer.ggml.pre). */
struct kl_tokenizer_vectors {
    const char *pre; /* NULL in the last row, which is empty */
    size_t n_vocab;
    size_t n;
    const struct kl_tokenizer_vector *items; /* [n] */
};

/* Ends with a row whose `pre` is NULL. */
extern const struct kl_tokenizer_vectors kl_tokenizer_vectors[];

#endif
