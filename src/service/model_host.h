/*
 * The models of a server: which there are, which of them are open, and which may be closed.
 *
 * The table of models is fixed when the first one, the default, is loaded; it stays open until
 * another one needs its memory. Others are opened when a request names them and closed when no
 * request has used them for a while (keep-alive). Where a model does not fit into the memory next
 * to those that are open, models that no request uses are closed for it, the least recently used
 * first, at most one in KL_HOST_CHANGE_SECONDS; until then its requests wait.
 *
 * Opening and closing take long, so a worker's thread does them, one at a time, through the
 * functions of a struct kl_model_opener; this room does not know files. A model that is used
 * (kl_host_use) is never closed, so what `served` points to is valid meanwhile.
 *
 * Thread rule: the loop's; names, facts and n are constant once the table is filled, so other
 * threads may read them (kl_host_find).
 */
#ifndef KL_SERVICE_MODEL_HOST_H
#define KL_SERVICE_MODEL_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/worker.h"
#include "engine/engine.h"
#include "http/loop.h"
#include "service/served.h"

#define KL_MAX_MODELS          64
#define KL_HOST_CHANGE_SECONDS 10  /* between two models that are closed for others */
#define KL_DEFAULT_KEEP_ALIVE  300 /* seconds */
/* A model stays open for as many times as long as opening it took, at most KL_HOST_CHANGE_SECONDS,
 * so that clients that close models (keep_alive 0) do not have the computer open them all the time.
 */
#define KL_HOST_STAY_TIMES 10

/* Opens and closes models, by their numbers; 0 is the default. Called by one thread at a time, a
 * worker's, which may wait. */
struct kl_model_opener {
    /* Fills in what `served` has of an open model. others: the memory that other models have
     * planned, bytes; *cancelled: ends early. KL_ERR_MEMORY: it does not fit next to them. */
    enum kl_status (*open)(void *context, size_t model, uint64_t others,
                           const _Atomic(bool) *cancelled, struct kl_served *served,
                           struct kl_error *err);
    void (*close)(void *context, size_t model);
    void *context;
};

enum kl_hosted_state { KL_HOSTED_CLOSED, KL_HOSTED_OPENING, KL_HOSTED_OPEN, KL_HOSTED_CLOSING };

/* One model. */
struct kl_hosted {
    struct kl_served served; /* without an engine unless it is open */
    enum kl_hosted_state state;
    size_t n_users;
    bool wanted;                  /* requests wait for it */
    bool needs_room;              /* it did not fit: another one is closed first */
    uint64_t wanted_ns;           /* since when */
    uint64_t used_ns;             /* when it was used last */
    uint64_t keep_ns;             /* how long it stays open after that */
    uint64_t stays_ns;            /* until when it does in any case, unless its place is needed */
    size_t n_embeddings;          /* texts that its engine has */
    struct kl_error error;        /* of the last opening */
    struct kl_engine_stats stats; /* the last ones while it is closed */

    /* the host's */
    struct kl_model_host *host;
    struct kl_watch *watch; /* its engine has events */
    struct kl_job job;      /* opens or closes it */
    struct kl_served opened;
    uint64_t others;
    uint64_t begun_ns; /* opening it */
    enum kl_status status;
};

/* Events that the service is notified of. */
struct kl_host_events {
    /* The engine of a model has events. */
    void (*woken)(void *context);
    /* A model that was wanted is open, or it has no engine and m->error says why. */
    void (*decided)(void *context, struct kl_hosted *m);
};

struct kl_model_host {
    struct kl_hosted *models; /* [n], and one that is empty while n is 0; the first: the default */
    size_t n;                 /* 0: the default is being loaded */
    struct kl_loop *loop;
    const struct kl_model_opener *opener; /* NULL: there is one model only */
    const struct kl_host_events *events;
    void *context;
    uint64_t keep_ns; /* the longest */
    struct kl_worker *worker;
    struct kl_watch *worker_watch;
    struct kl_watch *timer;              /* NULL: nothing is to be done later */
    uint64_t timer_ns;                   /* when it ends */
    bool busy;                           /* a model is being opened or closed */
    bool stopped;                        /* nothing is opened or closed any more */
    uint64_t changed_ns;                 /* when a model was closed for another one; 0: never */
    const struct kl_hosted *changed_for; /* that one, until it is open */
    uint64_t n_opened, n_failed, n_closed, n_changes;
};

/* n_models: room of the table, at most KL_MAX_MODELS. keep_seconds: see KL_DEFAULT_KEEP_ALIVE. To
 * be closed in any case. */
enum kl_status kl_host_open(struct kl_model_host *host, size_t n_models,
                            const struct kl_model_opener *opener, double keep_seconds,
                            struct kl_loop *loop, const struct kl_host_events *events,
                            void *context, struct kl_error *err);
/* Waits for the model that is being opened or closed. Models that are open stay so, for the
 * opener's owner to close. */
void kl_host_close(struct kl_model_host *host);
/* Lets models stay as they are: the server is being stopped. */
void kl_host_stop(struct kl_model_host *host);

/* Fills the table: served [n], the first of them open. */
enum kl_status kl_host_start(struct kl_model_host *host, const struct kl_served *served, size_t n,
                             struct kl_error *err);

/* Returns the number of the model that a request means by a name: the default for none, and for
 * unknown ones. Any thread. *known: whether it is the name of a model; may be NULL. */
size_t kl_host_find(const struct kl_model_host *host, const char *name, bool *known);

/* A request begins, and ends, to use a model, open or not. */
void kl_host_use(struct kl_hosted *m);
void kl_host_leave(struct kl_hosted *m);
/* How long the model stays open after its present users: seconds as a client asked for, at most
 * those of the host; negative: as long as that allows. */
void kl_host_keep(struct kl_hosted *m, double seconds);
/* Wants a model that a request uses to be open; events->decided is called, later. */
void kl_host_want(struct kl_hosted *m);

static inline bool kl_hosted_is_open(const struct kl_hosted *m)
{
    return m->served.engine != NULL;
}

/* Returns when the model will be closed if no request uses it again, ns of the monotonic clock;
 * UINT64_MAX: it stays. */
uint64_t kl_hosted_expires_ns(const struct kl_hosted *m);

/* The statistics of its engine; of a closed model the last ones, with nothing running. */
void kl_hosted_stats(const struct kl_hosted *m, struct kl_engine_stats *stats);

#endif
