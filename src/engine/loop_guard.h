/*
 * Finds out that an answer only repeats itself: that its end is one text over and over.
 *
 * True at the first token with which the end of the answer is a text of any length KL_LOOP_REPEATS
 * times, and KL_LOOP_TOKENS tokens in all. Exact: whatever repeats itself so often is found then,
 * and nothing else. The number of an item in a list ("12. ") does not count, so that a list whose
 * items all say the same is found; other numbers do, as what tells the rows of a table apart.
 *
 * Some tens of comparisons a token on average, and memory for one number a token.
 */
#ifndef KL_ENGINE_LOOP_GUARD_H
#define KL_ENGINE_LOOP_GUARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KL_LOOP_REPEATS 8
#define KL_LOOP_TOKENS  256

/* Windows of 64, 128, ... symbols are searched for a period; the largest of a million. */
#define KL_LOOP_LEVELS  15
#define KL_LOOP_PENDING 16 /* tokens of the beginning of a line */

/* The period that the end of the text has, as the window of this level showed it. */
struct kl_loop_level {
    uint32_t period; /* 0: none */
    uint32_t run;    /* symbols at the end that have it */
    uint32_t tokens; /* that these stand for */
};

/* What was read of a line: a number that may be an item's stands still undecided. */
enum kl_loop_line { KL_LOOP_LINE_BEGINS, KL_LOOP_NUMBER, KL_LOOP_AFTER_NUMBER, KL_LOOP_TEXT };

struct kl_loop_guard {
    int32_t *symbols; /* a token; or the number of an item, negative: how many tokens it has */
    size_t n;
    struct kl_loop_level levels[KL_LOOP_LEVELS];
    enum kl_loop_line line;
    int32_t pending[KL_LOOP_PENDING]; /* tokens that are undecided */
    size_t n_pending, n_digits;       /* the first of them are the number */
};

/* symbols: room for as many as there will be tokens; the caller's. */
void kl_loop_guard_init(struct kl_loop_guard *guard, int32_t *symbols);

/* The answer goes on with a token (0 or more) and its text, which may end within a code point. Says
 * whether the answer only repeats itself now. */
bool kl_loop_guard_push(struct kl_loop_guard *guard, int32_t token, const char *text, size_t len);

#endif
