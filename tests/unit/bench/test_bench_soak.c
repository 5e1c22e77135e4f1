/* src/bench/bench_soak_*.c */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "../base/fake_root.h"
#include "bench/bench_soak.h"

static void times_have_a_unit(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        double seconds;
    } good[] = {{"90s", 90}, {"10m", 600}, {"72h", 259200}, {"3d", 259200}, {"366d", 31622400}};
    static const char *const bad[] = {"",      "10",    "m",    "0s",   "-1m",   "1.5h", "10 m",
                                      "10min", "1h30m", "367d", "1e9d", "ten m", "10M"};
    double seconds;
    struct kl_error err;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_int_equal(kl_soak_parse_time(good[i].text, &seconds, &err), KL_OK);
        assert_float_equal(seconds, good[i].seconds, 0);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(kl_soak_parse_time(bad[i], &seconds, &err), KL_ERR_INVALID);
        assert_non_null(strstr(err.text, "--soak takes a time such as 90s, 10m, 72h"));
    }
}

/* ---- statistics ------------------------------------------------------------------------------ */

static void mean_variance_and_largest_are_exact(void **state)
{
    (void)state;
    static const double values[] = {0.5, 2, 1, 4, 0.25};
    struct kl_soak_spread s;
    kl_soak_spread_init(&s);
    assert_float_equal(kl_soak_variance(&s), 0, 0);
    assert_float_equal(kl_soak_quantile(&s, 0.99), 0, 0);
    for (size_t i = 0; i < 5; i++)
        kl_soak_spread_add(&s, values[i]);
    assert_float_equal(s.mean, 1.55, 1e-12);
    assert_float_equal(kl_soak_variance(&s), 1.86, 1e-12); /* numpy.var(values) */
    assert_float_equal(s.largest, 4, 0);
}

static void quantiles_are_within_two_percent(void **state)
{
    (void)state;
    static const double shares[] = {0.01, 0.5, 0.95, 0.99};
    struct kl_soak_spread s;
    for (double scale = 1e-3; scale < 1e2; scale *= 10) {
        kl_soak_spread_init(&s);
        for (int i = 1; i <= 100000; i++)
            kl_soak_spread_add(&s, scale * i / 10000);
        for (size_t i = 0; i < 4; i++) {
            double exact = scale * shares[i] * 10;
            assert_true(fabs(kl_soak_quantile(&s, shares[i]) - exact) < 0.02 * exact);
        }
    }
    kl_soak_spread_init(&s); /* values outside the bounds */
    kl_soak_spread_add(&s, 1e-6);
    assert_true(kl_soak_quantile(&s, 0.5) <= 1e-6);
    kl_soak_spread_add(&s, 1e5);
    assert_float_equal(kl_soak_quantile(&s, 1), 1e3, 1e-6); /* the last bound, of the histogram */
    assert_float_equal(s.largest, 1e5, 0);
}

static void sums_count_outcomes(void **state)
{
    (void)state;
    static const int statuses[] = {500, 429, 500, 503, 404, 400};
    struct kl_soak_sums s;
    kl_soak_sums_init(&s);
    for (size_t i = 0; i < 6; i++)
        kl_soak_sums_add(&s, &(struct kl_soak_answer){
                                 .outcome = KL_SOAK_STATUS, .status = statuses[i], .end = 9});
    kl_soak_sums_add(&s, &(struct kl_soak_answer){.outcome = KL_SOAK_CUT, .end = 9});
    assert_int_equal(s.requests, 7);
    assert_int_equal(s.outcomes[KL_SOAK_STATUS], 6);
    assert_int_equal(s.outcomes[KL_SOAK_CUT], 1);
    assert_int_equal(kl_soak_failed(&s), 7);
    assert_int_equal(s.statuses[0].status, 500);
    assert_int_equal(s.statuses[0].n, 2);
    assert_int_equal(s.statuses[3].status, 0); /* 404 and 400 */
    assert_int_equal(s.statuses[3].n, 2);
    assert_int_equal(s.latency.histogram.count, 0); /* the time of a failure is no latency */

    assert_float_equal(kl_soak_writing_speed(&s), 0, 0);
    kl_soak_sums_add(
        &s, &(struct kl_soak_answer){.first = 1, .last = 3, .end = 3.5, .texts = 5, .tokens = 21});
    kl_soak_sums_add(&s, &(struct kl_soak_answer){.first = 2, .last = 2, .end = 2, .texts = 1});
    assert_int_equal(s.tokens, 22);
    assert_int_equal(s.without_usage, 1);
    assert_float_equal(s.latency.mean, 2.75, 1e-12);
    assert_float_equal(s.first.mean, 1.5, 1e-12);
    assert_float_equal(kl_soak_writing_speed(&s), 10, 1e-12);
    assert_int_equal(kl_soak_failed(&s), 7);
}

/* ---- the series ------------------------------------------------------------------------------ */

static struct kl_soak_series series;

