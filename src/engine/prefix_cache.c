#include "engine/prefix_cache.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define PAGE KL_KV_PAGE_TOKENS

struct node {
    struct kl_kv_page *page; /* NULL: not in use */
    struct node *parent;     /* NULL: the first page of a text */
    struct node *first_child, *next_sibling;
    uint64_t scope; /* ignored if pinned */
    uint64_t used;  /* time of its last use: the number of uses before */
    enum kl_keep keep;
    struct kl_page_key key; /* of a whole page, if there is a store */
    bool is_stored;         /* the store has the page, or had it */
    size_t n;               /* tokens; less than PAGE only without children */
    int32_t tokens[PAGE];
};

struct kl_prefix_cache {
    struct kl_kv_cache *kv;
    struct kl_page_store *store; /* NULL: none */
    struct node *roots, *free;   /* free nodes are linked by next_sibling */
    uint64_t now;
    struct kl_prefix_cache_stats stats;
    struct node nodes[]; /* [max_pages] */
};

size_t kl_prefix_cache_memory(size_t max_pages)
{
    return sizeof(struct kl_prefix_cache) + max_pages * sizeof(struct node);
}

enum kl_status kl_prefix_cache_open(struct kl_kv_cache *kv, struct kl_page_store *store,
                                    size_t max_pages, struct kl_prefix_cache **out,
                                    struct kl_error *err)
{
    struct kl_prefix_cache *cache = calloc(1, kl_prefix_cache_memory(max_pages));
    *out = cache;
    if (cache == NULL)
        return kl_fail_memory(err, "the prefix cache", kl_prefix_cache_memory(max_pages));
    cache->kv = kv;
    cache->store = store;
    cache->stats.max_pages = max_pages;
    for (size_t i = max_pages; i > 0; i--) {
        cache->nodes[i - 1].next_sibling = cache->free;
        cache->free = &cache->nodes[i - 1];
    }
    return KL_OK;
}

void kl_prefix_cache_close(struct kl_prefix_cache *cache)
{
    if (cache == NULL)
        return;
    for (size_t i = 0; i < cache->stats.max_pages; i++) {
        if (cache->nodes[i].page != NULL)
            kl_kv_page_release(cache->kv, cache->nodes[i].page);
    }
    free(cache);
}

struct kl_prefix_cache_stats kl_prefix_cache_stats(const struct kl_prefix_cache *cache)
{
    return cache->stats;
}

/* ---- the tree -------------------------------------------------------------------------------- */

/* Selects a tree: the first pages of all trees are siblings. */
struct tree {
    bool pinned;
    uint64_t scope;
};

static struct node **children(struct kl_prefix_cache *cache, struct node *parent)
{
    return parent != NULL ? &parent->first_child : &cache->roots;
}

static bool belongs(const struct node *node, struct tree tree)
{
    bool pinned = node->keep == KL_KEEP_PINNED;
    return pinned == tree.pinned && (pinned || node->scope == tree.scope);
}

static size_t common(const int32_t *a, const int32_t *b, size_t n)
{
    size_t i = 0;
    while (i < n && a[i] == b[i])
        i++;
    return i;
}

/* Returns the child with the longest common prefix with tokens[0, n), and its length; NULL: 0. */
static struct node *find_child(struct kl_prefix_cache *cache, struct tree tree, struct node *parent,
                               const int32_t *tokens, size_t n, size_t *found)
{
    struct node *best = NULL;
    *found = 0;
    for (struct node *c = *children(cache, parent); c != NULL; c = c->next_sibling) {
        if (!belongs(c, tree))
            continue;
        size_t same = common(c->tokens, tokens, c->n < n ? c->n : n);
        if (same > *found) {
            *found = same;
            best = c;
        }
    }
    return best;
}

static void remove_node(struct kl_prefix_cache *cache, struct node *node)
{
    assert(node->first_child == NULL);
    struct node **link = children(cache, node->parent);
    while (*link != node)
        link = &(*link)->next_sibling;
    *link = node->next_sibling;
    kl_kv_page_release(cache->kv, node->page);
    cache->stats.pages--;
    cache->stats.pinned_pages -= node->keep == KL_KEEP_PINNED;
    *node = (struct node){.next_sibling = cache->free};
    cache->free = node;
}

/* Orders leaves for eviction: by kind, then by their last use. */
static bool evicted_before(const struct node *a, const struct node *b)
{
    return a->keep != b->keep ? a->keep < b->keep : a->used < b->used;
}

/* Returns the leaf to evict, of kinds up to `most`, other than `spared`. unused: only a leaf whose
 * page no sequence uses. */
static struct node *find_victim(struct kl_prefix_cache *cache, enum kl_keep most,
                                const struct node *spared, bool unused)
{
    struct node *victim = NULL;
    for (size_t i = 0; i < cache->stats.max_pages; i++) {
        struct node *node = &cache->nodes[i];
        if (node->page == NULL || node->first_child != NULL || node == spared || node->keep > most)
            continue;
        if (unused && kl_kv_page_shares(node->page) > 1)
            continue;
        if (victim == NULL || evicted_before(node, victim))
            victim = node;
    }
    return victim;
}

