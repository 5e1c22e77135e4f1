#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/system_files.h"
#include "console/terminal.h"
#include "doctor/doctor.h"

#define AREA          "process"
#define WATCH_SECONDS 1.0

static bool is_kinglet(const struct kl_process_watch *w)
{
    return strcmp(w->name, "kinglet") == 0;
}

static double share(double part, double whole)
{
    return whole > 0 ? part / whole : 0;
}

/* ---- activity -------------------------------------------------------------------------------- */

/* Returns the mean number of threads that run or want to run. */
static double mean_runnable(const struct kl_process_watch *w)
{
    double n = 0;
    for (size_t i = 0; i < w->n_threads; i++)
        n += (double)w->threads[i].n_runnable;
    return share(n, (double)w->n_looks);
}

/* Writes the three busiest threads: "worker (tid 7) 99 %, ...". */
static void name_busiest(const struct kl_process_watch *w, char *out, size_t size)
{
    bool named[KL_WATCH_MAX_THREADS] = {false};
    out[0] = '\0';
    for (int k = 0; k < 3; k++) {
        size_t best = w->n_threads;
        double most = 0.005 * w->seconds;
        for (size_t i = 0; i < w->n_threads; i++) {
            double used = w->threads[i].user + w->threads[i].kernel;
            if (!named[i] && used > most) {
                most = used;
                best = i;
            }
        }
        if (best == w->n_threads)
            return;
        named[best] = true;
        size_t len = strlen(out);
        snprintf(out + len, size - len, "%s%s (tid %d) %.0f %%", k > 0 ? ", " : "",
                 w->threads[best].name, w->threads[best].id, most / w->seconds * 100);
    }
}

static void describe(struct kl_findings *findings, const struct kl_process_watch *w)
{
    char busiest[200];
    double used = (w->user + w->kernel) / w->seconds, voluntary = 0, involuntary = 0;
    size_t n = 0;
    for (size_t i = 0; i < w->n_threads; i++) {
        n += w->threads[i].there_at_last;
        voluntary += w->threads[i].voluntary;
        involuntary += w->threads[i].involuntary;
    }
    name_busiest(w, busiest, sizeof busiest);
    if (used < 0.02 && w->n_came == 0)
        kl_found(findings, KL_GOOD, AREA,
                 "%s (pid %d) is idle: %zu thread%s, %.1f %% of a CPU, %.0f waits a second",
                 w->name, w->pid, n, n == 1 ? "" : "s", used * 100, voluntary / w->seconds);
    else
        kl_found(findings, KL_GOOD, AREA,
                 "%s (pid %d): %zu thread%s, %.2f of %.4g CPUs (%.0f %% of it in the kernel), "
                 "%.0f waits and %.0f preemptions a second%s%s",
                 w->name, w->pid, n, n == 1 ? "" : "s", used, w->cpus,
                 share(w->kernel, w->user + w->kernel) * 100, voluntary / w->seconds,
                 involuntary / w->seconds, busiest[0] != '\0' ? "; " : "", busiest);
}

/* ---- threads that hinder each other ---------------------------------------------------------- */

static void advise_threads(const struct kl_process_watch *w, struct kl_finding *finding)
{
    int n = (int)fmax(1, floor(w->cpus));
    if (is_kinglet(w))
        kl_found_remedy(finding, "omit --threads, or use at most --threads %d", n);
    else
        kl_found_remedy(finding,
                        "%d threads: OMP_NUM_THREADS=%d (OPENBLAS_NUM_THREADS, MKL_NUM_THREADS), "
                        "torch.set_num_threads(%d), llama-server --threads %d",
                        n, n, n, n);
}

static void judge_oversubscription(struct kl_findings *findings, const struct kl_process_watch *w)
{
    double runnable = mean_runnable(w), waited = 0, used = w->user + w->kernel;
    for (size_t i = 0; i < w->n_threads; i++)
        waited += w->threads[i].waited;
    if (runnable > 1.2 * w->cpus + 0.3) {
        struct kl_finding *found = kl_found(
            findings, KL_WARNING, AREA,
            "oversubscribed: %.1f threads want to run at a time on %.4g CPUs", runnable, w->cpus);
        kl_found_cost(found,
                      "a runnable thread waits %.0f %% of the time for a CPU, and so do threads "
                      "that depend on it",
                      share(waited, waited + used) * 100);
        advise_threads(w, found);
    } else if (used > 0.1 * w->seconds && waited > 0.3 * used) {
        struct kl_finding *found =
            kl_found(findings, KL_WARNING, AREA,
                     "its threads wait %.0f %% of the time that they want "
                     "to run: other programs have the CPUs, or its quota is used up",
                     share(waited, waited + used) * 100);
        kl_found_cost(found, "it would be up to %.1f times as fast alone", 1 + waited / used);
        kl_found_remedy(found, "'kinglet doctor' reports the other programs and the quota");
    }
}

