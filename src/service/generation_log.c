#include "service/generation_log.h"

#include <math.h>

#include "base/clock.h"
#include "base/log.h"

/* Estimates the times of choices whose end the engine has not reported. */
static void note_times(struct kl_generation *g)
{
    uint64_t now = kl_now_ns();
    for (size_t i = 0; i < g->n_choices; i++) {
        struct kl_answer_choice *c = &g->choices[i];
        if (c->request == NULL)
            continue;
        uint64_t text = c->first_text_ns != 0 ? c->first_text_ns : now;
        uint64_t prefill = c->prefill_ns != 0 ? c->prefill_ns : text;
        c->queue_seconds = (double)(prefill - c->submit_ns) * 1e-9;
        c->prefill_seconds = (double)(text - prefill) * 1e-9;
        c->decode_seconds = (double)(now - text) * 1e-9;
    }
}

void kl_generation_log(struct kl_generation *g, const char *cause)
{
    note_times(g);
    const struct kl_exchange *x = g->exchange;
    uint32_t answer_tokens = 0, cached_tokens = 0, prompt_tokens;
    double queue = 0, prefill = 0, decode = 0;
    for (size_t i = 0; i < g->n_choices; i++) {
        const struct kl_answer_choice *c = &g->choices[i];
        answer_tokens += c->answer_tokens;
        cached_tokens += i % g->n_per_prompt == 0 ? c->cached_tokens : 0;
        queue = fmax(queue, c->queue_seconds);
        prefill = fmax(prefill, c->prefill_seconds);
        decode = fmax(decode, c->decode_seconds);
    }
    prompt_tokens = (uint32_t)kl_generation_prompt_tokens(g);
    double seconds = kl_seconds_since(x->start_ns);
    const struct kl_log_field fields[] = {
        {"request_id", x->id, 0},
        {"route", x->route->path, 0},
        {"status", NULL, x->status},
        {"end", cause, 0},
        {"prompt_tokens", NULL, prompt_tokens},
        {"cached_tokens", NULL, cached_tokens},
        {"answer_tokens", NULL, answer_tokens},
        {"queue_seconds", NULL, queue},
        {"prefill_seconds", NULL, prefill},
        {"decode_seconds", NULL, decode},
        {"seconds", NULL, seconds},
    };
    kl_log_with(KL_LOG_INFO, fields, sizeof fields / sizeof fields[0],
                "request %s: %s, status %d, %s; %u prompt tokens (%u cached), %u answer tokens; "
                "queue %.3f s, prefill %.3f s, decode %.3f s, all %.3f s",
                x->id, x->route->path, x->status, cause, prompt_tokens, cached_tokens,
                answer_tokens, queue, prefill, decode, seconds);
}
