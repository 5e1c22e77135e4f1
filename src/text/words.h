/*
 * The short tokens that most pieces are, found with one access to memory. Internal to text/.
 *
 * A hash table whose slots of 16 bytes hold the bytes themselves, so a piece of up to
 * KL_WORD_MAX_BYTES is compared with two words and nothing else is read. Only tokens that merges
 * make of their own bytes are in it: a piece found here needs no merging.
 */
#ifndef KL_TEXT_WORDS_H
#define KL_TEXT_WORDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/error.h"

#define KL_WORD_MAX_BYTES 11

/* The bytes, then zeros, then the length; length 0: empty. */
struct kl_word_key {
    uint64_t head;
    uint32_t tail;
};

struct kl_word_slot {
    uint64_t head;
    uint32_t tail;
    int32_t id;
};

struct kl_words {
    struct kl_word_slot *slots; /* open addressing; [mask + 1] */
    uint64_t mask;
    bool borrowed; /* the slots point into a mapped file and are not freed */
};

/* Room for n words. */
enum kl_status kl_words_init(struct kl_words *words, size_t n, struct kl_error *err);
void kl_words_release(struct kl_words *words);

/* bytes[0..len), 0 < len <= KL_WORD_MAX_BYTES; readable: the number of bytes that may be read from
 * there. */
static inline struct kl_word_key kl_word_key(const char *bytes, size_t len, size_t readable)
{
    uint64_t head = 0;
    uint32_t tail = 0;
    if (readable >= sizeof head + sizeof tail) {
        memcpy(&head, bytes, sizeof head);
        memcpy(&tail, bytes + sizeof head, sizeof tail);
        if (len < sizeof head)
            head &= ((uint64_t)1 << (8 * len)) - 1;
        tail = len <= sizeof head ? 0 : tail & ((1u << (8 * (len - sizeof head))) - 1);
    } else {
        memcpy(&head, bytes, len < sizeof head ? len : sizeof head);
        if (len > sizeof head)
            memcpy(&tail, bytes + sizeof head, len - sizeof head);
    }
    return (struct kl_word_key){head, tail | (uint32_t)len << 24};
}

/* Where the search for a key begins. Multipliers: 2^64 divided by the golden ratio, and the next
 * prime's like (Knuth, TAOCP 6.4). */
static inline uint64_t kl_word_hash(struct kl_word_key key)
{
    uint64_t h = key.head * 0x9E3779B97F4A7C15u + key.tail * 0xD1B54A32D192ED03u;
    return (h ^ h >> 32) * 0x9E3779B97F4A7C15u >> 32;
}

static inline void kl_words_prefetch(const struct kl_words *words, uint64_t hash)
{
    __builtin_prefetch(&words->slots[hash & words->mask]);
}

/* The id, or -1. Borrowed slots can change while they are in use: the search ends all the same, and
 * whether there is such an id is for the caller to check. */
static inline int32_t kl_words_find(const struct kl_words *words, struct kl_word_key key,
                                    uint64_t hash)
{
    for (uint64_t i = 0; i <= words->mask; i++) {
        const struct kl_word_slot *slot = &words->slots[(hash + i) & words->mask];
        if (slot->head == key.head && slot->tail == key.tail)
            return slot->id;
        if (slot->tail == 0)
            return -1;
    }
    return -1;
}

/* A word that is not in it yet. */
void kl_words_add(struct kl_words *words, const char *bytes, size_t len, int32_t id);

#endif
