/*
 * Inside the KV cache: for the forward pass only.
 *
 * A page holds KL_KV_PAGE_TOKENS tokens of all layers: for layer l and KV head h, keys
 * [head_dim, KL_KV_PAGE_TOKENS] f16 at kl_kv_offset(), values [KL_KV_PAGE_TOKENS, head_dim] f16
 * right behind them. (24 layers, 2 heads of 64: 384 KiB a page, 12 KiB a token.)
 */
#ifndef KL_MODEL_KV_CACHE_H
#define KL_MODEL_KV_CACHE_H

#include "model/model.h"

struct kl_sequence {
    struct kl_kv_cache *cache;
    uint16_t **pages;
    size_t n_pages;
    size_t pages_allocated; /* length of the array */
    size_t length;          /* tokens */
    size_t pending;         /* tokens of the running forward pass, not yet part of it */
};

/* Halves from the start of a page to the keys of (layer, head); the values follow after
 * head_dim * KL_KV_PAGE_TOKENS. */
static inline size_t kl_kv_offset(const struct kl_config *c, size_t layer, size_t head)
{
    return (layer * c->n_kv_heads + head) * 2 * c->head_dim * KL_KV_PAGE_TOKENS;
}

#endif
