/*
 * The service manager (systemd): the sockets it holds for us, and what it is told.
 *
 * The protocols of sd_listen_fds(3), sd_notify(3) and sd_watchdog_enabled(3), which are promised to
 * stay and small; libsystemd would wait for a busy service manager, and has no static form. Without
 * a service manager (no LISTEN_FDS, NOTIFY_SOCKET, WATCHDOG_USEC in the environment) nothing here
 * does anything.
 *
 * The watchdog is fed while this loop runs and the engine gets on: not when it has work that does
 * not wait for a client and computed nothing for half of the watchdog's time.
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
    uint64_t watchdog_us; /* 0: nobody watches */
    uint64_t progress;    /* whatever the engine counted, in all */
    uint64_t progress_ns; /* when that last changed, or there was nothing to do */
};

/* The listening sockets that were handed to this process, at most max; 0 when there are none. They
 * belong to the caller now, and are not handed on to children. */
size_t kl_systemd_sockets(int *fds, size_t max);

/* Begins to report: that the model is being loaded, as long as that takes, and the watchdog. */
enum kl_status kl_systemd_open(struct kl_systemd *systemd, struct kl_service *service,
                               struct kl_error *err);
void kl_systemd_close(struct kl_systemd *systemd);

void kl_systemd_ready(const struct kl_systemd *systemd);
void kl_systemd_reloading(const struct kl_systemd *systemd);
void kl_systemd_stopping(const struct kl_systemd *systemd);

#endif
