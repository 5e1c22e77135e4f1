#include "server/service.h"

#include <errno.h>
#include <event2/event.h>
#include <inttypes.h>
#include <systemd/sd-daemon.h>

#include "base/clock.h"
#include "base/log.h"
#include "server/generation.h"
#include "server/server_state.h"

/* How often the status is told, and the time to start is asked to be longer: a download may take
 * an hour. */
#define STATUS_SECONDS 5
#define EXTEND_SECONDS 30

size_t kl_service_sockets(int *fds, size_t max)
{
    int n = sd_listen_fds(1);
    if (n < 0) {
        errno = -n;
        kl_warning("the sockets of the service manager can not be had: %m");
    }
    size_t count = n > 0 ? (size_t)n : 0;
    if (count > max) {
        kl_warning("the service manager hands over %zu sockets; the first %zu are used", count,
                   max);
        count = max;
    }
    for (size_t i = 0; i < count; i++)
        fds[i] = SD_LISTEN_FDS_START + (int)i;
    return count;
}

static void tell_loading(struct kl_server *server)
{
    struct kl_startup_state state;
    char stage[48];
    kl_startup_read(&server->startup, &state);
    sd_notifyf(0, "STATUS=Loading the model: %s\nEXTEND_TIMEOUT_USEC=%u",
               kl_startup_text(&state, stage, sizeof stage), EXTEND_SECONDS * 1000000u);
}

static void tell_work(const struct kl_engine_stats *stats)
{
    sd_notifyf(0, "STATUS=%zu requests run, %zu wait, %" PRIu64 " finished", stats->running,
               stats->queued,
               stats->requests_ended[KL_FINISH_STOP] + stats->requests_ended[KL_FINISH_LENGTH]);
}

/* Does the engine get on with what there is to do? */
static bool gets_on(struct kl_server *server, const struct kl_engine_stats *stats)
{
    struct kl_service *s = &server->service;
    uint64_t now = kl_now_ns();
    uint64_t progress = stats->steps;
    for (size_t i = 0; i < KL_N_FINISHES; i++)
        progress += stats->requests_ended[i];
    if (progress != s->progress || !kl_generations_want_work(server)) {
        s->progress = progress;
        s->progress_ns = now;
    }
    return now - s->progress_ns <= s->watchdog_us * 1000 / 2;
}

static void on_timer(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    (void)what;
    struct kl_server *server = context;
    bool alive = true;
    if (kl_server_is_loading(server)) {
        if (!server->stopping)
            tell_loading(server);
    } else {
        struct kl_engine_stats stats;
        kl_engine_stats(server->served.engine, &stats);
        alive = gets_on(server, &stats);
        if (!server->stopping)
            tell_work(&stats);
    }
    if (server->service.watchdog_us == 0)
        return;
    if (alive)
        sd_notify(0, "WATCHDOG=1");
    else
        kl_err("the engine does not get on: nothing was computed for %.1f s; the service manager's "
               "watchdog is not told that all is well",
               kl_seconds_since(server->service.progress_ns));
}

enum kl_status kl_service_open(struct kl_server *server, struct kl_error *err)
{
    struct kl_service *s = &server->service;
    if (sd_watchdog_enabled(0, &s->watchdog_us) <= 0)
        s->watchdog_us = 0;
    uint64_t period_us = STATUS_SECONDS * UINT64_C(1000000);
    if (s->watchdog_us > 0 && s->watchdog_us / 4 < period_us)
        period_us = s->watchdog_us / 4;
    const struct timeval period = {.tv_sec = (time_t)(period_us / 1000000),
                                   .tv_usec = (suseconds_t)(period_us % 1000000)};
    s->progress_ns = kl_now_ns();
    /* 1: there is somebody to tell */
    if (sd_notify(0, "STATUS=Starting") <= 0)
        return KL_OK;
    s->timer = event_new(server->base, -1, EV_PERSIST, on_timer, server);
    if (s->timer == NULL || event_add(s->timer, &period) != 0)
        return kl_fail_memory(err, "a timer", 0);
    tell_loading(server);
    return KL_OK;
}

void kl_service_close(struct kl_server *server)
{
    if (server->service.timer != NULL)
        event_free(server->service.timer);
    server->service.timer = NULL;
}

void kl_service_ready(struct kl_server *server)
{
    sd_notifyf(0, "READY=1\nSTATUS=Serving %s", server->served.model_name);
}

void kl_service_reloading(struct kl_server *server)
{
    (void)server;
    sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64, kl_now_ns() / 1000);
}

void kl_service_stopping(struct kl_server *server)
{
    sd_notifyf(0, "STOPPING=1\nSTATUS=Stopping; running answers have %u s to finish",
               server->options.drain_seconds);
}
