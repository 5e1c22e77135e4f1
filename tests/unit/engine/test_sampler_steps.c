/* Every step of a choice (engine.h, struct kl_sampling) against a reference that sorts the whole
 * vocabulary at each of them; with all logits, and with only those that the sampler asks for. */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/dry.h"
#include "engine/sampler.h"

enum { N = 150, HISTORY = 60 };

struct entry {
    float value, key;
    int32_t id;
};

struct question {
    struct kl_sampling sampling;
    struct kl_logit biases[12]; /* in the order of the sampler */
    int32_t tokens[HISTORY];
    struct kl_history history;
    float logits[N];
    uint64_t allowed[N / 64 + 1];
    bool is_ruled;
};

/* ---- the reference --------------------------------------------------------------------------- */

static bool has_bit(const uint64_t *set, size_t id)
{
    return set == NULL || (set[id / 64] >> (id % 64) & 1) != 0;
}

static uint32_t count(const int32_t *tokens, size_t n, int32_t id)
{
    uint32_t found = 0;
    for (size_t i = 0; i < n; i++)
        found += tokens[i] == id;
    return found;
}

/* The longest match that `id` would continue, by comparing at each place. */
static size_t match(const int32_t *tokens, size_t n, int32_t id)
{
    size_t longest = 0;
    for (size_t at = 1; at < n; at++) {
        size_t len = 0;
        while (len < at && len < KL_DRY_LONGEST && tokens[at - 1 - len] == tokens[n - 1 - len])
            len++;
        if (tokens[at] == id && len > longest)
            longest = len;
    }
    return longest;
}

static size_t cut_window(size_t n, uint32_t window)
{
    return window != 0 && window < n ? window : n;
}

static float changed_logit(const struct question *q, int32_t id)
{
    const struct kl_sampling *s = &q->sampling;
    const struct kl_history *h = &q->history;
    float x = q->logits[id];
    for (size_t i = 0; i < s->n_biases; i++)
        x += s->biases[i].id == id ? s->biases[i].value : 0.0f;
    size_t window = cut_window(h->n, s->repetition_window);
    if (count(h->tokens + h->n - window, window, id) > 0)
        x = x > 0.0f ? x / s->repetition_penalty : x * s->repetition_penalty;
    uint32_t n = count(h->tokens + h->n_prompt, h->n - h->n_prompt, id);
    if (n > 0)
        x -= s->frequency_penalty * (float)n + s->presence_penalty;
    window = cut_window(h->n, s->dry.window);
    size_t length = match(h->tokens + h->n - window, window, id);
    if (s->dry.multiplier > 0.0f && length > 0 && length >= s->dry.allowed_length) {
        double base = (double)s->dry.base, power = (double)(length - s->dry.allowed_length);
        x -= (float)((double)s->dry.multiplier * pow(base, power));
    }
    return x;
}

/* The highest key first, the lower id among equals. */
static int by_key(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    if (x->key != y->key)
        return x->key < y->key ? 1 : -1;
    return (x->id > y->id) - (x->id < y->id);
}

static int by_id(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    return (x->id > y->id) - (x->id < y->id);
}

/* Sorts by key and leaves the first, as few as have `share` of the weight, at least min_keep. */
static size_t leave(struct entry *e, size_t n, double share, size_t min_keep)
{
    double total = 0.0, sum = 0.0;
    size_t kept = 0;
    qsort(e, n, sizeof *e, by_id);
    for (size_t i = 0; i < n; i++)
        total += (double)e[i].value;
    qsort(e, n, sizeof *e, by_key);
    while (kept < n && (sum < share * total || kept < min_keep))
        sum += (double)e[kept++].value;
    return kept;
}

static size_t leave_typical(struct entry *e, size_t n, const struct kl_sampling *s)
{
    double total = 0.0, entropy = 0.0;
    qsort(e, n, sizeof *e, by_id);
    for (size_t i = 0; i < n; i++)
        total += (double)e[i].value;
    for (size_t i = 0; i < n; i++)
        entropy -= (double)e[i].value / total * log((double)e[i].value / total);
    for (size_t i = 0; i < n; i++)
        e[i].key = -(float)fabs(-log((double)e[i].value / total) - entropy);
    return leave(e, n, (double)s->typical_p, s->min_keep);
}

