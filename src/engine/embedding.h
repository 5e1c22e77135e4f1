/*
 * The embedding of one request: hidden vectors of its prompt, pooled as its passes compute them.
 *
 * Vectors are added in the order of the tokens, in double, so the result does not depend on how the
 * prompt was divided into passes. Vectors that were added stay when the request is preempted. The
 * engine thread's, until the request is done. Does not normalise.
 */
#ifndef KL_ENGINE_EMBEDDING_H
#define KL_ENGINE_EMBEDDING_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "model/model.h"

struct kl_embedding {
    size_t n_embd;
    size_t next, end; /* tokens of the prompt whose vectors are still to be added */
    size_t n_added;
    float *vector; /* [n_embd] the one that is added now; in the end the result */
    double sum[];  /* [n_embd] */
};

enum kl_status kl_embedding_new(enum kl_pooling pooling, size_t n_prompt, size_t n_embd,
                                struct kl_embedding **embedding, struct kl_error *err);
void kl_embedding_free(struct kl_embedding *embedding); /* NULL is allowed */
size_t kl_embedding_bytes(size_t n_embd);

/* Adds the vectors that are wanted of n rows of the pass that has just run, from row first_row on,
 * which computed the tokens of the prompt from `token` on. The wanted ones have `hidden` set. */
void kl_embedding_add(struct kl_embedding *embedding, const struct kl_forward *forward,
                      size_t first_row, size_t n, size_t token);

static inline bool kl_embedding_is_complete(const struct kl_embedding *embedding)
{
    return embedding->next == embedding->end;
}

/* Whether the vector of a token is still to be added. */
static inline bool kl_embedding_wants(const struct kl_embedding *embedding, size_t token)
{
    return embedding->next <= token && token < embedding->end;
}

/* Makes the result, once it is complete. KL_ERR_FORMAT: it has something that is no number. */
enum kl_status kl_embedding_finish(struct kl_embedding *embedding, struct kl_error *err);

#endif