static void a_series_does_not_grow(void **state)
{
    (void)state;
    uint64_t answered = 0;
    kl_soak_series_init(&series);
    for (int t = 0; t < 259200; t += 7) { /* 72 hours */
        const struct kl_soak_answer a = {.first = 0.1, .end = 1 + t * 1e-5, .texts = 1};
        struct kl_soak_point *p = kl_soak_series_at(&series, t);
        kl_soak_point_answer(p, &a);
        kl_soak_point_reading(p, &(struct kl_soak_reading){.resident = 1e6 + t, .mhz = 2000 - t});
    }
    assert_float_equal(series.interval, 512, 0);
    assert_int_equal(series.n, 507); /* 259200 / 512 */
    for (size_t i = 0; i < series.n; i++) {
        const struct kl_soak_point *p = &series.points[i];
        answered += p->answered;
        double begin = (double)i * 512, end = begin + 512;
        assert_true(p->latency / (double)p->answered > 1 + begin * 1e-5);
        assert_true(p->latency / (double)p->answered < 1 + end * 1e-5);
        assert_true(p->resident < 1e6 + end && p->resident >= 1e6 + begin);
    }
    assert_int_equal(answered, (259200 + 6) / 7);

    const struct kl_soak_point first = kl_soak_series_tenth(&series, false);
    const struct kl_soak_point last = kl_soak_series_tenth(&series, true);
    assert_true(first.latency / (double)first.answered < 1.14);
    assert_true(last.latency / (double)last.answered > 3.4);
    assert_true(last.resident - first.resident > 230000);
}

static void a_short_series_has_tenths(void **state)
{
    (void)state;
    kl_soak_series_init(&series);
    assert_int_equal(kl_soak_series_tenth(&series, true).answered, 0);
    const struct kl_soak_answer a = {.end = 1, .texts = 1};
    const struct kl_soak_answer failed = {.outcome = KL_SOAK_CUT};
    kl_soak_point_answer(kl_soak_series_at(&series, 0.5), &a);
    kl_soak_point_answer(kl_soak_series_at(&series, 3.5), &failed);
    assert_int_equal(series.n, 4);
    assert_int_equal(kl_soak_series_tenth(&series, false).answered, 1);
    assert_int_equal(kl_soak_series_tenth(&series, true).failed, 1);
    assert_int_equal(kl_soak_series_tenth(&series, true).answered, 0);
}

/* ---- prompts --------------------------------------------------------------------------------- */

static void built_in_prompts(void **state)
{
    (void)state;
    struct kl_soak_prompts p;
    struct kl_error err;
    size_t n[3] = {0}, turns[3] = {0};
    assert_int_equal(kl_soak_prompts_read(NULL, &p, &err), KL_OK);
    assert_int_equal(p.n_kinds, 3);
    for (size_t i = 0; i < p.n_items; i++) {
        n[p.items[i].kind]++;
        turns[p.items[i].kind] += p.items[i].n_turns;
        assert_int_equal(p.items[i].kind == 2, p.items[i].n_turns > 1);
        for (size_t k = 0; k < i; k++)
            assert_string_not_equal(p.items[i].turns[0], p.items[k].turns[0]);
    }
    for (size_t k = 0; k < 3; k++)
        assert_true(n[k] >= 100);
    assert_true(turns[2] >= 2 * n[2]);
    assert_string_equal(p.names[0], "chinese");
    for (size_t k = 0; k < 3; k++) /* the kinds come in turn */
        assert_int_equal(p.items[k].kind, k);
    kl_soak_prompts_release(&p);
}

static void prompts_of_a_directory(void **state)
{
    (void)state;
    char directory[128];
    struct kl_soak_prompts p;
    struct kl_error err;
    fake_file("prompts/b.txt", "# about\nhow?\\nwhy?\r\n\n+ and then\n+ so\nsecond\n");
    fake_file("prompts/a.txt", "one\n");
    fake_file("prompts/a.md", "no question\n");
    snprintf(directory, sizeof directory, "%s/prompts", fake_root);
    assert_int_equal(kl_soak_prompts_read(directory, &p, &err), KL_OK);
    assert_int_equal(p.n_kinds, 2);
    assert_string_equal(p.names[0], "a");
    assert_string_equal(p.names[1], "b");
    assert_int_equal(p.n_items, 3);
    assert_string_equal(p.items[0].turns[0], "one");
    assert_int_equal(p.items[1].n_turns, 3);
    assert_string_equal(p.items[1].turns[0], "how?\nwhy?");
    assert_string_equal(p.items[1].turns[2], "so");
    assert_string_equal(p.items[2].turns[0], "second");
    assert_int_equal(p.items[2].kind, 1);
    kl_soak_prompts_release(&p);
}

