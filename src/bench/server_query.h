/*
 * Queries of bench and doctor to servers, in addition to questions of users: short GET requests,
 * and whether an answer is a stream.
 *
 * Blocks the calling thread; any number of threads. It does not read the answers: client/ does.
 */
#ifndef KL_BENCH_SERVER_QUERY_H
#define KL_BENCH_SERVER_QUERY_H

#include <stdbool.h>

#include "client/http_client.h"

/* GET base + path, like kl_http_run. base: from kl_http_base. request: key and limits; its URL is
 * filled in. Release the answer after either result. */
enum kl_status kl_server_get(const char *base, const char *path, struct kl_http_request request,
                             struct kl_http_answer *answer, struct kl_error *err);

/* Whether the content type is that of server-sent events. */
bool kl_is_event_stream(const struct kl_http_answer *answer);

#endif
