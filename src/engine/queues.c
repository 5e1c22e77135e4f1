#include "engine/queues.h"

#include "base/clock.h"
#include "engine/request_events.h"
#include "engine/slots.h"

/* Ends requests of a level that were cancelled or are late, and moves those that are to have
 * another level. */
static void sort_out(struct kl_engine *engine, size_t level, uint64_t now)
{
    struct kl_request_queue before = engine->waiting[level];
    struct kl_request *request;
    enum kl_finish how;
    engine->waiting[level].head = NULL;
    while ((request = kl_queue_take(&before)) != NULL) {
        if (kl_request_must_end(request, now, &how)) {
            engine->waits_changed = true;
            kl_finish_request(engine, request, how, NULL);
        } else {
            engine->waits_changed = kl_request_follow_level(request) || engine->waits_changed;
            kl_queue_append(&engine->waiting[request->level], request);
        }
    }
}

void kl_queues_update(struct kl_engine *engine)
{
    pthread_mutex_lock(&engine->wakeup->lock);
    struct kl_request_queue arrived = engine->inbox;
    engine->inbox.head = NULL;
    pthread_mutex_unlock(&engine->wakeup->lock);
    struct kl_request *request;
    while ((request = kl_queue_take(&arrived)) != NULL) {
        engine->waits_changed = true;
        kl_queue_append(&engine->waiting[request->level], request);
    }
    uint64_t now = kl_now_ns();
    for (size_t level = 0; level < KL_N_LEVELS; level++)
        sort_out(engine, level, now);
}

/* Starts the first request of a level; false: it has to wait. */
static bool start_first(struct kl_engine *engine, unsigned level)
{
    struct kl_request_queue *queue = &engine->waiting[level];
    size_t pages = kl_request_pages(queue->head), slot;
    size_t max_pages =
        level == KL_PRIORITY_INTERACTIVE ? engine->max_pages : engine->max_pages_background;
    enum kl_start start;
    while ((start = kl_schedule_start(engine->slots, engine->options.parallel, level, pages,
                                      max_pages, &slot)) == KL_START_PREEMPT) {
        struct kl_request *preempted = kl_slot_preempt(engine, slot);
        kl_queue_prepend(&engine->waiting[preempted->level], preempted);
    }
    if (start == KL_START_WAIT)
        return false;
    kl_slot_start(engine, slot, kl_queue_take(queue), pages);
    return true;
}

static bool runs_at(const struct kl_engine *engine, unsigned level)
{
    for (size_t i = 0; i < engine->options.parallel; i++) {
        if (engine->running[i] != NULL && engine->running[i]->level == level)
            return true;
    }
    return false;
}

/* After a pass was abandoned because a request ended, the other requests of its level first
 * complete a pass: clients that come and go cannot keep them from making progress. */
void kl_queues_start(struct kl_engine *engine)
{
    if (engine->was_aborted && !runs_at(engine, engine->step_level))
        engine->was_aborted = false;
    engine->blocked_level = KL_N_LEVELS;
    for (unsigned level = 0; level < KL_N_LEVELS; level++) {
        while (engine->waiting[level].head != NULL) {
            bool held = engine->was_aborted && level >= engine->step_level;
            if (held || !start_first(engine, level)) {
                engine->blocked_level = level;
                return;
            }
        }
    }
}

bool kl_queues_has_lower(struct kl_engine *engine, unsigned step_level)
{
    for (unsigned level = 0; level < step_level && level < engine->blocked_level; level++) {
        if (engine->waiting[level].head != NULL)
            return true;
    }
    for (size_t i = 0; i < engine->options.parallel; i++) {
        struct kl_request *request = engine->running[i];
        if (request != NULL && request->level < step_level && kl_request_has_room(request))
            return true;
    }
    return false;
}

uint64_t kl_queues_first_deadline(const struct kl_engine *engine)
{
    uint64_t first = UINT64_MAX;
    for (unsigned level = 0; level < KL_N_LEVELS; level++) {
        for (const struct kl_request *r = engine->waiting[level].head; r != NULL; r = r->next) {
            if (r->deadline_ns < first)
                first = r->deadline_ns;
        }
    }
    for (size_t i = 0; i < engine->options.parallel; i++) {
        if (engine->running[i] != NULL && engine->running[i]->deadline_ns < first)
            first = engine->running[i]->deadline_ns;
    }
    return first;
}

void kl_queues_cancel(struct kl_engine *engine)
{
    struct kl_request *request;
    for (unsigned level = 0; level < KL_N_LEVELS; level++) {
        while ((request = kl_queue_take(&engine->waiting[level])) != NULL)
            kl_finish_request(engine, request, KL_FINISH_CANCELLED, NULL);
    }
}
