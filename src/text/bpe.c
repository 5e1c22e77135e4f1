#include "text/bpe.h"

#include <stdlib.h>
#include <string.h>

#include "text/char_tokens.h"

#define ID_BITS  KL_MERGE_ID_BITS
#define NO_RANK  KL_MERGE_NO_RANK
#define NONE     0u
#define LEN_BITS 11
#define UNLISTED ((1u << ID_BITS) - 1)

/* Up to here minima of blocks are faster than lists and a heap; places fit PLACE_BITS. */
#define SHORT_PIECE (1 << PLACE_BITS)
#define PLACE_BITS  7
/* Ranks that are compared together: 4 vectors of 16 bytes. */
#define BLOCK 16
/* No merge at this place. */
#define NO_KEY INT32_MAX

_Static_assert(KL_VOCAB_MAX < (1u << 31) >> PLACE_BITS, "a rank and a place fit an int32_t");

enum kl_status kl_bpe_load(struct kl_bpe *bpe, const struct kl_gguf *gguf, const struct kl_vocab *v,
                           struct kl_error *err)
{
    *bpe = (struct kl_bpe){0};
    enum kl_status status = kl_merges_load(&bpe->merges, gguf, v, err);
    if (status != KL_OK)
        return status;
    bpe->chars = malloc(KL_CHAR_TOKENS * sizeof *bpe->chars);
    status = bpe->chars != NULL ? kl_char_tokens_make(bpe->chars, &bpe->merges, v, err)
                                : kl_fail_memory(err, "the table of characters",
                                                 KL_CHAR_TOKENS * sizeof *bpe->chars);
    if (status != KL_OK)
        kl_bpe_release(bpe);
    return status;
}

void kl_bpe_release(struct kl_bpe *bpe)
{
    if (!bpe->merges.borrowed)
        free(bpe->chars);
    kl_merges_release(&bpe->merges);
    *bpe = (struct kl_bpe){0};
}

/* A short piece while it is merged. Tokens stay at the place of their first part; a key is the rank
 * of the merge with the next token and, below it, the place: the least key is the merge to do, the
 * leftmost of equals. */
struct short_piece {
    int32_t keys[SHORT_PIECE];
    int32_t least[SHORT_PIECE / BLOCK]; /* of each block of keys */
    int32_t ids[SHORT_PIECE];
    uint8_t previous[SHORT_PIECE + 1], next[SHORT_PIECE + 1];
};

static int32_t key_of(uint32_t rank, size_t place)
{
    return rank == NO_RANK ? NO_KEY : (int32_t)(rank << PLACE_BITS | (uint32_t)place);
}

static int32_t least_of(const int32_t *keys, size_t n)
{
    int32_t least = NO_KEY;
    for (size_t i = 0; i < n; i++)
        least = keys[i] < least ? keys[i] : least;
    return least;
}

static void update_least(struct short_piece *s, size_t place)
{
    size_t block = place / BLOCK;
    s->least[block] = least_of(s->keys + block * BLOCK, BLOCK);
}

/* Joins the token at `at` with the next one. */
static void merge_short(const struct kl_bpe *bpe, struct short_piece *s, size_t n, size_t at,
                        uint32_t rank)
{
    size_t gone = s->next[at], next = s->next[gone];
    int32_t id = bpe->merges.results[rank];
    if (at > 0)
        kl_merges_prefetch(&bpe->merges, s->ids[s->previous[at]], id);
    s->ids[at] = id;
    s->next[at] = (uint8_t)next;
    s->previous[next] = (uint8_t)at;
    s->keys[gone] = NO_KEY;
    s->keys[at] = next < n ? key_of(kl_merges_rank(&bpe->merges, id, s->ids[next]), at) : NO_KEY;
    if (at > 0) {
        size_t previous = s->previous[at];
        s->keys[previous] = key_of(kl_merges_rank(&bpe->merges, s->ids[previous], id), previous);
        if (previous / BLOCK != at / BLOCK)
            update_least(s, previous);
    }
    if (gone / BLOCK != at / BLOCK)
        update_least(s, gone);
    update_least(s, at);
}

/* The tokens to begin with: characters that are one, else bytes. Their number, or 0: too many. */
static size_t begin_short(const struct kl_bpe *bpe, struct short_piece *s,
                          const unsigned char *bytes, size_t len)
{
    size_t n = 0;
    for (size_t at = 0, step; at < len; at += step, n++) {
        if (n == SHORT_PIECE)
            return 0;
        int32_t id = bytes[at] < 0x80 ? -1 : kl_char_token(bpe->chars, bytes, at, len, &step);
        if (id < 0) {
            id = bpe->merges.byte_ids[bytes[at]];
            step = 1;
        }
        s->ids[n] = id;
        if (n > 0)
            kl_merges_prefetch(&bpe->merges, s->ids[n - 1], id);
        s->previous[n] = (uint8_t)(n - 1);
        s->next[n] = (uint8_t)(n + 1);
    }
    for (size_t i = 0; i + 1 < n; i++)
        s->keys[i] = key_of(kl_merges_rank(&bpe->merges, s->ids[i], s->ids[i + 1]), i);
    return n;
}

