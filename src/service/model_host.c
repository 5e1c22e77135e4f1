#include "service/model_host.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"

#define NS_PER_SECOND 1000000000u

static void go_on(struct kl_model_host *host);

static bool is_default(const struct kl_hosted *m)
{
    return m == m->host->models;
}

/* ---- on the worker's thread ------------------------------------------------------------------ */

static struct kl_hosted *hosted_of(struct kl_job *job)
{
    return (struct kl_hosted *)(void *)((char *)job - offsetof(struct kl_hosted, job));
}

static bool run_open(struct kl_job *job)
{
    struct kl_hosted *m = hosted_of(job);
    const struct kl_model_opener *opener = m->host->opener;
    size_t number = (size_t)(m - m->host->models);
    if (atomic_load(&job->cancelled))
        m->status = kl_fail(&m->error, KL_ERR_CANCELLED, "the server is being stopped");
    else
        m->status = opener->open(opener->context, number, m->others, &job->cancelled, &m->opened,
                                 &m->error);
    return true;
}

static bool run_close(struct kl_job *job)
{
    struct kl_hosted *m = hosted_of(job);
    const struct kl_model_opener *opener = m->host->opener;
    if (!atomic_load(&job->cancelled))
        opener->close(opener->context, (size_t)(m - m->host->models));
    return true;
}

/* ---- changes --------------------------------------------------------------------------------- */

static void on_engine(void *context, int source)
{
    (void)source;
    const struct kl_hosted *m = context;
    kl_engine_wake_clear(m->served.engine);
    m->host->events->woken(m->host->context);
}

/* Takes over an engine that was opened. Names stay: other threads may read them. */
static enum kl_status take_engine(struct kl_hosted *m, const struct kl_served *opened,
                                  struct kl_error *err)
{
    m->watch = kl_watch_fd(m->host->loop, kl_engine_wake_fd(opened->engine), on_engine, m);
    if (m->watch == NULL)
        return kl_fail_memory(err, "the event loop", 0);
    m->served.tokenizer = opened->tokenizer;
    m->served.rules = opened->rules;
    m->served.planned_bytes = opened->planned_bytes;
    m->served.engine = opened->engine;
    m->state = KL_HOSTED_OPEN;
    m->used_ns = kl_now_ns();
    uint64_t stay_ns = (m->used_ns - m->begun_ns) * KL_HOST_STAY_TIMES;
    uint64_t most_ns = KL_HOST_CHANGE_SECONDS * (uint64_t)NS_PER_SECOND;
    m->stays_ns = m->used_ns + (stay_ns < most_ns ? stay_ns : most_ns);
    return KL_OK;
}

static void on_closed(struct kl_job *job)
{
    struct kl_hosted *m = hosted_of(job);
    m->host->busy = false;
    m->state = KL_HOSTED_CLOSED;
    if (!job->cancelled)
        go_on(m->host);
}

static void begin_close(struct kl_hosted *m)
{
    struct kl_model_host *host = m->host;
    kl_hosted_stats(m, &m->stats);
    kl_watch_remove(m->watch);
    m->watch = NULL;
    m->served.engine = NULL;
    m->served.tokenizer = NULL;
    m->served.rules = NULL;
    m->served.planned_bytes = 0;
    m->state = KL_HOSTED_CLOSING;
    m->job = (struct kl_job){.slice = run_close, .done = on_closed};
    host->busy = true;
    host->n_closed++;
    kl_worker_submit(host->worker, &m->job);
}

/* A model is not wanted any more. */
static void forget(struct kl_hosted *m)
{
    m->wanted = m->needs_room = false;
    if (m->host->changed_for == m)
        m->host->changed_for = NULL;
}

/* Decides about the requests that wait for a model. */
static void decide(struct kl_hosted *m)
{
    forget(m);
    m->host->events->decided(m->host->context, m);
}

static bool others_are_open(const struct kl_hosted *m)
{
    for (size_t i = 0; i < m->host->n; i++) {
        if (&m->host->models[i] != m && kl_hosted_is_open(&m->host->models[i]))
            return true;
    }
    return false;
}

static void on_opened(struct kl_job *job)
{
    struct kl_hosted *m = hosted_of(job);
    struct kl_model_host *host = m->host;
    host->busy = false;
    m->state = KL_HOSTED_CLOSED;
    if (job->cancelled)
        return;
    if (m->status == KL_OK && take_engine(m, &m->opened, &m->error) != KL_OK) {
        m->opened = (struct kl_served){0};
        begin_close(m); /* without a watch its engine is of no use */
        host->n_failed++;
        decide(m);
        return;
    }
    if (m->status == KL_OK) {
        host->n_opened++;
        decide(m);
    } else if (m->status == KL_ERR_MEMORY && others_are_open(m) && m->n_users > 0) {
        kl_info("model %s waits for memory: %s", m->served.model_name, m->error.text);
        m->needs_room = true;
    } else {
        kl_warning("model %s cannot be opened: %s", m->served.model_name, m->error.text);
        host->n_failed++;
        decide(m);
    }
    go_on(host);
}