static void key_is_weight(struct entry *e, size_t n)
{
    for (size_t i = 0; i < n; i++)
        e[i].key = e[i].value;
}

/* Writes the tokens that may be drawn, with their weights, by id. */
static size_t reference_kept(const struct question *q, struct entry *e)
{
    const struct kl_sampling *s = &q->sampling;
    size_t n = 0;
    for (int32_t id = 0; id < N; id++) {
        float x = changed_logit(q, id);
        if (has_bit(q->is_ruled ? q->allowed : NULL, (size_t)id) && x > -INFINITY)
            e[n++] = (struct entry){.value = x, .key = x, .id = id};
    }
    qsort(e, n, sizeof *e, by_key);
    if (n == 0 || s->temperature == 0.0f)
        return n < 1 ? n : 1;
    n = s->top_k > 0 && s->top_k < n ? s->top_k : n;
    float best = e[0].value;
    size_t weighty = 0;
    for (size_t i = 0; i < n; i++) {
        float exponent = (e[i].value - best) / s->temperature;
        e[i].value = expf(exponent);
        weighty += exponent >= -40.0f;
    }
    n = weighty; /* they are in order */
    if (s->typical_p > 0.0f && s->typical_p < 1.0f)
        n = leave_typical(e, n, s);
    key_is_weight(e, n);
    if (s->top_p < 1.0f)
        n = leave(e, n, (double)s->top_p, s->min_keep);
    qsort(e, n, sizeof *e, by_key);
    float least = s->min_p * e[0].value;
    size_t left = 0;
    while (left < n && (left < s->min_keep || left < 1 || e[left].value >= least))
        left++;
    qsort(e, left, sizeof *e, by_id);
    return left;
}

static int32_t reference_draw(const struct entry *e, size_t n, struct kl_random *random)
{
    double total = 0.0, sum = 0.0;
    for (size_t i = 0; i < n; i++)
        total += (double)e[i].value;
    double target = kl_random_unit(random) * total;
    for (size_t i = 0; i < n; i++) {
        sum += (double)e[i].value;
        if (sum > target)
            return e[i].id;
    }
    return e[n - 1].id;
}

/* ---- questions ------------------------------------------------------------------------------- */

static struct kl_random source;

static uint32_t below(uint32_t n)
{
    return (uint32_t)(kl_random_next(&source) % n);
}

static float one_of(const float *values, uint32_t n)
{
    return values[below(n)];
}
#define ONE_OF(...)                                                                                \
    one_of((const float[]){__VA_ARGS__}, sizeof((const float[]){__VA_ARGS__}) / sizeof(float))

static void make_biases(struct question *q)
{
    struct kl_sampling *s = &q->sampling;
    s->biases = q->biases;
    s->n_biases = below(2) == 0 ? 0 : below(12);
    for (size_t i = 0; i < s->n_biases; i++)
        q->biases[i] =
            (struct kl_logit){.value = ONE_OF(-100, 100, -INFINITY, 5, -5, 0.5f, -0.5f, 0, 12),
                              .id = (int32_t)below(N)};
    s->n_biases = kl_biases_order(q->biases, s->n_biases);
}

static void make_question(struct question *q)
{
    bool ties = below(2) == 0, loops = below(3) == 0;
    for (size_t i = 0; i < N; i++) {
        double x = -24.0;
        for (int n = 0; n < 12; n++)
            x += 4.0 * kl_random_unit(&source);
        q->logits[i] = ties ? roundf((float)x) : (float)x;
    }
    for (size_t i = 0; i < HISTORY; i++)
        q->tokens[i] = (int32_t)below(loops ? 3 : N);
    q->history = (struct kl_history){.tokens = q->tokens, .n = 1 + below(HISTORY)};
    q->history.n_prompt = 1 + below((uint32_t)q->history.n);
    q->sampling = (struct kl_sampling){
        .temperature = ONE_OF(0, 0, 0.1f, 0.2f, 0.7f, 1, 2),
        .top_p = ONE_OF(1, 1, 0.9f, 0.5f, 1e-6f),
        .min_p = ONE_OF(0, 0, 0.05f, 0.3f),
        .top_k = below(2) == 0 ? 0 : below(N + 3),
        .typical_p = ONE_OF(0, 0, 1, 0.9f, 0.5f, 0.1f, 1e-6f),
        .min_keep = below(2) == 0 ? 0 : below(10),
        .repetition_penalty = ONE_OF(1, 1, 1.1f, 2, 0.7f),
        .repetition_window = below(2) == 0 ? 0 : below(HISTORY),
        .frequency_penalty = ONE_OF(0, 0, 0.5f, 2, -0.5f),
        .presence_penalty = ONE_OF(0, 0, 0.7f, 2, -1),
        .dry = {.multiplier = ONE_OF(0, 0.8f, 3),
                .base = ONE_OF(1, 1.75f),
                .allowed_length = below(4),
                .window = below(2) == 0 ? 0 : below(HISTORY)},
    };
    make_biases(q);
    q->is_ruled = below(3) == 0;
    for (size_t i = 0; i < N / 64 + 1; i++)
        q->allowed[i] = kl_random_next(&source) & kl_random_next(&source);
    q->allowed[0] |= 1;
}

