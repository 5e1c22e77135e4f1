#include "engine/statistics.h"

#include <string.h>

#include "base/quantile.h"
#include "engine/scheduler.h"

/* Long enough for a steady figure, short enough to follow changes. */
#define SPEED_SECONDS 10.0

void kl_statistics_add_latency(struct kl_statistics *s, double seconds)
{
    s->latencies[s->n_latencies++ % KL_LATENCIES] = seconds;
}

static void add_speed(struct kl_speed *speed, size_t tokens, double seconds)
{
    speed->tokens += (double)tokens;
    speed->seconds += seconds;
    if (speed->seconds > SPEED_SECONDS) {
        speed->tokens /= 2;
        speed->seconds /= 2;
    }
}

void kl_statistics_add_step(struct kl_statistics *s, size_t prefill_rows, size_t decode_rows,
                            double seconds)
{
    s->only_decode = prefill_rows == 0;
    if (s->only_decode) {
        add_speed(&s->decode, decode_rows, seconds);
        return;
    }
    add_speed(&s->prefill, prefill_rows, seconds);
    if (prefill_rows < KL_ROW_TILE) /* the last rows of a prompt: mostly the fixed cost of a step */
        return;
    double row_seconds = seconds / (double)prefill_rows;
    /* a slower row counts at once, so that at most one step is too long; a faster one gradually */
    s->row_seconds =
        row_seconds >= s->row_seconds ? row_seconds : (s->row_seconds + row_seconds) / 2;
}

void kl_statistics_add_accepted(struct kl_statistics *s, size_t n_tokens)
{
    if (s->only_decode)
        add_speed(&s->decode, n_tokens, 0.0);
}

/* Recent answers weigh most: clients change what they ask for. */
#define ANSWER_WEIGHT 0.1
/* Tokens of a typical answer before one has ended; max_tokens is usually far more. */
#define UNKNOWN_ANSWER 256.0

void kl_statistics_add_answer(struct kl_statistics *s, size_t n_tokens)
{
    double weight = s->answer_tokens == 0.0 ? 1.0 : ANSWER_WEIGHT;
    s->answer_tokens += weight * ((double)n_tokens - s->answer_tokens);
}

double kl_statistics_work(const struct kl_statistics *s, size_t prompt_tokens, size_t max_answer)
{
    double prefill = kl_speed_value(&s->prefill), decode = kl_speed_value(&s->decode);
    if (prefill == 0.0 || decode == 0.0)
        return 0.0;
    double typical = s->answer_tokens > 0.0 ? s->answer_tokens : UNKNOWN_ANSWER;
    double answer = typical < (double)max_answer ? typical : (double)max_answer;
    return (double)prompt_tokens / prefill + answer / decode;
}

double kl_statistics_latency(const struct kl_statistics *s, unsigned percent)
{
    size_t n = s->n_latencies < KL_LATENCIES ? (size_t)s->n_latencies : KL_LATENCIES;
    if (n == 0)
        return 0.0;
    double sorted[KL_LATENCIES];
    memcpy(sorted, s->latencies, n * sizeof *sorted);
    kl_sort_values(sorted, n);
    return kl_nearest_rank(sorted, n, percent);
}

double kl_speed_value(const struct kl_speed *speed)
{
    return speed->seconds > 0.0 ? speed->tokens / speed->seconds : 0.0;
}
