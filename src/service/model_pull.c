#include "service/model_pull.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/log.h"
#include "base/thread.h"

#define PROGRESS_US 250000u

struct kl_model_pull {
    /* the thread's, until `ended` */
    const struct kl_model_source *source;
    char name[sizeof(((struct kl_source_model *)NULL)->name)];
    enum kl_status status;
    struct kl_error err;

    _Atomic(bool) ended;
    struct kl_source_progress progress;
    int fd;                /* readable once it has ended */
    _Atomic(int) n_owners; /* the thread and the service */

    /* the loop's */
    struct kl_service *service;
    const struct kl_model_pull_events *events; /* NULL: it was stopped */
    void *context;
    struct kl_watch *end_watch, *progress_watch;
};

static void disown(struct kl_model_pull *p)
{
    if (atomic_fetch_sub(&p->n_owners, 1) > 1)
        return;
    close(p->fd);
    free(p);
}

static void *thread_main(void *argument)
{
    struct kl_model_pull *p = argument;
    uint64_t one = 1;
    p->status = p->source->get(p->name, &p->progress, &p->err);
    atomic_store(&p->ended, true);
    ssize_t ignored = write(p->fd, &one, sizeof one); /* cannot block */
    (void)ignored;
    disown(p);
    return NULL;
}

/* The service gives its share up. */
static void forget(struct kl_model_pull *p)
{
    p->service->pull = NULL;
    kl_watch_remove(p->end_watch);
    kl_watch_remove(p->progress_watch);
    disown(p);
}

static void on_progress(void *context, int source)
{
    (void)source;
    struct kl_model_pull *p = context;
    if (p->events != NULL)
        p->events->progress(p->context, atomic_load(&p->progress.done),
                            atomic_load(&p->progress.total));
}

static void on_end(void *context, int source)
{
    (void)source;
    struct kl_model_pull *p = context;
    if (!atomic_load(&p->ended))
        return;
    const struct kl_model_pull_events *events = p->events;
    void *of_events = p->context;
    enum kl_status status = p->status;
    struct kl_error err = p->err;
    if (status == KL_OK)
        kl_info("pull: %s is here; it is served after a restart with --model %s", p->name, p->name);
    else
        kl_warning("pull: %s: %s", p->name, err.text);
    forget(p);
    if (events != NULL)
        events->ended(of_events, status, &err);
}

enum kl_status kl_model_pull_begin(struct kl_service *s, const struct kl_source_model *model,
                                   const struct kl_model_pull_events *events, void *context,
                                   struct kl_error *err)
{
    pthread_t thread;
    if (s->pull != NULL)
        return kl_fail(err, KL_ERR_BUSY,
                       "another model is being downloaded (%s); try again when it is here",
                       s->pull->name);
    struct kl_model_pull *p = calloc(1, sizeof *p);
    if (p == NULL)
        return kl_fail_memory(err, "the download", sizeof *p);
    *p = (struct kl_model_pull){.source = s->options.model_source,
                                .progress.most = s->options.pull_bytes,
                                .service = s,
                                .events = events,
                                .context = context};
    snprintf(p->name, sizeof p->name, "%s", model->name);
    atomic_init(&p->n_owners, 2);
    p->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (p->fd < 0) {
        free(p);
        return kl_fail_errno(err, "the download cannot begin");
    }
    s->pull = p;
    p->end_watch = kl_watch_fd(s->loop, p->fd, on_end, p);
    p->progress_watch = kl_watch_period(s->loop, PROGRESS_US, on_progress, p);
    bool watched = p->end_watch != NULL && p->progress_watch != NULL;
    errno = watched ? kl_thread_start(&thread, thread_main, p) : ENOMEM;
    if (errno != 0) {
        enum kl_status status = kl_fail_errno(err, "the download cannot begin");
        disown(p); /* the thread's share */
        forget(p);
        return status;
    }
    pthread_detach(thread);
    kl_info("pull: a client has %s downloaded (--allow-pull)", p->name);
    return KL_OK;
}

void kl_model_pull_stop(struct kl_service *s)
{
    if (s->pull == NULL)
        return;
    s->pull->events = NULL;
    atomic_store(&s->pull->progress.stop, true);
}

void kl_model_pull_cancel(struct kl_service *s)
{
    struct kl_error err;
    if (s->pull == NULL || s->pull->events == NULL)
        return;
    const struct kl_model_pull_events *events = s->pull->events;
    void *context = s->pull->context;
    kl_model_pull_stop(s);
    events->ended(context,
                  kl_fail(&err, KL_ERR_CANCELLED,
                          "the server is being stopped; what has come is kept, and the "
                          "next pull continues there"),
                  &err);
}

void kl_model_pull_abandon(struct kl_service *s)
{
    kl_model_pull_stop(s);
    if (s->pull != NULL)
        forget(s->pull);
}
