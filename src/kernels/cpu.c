#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "kernels/tiers.h"

#if defined(__x86_64__)
#include <cpuid.h>

/* __builtin_cpu_supports() also checks by XGETBV that the system saves the wide registers; it does
 * not know F16C and AVX-VNNI. */
static bool has_f16c(void)
{
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & (1u << 29)) != 0;
}

static bool can_avx2(void)
{
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
}

/* CPUID leaf 7, subleaf 1, EAX bit 4; the system saves its registers if it saves AVX2's. */
static bool has_avxvnni(void)
{
    unsigned a, b, c, d;
    return __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0 && (a & (1u << 4)) != 0;
}

#ifndef KL_COMMON_TIERS
static bool can_sse41(void)
{
    __builtin_cpu_init();
    return __builtin_cpu_supports("ssse3") && __builtin_cpu_supports("sse4.1");
}

static bool can_avxvnni(void)
{
    return can_avx2() && has_avxvnni();
}

static bool can_avx512(void)
{
    return can_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}

static bool can_avx512vnni(void)
{
    return can_avx512() && __builtin_cpu_supports("avx512vnni");
}
#endif
#endif

#if defined(__aarch64__)
#include <sys/auxv.h>

#ifndef HWCAP2_I8MM
#define HWCAP2_I8MM (1UL << 13) /* Linux's; the headers of glibc 2.31 do not have it yet */
#endif

static bool offers(unsigned long feature)
{
    return (getauxval(AT_HWCAP) & feature) != 0;
}

static bool can_neon(void)
{
    return offers(HWCAP_ASIMD);
}

static bool has_i8mm(void)
{
    return (getauxval(AT_HWCAP2) & HWCAP2_I8MM) != 0;
}

#ifndef KL_COMMON_TIERS
static bool can_neon_dotprod(void)
{
    return offers(HWCAP_ASIMD) && offers(HWCAP_ASIMDDP);
}

static bool can_neon_i8mm(void)
{
    return can_neon_dotprod() && has_i8mm();
}
#endif
#endif

static bool can_scalar(void)
{
    return true;
}

/* One row per tier, best last. needs: for the refusal. */
static const struct tier {
    const struct kl_kernels *kernels;
    bool (*can)(void);
    const char *needs;
} tiers[] = {
#define ROW(tier, name, needs) {&kl_kernels_##tier, can_##tier, needs},
    KL_TIERS(ROW)
#undef ROW
};

enum { N_TIERS = sizeof tiers / sizeof tiers[0] };

const struct kl_kernels *kl_kernels_at(size_t i)
{
    return i < N_TIERS ? tiers[i].kernels : NULL;
}

const struct kl_kernels *kl_kernels_best(bool allow_avx512)
{
    size_t best = N_TIERS - 1;
    while (!tiers[best].can() || (tiers[best].kernels->avx512 && !allow_avx512))
        best--;
    return tiers[best].kernels;
}

enum kl_status kl_kernels_select(const char *name, const struct kl_kernels **kernels,
                                 struct kl_error *err)
{
    if (name == NULL || strcmp(name, "auto") == 0) {
        *kernels = kl_kernels_best(true);
        return KL_OK;
    }
    char names[128] = "auto";
    for (size_t i = 0; i < N_TIERS; i++) {
        if (strcmp(name, tiers[i].kernels->name) == 0) {
            if (!tiers[i].can())
                return kl_fail(err, KL_ERR_UNSUPPORTED,
                               "cpu tier %s: this CPU lacks what it needs (%s); it has: %s", name,
                               tiers[i].needs, kl_cpu_features());
            *kernels = tiers[i].kernels;
            return KL_OK;
        }
        size_t used = strlen(names);
        snprintf(names + used, sizeof names - used, ", %s", tiers[i].kernels->name);
    }
    return kl_fail(err, KL_ERR_INVALID, "cpu tier \"%.40s\" is not known: expected one of %s", name,
                   names);
}

const char *kl_cpu_features(void)
{
#if defined(__x86_64__)
    static _Thread_local char text[128];
    __builtin_cpu_init();
    snprintf(text, sizeof text, "SSE2%s%s%s%s%s%s%s",
             __builtin_cpu_supports("sse4.1") ? " SSE4.1" : "",
             __builtin_cpu_supports("avx2") ? " AVX2" : "",
             __builtin_cpu_supports("fma") ? " FMA" : "", has_f16c() ? " F16C" : "",
             has_avxvnni() ? " AVX-VNNI" : "", __builtin_cpu_supports("avx512f") ? " AVX-512" : "",
             __builtin_cpu_supports("avx512vnni") ? " AVX512-VNNI" : "");
    return text;
#elif defined(__aarch64__)
    static _Thread_local char text[64];
    snprintf(text, sizeof text, "%s%s%s%s", offers(HWCAP_ASIMD) ? "ASIMD" : "no ASIMD",
             offers(HWCAP_ASIMDHP) ? " ASIMDHP" : "", offers(HWCAP_ASIMDDP) ? " ASIMDDP" : "",
             has_i8mm() ? " I8MM" : "");
    return text;
#else
    return "baseline";
#endif
}
