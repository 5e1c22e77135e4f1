#include "doctor/process_watch.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>

#include "base/clock.h"
#include "base/cpus.h"
#include "base/memory.h"
#include "base/system_files.h"

#define PAUSE_NS 10000000L /* between two samples: a thread that lives shorter may be missed */

/* Counters that only grow. */
struct counts {
    double user, kernel, ran, waited, voluntary, involuntary;
};

struct watcher {
    const char *root;
    struct kl_process_watch *watch;
    struct counts
        first[KL_WATCH_MAX_THREADS]; /* of threads[i] at the first sample; zero for later ones */
};

static struct kl_watched_thread *find_thread(struct watcher *w, int id)
{
    for (size_t i = 0; i < w->watch->n_threads; i++)
        if (w->watch->threads[i].id == id)
            return &w->watch->threads[i];
    return NULL;
}

/* Counts what a sleeping thread waits in. false: the system does not show it. */
static bool see_wait(struct watcher *w, struct kl_watched_thread *t)
{
    char name[64], line[128], *end;
    snprintf(name, sizeof name, "proc/%d/task/%d/syscall", w->watch->pid, t->id);
    if (!kl_system_line(w->root, name, line, sizeof line))
        return false;
    long number = strtol(line, &end, 10);
    if (end == line || number < 0)
        return true; /* "running" meanwhile, or in no system call */
    t->n_waiting++;
    t->n_futex += number == SYS_futex;
#ifdef SYS_futex_waitv
    t->n_futex += number == SYS_futex_waitv;
#endif
    return true;
}

static struct counts read_counts(const struct watcher *w, int id, const struct kl_system_stat *stat)
{
    char name[64], line[128];
    struct counts c = {.user = stat->user, .kernel = stat->kernel};
    snprintf(name, sizeof name, "proc/%d/task/%d/schedstat", w->watch->pid, id);
    if (kl_system_line(w->root, name, line, sizeof line) &&
        sscanf(line, "%lf %lf", &c.ran, &c.waited) == 2) {
        c.ran *= 1e-9;
        c.waited *= 1e-9;
    }
    snprintf(name, sizeof name, "proc/%d/task/%d/status", w->watch->pid, id);
    c.voluntary = kl_system_field(w->root, name, "voluntary_ctxt_switches", 0);
    c.involuntary = kl_system_field(w->root, name, "nonvoluntary_ctxt_switches", 0);
    return c;
}

static void look_at_thread(struct watcher *w, int id, bool first, bool last)
{
    char name[64];
    struct kl_system_stat stat;
    struct kl_process_watch *watch = w->watch;
    snprintf(name, sizeof name, "proc/%d/task/%d/stat", watch->pid, id);
    if (!kl_system_stat(w->root, name, &stat))
        return; /* it has just ended */
    struct kl_watched_thread *t = find_thread(w, id);
    if (t == NULL) {
        watch->n_came += !first;
        if (watch->n_threads == KL_WATCH_MAX_THREADS)
            return;
        t = &watch->threads[watch->n_threads++];
        *t = (struct kl_watched_thread){.id = id, .there_at_first = first};
        memcpy(t->name, stat.name, sizeof t->name);
        w->first[t - watch->threads] =
            first ? read_counts(w, id, &stat) : (struct counts){.user = 0};
    }
    t->n_seen++;
    t->n_runnable += stat.state == 'R';
    errno = 0;
    if (stat.state != 'R' && !see_wait(w, t) && errno != ENOENT && errno != ESRCH)
        watch->waits_known = false; /* refused; not ended */
    const struct counts *before = &w->first[t - watch->threads];
    t->there_at_last = last;
    t->user = stat.user - before->user;
    t->kernel = stat.kernel - before->kernel;
    if (last) {
        struct counts now = read_counts(w, id, &stat);
        t->ran = now.ran - before->ran;
        t->waited = now.waited - before->waited;
        t->voluntary = now.voluntary - before->voluntary;
        t->involuntary = now.involuntary - before->involuntary;
    }
}

/* Samples all threads. false: the process has ended. */
static bool look(struct watcher *w, bool first, bool last)
{
    char path[PATH_MAX], *end;
    struct dirent *entry;
    snprintf(path, sizeof path, "%s/proc/%d/task", w->root, w->watch->pid);
    DIR *directory = opendir(path);
    if (directory == NULL)
        return false;
    while ((entry = readdir(directory)) != NULL) {
        long id = strtol(entry->d_name, &end, 10);
        if (*end == '\0' && id > 0)
            look_at_thread(w, (int)id, first, last);
    }
    closedir(directory);
    w->watch->n_looks++;
    return true;
}

static void read_limits(struct watcher *w)
{
    char name[64], line[1024], process[16];
    struct kl_process_watch *watch = w->watch;
    snprintf(process, sizeof process, "%d", watch->pid);
    snprintf(name, sizeof name, "proc/%d/status", watch->pid);
    watch->resident = kl_system_field(w->root, name, "VmRSS", 0) * 1024;
    watch->swapped = kl_system_field(w->root, name, "VmSwap", 0) * 1024;
    watch->limit = (double)kl_memory_limit(w->root, process);
    FILE *f = kl_system_open(w->root, name);
    while (f != NULL && fgets(line, sizeof line, f) != NULL)
        if (strncmp(line, "Cpus_allowed_list:", 18) == 0)
            watch->cpus = (double)kl_system_count_cpus(line + 18);
    if (f != NULL)
        fclose(f);
    watch->cpus = fmin(fmax(watch->cpus, 1), kl_cpus_quota(w->root, process));
}

enum kl_status kl_process_watch(const char *root, int pid, double seconds,
                                struct kl_process_watch *watch, struct kl_error *err)
{
    static struct watcher w; /* 80 KB */
    char name[64];
    struct kl_system_stat before, after;
    const struct timespec pause = {.tv_nsec = PAUSE_NS};
    memset(watch, 0, sizeof *watch);
    watch->pid = pid;
    watch->waits_known = true;
    w = (struct watcher){.root = root, .watch = watch};
    snprintf(name, sizeof name, "proc/%d/stat", pid);
    if (!kl_system_stat(root, name, &before))
        return kl_fail(err, KL_ERR_NOT_FOUND, "there is no process %d", pid);
    memcpy(watch->name, before.name, sizeof watch->name);
    uint64_t start = kl_now_ns();
    bool there = look(&w, true, false);
    while (there && kl_seconds_since(start) < seconds) {
        nanosleep(&pause, NULL);
        there = look(&w, false, false);
    }
    there = there && look(&w, false, true) && kl_system_stat(root, name, &after);
    watch->seconds = kl_seconds_since(start);
    watch->ended = !there;
    if (there) {
        watch->user = after.user - before.user;
        watch->kernel = after.kernel - before.kernel;
        watch->major_faults = after.major_faults - before.major_faults;
        read_limits(&w);
    }
    return KL_OK;
}
