/*
 * The memory that `kinglet serve` takes in addition to the model, and the choice of its engine:
 * used by serve itself, and by doctor, which tells beforehand whether a model fits.
 *
 * Plain values, any thread. Opens nothing.
 */
#ifndef KL_CLI_SERVING_H
#define KL_CLI_SERVING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "load/load.h"

/* The defaults of serve's options. */
#define KL_SERVING_CTX   4096
#define KL_SERVING_SLOTS 4
#define KL_SERVING_QUEUE 16

struct kl_serving {
    uint64_t budget;                /* from kl_load_budget: small ones lower several limits */
    struct kl_engine_choice engine; /* of each model, without rule_bytes */
    size_t max_connections;         /* 0: the default for the budget */
    bool late_lines, history;
};

/* The connections that are allowed. */
size_t kl_serving_connections(const struct kl_serving *serving);

/* Adds the lines of the server, whatever model it serves. */
void kl_serving_plan(const struct kl_serving *serving, struct kl_plan *plan);
/* Adds the line of the rules of a model's answers. */
void kl_serving_plan_rules(const struct kl_serving *serving, const struct kl_tokenizer *tokenizer,
                           struct kl_plan *plan);

/* The engine of each model, with the bytes for rules that the budget has. */
struct kl_engine_choice kl_serving_engine(const struct kl_serving *serving);

#endif
