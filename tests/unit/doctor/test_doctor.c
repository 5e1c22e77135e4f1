/* src/console/findings.c, doctor_cpu.c, doctor_memory.c, and the judgement of doctor_stream.c
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cmocka.h>

#include "../base/fake_root.h"
#include "doctor/doctor.h"

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

static void the_most_severe_first(void **state)
{
    (void)state;
    struct kl_printer out;
    kl_printer_init(&out, 10000);
    assert_int_equal(kl_findings_worst(&findings), KL_GOOD);
    kl_found(&findings, KL_GOOD, "cpu", "quick");
    assert_int_equal(kl_findings_worst(&findings), KL_GOOD);
    kl_found(&findings, KL_NOTE, "disk", "old");
    struct kl_finding *warning = kl_found(&findings, KL_WARNING, "memory",
                                          "%d words, which are too many to fit on "
                                          "one line of eighty columns",
                                          12);
    kl_found_cost(warning, "%d s", 3);
    kl_found_remedy(warning, "buy \"more\"");
    assert_int_equal(kl_findings_worst(&findings), KL_WARNING);
    kl_findings_text(&findings, &out);
    assert_int_equal(out.status, KL_OK);
    assert_string_equal(
        out.text.data,
        "warning memory    12 words, which are too many to fit on one line of eighty\n"
        "                  columns\n"
        "          cost:   3 s\n"
        "          do:     buy \"more\"\n"
        "note    disk      old\n"
        "good    cpu       quick\n"
        "\n0 broken, 1 to fix, 1 to know, 1 good\n");
    kl_buffer_clear(&out.text);
    findings.items[0] = findings.items[2];
    findings.n = 1;
    kl_findings_json(&findings, &out);
    assert_int_equal(out.status, KL_OK);
    assert_string_equal(
        out.text.data,
        "{\"status\":\"warning\",\"findings\":[{\"weight\":\"warning\",\"area\":\"memory\","
        "\"text\":\"12 words, which are too many to fit on one line of eighty "
        "columns\",\"cost\":\"3 s\",\"remedy\":\"buy \\\"more\\\"\"}]}\n");
    kl_printer_release(&out);
}

static void the_last_finding_is_overwritten(void **state)
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

static void judges_the_arrival_of_text(void **state)
{
    (void)state;
    assert_int_equal(judge(96, 0.1, 0.03, 1), KL_DELIVERY_REAL);
    assert_int_equal(judge(96, 1.5, 0.03, 1), KL_DELIVERY_REAL); /* a slow first piece is no lump */
    assert_int_equal(judge(96, 0.1, 0.06, 2), KL_DELIVERY_REAL);
    assert_int_equal(judge(96, 0.5, 0.5, 16), KL_DELIVERY_GROUPED);
    assert_int_equal(judge(96, 3.0, 0, 1), KL_DELIVERY_LUMP);
    assert_int_equal(judge(96, 3.0, 0.0002, 1), KL_DELIVERY_LUMP);
    assert_int_equal(judge(0, 3.0, 0, 1), KL_DELIVERY_UNKNOWN);
    assert_int_equal(judge(4, 0.1, 0.3, 1), KL_DELIVERY_UNKNOWN);     /* too little to judge */
    assert_int_equal(judge(96, 0.01, 0.001, 1), KL_DELIVERY_UNKNOWN); /* too fast */

    double at[] = {1, 1, 1.0005, 1.5, 2.5};
    const struct kl_arrivals arrivals = {.at = at, .n = 5, .end = 3};
    struct kl_delivery_judgement j = kl_judge_delivery(&arrivals);
    assert_int_equal(j.n_arrivals, 3);
    assert_true(j.gap_max == 1.0); /* the gaps: 0.4995 s and 1 s */
    assert_float_equal(j.gap_median, 0.74975, 1e-6);
    assert_float_equal(j.gap_p95, 0.974975, 1e-6);
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
    assert_int_equal(governor->severity, KL_WARNING);
    assert_string_equal(governor->cost, "prompts take up to 4.0 times as long");
    assert_non_null(strstr(governor->remedy, "scaling_governor"));
    assert_int_equal(finding_with("86 degrees")->severity, KL_WARNING);
    assert_int_equal(finding_with("under-voltage now")->severity, KL_WARNING);
    assert_int_equal(finding_with("throttled now")->severity, KL_WARNING);
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

static void fake_cpu(int cpu, const char *file, const char *text)
{
    char name[100];
    snprintf(name, sizeof name, "sys/devices/system/cpu/cpu%d/%s", cpu, file);
    fake_file(name, text);
}