static void advise_waiting(const struct kl_process_watch *w, struct kl_finding *finding)
{
    kl_found_remedy(finding, is_kinglet(w) ? "this is a bug in kinglet: please report it"
                                           : "wait passively: OMP_WAIT_POLICY=passive, "
                                             "GOMP_SPINCOUNT=0, llama-server --poll 0");
}

static void report_spinning(struct kl_findings *findings, const struct kl_process_watch *w,
                            size_t n, const struct kl_watched_thread *t, const char *how)
{
    struct kl_finding *found =
        kl_found(findings, KL_WARNING, AREA, "spinning: %zu thread%s (%s, tid %d) never wait%s: %s",
                 n, n > 1 ? "s" : "", t->name, t->id, n > 1 ? "" : "s", how);
    kl_found_cost(found, "one CPU per thread, only for waiting");
    advise_waiting(w, found);
}

#define SHORTEST_TIME 0.02 /* seconds; the kernel counts in hundredths */

/* The kernel leaves a thread that computes on its CPU for longer; sched_yield ends its turn. */
#define SHORTEST_TURN 100e-6 /* seconds */
#define FEWEST_TURNS  50

static bool yields(const struct kl_watched_thread *t)
{
    return t->ran > 0 && t->involuntary >= FEWEST_TURNS && t->ran < SHORTEST_TURN * t->involuntary;
}

/* A thread that never waits computes or spins. From outside these look alike, except for spinning
 * with system calls (sched_yield, a poll that returns at once). */
static void judge_spinning(struct kl_findings *findings, const struct kl_process_watch *w,
                           bool idle)
{
    double runnable = mean_runnable(w);
    if (idle && runnable > 0.3) {
        struct kl_finding *found = kl_found(
            findings, KL_WARNING, AREA,
            "spinning: %.1f of its threads want to run, although it works on no request", runnable);
        kl_found_cost(found, "power, heat, and CPU time of other programs");
        advise_waiting(w, found);
        return;
    }
    size_t n_yields = 0, n_calls = 0, n_busy = 0;
    const struct kl_watched_thread *yielder = NULL, *caller = NULL, *busy = NULL;
    for (size_t i = 0; i < w->n_threads; i++) {
        const struct kl_watched_thread *t = &w->threads[i];
        double time = t->user + t->kernel;
        if (!t->there_at_first || !t->there_at_last ||
            (double)t->n_runnable < 0.9 * (double)t->n_seen || t->voluntary > 2 * w->seconds)
            continue;
        if (yields(t)) { /* however little time other programs leave it */
            n_yields++;
            yielder = t;
        } else if (time < SHORTEST_TIME) {
            continue;
        } else if (t->kernel > 0.3 * time) {
            n_calls++;
            caller = t;
        } else {
            n_busy++;
            busy = t;
        }
    }
    char how[96];
    if (n_yields > 0) {
        snprintf(how, sizeof how, "sched_yield offers the CPU to others, %.0f times a second",
                 yielder->involuntary / w->seconds);
        report_spinning(findings, w, n_yields, yielder, how);
    }
    if (n_calls > 0) {
        snprintf(how, sizeof how, "%.0f %% of the time in system calls that return at once",
                 share(caller->kernel, caller->user + caller->kernel) * 100);
        report_spinning(findings, w, n_calls, caller, how);
    }
    if (n_busy > 0) {
        struct kl_finding *found =
            kl_found(findings, KL_NOTE, AREA,
                     "%zu thread%s (%s, tid %d) never wait%s: computing, or spinning without "
                     "work",
                     n_busy, n_busy > 1 ? "s" : "", busy->name, busy->id, n_busy > 1 ? "" : "s");
        kl_found_remedy(found,
                        "repeat this while it has no requests: its threads should sleep then "
                        "(if not: OMP_WAIT_POLICY=passive, llama-server --poll 0)");
    }
}

