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

void kl_waits_update(struct kl_engine *engine)
{
    uint64_t now = kl_now_ns();
    if (!engine->waits_changed && now - engine->waits_computed_ns < KL_POSITION_INTERVAL_NS)
        return;
    engine->waits_changed = false;
    engine->waits_computed_ns = now;
    double expected[KL_N_PRIORITIES];
    uint32_t position = 0;
    for (unsigned level = 0; level < KL_N_PRIORITIES; level++) {
        expected[level] = estimate_waits(engine, level);
        for (struct kl_request *r = engine->waiting[level].head; r != NULL; r = r->next) {
            if (kl_request_send_queued(r, position, engine->waits[position], now))
                engine->clients.pending = true;
            position++;
        }
    }
    kl_counters_waits(engine, expected);
}
