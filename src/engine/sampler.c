#include "engine/sampler.h"

#include <assert.h>
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
    union {
        struct kl_logit *selection; /* [n_vocab], reordered by select_best */
        uint32_t *counts;           /* [n_vocab], of penalties, before there is a selection */
    };
    float *copy; /* [n_vocab] */
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
    sampler->copy = calloc(n_vocab, sizeof *sampler->copy);
    if (sampler->selection == NULL || sampler->copy == NULL) {
        kl_fail_memory(err, "the sampler's candidates", kl_sampler_bytes(sampler));
        kl_sampler_close(sampler);
        return KL_ERR_MEMORY;
    }
    *out = sampler;
    return KL_OK;
}

void kl_sampler_close(struct kl_sampler *sampler)
{
    if (sampler == NULL)
        return;
    free(sampler->selection);
    free(sampler->copy);
    free(sampler);
}

size_t kl_sampler_bytes(const struct kl_sampler *sampler)
{
    return sampler->n_vocab * (sizeof *sampler->selection + sizeof *sampler->copy);
}

static enum kl_status check_float(const char *name, float value, float lo, float hi,
                                  struct kl_error *err)
{
    if (value >= lo && value <= hi) /* not so for a NaN */
        return KL_OK;
    return kl_fail(err, KL_ERR_INVALID, "%s: expected %g to %g, found %g", name, (double)lo,
                   (double)hi, (double)value);
}

static enum kl_status check_dry(const struct kl_dry *dry, struct kl_error *err)
{
    enum kl_status status = check_float("dry_multiplier", dry->multiplier, 0.0f, FLT_MAX, err);
    if (status == KL_OK && dry->multiplier > 0.0f)
        status = check_float("dry_base", dry->base, 1.0f, FLT_MAX, err);
    if (status == KL_OK && dry->n_breakers > KL_MAX_DRY_BREAKERS)
        status =
            kl_fail(err, KL_ERR_INVALID, "dry_sequence_breakers: expected at most %d, found %u",
                    KL_MAX_DRY_BREAKERS, dry->n_breakers);
    return status;
}

static enum kl_status check_biases(const struct kl_sampling *s, size_t n_vocab,
                                   struct kl_error *err)
{
    if (s->n_biases > KL_MAX_BIASES)
        return kl_fail(err, KL_ERR_INVALID, "logit_bias: expected at most %d tokens, found %zu",
                       KL_MAX_BIASES, s->n_biases);
    for (size_t i = 0; i < s->n_biases; i++) {
        int32_t id = s->biases[i].id;
        if (id < 0 || (size_t)id >= n_vocab)
            return kl_fail(err, KL_ERR_INVALID,
                           "logit_bias: expected token ids from 0 to %zu, found %d", n_vocab - 1,
                           (int)id);
        if (!(s->biases[i].value <= FLT_MAX))
            return kl_fail(err, KL_ERR_INVALID, "logit_bias: expected a number for token %d",
                           (int)id);
    }
    return KL_OK;
}

enum kl_status kl_sampling_check(const struct kl_sampling *s, size_t n_vocab, struct kl_error *err)
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
    enum kl_status status = check_float("typical_p", s->typical_p, 0.0f, 1.0f, err);
    if (status == KL_OK)
        status = check_float("frequency_penalty", s->frequency_penalty, -FLT_MAX, FLT_MAX, err);
    if (status == KL_OK)
        status = check_float("presence_penalty", s->presence_penalty, -FLT_MAX, FLT_MAX, err);
    if (status == KL_OK)
        status = check_dry(&s->dry, err);
    return status == KL_OK ? check_biases(s, n_vocab, err) : status;
}

/* Adds the tokens of the history from `from` on that are not in the set. */
static void add_seen(struct kl_seen *seen, const struct kl_history *h, size_t from, size_t n_vocab)
{
    if (seen->n == 0 || from < seen->begin) {
        memset(seen->words, 0, (n_vocab / 64 + 1) * sizeof *seen->words);
        seen->begin = seen->n = from;
    }
    for (; seen->n < h->n; seen->n++) {
        size_t id = (size_t)h->tokens[seen->n];
        seen->words[id / 64] |= (uint64_t)1 << (id % 64);
    }
}