/* ---- the comparison -------------------------------------------------------------------------- */

static bool is_biased(const struct kl_logit *biases, size_t n, size_t id)
{
    for (size_t i = 0; i < n; i++)
        if ((size_t)biases[i].id == id)
            return true;
    return false;
}

static int descending(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x < y) - (x > y);
}

/* The candidates that a head may leave for a want: by the definition in model.h, and no more. */
static size_t find_candidates(const struct question *q, const struct kl_want *want,
                              struct kl_logit *out)
{
    float sorted[N];
    size_t n = 0, found = 0;
    for (size_t id = 0; id < N; id++) {
        bool is_penalized = want->penalized != NULL && has_bit(want->penalized, id);
        if (has_bit(want->allowed, id) && !is_penalized &&
            !is_biased(want->lowered, want->n_lowered, id) &&
            !is_biased(want->raised, want->n_raised, id))
            sorted[n++] = q->logits[id];
    }
    qsort(sorted, n, sizeof *sorted, descending);
    float threshold = want->top_k > 0 && want->top_k <= n ? sorted[want->top_k - 1] : -INFINITY;
    if (n > 0 && sorted[0] - want->margin > threshold)
        threshold = sorted[0] - want->margin;
    for (size_t id = 0; id < N; id++) {
        bool near = q->logits[id] >= threshold || is_biased(want->raised, want->n_raised, id);
        if (want->all || (has_bit(want->allowed, id) && near))
            out[found++] = (struct kl_logit){.value = q->logits[id], .id = (int32_t)id};
    }
    return found;
}

static int32_t choose(struct kl_sampler *sampler, const struct question *q, bool all,
                      size_t *n_found, struct kl_random *random)
{
    uint64_t words[N / 64 + 1];
    struct kl_logit logits[N];
    struct kl_seen seen = {.words = words};
    struct kl_want want;
    kl_sampler_wants(&q->sampling, &q->history, N, &seen, &want);
    want.allowed = q->is_ruled ? q->allowed : NULL;
    want.all = all;
    struct kl_candidates found = {.logits = logits, .room = N};
    *n_found = found.n = find_candidates(q, &want, logits);
    return kl_sampler_choose(sampler, &q->sampling, &want, &q->history, &found, random);
}

static void test_equals_the_reference(void **state)
{
    (void)state;
    enum { ROUNDS = 60000 };
    struct kl_sampler *sampler;
    struct entry kept[N];
    size_t n_found, n_all = 0, n_few = 0, n_banned = 0;
    assert_int_equal(kl_sampler_open(N, &sampler, NULL), KL_OK);
    kl_random_init(&source, 14);
    for (int round = 0; round < ROUNDS; round++) {
        struct question q;
        make_question(&q);
        size_t n_kept = reference_kept(&q, kept);
        struct kl_random random = source, theirs = source, again = source;
        int32_t expected = KL_CHOICE_BANNED;
        if (n_kept > 0)
            expected =
                q.sampling.temperature > 0.0f ? reference_draw(kept, n_kept, &theirs) : kept[0].id;
        assert_int_equal(choose(sampler, &q, true, &n_found, &random), expected);
        n_all += n_found;
        assert_int_equal(choose(sampler, &q, false, &n_found, &again), expected);
        n_few += n_found;
        n_banned += n_kept == 0;
        assert_memory_equal(&random, &theirs, sizeof random);
        assert_memory_equal(&again, &theirs, sizeof again);
    }
    assert_true(n_few < n_all / 3 * 2); /* only what the choice needs */
    assert_true(n_banned < ROUNDS / 100);
    kl_sampler_close(sampler);
}

