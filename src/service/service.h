/*
 * The service: carries requests for answers from the HTTP server to the engine, and the answers
 * back.
 *
 * One object holds the state that its parts share: the model that is served (or the progress of
 * loading it), the worker that prepares requests, the running generations, and the metrics. It is
 * the application of the HTTP server (kl_service_of), so handlers of routes find it in their
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
#include "service/metrics.h"
#include "service/served.h"
#include "service/startup.h"

struct kl_generation;
struct kl_worker;

struct kl_service_options {
    /* Requests that may wait for the model to be loaded; more are refused with a 429. */
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

    /* Whether answers that only repeat themselves are ended; requests may set this, too. */
    bool loop_guard;

    /* The time for which running answers may continue after SIGTERM or SIGINT. 0:
     * KL_SERVICE_DRAIN_SECONDS. */
    unsigned drain_seconds;
};

#define KL_SERVICE_DRAIN_SECONDS 30
/* Memory for all requests that are being prepared (preparation.h). */
#define KL_SERVICE_READING_BYTES ((size_t)23 << 20)
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
    struct kl_served served;
    struct kl_worker *worker; /* for work that takes longer than a turn of the loop may */
    struct kl_generation *generations;
    struct kl_metrics metrics;
    struct {
        uint64_t begin_ns, patience_ns;
        bool cut; /* running answers were ended, since their time was over */
    } drain;

    struct kl_watch *startup_watch; /* the model is loaded, or loading failed */
    struct kl_watch *engine_watch;  /* the engine has events; NULL until the model is loaded */
    struct kl_watch *worker_watch;  /* the worker is done with a job */
    struct kl_watch *tick;          /* runs while requests are answered */
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
    return service->served.engine == NULL;
}

/* Starts the tick, unless it runs: a request or draining begins. */
static inline void kl_service_start_tick(struct kl_service *service)
{
    kl_timer_start(service->tick, KL_SERVICE_TICK_US);
}

#endif
