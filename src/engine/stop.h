/*
 * Finds stop strings in a stream of text, however the stream is cut into pieces.
 *
 * The answer ends before the stop string that is complete first; if several are complete at the
 * same byte, before the longest. One step per byte and string (the automaton of Knuth, Morris and
 * Pratt, 1977). A matcher stores no text: it reports how many bytes at the end of the stream must
 * be withheld.
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
    /* fallback[i]: length of the longest proper prefix of text that ends at text[i] */
    uint16_t fallback[KL_MAX_STOP_SIZE];
    uint16_t len;
    uint16_t matched; /* length of the longest prefix of text that the stream ends with */
};

struct kl_stop_matcher {
    struct kl_stop_string strings[KL_MAX_STOPS];
    size_t n;
    size_t found; /* the number of the string that has ended the stream, from 1 on; 0: none yet */
};

/* Copies the strings. KL_ERR_INVALID: too many strings, or one that is empty, too long or not
 * UTF-8. */
enum kl_status kl_stop_init(struct kl_stop_matcher *m, const char *const *stops, size_t n_stops,
                            struct kl_error *err);

/* Continues the stream with text (whole code points). Returns how many bytes at the end of the
 * stream must be withheld. *found false: they may be the beginning of a stop string; fewer bytes
 * than the longest, and whole code points. *found true: they are the stop string and the text after
 * it, and the stream has ended. */
size_t kl_stop_scan(struct kl_stop_matcher *m, const char *text, size_t len, bool *found);

#endif
