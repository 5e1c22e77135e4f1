#include "text/bpe.h"

#include <stdlib.h>
#include <string.h>

#define MERGES_KEY "tokenizer.ggml.merges"
#define ID_BITS    21
#define NO_RANK    UINT32_MAX
#define NO_NODE    UINT32_MAX
#define EMPTY      UINT64_MAX

/* Up to here a scan for the lowest rank is faster than a heap. */
#define SHORT_PIECE 64

_Static_assert(KL_VOCAB_MAX < 1u << ID_BITS, "ids fit a slot, and no slot can look empty");

static uint64_t pair_of(int32_t left, int32_t right)
{
    return (uint64_t)left << ID_BITS | (uint64_t)right;
}

/* Where the pair is, or the empty slot where it would be. The multiplier is 2^64 divided by the
 * golden ratio (Knuth, TAOCP 6.4). */
static uint64_t *slot_of(const struct kl_bpe *bpe, uint64_t pair)
{
    uint64_t i = (pair * 0x9E3779B97F4A7C15u) >> 32;
    while (true) {
        uint64_t *slot = &bpe->slots[i & bpe->mask];
        if (*slot == EMPTY || *slot >> ID_BITS == pair)
            return slot;
        i++;
    }
}

static uint32_t rank_of(const struct kl_bpe *bpe, int32_t left, int32_t right)
{
    uint64_t slot = *slot_of(bpe, pair_of(left, right));
    return slot == EMPTY ? NO_RANK : (uint32_t)(slot & ((1u << ID_BITS) - 1));
}

static int32_t find_normal(const struct kl_vocab *v, const char *bytes, size_t len)
{
    int32_t id = kl_vocab_find(v, bytes, len);
    return id >= 0 && v->types[id] == KL_TOKEN_NORMAL ? id : -1;
}

static enum kl_status load_merge(struct kl_bpe *bpe, const struct kl_vocab *v, size_t rank,
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
    int32_t result = find_normal(v, raw, left_len + right_len);
    if (left_id < 0 || right_id < 0 || result < 0)
        return kl_fail(err, KL_ERR_FORMAT, MERGES_KEY "[%zu]: its %s is not a token", rank,
                       left_id < 0    ? "first half"
                       : right_id < 0 ? "second half"
                                      : "result");
    uint64_t *slot = slot_of(bpe, pair_of(left_id, right_id));
    if (*slot != EMPTY)
        return kl_fail(err, KL_ERR_FORMAT, MERGES_KEY "[%zu] is there twice, as [%u] too", rank,
                       rank_of(bpe, left_id, right_id));
    *slot = pair_of(left_id, right_id) << ID_BITS | rank;
    bpe->results[rank] = result;
    return KL_OK;
}

static enum kl_status allocate(struct kl_bpe *bpe, size_t n_merges, struct kl_error *err)
{
    size_t n_slots = 64;
    while (n_merges > n_slots / 3 * 2)
        n_slots *= 2;
    bpe->n_merges = n_merges;
    bpe->mask = n_slots - 1;
    bpe->slots = malloc(n_slots * sizeof *bpe->slots);
    bpe->results = malloc((n_merges + 1) * sizeof *bpe->results);
    if (bpe->slots == NULL || bpe->results == NULL)
        return kl_fail_memory(err, "the table of merges",
                              n_slots * sizeof *bpe->slots + n_merges * sizeof *bpe->results);
    memset(bpe->slots, 0xFF, n_slots * sizeof *bpe->slots);
    return KL_OK;
}

