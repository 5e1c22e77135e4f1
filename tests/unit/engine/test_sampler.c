#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/sampler.h"

#define N_VOCAB 151936

static const struct kl_sampling plain = {
    .temperature = 1.0f, .top_p = 1.0f, .repetition_penalty = 1.0f};

struct choice {
    struct kl_history history;
    struct kl_want want;
    struct kl_candidates found;
};

/* All logits as candidates that the model found; the caller frees found.logits. */
static struct choice fill(struct kl_sampling s, const float *logits, size_t n,
                          const int32_t *history, size_t n_history, uint64_t *words)
{
    struct kl_seen seen = {.words = words};
    struct choice c = {0};
    c.history = (struct kl_history){.tokens = history, .n = n_history};
    kl_sampler_wants(&s, &c.history, n, &seen, &c.want);
    c.found.logits = malloc(n * sizeof *c.found.logits);
    assert_non_null(c.found.logits);
    for (size_t i = 0; i < n; i++)
        c.found.logits[i] = (struct kl_logit){.value = logits[i], .id = (int32_t)i};
    c.found.n = n;
    return c;
}

static int32_t choose(struct kl_sampler *sampler, struct kl_sampling s, const float *logits,
                      size_t n, struct kl_random *random)
{
    struct choice c = fill(s, logits, n, NULL, 0, NULL);
    int32_t id = kl_sampler_choose(sampler, &s, &c.want, &c.history, &c.found, random);
    free(c.found.logits);
    return id;
}

static struct kl_sampler *open_sampler(size_t n)
{
    struct kl_sampler *sampler;
    assert_int_equal(kl_sampler_open(n, &sampler, NULL), KL_OK);
    return sampler;
}

/* ---- random numbers -------------------------------------------------------------------------- */

static void test_random_known_values(void **state)
{
    (void)state;
    struct kl_random r;
    kl_random_init(&r, 1234567); /* SplitMix64's first outputs for that seed */
    assert_true(r.state[0] == 6457827717110365317u);
    assert_true(r.state[1] == 3203168211198807973u);
    assert_true(r.state[2] == 9817491932198370423u);
    assert_true(r.state[3] == 4593380528125082431u);
    r = (struct kl_random){{1, 2, 3, 4}}; /* the authors' C code, started there */
    assert_true(kl_random_next(&r) == 11520u);
    assert_true(kl_random_next(&r) == 0u);
    assert_true(kl_random_next(&r) == 1509978240u);
    assert_true(kl_random_next(&r) == 1215971899390074240u);
    for (int i = 0; i < 100000; i++) {
        double u = kl_random_unit(&r);
        assert_true(u >= 0.0 && u < 1.0);
    }
}

/* ---- greedy ---------------------------------------------------------------------------------- */

static void test_greedy_takes_the_lower_id_among_equals(void **state)
{
    (void)state;
    struct kl_sampler *sampler = open_sampler(6);
    struct kl_sampling s = plain;
    s.temperature = 0.0f;
    assert_int_equal(choose(sampler, s, (float[]){1, 5, 2, 5, 5, 0}, 6, NULL), 1);
    assert_int_equal(choose(sampler, s, (float[]){-3, -3, -3, -3, -3, -3}, 6, NULL), 0);
    assert_int_equal(choose(sampler, s, (float[]){0, 0, 0, 0, 0, FLT_MIN}, 6, NULL), 5);
    kl_sampler_close(sampler);
}

static void test_no_numbers(void **state)
{
    (void)state;
    struct kl_sampler *sampler = open_sampler(4);
    struct kl_random r;
    kl_random_init(&r, 1);
    static const struct kl_sampling all[] = {
        {.temperature = 0, .top_p = 1, .repetition_penalty = 1},
        {.temperature = 1, .top_p = 1, .repetition_penalty = 1},
        {.temperature = 1, .top_p = 0.5f, .repetition_penalty = 1},
        {.temperature = 0.1f, .top_p = 1, .repetition_penalty = 1, .top_k = 2},
        {.temperature = 2, .top_p = 0.9f, .repetition_penalty = 1, .top_k = 3, .min_p = 0.1f},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        for (int round = 0; round < 50; round++) {
            float nans[] = {NAN, NAN, NAN, NAN}, low[] = {-INFINITY, NAN, -INFINITY, -INFINITY};
            assert_int_equal(choose(sampler, all[i], nans, 4, &r), -1);
            assert_int_equal(choose(sampler, all[i], low, 4, &r), -1);
            float one[] = {NAN, -INFINITY, -3, NAN}, top[] = {NAN, 1, INFINITY, FLT_MAX / 2};
            assert_int_equal(choose(sampler, all[i], one, 4, &r), 2);
            assert_int_equal(choose(sampler, all[i], top, 4, &r), 2);
            float wide[] = {-FLT_MAX, FLT_MAX, -FLT_MAX, -INFINITY};
            assert_int_equal(choose(sampler, all[i], wide, 4, &r), 1);
            float two[] = {INFINITY, NAN, INFINITY, 0};
            int32_t id = choose(sampler, all[i], two, 4, &r);
            assert_true(id == 0 || id == 2);
        }
    }
    kl_sampler_close(sampler);
}

