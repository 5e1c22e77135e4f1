/*
 * Finds where one of several texts ends, byte by byte: the automaton of Aho and Corasick
 * (Communications of the ACM 18, 1975), and a second one for texts that only begin the whole text.
 * Internal to triggers. Immutable once made; any thread.
 */
#ifndef KL_GRAMMAR_TRIGGER_SEARCH_H
#define KL_GRAMMAR_TRIGGER_SEARCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define KL_TRIGGER_NONE (-1)

struct kl_trigger_text {
    const char *text;
    bool only_first; /* at the start, after whitespace, with which it does not begin */
};

/* Node 0 of the first automaton is "nothing yet", of the second "not at the start any more". */
struct kl_trigger_search {
    uint8_t classes[256]; /* of bytes that all texts treat alike */
    size_t n_classes;
    struct kl_trigger_nodes {
        uint16_t *next; /* [n][n_classes] */
        int16_t *found; /* [n] the text that ends at the node, or KL_TRIGGER_NONE */
        size_t n;
    } anywhere, first;
};

/* The texts are not empty and have KL_TRIGGERS_MAX_BYTES in all. KL_ERR_MEMORY; on failure, too, it
 * must be freed. */
enum kl_status kl_trigger_search_make(struct kl_trigger_search *search,
                                      const struct kl_trigger_text *texts, size_t n,
                                      struct kl_error *err);
void kl_trigger_search_free(struct kl_trigger_search *search);
size_t kl_trigger_search_bytes(const struct kl_trigger_search *search);

/* States: at the start of the text, and after a text that was found. */
uint32_t kl_trigger_search_start(const struct kl_trigger_search *search);
#define KL_TRIGGER_RESTART 0u

/* Returns the state after the byte. *found: the text that ends with it, or KL_TRIGGER_NONE. */
uint32_t kl_trigger_search_step(const struct kl_trigger_search *search, uint32_t state,
                                uint8_t byte, int *found);

#endif
