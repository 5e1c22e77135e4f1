#include "service/live_work.h"

#include "service/generation.h"

static void stop(void *work, const struct kl_api_error *error)
{
    kl_generation_fail(work, error, KL_COUNT_LEFT);
}

/* The answer has its own priority while it is read. */
static void on_readers_changed(void *work)
{
    struct kl_generation *g = work;
    enum kl_priority priority = g->live->readers != NULL ? g->priority : KL_PRIORITY_BACKGROUND;
    for (size_t i = 0; i < g->n_choices; i++) {
        if (g->choices[i].request != NULL)
            kl_request_set_priority(g->choices[i].request, priority);
    }
}

static void on_alone(void *context)
{
    struct kl_service *s = context;
    kl_timer_start(s->live_timer, KL_LIVE_ALONE_NS / 1000);
}

const struct kl_live_events kl_live_work = {stop, on_readers_changed, on_alone};