/* ---- repetition penalty ---------------------------------------------------------------------- */

static void test_penalty_counts_each_token_once(void **state)
{
    (void)state;
    struct kl_sampler *sampler = open_sampler(200);
    struct kl_sampling s = plain;
    s.temperature = 0.0f;
    s.repetition_penalty = 2.0f;
    float logits[200] = {0};
    logits[3] = 8;
    logits[130] = 5;
    logits[131] = -4;
    const int32_t history[] = {3, 131, 3, 3, 7, 131};
    uint64_t seen[200 / 64 + 1];
    memset(seen, 0xFF, sizeof seen); /* nothing of another request is left over */
    struct choice c = fill(s, logits, 200, history, 6, seen);
    assert_int_equal(c.want.top_k, 1);
    assert_int_equal(kl_sampler_choose(sampler, &s, &c.want, &c.history, &c.found, NULL), 130);
    assert_true(c.found.logits[3].value == 4.0f);
    assert_true(c.found.logits[131].value == -8.0f);
    assert_true(c.found.logits[7].value == 0.0f);
    assert_true(c.found.logits[130].value == 5.0f);
    free(c.found.logits);
    s.repetition_penalty = 0.5f; /* below 1: repeats are wanted */
    c = fill(s, logits, 200, history, 6, seen);
    assert_int_equal(c.want.top_k, 0); /* they may come from anywhere */
    assert_true(c.want.margin == INFINITY);
    assert_int_equal(kl_sampler_choose(sampler, &s, &c.want, &c.history, &c.found, NULL), 3);
    assert_true(c.found.logits[3].value == 16.0f);
    free(c.found.logits);
    kl_sampler_close(sampler);
}

/* ---- the reference: sort everything, cut, draw in the order of the ids --------------------------
 */

struct entry {
    float value;
    int32_t id;
};

static int by_value(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    if (x->value != y->value)
        return x->value < y->value ? 1 : -1;
    return (x->id > y->id) - (x->id < y->id);
}

static int by_id(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    return (x->id > y->id) - (x->id < y->id);
}