enum kl_status kl_bpe_load(struct kl_bpe *bpe, const struct kl_gguf *gguf, const struct kl_vocab *v,
                           struct kl_error *err)
{
    *bpe = (struct kl_bpe){0};
    for (int i = 0; i < 256; i++) {
        char byte = (char)i;
        bpe->byte_ids[i] = find_normal(v, &byte, 1);
        if (bpe->byte_ids[i] < 0)
            return kl_fail(err, KL_ERR_FORMAT,
                           "tokenizer.ggml.tokens has no token for the byte 0x%02X; a byte-level "
                           "vocabulary has one for each of the 256 bytes",
                           (unsigned)i);
    }
    struct kl_gguf_array merges;
    enum kl_status status = kl_gguf_array(gguf, MERGES_KEY, KL_GGUF_STRING, &merges, err);
    if (status != KL_OK)
        return status;
    if (merges.len > KL_VOCAB_MAX)
        return kl_fail(err, KL_ERR_FORMAT, MERGES_KEY " has %llu merges; at most %u are allowed",
                       (unsigned long long)merges.len, KL_VOCAB_MAX);

    status = allocate(bpe, (size_t)merges.len, err);
    struct kl_gguf_string text;
    size_t at = 0;
    for (size_t i = 0; status == KL_OK && kl_gguf_array_next_string(&merges, &at, &text); i++)
        status = load_merge(bpe, v, i, text, err);
    if (status != KL_OK)
        kl_bpe_release(bpe);
    return status;
}

void kl_bpe_release(struct kl_bpe *bpe)
{
    free(bpe->slots);
    free(bpe->results);
    *bpe = (struct kl_bpe){0};
}

static enum kl_status encode_short(const struct kl_bpe *bpe, const char *piece, size_t n,
                                   struct kl_tokens *out)
{
    int32_t ids[SHORT_PIECE];
    uint32_t ranks[SHORT_PIECE]; /* of the pair (i, i + 1) */
    for (size_t i = 0; i < n; i++)
        ids[i] = bpe->byte_ids[(unsigned char)piece[i]];
    for (size_t i = 0; i + 1 < n; i++)
        ranks[i] = rank_of(bpe, ids[i], ids[i + 1]);
    while (n > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < n; i++) {
            if (ranks[i] < ranks[best])
                best = i;
        }
        if (ranks[best] == NO_RANK)
            break;
        ids[best] = bpe->results[ranks[best]];
        memmove(ids + best + 1, ids + best + 2, (n - best - 2) * sizeof *ids);
        memmove(ranks + best, ranks + best + 1, (n - best - 2) * sizeof *ranks);
        n--;
        if (best > 0)
            ranks[best - 1] = rank_of(bpe, ids[best - 1], ids[best]);
        if (best + 1 < n)
            ranks[best] = rank_of(bpe, ids[best], ids[best + 1]);
    }
    enum kl_status status = KL_OK;
    for (size_t i = 0; i < n && status == KL_OK; i++)
        status = kl_tokens_push(out, ids[i]);
    return status;
}

/* A token so far of a long piece. rank: that of the pair with the next one. */
struct kl_bpe_node {
    int32_t id;
    uint32_t rank;
    uint32_t previous;
    uint32_t next;
};

/* The heap's entries are rank and node, compared as one number: the lowest rank first and of
 * equals the leftmost. An entry is out of date when its node has another rank by now. */
struct merge_heap {
    uint64_t *entries;
    size_t n;
};

static void sift_down(struct merge_heap *h, size_t at, uint64_t entry)
{
    while (true) {
        size_t child = 2 * at + 1;
        if (child >= h->n)
            break;
        if (child + 1 < h->n && h->entries[child + 1] < h->entries[child])
            child++;
        if (h->entries[child] >= entry)
            break;
        h->entries[at] = h->entries[child];
        at = child;
    }
    h->entries[at] = entry;
}

static uint64_t heap_pop(struct merge_heap *h)
{
    uint64_t top = h->entries[0];
    h->n--;
    if (h->n > 0)
        sift_down(h, 0, h->entries[h->n]);
    return top;
}

