/*
 * Answering: from the engine's events to the client.
 *
 * A generation is one exchange and its 1 to KL_MAX_CHOICES engine requests; intake.h makes it and
 * submits them. A stream is never silent for a second: comments say where it stands. Then a format
 * (native, OpenAI) turns what comes into events or one document. When the client is gone, its work
 * is cancelled at once, wherever it is: with the worker, in the queue, in prefill, in decode.
 */
#ifndef KL_SERVICE_GENERATION_H
#define KL_SERVICE_GENERATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/chat_input.h"
#include "base/buffer.h"
#include "engine/engine.h"
#include "http/exchange.h"
#include "service/metrics.h"

#define KL_MAX_CHOICES 4

/* What a route made of its fields. */
struct kl_generation_request {
    json_t *json;      /* the strings here belong to it, */
    char *settled;     /* or to this */
    const char *model; /* as the client named it, or NULL */
    struct kl_chat_input input;
    struct kl_sampling sampling; /* choice i draws with seed + i */
    size_t max_tokens;           /* SIZE_MAX: as much as the context holds */
    const char *stops[KL_MAX_STOPS];
    size_t n_stops;
    size_t n_choices;
    enum kl_priority priority;
    bool has_priority;       /* a header said so */
    double deadline_seconds; /* from when it came in; 0: none */
    enum kl_context_policy context_policy;
    bool loop_guard;
    const char *service_tier; /* to be told in the answer, static; NULL: not asked for */
    bool stream;
    bool include_usage;
    bool return_progress; /* as JSON, not as comments; streams only */
};

struct kl_preparation;

struct kl_answer_choice {
    struct kl_request *request; /* NULL when it is done */
    struct kl_buffer text;      /* of an answer in one piece */
    enum kl_finish finish;
    uint32_t prompt_tokens, cached_tokens, answer_tokens;
    double queue_seconds, prefill_seconds, decode_seconds;
    bool is_silent; /* its deadline came before any text, and its end was not told yet */
    uint64_t submit_ns, prefill_ns, first_text_ns; /* when, as far as it came; 0: not yet */
    uint64_t text_ns;                              /* of the last piece of text; 0: none yet */
};

struct kl_generation {
    struct kl_exchange *exchange;
    const struct kl_answer_format *format; /* NULL: not known yet */
    struct kl_preparation *preparation;    /* until it is submitted */
    bool stream, include_usage, return_progress;
    const char *service_tier;
    uint64_t deadline_ns;    /* 0: none */
    size_t n_left_out;       /* messages that did not fit */
    enum kl_counter refusal; /* what it counts as when it is not let in */
    int64_t created;         /* seconds since 1970 */
    struct kl_answer_choice choices[KL_MAX_CHOICES];
    size_t n_choices, n_open;
    /* before the first text: how far it is, for the comments in the stream */
    uint32_t position, prefill_done, prefill_total, prefill_cached;
    float wait_seconds;
    uint64_t prefill_ns; /* when it began, as far as is known: when it was last in the queue */
    bool has_text;
    struct kl_generation *previous, *next;
};

/* How events become bytes. Only end is called for answers in one piece. */
struct kl_answer_format {
    void (*begin)(struct kl_generation *g);    /* after the headers of a stream */
    void (*progress)(struct kl_generation *g); /* with return_progress, while the prompt is read */
    void (*text)(struct kl_generation *g, size_t choice, const char *text, size_t len);
    void (*choice_done)(struct kl_generation *g, size_t choice);
    void (*end)(struct kl_generation *g); /* the last bytes, or the whole document */
};

/* "deadline", "repetition"; NULL: the model's own end, or a limit that the client set. */
const char *kl_ended_by(enum kl_finish finish);
/* A comment that says how far it is, or what the client asked for. */
void kl_generation_send_progress(struct kl_generation *g);

/* One that is new: from now on it hears of its client, and its client of it. */
void kl_generation_add(struct kl_generation *g);

/* It cannot be finished: said in the stream, if that is what runs, and counted. g is gone. */
void kl_generation_fail(struct kl_generation *g, const struct kl_api_error *error,
                        enum kl_counter counter);

/* Cancels what runs; says nothing. */
void kl_generation_free(struct kl_generation *g);

/* {"total","cache","processed","time_ms"}, as llama-server tells it. A new reference. */
json_t *kl_generation_progress(const struct kl_generation *g);

/* What a client should know of its answer and OpenAI's format has no field for: messages_left_out,
 * and ended_by (of one choice). A new reference; NULL when there is nothing to say. */
json_t *kl_generation_notes(const struct kl_generation *g, enum kl_finish finish);

/* The engine has events: moves all of them on. */
void kl_generations_poll(struct kl_server *server);

/* Tells clients that wait how far they are, when they heard nothing for most of a second. */
void kl_generations_tick(struct kl_server *server);

/* Is there one that the engine could get on with, one whose client takes what is made? */
bool kl_generations_want_work(struct kl_server *server);

/* Ends all with an error in the stream, or as the answer. */
void kl_generations_cut(struct kl_server *server, const struct kl_api_error *error);

/* Ends all without a word; when the server closes. */
void kl_generations_forget(struct kl_server *server);

#endif
