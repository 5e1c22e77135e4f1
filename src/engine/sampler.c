#include "engine/sampler.h"

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* A weight below e^-40 of the best one's cannot be drawn in practice (all 151,936 of them together
 * have a chance of 6e-13), so it is not worth an expf. */
#define SMALLEST_EXPONENT (-40.0f)

struct kl_sampler {
    size_t n_vocab;
    struct kl_logit *selection; /* [n_vocab], reordered by select_best */
};

static uint64_t rotate_left(uint64_t x, int k)
{
    return (x << k) | (x >> (64 - k));
}

void kl_random_init(struct kl_random *random, uint64_t seed)
{
    for (int i = 0; i < 4; i++) {
        seed += 0x9E3779B97F4A7C15u;
        uint64_t z = seed;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
        random->state[i] = z ^ (z >> 31);
    }
}

uint64_t kl_random_next(struct kl_random *random)
{
    uint64_t *s = random->state;
    uint64_t result = rotate_left(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate_left(s[3], 45);
    return result;
}

double kl_random_unit(struct kl_random *random)
{
    return (double)(kl_random_next(random) >> 11) * 0x1p-53;
}

enum kl_status kl_sampler_open(size_t n_vocab, struct kl_sampler **out, struct kl_error *err)
{
    *out = NULL;
    struct kl_sampler *sampler = calloc(1, sizeof *sampler);
    if (sampler == NULL)
        return kl_fail_memory(err, "the sampler", sizeof *sampler);
    sampler->n_vocab = n_vocab;
    sampler->selection = calloc(n_vocab, sizeof *sampler->selection);
    if (sampler->selection == NULL) {
        kl_sampler_close(sampler);
        return kl_fail_memory(err, "the sampler's candidates", n_vocab * sizeof(struct kl_logit));
    }
    *out = sampler;
    return KL_OK;
}

void kl_sampler_close(struct kl_sampler *sampler)
{
    if (sampler == NULL)
        return;
    free(sampler->selection);
    free(sampler);
}

enum kl_status kl_sampling_check(const struct kl_sampling *s, struct kl_error *err)
{
    /* written so that a NaN fails each of them */
    if (!(s->temperature >= 0.0f && s->temperature <= FLT_MAX))
        return kl_fail(err, KL_ERR_INVALID, "temperature: expected 0 or more, found %g",
                       (double)s->temperature);
    if (!(s->top_p > 0.0f && s->top_p <= 1.0f))
        return kl_fail(err, KL_ERR_INVALID, "top_p: expected more than 0 and at most 1, found %g",
                       (double)s->top_p);
    if (!(s->min_p >= 0.0f && s->min_p < 1.0f))
        return kl_fail(err, KL_ERR_INVALID, "min_p: expected at least 0 and below 1, found %g",
                       (double)s->min_p);
    if (!(s->repetition_penalty > 0.0f && s->repetition_penalty <= FLT_MAX))
        return kl_fail(err, KL_ERR_INVALID, "repetition_penalty: expected more than 0, found %g",
                       (double)s->repetition_penalty);
    return KL_OK;
}

void kl_sampler_wants(const struct kl_sampling *s, const int32_t *history, size_t n_history,
                      size_t n_vocab, struct kl_seen *seen, struct kl_want *want)
{
    *want = (struct kl_want){.n_vocab = n_vocab};
    if (s->repetition_penalty != 1.0f) {
        if (seen->n == 0)
            memset(seen->words, 0, (n_vocab / 64 + 1) * sizeof *seen->words);
        for (; seen->n < n_history; seen->n++) {
            size_t id = (size_t)history[seen->n];
            seen->words[id / 64] |= (uint64_t)1 << (id % 64);
        }
        want->penalized = seen->words;
    }
    want->top_k = s->temperature == 0.0f ? 1 : s->top_k;
    want->margin = -SMALLEST_EXPONENT * s->temperature * 1.001f; /* more than what gather keeps */
    if (s->temperature == 0.0f)
        want->margin = INFINITY;
    if (s->repetition_penalty < 1.0f) { /* seen tokens may rise from any place */
        want->top_k = 0;
        want->margin = INFINITY;
    }
}

/* Applies once to each token that occurred: divides a positive logit, multiplies a negative one. */
static void penalize(float penalty, const uint64_t *penalized, struct kl_candidates *c)
{
    for (size_t i = 0; i < c->n; i++) {
        struct kl_logit *l = &c->logits[i];
        if ((penalized[l->id / 64] >> (l->id % 64) & 1) != 0)
            l->value = l->value > 0.0f ? l->value / penalty : l->value * penalty;
    }
}

/* The largest float stands in for infinity: infinity - infinity is not a number. */
static float finite_top(float logit)
{
    return logit > FLT_MAX ? FLT_MAX : logit;
}

/* NULL when nothing is above minus infinity. */
static const struct kl_logit *most_likely(const struct kl_candidates *c)
{
    float best = -INFINITY;
    const struct kl_logit *found = NULL;
    for (size_t i = 0; i < c->n; i++) {
        if (c->logits[i].value > best) {
            best = c->logits[i].value;
            found = &c->logits[i];
        }
    }
    return found;
}

/* The order of choice: the higher value first, the lower id among equals. */
static bool better(struct kl_logit a, struct kl_logit b)
{
    return a.value > b.value || (a.value == b.value && a.id < b.id);
}

static void swap(struct kl_logit *a, struct kl_logit *b)
{
    struct kl_logit t = *a;
    *a = *b;
    *b = t;
}

/* Puts the candidates of c[low..high) that are better than one of them before it, the others behind
 * it; returns its place and adds the values before it to *sum. */
static size_t partition(struct kl_logit *c, size_t low, size_t high, double *sum)
{
    swap(&c[low + (high - low) / 2], &c[high - 1]);
    struct kl_logit pivot = c[high - 1];
    size_t place = low;
    for (size_t i = low; i < high - 1; i++) {
        if (better(c[i], pivot)) {
            *sum += (double)c[i].value;
            swap(&c[i], &c[place++]);
        }
    }
    swap(&c[place], &c[high - 1]);
    return place;
}

/* Reorders c so that its best come first, as few as make up `count` candidates or values of `mass`
 * in sum, whichever is reached first; returns how many. The last of them is the worst of them.
 * Hoare's selection: no order inside. */
static size_t select_best(struct kl_logit *c, size_t n, size_t count, double mass)
{
    size_t low = 0, high = n;
    double before = 0.0; /* sum of c[0..low) */
    while (low < high) {
        double sum = before;
        size_t place = partition(c, low, high, &sum);
        if (place >= count || (place > low && sum >= mass)) {
            high = place;
            continue;
        }
        sum += (double)c[place].value;
        if (place + 1 == count || sum >= mass)
            return place + 1;
        low = place + 1;
        before = sum;
    }
    return low;
}

/* Returns the worst of the top_k; worse candidates are dropped. Keeps at most two times top_k at
 * once, so the usual small top_k costs a comparison per token. */
static struct kl_logit top_k_cut(struct kl_sampler *sampler, const struct kl_candidates *candidates,
                                 size_t top_k)
{
    struct kl_logit *kept = sampler->selection;
    size_t n = 0, room = top_k < sampler->n_vocab / 2 ? 2 * top_k : sampler->n_vocab;
    struct kl_logit cut = {.value = -INFINITY, .id = INT32_MAX};
    for (size_t i = 0; i < candidates->n; i++) {
        struct kl_logit c = candidates->logits[i];
        c.value = finite_top(c.value);
        if (!better(c, cut))
            continue;
        if (n == room) {
            n = select_best(kept, n, top_k, INFINITY);
            cut = kept[n - 1];
            if (!better(c, cut))
                continue;
        }
        kept[n++] = c;
    }
    n = select_best(kept, n, top_k, INFINITY);
    return n < top_k ? cut : kept[n - 1];
}

/* Keeps what has a weight and is not behind the cut, e^((logit - best) / temperature) instead of
 * its logit; returns the sum of the weights. */
static double gather(struct kl_candidates *candidates, float best, float temperature,
                     struct kl_logit cut)
{
    double total = 0.0;
    size_t n = 0;
    for (size_t i = 0; i < candidates->n; i++) {
        struct kl_logit c = candidates->logits[i];
        c.value = finite_top(c.value);
        float exponent = (c.value - best) / temperature;
        if (!(exponent >= SMALLEST_EXPONENT) || better(cut, c)) /* a NaN is not >= */
            continue;
        candidates->logits[n] = (struct kl_logit){.value = expf(exponent), .id = c.id};
        total += (double)candidates->logits[n++].value;
    }
    candidates->n = n;
    return total;
}

/* Keeps the most likely candidates that together have at least top_p of the mass. One of weight w
 * that is among them has, with all that are not better, at most n * w, and that is more than what
 * top_p leaves out: the many small ones need not be looked at. */
static void keep_top_p(struct kl_sampler *sampler, struct kl_candidates *candidates, double total,
                       double top_p)
{
    struct kl_logit *all = candidates->logits, *few = sampler->selection;
    double smallest = 0.99 * (1.0 - top_p) * total / (double)candidates->n; /* 0.99: for rounding */
    size_t n_few = 0;
    for (size_t i = 0; i < candidates->n; i++) {
        if ((double)all[i].value >= smallest)
            few[n_few++] = all[i];
    }
    n_few = select_best(few, n_few, n_few, top_p * total);
    struct kl_logit cut = few[n_few - 1];
    size_t kept = 0;
    for (size_t i = 0; i < candidates->n; i++) {
        if (!better(cut, all[i]))
            all[kept++] = all[i];
    }
    candidates->n = kept;
}

static int32_t draw(const struct kl_logit *c, size_t n, float min_weight, struct kl_random *random)
{
    double total = 0.0;
    for (size_t i = 0; i < n; i++)
        total += c[i].value >= min_weight ? (double)c[i].value : 0.0;
    double target = kl_random_unit(random) * total;
    double sum = 0.0;
    int32_t last = c[0].id;
    for (size_t i = 0; i < n; i++) {
        if (c[i].value < min_weight)
            continue;
        last = c[i].id;
        sum += (double)c[i].value;
        if (sum > target)
            break;
    }
    return last;
}

int32_t kl_sampler_choose(struct kl_sampler *sampler, const struct kl_sampling *s,
                          const struct kl_want *want, struct kl_candidates *candidates,
                          struct kl_random *random)
{
    if (want->penalized != NULL)
        penalize(s->repetition_penalty, want->penalized, candidates);
    const struct kl_logit *first = most_likely(candidates);
    if (first == NULL)
        return -1;
    if (s->temperature == 0.0f)
        return first->id;

    float best = finite_top(first->value);
    struct kl_logit cut = {.value = -INFINITY, .id = INT32_MAX};
    if (s->top_k > 0 && s->top_k < sampler->n_vocab)
        cut = top_k_cut(sampler, candidates, s->top_k);
    double total = gather(candidates, best, s->temperature, cut);
    if (s->top_p < 1.0f)
        keep_top_p(sampler, candidates, total, (double)s->top_p);
    return draw(candidates->logits, candidates->n, s->min_p, random);
}
