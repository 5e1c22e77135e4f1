/*
 * The client's side of the API: reads the answers of OpenAI-compatible servers and writes requests,
 * for the commands that examine servers (doctor, bench).
 *
 * Framing of streams: WHATWG HTML, 9.2.6 "Interpreting an event stream". Content:
 * chat.completion.chunk objects, errors as {"error": ...}, "[DONE]" at the end. Bytes may arrive
 * in pieces of any size. A pure state machine: it reads no clock and no socket.
 */
#ifndef KL_CLIENT_API_READER_H
#define KL_CLIENT_API_READER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buffer.h"
#include "base/error.h"

#define KL_STREAM_LINE_CAP ((size_t)1 << 20) /* longest line that is accepted */

enum kl_stream_event_type {
    KL_STREAM_COMMENT, /* text: the comment */
    KL_STREAM_TEXT,    /* text: a piece of the answer, not empty */
    KL_STREAM_FINISH,  /* text: the finish_reason */
    KL_STREAM_USAGE,   /* prompt_tokens, answer_tokens */
    KL_STREAM_ERROR,   /* text: the message of an error object */
    KL_STREAM_BROKEN,  /* text: the error in these bytes; reading continues after them */
    KL_STREAM_DONE     /* [DONE] */
};

struct kl_stream_event {
    enum kl_stream_event_type type;
    const char *text; /* valid during the call */
    size_t prompt_tokens, answer_tokens;
};

/* Called from kl_stream_reader_feed, in the order of the stream; one chunk may contain several
 * events. */
typedef void kl_stream_event_fn(void *context, const struct kl_stream_event *event);

struct kl_stream_reader {
    kl_stream_event_fn *on_event;
    void *context;
    struct kl_buffer line, data;
    bool after_cr; /* a LF belongs to the CR before it */
    bool has_data;
};

void kl_stream_reader_init(struct kl_stream_reader *reader, kl_stream_event_fn *on_event,
                           void *context);
void kl_stream_reader_release(struct kl_stream_reader *reader);

/* Reads the next bytes of a stream. KL_ERR_MEMORY, or KL_ERR_LIMIT for a line longer than
 * KL_STREAM_LINE_CAP. */
enum kl_status kl_stream_reader_feed(struct kl_stream_reader *reader, const char *bytes, size_t len,
                                     struct kl_error *err);
/* Whether the bytes so far end with a complete event; false if the connection broke inside one. */
bool kl_stream_reader_at_end(const struct kl_stream_reader *reader);

/* ---- other answers --------------------------------------------------------------------------- */

/* Reads a complete answer of the chat route, or an error object: the same events. */
void kl_read_answer(const char *json, size_t len, kl_stream_event_fn *on_event, void *context);

/* Writes the id of the first model in an answer to GET /v1/models, truncated to size. Returns false
 * if there is none. */
bool kl_read_model_id(const char *json, size_t len, char *out, size_t size);

/* Reads the number of running requests: "running" of kinglet's /health, or the slots of
 * llama-server's /slots that are processing. Returns false if json says neither. */
bool kl_read_running(const char *json, size_t len, size_t *running);

/* How much an answer of /health says. kinglet says everything to clients with a key, and to all if
 * it has no keys; otherwise only its status. */
enum kl_health_told { KL_HEALTH_OTHER, KL_HEALTH_STATUS, KL_HEALTH_ALL };
enum kl_health_told kl_read_health(const char *json, size_t len);

/* Reads the resident memory of a server, in bytes: "resident_bytes" of kinglet's /health. Returns
 * false if it is missing. */
bool kl_read_resident(const char *json, size_t len, double *bytes);

/* Appends the JSON of a streaming, greedy chat request that asks for usage. turns: [n], texts of
 * the user and the model in turn; the first and the last are the user's. */
enum kl_status kl_write_conversation(const char *model, const char *const *turns, size_t n,
                                     size_t max_tokens, struct kl_buffer *out);

/* Appends the JSON of a greedy chat request with one message of the user. */
enum kl_status kl_write_chat_request(const char *model, const char *text, size_t max_tokens,
                                     bool stream, struct kl_buffer *out);

#endif
