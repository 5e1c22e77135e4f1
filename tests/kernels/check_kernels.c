/*
 * Compares every kernel of every tier with the scalar tier, bit by bit, and the scalar tier with
 * float64 (like dav1d's checkasm).
 *
 *   check_kernels [--seed N] [NAME...]
 *                                     runs all checks, or those called NAME; prints the seed; if
 *                                     KINGLET_TEST_BRIEF is set, of the scalar tier only
 *   check_kernels [--seed N] --best TIER [NAME...]
 *                                     checks only the tier chosen for this CPU, which must be TIER;
 *                                     for emulation, which is slow
 *   check_kernels --self-test         checks that a faulty kernel is found and named
 *   check_kernels --bench [TIER]      measures GB/s and GMAC/s of one thread, next to the CPU's
 * limits
 */
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "harness.h"
#include "kernels/peak.h"

static const struct check checks[] = {
    {"matmul", check_matmul},
    {"matmul_company", check_matmul_company},
    {"matmul_halves", check_matmul_halves},
    {"quantize", check_quantize},
    {"quantize_not_finite", check_quantize_not_finite},
    {"rmsnorm", check_rmsnorm},
    {"rope", check_rope},
    {"fused", check_fused},
    {"swiglu", check_swiglu},
    {"kv_store", check_kv_store},
    {"attend", check_attend},
    {"attend_company", check_attend_company},
};
enum { N_CHECKS = sizeof checks / sizeof checks[0] };

/* The first tier to check: if instructions newer than AVX2's are emulated, the first tier that uses
 * them. */
static size_t first_tier(void)
{
    size_t i = 0;
#ifdef KL_EMULATED
    while (strcmp(kl_kernels_at(i)->name, "avx2") != 0)
        i++;
    i++;
#endif
    return i;
}

/* Returns the i-th tier if this CPU can run it; emulated ones need AVX2. */
static const struct kl_kernels *usable_tier(size_t i)
{
    const struct kl_kernels *tier = NULL;
    const char *needed = first_tier() > 0 ? "avx2" : kl_kernels_at(i)->name;
    return kl_kernels_select(needed, &tier, NULL) == KL_OK ? kl_kernels_at(i) : NULL;
}

static const struct check *check_called(const char *name)
{
    for (size_t c = 0; c < N_CHECKS; c++)
        if (strcmp(name, checks[c].name) == 0)
            return &checks[c];
    return NULL;
}

/* names: the names of checks, ended by NULL; empty: all checks */
static int run_tier(const struct kl_kernels *tier, uint64_t seed, char **names)
{
    int failed = 0;
    if (*names == NULL)
        return run_checks(checks, N_CHECKS, tier, seed);
    for (; *names != NULL; names++)
        failed += run_checks(check_called(*names), 1, tier, seed);
    return failed;
}

/* best: checks only the chosen tier, which must have this name; NULL: every tier. */
static int run(uint64_t seed, const char *best, char **names)
{
    int failed = 0;
    const struct kl_kernels *chosen = NULL;
    printf("seed %llu\n", (unsigned long long)seed);
    kl_kernels_select("auto", &chosen, NULL);
    if (best != NULL && strcmp(chosen->name, best) != 0) {
        fprintf(stderr, "check_kernels: the tier of this CPU (%s) is %s and not %s\n",
                kl_cpu_features(), chosen->name, best);
        return 1;
    }
    for (char **name = names; *name != NULL; name++) {
        if (check_called(*name) == NULL) {
            fprintf(stderr, "check_kernels: no check has the name %s\n", *name);
            return 1;
        }
    }
    /* in sanitizer builds only the scalar tier is instrumented; the others are those of the release
     * build, which checks them */
    const bool brief = best == NULL && getenv("KINGLET_TEST_BRIEF") != NULL;
    for (size_t i = first_tier(); kl_kernels_at(i) != NULL && (i == 0 || !brief); i++) {
        const struct kl_kernels *tier = usable_tier(i);
        if (tier == NULL)
            printf("%s: not on this CPU\n", kl_kernels_at(i)->name);
        else if (best == NULL || tier == chosen)
            failed += run_tier(tier, seed, names);
    }
    return failed > 0;
}

/* ---- the harness itself ---------------------------------------------------------------------- */

static void rmsnorm_too_far(const float *x, const float *w, size_t n, float eps, float *y)
{
    kl_kernels_at(0)->rmsnorm(x, w, n, eps, y);
    volatile float *past = y + n;
    *past = 0.0f;
}