static void begin_open(struct kl_hosted *m)
{
    struct kl_model_host *host = m->host;
    m->state = KL_HOSTED_OPENING;
    m->begun_ns = kl_now_ns();
    m->opened = (struct kl_served){0};
    m->error = (struct kl_error){0};
    m->others = 0;
    for (size_t i = 0; i < host->n; i++)
        m->others += host->models[i].served.planned_bytes;
    m->job = (struct kl_job){.slice = run_open, .done = on_opened};
    host->busy = true;
    kl_worker_submit(host->worker, &m->job);
}

/* Returns the open model that was not used for the longest time, of those that no request uses. */
static struct kl_hosted *least_recently_used(const struct kl_model_host *host)
{
    struct kl_hosted *found = NULL;
    for (size_t i = 0; i < host->n; i++) {
        struct kl_hosted *m = &host->models[i];
        if (kl_hosted_is_open(m) && m->n_users == 0 &&
            (found == NULL || m->used_ns < found->used_ns))
            found = m;
    }
    return found;
}

/* Returns the model for which requests wait for the longest time; one that need not wait for the
 * place of others goes first. */
static struct kl_hosted *first_wanted(const struct kl_model_host *host)
{
    struct kl_hosted *found = NULL;
    for (size_t i = 0; i < host->n; i++) {
        struct kl_hosted *m = &host->models[i];
        if (m->wanted && m->n_users == 0)
            forget(m); /* its clients have left */
        if (m->wanted && (found == NULL || m->needs_room < found->needs_room ||
                          (m->needs_room == found->needs_room && m->wanted_ns < found->wanted_ns)))
            found = m;
    }
    return found;
}

static void on_timer(void *context, int source)
{
    (void)source;
    struct kl_model_host *host = context;
    kl_watch_remove(host->timer);
    host->timer = NULL;
    go_on(host);
}

/* Goes on at a time, or earlier. Without memory for the timer the next request does it. */
static void wake_at(struct kl_model_host *host, uint64_t at_ns)
{
    uint64_t now = kl_now_ns();
    if (host->timer != NULL && host->timer_ns <= at_ns)
        return;
    kl_watch_remove(host->timer);
    host->timer_ns = at_ns;
    host->timer = kl_timer_new(host->loop, on_timer, host);
    if (host->timer != NULL)
        kl_timer_start(host->timer, at_ns > now ? (at_ns - now) / 1000 + 1 : 1);
}

/* Makes room for a model, or waits until it may. */
static void make_room(struct kl_hosted *m)
{
    struct kl_model_host *host = m->host;
    struct kl_hosted *other = least_recently_used(host);
    uint64_t from_ns = host->changed_ns + KL_HOST_CHANGE_SECONDS * (uint64_t)NS_PER_SECOND;
    if (!others_are_open(m)) {
        m->needs_room = false; /* all memory that there is */
        begin_open(m);
    } else if (other == NULL) {
        return; /* kl_host_leave goes on */
    } else if (host->changed_ns != 0 && host->changed_for != m && kl_now_ns() < from_ns) {
        wake_at(host, from_ns);
    } else {
        kl_info("model %s is closed to make room for %s", other->served.model_name,
                m->served.model_name);
        host->changed_ns = kl_now_ns();
        host->changed_for = m;
        host->n_changes++;
        m->needs_room = false;
        begin_close(other);
    }
}

/* Closes a model whose time is over, or waits for the first. */
static void close_idle(struct kl_model_host *host)
{
    uint64_t first_ns = UINT64_MAX, now = kl_now_ns();
    for (size_t i = 0; i < host->n && !host->busy; i++) {
        struct kl_hosted *m = &host->models[i];
        uint64_t expires_ns = kl_hosted_expires_ns(m);
        if (expires_ns <= now) {
            kl_info("model %s is closed: it was not used any more", m->served.model_name);
            begin_close(m);
        } else if (expires_ns < first_ns) {
            first_ns = expires_ns;
        }
    }
    if (!host->busy && first_ns != UINT64_MAX)
        wake_at(host, first_ns);
}

/* Does what is to be done next, unless something is being done. */
static void go_on(struct kl_model_host *host)
{
    if (host->busy || host->stopped || host->worker == NULL)
        return;
    struct kl_hosted *m = first_wanted(host);
    if (m != NULL && m->needs_room)
        make_room(m);
    else if (m != NULL)
        begin_open(m);
    else
        close_idle(host);
}

