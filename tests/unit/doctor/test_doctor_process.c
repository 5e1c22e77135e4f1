/* src/doctor/process_watch.c, system_files.c, and the judgements of doctor_process.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>

#include <cmocka.h>

#include "../base/fake_root.h"
#include "base/system_files.h"
#include "doctor/doctor.h"

static struct kl_findings findings;
static struct kl_process_watch watch;

static int forget(void **state)
{
    findings.n = 0;
    /* two seconds on two CPUs; each test adds threads */
    watch = (struct kl_process_watch){
        .pid = 7, .name = "python3", .seconds = 2, .n_looks = 100, .waits_known = true, .cpus = 2};
    return fake_root_make(state);
}

/* NULL: there is no such finding. */
static const struct kl_finding *seek(const char *part)
{
    for (size_t i = 0; i < findings.n; i++)
        if (strstr(findings.items[i].text, part) != NULL)
            return &findings.items[i];
    return NULL;
}

static const struct kl_finding *finding_with(const char *part)
{
    const struct kl_finding *finding = seek(part);
    if (finding == NULL)
        fail_msg("nothing was found about \"%s\"", part);
    return finding;
}

/* Adds a thread that existed all the time. */
static struct kl_watched_thread *add_thread(double user, double kernel, size_t n_runnable)
{
    struct kl_watched_thread *t = &watch.threads[watch.n_threads];
    *t = (struct kl_watched_thread){.id = 100 + (int)watch.n_threads++,
                                    .name = "worker",
                                    .there_at_first = true,
                                    .there_at_last = true,
                                    .user = user,
                                    .kernel = kernel,
                                    .n_seen = watch.n_looks,
                                    .n_runnable = n_runnable,
                                    .n_waiting = watch.n_looks - n_runnable};
    watch.user += user;
    watch.kernel += kernel;
    return t;
}

static void judges_an_idle_process(void **state)
{
    (void)state;
    add_thread(0.001, 0.001, 0)->voluntary = 4;
    for (int i = 0; i < 60; i++)
        add_thread(0, 0, 0)->n_futex = 100; /* a pool that waits for work is not contention */
    kl_judge_process(&findings, &watch, false);
    finding_with("python3 (pid 7) is idle: 61 threads, 0.1 % of a CPU, 2 waits a second");
    assert_int_equal(kl_findings_worst(&findings), KL_GOOD);
}

static void judges_a_process_that_computes(void **state)
{
    (void)state;
    struct kl_watched_thread *a = add_thread(1.9, 0.02, 99), *b = add_thread(1.8, 0.02, 92);
    a->voluntary = b->voluntary = 2500; /* a few times a layer: most of it is work */
    a->n_futex = 1;
    b->n_futex = 8;
    kl_judge_process(&findings, &watch, false);
    finding_with("2 threads, 1.87 of 2 CPUs");
    assert_int_equal(kl_findings_worst(&findings), KL_GOOD);
}

static void judges_oversubscription(void **state)
{
    (void)state;
    for (int i = 0; i < 8; i++) {
        struct kl_watched_thread *t = add_thread(0.49, 0.01, 95);
        t->waited = 1.4;
        t->voluntary = 200;
    }
    kl_judge_process(&findings, &watch, false);
    const struct kl_finding *found = finding_with("oversubscribed: 7.6 threads want to run");
    assert_int_equal(found->severity, KL_WARNING);
    assert_non_null(strstr(found->cost, "waits 74 % of the time"));
    assert_non_null(strstr(found->remedy, "OMP_NUM_THREADS=2"));
    assert_null(seek("other programs"));
    findings.n = 0;
    strcpy(watch.name, "kinglet");
    kl_judge_process(&findings, &watch, false);
    assert_non_null(strstr(finding_with("oversubscribed")->remedy, "--threads 2"));
}

static void judges_other_programs(void **state)
{
    (void)state;
    struct kl_watched_thread *t = add_thread(0.9, 0.1, 100);
    t->waited = 1.0;
    t->voluntary = 100;
    kl_judge_process(&findings, &watch, false);
    const struct kl_finding *found = finding_with("wait 50 % of the time that they want to run");
    assert_int_equal(found->severity, KL_WARNING);
    assert_string_equal(found->cost, "it would be up to 2.0 times as fast alone");
    assert_null(seek("oversubscribed"));
}

