/*
 * Finds the end of an answer in a stream of text: stop strings, wherever the pieces are cut.
 *
 * The answer ends before the stop string that is complete first; of several complete at the same
 * byte, before the longest. That does not depend on how the text was cut into pieces (Knuth, Morris
 * and Pratt's automaton per string, one step per byte). The matcher keeps no text: it says how
 * many bytes at the end of the text so far must not be shown (yet).
 */
#ifndef KL_ENGINE_STOP_H
#define KL_ENGINE_STOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "engine/engine.h"

struct kl_stop_string {
    char text[KL_MAX_STOP_SIZE];
    /* fallback[i]: the longest true prefix of text that ends at text[i] */
    uint16_t fallback[KL_MAX_STOP_SIZE];
    uint16_t len;
    uint16_t matched; /* the longest prefix of text at the end of the stream so far */
};

struct kl_stop_matcher {
    struct kl_stop_string strings[KL_MAX_STOPS];
    size_t n;
};

/* Copies the strings. KL_ERR_INVALID: too many, an empty or too long one, or not UTF-8. */
enum kl_status kl_stop_init(struct kl_stop_matcher *m, const char *const *stops, size_t n_stops,
                            struct kl_error *err);

/* The stream goes on with text (whole code points). Returns how many bytes at the end of the
 * stream are to be withheld: with *found false they may be the beginning of a stop string (less
 * than the longest, and never part of a code point), with *found true they are the stop string and
 * what came after it, and the stream is over. */
size_t kl_stop_scan(struct kl_stop_matcher *m, const char *text, size_t len, bool *found);

#endif
