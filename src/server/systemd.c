#include "server/systemd.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/foreign_text.h"
#include "base/log.h"
#include "engine/engine.h"
#include "service/generation.h"
#include "service/service.h"

/* The first descriptor that is passed; fixed by the protocol. */
#define FIRST_SOCKET 3
/* The period of status reports, and the extension of the start timeout that each one asks for while
 * the model is being loaded: a download may take an hour. */
#define STATUS_SECONDS 5
#define EXTEND_SECONDS 30

/* ---- protocols ------------------------------------------------------------------------------- */

/* Returns the number in an environment variable; 0 if there is none. */
static uint64_t number_of(const char *variable)
{
    const char *text = getenv(variable);
    char *end;
    if (text == NULL || *text < '0' || *text > '9')
        return 0;
    errno = 0;
    uint64_t n = strtoull(text, &end, 10);
    return errno == 0 && *end == '\0' ? n : 0;
}

/* Sets the address of $NOTIFY_SOCKET, a path or "@name" in the abstract name space, and returns its
 * length; 0: none. */
static socklen_t notify_address(struct sockaddr_un *address)
{
    const char *path = getenv("NOTIFY_SOCKET");
    size_t len = path != NULL ? strlen(path) : 0;
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (len < 2 || len >= sizeof address->sun_path || (path[0] != '/' && path[0] != '@'))
        return 0;
    memcpy(address->sun_path, path, len);
    if (path[0] == '@')
        address->sun_path[0] = '\0';
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
}

/* Sends a message of lines "NAME=value". Does not block: if the service manager is too busy to
 * receive it, the next status report repeats it. */
static void __attribute__((format(printf, 1, 2))) notify(const char *format, ...)
{
    struct sockaddr_un address;
    socklen_t address_len = notify_address(&address);
    char text[512];
    va_list ap;
    if (address_len == 0)
        return;
    va_start(ap, format);
    vsnprintf(text, sizeof text, format, ap);
    va_end(ap);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || sendto(fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT,
                         (const struct sockaddr *)&address, address_len) < 0)
        kl_debug("the service manager cannot be notified of \"%s\": %m", text);
    if (fd >= 0)
        close(fd);
}

size_t kl_systemd_sockets(int *fds, size_t max)
{
    uint64_t n = number_of("LISTEN_FDS");
    if (number_of("LISTEN_PID") != (uint64_t)getpid())
        n = 0; /* they were meant for the parent process */
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDNAMES");
    if (n > max) {
        kl_warning("the service manager passes %" PRIu64 " sockets; the first %zu are used", n,
                   max);
        n = max;
    }
    for (size_t i = 0; i < n; i++) {
        fds[i] = FIRST_SOCKET + (int)i;
        fcntl(fds[i], F_SETFD, FD_CLOEXEC);
    }
    return (size_t)n;
}

static uint64_t watchdog_us(void)
{
    bool ours = getenv("WATCHDOG_PID") == NULL || number_of("WATCHDOG_PID") == (uint64_t)getpid();
    return ours ? number_of("WATCHDOG_USEC") : 0;
}

/* ---- reports --------------------------------------------------------------------------------- */

static void report_loading(struct kl_service *service)
{
    struct kl_startup_state state;
    char stage[48];
    kl_startup_read(&service->startup, &state);
    notify("STATUS=Loading the model: %s\nEXTEND_TIMEOUT_USEC=%u",
           kl_startup_text(&state, stage, sizeof stage), EXTEND_SECONDS * 1000000u);
}

static void report_work(const struct kl_engine_stats *stats)
{
    notify("READY=1\nSTATUS=%zu requests run, %zu wait, %" PRIu64 " finished", stats->running,
           stats->queued, kl_engine_complete(stats));
}

/* Adds the statistics of all models that are reported, and what shows progress. */
static uint64_t sum_up(const struct kl_model_host *host, struct kl_engine_stats *sum)
{
    uint64_t progress = host->n_opened + host->n_closed;
    *sum = (struct kl_engine_stats){0};
    for (size_t i = 0; i < host->n; i++) {
        struct kl_engine_stats stats;
        kl_hosted_stats(&host->models[i], &stats);
        progress += stats.steps;
        sum->running += stats.running;
        sum->queued += stats.queued;
        for (size_t finish = 0; finish < KL_N_FINISHES; finish++) {
            progress += stats.requests_ended[finish];
            sum->requests_ended[finish] += stats.requests_ended[finish];
        }
    }
    return progress;
}

/* Returns whether the engines make progress, or have no work. */
static bool makes_progress(struct kl_systemd *s, uint64_t progress)
{
    uint64_t now = kl_now_ns();
    if (progress != s->progress || !kl_generations_want_work(s->service)) {
        s->progress = progress;
        s->progress_ns = now;
    }
    return now - s->progress_ns <= s->watchdog_us * 1000 / 2;
}

static void on_timer(void *context, int source)
{
    (void)source;
    struct kl_systemd *s = context;
    bool alive = true, draining = kl_http_is_draining(s->service->http);
    if (kl_service_is_loading(s->service)) {
        if (!draining)
            report_loading(s->service);
    } else {
        struct kl_engine_stats stats;
        alive = makes_progress(s, sum_up(&s->service->host, &stats));
        if (!draining)
            report_work(&stats);
    }
    if (s->watchdog_us == 0)
        return;
    if (alive)
        notify("WATCHDOG=1");
    else
        kl_err("the engine makes no progress: nothing was computed for %.1f s; the service "
               "manager's watchdog is no longer notified",
               kl_seconds_since(s->progress_ns));
}

enum kl_status kl_systemd_open(struct kl_systemd *s, struct kl_service *service,
                               struct kl_error *err)
{
    struct sockaddr_un address;
    s->service = service;
    s->watchdog_us = watchdog_us();
    uint64_t period_us = STATUS_SECONDS * UINT64_C(1000000);
    if (s->watchdog_us > 0 && s->watchdog_us / 4 < period_us)
        period_us = s->watchdog_us / 4;
    s->progress_ns = kl_now_ns();
    if (notify_address(&address) == 0)
        return KL_OK;
    s->timer = kl_watch_period(service->loop, period_us, on_timer, s);
    if (s->timer == NULL)
        return kl_fail_memory(err, "a timer", 0);
    report_loading(service);
    return KL_OK;
}

void kl_systemd_close(struct kl_systemd *s)
{
    kl_watch_remove(s->timer);
    s->timer = NULL;
}

void kl_systemd_ready(const struct kl_systemd *s)
{
    char name[256]; /* comes from a file; a line end in it would begin another variable */
    snprintf(name, sizeof name, "%s", kl_service_default(s->service)->model_name);
    notify("READY=1\nSTATUS=Serving %s", kl_foreign_clean(name));
}

void kl_systemd_reloading(const struct kl_systemd *s)
{
    (void)s;
    notify("RELOADING=1\nMONOTONIC_USEC=%" PRIu64, kl_now_ns() / 1000);
}

void kl_systemd_stopping(const struct kl_systemd *s)
{
    notify("STOPPING=1\nSTATUS=Stopping; running answers have %u s to finish",
           s->service->options.drain_seconds);
}
