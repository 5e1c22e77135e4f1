#include "api/usage_json.h"

#include <math.h>

#include "base/clock.h"

json_t *kl_usage_json(const struct kl_generation *g)
{
    json_int_t prompt = (json_int_t)kl_generation_prompt_tokens(g), answer = 0, cached = 0;
    for (size_t i = 0; i < g->n_choices; i++) {
        answer += g->choices[i].answer_tokens;
        cached += i % g->n_per_prompt == 0 ? g->choices[i].cached_tokens : 0;
    }
    return json_pack("{s:I, s:I, s:I, s:{s:I}}", "prompt_tokens", prompt, "completion_tokens",
                     answer, "total_tokens", prompt + answer, "prompt_tokens_details",
                     "cached_tokens", cached);
}

static double per_second(double n, double seconds)
{
    return seconds > 0 ? n / seconds : 0;
}

static double per_token(double seconds, double n)
{
    return n > 0 ? 1e3 * seconds / n : 0;
}

/* The figures of which timings are made; prompt: computed tokens, steps: passes that gave a token,
 * but the first one, which comes with the prompt. */
struct work {
    double cached, prompt, predicted, steps;
    double prompt_seconds, predicted_seconds;
    json_int_t drafted, accepted;
};

static json_t *work_json(const struct work *w)
{
    return json_pack("{s:I, s:I, s:f, s:f, s:f, s:I, s:f, s:f, s:f, s:I, s:I}", "cache_n",
                     (json_int_t)w->cached, "prompt_n", (json_int_t)w->prompt, "prompt_ms",
                     1e3 * w->prompt_seconds, "prompt_per_token_ms",
                     per_token(w->prompt_seconds, w->prompt), "prompt_per_second",
                     per_second(w->prompt, w->prompt_seconds), "predicted_n",
                     (json_int_t)w->predicted, "predicted_ms", 1e3 * w->predicted_seconds,
                     "predicted_per_token_ms", per_token(w->predicted_seconds, w->steps),
                     "predicted_per_second", per_second(w->steps, w->predicted_seconds), "draft_n",
                     w->drafted, "draft_n_accepted", w->accepted);
}

static double steps_of(uint32_t tokens)
{
    return tokens > 1 ? tokens - 1 : 0;
}

json_t *kl_timings_json(const struct kl_generation *g, size_t first, size_t n)
{
    struct work w = {0};
    for (size_t i = first; i < first + n; i++) {
        const struct kl_answer_choice *c = &g->choices[i];
        if (i == first || i % g->n_per_prompt == 0) {
            w.cached += c->cached_tokens;
            w.prompt += c->prompt_tokens - c->cached_tokens;
        }
        w.predicted += c->answer_tokens;
        w.steps += steps_of(c->answer_tokens);
        w.drafted += c->drafted_tokens;
        w.accepted += c->accepted_tokens;
        w.prompt_seconds = fmax(w.prompt_seconds, c->prefill_seconds);
        w.predicted_seconds = fmax(w.predicted_seconds, c->decode_seconds);
    }
    return work_json(&w);
}

static double seconds_between(uint64_t begin, uint64_t end)
{
    return begin != 0 && end > begin ? (double)(end - begin) * 1e-9 : 0;
}

json_t *kl_timings_so_far_json(const struct kl_generation *g, size_t choice)
{
    const struct kl_answer_choice *c = &g->choices[choice];
    uint64_t now = kl_now_ns(), text = c->first_text_ns;
    bool begun = text != 0; /* the prompt is behind it */
    struct work w = {.cached = c->cached_tokens,
                     .prompt =
                         (double)(begun ? c->prompt_tokens : g->prefill_done) - c->cached_tokens,
                     .predicted = c->answer_tokens,
                     .steps = steps_of(c->answer_tokens),
                     .prompt_seconds = seconds_between(c->prefill_ns, begun ? text : now),
                     .predicted_seconds = seconds_between(text, now)};
    if (!(w.prompt > 0))
        w.prompt_seconds = 0;
    return work_json(&w);
}

const char *kl_finish_reason(enum kl_finish finish)
{
    bool cut = finish == KL_FINISH_LENGTH || finish == KL_FINISH_DEADLINE;
    return cut ? "length" : "stop";
}
