/*
 * A download of a model that a client asked for: at most one at a time, on a thread of its own.
 *
 * The caller that began it is notified of its progress and its end by the loop. When the client
 * leaves, it is stopped; what has come is kept, and the next one continues there. The place is
 * taken until its thread has ended, which a source that sends nothing may delay for some seconds.
 *
 * Thread rule: the loop's; the thread shares only struct kl_source_progress and its result.
 */
#ifndef KL_SERVICE_MODEL_PULL_H
#define KL_SERVICE_MODEL_PULL_H

#include "base/model_source.h"
#include "service/service.h"

struct kl_model_pull_events {
    /* Called four times a second, until the end. total 0: not known yet. */
    void (*progress)(void *context, uint64_t done, uint64_t total);
    /* Called once; status and err are those of the source. */
    void (*ended)(void *context, enum kl_status status, const struct kl_error *err);
};

/* Begins a download; events are sent until `ended`, or kl_model_pull_stop. KL_ERR_BUSY: one is
 * running. */
enum kl_status kl_model_pull_begin(struct kl_service *service, const struct kl_source_model *model,
                                   const struct kl_model_pull_events *events, void *context,
                                   struct kl_error *err);

/* Stops the download that runs: nothing is sent of it any more. */
void kl_model_pull_stop(struct kl_service *service);

/* The same with `ended` (KL_ERR_CANCELLED), for a server that is being stopped. */
void kl_model_pull_cancel(struct kl_service *service);

/* The same as kl_model_pull_stop when the service closes; does not wait for the thread. */
void kl_model_pull_abandon(struct kl_service *service);

#endif