static size_t reference_kept(const struct kl_sampling *s, const float *logits, size_t n,
                             struct entry *e)
{
    for (size_t i = 0; i < n; i++)
        e[i] = (struct entry){logits[i], (int32_t)i};
    qsort(e, n, sizeof *e, by_value);
    if (s->top_k > 0 && s->top_k < n)
        n = s->top_k;
    float best = e[0].value;
    double total = 0.0;
    for (size_t i = 0; i < n; i++) {
        float exponent = (e[i].value - best) / s->temperature;
        e[i].value = exponent >= -40.0f ? expf(exponent) : 0.0f;
        total += (double)e[i].value;
    }
    qsort(e, n, sizeof *e, by_value); /* logits that differ can have equal weights */
    if (s->top_p < 1.0f) {
        double sum = 0.0;
        size_t kept = 0;
        while (kept < n && sum < (double)s->top_p * total)
            sum += (double)e[kept++].value;
        n = kept;
    }
    while (n > 0 && (e[n - 1].value < s->min_p || !(e[n - 1].value > 0.0f)))
        n--;
    qsort(e, n, sizeof *e, by_id);
    return n;
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

static double gauss(struct kl_random *r)
{
    double sum = 0.0;
    for (int i = 0; i < 12; i++)
        sum += kl_random_unit(r);
    return sum - 6.0;
}

static struct kl_sampling random_sampling(struct kl_random *r, size_t n)
{
    static const float temperatures[] = {1.0f, 0.1f, 0.7f, 2.0f, 50.0f, 1e-6f};
    static const float top_ps[] = {1.0f, 0.9f, 0.5f, 0.99f, 1e-6f, 0.999999f};
    static const float min_ps[] = {0.0f, 0.0f, 0.05f, 0.3f, 0.99f};
    struct kl_sampling s = plain;
    s.temperature = temperatures[kl_random_next(r) % 6];
    s.top_p = top_ps[kl_random_next(r) % 6];
    s.min_p = min_ps[kl_random_next(r) % 5];
    s.top_k = kl_random_next(r) % 2 == 0 ? 0 : (uint32_t)(kl_random_next(r) % (n + 3));
    return s;
}

static void compare_with_reference(size_t n, int rounds, int draws, uint64_t seed)
{
    struct kl_sampler *sampler = open_sampler(n);
    float *logits = malloc(n * sizeof *logits);
    struct entry *kept = malloc(n * sizeof *kept);
    assert_true(logits != NULL && kept != NULL);
    struct kl_random r;
    kl_random_init(&r, seed);
    for (int round = 0; round < rounds; round++) {
        bool ties = kl_random_next(&r) % 2 == 0;
        for (size_t i = 0; i < n; i++) {
            double x = 3.0 * gauss(&r);
            logits[i] = ties ? roundf((float)x) : (float)x;
        }
        struct kl_sampling s = random_sampling(&r, n);
        size_t n_kept = reference_kept(&s, logits, n, kept);
        assert_true(n_kept > 0);
        for (int draw = 0; draw < draws; draw++) {
            struct kl_random ours = r, theirs = r;
            assert_int_equal(choose(sampler, s, logits, n, &ours),
                             reference_draw(kept, n_kept, &theirs));
            assert_memory_equal(&ours, &theirs, sizeof ours); /* one number per token */
            r = ours;
        }
    }
    free(kept);
    free(logits);
    kl_sampler_close(sampler);
}

static void test_equals_reference_small(void **state)
{
    (void)state;
    compare_with_reference(1, 20, 5, 1);
    compare_with_reference(2, 500, 10, 2);
    compare_with_reference(7, 2000, 20, 3);
    compare_with_reference(100, 2000, 20, 4);
}

static void test_equals_reference_whole_vocabulary(void **state)
{
    (void)state;
    compare_with_reference(N_VOCAB, 15, 3, 5);
}

/* The order in which candidates come must not matter: rising, falling and all equal logits are what
 * selection by pivots is worst at. */
static void test_orders_that_selection_dislikes(void **state)
{
    (void)state;
    size_t n = 20000;
    struct kl_sampler *sampler = open_sampler(n);
    float *logits = malloc(n * sizeof *logits);
    struct entry *kept = malloc(n * sizeof *kept);
    assert_true(logits != NULL && kept != NULL);
    struct kl_random r;
    kl_random_init(&r, 6);
    for (int order = 0; order < 4; order++) {
        for (size_t i = 0; i < n; i++) {
            float up = (float)i / 5000.0f;
            logits[i] = order == 0   ? up
                        : order == 1 ? -up
                        : order == 2 ? 1.0f
                                     : (i < n / 2 ? up : -up);
        }
        for (int round = 0; round < 40; round++) {
            struct kl_sampling s = random_sampling(&r, n);
            size_t n_kept = reference_kept(&s, logits, n, kept);
            struct kl_random ours = r, theirs = r;
            assert_int_equal(choose(sampler, s, logits, n, &ours),
                             reference_draw(kept, n_kept, &theirs));
        }
    }
    free(kept);
    free(logits);
    kl_sampler_close(sampler);
}

/* ---- distribution ---------------------------------------------------------------------------- */

/* The set grows with the history: a token is read once, whatever the number of those before it. */
static void test_seen_grows(void **state)
{
    (void)state;
    enum { N = 300, LENGTH = 40 };
    const struct kl_sampling s = {.top_p = 1.0f, .repetition_penalty = 1.3f};
    uint64_t words[N / 64 + 1], whole[N / 64 + 1];
    memset(words, 0xFF, sizeof words);
    struct kl_seen seen = {.words = words};
    int32_t history[LENGTH], read_once[LENGTH];
    struct kl_want c = {0};
    for (size_t n = 0; n < LENGTH; n++) {
        history[n] = read_once[n] = (int32_t)(n * 37 % N);
        struct kl_history once = {.tokens = read_once, .n = n + 1};
        kl_sampler_wants(&s, &once, N, &seen, &c);
        assert_ptr_equal(c.penalized, words);
        assert_int_equal(seen.n, n + 1);
        struct kl_seen again = {.words = whole};
        kl_sampler_wants(&s, &(struct kl_history){.tokens = history, .n = n + 1}, N, &again, &c);
        assert_memory_equal(words, whole, sizeof words);
        read_once[n] = (int32_t)(n % 3 == 0 ? 299 : 298); /* not looked at any more */
    }
    /* without a penalty nothing is read, and the set stays as it is */
    kl_sampler_wants(&(struct kl_sampling){.top_p = 1.0f, .repetition_penalty = 1.0f},
                     &(struct kl_history){.n = LENGTH}, N, &seen, &c);
    assert_null(c.penalized);
    assert_memory_equal(words, whole, sizeof words);
}

static bool is_seen(const struct choice *c, size_t id)
{
    const uint64_t *penalized = c->want.penalized;
    return penalized != NULL && (penalized[id / 64] >> (id % 64) & 1) != 0;
}

static int descending(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x < y) - (x > y);
}

