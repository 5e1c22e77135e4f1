/*
 * The line in the log for a generation that ends: how it ended, and what it cost.
 *
 * Thread rule: the loop's thread.
 */
#ifndef KL_SERVICE_GENERATION_LOG_H
#define KL_SERVICE_GENERATION_LOG_H

#include "service/generation.h"

/* Logs the end of a generation for this cause, before its work is released. */
void kl_generation_log(struct kl_generation *g, const char *cause);

#endif
