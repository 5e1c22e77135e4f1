/* The results as text on stdout, each as soon as it is measured. */
#include <stdio.h>
#include <string.h>

#include "bench/bench.h"
#include "console/terminal.h"

void kl_bench_print_machine(const struct kl_bench *b)
{
    const struct kl_bench_machine *m = &b->machine;
    printf("%s, %zu CPUs, %s%s\n", m->cpu[0] != '\0' ? m->cpu : "unknown processor", m->cpus,
           m->governor[0] != '\0' ? "governor " : "frequency governor not known", m->governor);
    for (size_t i = 0; i < m->n_points; i++)
        printf("%s%zu thread%s: reads %.1f GB/s, int8 %.1f GMAC/s", i == 0 ? "" : "; ",
               m->points[i].threads, m->points[i].threads == 1 ? "" : "s", m->points[i].read_gb,
               m->points[i].int8_gmac);
    if (m->n_points > 0)
        printf("\n");
    fflush(stdout);
}

void kl_bench_print_start(const struct kl_bench_start *s)
{
    printf("start    %.3f s (%.3f..%.3f): file %.3f, tokenizer %.3f, weights %.3f, engine %.3f\n",
           s->all.median, s->all.p10, s->all.p90, s->file.median, s->tokenizer.median,
           s->weights.median, s->engine.median);
    fflush(stdout);
}

/* The heads of the columns of kl_bench_print_row. */
static void print_head(const struct kl_bench *b)
{
    printf("%-8s %6s %10s %17s %8s %6s %8s %6s", "test", "n", "tokens/s", "(p10..p90)", "GB/s",
           "read", "GMAC/s", "int8");
    printf("%s\n", b->machine.no_counters[0] == '\0' ? "  instr/token  per cycle" : "");
}

static void print_share(double share)
{
    if (share > 0)
        printf(" %5.0f%%", 100 * share);
    else
        printf(" %6s", "");
}

void kl_bench_print_row(const struct kl_bench *b, const struct kl_bench_result *r)
{
    char range[40];
    if (b->n_results == 1)
        print_head(b);
    snprintf(range, sizeof range, "(%.1f..%.1f)", r->speed.p10, r->speed.p90);
    printf("%-8s %6zu %10.2f %17s %8.2f", r->test, r->n, r->speed.median, range, r->gb_per_second);
    print_share(r->read_share);
    printf(" %8.2f", r->gmac_per_second);
    print_share(r->int8_share);
    if (r->per_token.instructions > 0)
        printf(" %12.4g", r->per_token.instructions);
    if (r->per_token.instructions > 0 && r->per_token.cycles > 0)
        printf(" %10.2f", r->per_token.instructions / r->per_token.cycles);
    printf("\n");
    fflush(stdout);
}

void kl_bench_print_steps(const struct kl_bench *b)
{
    for (size_t i = 0; i < b->n_results; i++) {
        const struct kl_bench_result *r = &b->results[i];
        if (strcmp(r->test, "decode") == 0)
            printf("decoding from token to token: %.2f ms (%.2f..%.2f, %zu of them)\n",
                   1e3 * r->step.median, 1e3 * r->step.p10, 1e3 * r->step.p90, r->step.n);
    }
    if (b->n_results > 0 && b->machine.no_counters[0] != '\0')
        printf("instructions and cycles were not counted: %s\n", b->machine.no_counters);
}

void kl_bench_print_first_token(const struct kl_bench *b)
{
    const struct kl_bench_first *f = &b->first;
    const struct kl_bench_memory *m = &b->memory;
    char size[5][32];
    printf("first    %.3f s (%.3f..%.3f): a token after %zu Chinese characters, %zu tokens\n",
           f->seconds.median, f->seconds.p10, f->seconds.p90, f->characters, f->prompt_tokens);
    printf("memory   resident %s (peak %s): files %s, anonymous %s, %s of it buffers\n",
           kl_format_bytes((double)m->resident, size[0], sizeof size[0]),
           kl_format_bytes((double)m->peak, size[1], sizeof size[1]),
           kl_format_bytes((double)m->file, size[2], sizeof size[2]),
           kl_format_bytes((double)m->anonymous, size[3], sizeof size[3]),
           kl_format_bytes((double)m->forward, size[4], sizeof size[4]));
}

void kl_bench_print_drafts(const struct kl_bench_drafts *d)
{
    printf("drafts   %.1f tokens/s (%.1f..%.1f), without %.1f (%.1f..%.1f): a text with a change, "
           "%zu tokens, %zu of %zu guesses right\n",
           d->with.median, d->with.p10, d->with.p90, d->without.median, d->without.p10,
           d->without.p90, d->answer_tokens, d->accepted, d->drafted);
}
