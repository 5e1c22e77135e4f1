#include "schema/trial_report.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_writer.h"
#include "base/quantile.h"

static double mean(const double *values, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += values[i];
    return n > 0 ? sum / (double)n : 0;
}

/* ---- JSON ------------------------------------------------------------------------------------ */

static void write_error(struct kl_json *j, const struct kl_trial *trial)
{
    if (trial->error.status == KL_OK) {
        kl_json_null(j, "error");
        return;
    }
    kl_json_open(j, "error", '{');
    kl_json_string(j, "path", trial->refusal.path);
    kl_json_string(j, "keyword", trial->refusal.keyword);
    kl_json_string(j, "text", trial->error.text);
    kl_json_close(j, '}');
}

void kl_trial_write_json(struct kl_trial *trial, const char *file, struct kl_printer *out)
{
    struct kl_json j = {.out = out};
    kl_sort_values(trial->mask_us, trial->n_masks);
    kl_json_open(&j, NULL, '{');
    if (file != NULL)
        kl_json_string(&j, "file", file);
    kl_json_number(&j, "compile_us", trial->compile_us);
    kl_json_number(&j, "states", (double)trial->states);
    write_error(&j, trial);
    kl_json_open(&j, "instances", '[');
    for (size_t i = 0; i < trial->n_instances; i++) {
        const struct kl_trial_instance *instance = &trial->instances[i];
        kl_json_open(&j, NULL, '{');
        kl_json_bool(&j, "accepted", instance->accepted);
        kl_json_number(&j, "tokens", (double)instance->tokens);
        if (instance->accepted)
            kl_json_null(&j, "stopped_at");
        else
            kl_json_number(&j, "stopped_at", (double)instance->stopped_at);
        kl_json_close(&j, '}');
    }
    kl_json_close(&j, ']');
    kl_json_number(&j, "masks", (double)trial->n_masks);
    kl_json_number(&j, "mask_us_mean", mean(trial->mask_us, trial->n_masks));
    kl_json_number(&j, "mask_us_p99",
                   trial->n_masks > 0 ? kl_quantile(trial->mask_us, trial->n_masks, 0.99) : 0);
    kl_json_close(&j, '}');
    kl_print(out, "\n");
}

/* ---- the table ------------------------------------------------------------------------------- */

static enum kl_status add_times(struct kl_trial_times *times, const double *us, size_t n,
                                struct kl_error *err)
{
    if (n > times->room - times->n) {
        size_t room = 2 * (times->n + n);
        double *more = realloc(times->us, room * sizeof *more);
        if (more == NULL)
            return kl_fail_memory(err, "the times of all trials", room * sizeof *more);
        times->us = more;
        times->room = room;
    }
    if (n > 0)
        memcpy(times->us + times->n, us, n * sizeof *us);
    times->n += n;
    return KL_OK;
}

static void add_refusal(struct kl_trial_summary *s, const struct kl_trial *trial)
{
    const char *name =
        trial->refusal.keyword[0] != '\0' ? trial->refusal.keyword : trial->error.text;
    size_t i = 0;
    s->refused++;
    while (i < s->n_refusals && strncmp(s->refusals[i].name, name, 63) != 0)
        i++;
    if (i == KL_TRIAL_MAX_REFUSALS)
        i--;
    if (i == s->n_refusals)
        snprintf(s->refusals[s->n_refusals++].name, sizeof s->refusals[i].name, "%.63s", name);
    s->refusals[i].n++;
}

enum kl_status kl_trial_summary_add(struct kl_trial_summary *s, const struct kl_trial *trial,
                                    const bool *valid, struct kl_error *err)
{
    size_t wrong = 0;
    s->files++;
    if (trial->error.status != KL_OK) {
        add_refusal(s, trial);
        return KL_OK;
    }
    for (size_t i = 0; i < trial->n_instances; i++) {
        bool accepted = trial->instances[i].accepted;
        s->valid += valid[i];
        s->invalid += !valid[i];
        s->valid_refused += valid[i] && !accepted;
        s->invalid_accepted += !valid[i] && accepted;
        wrong += valid[i] != accepted;
    }
    s->right += wrong == 0;
    enum kl_status status = add_times(&s->compile, &trial->compile_us, 1, err);
    return status == KL_OK ? add_times(&s->masks, trial->mask_us, trial->n_masks, err) : status;
}

static void write_times(struct kl_printer *out, const char *name, struct kl_trial_times *times)
{
    if (times->n == 0)
        return;
    kl_sort_values(times->us, times->n);
    kl_print(out, "%-12s %10.1f %10.1f %10.1f %12.1f %10zu\n", name,
             kl_quantile(times->us, times->n, 0.5), mean(times->us, times->n),
             kl_quantile(times->us, times->n, 0.99), times->us[times->n - 1], times->n);
}

/* The most frequent first. */
static int compare_refusals(const void *a, const void *b)
{
    const struct kl_trial_refusals *x = a, *y = b;
    return x->n != y->n ? (x->n < y->n ? 1 : -1) : strcmp(x->name, y->name);
}

static void write_count(struct kl_printer *out, const char *name, size_t n, size_t of)
{
    kl_print(out, "%-18s %7zu of %-7zu %7.2f %%\n", name, n, of,
             of > 0 ? 100.0 * (double)n / (double)of : 0);
}

void kl_trial_summary_write(struct kl_trial_summary *s, struct kl_printer *out)
{
    write_count(out, "files right", s->right, s->files);
    write_count(out, "files refused", s->refused, s->files);
    write_count(out, "invalid accepted", s->invalid_accepted, s->invalid);
    write_count(out, "valid refused", s->valid_refused, s->valid);
    if (s->unreadable > 0)
        write_count(out, "files not read", s->unreadable, s->files + s->unreadable);
    qsort(s->refusals, s->n_refusals, sizeof s->refusals[0], compare_refusals);
    for (size_t i = 0; i < s->n_refusals; i++)
        kl_print(out, "  refused: %5zu  %s\n", s->refusals[i].n, s->refusals[i].name);
    kl_print(out, "%-12s %10s %10s %10s %12s %10s\n", "microseconds", "median", "mean", "p99",
             "largest", "n");
    write_times(out, "compile", &s->compile);
    write_times(out, "mask", &s->masks);
}

void kl_trial_summary_release(struct kl_trial_summary *s)
{
    free(s->compile.us);
    free(s->masks.us);
    *s = (struct kl_trial_summary){0};
}
