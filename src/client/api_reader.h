/*
 * The other end of the API: reads what an OpenAI-compatible server sends, for the commands that
 * look at servers (doctor, bench).
 *
 * Framing of streams: WHATWG HTML, 9.2.6 "Interpreting an event stream". Content:
 * chat.completion.chunk objects, errors as {"error": ...}, "[DONE]" at the end. Bytes may be cut
 * anywhere. A pure state machine: it reads no clock and no socket.
 */
#ifndef KL_CLIENT_API_READER_H
#define KL_CLIENT_API_READER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buffer.h"
#include "base/error.h"

#define KL_STREAM_LINE_CAP ((size_t)1 << 20) /* longest line that is taken */

enum kl_stream_event_type {
    KL_STREAM_COMMENT, /* text: what it says */
    KL_STREAM_TEXT,    /* text: a piece of the answer, not empty */
    KL_STREAM_FINISH,  /* text: the finish_reason */
    KL_STREAM_USAGE,   /* prompt_tokens, answer_tokens */
    KL_STREAM_ERROR,   /* text: the message of an error object */
    KL_STREAM_BROKEN,  /* text: what is wrong with these bytes; reading goes on behind them */
    KL_STREAM_DONE     /* [DONE] */
};

struct kl_stream_event {
    enum kl_stream_event_type type;
    const char *text; /* valid during the call */
    size_t prompt_tokens, answer_tokens;
};

/* Called from kl_stream_reader_feed, in the order of the stream; one chunk may hold several. */
typedef void kl_stream_event_fn(void *context, const struct kl_stream_event *event);

struct kl_stream_reader {
    kl_stream_event_fn *see;
    void *context;
    struct kl_buffer line, data;
    bool after_cr; /* a LF is the second half of the line's end */
    bool has_data;
};

void kl_stream_reader_init(struct kl_stream_reader *reader, kl_stream_event_fn *see, void *context);
void kl_stream_reader_release(struct kl_stream_reader *reader);

/* KL_ERR_MEMORY, or KL_ERR_LIMIT for a line longer than KL_STREAM_LINE_CAP. */
enum kl_status kl_stream_reader_feed(struct kl_stream_reader *reader, const char *bytes, size_t len,
                                     struct kl_error *err);
/* Whether the bytes so far end with a whole event: false when the connection broke inside one. */
bool kl_stream_reader_at_end(const struct kl_stream_reader *reader);

/* ---- answers that are no streams ------------------------------------------------------------- */

/* A complete answer of the chat route, or an error object: events as above. */
void kl_read_answer(const char *json, size_t len, kl_stream_event_fn *see, void *context);

/* The id of the first model of GET /v1/models, cut to size; false: there is none. */
bool kl_read_model_id(const char *json, size_t len, char *out, size_t size);

/* How many requests a server is working on: "running" of our /health, or the slots that are
 * processing of llama-server's /slots. False: this text does not say. */
bool kl_read_running(const char *json, size_t len, size_t *running);

/* What the text of a /health of ours tells: with a key (or where there are none) all, without one
 * the status alone. */
enum kl_health_told { KL_HEALTH_OTHER, KL_HEALTH_STATUS, KL_HEALTH_ALL };
enum kl_health_told kl_read_health(const char *json, size_t len);

/* The resident memory of a server, in bytes: "resident_bytes" of our /health. False: it does not
 * say. */
bool kl_read_resident(const char *json, size_t len, double *bytes);

/* A streaming, greedy request of the chat route that asks for usage, as JSON. turns: [n], what the
 * user and the model have said, in turn, the user first and last. */
enum kl_status kl_write_conversation(const char *model, const char *const *turns, size_t n,
                                     size_t max_tokens, struct kl_buffer *out);

/* A request of the chat route with one message of the user, greedy, as JSON. */
enum kl_status kl_write_chat_request(const char *model, const char *text, size_t max_tokens,
                                     bool stream, struct kl_buffer *out);

#endif
