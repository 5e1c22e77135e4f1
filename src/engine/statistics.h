/*
 * What the engine measured about itself: latencies of the last requests, speeds of the recent past.
 * Not locked: the caller sees to that.
 */
#ifndef KL_ENGINE_STATISTICS_H
#define KL_ENGINE_STATISTICS_H

#include <stddef.h>
#include <stdint.h>

#define KL_LATENCIES 256

/* Tokens over seconds, of which the older half-fades each time the seconds reach a limit. */
struct kl_speed {
    double tokens;
    double seconds;
};

struct kl_statistics {
    double latencies[KL_LATENCIES]; /* seconds; the last ones, in no order */
    uint64_t n_latencies;           /* ever added */
    struct kl_speed prefill, decode;
    double row_seconds;   /* of a step with prompt rows, for each of them, lately; 0: none yet */
    double answer_tokens; /* of a typical answer; 0 before the first one ended */
};

void kl_statistics_add_latency(struct kl_statistics *s, double seconds);
/* A step of so many rows. One with prompt rows counts as prefill, its decode rows as the price of
 * not making the others wait. */
void kl_statistics_add_step(struct kl_statistics *s, size_t prefill_rows, size_t decode_rows,
                            double seconds);

/* An answer that ended of itself. */
void kl_statistics_add_answer(struct kl_statistics *s, size_t n_tokens);

/* How long so many tokens take when nothing else runs, the answer of a typical length but not
 * longer than max_answer; seconds; 0 before the speeds are known. */
double kl_statistics_work(const struct kl_statistics *s, size_t prompt_tokens, size_t max_answer);

/* The smallest latency that `percent` of the kept ones do not exceed (nearest rank); 0 when there
 * is none. percent: 1 to 100. */
double kl_statistics_latency(const struct kl_statistics *s, unsigned percent);
double kl_speed_value(const struct kl_speed *speed); /* tokens/s; 0 before the first */

#endif
