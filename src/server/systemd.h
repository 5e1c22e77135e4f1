/*
 * The service manager (systemd): takes the listening sockets it passes, and reports state to it.
 *
 * Implements the protocols of sd_listen_fds(3), sd_notify(3) and sd_watchdog_enabled(3), which are
 * small and promised to be stable; libsystemd would block on a busy service manager, and has no
 * static library. Without a service manager (no LISTEN_FDS, NOTIFY_SOCKET, WATCHDOG_USEC in the
 * environment) these functions do nothing.
 *
 * The watchdog is notified while the loop runs and the engine makes progress. It is not notified if
 * the engine has work that does not wait for a client, and computed nothing for half of the
 * watchdog's time.
 *
 * Thread rule: the loop's thread.
 */
#ifndef KL_SERVER_SYSTEMD_H
#define KL_SERVER_SYSTEMD_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct kl_service;
struct kl_watch;

struct kl_systemd {
    struct kl_service *service; /* the service whose state is reported */
    struct kl_watch *timer;
    uint64_t watchdog_us; /* 0: no watchdog */
    uint64_t progress;    /* the sum of the engine's steps and finished requests */
    uint64_t progress_ns; /* the last time that it changed, or the engine had no work */
};

/* Takes the listening sockets that were passed to this process, at most max, and returns their
 * number. They belong to the caller now, and child processes do not inherit them. */
size_t kl_systemd_sockets(int *fds, size_t max);

/* Begins to report the state periodically, and to notify the watchdog. While the model is being
 * loaded, extends the start timeout. */
enum kl_status kl_systemd_open(struct kl_systemd *systemd, struct kl_service *service,
                               struct kl_error *err);
void kl_systemd_close(struct kl_systemd *systemd);

void kl_systemd_ready(const struct kl_systemd *systemd);
void kl_systemd_reloading(const struct kl_systemd *systemd);
void kl_systemd_stopping(const struct kl_systemd *systemd);

#endif