static void judges_spinning(void **state)
{
    (void)state;
    add_thread(0.5, 1.4, 100);
    kl_judge_process(&findings, &watch, false);
    const struct kl_finding *found = finding_with("spinning: 1 thread (worker, tid 100) never");
    assert_int_equal(found->severity, KL_WARNING);
    assert_non_null(strstr(found->remedy, "OMP_WAIT_POLICY=passive"));
    findings.n = watch.n_threads = 0;
    add_thread(1.9, 0, 100);
    kl_judge_process(&findings, &watch, false);
    assert_int_equal(finding_with("computing, or spinning")->severity, KL_NOTE);
    assert_null(seek("spinning: "));
    findings.n = 0; /* without requests it cannot be computing */
    kl_judge_process(&findings, &watch, true);
    finding_with("spinning: 1.0 of its threads want to run, although");
    assert_null(seek("computing"));
}

static void judges_yielding(void **state)
{
    (void)state;
    for (int i = 0; i < 6; i++) { /* other programs have the CPUs */
        struct kl_watched_thread *t = add_thread(0, i == 0 ? 0.01 : 0, 100);
        t->ran = 0.008;
        t->involuntary = 400;
        t->waited = 1.9;
    }
    kl_judge_process(&findings, &watch, false);
    const struct kl_finding *found =
        finding_with("spinning: 6 threads (worker, tid 105) never wait: sched_yield offers the CPU "
                     "to others, 200 times a second");
    assert_int_equal(found->severity, KL_WARNING);
    assert_non_null(strstr(found->remedy, "OMP_WAIT_POLICY=passive"));
    findings.n = watch.n_threads = 0;
    struct kl_watched_thread *t = add_thread(0.9, 0, 100); /* preempted, but it computes */
    t->ran = 0.9;
    t->involuntary = 900;
    kl_judge_process(&findings, &watch, false);
    assert_null(seek("spinning: "));
    finding_with("1 thread (worker, tid 100) never waits: computing");
}

static void judges_contention(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct kl_watched_thread *t = add_thread(0.2, 0.8, 60);
        t->voluntary = 80000;
        t->n_futex = 30;
    }
    kl_judge_process(&findings, &watch, false);
    const struct kl_finding *found = finding_with("2 threads wait for each other 80000 times a");
    assert_int_equal(found->severity, KL_WARNING);
    assert_non_null(strstr(found->text, "12 microseconds of work"));
    findings.n = 0;
    watch.waits_known = false;
    kl_judge_process(&findings, &watch, false);
    assert_null(seek("wait for each other"));
    const struct kl_finding *unseen = finding_with("not known what its threads wait for");
    assert_int_equal(unseen->severity, KL_NOTE);
    assert_non_null(strstr(unseen->remedy, "root"));
}

static void judges_a_clone_storm(void **state)
{
    (void)state;
    watch.n_came = 300;
    kl_judge_process(&findings, &watch, false);
    assert_int_equal(finding_with("at least 150 threads a second")->severity, KL_WARNING);
}

static void judges_memory(void **state)
{
    (void)state;
    watch.resident = 950e6;
    watch.limit = 1e9;
    watch.swapped = 100e6;
    watch.major_faults = 400;
    kl_judge_process(&findings, &watch, false);
    assert_int_equal(finding_with("holds 950.0 MB of at most 1.0 GB")->severity, KL_WARNING);
    assert_int_equal(finding_with("100.0 MB of its memory are swapped out")->severity, KL_WARNING);
    assert_int_equal(finding_with("reads 200 pages a second")->severity, KL_WARNING);
}

static void judges_logs(void **state)
{
    (void)state;
    struct kl_log_growth log = {.path = "/var/log/x", .rate = 1000};
    kl_judge_log(&findings, &log);
    assert_int_equal(finding_with("its log /var/log/x grows by 1.0 kB a second")->severity,
                     KL_GOOD);
    findings.n = 0;
    log.rate = 5e3;
    log.sd_card = true;
    kl_judge_log(&findings, &log);
    assert_int_equal(finding_with("a second, on an SD card")->severity, KL_WARNING);
    findings.n = 0;
    log.rate = 0;
    log.debug = true;
    kl_judge_log(&findings, &log);
    assert_non_null(strstr(finding_with("level debug")->remedy, "--log-level warning"));
    findings.n = 0;
    log = (struct kl_log_growth){.path = "/var/log/x", .rate = 1e6};
    kl_judge_log(&findings, &log);
    assert_string_equal(finding_with("1.0 MB a second")->cost, "86.4 GB a day");
}