/* Threads that wait for each other after less CPU time than this mostly wait and wake: one such
 * pair costs 5 to 10 microseconds, and a cold cache. */
#define SHORT_WORK 100e-6
#define MANY_WAITS 500 /* a second */

static void judge_futexes(struct kl_findings *findings, const struct kl_process_watch *w)
{
    double waits = 0, seen = 0, in_futex = 0, used = 0;
    size_t n = 0;
    for (size_t i = 0; i < w->n_threads; i++) {
        const struct kl_watched_thread *t = &w->threads[i];
        if (t->voluntary < 0.1 * MANY_WAITS * w->seconds || t->n_futex * 2 < t->n_waiting)
            continue; /* it rarely waits, or mostly outside futexes */
        n++;
        waits += t->voluntary;
        used += t->user + t->kernel;
        seen += (double)t->n_seen;
        in_futex += (double)t->n_futex;
    }
    if (n < 2 || waits < MANY_WAITS * w->seconds || used > waits * SHORT_WORK)
        return;
    struct kl_finding *found = kl_found(
        findings, KL_WARNING, AREA,
        "contention: %zu threads wait for each other %.0f times a second (futex, %.0f %% of their "
        "time), with %.0f microseconds of work between two waits",
        n, waits / w->seconds, share(in_futex, seen) * 100, used / waits * 1e6);
    kl_found_cost(found, "most of this is waiting and waking, 5 to 10 microseconds each time");
    advise_threads(w, found);
}

static void judge_clones(struct kl_findings *findings, const struct kl_process_watch *w)
{
    double rate = (double)w->n_came / w->seconds;
    if (rate < 5)
        return;
    struct kl_finding *found = kl_found(findings, KL_WARNING, AREA,
                                        "a clone storm: at least %.0f threads a second begin and "
                                        "end",
                                        rate);
    kl_found_cost(found, "each costs tens of microseconds, a stack, and the cached data of other "
                         "threads");
    kl_found_remedy(found,
                    "keep threads alive: a pool, or one thread per answer instead of one per "
                    "token");
}

/* ---- memory ---------------------------------------------------------------------------------- */

static void judge_memory(struct kl_findings *findings, const struct kl_process_watch *w)
{
    char resident[32], limit[32], swapped[32];
    struct kl_finding *found;
    kl_format_bytes(w->resident, resident, sizeof resident);
    if (w->limit > 0 && w->resident > 0.9 * w->limit) {
        found = kl_found(findings, KL_WARNING, AREA, "holds %s of at most %s (control group)",
                         resident, kl_format_bytes(w->limit, limit, sizeof limit));
        kl_found_cost(found, "the system kills it when it needs more");
        kl_found_remedy(found, is_kinglet(w) ? "serve with --memory below the limit, or raise it"
                                             : "raise the limit, or use a smaller context");
    } else {
        kl_found(findings, KL_GOOD, AREA, "holds %s of memory%s%s%s", resident,
                 w->limit > 0 ? " (at most " : "",
                 w->limit > 0 ? kl_format_bytes(w->limit, limit, sizeof limit) : "",
                 w->limit > 0 ? " by its control group)" : "");
    }
    if (w->swapped > 16e6) {
        found = kl_found(findings, KL_WARNING, AREA, "%s of its memory are swapped out",
                         kl_format_bytes(w->swapped, swapped, sizeof swapped));
        kl_found_cost(found, "swapped memory returns page by page when it is needed");
        kl_found_remedy(found,
                        "end other programs, or use a smaller context (--ctx-size, --memory)");
    }
    if (w->major_faults > 20 * w->seconds) {
        found = kl_found(findings, KL_WARNING, AREA, "reads %.0f pages a second from the disk",
                         w->major_faults / w->seconds);
        kl_found_cost(found, "weights or memory are evicted, and each token waits for the disk");
        kl_found_remedy(found, "it is starting (repeat this later), or it has too little memory");
    }
}

/* ---- its log --------------------------------------------------------------------------------- */

/* The file that its standard error goes to. */
struct log_file {
    char path[PATH_MAX];
    dev_t device;
    double bytes;
};

