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
    enum kl_status status = kl_token_items_sort(items, n, err);
    if (status != KL_OK)
        return status;
    size_t n_items = 0; /* one for each group but the first */
    s->groups[0] = 0;
    s->n_groups = 1;
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

/* Splits the tokens: those inside go to inside[], of the others the bytes behind the quote to
 * items[]; closing[i] is what items[i] came from. */
static void split(struct kl_token_sets *s, struct kl_token_item *items, size_t n,
                  struct kl_string_token *inside, struct kl_string_token *closing)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t used, chars;
        struct kl_token_item item = items[i];
        enum kl_string_state state = read_token(&s->table, &item, &used, &chars);
        struct kl_string_token token = {item.value, chars};
        if (state > KL_STRING_CLOSED) {
            inside[s->n_inside++] = token;
        } else if (state == KL_STRING_CLOSED) {
            closing[s->n_closing] = token;
            items[s->n_closing] =
                kl_token_item(item.bytes + used, item.len - used, (uint32_t)s->n_closing);
            s->n_closing++;
        }
    }
}

/* The most characters first. */
static void sort_inside(struct kl_token_sets *s, const struct kl_string_token *found)
{
    size_t at[KL_TOKEN_LEN_MAX + 2] = {0}; /* a character has a byte at least */
    for (size_t i = 0; i < s->n_inside; i++)
        at[KL_TOKEN_LEN_MAX - found[i].chars + 1]++;
    for (size_t i = 1; i <= KL_TOKEN_LEN_MAX; i++)
        at[i] += at[i - 1];
    for (size_t i = 0; i < s->n_inside; i++)
        s->inside[at[KL_TOKEN_LEN_MAX - found[i].chars]++] = found[i];
}

static enum kl_status make(struct kl_token_sets *s, struct kl_token_item *items, size_t n,
                           struct kl_string_token *found, struct kl_error *err)
{
    split(s, items, n, found, found + n);
    s->masks = calloc(KL_TOKEN_SETS_MASKS + 1, s->n_words * sizeof *s->masks);
    s->inside = malloc((s->n_inside + 1) * sizeof *s->inside);
    s->closing = malloc((s->n_closing + 1) * sizeof *s->closing);
    s->to_try = malloc((s->n_closing + 1) * sizeof *s->to_try);
    s->groups = malloc((s->n_closing + 2) * sizeof *s->groups);
    if (s->masks == NULL || s->inside == NULL || s->closing == NULL || s->to_try == NULL ||
        s->groups == NULL)
        return kl_fail_memory(err, "the sets of tokens", s->n_inside * sizeof *s->inside);
    sort_inside(s, found);
    fill_masks(s);
    for (size_t i = 0; i < s->n_closing; i++) {
        const struct kl_string_token *token = &found[n + i];
        s->to_try[i] = (struct kl_closing_token){
            .id = token->id,
            .chars = (uint16_t)token->chars,
            .behind = items[i].len > 0 ? (uint8_t)items[i].bytes[0] : (int16_t)-1};
    }
    return group(s, items, s->n_closing, found + n, err);
}

enum kl_status kl_token_sets_make(struct kl_token_sets *s, struct kl_token_item *items, size_t n,
                                  size_t n_vocab, struct kl_error *err)
{
    *s = (struct kl_token_sets){.n_words = n_vocab / 64 + 1};
    kl_string_table_init(&s->table);
    kl_byte_classes_init(&s->classes);
    struct kl_string_token *found = malloc((2 * n + 1) * sizeof *found);
    enum kl_status status = found != NULL
                                ? make(s, items, n, found, err)
                                : kl_fail_memory(err, "the sets of tokens", 2 * n * sizeof *found);
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
    free(s->to_try);
    free(s->groups);
    kl_token_nodes_release(&s->after);
    *s = (struct kl_token_sets){0};
}

size_t kl_token_sets_bytes(const struct kl_token_sets *s)
{
    return (KL_TOKEN_SETS_MASKS + 1) * s->n_words * sizeof *s->masks +
           (s->n_inside + 1) * sizeof *s->inside +
           (s->n_closing + 1) * (sizeof *s->closing + sizeof *s->to_try) +
           (s->n_groups + 1) * sizeof *s->groups + kl_token_nodes_bytes(&s->after);
}

size_t kl_token_sets_keep_inside(const struct kl_token_sets *s, uint32_t most, uint64_t *mask)
{
    size_t which = most > KL_TOKEN_SETS_MASKS ? KL_TOKEN_SETS_MASKS : most - 1, left = 0;
    if (most == 0)
        memset(mask, 0, s->n_words * sizeof *mask);
    for (size_t i = 0; i < s->n_words && most > 0; i++)
        mask[i] &= s->masks[which * s->n_words + i];
    for (size_t i = 0; which == KL_TOKEN_SETS_MASKS && i < s->n_inside && s->inside[i].chars > most;
         i++)
        clear_bit(mask, s->inside[i].id);
    for (size_t i = 0; i < s->n_words; i++)
        left += (size_t)__builtin_popcountll(mask[i]);
    return left;
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
