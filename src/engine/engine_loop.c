#include "engine/engine_loop.h"

#include "engine/engine_state.h"
#include "engine/engine_step.h"
#include "engine/prefix_reuse.h"
#include "engine/queues.h"
#include "engine/slots.h"
#include "engine/waits.h"

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

void *kl_engine_loop(void *argument)
{
    struct kl_engine *engine = argument;
    while (!atomic_load(&engine->closing)) {
        kl_queues_update(engine);
        kl_slots_finish_ended(engine);
        kl_slots_update(engine);
        kl_queues_start(engine);
        kl_waits_update(engine);
        unsigned loading = kl_prefix_load(engine);
        size_t n_rows = kl_step_plan(engine);
        kl_client_wakeup_flush(&engine->clients);
        if (n_rows > 0 && engine->step_level <= loading)
            kl_step_run(engine);
        else if (loading == KL_N_LEVELS)
            kl_wakeup_wait(&engine->wakeup, kl_queues_first_deadline(engine));
    }
    cancel_all(engine);
    return NULL;
}
