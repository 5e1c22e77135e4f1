/*
 * The name that a mistyped word probably means, for "did you mean ...?".
 */
#ifndef KL_CONSOLE_NEAREST_H
#define KL_CONSOLE_NEAREST_H

#include <stddef.h>

/* The nearest of several names to a word, by edit distance (optimal string alignment: swapping two
 * neighbouring letters counts once). */
struct kl_nearest {
    const char *word;
    const char *best; /* NULL while no name is near enough */
    size_t distance;
};

/* Begins a search; word must outlive it. */
void kl_nearest_init(struct kl_nearest *nearest, const char *word);

/* Makes name the best one if it is nearer than those before it. A name that begins with the word
 * (at least 3 letters) is as near as one with a single wrong letter. */
void kl_nearest_consider(struct kl_nearest *nearest, const char *name);

#endif