/* ---- reading --------------------------------------------------------------------------------- */

#define TASK "proc/77/task/"
#define STAT "S 1 1 1 0 -1 0 9 0 5 0 130 20 0 0 20 0 2 0 12345 0 0\n"

static void watches_a_process(void **state)
{
    (void)state;
    struct kl_error err;
    char futex[64];
    snprintf(futex, sizeof futex, "%d 0x7f 0x80 0x0 0x0 0x0 0x0 0x7ffc 0x7f7a\n", SYS_futex);
    fake_file("proc/77/stat", "77 (a (strange) name) " STAT);
    fake_file("proc/77/status", "Name: x\nVmRSS: 2000 kB\nVmSwap: 30 kB\n"
                                "Cpus_allowed: ff\nCpus_allowed_list: 0-3,6\n");
    fake_file("proc/77/cgroup", "0::/box\n");
    fake_file("sys/fs/cgroup/box/cpu.max", "150000 100000\n");
    fake_file("sys/fs/cgroup/box/memory.max", "5000000\n");
    fake_file(TASK "77/stat", "77 (main) " STAT);
    fake_file(TASK "77/syscall", futex);
    fake_file(TASK "78/stat", "78 (loop) R 1 1 1 0 -1 0 9 0 5 0 130 20 0 0 20 0 2 0 12345 0 0\n");
    assert_int_equal(kl_process_watch(fake_root, 77, 0, &watch, &err), KL_OK);
    assert_string_equal(watch.name, "a (strange) name");
    assert_int_equal(watch.n_threads, 2);
    assert_int_equal(watch.n_looks, 2);
    assert_true(watch.waits_known && !watch.ended);
    assert_true(watch.cpus == 1.5 && watch.limit == 5e6 && watch.resident == 2048000);
    const struct kl_watched_thread *waiting = &watch.threads[watch.threads[0].id == 78];
    const struct kl_watched_thread *running = &watch.threads[watch.threads[0].id == 77];
    assert_int_equal(waiting->id, 77);
    assert_int_equal(waiting->n_futex, 2);
    assert_int_equal(waiting->n_runnable, 0);
    assert_int_equal(running->n_runnable, 2);
    assert_true(running->there_at_first && running->there_at_last);
    assert_int_equal(kl_process_watch(fake_root, 79, 0, &watch, &err), KL_ERR_NOT_FOUND);
    assert_non_null(strstr(err.text, "79"));
}

static void reads_system_files(void **state)
{
    (void)state;
    struct kl_system_stat stat;
    double number = 3;
    assert_int_equal(kl_system_count_cpus("0-3,5\n"), 5);
    assert_int_equal(kl_system_count_cpus(" 7"), 1);
    assert_int_equal(kl_system_count_cpus(""), 0);
    assert_false(kl_system_number(fake_root, "proc/none", &number));
    fake_file("proc/words", "max\n");
    assert_false(kl_system_number(fake_root, "proc/words", &number));
    assert_true(number == 3);
    fake_file("proc/fields", "VmRSSx: 1\nVmRSS:\t12 kB\nname 5\n");
    assert_true(kl_system_field(fake_root, "proc/fields", "VmRSS", 0) == 12);
    assert_true(kl_system_field(fake_root, "proc/fields", "name", 0) == 5);
    assert_true(kl_system_field(fake_root, "proc/fields", "other", -1) == -1);
    fake_file("proc/9/stat", "9 (cut) S 1\n");
    assert_false(kl_system_stat(fake_root, "proc/9/stat", &stat));
    fake_file("proc/9/stat", "9 no name S 1\n");
    assert_false(kl_system_stat(fake_root, "proc/9/stat", &stat));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, forget, fake_root_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(judges_an_idle_process),  TEST(judges_a_process_that_computes),
        TEST(judges_oversubscription), TEST(judges_other_programs),
        TEST(judges_spinning),         TEST(judges_yielding),
        TEST(judges_contention),       TEST(judges_a_clone_storm),
        TEST(judges_memory),           TEST(judges_logs),
        TEST(watches_a_process),       TEST(reads_system_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
