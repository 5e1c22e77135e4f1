/*
 * How often guesses of a kind were right: by the source of a guess and the length of its match.
 *
 * Counts fade, so that the recent past decides. Plain values without locks, clock or randomness:
 * the same outcomes in the same order give the same rates.
 */
#ifndef KL_ENGINE_DRAFT_RATES_H
#define KL_ENGINE_DRAFT_RATES_H

#include <stdbool.h>
#include <stddef.h>

enum kl_draft_source {
    KL_DRAFT_CONVERSATION, /* the prompt and the answer so far */
    KL_DRAFT_EARLIER,      /* answers given before in the same scope */
    KL_DRAFT_PREDICTION,   /* a text that the request brings */
    KL_DRAFT_RULE          /* what a rule makes likely (request_rule.h) */
};
#define KL_N_DRAFT_SOURCES (KL_DRAFT_RULE + 1)
/* "conversation", "earlier", "prediction" or "rule"; static. */
const char *kl_draft_source_name(enum kl_draft_source source);

/* Matches of 2, 3, 4-5, 6-7, 8-11, 12-15, 16-31, 32 and more tokens; and those of none or one token
 * after a change in a text that agreed for 0-3, 4-15, 16 and more tokens before. */
#define KL_DRAFT_CLASSES 14

struct kl_draft_rate {
    float right, all;
};
struct kl_draft_rates {
    struct kl_draft_rate rates[KL_N_DRAFT_SOURCES][KL_DRAFT_CLASSES];
};

/* The rates before anything was counted. */
void kl_draft_rates_init(struct kl_draft_rates *rates);

/* Counts a guess behind a match of `length` tokens, which were `before` before the last wrong one,
 * in the rates of its request and in those of all requests. */
void kl_draft_rates_count(struct kl_draft_rates *own, struct kl_draft_rates *all,
                          enum kl_draft_source source, size_t length, size_t before, bool right);

/* The probability that a guess is right: as in this request, and where it has few guesses of this
 * kind, as in all. */
float kl_draft_rates_chance(const struct kl_draft_rates *own, const struct kl_draft_rates *all,
                            enum kl_draft_source source, size_t length, size_t before);

#endif
