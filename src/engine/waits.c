#include "engine/waits.h"

#include "base/clock.h"
#include "engine/engine_counters.h"
#include "engine/request_events.h"

static double work_left(const struct kl_engine *engine, const struct kl_request *request)
{
    size_t computed = request->sequence != NULL ? kl_sequence_length(request->sequence) : 0;
    /* the rest of an answer counts as a whole typical one: its end cannot be foreseen */
    return kl_statistics_work(&engine->measured, request->n_tokens - computed,
                              request->max_answer - kl_request_answer_tokens(request));
}

/* Adds up the work of each level. */
static void measure_work(struct kl_engine *engine)
{
    for (unsigned level = 0; level < KL_N_LEVELS; level++) {
        engine->work[level] = 0.0;
        for (const struct kl_request *r = engine->waiting[level].head; r != NULL; r = r->next)
            engine->work[level] += work_left(engine, r);
    }
    for (size_t i = 0; i < engine->options.parallel; i++) {
        if (engine->running[i] != NULL)
            engine->work[engine->running[i]->level] += work_left(engine, engine->running[i]);
    }
}

/* Returns the seconds that a wait takes next to the other engines: they do all of their work of
 * lower levels first, and of the same level as much as this one in the meantime. */
static double with_others(const struct kl_engine *engine, unsigned level, double alone)
{
    double wait = alone;
    for (const struct kl_engine *e = engine->thread->engines; e != NULL; e = e->next) {
        if (e == engine)
            continue;
        for (unsigned lower = 0; lower < level; lower++)
            wait += e->work[lower];
        wait += e->work[level] < alone ? e->work[level] : alone;
    }
    return wait;
}

/* Fills waits for the requests queued up to a level, in the order in which they will start, and
 * returns how long a new request of that level would wait. */
static double estimate_waits(struct kl_engine *engine, unsigned level)
{
    double running[KL_MAX_PARALLEL];
    size_t n_slots = engine->options.parallel, n_running = 0, n_waiting = 0;
    for (size_t i = 0; i < n_slots; i++) {
        if (engine->running[i] != NULL && engine->running[i]->level <= level)
            running[n_running++] = work_left(engine, engine->running[i]);
    }
    for (size_t l = 0; l <= level; l++) {
        for (const struct kl_request *r = engine->waiting[l].head; r != NULL; r = r->next)
            engine->waits[n_waiting++] = work_left(engine, r);
    }
    if (n_waiting > 0 && n_running > 0 && engine->blocked_level <= level)
        n_slots = n_running; /* they wait for memory or for a lower level, not for a free slot */
    engine->waits[n_waiting] = 0.0;
    kl_schedule_waits(running, n_running, n_slots, engine->waits, n_waiting + 1);
    return engine->waits[n_waiting];
}

static void update(struct kl_engine *engine, uint64_t now)
{
    double expected[KL_N_PRIORITIES];
    uint32_t position = 0;
    for (unsigned level = 0; level < KL_N_PRIORITIES; level++) {
        expected[level] = with_others(engine, level, estimate_waits(engine, level));
        for (struct kl_request *r = engine->waiting[level].head; r != NULL; r = r->next) {
            double wait = with_others(engine, level, engine->waits[position]);
            if (kl_request_send_queued(r, position, wait, now))
                engine->clients.pending = true;
            position++;
        }
    }
    kl_counters_waits(engine, expected);
}

void kl_waits_update(struct kl_engine_thread *thread)
{
    uint64_t now = kl_now_ns();
    bool due = now - thread->waits_computed_ns >= KL_POSITION_INTERVAL_NS;
    for (const struct kl_engine *e = thread->engines; e != NULL && !due; e = e->next)
        due = e->waits_changed;
    if (!due)
        return;
    thread->waits_computed_ns = now;
    for (struct kl_engine *e = thread->engines; e != NULL; e = e->next) {
        e->waits_changed = false;
        measure_work(e);
    }
    for (struct kl_engine *e = thread->engines; e != NULL; e = e->next)
        update(e, now);
}
