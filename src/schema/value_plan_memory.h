/*
 * The memory of plans and links. Internal to schema/value_plan.c and schema/links.c.
 */
#ifndef KL_SCHEMA_VALUE_PLAN_MEMORY_H
#define KL_SCHEMA_VALUE_PLAN_MEMORY_H

#include "schema/value_plan.h"

/* Allocates n zeroed elements that count as memory of the plans; the caller frees them. NULL:
 * plans->failure is set. */
void *kl_plans_take(struct kl_plans *plans, size_t n, size_t size);

/* kl_word_store_put; 0: plans->failure is set. */
uint32_t kl_plans_put(struct kl_plans *plans, struct kl_word_store *store, const uint32_t *words,
                      size_t n);

/* Gives the link a number and owns it; false: plans->failure is set. */
bool kl_plans_add_link(struct kl_plans *plans, struct kl_link *link);

#endif
