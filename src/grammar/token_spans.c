#include "grammar/token_spans.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum {
    DIGIT,
    LOWER_HEX,
    LOWER,
    UPPER_HEX,
    UPPER,
    UNDERSCORE,
    HYPHEN,
    DOT,
    SPACE,
    SLASH,
    COLON,
    OTHER,
    BREAK,   /* white space but the space */
    LETTERS, /* that are no ASCII: parts of UTF-8 */
    SPECIAL  /* in JSON strings: quote, backslash, control characters */
};

static unsigned byte_class(uint8_t byte)
{
    static const char single[] = "_-. /:";
    if (byte >= '0' && byte <= '9')
        return DIGIT;
    if (byte >= 'a' && byte <= 'z')
        return byte <= 'f' ? LOWER_HEX : LOWER;
    if (byte >= 'A' && byte <= 'Z')
        return byte <= 'F' ? UPPER_HEX : UPPER;
    if (byte >= 0x80)
        return LETTERS;
    if (byte >= '\t' && byte <= '\r')
        return BREAK;
    if (byte < ' ' || byte == '"' || byte == '\\' || byte == 0x7F)
        return SPECIAL;
    const char *found = strchr(single, byte);
    return found != NULL ? UNDERSCORE + (unsigned)(found - single) : OTHER;
}

/* ---- marks ----------------------------------------------------------------------------------- */

static bool make_marks(struct kl_node_marks *marks, size_t n)
{
    marks->bits = calloc(n / 64 + 1, sizeof *marks->bits);
    marks->before = calloc(n / 64 + 1, sizeof *marks->before);
    return marks->bits != NULL && marks->before != NULL;
}

static void count_marks(struct kl_node_marks *marks, size_t n)
{
    for (size_t i = 0; i < n / 64; i++)
        marks->before[i + 1] = marks->before[i] + (uint32_t)__builtin_popcountll(marks->bits[i]);
}

/* How many nodes before this one are marked. */
static size_t rank(const struct kl_node_marks *marks, size_t node)
{
    uint64_t below = marks->bits[node / 64] & (((uint64_t)1 << node % 64) - 1);
    return marks->before[node / 64] + (size_t)__builtin_popcountll(below);
}

/* ---- spans ----------------------------------------------------------------------------------- */

static struct kl_token_span span_of(const struct kl_token_node *node, const uint8_t class_of[256])
{
    struct kl_token_span span = {0};
    for (size_t i = 1; i < node->size; i++) {
        unsigned height = node[i].depth - node->depth;
        span.classes |= (uint16_t)(1u << class_of[node[i].byte]);
        span.height = (uint16_t)(height > span.height ? height : span.height);
    }
    return span;
}

static void mark(struct kl_token_spans *s, const struct kl_token_nodes *trie)
{
    for (size_t i = 0; i < trie->n; i++) {
        bool is_large = trie->nodes[i].size >= KL_SPAN_MIN, is_token = trie->nodes[i].value != 0;
        s->tokens.bits[i / 64] |= (uint64_t)is_token << i % 64;
        s->large.bits[i / 64] |= (uint64_t)is_large << i % 64;
        s->n_tokens += is_token;
        s->n_spans += is_large;
    }
    count_marks(&s->tokens, trie->n);
    count_marks(&s->large, trie->n);
}

enum kl_status kl_token_spans_make(struct kl_token_spans *s, const struct kl_token_nodes *trie,
                                   struct kl_error *err)
{
    *s = (struct kl_token_spans){.n = trie->n};
    for (unsigned byte = 0; byte < 256; byte++)
        s->class_of[byte] = (uint8_t)byte_class((uint8_t)byte);
    s->plain = (1u << BREAK) - 1;
    bool made = make_marks(&s->tokens, s->n) && make_marks(&s->large, s->n);
    if (made) {
        mark(s, trie);
        s->ids = malloc((s->n_tokens + 1) * sizeof *s->ids);
        s->spans = malloc((s->n_spans + 1) * sizeof *s->spans);
        made = s->ids != NULL && s->spans != NULL;
    }
    for (size_t i = 0, token = 0, span = 0; made && i < s->n; i++) {
        if (trie->nodes[i].value != 0)
            s->ids[token++] = trie->nodes[i].value - 1;
        if (trie->nodes[i].size >= KL_SPAN_MIN)
            s->spans[span++] = span_of(&trie->nodes[i], s->class_of);
    }
    if (made)
        return KL_OK;
    kl_token_spans_release(s);
    return kl_fail_memory(err, "the trie of tokens", trie->n);
}

void kl_token_spans_release(struct kl_token_spans *s)
{
    free(s->tokens.bits);
    free(s->tokens.before);
    free(s->large.bits);
    free(s->large.before);
    free(s->ids);
    free(s->spans);
    *s = (struct kl_token_spans){0};
}

size_t kl_token_spans_bytes(const struct kl_token_spans *s)
{
    return 2 * (s->n / 64 + 1) * (sizeof(uint64_t) + sizeof(uint32_t)) +
           (s->n_tokens + 1) * sizeof *s->ids + (s->n_spans + 1) * sizeof *s->spans;
}

struct kl_token_span kl_token_spans_get(const struct kl_token_spans *s, size_t node)
{
    return s->spans[rank(&s->large, node)];
}

size_t kl_token_spans_allow(const struct kl_token_spans *s, size_t first, size_t end,
                            uint64_t *mask)
{
    size_t from = rank(&s->tokens, first), to = rank(&s->tokens, end);
    for (size_t i = from; i < to; i++)
        mask[s->ids[i] / 64] |= (uint64_t)1 << s->ids[i] % 64;
    return to - from;
}
