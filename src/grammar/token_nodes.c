#include "grammar/token_nodes.h"

#include <stdlib.h>
#include <string.h>

struct kl_token_item kl_token_item(const char *bytes, size_t len, uint32_t value)
{
    struct kl_token_item item = {.bytes = bytes, .len = (uint32_t)len, .value = value};
    for (size_t i = 0; i < sizeof item.key; i++)
        item.key = item.key << 8 | (i < len ? (uint8_t)bytes[i] : 0);
    return item;
}

/* Of two with equal keys. */
static int compare(const void *a, const void *b)
{
    const struct kl_token_item *x = a, *y = b;
    int order = memcmp(x->bytes, y->bytes, x->len < y->len ? x->len : y->len);
    if (order == 0)
        order = (x->len > y->len) - (x->len < y->len);
    return order != 0 ? order : (x->value > y->value) - (x->value < y->value);
}

/* One pass of a radix sort: by byte `place` of the keys. */
static void sort_by(const struct kl_token_item *from, struct kl_token_item *to, size_t n,
                    unsigned place)
{
    size_t at[257] = {0};
    for (size_t i = 0; i < n; i++)
        at[(from[i].key >> 8 * place & 0xFF) + 1]++;
    for (size_t byte = 1; byte < 256; byte++)
        at[byte] += at[byte - 1];
    for (size_t i = 0; i < n; i++)
        to[at[from[i].key >> 8 * place & 0xFF]++] = from[i];
}

enum kl_status kl_token_items_sort(struct kl_token_item *items, size_t n, struct kl_error *err)
{
    struct kl_token_item *other = malloc((n + 1) * sizeof *other);
    if (other == NULL)
        return kl_fail_memory(err, "the trie of tokens", (n + 1) * sizeof *other);
    for (unsigned place = 0; place < sizeof items->key; place += 2) {
        sort_by(items, other, n, place);
        sort_by(other, items, n, place + 1);
    }
    free(other);
    for (size_t first = 0, i = 1; i <= n; i++) {
        if (i < n && items[i].key == items[first].key)
            continue;
        qsort(items + first, i - first, sizeof *items, compare);
        first = i;
    }
    return KL_OK;
}

static size_t common_prefix(const struct kl_token_item *a, const struct kl_token_item *b)
{
    size_t len = a->len < b->len ? a->len : b->len, i = 0;
    while (i < len && a->bytes[i] == b->bytes[i])
        i++;
    return i;
}

static void measure(struct kl_token_nodes *trie, const struct kl_token_item *items, size_t n)
{
    *trie = (struct kl_token_nodes){0};
    for (size_t i = 0; i < n; i++) {
        size_t common = i > 0 ? common_prefix(&items[i - 1], &items[i]) : 0;
        trie->n += items[i].len - common;
        trie->n_roots += common == 0;
        trie->max_depth = items[i].len > trie->max_depth ? items[i].len : trie->max_depth;
    }
}

/* The nodes in depth-first order, without their places. path: [max_depth] the nodes whose subtree
 * is not complete, by depth. */
static void draft(struct kl_node_draft *drafts, const struct kl_token_item *items, size_t n,
                  uint32_t *path)
{
    uint32_t at = 0, depth = 0;
    for (size_t i = 0; i <= n; i++) {
        size_t common = i > 0 && i < n ? common_prefix(&items[i - 1], &items[i]) : 0;
        for (; depth > common; depth--)
            drafts[path[depth - 1]].size = at - path[depth - 1];
        if (i == n)
            return;
        for (; depth < items[i].len; at++) {
            path[depth] = at;
            drafts[at].byte = (uint8_t)items[i].bytes[depth++];
            drafts[at].depth = (uint16_t)depth;
        }
        drafts[at - 1].value = items[i].value + 1;
    }
}

/* Gives the nodes their places: each block of children when its parent comes by. */
static void arrange(struct kl_token_nodes *trie, struct kl_node_draft *drafts)
{
    uint32_t place = 0;
    for (size_t i = 0; i < trie->n; i += drafts[i].size)
        drafts[i].place = place++;
    for (size_t i = 0; i < trie->n; i++) {
        struct kl_token_node *node = &trie->nodes[drafts[i].place];
        uint32_t first = place;
        for (size_t child = i + 1; child < i + drafts[i].size; child += drafts[child].size)
            drafts[child].place = place++;
        node->value = drafts[i].value & 0x1FFFFFu;
        node->n = (place - first) & 0x1FFu;
        node->is_large = drafts[i].size >= KL_SPAN_MIN;
        node->first = first & 0xFFFFFFu;
        node->byte = drafts[i].byte;
    }
}

static bool make(struct kl_token_nodes *trie, const struct kl_token_item *items, size_t n)
{
    struct kl_node_draft *drafts = calloc(trie->n + 1, sizeof *drafts);
    uint32_t *path = malloc((trie->max_depth + 1) * sizeof *path);
    trie->nodes = malloc((trie->n + 1) * sizeof *trie->nodes);
    bool made = trie->nodes != NULL && path != NULL && drafts != NULL;
    if (made) {
        draft(drafts, items, n, path);
        arrange(trie, drafts);
        made = kl_token_spans_make(&trie->spans, drafts, trie->n);
    }
    free(drafts);
    free(path);
    return made;
}

enum kl_status kl_token_nodes_make(struct kl_token_nodes *trie, const struct kl_token_item *items,
                                   size_t n, struct kl_error *err)
{
    measure(trie, items, n);
    if (trie->n > KL_TOKEN_NODES_MAX)
        return kl_fail(err, KL_ERR_LIMIT,
                       "the tokens make a trie of %zu nodes; answers by rule are possible with at "
                       "most %u",
                       trie->n, KL_TOKEN_NODES_MAX);
    if (make(trie, items, n))
        return KL_OK;
    size_t bytes = trie->n * (sizeof *trie->nodes + sizeof(struct kl_node_draft));
    kl_token_nodes_release(trie);
    return kl_fail_memory(err, "the trie of tokens", bytes);
}

void kl_token_nodes_release(struct kl_token_nodes *trie)
{
    free(trie->nodes);
    kl_token_spans_release(&trie->spans);
    *trie = (struct kl_token_nodes){0};
}

size_t kl_token_nodes_bytes(const struct kl_token_nodes *trie)
{
    return (trie->n + 1) * sizeof *trie->nodes + kl_token_spans_bytes(&trie->spans);
}
