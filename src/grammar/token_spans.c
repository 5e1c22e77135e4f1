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

void kl_byte_classes_init(struct kl_byte_classes *classes)
{
    for (unsigned byte = 0; byte < 256; byte++)
        classes->of[byte] = (uint8_t)byte_class((uint8_t)byte);
    classes->plain = (1u << BREAK) - 1; /* all before it */
}

static void mark(struct kl_token_spans *s, const struct kl_node_draft *drafts)
{
    for (size_t i = 0; i < s->n; i++) {
        size_t place = drafts[i].place;
        bool is_large = drafts[i].size >= KL_SPAN_MIN;
        s->marks[place / 64] |= (uint64_t)is_large << place % 64;
        s->n_spans += is_large;
        s->n_values += drafts[i].value != 0;
    }
    for (size_t i = 0; i < s->n / 64; i++)
        s->before[i + 1] = s->before[i] + (uint32_t)__builtin_popcountll(s->marks[i]);
}

static struct kl_token_span span_of(const struct kl_node_draft *draft,
                                    const struct kl_byte_classes *classes)
{
    struct kl_token_span span = {0};
    for (size_t i = 1; i < draft->size; i++) {
        unsigned height = (unsigned)draft[i].depth - draft->depth;
        span.classes |= (uint16_t)(1u << classes->of[draft[i].byte]);
        span.height = (uint16_t)(height > span.height ? height : span.height);
        span.n_below += draft[i].value != 0;
    }
    return span;
}

static void fill(struct kl_token_spans *s, const struct kl_node_draft *drafts)
{
    struct kl_byte_classes classes;
    kl_byte_classes_init(&classes);
    for (size_t i = 0, n = 0; i < s->n; i++) {
        if (drafts[i].value != 0)
            s->values[n++] = drafts[i].value - 1;
        if (drafts[i].size < KL_SPAN_MIN)
            continue;
        struct kl_token_span span = span_of(&drafts[i], &classes);
        span.first = (uint32_t)n;
        s->spans[kl_token_spans_get(s, drafts[i].place) - s->spans] = span;
    }
}

bool kl_token_spans_make(struct kl_token_spans *s, const struct kl_node_draft *drafts, size_t n)
{
    *s = (struct kl_token_spans){.n = n};
    s->marks = calloc(n / 64 + 1, sizeof *s->marks);
    s->before = calloc(n / 64 + 1, sizeof *s->before);
    bool made = s->marks != NULL && s->before != NULL;
    if (made) {
        mark(s, drafts);
        s->values = malloc((s->n_values + 1) * sizeof *s->values);
        s->spans = malloc((s->n_spans + 1) * sizeof *s->spans);
        made = s->values != NULL && s->spans != NULL;
    }
    if (made)
        fill(s, drafts);
    else
        kl_token_spans_release(s);
    return made;
}

void kl_token_spans_release(struct kl_token_spans *s)
{
    free(s->values);
    free(s->spans);
    free(s->marks);
    free(s->before);
    *s = (struct kl_token_spans){0};
}

size_t kl_token_spans_bytes(const struct kl_token_spans *s)
{
    return (s->n_values + 1) * sizeof *s->values + (s->n_spans + 1) * sizeof *s->spans +
           (s->n / 64 + 1) * (sizeof *s->marks + sizeof *s->before);
}

size_t kl_token_spans_allow(const struct kl_token_spans *s, const struct kl_token_span *span,
                            uint64_t *mask)
{
    const uint32_t *values = s->values + span->first;
    for (size_t i = 0; i < span->n_below; i++)
        mask[values[i] / 64] |= (uint64_t)1 << values[i] % 64;
    return span->n_below;
}
