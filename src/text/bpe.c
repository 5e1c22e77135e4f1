#include "text/bpe.h"

#include <stdlib.h>
#include <string.h>

#include "text/char_tokens.h"

#define MERGES_KEY "tokenizer.ggml.merges"
#define ID_BITS    21
#define NO_RANK    KL_BPE_NO_RANK
#define NONE       0u
#define EMPTY      UINT64_MAX
#define LEN_BITS   11
#define UNLISTED   ((1u << ID_BITS) - 1)

/* Up to here minima of blocks are faster than lists and a heap; places fit PLACE_BITS. */
#define SHORT_PIECE (1 << PLACE_BITS)
#define PLACE_BITS  7
/* Ranks that are compared together: 4 vectors of 16 bytes. */
#define BLOCK 16
/* No merge at this place. */
#define NO_KEY INT32_MAX

_Static_assert(KL_VOCAB_MAX < 1u << ID_BITS, "ids fit a slot, and no slot can look empty");
_Static_assert(KL_VOCAB_MAX < (1u << 31) >> PLACE_BITS, "a rank and a place fit an int32_t");

static uint64_t pair_of(int32_t left, int32_t right)
{
    return (uint64_t)left << ID_BITS | (uint64_t)right;
}

/* The multiplier is 2^64 divided by the golden ratio (Knuth, TAOCP 6.4). */
static uint64_t hash_of(uint64_t pair)
{
    return (pair * 0x9E3779B97F4A7C15u) >> 32;
}

/* Where the pair is, or the empty slot where it would be: of a table that is being filled. */
static uint64_t *slot_of(const struct kl_bpe *bpe, uint64_t pair)
{
    uint64_t i = hash_of(pair);
    while (true) {
        uint64_t *slot = &bpe->slots[i & bpe->mask];
        if (*slot == EMPTY || *slot >> ID_BITS == pair)
            return slot;
        i++;
    }
}

/* Borrowed slots can change while they are in use: the search ends all the same, and a rank is one
 * that there is. */
static uint32_t rank_of(const struct kl_bpe *bpe, int32_t left, int32_t right)
{
    uint64_t pair = pair_of(left, right), hash = hash_of(pair);
    for (uint64_t i = 0; i <= bpe->mask; i++) {
        uint64_t slot = bpe->slots[(hash + i) & bpe->mask];
        if (slot == EMPTY)
            break;
        uint32_t rank = (uint32_t)(slot & ((1u << ID_BITS) - 1));
        if (slot >> ID_BITS == pair)
            return rank < bpe->n_merges ? rank : NO_RANK;
    }
    return NO_RANK;
}

static void prefetch_rank(const struct kl_bpe *bpe, int32_t left, int32_t right)
{
    __builtin_prefetch(&bpe->slots[hash_of(pair_of(left, right)) & bpe->mask]);
}

uint32_t kl_bpe_rank(const struct kl_bpe *bpe, int32_t left, int32_t right)
{
    return rank_of(bpe, left, right);
}

bool kl_bpe_merge_at(const struct kl_bpe *bpe, uint64_t i, struct kl_merge *merge)
{
    const uint64_t field = (1u << ID_BITS) - 1;
    uint64_t slot = bpe->slots[i];
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
static int32_t find_result(const struct kl_bpe *bpe, const struct kl_vocab *v, size_t rank,
                           const char *bytes, size_t len)
{
    size_t likely = rank == 0 ? 256 : (size_t)bpe->results[rank - 1] + 1;
    if (likely < v->n && v->types[likely] == KL_TOKEN_NORMAL) {
        size_t have;
        const char *token = kl_vocab_bytes(v, (int32_t)likely, &have);
        if (have == len && memcmp(token, bytes, len) == 0)
            return (int32_t)likely;
    }
    return find_normal(v, bytes, len);
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
    int32_t result = find_result(bpe, v, rank, raw, left_len + right_len);
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
    bpe->chars = malloc(KL_CHAR_TOKENS * sizeof *bpe->chars);
    if (bpe->slots == NULL || bpe->results == NULL || bpe->chars == NULL)
        return kl_fail_memory(err, "the table of merges",
                              n_slots * sizeof *bpe->slots + n_merges * sizeof *bpe->results);
    memset(bpe->slots, 0xFF, n_slots * sizeof *bpe->slots);
    return KL_OK;
}

void kl_bpe_note_lacking(struct kl_bpe *bpe)
{
    bpe->lacks_bytes = false;
    for (int i = 0; i < 256; i++)
        bpe->lacks_bytes = bpe->lacks_bytes || bpe->byte_ids[i] < 0;
}

enum kl_status kl_bpe_load(struct kl_bpe *bpe, const struct kl_gguf *gguf, const struct kl_vocab *v,
                           struct kl_error *err)
{
    *bpe = (struct kl_bpe){0};
    for (int i = 0; i < 256; i++) {
        char byte = (char)i;
        bpe->byte_ids[i] = find_normal(v, &byte, 1);
    }
    kl_bpe_note_lacking(bpe);
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
    if (status == KL_OK)
        status = kl_char_tokens_make(bpe->chars, bpe, v, err);
    if (status != KL_OK)
        kl_bpe_release(bpe);
    return status;
}

void kl_bpe_release(struct kl_bpe *bpe)
{
    if (!bpe->borrowed) {
        free(bpe->slots);
        free(bpe->results);
        free(bpe->chars);
    }
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
    int32_t id = bpe->results[rank];
    if (at > 0)
        prefetch_rank(bpe, s->ids[s->previous[at]], id);
    s->ids[at] = id;
    s->next[at] = (uint8_t)next;
    s->previous[next] = (uint8_t)at;
    s->keys[gone] = NO_KEY;
    s->keys[at] = next < n ? key_of(rank_of(bpe, id, s->ids[next]), at) : NO_KEY;
    if (at > 0) {
        size_t previous = s->previous[at];
        s->keys[previous] = key_of(rank_of(bpe, s->ids[previous], id), previous);
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
            id = bpe->byte_ids[bytes[at]];
            step = 1;
        }
        s->ids[n] = id;
        if (n > 0)
            prefetch_rank(bpe, s->ids[n - 1], id);
        s->previous[n] = (uint8_t)(n - 1);
        s->next[n] = (uint8_t)(n + 1);
    }
    for (size_t i = 0; i + 1 < n; i++)
        s->keys[i] = key_of(rank_of(bpe, s->ids[i], s->ids[i + 1]), i);
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
    uint32_t rank = rank_of(bpe, (int32_t)node->id, (int32_t)s->nodes[next].id);
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
    nodes[i].id = (uint32_t)bpe->results[nodes[i].rank] & UNLISTED;
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
    s->lists = calloc(bpe->n_merges + 1, sizeof *s->lists);
    s->heap = malloc((bpe->n_merges + 1) * sizeof *s->heap);
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
        int32_t id = bpe->byte_ids[(unsigned char)piece[i]];
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
    for (size_t i = 0; bpe->lacks_bytes && i < len; i++) {
        if (bpe->byte_ids[(unsigned char)piece[i]] < 0)
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
