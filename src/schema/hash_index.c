#include "schema/hash_index.h"

#include <stdlib.h>

#define FIRST_ROOM 64

void kl_hash_index_release(struct kl_hash_index *index)
{
    free(index->slots);
    *index = (struct kl_hash_index){0};
}

static void put(struct kl_hash_index *index, uint64_t hash, uint32_t value)
{
    size_t at = hash & (index->room - 1);
    while (index->slots[at].used)
        at = (at + 1) & (index->room - 1);
    index->slots[at] = (struct kl_hash_index_slot){.hash = hash, .value = value, .used = true};
    index->n++;
}

static enum kl_status grow(struct kl_hash_index *index, struct kl_error *err)
{
    struct kl_hash_index wider = {.room = index->room == 0 ? FIRST_ROOM : index->room * 2};
    wider.slots = calloc(wider.room, sizeof(*wider.slots));
    if (wider.slots == NULL)
        return kl_fail_memory(err, "an index of a schema", wider.room * sizeof(*wider.slots));
    for (size_t i = 0; i < index->room; i++)
        if (index->slots[i].used)
            put(&wider, index->slots[i].hash, index->slots[i].value);
    free(index->slots);
    *index = wider;
    return KL_OK;
}

enum kl_status kl_hash_index_add(struct kl_hash_index *index, uint64_t hash, uint32_t value,
                                 struct kl_error *err)
{
    if (index->n * 2 >= index->room) {
        enum kl_status status = grow(index, err);
        if (status != KL_OK)
            return status;
    }
    put(index, hash, value);
    return KL_OK;
}

bool kl_hash_index_next(const struct kl_hash_index *index, uint64_t hash, size_t *at,
                        uint32_t *value)
{
    if (index->room == 0)
        return false;
    size_t mask = index->room - 1;
    for (;; ++*at) {
        const struct kl_hash_index_slot *slot = &index->slots[(hash + *at) & mask];
        if (!slot->used)
            return false;
        if (slot->hash == hash) {
            *value = slot->value;
            ++*at;
            return true;
        }
    }
}
