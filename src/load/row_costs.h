/*
 * How much longer a pass takes with more rows: as an earlier start measured, as this start
 * measures, or as usual.
 *
 * Drafts are worth the rows that they cost, which differs: on one computer eight rows take twice as
 * long as one, on another hardly longer. The first start measures it with the real model, after
 * the numbers of threads (load/threads.h), and keeps the result in $XDG_CACHE_HOME/kinglet/threads.
 */
#ifndef KL_LOAD_ROW_COSTS_H
#define KL_LOAD_ROW_COSTS_H

#include <stdbool.h>

#include "base/cpus.h"
#include "base/error.h"
#include "engine/pass_costs.h"
#include "model/model.h"

/* Fills *costs, and logs them. measure: if no earlier result is kept. Fails only if there is no
 * memory for the measurement. */
enum kl_status kl_row_costs_choose(const struct kl_model *model, const struct kl_cpus *cpus,
                                   struct kl_threads threads, bool measure,
                                   struct kl_pass_costs *costs, struct kl_error *err);

/* Makes costs of seconds that were measured for the numbers of rows sizes [n]: the first is 1, the
 * last KL_PASS_COSTS, ascending. Those between are on a line; none is below that of fewer rows; 1
 * row costs 1. Pure. */
void kl_row_costs_of(const size_t *sizes, const double *seconds, size_t n,
                     struct kl_pass_costs *costs);

/* Costs as the text of their file, 16 numbers with three digits, and back; false: that is no such
 * text, and *costs is unchanged. */
void kl_row_costs_format(const struct kl_pass_costs *costs, char *out, size_t size);
bool kl_row_costs_parse(const char *text, struct kl_pass_costs *costs);

#endif
