/* src/base/worker.c: whose slice comes when, and that every job is given back once. No clock: jobs
 * are submitted while the worker is held inside the slice of another one. To be run under
 * ThreadSanitizer as well. */
#include <poll.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/worker.h"

/* Plain memory on purpose: the worker alone must order these accesses. */
struct record {
    char slices[256]; /* the name of a job for each of its slices */
    char ended[64];   /* in the order of `done`; upper case: cancelled */
    int priority;
};

struct work {
    struct kl_job job;
    struct record *record;
    char name;
    size_t left;            /* slices */
    sem_t *reached, *go_on; /* NULL: it does not wait */
};

struct held {
    struct kl_worker *worker;
    struct record record;
    sem_t reached, go_on;
    struct work gate;
};

static void note(char *text, size_t size, char c)
{
    size_t len = strlen(text);
    if (len + 1 == size)
        return; /* as many slices as tests check */
    text[len] = c;
    text[len + 1] = '\0';
}

static struct work *work_of(struct kl_job *job)
{
    return (struct work *)((char *)job - offsetof(struct work, job));
}

static bool slice(struct kl_job *job)
{
    struct work *w = work_of(job);
    if (w->reached != NULL) {
        sem_post(w->reached);
        sem_wait(w->go_on);
    }
    note(w->record->slices, sizeof w->record->slices, w->name);
    w->record->priority = getpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid));
    return --w->left == 0;
}

static void done(struct kl_job *job)
{
    struct work *w = work_of(job);
    note(w->record->ended, sizeof w->record->ended,
         (char)(job->cancelled ? w->name - 'a' + 'A' : w->name));
}

static void submit(struct held *h, struct work *w, char name, uint64_t owner, size_t slices,
                   size_t bytes)
{
    *w = (struct work){.job = {.slice = slice, .done = done, .owner = {{owner}}, .bytes = bytes},
                       .record = &h->record,
                       .name = name,
                       .left = slices};
    kl_worker_submit(h->worker, &w->job);
}

/* Starts a worker and holds it inside the first slice of job `g`, of owner 0. */
static void hold(struct held *h, size_t max_bytes, size_t slices, size_t bytes)
{
    memset(h, 0, sizeof *h);
    sem_init(&h->reached, 0, 0);
    sem_init(&h->go_on, 0, 0);
    assert_int_equal(kl_worker_open(max_bytes, &h->worker, NULL), KL_OK);
    h->gate = (struct work){.job = {.slice = slice, .done = done, .bytes = bytes},
                            .record = &h->record,
                            .name = 'g',
                            .left = slices,
                            .reached = &h->reached,
                            .go_on = &h->go_on};
    kl_worker_submit(h->worker, &h->gate.job);
    sem_wait(&h->reached);
}

/* Lets the worker continue until n jobs have ended. */
static void let_go(struct held *h, size_t n)
{
    h->gate.reached = NULL; /* the worker reads it when it continues */
    sem_post(&h->go_on);
    while (strlen(h->record.ended) < n) {
        struct pollfd fd = {.fd = kl_worker_fd(h->worker), .events = POLLIN};
        assert_int_equal(poll(&fd, 1, 60000), 1);
        kl_worker_collect(h->worker);
    }
}

static void end(struct held *h)
{
    kl_worker_close(h->worker);
    sem_destroy(&h->reached);
    sem_destroy(&h->go_on);
}

static void a_job_runs_slice_by_slice(void **state)
{
    (void)state;
    struct held h;
    int usual = getpriority(PRIO_PROCESS, 0);
    hold(&h, 100, 3, 1);
    let_go(&h, 1);
    assert_string_equal(h.record.slices, "ggg");
    assert_string_equal(h.record.ended, "g");
    assert_true(h.record.priority > usual || usual == 19);
    struct pollfd fd = {.fd = kl_worker_fd(h.worker), .events = POLLIN};
    assert_int_equal(poll(&fd, 1, 0), 0); /* all was collected */
    end(&h);
}

static void owners_take_turns(void **state)
{
    (void)state;
    struct held h;
    struct work many[4], short_one, other;
    hold(&h, 1000, 1, 1);
    for (size_t i = 0; i < 4; i++)
        submit(&h, &many[i], (char)('a' + i), 1, 3, 1);
    submit(&h, &short_one, 'x', 2, 1, 1);
    submit(&h, &other, 'y', 3, 2, 1);
    let_go(&h, 7);
    /* jobs of one owner take turns, too; 'x' waits for one slice of the four */
    assert_string_equal(h.record.slices, "gaxybyc"
                                         "dabcdabcd");
    assert_string_equal(h.record.ended, "gxyabcd");
    end(&h);
}

