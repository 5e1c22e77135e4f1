/*
 * Tools for the checks of kernels: seeded random numbers, memory next to guard pages, and attempts.
 * An attempt names the code about to run (kernel, tier, shape). If its result is wrong, or the
 * kernel dies of a signal, that name and the seed are printed, and the next check runs.
 */
#ifndef TESTS_KERNELS_HARNESS_H
#define TESTS_KERNELS_HARNESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"

uint64_t random_bits(void);
float random_float(float size); /* in [-size, size) */
/* Fills x with random numbers; in one of eight calls extreme ones: zeros, tiny, huge, or one peak.
 */
void random_floats(float *x, size_t n, float size);

/* Returns memory that touches a guard page at one side and is near one at the other; each check
 * runs once for each side. Not aligned more than requested. */
struct guarded {
    uint8_t *base;
    size_t mapped;
    void *data;
};
struct guarded guarded_new(size_t bytes, size_t alignment);
void guarded_free(struct guarded *g);

/* Names the code that runs from here on. */
void attempt(const char *slot, const struct kl_kernels *tier, const char *shape, ...)
    __attribute__((format(printf, 3, 4)));
/* Aborts the check with a reason unless `good`. */
void expect(bool good, const char *reason, ...) __attribute__((format(printf, 2, 3)));
void expect_same(const void *found, const void *expected, size_t bytes);

struct check {
    const char *name;
    /* Compares with the scalar tier bit by bit; the scalar tier is compared with float64. */
    void (*run)(const struct kl_kernels *tier);
};

/* Returns the number of checks that failed. */
int run_checks(const struct check *checks, size_t n, const struct kl_kernels *tier, uint64_t seed);
/* Returns the message of the last failed check: "KERNEL of TIER (SHAPE): REASON". */
const char *last_failure(void);

/* The checks and benches, by file. */
void check_matmul(const struct kl_kernels *tier);
void check_matmul_company(const struct kl_kernels *tier);
void check_matmul_halves(const struct kl_kernels *tier);
void check_quantize(const struct kl_kernels *tier);
void check_quantize_not_finite(const struct kl_kernels *tier);
void check_rmsnorm(const struct kl_kernels *tier);
void check_rope(const struct kl_kernels *tier);
void check_fused(const struct kl_kernels *tier);
void check_swiglu(const struct kl_kernels *tier);
void check_kv_store(const struct kl_kernels *tier);
void check_attend(const struct kl_kernels *tier);
void check_attend_company(const struct kl_kernels *tier);
void bench_matmul(const struct kl_kernels *tier, double gb_per_second, double gmac_per_second);
void bench_attend(const struct kl_kernels *tier, double gmac_per_second);

#endif