void kl_sampler_wants(const struct kl_sampling *s, const struct kl_history *history, size_t n_vocab,
                      struct kl_seen *seen, struct kl_want *want)
{
    size_t from, lowered = kl_biases_lowered(s->biases, s->n_biases);
    bool raised;
    *want = (struct kl_want){.n_vocab = n_vocab,
                             .lowered = s->biases,
                             .n_lowered = lowered,
                             .raised = s->n_biases > lowered ? s->biases + lowered : NULL,
                             .n_raised = s->n_biases - lowered};
    if (kl_penalties_apply(s, history, &from, &raised)) {
        add_seen(seen, history, from, n_vocab);
        want->penalized = seen->words;
    }
    want->top_k = s->temperature == 0.0f ? 1 : s->top_k;
    want->margin = -SMALLEST_EXPONENT * s->temperature * 1.001f; /* more than what gather keeps */
    if (s->temperature == 0.0f)
        want->margin = INFINITY;
    if (raised) { /* seen tokens may rise from any place */
        want->top_k = 0;
        want->margin = INFINITY;
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

/* The weight of a candidate: its value, or that of the one in `weights` whose place is its id. */
static double weight_of(struct kl_logit c, const struct kl_logit *weights)
{
    return (double)(weights != NULL ? weights[c.id].value : c.value);
}

/* Puts the candidates of c[low..high) that are better than one of them before it, the others behind
 * it; returns its place and adds the weights before it to *sum. */
static size_t partition(struct kl_logit *c, size_t low, size_t high, const struct kl_logit *weights,
                        double *sum)
{
    swap(&c[low + (high - low) / 2], &c[high - 1]);
    struct kl_logit pivot = c[high - 1];
    size_t place = low;
    for (size_t i = low; i < high - 1; i++) {
        if (better(c[i], pivot)) {
            *sum += weight_of(c[i], weights);
            swap(&c[i], &c[place++]);
        }
    }
    swap(&c[place], &c[high - 1]);
    return place;
}

/* Reorders c so that its best come first, as few as make up `count` candidates or weights of `mass`
 * in sum, whichever is reached first; returns how many. The last of them is the worst of them.
 * Hoare's selection: no order inside. */
static size_t select_best(struct kl_logit *c, size_t n, size_t count, double mass,
                          const struct kl_logit *weights)
{
    size_t low = 0, high = n;
    double before = 0.0; /* weight of c[0..low) */
    while (low < high) {
        double sum = before;
        size_t place = partition(c, low, high, weights, &sum);
        if (place >= count || (place > low && sum >= mass)) {
            high = place;
            continue;
        }
        sum += weight_of(c[place], weights);
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
            n = select_best(kept, n, top_k, INFINITY, NULL);
            cut = kept[n - 1];
            if (!better(c, cut))
                continue;
        }
        kept[n++] = c;
    }
    n = select_best(kept, n, top_k, INFINITY, NULL);
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

/* As select_best by mass, but at least min_keep, where there are as many. */
static size_t select_mass(struct kl_logit *c, size_t n, double mass, size_t min_keep,
                          const struct kl_logit *weights)
{
    size_t n_best = select_best(c, n, n, mass, weights);
    if (n_best < min_keep && n_best < n)
        n_best = select_best(c, n, min_keep < n ? min_keep : n, INFINITY, NULL);
    return n_best;
}

/* How far the information of a candidate is from the expected one. */
static float surprise(struct kl_logit c, double total, double entropy)
{
    return (float)fabs(-log((double)c.value / total) - entropy);
}

/* Keeps the candidates whose information is nearest to the entropy. Returns their weight. */
static double keep_typical(struct kl_sampler *sampler, struct kl_candidates *candidates,
                           double total, const struct kl_sampling *s)
{
    struct kl_logit *all = candidates->logits, *near = sampler->selection;
    double entropy = 0.0, left = 0.0;
    size_t kept = 0, n = candidates->n;
    for (size_t i = 0; i < n; i++) {
        double p = (double)all[i].value / total;
        entropy -= p * log(p);
    }
    for (size_t i = 0; i < n; i++)
        near[i] = (struct kl_logit){.value = -surprise(all[i], total, entropy), .id = (int32_t)i};
    n = select_mass(near, n, (double)s->typical_p * total, s->min_keep, all);
    struct kl_logit cut = near[n - 1];
    for (size_t i = 0; i < candidates->n; i++) {
        struct kl_logit c = {.value = -surprise(all[i], total, entropy), .id = (int32_t)i};
        if (better(cut, c))
            continue;
        left += (double)all[i].value;
        all[kept++] = all[i];
    }
    candidates->n = kept;
    return left;
}

/* Keeps the candidates that are not behind the cut. */
static void keep_until(struct kl_candidates *candidates, struct kl_logit cut)
{
    size_t kept = 0;
    for (size_t i = 0; i < candidates->n; i++) {
        if (!better(cut, candidates->logits[i]))
            candidates->logits[kept++] = candidates->logits[i];
    }
    candidates->n = kept;
}

/* Keeps the most likely candidates that together have at least top_p of the mass. One of weight w
 * that is among them has, with all that are not better, at most n * w, and that is more than what
 * top_p leaves out: the many small ones need not be looked at. */
static void keep_top_p(struct kl_sampler *sampler, struct kl_candidates *candidates, double total,
                       const struct kl_sampling *s)
{
    struct kl_logit *all = candidates->logits, *few = sampler->selection;
    double top_p = (double)s->top_p;
    double smallest = 0.99 * (1.0 - top_p) * total / (double)candidates->n; /* 0.99: for rounding */
    size_t n_few = 0;
    for (size_t i = 0; i < candidates->n; i++) {
        if ((double)all[i].value >= smallest)
            few[n_few++] = all[i];
    }
    if (n_few < s->min_keep) {
        n_few = candidates->n;
        memcpy(few, all, n_few * sizeof *few);
    }
    n_few = select_mass(few, n_few, top_p * total, s->min_keep, NULL);
    keep_until(candidates, few[n_few - 1]);
}

/* Keeps the min_keep best, and all that have the weight of min_p. */
static void keep_min_p(struct kl_sampler *sampler, struct kl_candidates *candidates,
                       float min_weight, size_t min_keep)
{
    struct kl_logit *best = sampler->selection;
    if (min_keep >= candidates->n)
        return;
    memcpy(best, candidates->logits, candidates->n * sizeof *best);
    struct kl_logit cut = best[select_best(best, candidates->n, min_keep, INFINITY, NULL) - 1];
    struct kl_logit least = {.value = min_weight, .id = INT32_MAX};
    keep_until(candidates, better(cut, least) ? least : cut);
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

/* Draws from the candidates, of which `best` is the highest logit. */
static int32_t draw_among(struct kl_sampler *sampler, const struct kl_sampling *s, float best,
                          struct kl_candidates *candidates, struct kl_random *random)
{
    float min_weight = s->min_p;
    struct kl_logit cut = {.value = -INFINITY, .id = INT32_MAX};
    if (s->top_k > 0 && s->top_k < sampler->n_vocab)
        cut = top_k_cut(sampler, candidates, s->top_k);
    double total = gather(candidates, best, s->temperature, cut);
    if (s->typical_p > 0.0f && s->typical_p < 1.0f) {
        total = keep_typical(sampler, candidates, total, s);
        min_weight *= most_likely(candidates)->value; /* that is not always 1 any more */
    }
    if (s->top_p < 1.0f)
        keep_top_p(sampler, candidates, total, s);
    if (s->min_keep > 1 && s->min_p > 0.0f) {
        keep_min_p(sampler, candidates, min_weight, s->min_keep);
        min_weight = 0.0f;
    }
    return draw(candidates->logits, candidates->n, min_weight, random);
}

/* Leaves out the candidates that are not allowed. */
static void keep_allowed(const uint64_t *allowed, struct kl_candidates *c)
{
    size_t kept = 0;
    for (size_t i = 0; i < c->n; i++) {
        size_t id = (size_t)c->logits[i].id;
        if ((allowed[id / 64] >> (id % 64) & 1) != 0)
            c->logits[kept++] = c->logits[i];
    }
    c->n = kept;
}

int32_t kl_sampler_choose(struct kl_sampler *sampler, const struct kl_sampling *s,
                          const struct kl_want *want, const struct kl_history *history,
                          struct kl_candidates *candidates, struct kl_random *random)
{
    if (want->all && want->allowed != NULL)
        keep_allowed(want->allowed, candidates);
    bool some = s->n_biases > 0 && most_likely(candidates) != NULL;
    if (s->n_biases > 0 || want->penalized != NULL)
        kl_penalties_run(s, history, want->penalized, sampler->counts, candidates);
    const struct kl_logit *first = most_likely(candidates);
    if (first == NULL)
        return some ? KL_CHOICE_BANNED : KL_CHOICE_NO_NUMBER;
    if (s->temperature == 0.0f)
        return first->id;
    return draw_among(sampler, s, finite_top(first->value), candidates, random);
}

const float *kl_sampler_copy(struct kl_sampler *sampler, const struct kl_candidates *candidates)
{
    assert(candidates->n == sampler->n_vocab);
    for (size_t i = 0; i < candidates->n; i++)
        sampler->copy[i] = candidates->logits[i].value;
    return sampler->copy;
}
