/*
 * The events of a request: written by the engine thread into the request's ring, polled by its
 * client (kl_request_poll in engine.h).
 *
 * A step is only begun when the ring has room for all events of a step and for KL_EVENT_DONE, so
 * no event is lost. Events are neutral: text, token counts, an end; formats are not made here.
 */
#ifndef KL_ENGINE_REQUEST_EVENTS_H
#define KL_ENGINE_REQUEST_EVENTS_H

#include "engine/request.h"

#define KL_EVENT_RING_SIZE ((size_t)64 * 1024) /* bytes, per request */

/* Most tokens that a step may accept with their log-probabilities. */
#define KL_STEP_LOGPROBS 32

/* Returns whether the ring has room for all events of a step. If not, the next poll signals the
 * request's wakeup. */
bool kl_request_has_room(struct kl_request *request);

/* The kl_request_send functions return whether an event was sent. */

/* Reports the place in the queue. Sends nothing if the request has been started before, if there is
 * no room, or if the position is the same as less than half a second ago. */
bool kl_request_send_queued(struct kl_request *request, uint32_t position, double wait_seconds,
                            uint64_t now_ns);
/* Reports that the first `done` prompt tokens are computed; not again, after a preemption. */
bool kl_request_send_prefill(struct kl_request *request, size_t done);
/* Sends n log-probabilities of a token, itself the first, before it is accepted. At most
 * KL_STEP_LOGPROBS of these events are sent until the next kl_request_send_text. */
void kl_request_send_token(struct kl_request *request, const struct kl_logprob *logprobs, size_t n);
/* Notes that the pending text without `withheld` is that of the tokens so far. Beyond KL_TEXT_CUTS
 * between two calls of _send_text, the text of several tokens is sent in one event. */
void kl_request_cut_text(struct kl_request *request);
/* Sends the pending text except its last `withheld` bytes, in events of whole code points, at least
 * one for each token that completes some. Returns whether that or a token was sent. */
bool kl_request_send_text(struct kl_request *request);
/* The last event. why: only used with KL_FINISH_ERROR. */
void kl_request_send_done(struct kl_request *request, enum kl_finish finish,
                          const struct kl_error *why, uint64_t now_ns);

#endif
