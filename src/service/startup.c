#include "service/startup.h"

#include <stdio.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum kl_status kl_startup_init(struct kl_startup *s, struct kl_error *err)
{
    *s =
        (struct kl_startup){.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), .state.stage = "finding"};
    pthread_mutex_init(&s->lock, NULL);
    return s->fd >= 0 ? KL_OK : kl_fail_errno(err, "an eventfd");
}

void kl_startup_release(struct kl_startup *s)
{
    if (s->fd >= 0)
        close(s->fd);
    s->fd = -1;
    pthread_mutex_destroy(&s->lock);
}

void kl_startup_progress(struct kl_startup *s, const char *stage, uint64_t done, uint64_t total)
{
    pthread_mutex_lock(&s->lock);
    s->state.stage = stage;
    s->state.done = done;
    s->state.total = total;
    pthread_mutex_unlock(&s->lock);
}

static void end(struct kl_startup *s)
{
    const uint64_t one = 1;
    ssize_t written = write(s->fd, &one, sizeof one);
    (void)written; /* the first and only write to this eventfd: it cannot block */
}

void kl_startup_ready(struct kl_startup *s, const struct kl_served *models, size_t n_models)
{
    pthread_mutex_lock(&s->lock);
    s->state.phase = KL_STARTUP_READY;
    s->state.models = models;
    s->state.n_models = n_models;
    pthread_mutex_unlock(&s->lock);
    end(s);
}

void kl_startup_fail(struct kl_startup *s, const struct kl_error *error)
{
    pthread_mutex_lock(&s->lock);
    s->state.phase = KL_STARTUP_FAILED;
    s->state.error = *error;
    pthread_mutex_unlock(&s->lock);
    end(s);
}

void kl_startup_read(struct kl_startup *s, struct kl_startup_state *state)
{
    pthread_mutex_lock(&s->lock);
    *state = s->state;
    pthread_mutex_unlock(&s->lock);
}

const char *kl_startup_text(const struct kl_startup_state *state, char *out, size_t size)
{
    if (state->total > 0)
        snprintf(out, size, "%s %.0f%%", state->stage,
                 100.0 * (double)state->done / (double)state->total);
    else
        snprintf(out, size, "%s", state->stage);
    return out;
}
