/*
 * A queue of requests, linked through kl_request.next. No locks: the owner of the queue is the only
 * one that uses it.
 */
#ifndef KL_ENGINE_REQUEST_QUEUE_H
#define KL_ENGINE_REQUEST_QUEUE_H

#include "engine/request.h"

struct kl_request_queue {
    struct kl_request *head; /* NULL: empty */
    struct kl_request *tail; /* undefined while empty */
};

void kl_queue_append(struct kl_request_queue *queue, struct kl_request *request);
/* For a preempted request, which goes on first. */
void kl_queue_prepend(struct kl_request_queue *queue, struct kl_request *request);
/* Removes and returns the first request; NULL: the queue is empty. */
struct kl_request *kl_queue_take(struct kl_request_queue *queue);

#endif