/* *done: false when the piece is too long for this. */
static enum kl_status encode_short(const struct kl_bpe *bpe, const char *piece, size_t len,
                                   struct kl_tokens *out, bool *done)
{
    struct short_piece s;
    size_t n = begin_short(bpe, &s, (const unsigned char *)piece, len);
    *done = n > 0;
    if (n == 0)
        return KL_OK;
    size_t n_blocks = (n + BLOCK - 1) / BLOCK;
    for (size_t i = n - 1; i < n_blocks * BLOCK; i++)
        s.keys[i] = NO_KEY;
    for (size_t i = 0; i < n_blocks; i++)
        update_least(&s, i * BLOCK);

    while (true) {
        int32_t key = least_of(s.least, n_blocks);
        if (key == NO_KEY)
            break;
        merge_short(bpe, &s, n, (size_t)key % SHORT_PIECE, (uint32_t)key >> PLACE_BITS);
    }
    enum kl_status status = KL_OK;
    for (size_t i = 0; i < n && status == KL_OK; i = s.next[i])
        status = kl_tokens_push(out, s.ids[i]);
    return status;
}

/* A token so far of a long piece. Nodes are counted from 1; 0 (NONE) is no node. A node that can be
 * merged with the next one is in the list of that merge's rank. */
struct kl_bpe_node {
    uint64_t id : ID_BITS;
    uint64_t rank : ID_BITS;      /* of the pair with the next node; UNLISTED: in no list */
    uint64_t len : LEN_BITS;      /* nodes that have become this one: the next stands behind them */
    uint64_t len_here : LEN_BITS; /* of the token whose last node this was to begin with */
    uint32_t list_previous;
    uint32_t list_next;
};
_Static_assert(sizeof(struct kl_bpe_node) == 16, "a long piece takes 16 bytes for each byte");
_Static_assert(KL_TOKEN_MAX_BYTES < 1u << LEN_BITS, "a token's length fits");
_Static_assert(KL_VOCAB_MAX <= UNLISTED, "no rank looks like none");

static uint32_t next_node(const struct kl_bpe_scratch *s, uint32_t i)
{
    uint32_t next = i + s->nodes[i].len;
    return next <= s->n_nodes ? next : NONE;
}

static uint32_t previous_node(const struct kl_bpe_scratch *s, uint32_t i)
{
    return i > 1 ? i - s->nodes[i - 1].len_here : NONE;
}

static void set_len(struct kl_bpe_scratch *s, uint32_t i, uint32_t len)
{
    s->nodes[i].len = len & ((1u << LEN_BITS) - 1);
    s->nodes[i + len - 1].len_here = s->nodes[i].len;
}

/* The nodes where the merge of one rank can be done, from left to right. */
struct kl_bpe_list {
    uint32_t first;
    uint32_t last;
    bool queued; /* its rank is in the heap */
};