static void heap_push(struct merge_heap *h, uint64_t entry)
{
    size_t at = h->n++;
    while (at > 0 && h->entries[(at - 1) / 2] > entry) {
        h->entries[at] = h->entries[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    h->entries[at] = entry;
}

/* Sets the rank of node i with its next one; true when the two can be merged. */
static bool rank_node(const struct kl_bpe *bpe, struct kl_bpe_node *nodes, uint32_t i)
{
    uint32_t next = nodes[i].next;
    nodes[i].rank = next == NO_NODE ? NO_RANK : rank_of(bpe, nodes[i].id, nodes[next].id);
    return nodes[i].rank != NO_RANK;
}

static uint64_t heap_entry(const struct kl_bpe_node *nodes, uint32_t i)
{
    return (uint64_t)nodes[i].rank << 32 | i;
}

/* Every merge takes one entry out and puts at most two in, so 2 n entries are always enough. */
static enum kl_status reserve(struct kl_bpe_scratch *scratch, size_t n)
{
    if (n <= scratch->allocated)
        return KL_OK;
    kl_bpe_scratch_release(scratch);
    scratch->nodes = malloc(n * sizeof *scratch->nodes);
    scratch->heap = malloc(2 * n * sizeof *scratch->heap);
    if (scratch->nodes == NULL || scratch->heap == NULL) {
        kl_bpe_scratch_release(scratch);
        return KL_ERR_MEMORY;
    }
    scratch->allocated = n;
    return KL_OK;
}

void kl_bpe_scratch_release(struct kl_bpe_scratch *scratch)
{
    free(scratch->nodes);
    free(scratch->heap);
    *scratch = (struct kl_bpe_scratch){0};
}

static void merge_all(const struct kl_bpe *bpe, struct kl_bpe_node *nodes, struct merge_heap *heap)
{
    while (heap->n > 0) {
        uint64_t entry = heap_pop(heap);
        uint32_t i = (uint32_t)entry;
        uint32_t rank = (uint32_t)(entry >> 32);
        if (nodes[i].rank != rank)
            continue;
        uint32_t gone = nodes[i].next;
        nodes[i].id = bpe->results[rank];
        nodes[i].next = nodes[gone].next;
        nodes[gone].rank = NO_RANK;
        if (nodes[i].next != NO_NODE)
            nodes[nodes[i].next].previous = i;

        uint32_t previous = nodes[i].previous;
        if (previous != NO_NODE && rank_node(bpe, nodes, previous))
            heap_push(heap, heap_entry(nodes, previous));
        if (rank_node(bpe, nodes, i))
            heap_push(heap, heap_entry(nodes, i));
    }
}

static enum kl_status encode_long(const struct kl_bpe *bpe, const char *piece, size_t n,
                                  struct kl_bpe_scratch *scratch, struct kl_tokens *out)
{
    enum kl_status status = reserve(scratch, n);
    if (status != KL_OK)
        return status;
    struct kl_bpe_node *nodes = scratch->nodes;
    for (uint32_t i = 0; i < n; i++) {
        nodes[i].id = bpe->byte_ids[(unsigned char)piece[i]];
        nodes[i].previous = i == 0 ? NO_NODE : i - 1;
        nodes[i].next = i + 1 == n ? NO_NODE : i + 1;
    }
    struct merge_heap heap = {.entries = scratch->heap};
    for (uint32_t i = 0; i < n; i++) {
        if (rank_node(bpe, nodes, i))
            heap.entries[heap.n++] = heap_entry(nodes, i);
    }
    for (size_t i = heap.n / 2; i > 0; i--)
        sift_down(&heap, i - 1, heap.entries[i - 1]);
    merge_all(bpe, nodes, &heap);

    for (uint32_t i = 0; i != NO_NODE && status == KL_OK; i = nodes[i].next)
        status = kl_tokens_push(out, nodes[i].id);
    return status;
}

enum kl_status kl_bpe_encode(const struct kl_bpe *bpe, const char *piece, size_t len,
                             struct kl_bpe_scratch *scratch, struct kl_tokens *out)
{
    if (len <= SHORT_PIECE)
        return encode_short(bpe, piece, len, out);
    return encode_long(bpe, piece, len, scratch, out);
}
