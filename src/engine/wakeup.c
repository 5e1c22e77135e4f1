#include "engine/wakeup.h"

#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

void kl_wakeup_init(struct kl_wakeup *wakeup)
{
    pthread_mutex_init(&wakeup->lock, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&wakeup->signalled, &monotonic);
    pthread_condattr_destroy(&monotonic);
    atomic_init(&wakeup->pending, false);
}

void kl_wakeup_release(struct kl_wakeup *wakeup)
{
    pthread_cond_destroy(&wakeup->signalled);
    pthread_mutex_destroy(&wakeup->lock);
}

void kl_wakeup_signal(struct kl_wakeup *wakeup)
{
    pthread_mutex_lock(&wakeup->lock);
    atomic_store(&wakeup->pending, true);
    pthread_cond_signal(&wakeup->signalled);
    pthread_mutex_unlock(&wakeup->lock);
}

void kl_wakeup_wait(struct kl_wakeup *wakeup, uint64_t deadline_ns)
{
    const struct timespec until = {.tv_sec = (time_t)(deadline_ns / 1000000000u),
                                   .tv_nsec = (long)(deadline_ns % 1000000000u)};
    int late = 0;
    pthread_mutex_lock(&wakeup->lock);
    while (!atomic_exchange(&wakeup->pending, false) && late == 0) {
        if (deadline_ns == UINT64_MAX)
            pthread_cond_wait(&wakeup->signalled, &wakeup->lock);
        else
            late = pthread_cond_timedwait(&wakeup->signalled, &wakeup->lock, &until);
    }
    pthread_mutex_unlock(&wakeup->lock);
}

enum kl_status kl_client_wakeup_open(struct kl_client_wakeup *wakeup, struct kl_error *err)
{
    wakeup->pending = false;
    wakeup->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (wakeup->fd < 0)
        return kl_fail_errno(err, "the engine's event descriptor could not be created");
    return KL_OK;
}

void kl_client_wakeup_close(struct kl_client_wakeup *wakeup)
{
    if (wakeup->fd >= 0)
        close(wakeup->fd);
    wakeup->fd = -1;
}

void kl_client_wakeup_flush(struct kl_client_wakeup *wakeup)
{
    if (!wakeup->pending)
        return;
    wakeup->pending = false;
    uint64_t one = 1;
    /* fails only if the counter is full, and then the descriptor is readable already */
    ssize_t written = write(wakeup->fd, &one, sizeof one);
    (void)written;
}

void kl_client_wakeup_clear(struct kl_client_wakeup *wakeup)
{
    uint64_t count;
    ssize_t got = read(wakeup->fd, &count, sizeof count); /* EAGAIN: it was not readable */
    (void)got;
}
