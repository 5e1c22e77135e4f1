/* The names of the steps of a pass, and where its time goes, as text on stdout. */
#include <stdio.h>

#include "bench/bench.h"

const char *kl_bench_step_name(enum kl_step step)
{
#define NAME(NAME, name) name,
    static const char *const names[KL_N_STEPS] = {KL_STEPS(NAME)};
#undef NAME
    return names[step];
}

static void print_step(const char *name, const struct kl_bench_step *step, double pass)
{
    printf("  %-16s %9.3f %5.1f%%", name, 1e3 * step->seconds, 100 * step->seconds / pass);
    if (step->bytes > 0 && step->seconds > 0)
        printf(" %8.2f", step->bytes / step->seconds * 1e-9);
    else
        printf(" %8s", "");
    if (step->macs > 0 && step->seconds > 0)
        printf(" %8.1f", step->macs / step->seconds * 1e-9);
    else
        printf(" %8s", "");
    if (step->floor > 0 && step->seconds > 0)
        printf(" %9.3f %5.0f%%", 1e3 * step->floor, 100 * step->floor / step->seconds);
    printf("\n");
}

void kl_bench_print_profile(const struct kl_bench *b, const struct kl_bench_shape *s)
{
    double floor = 0;
    if (b->n_shapes == 1)
        printf(
            "\nthe floor is what reading the bytes, or multiplying, takes alone; that of attention "
            "counts reading only\n");
    printf("\n%zu %s of %zu %s at position %zu: a pass takes %.3f ms (the median of %zu)\n",
           s->n_rows, s->n_rows == 1 ? "row" : "rows", s->n_sequences,
           s->n_sequences == 1 ? "sequence" : "sequences", s->depth, 1e3 * s->seconds, s->passes);
    printf("  %-16s %9s %6s %8s %8s %9s\n", "step", "ms", "share", "GB/s", "GMAC/s", "floor, ms");
    for (enum kl_step i = 0; i < KL_N_STEPS; i++) {
        print_step(kl_bench_step_name(i), &s->steps[i], s->seconds);
        floor += s->steps[i].floor;
    }
    const struct kl_bench_step between = {.seconds = s->between};
    print_step("between steps", &between, s->seconds);
    const struct kl_bench_step all = {.seconds = s->seconds, .floor = floor};
    print_step("all", &all, s->seconds);
    printf(
        "  beside the products and attention, in the steps above: %.3f ms of each thread, %.1f%%\n",
        1e3 * s->beside, 100 * s->beside / s->seconds);
    fflush(stdout);
}
