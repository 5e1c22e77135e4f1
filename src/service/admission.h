/*
 * Admission: whether a request may queue, and when a refused one should be sent again.
 *
 * Decided before a prompt is read, so that a full server refuses at once. Pure functions of what
 * the engine measured.
 */
#ifndef KL_SERVICE_ADMISSION_H
#define KL_SERVICE_ADMISSION_H

#include <stddef.h>

#include "engine/engine.h"

/* openai-python does not retry after a longer time than this. */
#define KL_MAX_RETRY_AFTER 120

enum kl_verdict {
    KL_ADMITTED,
    KL_REFUSED_FULL,    /* all slots are taken and the queue is full */
    KL_REFUSED_WAIT,    /* it would wait longer than the service allows */
    KL_REFUSED_DEADLINE /* it would not begin before its own deadline */
};

struct kl_admission_request {
    size_t n_requests; /* of the engine: one for each choice */
    enum kl_priority priority;
    double deadline_seconds; /* from now; 0: none */
    double max_wait_seconds; /* the limit of the service; 0: none */
};

/* Sets retry_after to the seconds after which the request is expected to be admitted, 1 to
 * KL_MAX_RETRY_AFTER; 0 with KL_ADMITTED. More choices than the slots and the queue together can
 * hold are always KL_REFUSED_FULL. */
enum kl_verdict kl_admission_decide(const struct kl_engine_stats *stats,
                                    const struct kl_admission_request *request,
                                    unsigned *retry_after);

/* Rounds seconds up to a value for Retry-After, 1 to KL_MAX_RETRY_AFTER. */
unsigned kl_retry_after(double seconds);

#endif
