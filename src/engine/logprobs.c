#include "engine/logprobs.h"

#include <assert.h>
#include <float.h>
#include <math.h>

/* Terms below e^-60 of the largest, of which there are less than 2^31, change no bit of the sum. */
#define SMALLEST_EXPONENT (-60.0)

static double logit_of(const float *logits, size_t id)
{
    float logit = logits[id];
    if (isnan(logit))
        return -INFINITY;
    return (double)(logit > FLT_MAX ? FLT_MAX : logit);
}

/* Inserts a logit into best[0..n), which is in order and has room for `most`; returns the new n. */
static size_t insert(struct kl_logprob *best, size_t n, size_t most, struct kl_logprob logit)
{
    if (n == most && (most == 0 || !(logit.value > best[n - 1].value)))
        return n;
    size_t at = n < most ? n++ : n - 1;
    for (; at > 0 && logit.value > best[at - 1].value; at--)
        best[at] = best[at - 1];
    best[at] = logit;
    return n;
}

size_t kl_logprobs(const float *logits, size_t n_vocab, int32_t token, size_t n_top,
                   struct kl_logprob *out)
{
    assert(n_top <= KL_MAX_TOP_LOGPROBS && token >= 0 && (size_t)token < n_vocab);
    size_t n = 0;
    double best = -INFINITY, sum = 0.0;
    for (size_t id = 0; id < n_vocab; id++) {
        struct kl_logprob logit = {.value = logit_of(logits, id), .id = (int32_t)id};
        best = logit.value > best ? logit.value : best;
        n = insert(out + 1, n, n_top, logit);
    }
    for (size_t id = 0; id < n_vocab; id++) {
        double exponent = logit_of(logits, id) - best;
        sum += exponent >= SMALLEST_EXPONENT ? exp(exponent) : 0.0;
    }
    out[0] = (struct kl_logprob){.value = logit_of(logits, (size_t)token), .id = token};
    for (size_t i = 0; i <= n; i++)
        out[i].value = best > -INFINITY ? (out[i].value - best) - log(sum) : -log((double)n_vocab);
    return 1 + n;
}
