#include "text/words.h"

#include <stdlib.h>

enum kl_status kl_words_init(struct kl_words *words, size_t n, struct kl_error *err)
{
    size_t n_slots = 64;
    while (n > n_slots / 3 * 2)
        n_slots *= 2;
    *words = (struct kl_words){.slots = calloc(n_slots, sizeof *words->slots), .mask = n_slots - 1};
    if (words->slots == NULL)
        return kl_fail_memory(err, "the table of words", n_slots * sizeof *words->slots);
    return KL_OK;
}

void kl_words_release(struct kl_words *words)
{
    if (!words->borrowed)
        free(words->slots);
    *words = (struct kl_words){0};
}

void kl_words_add(struct kl_words *words, const char *bytes, size_t len, int32_t id)
{
    struct kl_word_key key = kl_word_key(bytes, len, len);
    uint64_t i = kl_word_hash(key);
    while (words->slots[i & words->mask].tail != 0)
        i++;
    words->slots[i & words->mask] =
        (struct kl_word_slot){.head = key.head, .tail = key.tail, .id = id};
}
