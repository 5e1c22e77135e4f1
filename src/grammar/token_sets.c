#include "grammar/token_sets.h"

#include <stdlib.h>
#include <string.h>

/* Reads a token from between two characters on. Returns the state behind it, or behind the closing
 * quote; *used: the bytes up to there. */
static enum kl_string_state read_token(const struct kl_string_table *table,
                                       const struct kl_token_item *item, uint32_t *used,
                                       uint32_t *chars)
{
    uint8_t state = KL_STRING_BETWEEN;
    uint32_t i = 0;
    *chars = 0;
    while (i < item->len && state > KL_STRING_CLOSED) {
        uint8_t next = table->next[state][(uint8_t)item->bytes[i++]];
        *chars += state == KL_STRING_BETWEEN && next != KL_STRING_CLOSED;
        state = next;
    }
    *used = i;
    return (enum kl_string_state)state;
}

static int compare_inside(const void *a, const void *b)
{
    const struct kl_string_token *x = a, *y = b;
    if (x->chars != y->chars)
        return x->chars > y->chars ? -1 : 1;
    return x->id < y->id ? -1 : 1;
}

static void clear_bit(uint64_t *mask, uint32_t id)
{
    mask[id / 64] &= ~((uint64_t)1 << id % 64);
}

/* Each mask is the one with more characters without its longest tokens. */
static void fill_masks(struct kl_token_sets *s)
{
    size_t row = KL_TOKEN_SETS_MASKS, at = 0;
    uint64_t *mask = s->masks + row * s->n_words;
    for (size_t i = 0; i < s->n_inside; i++)
        mask[s->inside[i].id / 64] |= (uint64_t)1 << s->inside[i].id % 64;
    s->n_mask[row] = s->n_inside;
    while (row-- > 0) {
        memcpy(mask - s->n_words, mask, s->n_words * sizeof *mask);
        mask -= s->n_words;
        for (; at < s->n_inside && s->inside[at].chars > row + 1; at++)
            clear_bit(mask, s->inside[at].id);
        s->n_mask[row] = s->n_inside - at;
    }
}

static bool same_bytes(const struct kl_token_item *a, const struct kl_token_item *b)
{
    return a->len == b->len && memcmp(a->bytes, b->bytes, a->len) == 0;
}

/* items: what is behind the quote, the values: of `found`. */
static enum kl_status group(struct kl_token_sets *s, struct kl_token_item *items, size_t n,
                            const struct kl_string_token *found, struct kl_error *err)
{
    kl_token_items_sort(items, n);
    size_t n_items = 0; /* one for each group but the first */
    s->groups[0] = 0;
    s->n_groups = 1;
    s->n_closing = n;
    for (size_t i = 0; i < n; i++) {
        struct kl_token_item item = items[i];
        s->closing[i] = found[item.value];
        if (item.len > 0 && (n_items == 0 || !same_bytes(&items[n_items - 1], &item))) {
            s->groups[s->n_groups] = (uint32_t)i;
            item.value = (uint32_t)s->n_groups++;
            items[n_items++] = item;
        }
    }
    s->groups[s->n_groups] = (uint32_t)n;
    return kl_token_nodes_make(&s->after, items, n_items, err);
}

/* Splits the tokens: those inside into s->inside, of the others the bytes behind the quote into
 * items. Returns the number of these; found[i] is what items[i] came from. */
static size_t split(struct kl_token_sets *s, struct kl_token_item *items, size_t n,
                    struct kl_string_token *found)
{
    size_t n_closing = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t used, chars;
        struct kl_token_item item = items[i];
        enum kl_string_state state = read_token(&s->table, &item, &used, &chars);
        if (state > KL_STRING_CLOSED)
            s->inside[s->n_inside++] = (struct kl_string_token){item.value, chars};
        if (state != KL_STRING_CLOSED)
            continue;
        found[n_closing] = (struct kl_string_token){item.value, chars};
        items[n_closing] = kl_token_item(item.bytes + used, item.len - used, (uint32_t)n_closing);
        n_closing++;
    }
    return n_closing;
}

enum kl_status kl_token_sets_make(struct kl_token_sets *s, struct kl_token_item *items, size_t n,
                                  size_t n_vocab, struct kl_error *err)
{
    *s = (struct kl_token_sets){.n_words = n_vocab / 64 + 1};
    kl_string_table_init(&s->table);
    size_t bytes = (KL_TOKEN_SETS_MASKS + 1) * s->n_words * sizeof *s->masks;
    struct kl_string_token *found = malloc((n + 1) * sizeof *found);
    s->masks = calloc(1, bytes);
    s->inside = malloc((n + 1) * sizeof *s->inside);
    enum kl_status status = found != NULL && s->masks != NULL && s->inside != NULL
                                ? KL_OK
                                : kl_fail_memory(err, "the sets of tokens", bytes);
    if (status == KL_OK) {
        size_t n_closing = split(s, items, n, found);
        qsort(s->inside, s->n_inside, sizeof *s->inside, compare_inside);
        fill_masks(s);
        s->closing = malloc((n_closing + 1) * sizeof *s->closing);
        s->groups = malloc((n_closing + 2) * sizeof *s->groups);
        status = s->closing != NULL && s->groups != NULL
                     ? group(s, items, n_closing, found, err)
                     : kl_fail_memory(err, "the sets of tokens", n_closing * sizeof *s->closing);
    }
    free(found);
    if (status != KL_OK)
        kl_token_sets_release(s);
    return status;
}

void kl_token_sets_release(struct kl_token_sets *s)
{
    free(s->inside);
    free(s->masks);
    free(s->closing);
    free(s->groups);
    kl_token_nodes_release(&s->after);
    *s = (struct kl_token_sets){0};
}

size_t kl_token_sets_bytes(const struct kl_token_sets *s)
{
    return (KL_TOKEN_SETS_MASKS + 1) * s->n_words * sizeof *s->masks +
           (s->n_inside + 1) * sizeof *s->inside + (s->n_closing + 1) * sizeof *s->closing +
           (s->n_groups + 1) * sizeof *s->groups + kl_token_nodes_bytes(&s->after);
}

size_t kl_token_sets_inside(const struct kl_token_sets *s, uint32_t most, uint64_t *mask)
{
    size_t bytes = s->n_words * sizeof *mask, n = 0;
    if (most == 0) {
        memset(mask, 0, bytes);
        return 0;
    }
    if (most <= KL_TOKEN_SETS_MASKS) {
        memcpy(mask, s->masks + (most - 1) * s->n_words, bytes);
        return s->n_mask[most - 1];
    }
    memcpy(mask, s->masks + KL_TOKEN_SETS_MASKS * s->n_words, bytes);
    for (; n < s->n_inside && s->inside[n].chars > most; n++)
        clear_bit(mask, s->inside[n].id);
    return s->n_inside - n;
}
