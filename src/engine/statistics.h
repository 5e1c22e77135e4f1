/*
 * Measurements of the engine: latencies of recent requests, recent speeds, and estimates from them.
 *
 * Not locked: the caller holds the engine's lock. Reads no clock.
 */
#ifndef KL_ENGINE_STATISTICS_H
#define KL_ENGINE_STATISTICS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KL_LATENCIES 256

/* Tokens per second of the recent past: both are halved when seconds reach a limit. */
struct kl_speed {
    double tokens;
    double seconds;
};

struct kl_statistics {
    double latencies[KL_LATENCIES]; /* seconds; the most recent, in no order */
    uint64_t n_latencies;           /* ever added */
    struct kl_speed prefill, decode;
    double row_seconds;   /* recent cost of a prompt row; 0: none yet */
    bool only_decode;     /* the last step had no prompt rows */
    double answer_tokens; /* of a typical answer; 0: none yet */
};

void kl_statistics_add_latency(struct kl_statistics *s, double seconds);
/* Adds a step with these rows. With prompt rows its time counts as prefill, that of its decode rows
 * included. */
void kl_statistics_add_step(struct kl_statistics *s, size_t prefill_rows, size_t decode_rows,
                            double seconds);

/* Adds tokens that the step added last gave in addition to one for each of its decode rows. */
void kl_statistics_add_accepted(struct kl_statistics *s, size_t n_tokens);

/* Adds a complete answer. */
void kl_statistics_add_answer(struct kl_statistics *s, size_t n_tokens);

/* Estimates the seconds for a prompt and an answer of typical length, at most max_answer tokens,
 * when nothing else runs; 0 before the speeds are known. */
double kl_statistics_work(const struct kl_statistics *s, size_t prompt_tokens, size_t max_answer);

/* Returns a percentile of the latencies (nearest rank), seconds; 0 if there are none. percent: 1 to
 * 100. */
double kl_statistics_latency(const struct kl_statistics *s, unsigned percent);
double kl_speed_value(const struct kl_speed *speed); /* tokens/s; 0 before the first */

#endif