/* A heap with the lowest rank on top; each rank is in it once at most. */
static void heap_push(struct kl_bpe_scratch *s, uint32_t rank)
{
    size_t at = s->n_heap++;
    while (at > 0 && s->heap[(at - 1) / 2] > rank) {
        s->heap[at] = s->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    s->heap[at] = rank;
}

static void heap_pop(struct kl_bpe_scratch *s)
{
    uint32_t rank = s->heap[--s->n_heap];
    size_t at = 0;
    for (size_t child = 1; child < s->n_heap; child = 2 * at + 1) {
        if (child + 1 < s->n_heap && s->heap[child + 1] < s->heap[child])
            child++;
        if (s->heap[child] >= rank)
            break;
        s->heap[at] = s->heap[child];
        at = child;
    }
    s->heap[at] = rank;
}

/* Takes a node out of its list, if it is in one. */
static void unlist(struct kl_bpe_scratch *s, uint32_t i)
{
    struct kl_bpe_node *node = &s->nodes[i];
    if (node->rank == UNLISTED)
        return;
    struct kl_bpe_list *list = &s->lists[node->rank];
    if (node->list_previous == NONE)
        list->first = node->list_next;
    else
        s->nodes[node->list_previous].list_next = node->list_next;
    if (node->list_next == NONE)
        list->last = node->list_previous;
    else
        s->nodes[node->list_next].list_previous = node->list_previous;
    node->rank = UNLISTED;
}

/* Finds the rank of a node, which is in no list, and puts it at the end of the list of that. There
 * it is in its place: which merges make a token depends on its bytes alone, so all the places of a
 * pair come up in the sweep, from left to right, over the last merge that makes one of its halves.
 * (tests/unit/text/test_bpe.c tries it with random merges.) */
static void enlist(const struct kl_bpe *bpe, struct kl_bpe_scratch *s, uint32_t i)
{
    struct kl_bpe_node *node = &s->nodes[i];
    uint32_t next = next_node(s, i);
    if (next == NONE)
        return;
    uint32_t rank = kl_merges_rank(&bpe->merges, (int32_t)node->id, (int32_t)s->nodes[next].id);
    if (rank == NO_RANK)
        return;
    node->rank = rank & UNLISTED;
    struct kl_bpe_list *list = &s->lists[rank];
    node->list_previous = list->last;
    node->list_next = NONE;
    if (list->last == NONE)
        list->first = i;
    else
        s->nodes[list->last].list_next = i;
    list->last = i;
    if (!list->queued) {
        list->queued = true;
        heap_push(s, rank);
    }
}

/* Joins node i with the next one. */
static void merge(const struct kl_bpe *bpe, struct kl_bpe_scratch *s, uint32_t i)
{
    struct kl_bpe_node *nodes = s->nodes;
    uint32_t gone = next_node(s, i);
    uint32_t previous = previous_node(s, i);
    nodes[i].id = (uint32_t)bpe->merges.results[nodes[i].rank] & UNLISTED;
    unlist(s, i);
    unlist(s, gone);
    set_len(s, i, nodes[i].len + nodes[gone].len);
    if (previous != NONE) {
        unlist(s, previous);
        enlist(bpe, s, previous);
    }
    enlist(bpe, s, i);
}

static enum kl_status reserve(const struct kl_bpe *bpe, struct kl_bpe_scratch *s, size_t n)
{
    if (n <= s->allocated)
        return KL_OK;
    kl_bpe_scratch_release(s);
    s->nodes = malloc((n + 1) * sizeof *s->nodes);
    s->lists = calloc(bpe->merges.n + 1, sizeof *s->lists);
    s->heap = malloc((bpe->merges.n + 1) * sizeof *s->heap);
    if (s->nodes == NULL || s->lists == NULL || s->heap == NULL) {
        kl_bpe_scratch_release(s);
        return KL_ERR_MEMORY;
    }
    s->allocated = n;
    return KL_OK;
}

void kl_bpe_scratch_release(struct kl_bpe_scratch *scratch)
{
    free(scratch->nodes);
    free(scratch->lists);
    free(scratch->heap);
    *scratch = (struct kl_bpe_scratch){0};
}

enum kl_status kl_bpe_begin(const struct kl_bpe *bpe, const char *piece, size_t len,
                            struct kl_bpe_scratch *s)
{
    enum kl_status status = reserve(bpe, s, len);
    if (status != KL_OK)
        return status;
    uint32_t n = 0;
    for (size_t i = 0; i < len; i++) {
        int32_t id = bpe->merges.byte_ids[(unsigned char)piece[i]];
        if (id < 0)
            continue;
        s->nodes[++n] = (struct kl_bpe_node){
            .id = (uint32_t)id & UNLISTED, .rank = UNLISTED, .len = 1, .len_here = 1};
    }
    s->n_nodes = n;
    s->n_enlisted = 0;
    return KL_OK;
}

bool kl_bpe_step(const struct kl_bpe *bpe, struct kl_bpe_scratch *s, size_t *effort)
{
    for (; s->n_enlisted<s->n_nodes && * effort> 0; --*effort)
        enlist(bpe, s, (uint32_t)++s->n_enlisted);
    while (s->n_heap > 0 && *effort > 0) {
        struct kl_bpe_list *list = &s->lists[s->heap[0]];
        if (list->first == NONE) {
            list->queued = false;
            heap_pop(s);
        } else {
            merge(bpe, s, list->first);
        }
        --*effort;
    }
    return s->n_enlisted == s->n_nodes && s->n_heap == 0;
}

enum kl_status kl_bpe_finish(const struct kl_bpe_scratch *s, struct kl_tokens *out)
{
    enum kl_status status = KL_OK;
    for (uint32_t i = s->n_nodes > 0 ? 1 : NONE; i != NONE && status == KL_OK; i = next_node(s, i))
        status = kl_tokens_push(out, (int32_t)s->nodes[i].id);
    return status;
}

static enum kl_status encode_long(const struct kl_bpe *bpe, const char *piece, size_t len,
                                  struct kl_bpe_scratch *s, struct kl_tokens *out)
{
    size_t effort = SIZE_MAX;
    enum kl_status status = kl_bpe_begin(bpe, piece, len, s);
    if (status != KL_OK)
        return status;
    kl_bpe_step(bpe, s, &effort);
    return kl_bpe_finish(s, out);
}

/* Whether the piece has a byte without a token. */
static bool lacks_one_of(const struct kl_bpe *bpe, const char *piece, size_t len)
{
    for (size_t i = 0; bpe->merges.lacks_bytes && i < len; i++) {
        if (bpe->merges.byte_ids[(unsigned char)piece[i]] < 0)
            return true;
    }
    return false;
}

enum kl_status kl_bpe_encode(const struct kl_bpe *bpe, const char *piece, size_t len,
                             struct kl_bpe_scratch *scratch, struct kl_tokens *out)
{
    bool done = false;
    enum kl_status status = KL_OK;
    if (len <= 3 * SHORT_PIECE && !lacks_one_of(bpe, piece, len)) /* of characters of three bytes */
        status = encode_short(bpe, piece, len, out, &done);
    return done ? status : encode_long(bpe, piece, len, scratch, out);
}
