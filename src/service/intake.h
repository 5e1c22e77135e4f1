/*
 * Intake: from a route to the engine's queue.
 *
 * A full service refuses a request before any work is done for it. Then the worker parses it and
 * encodes its prompt (preparation.h). It is submitted before anything is sent, so that every
 * refusal has its own HTTP status. Only while the model is being loaded a request waits here, with
 * the head of its stream sent; a refusal is then an error in the stream.
 *
 * Thread rule: everything runs on the loop's thread.
 */
#ifndef KL_SERVICE_INTAKE_H
#define KL_SERVICE_INTAKE_H

#include "service/generation.h"

/* Answers an exchange in a dialect: refuses it, or has the worker prepare it and answers later. */
void kl_generation_start(struct kl_exchange *x, const struct kl_dialect *dialect);

/* The model is loaded: continues with the requests that waited, in the order they came. */
void kl_generations_begin(struct kl_service *service);

#endif