static void sees_kinds_of_cores(void **state)
{
    (void)state;
    for (int cpu = 0; cpu < 6; cpu++) {
        fake_cpu(cpu, "cpu_capacity", cpu < 4 ? "400\n" : "1024\n");
        fake_cpu(cpu, "cpufreq/cpuinfo_max_freq", cpu < 4 ? "1800000\n" : "2400000\n");
        fake_cpu(cpu, "cpufreq/scaling_max_freq", cpu < 4 ? "1800000\n" : "1200000\n");
        fake_cpu(cpu, "cpufreq/scaling_cur_freq", cpu < 4 ? "600000\n" : "1200000\n");
        fake_cpu(cpu, "cpufreq/scaling_governor", "schedutil\n");
    }
    kl_doctor_cpu(&findings, fake_root);
    finding_with("several kinds of cores: CPUs 0-3 (1.80 GHz), 4-5 (2.40 GHz)");
    assert_int_equal(finding_with("CPUs 0-3: governor schedutil, 0.60 of")->severity, KL_GOOD);
    const struct kl_finding *held = finding_with("CPUs 4-5: held at 1.20 of 2.40 GHz");
    assert_int_equal(held->severity, KL_WARNING);
    assert_string_equal(held->cost, "prompts take up to 2.0 times as long");
    assert_non_null(strstr(held->remedy, "cpu4/cpufreq/scaling_max_freq"));
}

/* With these drivers "powersave" means that the processor chooses. */
static void powersave_may_be_good(void **state)
{
    (void)state;
    fake_file(FREQUENCY "scaling_governor", "powersave\n");
    fake_file(FREQUENCY "scaling_driver", "intel_pstate\n");
    fake_file(FREQUENCY "scaling_cur_freq", "800000\n");
    fake_file(FREQUENCY "cpuinfo_max_freq", "3400000\n");
    kl_doctor_cpu(&findings, fake_root);
    assert_int_equal(finding_with("governor powersave")->severity, KL_GOOD);
}

static void sees_throttling(void **state)
{
    (void)state;
    fake_file("sys/class/hwmon/hwmon2/name", "rpi_volt\n");
    fake_file("sys/class/hwmon/hwmon2/in0_lcrit_alarm", "1\n");
    fake_file("sys/class/thermal/cooling_device0/type", "pwm-fan\n");
    fake_file("sys/class/thermal/cooling_device0/cur_state", "4\n");
    fake_file("sys/class/thermal/cooling_device1/type", "cpufreq-cpu0\n");
    fake_file("sys/class/thermal/cooling_device1/cur_state", "2\n");
    fake_cpu(0, "thermal_throttle/core_throttle_count", "0\n");
    fake_cpu(1, "thermal_throttle/core_throttle_count", "17\n");
    fake_file("sys/class/thermal/thermal_zone0/temp", "68000\n");
    fake_file("sys/class/thermal/thermal_zone0/trip_point_0_type", "critical\n");
    fake_file("sys/class/thermal/thermal_zone0/trip_point_0_temp", "95000\n");
    fake_file("sys/class/thermal/thermal_zone0/trip_point_1_type", "passive\n");
    fake_file("sys/class/thermal/thermal_zone0/trip_point_1_temp", "70000\n");
    kl_doctor_cpu(&findings, fake_root);
    assert_int_equal(finding_with("under-voltage now")->severity, KL_WARNING);
    assert_int_equal(finding_with("(cpufreq-cpu0, step 2)")->severity, KL_WARNING);
    assert_int_equal(finding_with("slowed down 17 times")->severity, KL_NOTE);
    assert_int_equal(finding_with("68 degrees Celsius; it slows down from 70 on")->severity,
                     KL_WARNING);
}

static void sees_a_restricted_affinity(void **state)
{
    (void)state;
    fake_file("sys/devices/system/cpu/online", "0-4095\n");
    kl_doctor_cpu(&findings, fake_root);
    assert_non_null(strstr(finding_with("of the 4096 CPUs")->remedy, "taskset"));
}

static void sees_that_a_quota_stops_threads(void **state)
{
    (void)state;
    fake_file("proc/self/cgroup", "0::/box\n");
    fake_file("sys/fs/cgroup/box/cpu.stat",
              "usage_usec 900\nnr_periods 200\nnr_throttled 50\nthrottled_usec 7\n");
    kl_doctor_cpu(&findings, fake_root);
    const struct kl_finding *stops = finding_with("stopped this control group in 25 %");
    assert_int_equal(stops->severity, KL_WARNING);
    assert_non_null(strstr(stops->remedy, "--threads"));
}

static void sees_the_available_memory(void **state)
{
    (void)state;
    fake_file("proc/meminfo", "MemTotal: 1000000 kB\nMemAvailable: 300000 kB\n"
                              "SwapTotal: 500000 kB\nSwapFree: 100000 kB\n");
    fake_file("proc/swaps", "Filename Type Size Used Priority\n"
                            "/dev/zram0 partition 100 50 100\n/dev/mmcblk0p3 partition 9 1 -2\n");
    fake_file("sys/block/zram0/mm_stat", "400000000 100000000 120000000 0 1 2 3 4 5\n");
    fake_file("sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n");
    kl_doctor_memory(&findings, fake_root);
    assert_int_equal(finding_with("1.0 GB in all")->severity, KL_NOTE);
    const struct kl_finding *swap = finding_with("409.6 MB of swap are in use (zram0, mmcblk0p3)");
    assert_int_equal(swap->severity, KL_NOTE);
    assert_non_null(strstr(swap->remedy, "zram-tools"));
    finding_with("zram keeps 400.0 MB in 120.0 MB of memory");
    finding_with("transparent huge pages: madvise");
}

