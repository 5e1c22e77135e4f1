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

/* Greedy, a random seed, and what the server's options say. */
void kl_generation_request_init(struct kl_generation_request *request,
                                const struct kl_server *server);

void kl_generation_request_release(struct kl_generation_request *request);

/* When its prompt is encoded: releases the JSON and the conversation; the rest stays. */
enum kl_status kl_generation_request_settle(struct kl_generation_request *request,
                                            struct kl_api_error *error);

/* What is particular to a route. */
struct kl_chat_api {
    /* The fields of a body, or of a query, to *request; its JSON becomes the request's. On the
     * worker's thread: it knows only what it is given. */
    enum kl_status (*parse)(const char *text, size_t len, bool is_query,
                            struct kl_generation_request *request, struct kl_api_error *error);
    const struct kl_answer_format *stream, *document;
};

/* Refuses it, or lets the worker prepare it, and then answers; the exchange is taken care of in any
 * case. */
void kl_generation_start(struct kl_exchange *x, const struct kl_chat_api *api);

/* The model is loaded: goes on with those that waited, in the order they came. */
void kl_generations_begin(struct kl_server *server);

#endif
