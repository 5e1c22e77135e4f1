/*
 * The service: carries requests for answers from the HTTP server to the engine, and the answers
 * back.
 *
 * One object holds the state that its parts share: the models that are served (or the progress of
 * loading the first), the worker that prepares requests, the running generations, and the metrics.
 * It is the application of the HTTP server (kl_service_of), so handlers of routes find it in their
 * exchange.
 *
 * Thread rule: everything belongs to the thread of the loop, except `startup`, which the thread
 * that loads the model writes.
 */
#ifndef KL_SERVICE_SERVICE_H
#define KL_SERVICE_SERVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "http/exchange.h"
#include "http/http.h"
#include "http/loop.h"
#include "service/context_policy.h"
#include "service/live_answer.h"
#include "service/metrics.h"
#include "service/model_host.h"
#include "service/served.h"
#include "service/startup.h"

struct kl_answer_store;
struct kl_generation;
struct kl_history;
struct kl_late_lines;
struct kl_model_pull;
struct kl_model_source;
struct kl_worker;

struct kl_service_options {
    /* Models: the room of their table (0: one), what opens those after the first, and how long they
     * stay open without requests. */
    size_t n_models;
    const struct kl_model_opener *opener;
    double keep_alive_seconds;

    /* Requests that may wait for a model to be loaded; more are refused with a 429. */
    size_t max_waiting;

    /* A request that is expected to wait longer for its first step is refused with a 429; 0: no
     * limit. */
    double max_wait_seconds;

    /* Limits of each answer: tokens, and wall time since the request was received; 0: none. A
     * request that asks for more is cut to these. */
    size_t max_tokens;
    double max_seconds;

    /* The default for conversations that are too long; requests may set another. */
    enum kl_context_policy context_policy;

    /* The lines of system messages that are moved (late_lines.h); NULL: none. */
    const char *late_lines;

    /* Whether a request that names a model that is not here is refused with a 404; otherwise the
     * default answers, and says so. */
    bool strict_model;

    /* How the hidden vectors of a text become its embedding; requests may set another. */
    enum kl_pooling pooling;
    bool has_pooling; /* otherwise as the model's file says */
    /* Memory of kept answers (answer_store.h), bytes. */
    size_t answer_bytes;

    /* Where chats are kept, and how much of the disk they may take, bytes; NULL: nowhere. */
    const char *history_dir;
    uint64_t history_bytes;

    /* Where models are from, and whether requests may have them downloaded; NULL: from nowhere. */
    const struct kl_model_source *model_source;
    bool allow_pull;
    uint64_t pull_bytes; /* that all models may then take on the disk */

    /* Whether answers that only repeat themselves are ended; requests may set this, too. */
    bool loop_guard;

    /* The seed of requests that give none, if has_seed; otherwise each has another one. */
    bool has_seed;
    uint64_t seed;

    /* The time for which running answers may continue after SIGTERM or SIGINT. 0:
     * KL_SERVICE_DRAIN_SECONDS. */
    unsigned drain_seconds;
};

#define KL_SERVICE_DRAIN_SECONDS 30
#define KL_DEFAULT_HISTORY_BYTES ((uint64_t)256 << 20)
#define KL_DEFAULT_PULL_BYTES    ((uint64_t)20 << 30)
/* Memory for all requests that are being prepared (preparation.h). */
#define KL_SERVICE_READING_BYTES ((size_t)45 << 19) /* 22.5 MiB */
/* and for the automaton of late_lines, where the option is given. */
#define KL_SERVICE_LATE_BYTES ((size_t)6 << 20)
/* and for work on kept chats, one request at a time: a call of the history (KL_HISTORY_JOB_BYTES),
 * and 50,000 values of JSON. */
#define KL_SERVICE_CHAT_BYTES ((size_t)16 << 20)
/* Retry-After of a server that starts or stops. */
#define KL_SERVICE_RETRY_SECONDS 2
/* The period of the tick, which runs while requests are answered. It sends heartbeats, and checks
 * the deadlines of requests that the engine does not have yet. */
#define KL_SERVICE_TICK_US 250000u

/* Events that the program around the service is notified of. */
struct kl_service_events {
    void (*ready)(void *context);    /* the model is loaded: requests are answered */
    void (*draining)(void *context); /* new requests are refused from now on */
};

struct kl_service {
    struct kl_service_options options;
    const struct kl_service_events *events;
    void *events_context;
    struct kl_loop *loop;
    struct kl_http *http; /* set by the caller, once it is open */
    uint64_t start_ns;

    struct kl_startup startup;
    struct kl_model_host host;
    struct kl_answer_store *answers;
    struct kl_worker *worker;         /* for work that takes longer than a turn of the loop may */
    struct kl_history *history;       /* for its own worker's thread; NULL: none */
    struct kl_worker *history_worker; /* apart from the other, which must not wait for a disk */
    struct kl_late_lines *late_lines; /* for the worker's thread; NULL: the option was not given */
    struct kl_generation *generations;
    struct kl_live_answers live;
    struct kl_model_pull *pull; /* the download that runs; NULL: none */
    struct {
        size_t n_waiting; /* texts that no engine has */
        uint64_t turns;   /* texts that were ever submitted */
    } embeddings;
    struct kl_metrics metrics;
    struct {
        uint64_t begin_ns, patience_ns;
        bool cut; /* running answers were ended, since their time was over */
    } drain;

    struct kl_watch *startup_watch; /* the model is loaded, or loading failed */
    struct kl_watch *worker_watch;  /* the worker is done with a job */
    struct kl_watch *history_watch;
    struct kl_watch *tick;       /* runs while requests are answered */
    struct kl_watch *live_timer; /* runs while a live answer has no reader */
};

/* Starts the worker and watches for the model. The caller releases it with kl_service_close in any
 * case, before the HTTP server is closed. */
enum kl_status kl_service_open(struct kl_service *service, const struct kl_service_options *options,
                               struct kl_loop *loop, const struct kl_service_events *events,
                               void *events_context, struct kl_error *err);
void kl_service_close(struct kl_service *service);

/* Returns the service whose route answers this exchange. */
static inline struct kl_service *kl_service_of(const struct kl_exchange *x)
{
    return x->application;
}

static inline bool kl_service_is_loading(const struct kl_service *service)
{
    return service->host.n == 0;
}

/* Returns the default model, which answers requests that name no other; empty while it is being
 * loaded, and without an engine while another one has its place. */
static inline const struct kl_served *kl_service_default(const struct kl_service *service)
{
    return &service->host.models[0].served;
}

/* Starts the tick, unless it runs: a request or draining begins. */
static inline void kl_service_start_tick(struct kl_service *service)
{
    kl_timer_start(service->tick, KL_SERVICE_TICK_US);
}

#endif