static bool read_log(int pid, struct log_file *log)
{
    char link[64];
    struct stat st;
    snprintf(link, sizeof link, "/proc/%d/fd/2", pid);
    ssize_t len = readlink(link, log->path, sizeof log->path - 1);
    if (len <= 0 || stat(link, &st) != 0 || !S_ISREG(st.st_mode))
        return false;
    log->path[len] = '\0';
    log->device = st.st_dev;
    log->bytes = (double)st.st_size;
    return true;
}

/* Whether /proc/PID/cmdline or environ has a string (each ends with a NUL). */
static bool has_string(int pid, const char *file, const char *wanted)
{
    char path[64], text[16384];
    snprintf(path, sizeof path, "/proc/%d/%s", pid, file);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t len = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;
    if (fd >= 0)
        close(fd);
    if (len <= 0)
        return false;
    text[len] = '\0';
    for (ssize_t at = 0; at < len; at += (ssize_t)strlen(text + at) + 1)
        if (strcmp(text + at, wanted) == 0)
            return true;
    return false;
}

static bool logs_everything(int pid)
{
    return has_string(pid, "cmdline", "--debug") || has_string(pid, "cmdline", "debug") ||
           has_string(pid, "cmdline", "--log-level=debug") ||
           has_string(pid, "environ", "LOG_LEVEL=debug") ||
           has_string(pid, "environ", "LOG_LEVEL=DEBUG");
}

void kl_judge_log(struct kl_findings *findings, const struct kl_log_growth *log)
{
    char rate[32];
    const char *card = log->sd_card ? ", on an SD card" : "";
    bool much = log->rate > (log->sd_card ? 2e3 : 100e3);
    struct kl_finding *found = kl_found(
        findings, much || (log->debug && log->sd_card) ? KL_WARNING : KL_GOOD, AREA,
        "its log %s grows by %s a second%s%s", log->path,
        kl_format_bytes(log->rate, rate, sizeof rate), card, log->debug ? ", level debug" : "");
    if (found->severity == KL_GOOD)
        return;
    if (log->sd_card)
        kl_found_cost(found,
                      "when many writes are queued, reads and writes wait for seconds; the card "
                      "wears out");
    else
        kl_found_cost(found, "%.1f GB a day", log->rate * 86400 / 1e9);
    kl_found_remedy(found, "use --log-level warning (or LOG_LEVEL=warning), and debug only to find "
                           "a fault; keep logs in memory: Storage=volatile in journald.conf");
}

/* ---- all of it ------------------------------------------------------------------------------- */

void kl_judge_process(struct kl_findings *findings, const struct kl_process_watch *w, bool idle)
{
    describe(findings, w);
    judge_oversubscription(findings, w);
    judge_spinning(findings, w, idle);
    if (w->waits_known)
        judge_futexes(findings, w);
    else
        kl_found_remedy(kl_found(findings, KL_NOTE, AREA,
                                 "it is not known what its threads wait for: the system does not "
                                 "allow reading /proc/%d/task/*/syscall",
                                 w->pid),
                        "run this as root, or as its user with sysctl kernel.yama.ptrace_scope=0");
    judge_clones(findings, w);
    judge_memory(findings, w);
}

void kl_doctor_process(struct kl_findings *findings, int pid, bool idle)
{
    static struct kl_process_watch watch; /* 200 KB */
    struct log_file before, after;
    struct kl_error err;
    char disk[64];
    bool logs = read_log(pid, &before);
    if (kl_process_watch("", pid, WATCH_SECONDS, &watch, &err) != KL_OK) {
        kl_found(findings, KL_BROKEN, AREA, "%s", err.text);
        return;
    }
    if (watch.ended) {
        kl_found(findings, KL_BROKEN, AREA, "%s (pid %d) ended while it was examined", watch.name,
                 pid);
        return;
    }
    kl_judge_process(findings, &watch, idle);
    if (logs && read_log(pid, &after)) {
        const struct kl_log_growth growth = {
            .path = after.path,
            .rate = fmax(0, after.bytes - before.bytes) / watch.seconds,
            .sd_card = kl_system_disk("", after.device, disk, sizeof disk) &&
                       kl_system_is_sd_card("", disk),
            .debug = logs_everything(pid)};
        kl_judge_log(findings, &growth);
    }
}
