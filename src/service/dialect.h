/*
 * What an API dialect adds to the neutral service: how its requests are read, and how the events of
 * an answer become bytes.
 *
 * A new dialect or answer format is one file in api/ with these tables. The service calls their
 * functions and nothing else of a dialect.
 */
#ifndef KL_SERVICE_DIALECT_H
#define KL_SERVICE_DIALECT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "http/api_error.h"
#include "http/exchange.h"

struct kl_generation;
struct kl_generation_request;

/* How the events of an answer become bytes: a stream, or one document. On the loop's thread. A
 * function that is NULL has nothing to send. A stream in which a piece cannot be written is cut by
 * exchange.h; its functions do not report it. */
struct kl_answer_format {
    /* The content type of a stream, whose head is sent before anything else; NULL: the answer is a
     * document, which `end` sends as a whole. */
    const char *stream_type;

    /* The prompt is accepted and queued: the first events of a stream. */
    void (*begin)(struct kl_generation *g);
    /* While the prompt is computed, where the request asked for its progress. */
    void (*progress)(struct kl_generation *g);
    /* Shows that the server is alive while there is nothing else to send. text: for people. NULL:
     * the client waits in silence. */
    void (*heartbeat)(struct kl_generation *g, const char *text);
    /* A piece of the text of a choice. Not KL_OK: no memory; the generation then fails. */
    enum kl_status (*text)(struct kl_generation *g, size_t choice, const char *text, size_t len);
    /* A choice is complete; its `finish` says how. */
    void (*choice_done)(struct kl_generation *g, size_t choice);
    /* The last bytes, one of them: all choices are complete; or the answer has failed. */
    void (*end)(struct kl_generation *g);
    void (*error)(struct kl_generation *g, const struct kl_api_error *error);
};

struct kl_dialect {
    /* Reads the headers of a request, on the loop's thread. */
    enum kl_status (*read_headers)(const struct kl_exchange *x,
                                   struct kl_generation_request *request,
                                   struct kl_api_error *error);
    /* Reads the fields of a body, or of a query, into *request, and gives it what owns their
     * strings. On the worker's thread: uses its arguments only. The caller releases *request in
     * any case. */
    enum kl_status (*parse)(const char *text, size_t len, bool is_query,
                            struct kl_generation_request *request, struct kl_api_error *error);
    const struct kl_answer_format *stream, *document;
};

#endif