static void evict(struct kl_prefix_cache *cache, struct node *victim)
{
    remove_node(cache, victim);
    cache->stats.evictions++;
}

bool kl_prefix_cache_make_room(struct kl_prefix_cache *cache, size_t n_pages)
{
    while (kl_kv_cache_free_pages(cache->kv) < n_pages) {
        struct node *victim = find_victim(cache, KL_KEEP_PINNED, NULL, true);
        if (victim == NULL) /* leaves in use may continue pages that are not */
            victim = find_victim(cache, KL_KEEP_PINNED, NULL, false);
        if (victim == NULL)
            return false;
        evict(cache, victim);
    }
    return true;
}

/* ---- lookup ---------------------------------------------------------------------------------- */

/* Returns how many of tokens[0, n) a tree has. */
static size_t measure(struct kl_prefix_cache *cache, struct tree tree, const int32_t *tokens,
                      size_t n)
{
    struct node *node = NULL;
    size_t at = 0, same = PAGE;
    while (at < n && same == PAGE) {
        node = find_child(cache, tree, node, tokens + at, n - at, &same);
        at += same;
    }
    return at;
}

static void use(struct kl_prefix_cache *cache, struct node *node, enum kl_keep keep)
{
    node->used = ++cache->now;
    if (node->keep < keep && keep != KL_KEEP_PINNED)
        node->keep = keep;
}

/* The source is held meanwhile: making room may remove it from the tree. */
static bool append_copy(struct kl_prefix_cache *cache, struct kl_sequence *sequence,
                        struct kl_kv_page *source, size_t n)
{
    struct kl_error err;
    kl_kv_page_share(source);
    bool done = kl_prefix_cache_make_room(cache, 1) &&
                kl_sequence_append_copy(sequence, source, n, &err) == KL_OK;
    kl_kv_page_release(cache->kv, source);
    return done;
}

size_t kl_prefix_cache_lookup(struct kl_prefix_cache *cache, uint64_t scope, enum kl_keep keep,
                              const int32_t *tokens, size_t n, struct kl_sequence *sequence)
{
    struct tree own = {.scope = scope}, pinned = {.pinned = true};
    size_t known = measure(cache, own, tokens, n), known_pinned = measure(cache, pinned, tokens, n);
    struct tree tree = known_pinned > known ? pinned : own;
    struct node *node = NULL;
    size_t at = 0, same = PAGE;
    struct kl_error err;
    assert(kl_sequence_length(sequence) == 0);
    while (at < n && same == PAGE) {
        node = find_child(cache, tree, node, tokens + at, n - at, &same);
        if (node == NULL)
            break;
        use(cache, node, keep);
        at += same;
        bool done = same == PAGE ? kl_sequence_append_shared(sequence, node->page, &err) == KL_OK
                                 : append_copy(cache, sequence, node->page, same);
        if (!done)
            break;
    }
    return kl_sequence_length(sequence);
}

/* ---- insert ---------------------------------------------------------------------------------- */

static struct node *new_node(struct kl_prefix_cache *cache, enum kl_keep keep,
                             const struct node *parent)
{
    if (keep == KL_KEEP_PINNED && cache->stats.pinned_pages >= cache->stats.max_pages / 2)
        return NULL;
    if (cache->free == NULL) {
        enum kl_keep most = keep == KL_KEEP_BACKGROUND ? KL_KEEP_BACKGROUND : KL_KEEP_INTERACTIVE;
        struct node *victim = find_victim(cache, most, parent, false);
        if (victim == NULL)
            return NULL;
        evict(cache, victim);
    }
    struct node *node = cache->free;
    cache->free = node->next_sibling;
    cache->stats.pages++;
    cache->stats.pinned_pages += keep == KL_KEEP_PINNED;
    return node;
}

static struct kl_page_key parent_key(const struct kl_prefix_cache *cache, const struct node *parent,
                                     uint64_t scope)
{
    return parent != NULL ? parent->key : kl_page_store_root(cache->store, scope);
}

static void set_key(const struct kl_prefix_cache *cache, struct node *node)
{
    if (cache->store == NULL || node->n < PAGE)
        return;
    struct kl_page_key before = parent_key(cache, node->parent, node->scope);
    node->key = kl_page_key_next(&before, node->tokens);
}

/* Puts whole pages into the store, in order; a page that was dropped there is put again with the
 * next sequence that contains it. */
static void store_page(const struct kl_prefix_cache *cache, struct node *node)
{
    bool next = node->parent == NULL || node->parent->is_stored;
    if (cache->store == NULL || node->keep == KL_KEEP_PINNED || node->n < PAGE || node->is_stored ||
        !next)
        return;
    struct kl_page_key before = parent_key(cache, node->parent, node->scope);
    /* dropped, perhaps because the page before it is not stored any more: start again there */
    node->is_stored =
        kl_page_store_put(cache->store, &before, node->tokens, kl_kv_page_data(node->page),
                          node->keep == KL_KEEP_BACKGROUND);
    if (!node->is_stored && node->parent != NULL)
        node->parent->is_stored = false;
}

