#include "engine/engine_thread.h"

#include <errno.h>
#include <stdlib.h>

#include "base/thread.h"
#include "engine/engine_state.h"
#include "engine/engine_step.h"
#include "engine/prefix_reuse.h"
#include "engine/queues.h"
#include "engine/slots.h"
#include "engine/waits.h"

/* ---- engines that come and go ---------------------------------------------------------------- */

static void cancel_all(struct kl_engine *engine)
{
    kl_queues_update(engine);
    for (size_t i = 0; i < engine->options.parallel; i++) {
        if (engine->running[i] != NULL)
            kl_slot_finish(engine, i, KL_FINISH_CANCELLED, NULL);
    }
    kl_queues_cancel(engine);
    kl_client_wakeup_flush(&engine->clients);
}

static void append(struct kl_engine_thread *thread, struct kl_engine *engine)
{
    struct kl_engine **end = &thread->engines;
    while (*end != NULL)
        end = &(*end)->next;
    *end = engine;
    engine->next = NULL;
}

static void remove_engine(struct kl_engine_thread *thread, const struct kl_engine *engine)
{
    struct kl_engine **at = &thread->engines;
    while (*at != engine)
        at = &(*at)->next;
    *at = engine->next;
}

/* Takes in the engines that were opened, and lets those go that are being closed. */
static void update_engines(struct kl_engine_thread *thread)
{
    pthread_mutex_lock(&thread->wakeup.lock);
    struct kl_engine *arrived = thread->arrived;
    thread->arrived = NULL;
    pthread_mutex_unlock(&thread->wakeup.lock);
    for (struct kl_engine *next; arrived != NULL; arrived = next) {
        next = arrived->next;
        append(thread, arrived);
    }
    for (struct kl_engine *e = thread->engines, *next; e != NULL; e = next) {
        next = e->next;
        if (!atomic_load(&e->closing))
            continue;
        cancel_all(e);
        remove_engine(thread, e);
        pthread_mutex_lock(&thread->wakeup.lock);
        e->has_left = true;
        pthread_cond_broadcast(&thread->left);
        pthread_mutex_unlock(&thread->wakeup.lock);
    }
}

/* ---- turns ----------------------------------------------------------------------------------- */

/* The first part of a turn: takes in, ends and starts requests. */
static void sort_requests(struct kl_engine *engine)
{
    kl_queues_update(engine);
    kl_slots_finish_ended(engine);
    kl_slots_update(engine);
    kl_queues_start(engine);
}

/* Then, an engine's plan for a pass. Returns the number of rows that it could run. */
static size_t plan(struct kl_engine *engine)
{
    engine->loading_level = kl_prefix_load(engine);
    size_t n_rows = kl_step_plan(engine);
    kl_client_wakeup_flush(&engine->clients);
    return n_rows;
}

/* Runs a pass of the engine whose turn it is: the first of those whose work has the lowest level.
 * Work of a level waits while an engine loads pages for a lower one. Returns false if nothing can
 * run; *loading: because pages are loaded; otherwise *deadline_ns is that of the first request. */
static bool take_turn(struct kl_engine_thread *thread, bool *loading, uint64_t *deadline_ns)
{
    struct kl_engine *chosen = NULL;
    unsigned lowest_loading = KL_N_LEVELS;
    for (struct kl_engine *e = thread->engines; e != NULL; e = e->next)
        sort_requests(e);
    kl_waits_update(thread);
    for (struct kl_engine *e = thread->engines; e != NULL; e = e->next) {
        size_t n_rows = plan(e);
        if (e->loading_level < lowest_loading)
            lowest_loading = e->loading_level;
        if (n_rows > 0 && (chosen == NULL || e->step_level < chosen->step_level))
            chosen = e;
    }
    if (chosen != NULL && chosen->step_level <= lowest_loading) {
        kl_step_run(chosen);
        if (chosen->next != NULL) {
            remove_engine(thread, chosen);
            append(thread, chosen);
        }
        return true;
    }
    *loading = lowest_loading != KL_N_LEVELS;
    *deadline_ns = UINT64_MAX;
    for (const struct kl_engine *e = thread->engines; e != NULL; e = e->next) {
        uint64_t first = kl_queues_first_deadline(e);
        if (first < *deadline_ns)
            *deadline_ns = first;
    }
    return false;
}

static void *run(void *argument)
{
    struct kl_engine_thread *thread = argument;
    bool loading;
    uint64_t deadline_ns;
    while (!atomic_load(&thread->closing)) {
        update_engines(thread);
        if (!take_turn(thread, &loading, &deadline_ns) && !loading)
            kl_wakeup_wait(&thread->wakeup, deadline_ns);
    }
    return NULL;
}

/* ---- opening and closing --------------------------------------------------------------------- */

static void destroy(struct kl_engine_thread *thread)
{
    kl_pool_close(thread->pool);
    pthread_cond_destroy(&thread->left);
    kl_wakeup_release(&thread->wakeup);
    free(thread);
}

enum kl_status kl_engine_thread_open(size_t n_threads, struct kl_engine_thread **out,
                                     struct kl_error *err)
{
    *out = NULL;
    struct kl_engine_thread *thread = calloc(1, sizeof *thread);
    if (thread == NULL)
        return kl_fail_memory(err, "the engine's thread", sizeof *thread);
    kl_wakeup_init(&thread->wakeup);
    pthread_cond_init(&thread->left, NULL);
    enum kl_status status = kl_pool_open(n_threads, &thread->pool, err);
    if (status == KL_OK) {
        errno = kl_thread_start(&thread->thread, run, thread);
        if (errno != 0)
            status = kl_fail_errno(err, "the engine's thread could not be started");
    }
    if (status != KL_OK) {
        destroy(thread);
        return status;
    }
    *out = thread;
    return KL_OK;
}

void kl_engine_thread_close(struct kl_engine_thread *thread)
{
    if (thread == NULL)
        return;
    atomic_store(&thread->closing, true);
    kl_wakeup_signal(&thread->wakeup);
    pthread_join(thread->thread, NULL);
    destroy(thread);
}
