#include "grammar/gbnf_classes.h"

#include <stdlib.h>

enum { MAX_CODE_POINT = 0x10FFFF, FIRST_SURROGATE = 0xD800, LAST_SURROGATE = 0xDFFF };

/* The characters of a class: sorted ranges that do not touch each other. */
struct set {
    struct kl_word_store *store;
    const struct kl_char_range *ranges;
    size_t n;
    bool negated;
    uint32_t all[4]; /* [left] the entry before `left` bytes of any value; 0: none yet */
};

/* Edges of an entry that is being made. */
struct edges {
    uint32_t words[2 * 256];
    size_t n; /* words */
};

static int compare_ranges(const void *a, const void *b)
{
    const struct kl_char_range *x = a, *y = b;
    return (x->first > y->first) - (x->first < y->first);
}

static size_t merge_ranges(struct kl_char_range *ranges, size_t n)
{
    size_t kept = 0;
    if (n > 0)
        qsort(ranges, n, sizeof *ranges, compare_ranges);
    for (size_t i = 0; i < n; i++) {
        if (kept > 0 && ranges[i].first <= ranges[kept - 1].last + 1) {
            if (ranges[i].last > ranges[kept - 1].last)
                ranges[kept - 1].last = ranges[i].last;
        } else {
            ranges[kept++] = ranges[i];
        }
    }
    return kept;
}

enum cover { NONE, SOME, ALL };

/* How much of [first, last] the set contains. */
static enum cover cover_of(const struct set *set, uint32_t first, uint32_t last)
{
    size_t low = 0, high = set->n; /* finds the first range that ends at or after `first` */
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (set->ranges[middle].last < first)
            low = middle + 1;
        else
            high = middle;
    }
    enum cover cover = SOME;
    if (low == set->n || set->ranges[low].first > last)
        cover = NONE;
    else if (set->ranges[low].first <= first && set->ranges[low].last >= last)
        cover = ALL;
    if (set->negated && cover != SOME)
        cover = cover == ALL ? NONE : ALL;
    return cover;
}

static void add_edge(struct edges *edges, uint32_t byte, uint32_t to)
{
    if (to == KL_CLASS_NONE)
        return;
    uint32_t *last = edges->words + edges->n;
    if (edges->n > 0 && last[-1] == to && last[-2] >> 8 == byte - 1) {
        last[-2] = (last[-2] & 0xFF) | byte << 8;
        return;
    }
    last[0] = byte | byte << 8;
    last[1] = to;
    edges->n += 2;
}

static uint32_t put(struct kl_word_store *store, const struct edges *edges)
{
    uint32_t entry = edges->n == 0 ? 0 : kl_word_store_put(store, edges->words, edges->n);
    return entry == 0 ? KL_CLASS_NONE : entry;
}

static uint32_t make_all(struct set *set, int left)
{
    if (left == 0 || set->all[left] != 0)
        return set->all[left];
    struct edges edges = {.words = {0x80 | 0xBF << 8, make_all(set, left - 1)}, .n = 2};
    return set->all[left] = put(set->store, &edges);
}

/* The entry before `left` continuation bytes, for the characters from base on that are in the set
 * and not below least. least: the first character of this length, so that overlong forms are left
 * out. */
static uint32_t make_tail(struct set *set, int left, uint32_t base, uint32_t least)
{
    uint32_t last = base + (1u << 6 * left) - 1;
    if (last < least || base > MAX_CODE_POINT)
        return KL_CLASS_NONE;
    if (base >= FIRST_SURROGATE && last <= LAST_SURROGATE)
        return KL_CLASS_NONE;
    enum cover cover = cover_of(set, base > least ? base : least, last);
    if (cover == NONE)
        return KL_CLASS_NONE;
    if (left == 0)
        return KL_CLASS_DONE;

    bool is_all = cover == ALL && base >= least && last <= MAX_CODE_POINT &&
                  (last < FIRST_SURROGATE || base > LAST_SURROGATE);
    if (is_all)
        return make_all(set, left);
    struct edges edges = {.n = 0};
    uint32_t step = 1u << 6 * (left - 1);
    for (uint32_t i = 0; i < 64; i++)
        add_edge(&edges, 0x80 + i, make_tail(set, left - 1, base + i * step, least));
    return put(set->store, &edges);
}

uint32_t kl_class_make(struct kl_word_store *store, struct kl_char_range *ranges, size_t n,
                       bool negated)
{
    struct set set = {.store = store, .ranges = ranges, .negated = negated};
    set.n = merge_ranges(ranges, n);

    struct edges edges = {.n = 0};
    for (uint32_t byte = 0; byte < 0x80; byte++)
        add_edge(&edges, byte, make_tail(&set, 0, byte, 0));
    for (uint32_t byte = 0xC2; byte < 0xE0; byte++)
        add_edge(&edges, byte, make_tail(&set, 1, (byte & 0x1F) << 6, 0x80));
    for (uint32_t byte = 0xE0; byte < 0xF0; byte++)
        add_edge(&edges, byte, make_tail(&set, 2, (byte & 0x0F) << 12, 0x800));
    for (uint32_t byte = 0xF0; byte < 0xF5; byte++)
        add_edge(&edges, byte, make_tail(&set, 3, (byte & 0x07) << 18, 0x10000));
    return store->failure == KL_OK ? put(store, &edges) : KL_CLASS_NONE;
}

uint32_t kl_class_step(const struct kl_word_store *store, uint32_t entry, uint8_t byte)
{
    size_t n;
    const uint32_t *edges = kl_word_store_get(store, entry, &n);
    for (size_t i = 0; i < n; i += 2)
        if (byte <= edges[i] >> 8)
            return byte >= (edges[i] & 0xFF) ? edges[i + 1] : KL_CLASS_NONE;
    return KL_CLASS_NONE;
}
