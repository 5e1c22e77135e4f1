#include "service/service.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/worker.h"
#include "service/drain.h"
#include "service/generation.h"
#include "service/intake.h"

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

static void on_engine(void *context, int source)
{
    (void)source;
    struct kl_service *s = context;
    kl_engine_wake_clear(s->served.engine);
    kl_generations_poll(s);
}

static void on_worker(void *context, int source)
{
    (void)source;
    struct kl_service *s = context;
    kl_worker_collect(s->worker);
}

static void stop_for_error(struct kl_service *s, const struct kl_error *err)
{
    struct kl_api_error error;
    kl_api_fail(&error, 503, "loading_failed", NULL, "the model cannot be loaded: %.400s",
                err->text);
    kl_generations_cut(s, &error, KL_COUNT_FAILED);
    kl_drain_begin(s);
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
    s->engine_watch = kl_watch_fd(s->loop, kl_engine_wake_fd(state.served.engine), on_engine, s);
    if (s->engine_watch == NULL) {
        kl_fail_memory(&err, "the event loop", 0);
        kl_err("%s", err.text);
        stop_for_error(s, &err);
        return;
    }
    s->served = state.served;
    kl_info("ready (%.2f s after the start): %s", kl_seconds_since(s->start_ns),
            s->served.model_name);
    s->events->ready(s->events_context);
    kl_generations_begin(s);
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
    enum kl_status status = kl_startup_init(&s->startup, err);
    if (status == KL_OK)
        status = kl_worker_open(KL_SERVICE_READING_BYTES, &s->worker, err);
    if (status != KL_OK)
        return status;
    s->startup_watch = kl_watch_fd(loop, s->startup.fd, on_startup, s);
    s->worker_watch = kl_watch_fd(loop, kl_worker_fd(s->worker), on_worker, s);
    s->tick = kl_timer_new(loop, on_tick, s);
    if (s->startup_watch == NULL || s->worker_watch == NULL || s->tick == NULL)
        return kl_fail_memory(err, "the event loop", 0);
    return KL_OK;
}

void kl_service_close(struct kl_service *s)
{
    kl_worker_close(s->worker); /* its jobs belong to generations */
    kl_generations_forget(s);
    kl_watch_remove(s->startup_watch);
    kl_watch_remove(s->engine_watch);
    kl_watch_remove(s->worker_watch);
    kl_watch_remove(s->tick);
    kl_startup_release(&s->startup);
}
