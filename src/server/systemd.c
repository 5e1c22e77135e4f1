#include "server/systemd.h"

#include <errno.h>
#include <event2/event.h>
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
#include "server/server_state.h"
#include "service/generation.h"

/* The first descriptor that is handed over; fixed by the protocol. */
#define FIRST_SOCKET 3
/* How often the status is told, and the time to start is asked to be longer: a download may take
 * an hour. */
#define STATUS_SECONDS 5
#define EXTEND_SECONDS 30

/* ---- the protocols --------------------------------------------------------------------------- */

/* The number that a variable holds; 0 when there is none. */
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

/* The address of $NOTIFY_SOCKET: a path, or "@name" in the abstract name space. 0: none. */
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

/* One message of lines "NAME=value". Does not wait: what a busy service manager has no room for now
 * is told again with the next status. */
static void __attribute__((format(printf, 1, 2))) tell(const char *format, ...)
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
        kl_debug("the service manager can not be told \"%s\": %m", text);
    if (fd >= 0)
        close(fd);
}

size_t kl_systemd_sockets(int *fds, size_t max)
{
    uint64_t n = number_of("LISTEN_FDS");
    if (number_of("LISTEN_PID") != (uint64_t)getpid())
        n = 0; /* meant for the process that started us */
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDNAMES");
    if (n > max) {
        kl_warning("the service manager hands over %" PRIu64 " sockets; the first %zu are used", n,
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

/* ---- what is told ---------------------------------------------------------------------------- */

static void tell_loading(struct kl_server *server)
{
    struct kl_startup_state state;
    char stage[48];
    kl_startup_read(&server->startup, &state);
    tell("STATUS=Loading the model: %s\nEXTEND_TIMEOUT_USEC=%u",
         kl_startup_text(&state, stage, sizeof stage), EXTEND_SECONDS * 1000000u);
}

static void tell_work(const struct kl_engine_stats *stats)
{
    tell("READY=1\nSTATUS=%zu requests run, %zu wait, %" PRIu64 " finished", stats->running,
         stats->queued, kl_engine_complete(stats));
}

/* Does the engine get on with what there is to do? */
static bool gets_on(struct kl_server *server, const struct kl_engine_stats *stats)
{
    struct kl_systemd *s = &server->service;
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
        tell("WATCHDOG=1");
    else
        kl_err("the engine does not get on: nothing was computed for %.1f s; the service manager's "
               "watchdog is not told that all is well",
               kl_seconds_since(server->service.progress_ns));
}

enum kl_status kl_systemd_open(struct kl_server *server, struct kl_error *err)
{
    struct kl_systemd *s = &server->service;
    struct sockaddr_un address;
    s->watchdog_us = watchdog_us();
    uint64_t period_us = STATUS_SECONDS * UINT64_C(1000000);
    if (s->watchdog_us > 0 && s->watchdog_us / 4 < period_us)
        period_us = s->watchdog_us / 4;
    const struct timeval period = {.tv_sec = (time_t)(period_us / 1000000),
                                   .tv_usec = (suseconds_t)(period_us % 1000000)};
    s->progress_ns = kl_now_ns();
    if (notify_address(&address) == 0)
        return KL_OK;
    s->timer = event_new(server->base, -1, EV_PERSIST, on_timer, server);
    if (s->timer == NULL || event_add(s->timer, &period) != 0)
        return kl_fail_memory(err, "a timer", 0);
    tell_loading(server);
    return KL_OK;
}

void kl_systemd_close(struct kl_server *server)
{
    if (server->service.timer != NULL)
        event_free(server->service.timer);
    server->service.timer = NULL;
}

void kl_systemd_ready(struct kl_server *server)
{
    char name[256]; /* that of a file: its line end would begin another variable */
    snprintf(name, sizeof name, "%s", server->served.model_name);
    tell("READY=1\nSTATUS=Serving %s", kl_foreign_clean(name));
}

void kl_systemd_reloading(struct kl_server *server)
{
    (void)server;
    tell("RELOADING=1\nMONOTONIC_USEC=%" PRIu64, kl_now_ns() / 1000);
}

void kl_systemd_stopping(struct kl_server *server)
{
    tell("STOPPING=1\nSTATUS=Stopping; running answers have %u s to finish",
         server->options.drain_seconds);
}