/* Adds a page below parent, none of whose children has all of these tokens. NULL: no room. */
static struct node *add_page(struct kl_prefix_cache *cache, uint64_t scope, enum kl_keep keep,
                             struct node *parent, const int32_t *tokens, size_t n,
                             struct kl_kv_page *page)
{
    struct node *node = new_node(cache, keep, parent);
    if (node == NULL)
        return NULL;
    struct node **link = children(cache, parent);
    *node = (struct node){.page = kl_kv_page_share(page),
                          .parent = parent,
                          .next_sibling = *link,
                          .scope = scope,
                          .keep = keep,
                          .n = n};
    memcpy(node->tokens, tokens, n * sizeof *tokens);
    *link = node;
    set_key(cache, node);
    return node;
}

/* Replaces a partial page by a longer one that begins with it. */
static void replace_page(struct kl_prefix_cache *cache, struct node *node, const int32_t *tokens,
                         size_t n, struct kl_kv_page *page)
{
    kl_kv_page_share(page);
    kl_kv_page_release(cache->kv, node->page);
    node->page = page;
    node->n = n;
    memcpy(node->tokens, tokens, n * sizeof *tokens);
    set_key(cache, node);
}

void kl_prefix_cache_insert(struct kl_prefix_cache *cache, uint64_t scope, enum kl_keep keep,
                            const int32_t *tokens, size_t n, const struct kl_sequence *sequence)
{
    assert(n <= kl_sequence_length(sequence));
    struct tree tree = {.pinned = keep == KL_KEEP_PINNED, .scope = scope};
    struct node *parent = NULL;
    for (size_t at = 0; at < n; at += PAGE) {
        size_t count = n - at < PAGE ? n - at : PAGE, same;
        struct kl_kv_page *page = kl_sequence_page(sequence, at / PAGE);
        struct node *node = find_child(cache, tree, parent, tokens + at, count, &same);
        if (node == NULL || (same < count && same < node->n))
            node = add_page(cache, scope, keep, parent, tokens + at, count, page);
        else if (same < count)
            replace_page(cache, node, tokens + at, count, page);
        if (node == NULL)
            return;
        use(cache, node, keep);
        store_page(cache, node);
        parent = node;
    }
}

/* ---- load ------------------------------------------------------------------------------------ */

/* Makes room for one page in the KV cache without evicting `spared`. */
static bool make_room_for_page(struct kl_prefix_cache *cache, enum kl_keep keep,
                               const struct node *spared)
{
    while (kl_kv_cache_free_pages(cache->kv) == 0) {
        struct node *victim = find_victim(cache, keep, spared, true);
        if (victim == NULL)
            return false;
        evict(cache, victim);
    }
    return true;
}

/* Loads the page of tokens[0, PAGE) below parent, in place of `part`, the partial page that memory
 * has (or NULL). NULL: it is not on disk, or there is no room. */
static struct node *load_page(struct kl_prefix_cache *cache, uint64_t scope, enum kl_keep keep,
                              struct node *parent, struct node *part, const int32_t *tokens)
{
    struct kl_page_key before = parent_key(cache, parent, scope);
    struct kl_kv_page *page;
    struct kl_error err;
    if (!make_room_for_page(cache, keep, part != NULL ? part : parent) ||
        kl_kv_page_new(cache->kv, &page, &err) != KL_OK)
        return NULL;
    struct node *node = NULL;
    bool found = kl_page_store_get(cache->store, &before, tokens, kl_kv_page_data(page),
                                   keep == KL_KEEP_BACKGROUND);
    if (found && part != NULL) {
        node = part;
        replace_page(cache, node, tokens, PAGE, page);
    } else if (found) {
        node = add_page(cache, scope, keep, parent, tokens, PAGE, page);
    }
    kl_kv_page_release(cache->kv, page);
    if (node == NULL)
        return NULL;
    node->is_stored = true;
    cache->stats.loaded++;
    return node;
}

bool kl_prefix_cache_load(struct kl_prefix_cache *cache, uint64_t scope, enum kl_keep keep,
                          const int32_t *tokens, size_t n, size_t max_pages)
{
    if (cache->store == NULL || keep == KL_KEEP_PINNED)
        return false;
    const struct tree tree = {.scope = scope};
    struct node *parent = NULL;
    for (size_t at = 0; at + PAGE <= n; at += PAGE) {
        size_t same;
        struct node *node = find_child(cache, tree, parent, tokens + at, PAGE, &same);
        if (same < PAGE) {
            if (max_pages-- == 0)
                return true;
            bool is_part = node != NULL && same == node->n;
            node = load_page(cache, scope, keep, parent, is_part ? node : NULL, tokens + at);
        }
        if (node == NULL)
            return false;
        use(cache, node, keep);
        parent = node;
    }
    return false;
}
