/*
 * CORS (https://fetch.spec.whatwg.org/#http-cors-protocol): the headers with which browsers hand
 * the answers of this server to pages of other sites. Only allowed origins (origins.h) get any;
 * without --allow-origin no answer has one. Also answers OPTIONS.
 *
 * Thread rule: the server's thread. For the files of this room only.
 */
#ifndef KL_HTTP_CROSS_ORIGIN_H
#define KL_HTTP_CROSS_ORIGIN_H

#include <stdbool.h>

#include "http/exchange.h"

/* Adds the headers that an answer has for the origin of its request, whatever the answer is: a page
 * cannot read an error without them, either. */
void kl_cross_origin_begin(struct kl_exchange *x);

/* Whether the request is a preflight from an allowed origin. Then it is answered with the methods
 * and headers that are allowed, wherever it asks for: it has no key, and a page learns of a wrong
 * path or method by the error of the request that follows. */
bool kl_cross_origin_preflight(struct kl_exchange *x);

/* The route of OPTIONS requests: answers 204 with the headers that were added. */
extern const struct kl_route kl_options_route;

#endif