static void rope_too_early(float *x, const float *cosine, const float *sine, size_t dim)
{
    volatile float *before = x - 1;
    *before = 0.0f;
    kl_kernels_at(0)->rope(x, cosine, sine, dim);
}

static void swiglu_unknown(const float *gate, const float *up, size_t n, float *out)
{
    (void)gate, (void)up, (void)n, (void)out;
    raise(SIGILL);
}

static void quantize_last_bit(const float *x, size_t n, struct kl_int8_block *blocks, size_t stride)
{
    kl_kernels_at(0)->quantize(x, n, blocks, stride);
    struct kl_int8_block *last = &blocks[(n - 1) * stride];
    last->scale = nextafterf(last->scale, 1.0f);
}

static int self_test(void)
{
    struct kl_kernels faulty = *kl_kernels_at(0);
    faulty.name = "faulty";
    faulty.rmsnorm = rmsnorm_too_far;
    faulty.rope = rope_too_early;
    faulty.swiglu = swiglu_unknown;
    faulty.quantize = quantize_last_bit;
    faulty.matmul[KL_Q4_0] = NULL;
    static const struct {
        struct check check;
        const char *expected[2];
    } cases[] = {
        {{"rmsnorm", check_rmsnorm}, {"rmsnorm of faulty (n 8)", "Segmentation fault"}},
        {{"rope", check_rope}, {"rope of faulty (dim 16)", "Segmentation fault"}},
        {{"swiglu", check_swiglu}, {"swiglu of faulty (n 8)", "Illegal instruction"}},
        {{"quantize", check_quantize},
         {"quantize of faulty (1 blocks, stride 1)", "byte 32 of 48"}},
        {{"matmul", check_matmul}, {"matmul of faulty (Q4_0, 1 x 32, 1 tokens)", "empty"}},
    };
    int wrong = 0;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        bool found = run_checks(&cases[i].check, 1, &faulty, 1) == 1;
        for (size_t j = 0; j < 2; j++)
            found = found && strstr(last_failure(), cases[i].expected[j]) != NULL;
        if (!found)
            printf("expected: %s: %s\n", cases[i].expected[0], cases[i].expected[1]);
        wrong += !found;
    }
    const struct check sound = {"kv_store", check_kv_store};
    return wrong + run_checks(&sound, 1, &faulty, 1) > 0;
}

/* ---- --bench --------------------------------------------------------------------------------- */

static double best_rate(const struct kl_peak *peak, const uint8_t *data, size_t size, size_t steps)
{
    double best = 0;
    volatile uint64_t sum;
    for (int i = 0; i < 7; i++) {
        uint64_t start = kl_now_ns();
        sum = data != NULL ? peak->read(data, size) : peak->multiply(steps);
        double amount = data != NULL ? (double)size : (double)steps * KL_PEAK_MACS;
        double rate = amount / kl_seconds_since(start) * 1e-9;
        best = rate > best ? rate : best;
    }
    (void)sum;
    return best;
}

static int bench(const char *name)
{
    enum { READ = 128 << 20, STEPS = 200000 };
    uint8_t *data = malloc(READ);
    if (data == NULL)
        return 1;
    memset(data, 1, READ);
    for (size_t i = 0; kl_kernels_at(i) != NULL; i++) {
        const struct kl_kernels *tier = usable_tier(i);
        if (tier == NULL || (name != NULL && strcmp(name, tier->name) != 0))
            continue;
        const struct kl_peak *peak = kl_peak_of(tier);
        double read = best_rate(peak, data, READ, 0), macs = best_rate(peak, NULL, 0, STEPS);
        printf("%s: reads %.1f GB/s, multiplies int8 with %.0f GMAC/s (100 %%)\n", tier->name, read,
               macs);
        bench_matmul(tier, read, macs);
        bench_attend(tier, macs);
    }
    free(data);
    return 0;
}

int main(int argc, char **argv)
{
    uint64_t seed = kl_now_ns();
    const char *best = NULL;
    int at = 1;
    if (argc > 1 && strcmp(argv[1], "--bench") == 0)
        return bench(argc > 2 ? argv[2] : NULL);
    if (argc > 1 && strcmp(argv[1], "--self-test") == 0)
        return self_test();
    if (argc > 2 && strcmp(argv[1], "--seed") == 0) {
        seed = strtoull(argv[2], NULL, 10);
        at = 3;
    }
    if (argc > at + 1 && strcmp(argv[at], "--best") == 0) {
        best = argv[at + 1];
        at += 2;
    }
    return run(seed, best, argv + at);
}
