#include "engine/embedding.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/engine.h"

bool kl_pooling_find(const char *name, enum kl_pooling *pooling)
{
    static const char *const names[KL_N_POOLINGS] = {
        [KL_POOLING_LAST] = "last", [KL_POOLING_MEAN] = "mean", [KL_POOLING_FIRST] = "cls"};
    for (enum kl_pooling p = 0; p < KL_N_POOLINGS; p++) {
        if (strcmp(name, names[p]) != 0)
            continue;
        *pooling = p;
        return true;
    }
    return false;
}

size_t kl_embedding_bytes(size_t n_embd)
{
    return sizeof(struct kl_embedding) + n_embd * (sizeof(double) + sizeof(float));
}

enum kl_status kl_embedding_new(enum kl_pooling pooling, size_t n_prompt, size_t n_embd,
                                struct kl_embedding **out, struct kl_error *err)
{
    struct kl_embedding *e = calloc(1, kl_embedding_bytes(n_embd));
    *out = e;
    if (e == NULL)
        return kl_fail_memory(err, "an embedding", kl_embedding_bytes(n_embd));
    e->n_embd = n_embd;
    e->vector = (float *)(e->sum + n_embd);
    e->next = pooling == KL_POOLING_LAST ? n_prompt - 1 : 0;
    e->end = pooling == KL_POOLING_FIRST ? 1 : n_prompt;
    return KL_OK;
}

void kl_embedding_free(struct kl_embedding *embedding)
{
    free(embedding);
}

void kl_embedding_add(struct kl_embedding *e, const struct kl_forward *forward, size_t first_row,
                      size_t n, size_t token)
{
    for (; e->next < token + n && !kl_embedding_is_complete(e); e->next++) {
        kl_forward_hidden(forward, first_row + (e->next - token), e->vector);
        for (size_t i = 0; i < e->n_embd; i++)
            e->sum[i] += (double)e->vector[i];
        e->n_added++;
    }
}

enum kl_status kl_embedding_finish(struct kl_embedding *e, struct kl_error *err)
{
    for (size_t i = 0; i < e->n_embd; i++) {
        e->vector[i] = (float)(e->sum[i] / (double)e->n_added);
        if (!isfinite(e->vector[i]))
            return kl_fail(err, KL_ERR_FORMAT,
                           "the model computed no usable number for the embedding: its file may "
                           "be damaged");
    }
    return KL_OK;
}