/* Leaves as few tokens as the model may find: exactly what the choice asks for. */
static void keep_what_is_asked_for(struct choice *c)
{
    float sorted[100];
    size_t n = 0, kept = 0;
    for (size_t i = 0; i < c->found.n; i++)
        if (!is_seen(c, i))
            sorted[n++] = c->found.logits[i].value;
    qsort(sorted, n, sizeof *sorted, descending);
    float threshold =
        c->want.top_k > 0 && c->want.top_k <= n ? sorted[c->want.top_k - 1] : -INFINITY;
    if (n > 0 && sorted[0] - c->want.margin > threshold)
        threshold = sorted[0] - c->want.margin;
    for (size_t i = 0; i < c->found.n; i++)
        if (c->found.logits[i].value >= threshold)
            c->found.logits[kept++] = c->found.logits[i];
    c->found.n = kept;
}

static void test_what_is_asked_for_is_enough(void **state)
{
    (void)state;
    enum { N = 100, ROUNDS = 20000 };
    static const float penalties[] = {1.0f, 1.1f, 2.0f, 0.7f};
    struct kl_sampler *sampler = open_sampler(N);
    struct kl_random r;
    kl_random_init(&r, 77);
    size_t left_out = 0;
    for (int round = 0; round < ROUNDS; round++) {
        float logits[N];
        for (size_t i = 0; i < N; i++)
            logits[i] =
                round % 2 == 0 ? roundf((float)(4.0 * gauss(&r))) : (float)(9.0 * gauss(&r));
        struct kl_sampling s = random_sampling(&r, N);
        s.temperature = round % 3 == 0 ? 0.0f : s.temperature;
        s.repetition_penalty = penalties[round % 4];
        int32_t history[12];
        uint64_t seen[N / 64 + 1];
        for (size_t i = 0; i < 12; i++)
            history[i] = (int32_t)(kl_random_next(&r) % N);
        struct choice all = fill(s, logits, N, history, 12, seen);
        struct choice few = fill(s, logits, N, history, 12, seen);
        keep_what_is_asked_for(&few);
        left_out += N - few.found.n;
        struct kl_random ours = r, theirs = r;
        assert_int_equal(
            kl_sampler_choose(sampler, &s, &few.want, &few.history, &few.found, &ours),
            kl_sampler_choose(sampler, &s, &all.want, &all.history, &all.found, &theirs));
        r = theirs;
        free(all.found.logits);
        free(few.found.logits);
    }
    assert_true(left_out > (size_t)ROUNDS * N / 4);
    kl_sampler_close(sampler);
}

static void expect_shares(struct kl_sampling s, const float *logits, size_t n, const double *shares)
{
    enum { DRAWS = 100000 };
    struct kl_sampler *sampler = open_sampler(n);
    struct kl_random r;
    kl_random_init(&r, 42);
    int counts[16] = {0};
    for (int i = 0; i < DRAWS; i++)
        counts[choose(sampler, s, logits, n, &r)]++;
    for (size_t i = 0; i < n; i++) {
        double sigma = sqrt(DRAWS * shares[i] * (1.0 - shares[i]));
        assert_true(fabs(counts[i] - DRAWS * shares[i]) <= 4.0 * sigma);
    }
    kl_sampler_close(sampler);
}

static void test_distribution(void **state)
{
    (void)state;
    float logits[5];
    static const double p[5] = {0.04, 0.5, 0.15, 0.3, 0.01};
    for (int i = 0; i < 5; i++)
        logits[i] = (float)log(p[i]) + 3.0f;
    expect_shares(plain, logits, 5, p);

    struct kl_sampling s = plain;
    s.top_k = 2;
    expect_shares(s, logits, 5, (double[]){0, 0.625, 0, 0.375, 0});
    s = plain;
    s.top_p = 0.81f; /* 0.5 + 0.3 is not enough */
    expect_shares(s, logits, 5, (double[]){0, 0.5 / 0.95, 0.15 / 0.95, 0.3 / 0.95, 0});
    s.top_k = 3; /* of the 0.95 that are left: 0.77, and two have 0.8 */
    expect_shares(s, logits, 5, (double[]){0, 0.625, 0, 0.375, 0});
    s = plain;
    s.min_p = 0.1f; /* of 0.5 */
    expect_shares(s, logits, 5, (double[]){0, 0.5 / 0.95, 0.15 / 0.95, 0.3 / 0.95, 0});
    s = plain;
    s.temperature = 0.5f; /* the squares */
    double squares[5], sum = 0.0;
    for (int i = 0; i < 5; i++)
        sum += p[i] * p[i];
    for (int i = 0; i < 5; i++)
        squares[i] = p[i] * p[i] / sum;
    expect_shares(s, logits, 5, squares);
}