static void malformed_prompts(void **state)
{
    (void)state;
    char directory[128];
    struct kl_soak_prompts p;
    struct kl_error err;
    snprintf(directory, sizeof directory, "%s/bad", fake_root);
    assert_int_equal(kl_soak_prompts_read(directory, &p, &err), KL_ERR_NOT_FOUND);
    kl_soak_prompts_release(&p);
    fake_file("bad/readme", "");
    assert_int_equal(kl_soak_prompts_read(directory, &p, &err), KL_ERR_INVALID);
    assert_non_null(strstr(err.text, "holds no file *.txt"));
    kl_soak_prompts_release(&p);
    fake_file("bad/a.txt", "# nothing\n\n");
    assert_int_equal(kl_soak_prompts_read(directory, &p, &err), KL_ERR_INVALID);
    assert_non_null(strstr(err.text, "prompts a: it contains no question"));
    kl_soak_prompts_release(&p);
    fake_file("bad/a.txt", "\n+ goes on\n");
    assert_int_equal(kl_soak_prompts_read(directory, &p, &err), KL_ERR_INVALID);
    assert_non_null(strstr(err.text, "prompts a, line 2: \"+\" has no conversation above"));
    kl_soak_prompts_release(&p);
    fake_file("bad/a.txt", "0\n+ 1\n+ 2\n+ 3\n+ 4\n+ 5\n+ 6\n+ 7\n+ 8\n+ 9\n+ a\n+ b\n+ c\n+ d\n"
                           "+ e\n+ f\n+ g\n");
    assert_int_equal(kl_soak_prompts_read(directory, &p, &err), KL_ERR_INVALID);
    assert_non_null(strstr(err.text, "line 17: a conversation has at most 16 questions"));
    kl_soak_prompts_release(&p);
}

/* ---- readings of server and computer --------------------------------------------------------- */

static void memory_of_a_process(void **state)
{
    (void)state;
    struct kl_soak_reading r = {0};
    kl_soak_read_process(fake_root, 4711, &r);
    assert_float_equal(r.resident, 0, 0);
    fake_file("proc/4711/status", "Name:\tserver\nVmHWM:\t  500 kB\nVmRSS:\t  400 kB\n"
                                  "RssAnon:\t  100 kB\nRssFile:\t  290 kB\nRssShmem:\t   10 kB\n"
                                  "VmSwap:\t    7 kB\n");
    kl_soak_read_process(fake_root, 4711, &r);
    assert_float_equal(r.peak, 500 * 1024, 0);
    assert_float_equal(r.resident, 400 * 1024, 0);
    assert_float_equal(r.anonymous, 100 * 1024, 0);
    assert_float_equal(r.file, 300 * 1024, 0);
    assert_float_equal(r.swap, 7 * 1024, 0);
    r = (struct kl_soak_reading){0};
    kl_soak_read_process("", getpid(), &r);
    assert_true(r.anonymous > 0 && r.anonymous <= r.resident && r.resident <= r.peak);
}

static struct kl_soak_reading read_machine(struct kl_soak_machine *machine)
{
    struct kl_soak_reading r = {0};
    kl_soak_read_machine(machine, &r);
    return r;
}

static void temperature_frequency_throttling(void **state)
{
    (void)state;
    struct kl_soak_machine machine = {.root = fake_root, .throttle_count = -1};
    struct kl_soak_reading r = read_machine(&machine);
    assert_true(r.celsius == 0 && r.mhz == 0 && !r.knows_throttling);

    fake_file("sys/class/thermal/thermal_zone0/temp", "41000\n");
    fake_file("sys/class/thermal/thermal_zone1/temp", "62500\n");
    fake_file("sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq", "1500000\n");
    fake_file("sys/devices/system/cpu/cpu1/cpufreq/scaling_cur_freq", "2400000\n");
    fake_file("sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count", "5\n");
    fake_file("sys/devices/system/cpu/cpu1/thermal_throttle/core_throttle_count", "0\n");
    r = read_machine(&machine);
    assert_float_equal(r.celsius, 62.5, 1e-9);
    assert_float_equal(r.mhz, 1950, 1e-9);
    assert_true(r.knows_throttling && !r.throttled); /* before the first reading */
    fake_file("sys/devices/system/cpu/cpu1/thermal_throttle/core_throttle_count", "1\n");
    assert_true(read_machine(&machine).throttled);
    assert_false(read_machine(&machine).throttled);

    static const char firmware[] = "sys/devices/platform/soc/soc:firmware/get_throttled";
    fake_file(firmware, "e0000\n"); /* since the start, not now */
    r = read_machine(&machine);
    assert_true(r.knows_throttling && !r.throttled);
    fake_file(firmware, "e0004\n");
    assert_true(read_machine(&machine).throttled);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(times_have_a_unit),
        cmocka_unit_test(mean_variance_and_largest_are_exact),
        cmocka_unit_test(quantiles_are_within_two_percent),
        cmocka_unit_test(sums_count_outcomes),
        cmocka_unit_test(a_series_does_not_grow),
        cmocka_unit_test(a_short_series_has_tenths),
        cmocka_unit_test(built_in_prompts),
        cmocka_unit_test_setup_teardown(prompts_of_a_directory, fake_root_make, fake_root_remove),
        cmocka_unit_test_setup_teardown(malformed_prompts, fake_root_make, fake_root_remove),
        cmocka_unit_test_setup_teardown(memory_of_a_process, fake_root_make, fake_root_remove),
        cmocka_unit_test_setup_teardown(temperature_frequency_throttling, fake_root_make,
                                        fake_root_remove),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
