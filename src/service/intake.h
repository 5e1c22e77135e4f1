/*
 * Taking requests in: from a route to the engine's queue.
 *
 * A server that is full says so before anything is done for a request. Then the worker parses it
 * and encodes its prompt (preparation.h). It is submitted before anything is sent, so that whatever
 * can be refused is refused with its own status. Only while the model is being loaded it waits
 * here, a stream with its headers sent; what is refused afterwards is an error in the stream.
 */
#ifndef KL_SERVICE_INTAKE_H
#define KL_SERVICE_INTAKE_H

#include "service/generation.h"

/* Refuses it, or lets the worker prepare it, and then answers; the exchange is taken care of in any
 * case. */
void kl_generation_start(struct kl_exchange *x, const struct kl_dialect *dialect);

/* The model is loaded: goes on with those that waited, in the order they came. */
void kl_generations_begin(struct kl_service *service);

#endif
