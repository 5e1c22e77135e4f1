#include "service/service.h"

#include <stdio.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/worker.h"
#include "history/history.h"
#include "service/answer_store.h"
#include "service/drain.h"
#include "service/generation.h"
#include "service/intake.h"
#include "service/late_lines.h"
#include "service/live_work.h"
#include "service/model_pull.h"

static void on_tick(void *context, int source)
{
    (void)source;
    struct kl_service *s = context;
    bool draining = kl_http_is_draining(s->http);
    kl_generations_tick(s);
    if (draining)
        kl_drain_tick(s);
    if (s->generations != NULL || draining)
        kl_service_start_tick(s);
}

static void on_engine(void *context)
{
    kl_generations_poll(context);
}

static void on_decided(void *context, struct kl_hosted *m)
{
    kl_generations_begin(context, m);
}

static const struct kl_host_events host_events = {on_engine, on_decided};

static void on_worker(void *context, int source)
{
    (void)source;
    struct kl_service *s = context;
    kl_worker_collect(s->worker);
}

static void on_live_timer(void *context, int source)
{
    (void)source;
    struct kl_service *s = context;
    uint64_t next_ns = kl_live_answers_expire(&s->live, kl_now_ns());
    if (next_ns != 0)
        kl_timer_start(s->live_timer, next_ns / 1000 + 1);
}

static void on_history(void *context, int source)
{
    (void)source;
    struct kl_service *s = context;
    kl_worker_collect(s->history_worker);
}

/* Opens the kept chats, and the worker whose jobs they are. */
static enum kl_status open_history(struct kl_service *s, struct kl_error *err)
{
    const struct kl_history_options options = {.path = s->options.history_dir,
                                               .max_bytes = s->options.history_bytes};
    struct kl_history_stats stats;
    enum kl_status status = kl_history_open(&options, &s->history, err);
    if (status != KL_OK) {
        kl_error_prefix(err, "--history");
        return status;
    }
    s->metrics.history = s->history;
    status = kl_worker_open(KL_SERVICE_CHAT_BYTES, &s->history_worker, err);
    if (status != KL_OK)
        return status;
    s->history_watch = kl_watch_fd(s->loop, kl_worker_fd(s->history_worker), on_history, s);
    if (s->history_watch == NULL)
        return kl_fail_memory(err, "the event loop", 0);
    kl_history_read_stats(s->history, &stats);
    kl_info("chats are kept in %s: %llu, which take %.1f of %.1f MiB", s->options.history_dir,
            (unsigned long long)stats.n_chats, (double)stats.bytes / (1 << 20),
            (double)stats.max_bytes / (1 << 20));
    s->options.history_dir = NULL; /* not needed any more */
    return KL_OK;
}

static void stop_for_error(struct kl_service *s, const struct kl_error *err)
{
    struct kl_api_error error;
    kl_api_fail(&error, 503, "loading_failed", NULL, "the model cannot be loaded: %.400s",
                err->text);
    kl_generations_cut(s, &error, KL_COUNT_FAILED);
    kl_drain_begin(s);
}

/* One key or address may have answers that outlive their clients in three quarters of the places
 * for requests: the rest is for others. */
static void limit_live_answers(struct kl_service *s)
{
    struct kl_engine_stats stats;
    kl_hosted_stats(&s->host.models[0], &stats);
    size_t places = stats.parallel + stats.queue_size;
    s->live.most_running = places - places / 4;
}

/* Takes over the result of loading. From here on only this thread uses it. */
static void on_startup(void *context, int source)
{
    (void)source;
    struct kl_service *s = context;
    struct kl_startup_state state;
    struct kl_error err;
    kl_watch_remove(s->startup_watch);
    s->startup_watch = NULL;
    kl_startup_read(&s->startup, &state);
    if (kl_http_is_draining(s->http))
        return;
    if (state.phase == KL_STARTUP_FAILED) {
        stop_for_error(s, &state.error);
        return;
    }
    if (kl_host_start(&s->host, state.models, state.n_models, &err) != KL_OK) {
        kl_err("%s", err.text);
        stop_for_error(s, &err);
        return;
    }
    limit_live_answers(s);
    char others[32] = "";
    if (s->host.n > 1)
        snprintf(others, sizeof others, " and %zu more", s->host.n - 1);
    kl_info("ready (%.2f s after the start): %s%s on %s", kl_seconds_since(s->start_ns),
            kl_service_default(s)->model_name, others, kl_http_url(s->http));
    s->events->ready(s->events_context);
    kl_generations_begin(s, &s->host.models[0]);
}

enum kl_status kl_service_open(struct kl_service *s, const struct kl_service_options *options,
                               struct kl_loop *loop, const struct kl_service_events *events,
                               void *events_context, struct kl_error *err)
{
    *s = (struct kl_service){.options = *options,
                             .loop = loop,
                             .events = events,
                             .events_context = events_context,
                             .start_ns = kl_now_ns(),
                             .startup.fd = -1};
    if (s->options.drain_seconds == 0)
        s->options.drain_seconds = KL_SERVICE_DRAIN_SECONDS;
    kl_metrics_init(&s->metrics);
    enum kl_status status = kl_host_open(&s->host, options->n_models, options->opener,
                                         options->keep_alive_seconds, loop, &host_events, s, err);
    s->metrics.host = &s->host;
    if (status == KL_OK)
        status = kl_startup_init(&s->startup, err);
    if (status == KL_OK && options->late_lines != NULL)
        status = kl_late_lines_open(options->late_lines, &s->late_lines, err);
    if (status == KL_OK)
        status = kl_answer_store_open(options->answer_bytes, &s->answers, err);
    s->metrics.answers = s->answers;
    s->live = (struct kl_live_answers){.store = s->answers, .events = &kl_live_work, .context = s};
    s->metrics.live = &s->live;
    if (status == KL_OK)
        status = kl_worker_open(KL_SERVICE_READING_BYTES, &s->worker, err);
    if (status == KL_OK && options->history_dir != NULL)
        status = open_history(s, err);
    if (status != KL_OK)
        return status;
    s->startup_watch = kl_watch_fd(loop, s->startup.fd, on_startup, s);
    s->worker_watch = kl_watch_fd(loop, kl_worker_fd(s->worker), on_worker, s);
    s->tick = kl_timer_new(loop, on_tick, s);
    s->live_timer = kl_timer_new(loop, on_live_timer, s);
    if (s->startup_watch == NULL || s->worker_watch == NULL || s->tick == NULL ||
        s->live_timer == NULL)
        return kl_fail_memory(err, "the event loop", 0);
    s->options.late_lines = NULL; /* copied */
    if (s->late_lines != NULL)
        kl_info("lines of system messages that match \"%s\" are moved before the last message of "
                "the user (--late-lines)",
                options->late_lines);
    return KL_OK;
}

void kl_service_close(struct kl_service *s)
{
    kl_host_stop(&s->host);
    kl_watch_remove(s->worker_watch); /* while their descriptors are open */
    kl_watch_remove(s->history_watch);
    kl_worker_close(s->worker); /* its jobs belong to generations */
    kl_worker_close(s->history_worker);
    kl_history_close(s->history);
    kl_generations_forget(s);
    kl_live_answers_free(&s->live);
    kl_model_pull_abandon(s);
    kl_answer_store_close(s->answers);
    kl_late_lines_close(s->late_lines);
    kl_host_close(&s->host);
    kl_watch_remove(s->startup_watch);
    kl_watch_remove(s->tick);
    kl_watch_remove(s->live_timer);
    kl_startup_release(&s->startup);
}
