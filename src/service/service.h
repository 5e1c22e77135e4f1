/*
 * The service: requests for answers, from the HTTP server to the engine and back.
 *
 * One object holds what its parts share: the model that is served (or how far loading it is), the
 * worker that prepares requests, the generations that run, and what was counted. It is the
 * application of the HTTP server (kl_service_of), so handlers of routes find it in their exchange.
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

    /* A request that is expected to wait longer for its first step is refused with a 429; 0: any
     * wait is fine. */
    double max_wait_seconds;

    /* Limits of each answer: tokens, and wall time since the request came in; 0: none. A request
     * that asks for more gets this much. */
    size_t max_tokens;
    double max_seconds;

    /* For conversations that are too long, unless a request says otherwise. */
    enum kl_context_policy context_policy;

    /* Whether answers that only repeat themselves are ended, unless a request says otherwise. */
    bool loop_guard;

    /* On SIGTERM or SIGINT: how long running answers may continue. 0: KL_SERVICE_DRAIN_SECONDS. */
    unsigned drain_seconds;
};

#define KL_SERVICE_DRAIN_SECONDS 30
/* Memory for all requests that are being prepared (preparation.h). */
#define KL_SERVICE_READING_BYTES ((size_t)28 << 20)
/* When to try again at a server that starts or stops. */
#define KL_SERVICE_RETRY_SECONDS 2
/* The period of the tick, while something is answered: whether a client heard nothing for long, and
 * deadlines before the engine has the request, are checked this often. */
#define KL_SERVICE_TICK_US 250000u

/* What the program around it is notified of. */
struct kl_service_events {
    void (*ready)(void *context);    /* the model is loaded: requests are answered */
    void (*draining)(void *context); /* no new requests are taken */
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
        bool cut; /* the time for running answers is over, they were ended */
    } drain;

    struct kl_watch *startup_watch; /* the model is loaded, or loading failed */
    struct kl_watch *engine_watch;  /* the engine has events; once the model is loaded */
    struct kl_watch *worker_watch;  /* the worker is done with a job */
    struct kl_watch *tick;          /* while something is answered */
};

/* Starts the worker and watches for the model. The caller releases it with kl_service_close in any
 * case, before the HTTP server is closed. */
enum kl_status kl_service_open(struct kl_service *service, const struct kl_service_options *options,
                               struct kl_loop *loop, const struct kl_service_events *events,
                               void *events_context, struct kl_error *err);
void kl_service_close(struct kl_service *service);

/* The service whose route answers this exchange. */
static inline struct kl_service *kl_service_of(const struct kl_exchange *x)
{
    return x->application;
}

static inline bool kl_service_is_loading(const struct kl_service *service)
{
    return service->served.engine == NULL;
}

/* Something begins that needs the tick. */
static inline void kl_service_start_tick(struct kl_service *service)
{
    kl_timer_start(service->tick, KL_SERVICE_TICK_US);
}

#endif
