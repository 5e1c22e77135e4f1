/*
 * Inside the KV cache: for the forward pass only.
 *
 * A page holds KL_KV_PAGE_TOKENS tokens of all layers: the tile (kernels.h) of layer l and KV head
 * h is at kl_kv_offset(). (24 layers, 2 heads of 64: f16 384 KiB a page, int8 204 KiB.)
 */
#ifndef KL_MODEL_KV_CACHE_H
#define KL_MODEL_KV_CACHE_H

#include "model/architecture.h"

struct kl_sequence {
    struct kl_kv_cache *cache;
    uint8_t **pages;          /* [n_pages] the data of held[i], as the kernels take it */
    struct kl_kv_page **held; /* [n_pages] a share of each */
    size_t n_pages;
    size_t pages_allocated; /* length of both arrays */
    size_t length;          /* tokens */
    size_t pending;         /* tokens of the running pass, not appended yet */
};

/* Bytes from the start of a page to the tile of (layer, head). */
static inline size_t kl_kv_offset(const struct kl_model *model, size_t layer, size_t head)
{
    const struct kl_config *c = &model->config;
    return (layer * c->n_kv_heads + head) * 2 * kl_kv_half_bytes(model->kv_type, c->head_dim);
}

#endif