static void on_worker(void *context, int source)
{
    (void)source;
    const struct kl_model_host *host = context;
    kl_worker_collect(host->worker);
}

/* ---- the loop's side ------------------------------------------------------------------------- */

enum kl_status kl_host_open(struct kl_model_host *host, size_t n_models,
                            const struct kl_model_opener *opener, double keep_seconds,
                            struct kl_loop *loop, const struct kl_host_events *events,
                            void *context, struct kl_error *err)
{
    *host = (struct kl_model_host){.loop = loop,
                                   .opener = n_models > 1 ? opener : NULL,
                                   .events = events,
                                   .context = context,
                                   .keep_ns = (uint64_t)(keep_seconds * NS_PER_SECOND)};
    host->models = calloc(n_models > 0 ? n_models : 1, sizeof *host->models);
    if (host->models == NULL)
        return kl_fail_memory(err, "the table of models", n_models * sizeof *host->models);
    for (size_t i = 0; i < n_models || i == 0; i++)
        host->models[i].host = host;
    if (host->opener == NULL)
        return KL_OK;
    enum kl_status status = kl_worker_open(1, &host->worker, err);
    if (status != KL_OK)
        return status;
    host->worker_watch = kl_watch_fd(loop, kl_worker_fd(host->worker), on_worker, host);
    return host->worker_watch != NULL ? KL_OK : kl_fail_memory(err, "the event loop", 0);
}

void kl_host_stop(struct kl_model_host *host)
{
    host->stopped = true;
}

void kl_host_close(struct kl_model_host *host)
{
    kl_watch_remove(host->worker_watch); /* while its descriptor is open */
    kl_worker_close(host->worker);
    host->worker = NULL;
    kl_watch_remove(host->timer);
    for (size_t i = 0; i < host->n; i++)
        kl_watch_remove(host->models[i].watch);
    free(host->models);
    host->models = NULL;
    host->n = 0;
}

enum kl_status kl_host_start(struct kl_model_host *host, const struct kl_served *served, size_t n,
                             struct kl_error *err)
{
    for (size_t i = 0; i < n; i++) {
        struct kl_hosted *m = &host->models[i];
        m->served = served[i];
        m->stats.ctx_size = served[i].ctx_size;
        m->keep_ns = host->keep_ns;
    }
    enum kl_status status = take_engine(&host->models[0], &served[0], err);
    if (status == KL_OK)
        host->n = n;
    return status;
}

size_t kl_host_find(const struct kl_model_host *host, const char *name, bool *known)
{
    bool found = false;
    size_t at = 0;
    for (size_t i = 0; i < host->n && !found; i++) {
        bool named = name != NULL && name[0] != '\0';
        found = (i == 0 || named) && kl_served_find_name(&host->models[i].served, name) != NULL;
        at = found ? i : 0;
    }
    if (known != NULL)
        *known = found;
    return at;
}

void kl_host_use(struct kl_hosted *m)
{
    m->n_users++;
    m->used_ns = kl_now_ns();
}

void kl_host_leave(struct kl_hosted *m)
{
    m->n_users--;
    m->used_ns = kl_now_ns();
    if (m->n_users == 0 && m->host->n > 1)
        go_on(m->host);
}

void kl_host_keep(struct kl_hosted *m, double seconds)
{
    double most = (double)m->host->keep_ns / NS_PER_SECOND;
    m->keep_ns =
        seconds >= 0 && seconds < most ? (uint64_t)(seconds * NS_PER_SECOND) : m->host->keep_ns;
}

void kl_host_want(struct kl_hosted *m)
{
    if (m->host->n == 0 || m->wanted)
        return;
    m->wanted = true;
    m->wanted_ns = kl_now_ns();
    go_on(m->host);
}

uint64_t kl_hosted_expires_ns(const struct kl_hosted *m)
{
    if (is_default(m) || !kl_hosted_is_open(m) || m->n_users > 0)
        return UINT64_MAX;
    uint64_t expires_ns = m->used_ns + m->keep_ns;
    return expires_ns > m->stays_ns ? expires_ns : m->stays_ns;
}

void kl_hosted_stats(const struct kl_hosted *m, struct kl_engine_stats *stats)
{
    if (kl_hosted_is_open(m)) {
        kl_engine_stats(m->served.engine, stats);
        return;
    }
    *stats = m->stats;
    stats->running = stats->queued = stats->paused = 0;
    stats->kv_used_tokens = stats->cache_pages = 0;
    stats->cache_bytes = 0;
    for (size_t i = 0; i < KL_N_PRIORITIES; i++)
        stats->expected_wait[i] = 0;
}
