#include "text/merges.h"

#include <stdlib.h>
#include <string.h>

#define MERGES_KEY "tokenizer.ggml.merges"
#define ID_BITS    KL_MERGE_ID_BITS
#define EMPTY      KL_MERGE_EMPTY

/* The slot of the pair, or the empty slot where it belongs, while the table is being filled. */
static uint64_t *slot_of(const struct kl_merges *m, uint64_t pair)
{
    uint64_t i = kl_merge_hash(pair);
    while (true) {
        uint64_t *slot = &m->slots[i & m->mask];
        if (*slot == EMPTY || *slot >> ID_BITS == pair)
            return slot;
        i++;
    }
}

bool kl_merges_at(const struct kl_merges *m, uint64_t i, struct kl_merge *merge)
{
    const uint64_t field = (1u << ID_BITS) - 1;
    uint64_t slot = m->slots[i];
    *merge = (struct kl_merge){.left = (int32_t)(slot >> (2 * ID_BITS) & field),
                               .right = (int32_t)(slot >> ID_BITS & field),
                               .rank = (uint32_t)(slot & field)};
    return slot != EMPTY;
}

static int32_t find_normal(const struct kl_vocab *v, const char *bytes, size_t len)
{
    int32_t id = kl_vocab_find(v, bytes, len);
    return id >= 0 && v->types[id] == KL_TOKEN_NORMAL ? id : -1;
}

/* The token that a merge makes. Vocabularies are written in the order of their merges, so it is
 * nearly always the one after that of the merge before, which is seen without a search. */
static int32_t find_result(const struct kl_merges *m, const struct kl_vocab *v, size_t rank,
                           const char *bytes, size_t len)
{
    size_t likely = rank == 0 ? 256 : (size_t)m->results[rank - 1] + 1;
    if (likely < v->n && v->types[likely] == KL_TOKEN_NORMAL) {
        size_t have;
        const char *token = kl_vocab_bytes(v, (int32_t)likely, &have);
        if (have == len && memcmp(token, bytes, len) == 0)
            return (int32_t)likely;
    }
    return find_normal(v, bytes, len);
}

static enum kl_status load_merge(struct kl_merges *m, const struct kl_vocab *v, size_t rank,
                                 struct kl_gguf_string text, struct kl_error *err)
{
    char raw[2 * KL_TOKEN_MAX_BYTES];
    size_t left_len, right_len;
    const char *space = memchr(text.data, ' ', text.len);
    if (space == NULL || text.len > sizeof raw)
        return kl_fail(err, KL_ERR_FORMAT,
                       MERGES_KEY "[%zu] is not two tokens with a space between them", rank);
    struct kl_gguf_string left = {.data = text.data, .len = (size_t)(space - text.data)};
    struct kl_gguf_string right = {.data = space + 1, .len = text.len - left.len - 1};
    if (!kl_byte_alphabet_decode(left, raw, &left_len) ||
        !kl_byte_alphabet_decode(right, raw + left_len, &right_len))
        return kl_fail(err, KL_ERR_FORMAT,
                       MERGES_KEY "[%zu] has a character that is not one of the 256 of the "
                                  "byte-level alphabet",
                       rank);

    int32_t left_id = find_normal(v, raw, left_len);
    int32_t right_id = find_normal(v, raw + left_len, right_len);
    int32_t result = find_result(m, v, rank, raw, left_len + right_len);
    if (left_id < 0 || right_id < 0 || result < 0)
        return kl_fail(err, KL_ERR_FORMAT, MERGES_KEY "[%zu]: its %s is not a token", rank,
                       left_id < 0    ? "first half"
                       : right_id < 0 ? "second half"
                                      : "result");
    uint64_t *slot = slot_of(m, kl_merge_pair(left_id, right_id));
    if (*slot != EMPTY)
        return kl_fail(err, KL_ERR_FORMAT, MERGES_KEY "[%zu] is there twice, as [%u] too", rank,
                       kl_merges_rank(m, left_id, right_id));
    *slot = kl_merge_pair(left_id, right_id) << ID_BITS | rank;
    m->results[rank] = result;
    return KL_OK;
}

static enum kl_status allocate(struct kl_merges *m, size_t n_merges, struct kl_error *err)
{
    size_t n_slots = 64;
    while (n_merges > n_slots / 3 * 2)
        n_slots *= 2;
    m->n = n_merges;
    m->mask = n_slots - 1;
    m->slots = malloc(n_slots * sizeof *m->slots);
    m->results = malloc((n_merges + 1) * sizeof *m->results);
    if (m->slots == NULL || m->results == NULL)
        return kl_fail_memory(err, "the table of merges",
                              n_slots * sizeof *m->slots + n_merges * sizeof *m->results);
    memset(m->slots, 0xFF, n_slots * sizeof *m->slots);
    return KL_OK;
}

void kl_merges_note_lacking(struct kl_merges *m)
{
    m->lacks_bytes = false;
    for (int i = 0; i < 256; i++)
        m->lacks_bytes = m->lacks_bytes || m->byte_ids[i] < 0;
}

enum kl_status kl_merges_load(struct kl_merges *m, const struct kl_gguf *gguf,
                              const struct kl_vocab *v, struct kl_error *err)
{
    *m = (struct kl_merges){0};
    for (int i = 0; i < 256; i++) {
        char byte = (char)i;
        m->byte_ids[i] = find_normal(v, &byte, 1);
    }
    kl_merges_note_lacking(m);
    struct kl_gguf_array merges;
    enum kl_status status = kl_gguf_array(gguf, MERGES_KEY, KL_GGUF_STRING, &merges, err);
    if (status != KL_OK)
        return status;
    if (merges.len > KL_VOCAB_MAX)
        return kl_fail(err, KL_ERR_FORMAT, MERGES_KEY " has %llu merges; at most %u are allowed",
                       (unsigned long long)merges.len, KL_VOCAB_MAX);

    status = allocate(m, (size_t)merges.len, err);
    struct kl_gguf_string text;
    size_t at = 0;
    for (size_t i = 0; status == KL_OK && kl_gguf_array_next_string(&merges, &at, &text); i++)
        status = load_merge(m, v, i, text, err);
    if (status != KL_OK)
        kl_merges_release(m);
    return status;
}

void kl_merges_release(struct kl_merges *m)
{
    if (!m->borrowed) {
        free(m->slots);
        free(m->results);
    }
    *m = (struct kl_merges){0};
}
