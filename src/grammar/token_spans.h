/*
 * Subtrees of a trie of tokens that can be allowed at once: where a machine treats all bytes of a
 * subtree alike (letters in [a-z]+), its tokens need not be tried. Internal to grammar/. Immutable
 * once made.
 *
 * Bytes are split into KL_BYTE_CLASSES classes along the lines that patterns have. Subtrees of
 * KL_SPAN_MIN nodes or more have a record: which classes occur below their first node, and how deep
 * it goes.
 */
#ifndef KL_GRAMMAR_TOKEN_SPANS_H
#define KL_GRAMMAR_TOKEN_SPANS_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "grammar/token_nodes.h"

#define KL_BYTE_CLASSES 16
#define KL_SPAN_MIN     16

struct kl_token_span {
    uint16_t classes; /* bits of those that occur below the first node */
    uint16_t height;  /* bytes of the longest path below it */
};

/* Marks of nodes, and how many are marked before each. */
struct kl_node_marks {
    uint64_t *bits;   /* [n / 64 + 1] */
    uint32_t *before; /* [n / 64 + 1] marks in the words before this one */
};

struct kl_token_spans {
    struct kl_node_marks tokens, large; /* nodes with a token; nodes with a record */
    uint32_t *ids;                      /* of all tokens in the order of their nodes */
    struct kl_token_span *spans;        /* of the large nodes in their order */
    size_t n, n_tokens, n_spans;        /* nodes, ... */
    uint8_t class_of[256];              /* below KL_BYTE_CLASSES */
    uint16_t plain;                     /* bits of classes whose bytes are characters of a string */
};

enum kl_status kl_token_spans_make(struct kl_token_spans *spans, const struct kl_token_nodes *trie,
                                   struct kl_error *err);
void kl_token_spans_release(struct kl_token_spans *spans);
size_t kl_token_spans_bytes(const struct kl_token_spans *spans);

/* The record of a node whose subtree has KL_SPAN_MIN nodes or more. */
struct kl_token_span kl_token_spans_get(const struct kl_token_spans *spans, size_t node);

/* Sets the bits of all tokens of nodes [first, end). Returns their number. */
size_t kl_token_spans_allow(const struct kl_token_spans *spans, size_t first, size_t end,
                            uint64_t *mask);

#endif