static void a_newcomer_waits_for_a_slice_of_each_other_owner(void **state)
{
    (void)state;
    struct held h;
    struct work a, b, late, own;
    hold(&h, 1000, 3, 1); /* of owner 0 */
    submit(&h, &a, 'a', 1, 2, 1);
    submit(&h, &b, 'b', 2, 2, 1);
    sem_post(&h.go_on); /* its first slice ends; a and b have one each; it is held in its second */
    sem_wait(&h.reached);
    submit(&h, &late, 'l', 3, 1, 1);
    submit(&h, &own, 'o', 0, 1, 1);
    let_go(&h, 5);
    assert_string_equal(h.record.slices, "gabg"
                                         "ablog");
    end(&h);
}

static void a_job_that_does_not_fit_waits_and_smaller_ones_pass(void **state)
{
    (void)state;
    struct held h;
    struct work large, small, second, huge;
    hold(&h, 100, 2, 60);
    submit(&h, &large, 'l', 1, 2, 50);
    submit(&h, &small, 's', 2, 1, 40);
    submit(&h, &second, 't', 3, 2, 50);
    submit(&h, &huge, 'h', 4, 2, 500);
    let_go(&h, 5);
    assert_string_equal(h.record.slices, "gsg"
                                         "ltlt"
                                         "hh");
    end(&h);
}

/* Otherwise it would wait while others come: two of these fit, so one is always running. */
static void passing_jobs_leave_room_for_the_waiting_one(void **state)
{
    (void)state;
    struct held h;
    struct work a, large, b, small, c;
    hold(&h, 100, 2, 40);
    submit(&h, &a, 'a', 1, 3, 40);
    submit(&h, &large, 'l', 2, 1, 70);
    submit(&h, &b, 'b', 3, 3, 40);
    submit(&h, &small, 's', 4, 1, 20);
    submit(&h, &c, 'c', 5, 3, 20); /* next to the large one one of these two fits */
    let_go(&h, 6);
    assert_string_equal(h.record.ended, "sgalcb");
    end(&h);
}

static void a_cancelled_job_has_one_slice_more_if_any(void **state)
{
    (void)state;
    struct held h;
    struct work a, b, c;
    hold(&h, 100, 5, 60);
    submit(&h, &a, 'a', 1, 3, 1);
    submit(&h, &b, 'b', 2, 1, 60);
    submit(&h, &c, 'c', 3, 2, 1);
    kl_worker_cancel(h.worker, &a.job);
    kl_worker_cancel(h.worker, &a.job);
    kl_worker_collect(h.worker); /* at once: it has not begun */
    assert_string_equal(h.record.ended, "A");
    kl_worker_cancel(h.worker, &h.gate.job);
    kl_worker_collect(h.worker);
    assert_string_equal(h.record.ended, "A"); /* its slice runs */
    let_go(&h, 4);
    assert_string_equal(h.record.slices, "ggbcc"); /* then its memory is free for b */
    assert_string_equal(h.record.ended, "AGbc");
    end(&h);
}

/* A job that has ended but is not collected yet. */
static void an_ended_job_can_be_cancelled(void **state)
{
    (void)state;
    struct held h;
    struct work a;
    hold(&h, 100, 1, 1);
    submit(&h, &a, 'a', 1, 1, 1);
    sem_post(&h.go_on);
    struct pollfd fd = {.fd = kl_worker_fd(h.worker), .events = POLLIN};
    assert_int_equal(poll(&fd, 1, 60000), 1);
    kl_worker_cancel(h.worker, &h.gate.job);
    let_go(&h, 2);
    assert_memory_equal(h.record.ended, "G", 1);
    end(&h);
}

static void closing_gives_all_jobs_back(void **state)
{
    (void)state;
    struct held h;
    struct work a, b;
    hold(&h, 100, 5, 1);
    submit(&h, &a, 'a', 1, 3, 1);
    h.gate.reached = NULL;
    kl_worker_cancel(h.worker, &a.job);
    submit(&h, &b, 'b', 2, SIZE_MAX, 1);
    sem_post(&h.go_on);
    struct record *r = &h.record;
    kl_worker_close(h.worker);
    assert_int_equal(strlen(r->ended), 3);
    assert_non_null(strchr(r->ended, 'G'));
    assert_non_null(strchr(r->ended, 'A'));
    assert_non_null(strchr(r->ended, 'B'));
    kl_worker_close(NULL);
    sem_destroy(&h.reached);
    sem_destroy(&h.go_on);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_job_runs_slice_by_slice),
        cmocka_unit_test(owners_take_turns),
        cmocka_unit_test(a_newcomer_waits_for_a_slice_of_each_other_owner),
        cmocka_unit_test(a_job_that_does_not_fit_waits_and_smaller_ones_pass),
        cmocka_unit_test(passing_jobs_leave_room_for_the_waiting_one),
        cmocka_unit_test(a_cancelled_job_has_one_slice_more_if_any),
        cmocka_unit_test(an_ended_job_can_be_cancelled),
        cmocka_unit_test(closing_gives_all_jobs_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
