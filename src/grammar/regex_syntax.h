/*
 * The syntax tree of a regular expression. Internal to grammar/.
 */
#ifndef KL_GRAMMAR_REGEX_SYNTAX_H
#define KL_GRAMMAR_REGEX_SYNTAX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct kl_code_range {
    uint32_t first, last; /* code points */
};

enum kl_regex_kind {
    KL_REGEX_EMPTY,
    KL_REGEX_CLASS, /* one character: ranges [first, first + n) of the tree, sorted, disjoint */
    KL_REGEX_BEGIN, /* ^ */
    KL_REGEX_END,   /* $ */
    KL_REGEX_CONCAT,
    KL_REGEX_EITHER,
    KL_REGEX_REPEAT, /* left, least to most times */
    KL_REGEX_LOOK    /* left (does not if `negative`) match from here on; `first`: its number */
};

struct kl_regex_node {
    enum kl_regex_kind kind;
    bool negative;
    uint32_t left, right; /* nodes */
    uint32_t first, n;    /* ranges */
    uint32_t least, most; /* most UINT32_MAX: no limit */
};

struct kl_regex_tree {
    struct kl_regex_node *nodes; /* children before their parents */
    size_t n_nodes, nodes_room;
    struct kl_code_range *ranges;
    size_t n_ranges, ranges_room;
    uint32_t n_looks;
    uint32_t root;
};

/* Errors: as kl_regex_compile. To be released even if it fails. */
enum kl_status kl_regex_parse(const char *pattern, size_t len, struct kl_regex_tree *tree,
                              struct kl_error *err);
void kl_regex_tree_release(struct kl_regex_tree *tree);

#endif
