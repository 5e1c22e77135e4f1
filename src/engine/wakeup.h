/*
 * How clients and the engine thread wake each other.
 *
 * Clients signal a kl_wakeup: the engine thread may be asleep or inside a forward pass, in which it
 * checks the flag at every operation. The engine thread makes the descriptor of a kl_client_wakeup
 * readable: a client may wait for it together with others. Neither carries data.
 */
#ifndef KL_ENGINE_WAKEUP_H
#define KL_ENGINE_WAKEUP_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

struct kl_wakeup {
    pthread_mutex_t lock; /* also guards data that clients and the engine thread share */
    pthread_cond_t signalled;
    _Atomic(bool) pending; /* signalled, and not taken yet */
};

void kl_wakeup_init(struct kl_wakeup *wakeup);
void kl_wakeup_release(struct kl_wakeup *wakeup);

/* Any thread. */
void kl_wakeup_signal(struct kl_wakeup *wakeup);

/* The engine thread: returns whether a signal came since the last call. */
static inline bool kl_wakeup_take(struct kl_wakeup *wakeup)
{
    return atomic_load_explicit(&wakeup->pending, memory_order_relaxed) &&
           atomic_exchange(&wakeup->pending, false);
}

/* The engine thread: sleeps until a signal, which it takes, or until deadline_ns of the monotonic
 * clock; UINT64_MAX: no deadline. */
void kl_wakeup_wait(struct kl_wakeup *wakeup, uint64_t deadline_ns);

struct kl_client_wakeup {
    int fd;       /* an eventfd */
    bool pending; /* the engine thread's: some client has new events */
};

enum kl_status kl_client_wakeup_open(struct kl_client_wakeup *wakeup, struct kl_error *err);
void kl_client_wakeup_close(struct kl_client_wakeup *wakeup); /* fd -1 is allowed */
/* The engine thread: makes the descriptor readable if pending is set, and clears pending. */
void kl_client_wakeup_flush(struct kl_client_wakeup *wakeup);
/* The client: makes the descriptor unreadable. Never blocks. */
void kl_client_wakeup_clear(struct kl_client_wakeup *wakeup);

#endif
