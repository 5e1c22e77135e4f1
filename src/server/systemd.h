/*
 * The service manager (systemd): the sockets it hands over, and what is reported to it.
 *
 * The protocols of sd_listen_fds(3), sd_notify(3) and sd_watchdog_enabled(3), which are stable and
 * small; libsystemd would wait for a busy service manager, and has no static library. Without a
 * service manager (no LISTEN_FDS, NOTIFY_SOCKET, WATCHDOG_USEC in the environment) these functions
 * do nothing.
 *
 * The watchdog is fed while the loop runs and the engine makes progress: not if the engine has work
 * that does not wait for a client, and computed nothing for half of the watchdog's time.
 *
 * Thread rule: the server's thread.
 */
#ifndef KL_SERVER_SYSTEMD_H
#define KL_SERVER_SYSTEMD_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct kl_service;
struct kl_watch;

struct kl_systemd {
    struct kl_service *service; /* what is reported */
    struct kl_watch *timer;
    uint64_t watchdog_us; /* 0: no watchdog */
    uint64_t progress;    /* sum of all that the engine counted */
    uint64_t progress_ns; /* when that last changed, or the engine had no work */
};

/* Writes the listening sockets that were handed over, at most max, and returns their number. The
 * caller owns them; child processes do not inherit them. */
size_t kl_systemd_sockets(int *fds, size_t max);

/* Begins to report: that the model is being loaded, as long as that takes, and the watchdog. */
enum kl_status kl_systemd_open(struct kl_systemd *systemd, struct kl_service *service,
                               struct kl_error *err);
void kl_systemd_close(struct kl_systemd *systemd);

void kl_systemd_ready(const struct kl_systemd *systemd);
void kl_systemd_reloading(const struct kl_systemd *systemd);
void kl_systemd_stopping(const struct kl_systemd *systemd);

#endif
