#include "schema/trial_set.h"

#include <stdlib.h>
#include <string.h>

#include "json/json_limits.h"
#include "json/json_memory.h"
#include "json/json_numbers.h"

/* The longest text of a number is four times as long as Python writes it: 1e15. */
#define MAX_TEXT (8 * KL_TRIAL_MAX_FILE)

enum kl_status kl_trial_read_schema(const char *text, size_t len, struct kl_trial_set *set,
                                    struct kl_error *err)
{
    json_error_t error;
    enum kl_status status =
        kl_json_check_limits(text, len, KL_PYTHON_JSON_MAX_DEPTH, KL_TRIAL_MAX_VALUES, err);
    if (status != KL_OK)
        return status;
    kl_json_memory_watch();
    set->schema = kl_json_read(text, len, &error);
    if (kl_json_was_short())
        return kl_fail_memory(err, "a schema", len);
    if (set->schema == NULL)
        return kl_fail(err, KL_ERR_INVALID, "not JSON: %s (line %d, column %d)", error.text,
                       error.line, error.column);
    return KL_OK;
}

static enum kl_status put(struct kl_buffer *text, const char *bytes, struct kl_error *err)
{
    enum kl_status status = kl_buffer_append_string(text, bytes);
    return status == KL_OK ? KL_OK : kl_fail(err, status, "no room for the instances");
}

/* Lists the values of an array. */
static enum kl_status list(struct kl_trial_set *set, struct kl_json_span array,
                           struct kl_error *err)
{
    size_t n = 0;
    struct kl_json_span span = kl_json_span_first(array);
    for (; span.text != NULL; span = kl_json_span_next(span))
        n++;
    set->texts = calloc(n > 0 ? n : 1, sizeof *set->texts);
    if (set->texts == NULL)
        return kl_fail_memory(err, "the list of instances", n * sizeof *set->texts);
    for (span = kl_json_span_first(array); span.text != NULL; span = kl_json_span_next(span))
        set->texts[set->n++] = span;
    return KL_OK;
}

static enum kl_status expect_end(size_t at, size_t len, struct kl_error *err)
{
    return at == len
               ? KL_OK
               : kl_fail(err, KL_ERR_INVALID, "not JSON: the end was expected at byte %zu", at);
}

enum kl_status kl_trial_read_instances(const char *text, size_t len, struct kl_trial_set *set,
                                       struct kl_error *err)
{
    size_t at = 0, n = 0;
    kl_buffer_init(&set->text, MAX_TEXT);
    enum kl_status status = put(&set->text, "[", err);
    while (status == KL_OK && (at < len || n == 0)) {
        if (n > 0)
            status = put(&set->text, ", ", err);
        if (status == KL_OK)
            status = kl_python_json(text, len, &at, &set->text, err);
        n++;
    }
    if (status == KL_OK)
        status = put(&set->text, "]", err);
    if (status != KL_OK)
        return status;
    bool is_array = n == 1 && set->text.data[1] == '[';
    struct kl_json_span all = {set->text.data, set->text.len};
    return list(set, is_array ? kl_json_span_first(all) : all, err);
}

/* Replaces each test by its data. */
static enum kl_status open_tests(struct kl_trial_set *set, struct kl_error *err)
{
    set->valid = calloc(set->n > 0 ? set->n : 1, sizeof *set->valid);
    if (set->valid == NULL)
        return kl_fail_memory(err, "the list of tests", set->n);
    for (size_t i = 0; i < set->n; i++) {
        struct kl_json_span valid = kl_json_span_member(set->texts[i], "valid");
        set->texts[i] = kl_json_span_member(set->texts[i], "data");
        if (valid.text == NULL || set->texts[i].text == NULL ||
            (*valid.text != 't' && *valid.text != 'f'))
            return kl_fail(err, KL_ERR_INVALID,
                           "test %zu is not {\"valid\": true or false, \"data\": ...}", i + 1);
        set->valid[i] = *valid.text == 't';
    }
    return KL_OK;
}

enum kl_status kl_trial_read_tests(const char *text, size_t len, struct kl_trial_set *set,
                                   struct kl_error *err)
{
    size_t at = 0;
    kl_buffer_init(&set->text, MAX_TEXT);
    enum kl_status status = kl_python_json(text, len, &at, &set->text, err);
    if (status == KL_OK)
        status = expect_end(at, len, err);
    if (status != KL_OK)
        return status;
    struct kl_json_span all = {set->text.data, set->text.len};
    struct kl_json_span tests = kl_json_span_member(all, "tests");
    if (tests.text == NULL || *tests.text != '[' || kl_json_span_member(all, "schema").text == NULL)
        return kl_fail(err, KL_ERR_INVALID, "not {\"schema\": ..., \"tests\": [...]}");
    status = kl_trial_read_schema(text, len, set, err);
    if (status != KL_OK)
        return status;
    json_t *document = set->schema;
    set->schema = json_incref(json_object_get(document, "schema"));
    json_decref(document);
    status = list(set, tests, err);
    return status == KL_OK ? open_tests(set, err) : status;
}

void kl_trial_set_release(struct kl_trial_set *set)
{
    json_decref(set->schema);
    kl_buffer_release(&set->text);
    free(set->texts);
    free(set->valid);
    *set = (struct kl_trial_set){0};
}
