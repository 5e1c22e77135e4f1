#include "grammar/mask_cache.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"

#define N_SLOTS (2 * (size_t)KL_MASK_CACHE_ENTRIES)

void kl_mask_cache_init(struct kl_mask_cache *c, size_t n_words)
{
    *c = (struct kl_mask_cache){.n_words = n_words};
}

static void empty(struct kl_mask_cache *c)
{
    for (size_t i = 0; i < c->n; i++) {
        free(c->entries[i].ids);
        free(c->entries[i].mask);
    }
    memset(c->slots, 0, sizeof c->slots);
    c->n = 0;
    c->bytes = 0;
}

void kl_mask_cache_release(struct kl_mask_cache *c)
{
    empty(c);
    free(c->entries);
    c->entries = NULL;
}

size_t kl_mask_cache_bytes(const struct kl_mask_cache *c)
{
    return c->bytes + (c->entries != NULL ? KL_MASK_CACHE_ENTRIES * sizeof *c->entries : 0);
}

/* The slot where the state is, or the empty one where it would be. */
static size_t slot_of(const struct kl_mask_cache *c, const struct kl_rule_state *state)
{
    size_t slot = (size_t)kl_hash64(state, sizeof *state, 0) % N_SLOTS;
    while (c->slots[slot] != 0 &&
           memcmp(&c->entries[c->slots[slot] - 1].state, state, sizeof *state) != 0)
        slot = (slot + 1) % N_SLOTS;
    return slot;
}

bool kl_mask_cache_get(const struct kl_mask_cache *c, const struct kl_rule_state *state,
                       uint64_t *mask, size_t *n_allowed)
{
    size_t index = c->slots[slot_of(c, state)];
    if (index == 0)
        return false;
    const struct kl_mask_entry *e = &c->entries[index - 1];
    *n_allowed = e->n_allowed;
    if (e->mask != NULL) {
        memcpy(mask, e->mask, c->n_words * sizeof *mask);
        return true;
    }
    memset(mask, 0, c->n_words * sizeof *mask);
    for (size_t i = 0; i < e->n_allowed; i++)
        mask[e->ids[i] / 64] |= (uint64_t)1 << e->ids[i] % 64;
    return true;
}

static void list_ids(const uint64_t *mask, size_t n_words, uint32_t *ids)
{
    for (size_t i = 0; i < n_words; i++) {
        for (uint64_t rest = mask[i]; rest != 0; rest &= rest - 1)
            *ids++ = (uint32_t)(i * 64 + (size_t)__builtin_ctzll(rest));
    }
}

void kl_mask_cache_put(struct kl_mask_cache *c, const struct kl_rule_state *state,
                       const uint64_t *mask, size_t n_allowed)
{
    size_t as_mask = c->n_words * sizeof *mask, as_ids = (n_allowed + 1) * sizeof(uint32_t);
    size_t bytes = as_ids < as_mask ? as_ids : as_mask;
    if (c->n == KL_MASK_CACHE_ENTRIES || c->bytes + bytes > KL_MASK_CACHE_BYTES)
        empty(c);
    if (c->entries == NULL)
        c->entries = malloc(KL_MASK_CACHE_ENTRIES * sizeof *c->entries);
    void *data = malloc(bytes);
    if (c->entries == NULL || data == NULL) {
        free(data);
        return;
    }
    struct kl_mask_entry *e = &c->entries[c->n];
    *e = (struct kl_mask_entry){.state = *state, .n_allowed = n_allowed};
    if (as_ids < as_mask)
        list_ids(mask, c->n_words, e->ids = data);
    else
        memcpy(e->mask = data, mask, as_mask);
    c->slots[slot_of(c, state)] = (uint16_t)++c->n;
    c->bytes += bytes;
}
