/*
 * Records of the large subtrees of a trie of tokens: where a machine treats all bytes of a subtree
 * alike (letters in [a-z]+), its tokens need not be tried. Internal to grammar/. Immutable once
 * made.
 *
 * Bytes are split into KL_BYTE_CLASSES classes along the lines that patterns have. A record says
 * which classes occur below a node, how deep it goes, and which tokens are there.
 */
#ifndef KL_GRAMMAR_TOKEN_SPANS_H
#define KL_GRAMMAR_TOKEN_SPANS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KL_BYTE_CLASSES 16
#define KL_SPAN_MIN     16 /* nodes of a subtree that has a record */

struct kl_byte_classes {
    uint8_t of[256]; /* below KL_BYTE_CLASSES */
    uint16_t plain;  /* bits of the classes whose bytes are characters in a JSON string */
};
void kl_byte_classes_init(struct kl_byte_classes *classes);

struct kl_token_span {
    uint16_t classes;        /* bits of those that occur below the first node */
    uint16_t height;         /* bytes of the longest path below it */
    uint32_t first, n_below; /* of `values`, without that of the first node */
};

/* A node of a trie that is being made: in the order of a depth-first walk. */
struct kl_node_draft {
    uint32_t value; /* + 1; 0: none */
    uint32_t size;  /* nodes of the subtree, this one included */
    uint32_t place; /* of the node in the array of the trie */
    uint16_t depth; /* bytes up to and with this one */
    uint8_t byte;
};

struct kl_token_spans {
    uint32_t *values;            /* [n_values] of all strings in the order of their bytes */
    struct kl_token_span *spans; /* [n_spans] of large nodes, in the order of their places */
    uint64_t *marks;             /* [n / 64 + 1] bits of large nodes, by place */
    uint32_t *before;            /* [n / 64 + 1] marks in the words before this one */
    size_t n, n_values, n_spans;
};

/* false: no memory. */
bool kl_token_spans_make(struct kl_token_spans *spans, const struct kl_node_draft *drafts,
                         size_t n);
void kl_token_spans_release(struct kl_token_spans *spans);
size_t kl_token_spans_bytes(const struct kl_token_spans *spans);

/* The record of a large node. */
static inline const struct kl_token_span *kl_token_spans_get(const struct kl_token_spans *spans,
                                                             size_t place)
{
    uint64_t below = spans->marks[place / 64] & (((uint64_t)1 << place % 64) - 1);
    return &spans->spans[spans->before[place / 64] + (size_t)__builtin_popcountll(below)];
}

/* Sets the bits of the values below a node. Returns their number. */
size_t kl_token_spans_allow(const struct kl_token_spans *spans, const struct kl_token_span *span,
                            uint64_t *mask);

#endif
