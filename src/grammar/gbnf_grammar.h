/*
 * A GBNF grammar as a tree: the result of parsing it, and the input of gbnf_program. Internal to
 * gbnf. One thread.
 */
#ifndef KL_GRAMMAR_GBNF_GRAMMAR_H
#define KL_GRAMMAR_GBNF_GRAMMAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"
#include "grammar/word_store.h"

#define KL_GBNF_NONE UINT32_MAX

enum kl_gbnf_kind {
    KL_GBNF_TEXT,      /* first, second: its place and length in `bytes` */
    KL_GBNF_CLASS,     /* first: the entry of `classes`, KL_CLASS_NONE: no character */
    KL_GBNF_REFERENCE, /* first: the rule; second: the next reference to it */
    KL_GBNF_SEQUENCE,
    KL_GBNF_CHOICE,
    KL_GBNF_REPETITION /* first, second: least and most times, KL_GBNF_NONE: no limit */
};

struct kl_gbnf_part {
    uint8_t kind;
    bool ends;  /* some finite text completes it */
    bool empty; /* the empty text completes it */
    uint32_t first, second;
    uint32_t child, next;  /* the first part in it, the next one in its parent */
    uint32_t parent, rule; /* parent: KL_GBNF_NONE for the whole body of the rule */
    uint32_t routine;      /* of the program, KL_GBNF_NONE: none */
};

struct kl_gbnf_rule {
    uint32_t name, name_len; /* its place in the text */
    uint32_t body;           /* KL_GBNF_NONE: not defined */
    uint32_t references;     /* the first one, then by .second */
};

struct kl_gbnf_grammar {
    const char *text;
    size_t len;
    struct kl_gbnf_part *parts;
    size_t n_parts, room;
    struct kl_gbnf_rule *rules; /* [KL_GBNF_MAX_RULES] */
    size_t n_rules;
    uint32_t root; /* of rules */
    struct kl_buffer bytes;
    struct kl_word_store classes; /* see gbnf_classes.h */
};

/* text is kept by reference. On failure, too, the grammar must be freed. */
enum kl_status kl_gbnf_parse(const char *text, size_t len, struct kl_gbnf_grammar *grammar,
                             struct kl_error *err);
void kl_gbnf_grammar_free(struct kl_gbnf_grammar *grammar);

#endif
