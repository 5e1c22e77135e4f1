/*
 * The automaton of a regular expression over the bytes of UTF-8, before it is made deterministic.
 * Internal to grammar/. Thompson, "Regular expression search algorithm", 1968, with bytes.
 */
#ifndef KL_GRAMMAR_REGEX_PROGRAM_H
#define KL_GRAMMAR_REGEX_PROGRAM_H

#include <stdbool.h>

#include "grammar/regex.h"
#include "grammar/regex_syntax.h"

enum kl_regex_op {
    KL_OP_MATCH, /* first: 1 if every continuation matches, too */
    KL_OP_BYTE,  /* first to last, then `next` */
    KL_OP_SPLIT, /* `next` and `other` */
    KL_OP_BEGIN, /* `next` at the begin of the text */
    KL_OP_END,   /* `next` at its end */
    KL_OP_LOOK   /* `next` if look-ahead `other` matches from here on; first: 1 if it must not */
};

struct kl_regex_state {
    uint8_t op, first, last;
    bool can_match; /* from here, behind the begin of the text */
    bool ends;      /* a match is reached without a byte, at the end of the text */
    bool empty;     /* the same, if the text is empty */
    uint32_t next, other;
};

struct kl_regex {
    struct kl_regex_state *states; /* [n] state 0 is KL_OP_MATCH */
    size_t n, room;
    uint32_t start;
    uint32_t loop;        /* of a search: the state that reads any byte and stays; 0: none */
    uint8_t classes[256]; /* bytes of a class are alike to all states */
    uint8_t samples[256]; /* [n_classes] a byte of each */
    size_t n_classes;
    struct kl_regex *looks[KL_REGEX_MAX_LOOKS]; /* NULL: not in this program */
    bool is_look;
    size_t positions;
};

/* States of a program: a character takes several. */
#define KL_REGEX_MAX_STATES 400000

#endif
