#include "base/worker.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/thread.h"

struct job_list {
    struct kl_job *first, *last;
};

struct kl_worker {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t called;
    int fd;
    bool closing;
    size_t max_bytes;
    struct job_list open, ended; /* in the order of submission; in the order of ending */
    uint64_t n_turns;            /* slices so far */
    size_t n_begun, begun_bytes;
};

static void append(struct job_list *list, struct kl_job *job)
{
    job->previous = list->last;
    job->next = NULL;
    if (list->last != NULL)
        list->last->next = job;
    else
        list->first = job;
    list->last = job;
}

static void take_out(struct job_list *list, struct kl_job *job)
{
    if (job->previous != NULL)
        job->previous->next = job->next;
    else
        list->first = job->next;
    if (job->next != NULL)
        job->next->previous = job->previous;
    else
        list->last = job->previous;
}

static bool same_owner(const struct kl_job *a, const struct kl_job *b)
{
    return memcmp(&a->owner, &b->owner, sizeof a->owner) == 0;
}

static bool fits(const struct kl_worker *w, const struct kl_job *job)
{
    return job->begun || w->n_begun == 0 ||
           (w->begun_bytes <= w->max_bytes && job->bytes <= w->max_bytes - w->begun_bytes);
}

static size_t less(size_t bytes, size_t used)
{
    return bytes > used ? bytes - used : 0;
}

/* Returns the first job that does not fit; NULL: all do. *room: bytes of later jobs that may begin,
 * so that it fits as soon as those that had begun before it came are done. */
static const struct kl_job *first_to_wait(const struct kl_worker *w, size_t *room)
{
    const struct kl_job *first = w->open.first;
    while (first != NULL && fits(w, first))
        first = first->next;
    *room = first != NULL ? less(w->max_bytes, first->bytes) : 0;
    for (const struct kl_job *job = first; job != NULL; job = job->next)
        *room = less(*room, job->begun ? job->bytes : 0);
    return first;
}

static bool goes_before(const struct kl_job *a, const struct kl_job *b)
{
    bool a_ends = atomic_load(&a->cancelled), b_ends = atomic_load(&b->cancelled);
    if (a_ends != b_ends)
        return a_ends;
    return a->owner_turn != b->owner_turn ? a->owner_turn < b->owner_turn : a->turn < b->turn;
}

/* Returns the job that has waited longest, of the owner that has waited longest; NULL: none. */
static struct kl_job *choose(const struct kl_worker *w)
{
    struct kl_job *chosen = NULL;
    size_t room;
    const struct kl_job *first = first_to_wait(w, &room);
    bool is_behind = false;
    for (struct kl_job *job = w->open.first; job != NULL; job = job->next) {
        bool may_run = fits(w, job) && (!is_behind || job->begun || job->bytes <= room);
        if (may_run && (chosen == NULL || goes_before(job, chosen)))
            chosen = job;
        is_behind = is_behind || job == first;
    }
    return chosen;
}

static void begin_turn(struct kl_worker *w, struct kl_job *job)
{
    if (!job->begun) {
        job->begun = true;
        w->n_begun++;
        w->begun_bytes += job->bytes;
    }
}

/* A turn counts when it is over: jobs that came meanwhile go before this one, after all others. */
static void end_turn(struct kl_worker *w, struct kl_job *job)
{
    job->turn = ++w->n_turns;
    for (struct kl_job *other = w->open.first; other != NULL; other = other->next) {
        if (same_owner(other, job))
            other->owner_turn = w->n_turns;
    }
}

static void end(struct kl_worker *w, struct kl_job *job)
{
    const uint64_t one = 1;
    take_out(&w->open, job);
    if (job->begun) {
        w->n_begun--;
        w->begun_bytes -= job->bytes;
    }
    append(&w->ended, job);
    ssize_t written = write(w->fd, &one, sizeof one);
    (void)written; /* fails only if the counter is full: then it is readable anyway */
}

static void *worker_main(void *argument)
{
    struct kl_worker *w = argument;
    kl_thread_lower_priority();
    pthread_mutex_lock(&w->lock);
    while (!w->closing) {
        struct kl_job *job = choose(w);
        if (job == NULL) {
            pthread_cond_wait(&w->called, &w->lock);
            continue;
        }
        begin_turn(w, job);
        pthread_mutex_unlock(&w->lock);
        bool is_last = atomic_load(&job->cancelled);
        bool over = job->slice(job);
        pthread_mutex_lock(&w->lock);
        end_turn(w, job);
        if (over || is_last)
            end(w, job);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

static void destroy(struct kl_worker *w)
{
    if (w->fd >= 0)
        close(w->fd);
    pthread_cond_destroy(&w->called);
    pthread_mutex_destroy(&w->lock);
    free(w);
}

enum kl_status kl_worker_open(size_t max_bytes, struct kl_worker **worker, struct kl_error *err)
{
    struct kl_worker *w = calloc(1, sizeof *w);
    *worker = NULL;
    if (w == NULL)
        return kl_fail_memory(err, "the worker", sizeof *w);
    w->max_bytes = max_bytes;
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->called, NULL);
    w->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    enum kl_status status = w->fd >= 0 ? KL_OK : kl_fail_errno(err, "an eventfd");
    if (status == KL_OK && (errno = kl_thread_start(&w->thread, worker_main, w)) != 0)
        status = kl_fail_errno(err, "the worker's thread could not be started");
    if (status != KL_OK)
        destroy(w);
    else
        *worker = w;
    return status;
}

static void give_back(struct job_list *list, bool cancel)
{
    while (list->first != NULL) {
        struct kl_job *job = list->first;
        take_out(list, job);
        if (cancel)
            atomic_store(&job->cancelled, true);
        job->done(job);
    }
}

void kl_worker_close(struct kl_worker *w)
{
    if (w == NULL)
        return;
    pthread_mutex_lock(&w->lock);
    w->closing = true;
    pthread_cond_signal(&w->called);
    pthread_mutex_unlock(&w->lock);
    pthread_join(w->thread, NULL);
    give_back(&w->ended, true);
    give_back(&w->open, true);
    destroy(w);
}

void kl_worker_submit(struct kl_worker *w, struct kl_job *job)
{
    atomic_store(&job->cancelled, false);
    job->begun = false;
    pthread_mutex_lock(&w->lock);
    /* after the waiting jobs: those of its owner, and by its owner's turn those of others */
    job->owner_turn = job->turn = w->n_turns;
    for (const struct kl_job *other = w->open.first; other != NULL; other = other->next) {
        if (same_owner(other, job))
            job->owner_turn = other->owner_turn;
    }
    append(&w->open, job);
    pthread_cond_signal(&w->called);
    pthread_mutex_unlock(&w->lock);
}

void kl_worker_cancel(struct kl_worker *w, struct kl_job *job)
{
    pthread_mutex_lock(&w->lock);
    bool before = atomic_exchange(&job->cancelled, true);
    bool is_open = false;
    for (const struct kl_job *other = w->open.first; other != NULL; other = other->next)
        is_open = is_open || other == job;
    if (is_open && !job->begun && !before)
        end(w, job);
    pthread_mutex_unlock(&w->lock);
}

int kl_worker_fd(const struct kl_worker *w)
{
    return w->fd;
}

void kl_worker_collect(struct kl_worker *w)
{
    uint64_t value;
    ssize_t n = read(w->fd, &value, sizeof value);
    (void)n; /* nothing to read: no job may have ended */
    pthread_mutex_lock(&w->lock);
    struct job_list ended = w->ended;
    w->ended = (struct job_list){0};
    pthread_mutex_unlock(&w->lock);
    give_back(&ended, false);
}
