#include "engine/slots.h"

#include "base/clock.h"
#include "engine/engine_counters.h"
#include "engine/prefix_reuse.h"
#include "engine/request_events.h"

void kl_finish_request(struct kl_engine *engine, struct kl_request *request, enum kl_finish finish,
                       const struct kl_error *why)
{
    uint64_t now = kl_now_ns();
    /* first: a client that has seen the end may submit its next request */
    kl_counters_finish(engine, request, finish, now);
    kl_request_finish(request, finish, why, now);
    engine->clients.pending = true;
}

void kl_slot_start(struct kl_engine *engine, size_t slot, struct kl_request *request, size_t pages)
{
    struct kl_error err;
    if (request->started_ns == 0)
        request->started_ns = kl_now_ns();
    if (kl_sequence_new(engine->kv, &request->sequence, &err) != KL_OK) {
        kl_finish_request(engine, request, KL_FINISH_ERROR, &err);
        return;
    }
    request->is_loading = true;
    engine->waits_changed = true;
    engine->running[slot] = request;
    kl_batch_reset_slot(&engine->batch, slot);
    kl_proposals_reset_slot(&engine->proposals, slot);
    engine->slots[slot] = (struct kl_slot){.state = KL_SLOT_PREFILL,
                                           .level = request->level,
                                           .order = engine->n_started++,
                                           .pages = pages};
    kl_counters_start(engine, request);
    struct kl_request_rule *rule = &request->rule;
    if (rule->rule != NULL &&
        kl_request_rule_open(rule, &engine->forcer, request->tokens + request->n_prompt,
                             kl_request_answer_tokens(request), &err) != KL_OK)
        kl_slot_finish(engine, slot, KL_FINISH_ERROR, &err);
}

static struct kl_request *leave(struct kl_engine *engine, size_t slot, bool share)
{
    engine->waits_changed = true;
    struct kl_request *request = engine->running[slot];
    if (share)
        kl_prefix_share(engine, request, kl_sequence_length(request->sequence));
    kl_request_rule_close(&request->rule);
    kl_sequence_free(request->sequence);
    request->sequence = NULL;
    engine->running[slot] = NULL;
    engine->slots[slot] = (struct kl_slot){.state = KL_SLOT_FREE};
    kl_counters_leave(engine, request);
    return request;
}

struct kl_request *kl_slot_preempt(struct kl_engine *engine, size_t slot)
{
    return leave(engine, slot, true);
}

void kl_slot_finish(struct kl_engine *engine, size_t slot, enum kl_finish finish,
                    const struct kl_error *why)
{
    struct kl_request *request = engine->running[slot];
    kl_proposals_remember(&engine->proposals, request);
    bool share = finish != KL_FINISH_ERROR && kl_request_shares(request);
    kl_finish_request(engine, leave(engine, slot, share), finish, why);
}

void kl_slots_finish_ended(struct kl_engine *engine)
{
    uint64_t now = kl_now_ns();
    enum kl_finish how;
    for (size_t i = 0; i < engine->options.parallel; i++) {
        if (engine->running[i] != NULL && kl_request_must_end(engine->running[i], now, &how))
            kl_slot_finish(engine, i, how, NULL);
    }
}

void kl_slots_update(struct kl_engine *engine)
{
    size_t n_paused = 0;
    for (size_t i = 0; i < engine->options.parallel; i++) {
        struct kl_request *request = engine->running[i];
        if (request == NULL)
            continue;
        if (kl_request_follow_level(request)) {
            engine->slots[i].level = request->level;
            engine->waits_changed = true;
        }
        engine->slots[i].remaining = request->n_tokens - kl_sequence_length(request->sequence);
        bool unread = !kl_request_has_room(request);
        engine->slots[i].paused = unread || request->is_loading;
        n_paused += unread;
    }
    kl_counters_paused(engine, n_paused);
}
