/*
 * Results of trials as JSON, and the table of many. The storage of the struct is the caller's, its
 * memory the summary's. One thread.
 */
#ifndef KL_SCHEMA_TRIAL_REPORT_H
#define KL_SCHEMA_TRIAL_REPORT_H

#include "base/printer.h"
#include "schema/trial.h"

/* Writes one object on one line: {"file", "compile_us", "states", "error", "instances", "masks",
 * "mask_us_mean", "mask_us_p99"}. file: NULL leaves it out. error: null, or {"path", "keyword",
 * "text"}; then there are no instances. Without masks their times are 0. Sorts trial->mask_us. */
void kl_trial_write_json(struct kl_trial *trial, const char *file, struct kl_printer *out);

struct kl_trial_times {
    double *us;
    size_t n, room;
};

#define KL_TRIAL_MAX_REFUSALS 128

/* Of all trials so far. Initialise with {0}. */
struct kl_trial_summary {
    size_t files, unreadable, right;
    struct kl_trial_refusals {
        char name[64]; /* the keyword, or the text of the error where there is none */
        size_t n;
    } refusals[KL_TRIAL_MAX_REFUSALS]; /* further ones count as the last */
    size_t n_refusals, refused;
    size_t valid, invalid, valid_refused, invalid_accepted;
    struct kl_trial_times compile, masks;
};

/* valid: [trial->n_instances] which should have been accepted. KL_ERR_MEMORY. */
enum kl_status kl_trial_summary_add(struct kl_trial_summary *summary, const struct kl_trial *trial,
                                    const bool *valid, struct kl_error *err);
/* Writes the table. Sorts the times. */
void kl_trial_summary_write(struct kl_trial_summary *summary, struct kl_printer *out);
void kl_trial_summary_release(struct kl_trial_summary *summary);

#endif
