/*
 * The interface of an API dialect: functions that read its requests, and functions that write the
 * events of an answer as bytes.
 *
 * A new dialect or answer format is one file in api/ with these tables. The service calls a dialect
 * only through them.
 */
#ifndef KL_SERVICE_DIALECT_H
#define KL_SERVICE_DIALECT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "http/api_error.h"
#include "http/exchange.h"

struct kl_call_piece;
struct kl_generation;
struct kl_generation_request;

/* Writes the events of an answer as a stream, or as one document. Called on the loop's thread.
 * Functions that send nothing may be NULL. If a piece of a stream cannot be written, exchange.h
 * cuts the connection, so these functions do not report it. */
struct kl_answer_format {
    /* The content type of a stream, whose response head is sent first; NULL: the answer is a
     * document, which `end` sends as a whole. */
    const char *stream_type;

    /* Writes the first events of a stream: the prompt is accepted and queued. */
    void (*begin)(struct kl_generation *g);
    /* Reports the progress of the prompt; only called if the request asked for it. */
    void (*progress)(struct kl_generation *g);
    /* Shows that the server is alive while there is nothing else to send. text: human-readable.
     * NULL: nothing is sent. */
    void (*heartbeat)(struct kl_generation *g, const char *text);
    /* Writes a piece of the text of a choice. KL_ERR_MEMORY: the generation fails. */
    enum kl_status (*text)(struct kl_generation *g, size_t choice, const char *text, size_t len);
    /* Writes a piece of a call of a tool, in the order of the answer (call_reader.h). NULL: a
     * request that reads calls has another format. KL_ERR_MEMORY: as with text. */
    enum kl_status (*call)(struct kl_generation *g, size_t choice,
                           const struct kl_call_piece *piece);
    /* Reports that a choice is complete; its `finish` has the reason. */
    void (*choice_done)(struct kl_generation *g, size_t choice);
    /* Write the last bytes; exactly one of them is called: all choices are complete, or the answer
     * failed. */
    void (*end)(struct kl_generation *g);
    void (*error)(struct kl_generation *g, const struct kl_api_error *error);
};

struct kl_dialect {
    /* Reads the headers of a request, on the loop's thread. */
    enum kl_status (*read_headers)(const struct kl_exchange *x,
                                   struct kl_generation_request *request,
                                   struct kl_api_error *error);
    /* Reads the fields of a body, or of a query, into *request, which then owns their source.
     * Called on the worker's thread, so it uses nothing but its arguments. The caller releases
     * *request in any case. */
    enum kl_status (*parse)(const char *text, size_t len, bool is_query,
                            struct kl_generation_request *request, struct kl_api_error *error);
    const struct kl_answer_format *stream, *document;
};

#endif