static void swap_in_memory_has_no_remedy(void **state)
{
    (void)state;
    fake_file("proc/meminfo", "MemTotal: 8000000 kB\nMemAvailable: 4000000 kB\n"
                              "SwapTotal: 500000 kB\nSwapFree: 100000 kB\n");
    fake_file("proc/swaps", "Filename Type\n/dev/zram0 partition 100 50 100\n");
    kl_doctor_memory(&findings, fake_root);
    assert_string_equal(finding_with("of swap are in use (zram0)")->remedy, "");
}

static void sees_programs_that_a_limit_has_ended(void **state)
{
    (void)state;
    fake_file("proc/self/cgroup", "0::/box\n");
    fake_file("sys/fs/cgroup/box/memory.events", "low 0\nhigh 0\nmax 9\noom 1\noom_kill 1\n");
    kl_doctor_memory(&findings, fake_root);
    const struct kl_finding *ended = finding_with("has ended programs in it");
    assert_int_equal(ended->severity, KL_WARNING);
    assert_non_null(strstr(ended->remedy, "--memory"));
}

/* Makes the disk that holds the fake root look like this one. */
static void fake_disk(const char *disk, const char *partition)
{
    char link[PATH_MAX], target[200];
    struct stat st;
    assert_int_equal(stat(fake_root, &st), 0);
    fake_file("sys/dev/block/none", "");
    snprintf(link, sizeof link, "%s/sys/dev/block/%u:%u", fake_root, major(st.st_dev),
             minor(st.st_dev));
    snprintf(target, sizeof target, "../../devices/platform/soc/block/%s/%s", disk, partition);
    assert_int_equal(symlink(target, link), 0);
}

static void sees_an_sd_card(void **state)
{
    (void)state;
    fake_disk("mmcblk0", "mmcblk0p2");
    fake_file("sys/block/mmcblk0/device/type", "SD\n");
    fake_file("sys/block/mmcblk0/stat", "1 0 8 2 3 0 1600 5 0 6 7\n");
    kl_doctor_storage(&findings, fake_root, fake_root);
    assert_int_equal(finding_with("lie on mmcblk0, an SD card")->severity, KL_NOTE);
    assert_int_equal(kl_findings_worst(&findings), KL_NOTE); /* no program writes to it */
}

static void emmc_is_no_sd_card(void **state)
{
    (void)state;
    fake_disk("mmcblk1", "mmcblk1p1");
    fake_file("sys/block/mmcblk1/device/type", "MMC\n");
    kl_doctor_storage(&findings, fake_root, fake_root);
    assert_int_equal(finding_with("lie on mmcblk1")->severity, KL_GOOD);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, forget, fake_root_remove)

/* Qwen2.5-0.5B in Q4_K_M, on the computer of SPEED.md: 29 GB/s, 350 GMAC/s; 74 to 94 and 418 to 516
 * tokens/s were measured there. */
static void expects_the_measured_speed(void **state)
{
    (void)state;
    const struct kl_model_work work = {
        .bytes_per_token = 342000000, .macs_per_token = 358000000, .prompt_macs = 344000000};
    const struct kl_bench_point point = {.threads = 2, .read_gb = 29, .int8_gmac = 350};
    struct kl_expected_speed e = kl_expect_speed(&work, &point);
    assert_true(e.decode_low < 74 && e.decode_low > 30);
    assert_true(e.decode_high > 84 && e.decode_high < 130);
    assert_true(e.prefill_low < 418 && e.prefill_low > 150);
    assert_true(e.prefill_high > 516 && e.prefill_high < 900);
}

/* Where multiplying is slow, so is decoding, however fast memory is. */
static void slow_arithmetic_limits_decoding(void **state)
{
    (void)state;
    const struct kl_model_work work = {.bytes_per_token = 100000000, .macs_per_token = 100000000};
    const struct kl_bench_point slow = {.threads = 1, .read_gb = 20, .int8_gmac = 1};
    const struct kl_bench_point fast = {.threads = 1, .read_gb = 20, .int8_gmac = 100};
    assert_true(kl_expect_speed(&work, &slow).decode_high < 10);
    assert_true(kl_expect_speed(&work, &fast).decode_high > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_most_severe_first),
        TEST(the_last_finding_is_overwritten),
        TEST(judges_the_arrival_of_text),
        TEST(sees_a_slow_processor),
        TEST(sees_a_good_processor),
        TEST(sees_kinds_of_cores),
        TEST(powersave_may_be_good),
        TEST(sees_throttling),
        TEST(sees_a_restricted_affinity),
        TEST(sees_that_a_quota_stops_threads),
        TEST(sees_the_available_memory),
        TEST(swap_in_memory_has_no_remedy),
        TEST(sees_programs_that_a_limit_has_ended),
        TEST(sees_an_sd_card),
        TEST(emmc_is_no_sd_card),
        TEST(expects_the_measured_speed),
        TEST(slow_arithmetic_limits_decoding),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