static void test_extremes_are_greedy(void **state)
{
    (void)state;
    static const float logits[] = {1.0f, 2.5f, 2.4f, 2.5f, -1.0f};
    struct kl_sampling s = plain;
    s.top_k = 1;
    expect_shares(s, logits, 5, (double[]){0, 1, 0, 0, 0});
    s = plain;
    s.top_p = FLT_MIN;
    expect_shares(s, logits, 5, (double[]){0, 1, 0, 0, 0});
    s = plain;
    s.temperature = FLT_MIN; /* the two best are equal */
    expect_shares(s, logits, 5, (double[]){0, 0.5, 0, 0.5, 0});
    s = plain;
    s.min_p = 0.9999f;
    expect_shares(s, logits, 5, (double[]){0, 0.5, 0, 0.5, 0});
    s = plain;
    s.temperature = FLT_MAX;
    expect_shares(s, logits, 5, (double[]){0.2, 0.2, 0.2, 0.2, 0.2});
}

static void test_same_seed_same_draw(void **state)
{
    (void)state;
    struct kl_sampler *sampler = open_sampler(1000);
    float logits[1000];
    struct kl_random r;
    kl_random_init(&r, 9);
    for (int i = 0; i < 1000; i++)
        logits[i] = (float)gauss(&r);
    struct kl_random a, b, other;
    kl_random_init(&a, 77);
    kl_random_init(&b, 77);
    kl_random_init(&other, 78);
    int differ = 0;
    for (int i = 0; i < 100; i++) {
        int32_t id = choose(sampler, plain, logits, 1000, &a);
        assert_int_equal(id, choose(sampler, plain, logits, 1000, &b));
        differ += id != choose(sampler, plain, logits, 1000, &other);
    }
    assert_true(differ > 90);
    kl_sampler_close(sampler);
}

/* ---- checks ---------------------------------------------------------------------------------- */

static void expect_refused(struct kl_sampling s, const char *text)
{
    struct kl_error err;
    assert_int_equal(kl_sampling_check(&s, 1000, &err), KL_ERR_INVALID);
    assert_string_equal(err.text, text);
}

static void test_fields_are_checked(void **state)
{
    (void)state;
    assert_int_equal(kl_sampling_check(&plain, 1000, NULL), KL_OK);
    struct kl_sampling s = plain;
    s.temperature = -0.5f;
    expect_refused(s, "temperature: expected 0 or more, found -0.5");
    s.temperature = NAN;
    expect_refused(s, "temperature: expected 0 or more, found nan");
    s.temperature = INFINITY;
    expect_refused(s, "temperature: expected 0 or more, found inf");
    s = plain;
    s.top_p = 0.0f;
    expect_refused(s, "top_p: expected more than 0 and at most 1, found 0");
    s.top_p = 1.5f;
    expect_refused(s, "top_p: expected more than 0 and at most 1, found 1.5");
    s = plain;
    s.min_p = 1.0f;
    expect_refused(s, "min_p: expected at least 0 and below 1, found 1");
    s.min_p = -0.25f;
    expect_refused(s, "min_p: expected at least 0 and below 1, found -0.25");
    s = plain;
    s.repetition_penalty = 0.0f;
    expect_refused(s, "repetition_penalty: expected more than 0, found 0");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_known_values),
        cmocka_unit_test(test_greedy_takes_the_lower_id_among_equals),
        cmocka_unit_test(test_no_numbers),
        cmocka_unit_test(test_penalty_counts_each_token_once),
        cmocka_unit_test(test_seen_grows),
        cmocka_unit_test(test_equals_reference_small),
        cmocka_unit_test(test_equals_reference_whole_vocabulary),
        cmocka_unit_test(test_orders_that_selection_dislikes),
        cmocka_unit_test(test_what_is_asked_for_is_enough),
        cmocka_unit_test(test_distribution),
        cmocka_unit_test(test_extremes_are_greedy),
        cmocka_unit_test(test_same_seed_same_draw),
        cmocka_unit_test(test_fields_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
