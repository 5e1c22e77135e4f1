#include "http/loop.h"

#include <stdlib.h>

#include "base/log.h"
#include "http/event_memory.h"
#include "http/loop_base.h"

struct kl_loop {
    struct event_base *base;
};

struct kl_watch {
    struct event *event;
    kl_watch_call *call;
    void *context;
};

static void on_libevent_log(int severity, const char *text)
{
    kl_log(severity >= EVENT_LOG_ERR ? KL_LOG_ERROR : KL_LOG_DEBUG, "libevent: %s", text);
}

enum kl_status kl_loop_open(struct kl_loop **loop, struct kl_error *err)
{
    kl_event_memory_watch();
    event_set_log_callback(on_libevent_log);
    struct kl_loop *l = *loop = calloc(1, sizeof *l);
    if (l == NULL)
        return kl_fail_memory(err, "the event loop", sizeof *l);
    l->base = event_base_new();
    if (l->base != NULL && event_base_priority_init(l->base, 2) == 0)
        return KL_OK;
    kl_loop_close(l);
    *loop = NULL;
    return kl_fail(err, KL_ERR_IO, "libevent cannot start");
}

void kl_loop_close(struct kl_loop *loop)
{
    if (loop == NULL)
        return;
    if (loop->base != NULL)
        event_base_free(loop->base);
    free(loop);
}

struct event_base *kl_loop_base(struct kl_loop *loop)
{
    return loop->base;
}

enum kl_status kl_loop_run(struct kl_loop *loop, struct kl_error *err)
{
    return event_base_dispatch(loop->base) < 0 ? kl_fail_errno(err, "the event loop ended") : KL_OK;
}

void kl_loop_turn(struct kl_loop *loop)
{
    event_base_loop(loop->base, EVLOOP_NONBLOCK);
}

void kl_loop_stop(struct kl_loop *loop)
{
    event_base_loopbreak(loop->base);
}

static void on_event(evutil_socket_t source, short what, void *context)
{
    (void)what;
    const struct kl_watch *w = context;
    w->call(w->context, (int)source);
}

static struct kl_watch *new_watch(struct kl_loop *loop, int source, short what, kl_watch_call *call,
                                  void *context)
{
    struct kl_watch *w = calloc(1, sizeof *w);
    if (w == NULL)
        return NULL;
    w->call = call;
    w->context = context;
    w->event = event_new(loop->base, source, what, on_event, w);
    if (w->event != NULL)
        return w;
    free(w);
    return NULL;
}

static struct kl_watch *begin(struct kl_watch *w, const struct timeval *period)
{
    if (w == NULL || event_add(w->event, period) == 0)
        return w;
    kl_watch_remove(w);
    return NULL;
}

struct kl_watch *kl_watch_fd(struct kl_loop *loop, int fd, kl_watch_call *call, void *context)
{
    return begin(new_watch(loop, fd, EV_READ | EV_PERSIST, call, context), NULL);
}

struct kl_watch *kl_watch_signal(struct kl_loop *loop, int number, kl_watch_call *call,
                                 void *context)
{
    return begin(new_watch(loop, number, EV_SIGNAL | EV_PERSIST, call, context), NULL);
}

static struct timeval time_of(uint64_t us)
{
    return (struct timeval){.tv_sec = (time_t)(us / 1000000),
                            .tv_usec = (suseconds_t)(us % 1000000)};
}

struct kl_watch *kl_watch_period(struct kl_loop *loop, uint64_t period_us, kl_watch_call *call,
                                 void *context)
{
    const struct timeval period = time_of(period_us);
    return begin(new_watch(loop, -1, EV_PERSIST, call, context), &period);
}

struct kl_watch *kl_timer_new(struct kl_loop *loop, kl_watch_call *call, void *context)
{
    return new_watch(loop, -1, 0, call, context);
}

bool kl_timer_runs(const struct kl_watch *timer)
{
    return event_pending(timer->event, EV_TIMEOUT, NULL) != 0;
}

void kl_timer_start(struct kl_watch *timer, uint64_t us)
{
    const struct timeval time = time_of(us);
    if (!kl_timer_runs(timer))
        event_add(timer->event, &time);
}

void kl_watch_remove(struct kl_watch *watch)
{
    if (watch == NULL)
        return;
    event_free(watch->event);
    free(watch);
}
