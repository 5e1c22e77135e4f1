#include "service/drain.h"

#include "base/clock.h"
#include "base/log.h"
#include "service/generation.h"
#include "service/model_pull.h"
#include "service/service.h"

/* The time to send the last bytes of answers that were ended. */
#define FLUSH_NS 500000000u

void kl_drain_idle(void *context)
{
    const struct kl_service *s = context;
    kl_loop_stop(s->loop);
}

void kl_drain_tick(struct kl_service *s)
{
    uint64_t passed = kl_now_ns() - s->drain.begin_ns;
    if (passed >= s->drain.patience_ns && !s->drain.cut) {
        struct kl_api_error error;
        kl_api_fail(&error, 503, "stopping", NULL,
                    "the server is being stopped, and the time for running answers is over");
        s->drain.cut = true;
        kl_generations_cut(s, &error, KL_COUNT_STOPPED);
    }
    if (passed >= s->drain.patience_ns + FLUSH_NS)
        kl_loop_stop(s->loop);
}

void kl_drain_begin(struct kl_service *s)
{
    if (kl_http_is_draining(s->http))
        return;
    s->drain.begin_ns = kl_now_ns();
    s->events->draining(s->events_context);
    /* requests that wait for the model would not finish */
    if (!kl_service_is_loading(s))
        s->drain.patience_ns = (uint64_t)s->options.drain_seconds * 1000000000u;
    kl_model_pull_cancel(s);
    kl_http_drain(s->http);
    if (kl_http_is_answering(s->http) && s->drain.patience_ns > 0)
        kl_info("stopping; running answers have %u s to finish", s->options.drain_seconds);
    kl_drain_tick(s);
    kl_service_start_tick(s);
    kl_http_check_idle(s->http);
}
