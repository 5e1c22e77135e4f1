#include "grammar/word_store.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"

/* An entry: the next one of its chain, the entry made before it, its hash, its value, the number of
 * its words, its words. */
enum { NEXT, PREVIOUS, HASH, VALUE, N_WORDS, HEADER_WORDS };
enum { FIRST_WORDS = 1024, FIRST_HEADS = 256 };

void kl_word_store_init(struct kl_word_store *s, size_t max_bytes)
{
    *s = (struct kl_word_store){.max_bytes = max_bytes, .failure = KL_OK};
}

void kl_word_store_free(struct kl_word_store *s)
{
    free(s->words);
    free(s->heads);
    kl_word_store_init(s, s->max_bytes);
}

size_t kl_word_store_bytes(const struct kl_word_store *s)
{
    return (s->room + s->n_heads) * sizeof(uint32_t);
}

static bool fail(struct kl_word_store *s, enum kl_status status)
{
    s->failure = status;
    return false;
}

static bool grow_words(struct kl_word_store *s, size_t need)
{
    size_t room = s->room == 0 ? FIRST_WORDS : s->room;
    while (room < need)
        room *= 2;
    if (room * sizeof *s->words > s->max_bytes || room > UINT32_MAX)
        return fail(s, KL_ERR_LIMIT);
    uint32_t *words = realloc(s->words, room * sizeof *words);
    if (words == NULL)
        return fail(s, KL_ERR_MEMORY);
    s->words = words;
    s->room = room;
    if (s->n == 0)
        s->n = 1; /* no entry has the number 0 */
    return true;
}

/* Chains must stay in the order of creation, newest first, for _release. */
static bool grow_heads(struct kl_word_store *s)
{
    size_t n_heads = s->n_heads == 0 ? FIRST_HEADS : 2 * s->n_heads;
    uint32_t *heads = calloc(n_heads, sizeof *heads);
    if (heads == NULL)
        return fail(s, KL_ERR_MEMORY);
    free(s->heads);
    s->heads = heads;
    s->n_heads = n_heads;
    for (size_t at = 1; at < s->n;) {
        uint32_t *entry = s->words + at, *head = &heads[entry[HASH] & (n_heads - 1)];
        entry[NEXT] = *head;
        *head = (uint32_t)at;
        at += HEADER_WORDS + entry[N_WORDS];
    }
    return true;
}

uint32_t kl_word_store_put(struct kl_word_store *s, const uint32_t *words, size_t n)
{
    if (s->failure != KL_OK)
        return 0;
    uint32_t hash = (uint32_t)kl_hash64(words, n * sizeof *words, 0);
    if (s->n_heads > 0) {
        for (uint32_t at = s->heads[hash & (s->n_heads - 1)]; at != 0; at = s->words[at + NEXT]) {
            const uint32_t *entry = s->words + at;
            if (entry[HASH] == hash && entry[N_WORDS] == n &&
                memcmp(entry + HEADER_WORDS, words, n * sizeof *words) == 0)
                return at;
        }
    }
    if (s->n_entries >= s->n_heads && !grow_heads(s))
        return 0;
    size_t need = (s->n == 0 ? 1 : s->n) + HEADER_WORDS + n;
    if (need > s->room && !grow_words(s, need))
        return 0;
    uint32_t at = (uint32_t)s->n, *entry = s->words + at;
    uint32_t *head = &s->heads[hash & (s->n_heads - 1)];
    entry[NEXT] = *head;
    entry[PREVIOUS] = s->newest;
    entry[HASH] = hash;
    entry[VALUE] = 0;
    entry[N_WORDS] = (uint32_t)n;
    if (n > 0)
        memcpy(entry + HEADER_WORDS, words, n * sizeof *words);
    *head = s->newest = at;
    s->n += HEADER_WORDS + n;
    s->n_entries++;
    return at;
}

const uint32_t *kl_word_store_get(const struct kl_word_store *s, uint32_t entry, size_t *n)
{
    *n = s->words[entry + N_WORDS];
    return s->words + entry + HEADER_WORDS;
}

uint32_t *kl_word_store_value(struct kl_word_store *s, uint32_t entry)
{
    return s->words + entry + VALUE;
}

size_t kl_word_store_mark(const struct kl_word_store *s)
{
    return s->n;
}

void kl_word_store_release(struct kl_word_store *s, size_t mark)
{
    while (s->newest != 0 && s->newest >= mark) {
        const uint32_t *entry = s->words + s->newest;
        s->heads[entry[HASH] & (s->n_heads - 1)] = entry[NEXT];
        s->n = s->newest;
        s->newest = entry[PREVIOUS];
        s->n_entries--;
    }
}