static void test_all_that_is_allowed_is_banned(void **state)
{
    (void)state;
    struct kl_sampler *sampler;
    size_t n;
    static struct question q = {.biases = {{-INFINITY, 7}},
                                .allowed = {(uint64_t)1 << 7},
                                .is_ruled = true,
                                .sampling = {.top_p = 1, .repetition_penalty = 1, .n_biases = 1}};
    q.sampling.biases = q.biases;
    assert_int_equal(kl_sampler_open(N, &sampler, NULL), KL_OK);
    assert_int_equal(choose(sampler, &q, false, &n, NULL), KL_CHOICE_BANNED);
    q.biases[0].value = -100.0f;
    assert_int_equal(choose(sampler, &q, false, &n, NULL), 7);
    q.biases[0].value = -INFINITY;
    q.logits[7] = -INFINITY; /* not a bias is the reason */
    assert_int_equal(choose(sampler, &q, false, &n, NULL), KL_CHOICE_NO_NUMBER);
    kl_sampler_close(sampler);
}

static void test_biases_in_order(void **state)
{
    (void)state;
    struct kl_logit biases[] = {{5, 9}, {-1, 7}, {2, 3}, {-4, 9}, {0, 5}, {-INFINITY, 1}, {3, 1}};
    static const struct kl_logit ordered[] = {{-INFINITY, 1}, {0, 5}, {-1, 7}, {2, 3}, {1, 9}};
    assert_int_equal(kl_biases_order(biases, 7), 5);
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(biases[i].id, ordered[i].id);
        assert_true(biases[i].value == ordered[i].value);
    }
    assert_int_equal(kl_biases_lowered(biases, 5), 3);
    assert_int_equal(kl_biases_lowered(NULL, 0), 0);
}

static void expect_invalid(struct kl_sampling s, const char *text)
{
    struct kl_error err = {0};
    assert_int_equal(kl_sampling_check(&s, N, &err), KL_ERR_INVALID);
    assert_non_null(strstr(err.text, text));
}

static void test_values_out_of_range(void **state)
{
    (void)state;
    const struct kl_sampling plain = {.top_p = 1, .repetition_penalty = 1};
    struct kl_sampling s = plain;
    static const float wrong[] = {NAN, INFINITY, -INFINITY};
    for (size_t i = 0; i < 3; i++) {
        s = plain, s.frequency_penalty = wrong[i];
        expect_invalid(s, "frequency_penalty");
        s = plain, s.presence_penalty = wrong[i];
        expect_invalid(s, "presence_penalty");
        s = plain, s.typical_p = wrong[i];
        expect_invalid(s, "typical_p");
        s = plain, s.dry.multiplier = wrong[i];
        expect_invalid(s, "dry_multiplier");
    }
    s = plain, s.dry.multiplier = 1, s.dry.base = 0.9f;
    expect_invalid(s, "dry_base");
    s.dry.base = 1, s.dry.n_breakers = KL_MAX_DRY_BREAKERS + 1;
    expect_invalid(s, "dry_sequence_breakers");
    struct kl_logit bias = {1, N};
    s = plain, s.biases = &bias, s.n_biases = 1;
    expect_invalid(s, "logit_bias");
    bias.id = -1;
    expect_invalid(s, "logit_bias");
    bias = (struct kl_logit){NAN, 0};
    expect_invalid(s, "logit_bias");
    bias.value = INFINITY;
    expect_invalid(s, "logit_bias");
    bias.value = -INFINITY;
    assert_int_equal(kl_sampling_check(&s, N, NULL), KL_OK);
    s.n_biases = KL_MAX_BIASES + 1;
    expect_invalid(s, "logit_bias");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equals_the_reference),
        cmocka_unit_test(test_all_that_is_allowed_is_banned),
        cmocka_unit_test(test_biases_in_order),
        cmocka_unit_test(test_values_out_of_range),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
