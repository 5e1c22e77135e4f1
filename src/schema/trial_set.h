/*
 * Reads what `kinglet schema` judges: a schema, instances, or both in one document.
 *
 * Values keep their digits: instances are the text that Python would write (python_json.h), the
 * schema is a tree. Blocks; one thread.
 */
#ifndef KL_SCHEMA_TRIAL_SET_H
#define KL_SCHEMA_TRIAL_SET_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/buffer.h"
#include "schema/python_json.h"

/* Larger than any schema or list of instances that was seen. */
#define KL_TRIAL_MAX_FILE   ((size_t)4 << 20)
#define KL_TRIAL_MAX_VALUES 1000000

/* Initialise with {0}; release it in any case. */
struct kl_trial_set {
    json_t *schema;             /* NULL: none was read */
    struct kl_buffer text;      /* what the instances are parts of */
    struct kl_json_span *texts; /* [n] */
    bool *valid;                /* [n] whether they should be accepted; NULL: not known */
    size_t n;
};

/* Sets the schema of *set. KL_ERR_INVALID: not JSON; KL_ERR_LIMIT; KL_ERR_MEMORY. Main thread: see
 * kl_json_memory_watch. */
enum kl_status kl_trial_read_schema(const char *text, size_t len, struct kl_trial_set *set,
                                    struct kl_error *err);

/* Sets the instances of *set: one array of them, or values that follow each other, as JSON lines
 * do. A single array is always the first form. Errors as above. */
enum kl_status kl_trial_read_instances(const char *text, size_t len, struct kl_trial_set *set,
                                       struct kl_error *err);

/* Sets all of *set: {"schema":..., "tests":[{"valid":true,"data":...}]}. Errors as above;
 * KL_ERR_INVALID also for another form. */
enum kl_status kl_trial_read_tests(const char *text, size_t len, struct kl_trial_set *set,
                                   struct kl_error *err);

void kl_trial_set_release(struct kl_trial_set *set);

#endif
