/* src/cli/findings.c, doctor_machine.c, and the judgement of doctor_stream.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "../base/fake_root.h"
#include "cli/doctor.h"

static struct kl_findings findings;

static int forget(void **state)
{
    findings.n = 0;
    return fake_root_make(state);
}

/* The finding whose text holds `part`; there must be one. */
static const struct kl_finding *finding_with(const char *part)
{
    for (size_t i = 0; i < findings.n; i++)
        if (strstr(findings.items[i].text, part) != NULL)
            return &findings.items[i];
    fail_msg("nothing was found about \"%s\"", part);
    return NULL;
}

static void heaviest_first(void **state)
{
    (void)state;
    struct kl_buffer out;
    kl_buffer_init(&out, 10000);
    assert_int_equal(kl_findings_worst(&findings), KL_GOOD);
    kl_found(&findings, KL_GOOD, "cpu", "quick");
    assert_int_equal(kl_findings_worst(&findings), KL_GOOD);
    kl_found(&findings, KL_NOTE, "disk", "old");
    struct kl_finding *warning = kl_found(&findings, KL_WARNING, "memory",
                                          "%d words that are so many that they need more "
                                          "than one line of eighty columns",
                                          12);
    kl_found_cost(warning, "%d s", 3);
    kl_found_remedy(warning, "buy \"more\"");
    assert_int_equal(kl_findings_worst(&findings), KL_WARNING);
    assert_int_equal(kl_findings_text(&findings, &out), KL_OK);
    assert_string_equal(
        out.data,
        "warning memory    12 words that are so many that they need more than one line of\n"
        "                  eighty columns\n"
        "          cost:   3 s\n"
        "          do:     buy \"more\"\n"
        "note    disk      old\n"
        "good    cpu       quick\n"
        "\n0 broken, 1 to mend, 1 to know, 1 good\n");
    kl_buffer_clear(&out);
    findings.items[0] = findings.items[2];
    findings.n = 1;
    assert_int_equal(kl_findings_json(&findings, &out), KL_OK);
    assert_string_equal(
        out.data,
        "{\"status\":\"warning\",\"findings\":[{\"weight\":\"warning\",\"area\":\"memory\","
        "\"text\":\"12 words that are so many that they need more than one line of eighty "
        "columns\",\"cost\":\"3 s\",\"remedy\":\"buy \\\"more\\\"\"}]}\n");
    kl_buffer_release(&out);
}

static void the_last_one_gives_way(void **state)
{
    (void)state;
    for (int i = 0; i < KL_MAX_FINDINGS + 5; i++)
        kl_found(&findings, KL_NOTE, "cpu", "number %d", i);
    assert_int_equal(findings.n, KL_MAX_FINDINGS);
    assert_string_equal(findings.items[KL_MAX_FINDINGS - 1].text, "number 104");
}

/* n pieces: the i-th comes at first + step * (i / together). */
static enum kl_delivery judge(size_t n, double first, double step, size_t together)
{
    double at[500];
    for (size_t i = 0; i < n; i++)
        at[i] = first + step * (double)(i / together);
    const struct kl_arrivals arrivals = {.at = at, .n = n, .end = n > 0 ? at[n - 1] + 0.01 : first};
    return kl_judge_delivery(&arrivals).delivery;
}

static void judges_how_text_came(void **state)
{
    (void)state;
    assert_int_equal(judge(96, 0.1, 0.03, 1), KL_DELIVERY_REAL);
    assert_int_equal(judge(96, 1.5, 0.03, 1), KL_DELIVERY_REAL); /* a slow first one is no lump */
    assert_int_equal(judge(96, 0.1, 0.06, 2), KL_DELIVERY_REAL);
    assert_int_equal(judge(96, 0.5, 0.5, 16), KL_DELIVERY_GROUPED);
    assert_int_equal(judge(96, 3.0, 0, 1), KL_DELIVERY_LUMP);
    assert_int_equal(judge(96, 3.0, 0.0002, 1), KL_DELIVERY_LUMP);
    assert_int_equal(judge(0, 3.0, 0, 1), KL_DELIVERY_UNKNOWN);
    assert_int_equal(judge(4, 0.1, 0.3, 1), KL_DELIVERY_UNKNOWN);     /* too little to tell */
    assert_int_equal(judge(96, 0.01, 0.001, 1), KL_DELIVERY_UNKNOWN); /* too quick */

    double at[] = {1, 1, 1.0005, 1.5, 2.5};
    const struct kl_arrivals arrivals = {.at = at, .n = 5, .end = 3};
    struct kl_delivery_judgement j = kl_judge_delivery(&arrivals);
    assert_int_equal(j.n_arrivals, 3);
    assert_true(j.gap_max == 1.0 && j.gap_median == 1.0 && j.gap_p95 < 0.5001);
}

#define FREQUENCY "sys/devices/system/cpu/cpu0/cpufreq/"

static void sees_a_slow_processor(void **state)
{
    (void)state;
    fake_file(FREQUENCY "scaling_governor", "powersave\n");
    fake_file(FREQUENCY "scaling_cur_freq", "800000\n");
    fake_file(FREQUENCY "cpuinfo_max_freq", "3200000\n");
    fake_file("sys/class/thermal/thermal_zone0/temp", "45000\n");
    fake_file("sys/class/thermal/thermal_zone1/temp", "86000\n");
    fake_file("sys/devices/platform/soc/soc:firmware/get_throttled", "50005\n");
    kl_doctor_cpu(&findings, fake_root);
    const struct kl_finding *governor = finding_with("governor powersave, 0.80 of at most 3.20");
    assert_int_equal(governor->weight, KL_WARNING);
    assert_string_equal(governor->cost, "prompts take up to 4.0 times as long");
    assert_non_null(strstr(governor->remedy, "scaling_governor"));
    assert_int_equal(finding_with("86 degrees")->weight, KL_WARNING);
    assert_int_equal(finding_with("under-voltage now")->weight, KL_WARNING);
    assert_int_equal(finding_with("throttled now")->weight, KL_WARNING);
}

static void sees_a_good_processor(void **state)
{
    (void)state;
    fake_file(FREQUENCY "scaling_governor", "schedutil\n");
    fake_file(FREQUENCY "scaling_cur_freq", "800000\n");
    fake_file(FREQUENCY "cpuinfo_max_freq", "3200000\n");
    fake_file("sys/class/thermal/thermal_zone0/temp", "45000\n");
    fake_file("sys/devices/platform/soc/soc:firmware/get_throttled", "0\n");
    kl_doctor_cpu(&findings, fake_root);
    finding_with("governor schedutil");
    finding_with("45 degrees");
    finding_with("never throttled");
    assert_int_equal(kl_findings_worst(&findings), KL_GOOD);
}

static void sees_how_much_memory_there_is(void **state)
{
    (void)state;
    fake_file("proc/meminfo", "MemTotal: 1000000 kB\nMemAvailable: 300000 kB\n"
                              "SwapTotal: 500000 kB\nSwapFree: 100000 kB\n");
    kl_doctor_memory(&findings, fake_root);
    assert_int_equal(finding_with("1.0 GB in all")->weight, KL_WARNING);
    assert_int_equal(finding_with("409.6 MB of swap")->weight, KL_NOTE);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, forget, fake_root_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(heaviest_first),        TEST(the_last_one_gives_way),
        TEST(judges_how_text_came),  TEST(sees_a_slow_processor),
        TEST(sees_a_good_processor), TEST(sees_how_much_memory_there_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
