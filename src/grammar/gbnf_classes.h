/*
 * Classes of characters as automata over the bytes of UTF-8. Internal to gbnf.
 *
 * A class is an entry of a word store: two words for each edge, the first and last byte (the last
 * one shifted by 8 bits) and the entry that follows, KL_CLASS_DONE after the last byte of the
 * character. Edges are in order and exclude each other; equal classes and equal ends of classes are
 * one entry. Immutable once made, and then shared by threads.
 */
#ifndef KL_GRAMMAR_GBNF_CLASSES_H
#define KL_GRAMMAR_GBNF_CLASSES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "grammar/word_store.h"

#define KL_CLASS_DONE 0u
/* No entry: the byte is not allowed; as a class: no character is. */
#define KL_CLASS_NONE UINT32_MAX

struct kl_char_range {
    uint32_t first, last; /* code points */
};

/* Returns the entry of the characters in the ranges, or of all others if negated; surrogates are
 * never among them. Sorts the ranges. KL_CLASS_NONE: no character, or store->failure is set. */
uint32_t kl_class_make(struct kl_word_store *store, struct kl_char_range *ranges, size_t n,
                       bool negated);

/* Returns the entry that follows the byte, KL_CLASS_DONE or KL_CLASS_NONE. */
uint32_t kl_class_step(const struct kl_word_store *store, uint32_t entry, uint8_t byte);

#endif
