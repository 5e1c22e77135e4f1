/*
 * Intake: takes requests from their routes to the engine's queue.
 *
 * A full service refuses a request before any work is done for it. Otherwise the worker parses it
 * and encodes its prompt (preparation.h). It is submitted before any byte is sent, so that every
 * refusal has its own HTTP status. Only while the model is being loaded, requests wait here with
 * the head of their stream sent; a refusal is then an error in the stream.
 *
 * Thread rule: everything runs on the loop's thread.
 */
#ifndef KL_SERVICE_INTAKE_H
#define KL_SERVICE_INTAKE_H

#include "service/generation.h"

/* Begins to answer an exchange in a dialect: refuses it, or gives it to the worker and answers
 * later. */
void kl_generation_start(struct kl_exchange *x, const struct kl_dialect *dialect);

/* Continues the requests that waited for a model, in order of arrival, now that it is open; refuses
 * them if it cannot be opened. */
void kl_generations_begin(struct kl_service *service, struct kl_hosted *m);

#endif
