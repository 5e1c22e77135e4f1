/*
 * Detects that an answer only repeats itself: that its end is one text over and over.
 *
 * Found at the first token with which the end of the answer is a text of any length, repeated
 * KL_LOOP_REPEATS times and KL_LOOP_TOKENS tokens long in all. Exact: every such repetition is
 * found then, and nothing else. The number of a list item ("12. ") does not count, so a list whose
 * items are all the same is found; other numbers do, as they distinguish the rows of a table.
 *
 * About tens of comparisons per token on average, and memory for one number per token, which is
 * the caller's. No locks; ends nothing itself (answer.h).
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

/* The period at the end of the text, found in the window of one level. */
struct kl_loop_level {
    uint32_t period; /* 0: none */
    uint32_t run;    /* symbols at the end that repeat with it */
    uint32_t tokens; /* of which these symbols were made */
};

/* The state within a line. While it is not KL_LOOP_TEXT, a number may be that of a list item, and
 * its tokens are pending. */
enum kl_loop_line { KL_LOOP_LINE_BEGINS, KL_LOOP_NUMBER, KL_LOOP_AFTER_NUMBER, KL_LOOP_TEXT };

struct kl_loop_guard {
    int32_t *symbols; /* a token; or, for the number of an item, minus its number of tokens */
    size_t n;
    struct kl_loop_level levels[KL_LOOP_LEVELS];
    enum kl_loop_line line;
    int32_t pending[KL_LOOP_PENDING]; /* tokens not turned into symbols yet */
    size_t n_pending, n_digits;       /* the first of them are the number */
};

/* symbols: the caller's memory, one for each token of the longest answer; NULL: never pushed to. */
void kl_loop_guard_init(struct kl_loop_guard *guard, int32_t *symbols);

/* Adds a token (0 or more) with its text, which may end within a code point. Returns whether the
 * answer now only repeats itself. */
bool kl_loop_guard_push(struct kl_loop_guard *guard, int32_t token, const char *text, size_t len);

#endif
