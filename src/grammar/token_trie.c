#include "grammar/token_trie.h"

#include <stdlib.h>
#include <string.h>

#include "grammar/token_nodes.h"

/* A token to be sorted: by its first bytes as a number, then by the others. */
struct item {
    uint64_t key; /* big-endian, zeros behind the end */
    const char *bytes;
    uint32_t len;
    int32_t id;
};

static uint64_t key_of(const char *bytes, size_t len)
{
    uint64_t key = 0;
    for (size_t i = 0; i < sizeof key; i++)
        key = key << 8 | (i < len ? (uint8_t)bytes[i] : 0);
    return key;
}

static int compare(const void *a, const void *b)
{
    const struct item *x = a, *y = b;
    if (x->key != y->key)
        return x->key < y->key ? -1 : 1;
    int order = memcmp(x->bytes, y->bytes, x->len < y->len ? x->len : y->len);
    return order != 0 ? order : (x->len > y->len) - (x->len < y->len);
}

/* Collects the tokens that a rule can allow by their bytes, and those that end an answer. */
static size_t collect(struct kl_token_trie *trie, struct item *items)
{
    size_t n = 0;
    for (size_t i = 0; i < trie->n_vocab; i++) {
        int32_t id = (int32_t)i;
        size_t len;
        const char *bytes = kl_tokenizer_piece(trie->tokenizer, id, &len);
        if (kl_tokenizer_is_end(trie->tokenizer, id)) {
            if (trie->n_ends < KL_TOKEN_ENDS_MAX)
                trie->ends[trie->n_ends++] = id;
        } else if (len > 0 && !kl_tokenizer_is_control(trie->tokenizer, id)) {
            items[n++] = (struct item){key_of(bytes, len), bytes, (uint32_t)len, id};
        }
    }
    qsort(items, n, sizeof *items, compare);
    return n;
}

static size_t common_prefix(const struct item *a, const struct item *b)
{
    size_t len = a->len < b->len ? a->len : b->len, i = 0;
    while (i < len && a->bytes[i] == b->bytes[i])
        i++;
    return i;
}

static size_t count_nodes(const struct item *items, size_t n)
{
    size_t n_nodes = 0;
    for (size_t i = 0; i < n; i++)
        n_nodes += items[i].len - (i > 0 ? common_prefix(&items[i - 1], &items[i]) : 0);
    return n_nodes;
}

/* path: [max_depth] the open nodes, the deepest last. */
static void fill(struct kl_token_trie *trie, const struct item *items, size_t n, uint32_t *path)
{
    size_t at = 0, depth = 0;
    for (size_t i = 0; i <= n; i++) {
        size_t common = i == 0 || i == n ? 0 : common_prefix(&items[i - 1], &items[i]);
        for (; depth > common; depth--)
            trie->nodes[path[depth - 1]].size = (unsigned)(at - path[depth - 1]) & 0xFFFFFFu;
        if (i == n)
            return;
        for (; depth < items[i].len; at++) {
            path[depth] = (uint32_t)at;
            trie->nodes[at].byte = (uint8_t)items[i].bytes[depth++];
            trie->nodes[at].depth = (unsigned)depth & 0x7FFu;
        }
        trie->nodes[at - 1].token = (unsigned)(items[i].id + 1) & 0x1FFFFFu;
    }
}

static enum kl_status build(struct kl_token_trie *trie, struct item *items, struct kl_error *err)
{
    size_t n = collect(trie, items);
    for (size_t i = 0; i < n; i++)
        trie->max_depth = items[i].len > trie->max_depth ? items[i].len : trie->max_depth;
    trie->n_nodes = count_nodes(items, n);
    if (trie->n_nodes > KL_TOKEN_NODES_MAX)
        return kl_fail(
            err, KL_ERR_LIMIT,
            "the vocabulary makes a trie of %zu nodes; answers by rule are possible with "
            "at most %u",
            trie->n_nodes, KL_TOKEN_NODES_MAX);
    trie->nodes = calloc(trie->n_nodes + 1, sizeof *trie->nodes);
    uint32_t *path = malloc((trie->max_depth + 1) * sizeof *path);
    if (trie->nodes != NULL && path != NULL)
        fill(trie, items, n, path);
    free(path);
    return trie->nodes != NULL && path != NULL
               ? KL_OK
               : kl_fail_memory(err, "the trie of tokens", trie->n_nodes * sizeof *trie->nodes);
}

enum kl_status kl_token_trie_open(const struct kl_tokenizer *tokenizer, struct kl_token_trie **out,
                                  struct kl_error *err)
{
    *out = NULL;
    struct kl_token_trie *trie = calloc(1, sizeof *trie);
    if (trie == NULL)
        return kl_fail_memory(err, "the trie of tokens", sizeof *trie);
    trie->tokenizer = tokenizer;
    trie->n_vocab = kl_tokenizer_size(tokenizer);
    struct item *items = malloc((trie->n_vocab + 1) * sizeof *items);
    enum kl_status status = items != NULL ? build(trie, items, err)
                                          : kl_fail_memory(err, "the trie of tokens",
                                                           (trie->n_vocab + 1) * sizeof *items);
    free(items);
    if (status == KL_OK)
        *out = trie;
    else
        kl_token_trie_close(trie);
    return status;
}

void kl_token_trie_close(struct kl_token_trie *trie)
{
    if (trie == NULL)
        return;
    free(trie->nodes);
    free(trie);
}

size_t kl_token_trie_bytes(const struct kl_token_trie *trie)
{
    return sizeof *trie + (trie->n_nodes + 1) * sizeof *trie->nodes;
}

size_t kl_token_trie_vocab(const struct kl_token_trie *trie)
{
    return trie->n_vocab;
}
