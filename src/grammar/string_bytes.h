/*
 * The bytes inside a JSON string (RFC 8259) as an automaton of a few states.
 *
 * It accepts every sequence of characters: UTF-8 by RFC 3629 without control characters, and
 * escapes, of which those of surrogates must come in pairs. Characters are code points: an escape
 * is one, as is a pair of surrogates. A character has begun with its first byte. Pure; any thread.
 */
#ifndef KL_GRAMMAR_STRING_BYTES_H
#define KL_GRAMMAR_STRING_BYTES_H

#include <stdint.h>

enum kl_string_state {
    KL_STRING_DEAD,
    KL_STRING_CLOSED,  /* behind the closing quote */
    KL_STRING_BETWEEN, /* between characters; all others are inside one */
    KL_STRING_UTF8_1,  /* one more byte of a code point must follow, ... */
    KL_STRING_UTF8_2,
    KL_STRING_UTF8_3,
    KL_STRING_UTF8_E0, /* behind these bytes, where not all may follow */
    KL_STRING_UTF8_ED,
    KL_STRING_UTF8_F0,
    KL_STRING_UTF8_F4,
    KL_STRING_ESCAPE, /* behind a backslash */
    KL_STRING_HEX_4,  /* behind \u: four digits must follow, ... */
    KL_STRING_HEX_3D, /* behind \uD */
    KL_STRING_HEX_3,
    KL_STRING_HEX_2,
    KL_STRING_HEX_1,
    KL_STRING_HIGH_2, /* two more digits of the first surrogate, ... */
    KL_STRING_HIGH_1,
    KL_STRING_LOW_BACKSLASH, /* the second one must follow, ... */
    KL_STRING_LOW_U,
    KL_STRING_LOW_4,
    KL_STRING_LOW_3,
    KL_STRING_LOW_2,
    KL_STRING_LOW_1,
    KL_STRING_STATES
};

/* The next state for each state and byte: table[state][byte] is an enum kl_string_state. Nothing
 * follows KL_STRING_DEAD and KL_STRING_CLOSED. */
struct kl_string_table {
    uint8_t next[KL_STRING_STATES][256];
};
void kl_string_table_init(struct kl_string_table *table);

#endif
