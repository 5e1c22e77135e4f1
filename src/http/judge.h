/*
 * Decides from the head of a request whether it is accepted: Host header, route, web site of the
 * page that sent it, method, API key, type and size of the body. So a body that is not wanted is
 * not read.
 */
#ifndef KL_HTTP_JUDGE_H
#define KL_HTTP_JUDGE_H

#include <stdbool.h>

#include "http/exchange.h"

/* Sets route, path, query and cache_scope of the exchange. Not KL_OK: the request is to be refused
 * with *error; headers of that answer (Allow, WWW-Authenticate) are set. */
enum kl_status kl_judge(struct kl_exchange *x, struct kl_api_error *error);

/* Returns whether the request has a valid API key, or the server has no keys. For routes that
 * need none but report more with one. */
bool kl_request_has_key(const struct kl_exchange *x);

#endif
