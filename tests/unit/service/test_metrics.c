/* src/service/metrics.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "service/metrics.h"

#define MAX_SEEN 512

struct seen {
    struct kl_metric metrics[MAX_SEEN];
    size_t n;
};

static void see(void *context, const struct kl_metric *metric)
{
    struct seen *seen = context;
    assert_true(seen->n < MAX_SEEN);
    seen->metrics[seen->n++] = *metric;
}

static void walk(const struct kl_metrics *metrics, struct seen *seen)
{
    const struct kl_engine_stats engine = {.steps = 7, .wasted_tokens = 11};
    seen->n = 0;
    kl_metrics_walk(metrics, &engine, see, seen);
}

static const struct kl_metric *find(const struct seen *seen, const char *name, const char *value)
{
    for (size_t i = 0; i < seen->n; i++) {
        const struct kl_metric *m = &seen->metrics[i];
        if (strcmp(m->name, name) == 0 &&
            (value == NULL || (m->label != NULL && strcmp(m->label_value, value) == 0)))
            return m;
    }
    fail_msg("there is no %s %s", name, value != NULL ? value : "");
    return NULL;
}

static void every_metric_is_complete(void **state)
{
    (void)state;
    struct kl_metrics metrics;
    struct seen seen;
    kl_metrics_init(&metrics);
    walk(&metrics, &seen);
    assert_true(seen.n > KL_N_COUNTERS + KL_N_DURATIONS);
    for (size_t i = 0; i < seen.n; i++) {
        const struct kl_metric *m = &seen.metrics[i];
        assert_true(strlen(m->name) > 0 && strlen(m->help) > 0);
        assert_int_equal(strspn(m->name, "abcdefghijklmnopqrstuvwxyz_"), strlen(m->name));
        assert_int_equal(m->label == NULL, m->label_value == NULL);
        assert_int_equal(m->type == KL_METRIC_HISTOGRAM, m->histogram != NULL);
    }
}

/* Prometheus wants it so: a name once, with all its values. */
static void values_of_a_name_follow_each_other(void **state)
{
    (void)state;
    struct kl_metrics metrics;
    struct seen seen;
    kl_metrics_init(&metrics);
    walk(&metrics, &seen);
    for (size_t i = 0; i < seen.n; i++) {
        for (size_t j = i + 1; j < seen.n; j++) {
            const struct kl_metric *a = &seen.metrics[i], *b = &seen.metrics[j];
            if (strcmp(a->name, b->name) != 0)
                continue;
            assert_string_equal(seen.metrics[j - 1].name, b->name);
            assert_int_equal(a->type, b->type);
            assert_string_equal(a->help, b->help);
            assert_string_equal(a->label, b->label);
            assert_string_not_equal(a->label_value, b->label_value);
        }
    }
}

static void what_was_counted_is_told(void **state)
{
    (void)state;
    struct kl_metrics metrics;
    struct seen seen;
    kl_metrics_init(&metrics);
    metrics.counts[KL_COUNT_SLOW] = 3;
    metrics.counts[KL_COUNT_TRIMMED] = 5;
    kl_histogram_add(&metrics.durations[KL_DURATION_TOKEN], 0.25);
    walk(&metrics, &seen);
    assert_float_equal(find(&seen, "requests", "slow_reader")->value, 3, 0);
    assert_float_equal(find(&seen, "requests", "answered")->value, 0, 0);
    assert_float_equal(find(&seen, "messages_left_out", NULL)->value, 5, 0);
    assert_float_equal(find(&seen, "tokens", "wasted")->value, 11, 0);
    assert_float_equal(find(&seen, "steps", NULL)->value, 7, 0);
    assert_int_equal(find(&seen, "token_seconds", NULL)->histogram->count, 1);
    assert_int_equal(find(&seen, "queue_seconds", NULL)->histogram->count, 0);
}

static void kept_answers_are_told(void **state)
{
    (void)state;
    struct kl_metrics metrics;
    struct seen seen;
    struct kl_answer_record *record;
    struct kl_error err;
    kl_metrics_init(&metrics);
    assert_int_equal(kl_answer_store_open(10000, &metrics.answers, &err), KL_OK);
    assert_int_equal(kl_answer_record_new(metrics.answers, 0, NULL, "", "", &record, &err), KL_OK);
    walk(&metrics, &seen);
    assert_float_equal(find(&seen, "kept_answers", NULL)->value, 0, 0);
    assert_float_equal(find(&seen, "kept_answer_bytes", NULL)->value, (double)sizeof *record, 0);
    assert_int_equal(kl_answer_record_keep(record, "", "", &err), KL_OK);
    kl_answer_record_release(record);
    walk(&metrics, &seen);
    assert_float_equal(find(&seen, "kept_answers", NULL)->value, 1, 0);
    kl_answer_store_close(metrics.answers);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_metric_is_complete),
        cmocka_unit_test(values_of_a_name_follow_each_other),
        cmocka_unit_test(what_was_counted_is_told),
        cmocka_unit_test(kept_answers_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
