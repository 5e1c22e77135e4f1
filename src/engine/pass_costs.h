/*
 * How long a pass takes, by the number of its rows.
 *
 * Decoding reads all weights for one row; further rows of the same pass cost arithmetic only. Plain
 * values, measured by load/threads.h.
 */
#ifndef KL_ENGINE_PASS_COSTS_H
#define KL_ENGINE_PASS_COSTS_H

#include <stddef.h>

/* Seconds, or any multiple of them: [i] of a pass with i + 1 rows; each further row costs as much
 * as the last ones do on average. Ascending. */
#define KL_PASS_COSTS 16
struct kl_pass_costs {
    float cost[KL_PASS_COSTS];
};

/* Most tokens that one pass may have of drafts. */
#define KL_DRAFT_MAX (KL_PASS_COSTS - 1)

/* As measured with 2 threads of a server's CPU with AVX-512: where nothing was measured. */
extern const struct kl_pass_costs kl_pass_costs_usual;

/* The cost of a pass; n_rows at least 1. */
float kl_pass_cost(const struct kl_pass_costs *costs, size_t n_rows);

#endif
