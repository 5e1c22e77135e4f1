#include "load/threads.h"

#include <assert.h>
#include <inttypes.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/cache_dir.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/paths.h"

/* The factor by which fewer threads must be faster. Measurements of tenths of a second, on a
 * computer that does other things as well, differ by some percent from run to run (next to a build,
 * 1 thread decoded 5 % faster than 2), and one thread too many costs less than one too few. */
#define CLEARLY 1.10

/* The least share of the CPUs of an undisturbed measurement. Threads that wait for memory or for
 * each other spin, so they lose a CPU only to other programs. */
#define UNDISTURBED 0.9

/* Each number of threads has ROUNDS turns, of which the best counts, so that a short burst of work
 * by another program does not decide. A turn lasts TURN_SECONDS, or one batch of prefill and
 * MIN_TOKENS of decoding. */
#define ROUNDS       3
#define TURN_SECONDS 0.1
#define PREFILL_ROWS ((size_t)32)
#define MIN_TOKENS   ((size_t)3)
#define MAX_TOKENS   ((size_t)64) /* room in the KV cache after the prefill */

size_t kl_threads_candidates(const struct kl_cpus *cpus, size_t out[KL_THREADS_MAX_CANDIDATES])
{
    static_assert(KL_POOL_MAX_THREADS <= 64, "1, 2, 4, ... 32, the cores and all are enough");
    size_t n = 0;
    for (size_t power = 1, i = 1; i <= cpus->threads; i++) {
        if (i != power && i != cpus->cores && i != cpus->threads)
            continue;
        out[n++] = i;
        if (i == power)
            power *= 2;
    }
    return n;
}

struct kl_threads kl_threads_best(const struct kl_threads_speed *speeds, size_t n)
{
    const struct kl_threads_speed *decode = &speeds[n - 1], *prefill = decode;
    for (size_t i = n - 1; i-- > 0;) {
        if (speeds[i].decode > decode->decode * CLEARLY)
            decode = &speeds[i];
        if (speeds[i].prefill > prefill->prefill * CLEARLY)
            prefill = &speeds[i];
    }
    return (struct kl_threads){decode->threads, prefill->threads};
}

bool kl_threads_were_disturbed(const struct kl_threads_speed *speeds, size_t n,
                               struct kl_threads best)
{
    const struct kl_threads_speed *all = &speeds[n - 1];
    bool fewer = best.decode < all->threads || best.prefill < all->threads;
    return fewer && all->share < UNDISTURBED;
}

/* ---- measuring ------------------------------------------------------------------------------- */

struct measurement {
    struct kl_forward *forward;
    struct kl_kv_cache *cache;
    struct kl_sequence *sequence;
    struct kl_row rows[PREFILL_ROWS];
    float *logits;
};

static enum kl_status open_measurement(struct measurement *m, const struct kl_model *model,
                                       size_t n_threads, struct kl_error *err)
{
    size_t n_vocab = kl_model_config(model)->n_vocab, tokens = PREFILL_ROWS + MAX_TOKENS;
    *m = (struct measurement){.logits = malloc(n_vocab * sizeof *m->logits)};
    if (m->logits == NULL)
        return kl_fail_memory(err, "measuring the threads", n_vocab * sizeof *m->logits);
    enum kl_status status = kl_forward_open(model, PREFILL_ROWS, n_threads, &m->forward, err);
    if (status == KL_OK)
        status = kl_kv_cache_open(model, tokens, &m->cache, err);
    if (status == KL_OK)
        status = kl_sequence_new(m->cache, &m->sequence, err);
    return status == KL_OK ? kl_sequence_reserve(m->sequence, tokens, err) : status;
}

static void close_measurement(struct measurement *m)
{
    kl_sequence_free(m->sequence);
    if (m->cache != NULL)
        kl_kv_cache_close(m->cache);
    if (m->forward != NULL)
        kl_forward_close(m->forward);
    free(m->logits);
}

/* Computes the next n tokens of the sequence; any token costs the same. */
static enum kl_status run(struct measurement *m, size_t n, float *logits, struct kl_error *err)
{
    for (size_t i = 0; i < n; i++)
        m->rows[i] = (struct kl_row){.sequence = m->sequence, .token = (int32_t)i};
    m->rows[n - 1].logits = logits;
    return kl_forward_run(m->forward, m->rows, n, NULL, NULL, err);
}

static double cpu_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Takes one turn with one number of threads; *s keeps the best speeds. */
static enum kl_status take_turn(struct measurement *m, struct kl_threads_speed *s,
                                struct kl_error *err)
{
    kl_forward_set_threads(m->forward, (struct kl_threads){s->threads, s->threads});
    size_t tokens = 0;
    enum kl_status status = KL_OK;
    uint64_t begin = kl_now_ns(), start = begin;
    double cpu = cpu_seconds();
    do {
        kl_sequence_truncate(m->sequence, 0);
        status = kl_sequence_reserve(m->sequence, PREFILL_ROWS + MAX_TOKENS, err);
        if (status == KL_OK)
            status = run(m, PREFILL_ROWS, NULL, err);
        tokens += PREFILL_ROWS;
    } while (status == KL_OK && kl_seconds_since(start) < TURN_SECONDS);
    double speed = (double)tokens / kl_seconds_since(start);
    s->prefill = speed > s->prefill ? speed : s->prefill;

    start = kl_now_ns();
    for (tokens = 0; status == KL_OK && tokens < MAX_TOKENS &&
                     (tokens < MIN_TOKENS || kl_seconds_since(start) < TURN_SECONDS);
         tokens++)
        status = run(m, 1, m->logits, err);
    speed = (double)tokens / kl_seconds_since(start);
    s->decode = speed > s->decode ? speed : s->decode;
    double share = (cpu_seconds() - cpu) / (kl_seconds_since(begin) * (double)s->threads);
    s->share = share > s->share ? share : s->share;
    return status;
}

static enum kl_status measure(const struct kl_model *model, const struct kl_threads_options *o,
                              struct kl_threads_speed *speeds, size_t n, struct kl_error *err)
{
    struct measurement m;
    enum kl_status status = open_measurement(&m, model, speeds[n - 1].threads, err);
    for (size_t i = 0; i < ROUNDS * n && status == KL_OK; i++) {
        if (o->notify != NULL)
            o->notify(o->context, i, ROUNDS * n);
        status = take_turn(&m, &speeds[i % n], err);
    }
    close_measurement(&m);
    return status;
}

/* Formats "1: 40.1, 2: 53.2". */
static void format_speeds(const struct kl_threads_speed *speeds, size_t n, bool decode, char *out,
                          size_t size)
{
    size_t used = 0;
    out[0] = '\0';
    for (size_t i = 0; i < n && used < size; i++)
        used += (size_t)snprintf(out + used, size - used, "%s%zu: %.1f", i > 0 ? ", " : "",
                                 speeds[i].threads, decode ? speeds[i].decode : speeds[i].prefill);
}

/* ---- remembering ----------------------------------------------------------------------------- */

/* Hashes all that the speed depends on; the version, too, since another one may compute in another
 * way. */
static uint64_t key_of(const struct kl_model *model, const struct kl_cpus *cpus)
{
    char text[512];
    const struct kl_config *c = kl_model_config(model);
    int n = snprintf(text, sizeof text, "%s|%s|%zu|%zu|%" PRIu64 "|%s|%s|%zu|%zu|%zu|%zu",
                     KL_VERSION, c->architecture, c->n_layers, c->n_embd,
                     kl_model_weight_bytes(model), kl_model_kernels(model)->name, cpus->model,
                     cpus->allowed, cpus->fast, cpus->cores, cpus->threads);
    return kl_hash64(text, (size_t)n, 0);
}

/* Writes the name of the file in the directory "threads". */
static void remembered_name(const struct kl_model *model, const struct kl_cpus *cpus, char name[32])
{
    snprintf(name, 32, "%016" PRIx64, key_of(model, cpus));
}

int kl_threads_open_dir(bool make)
{
    char path[PATH_MAX];
    int dir = -1;
    if (kl_cache_path("threads", path, sizeof path, NULL) == KL_OK &&
        (!make || kl_cache_prepare("threads", path, sizeof path, NULL) == KL_OK))
        (void)kl_cache_dir_open(path, make, &dir, NULL);
    return dir;
}

static bool recall(const char *name, const struct kl_cpus *cpus, struct kl_threads *threads)
{
    struct kl_threads t;
    char text[1024];
    size_t len;
    int dir = kl_threads_open_dir(false);
    if (dir < 0)
        return false;
    bool ok = kl_cache_file_get(dir, name, text, sizeof text, &len, NULL) == KL_OK &&
              sscanf(text, "decode %zu prefill %zu", &t.decode, &t.prefill) == 2 && t.decode > 0 &&
              t.prefill > 0 && t.decode <= cpus->threads && t.prefill <= cpus->threads;
    close(dir);
    if (ok)
        *threads = t;
    return ok;
}

/* Ignores errors: the next start measures again. */
static void keep(const char *name, struct kl_threads threads, const char *why)
{
    char text[1024];
    int dir = kl_threads_open_dir(true);
    if (dir < 0)
        return;
    int n = snprintf(text, sizeof text, "decode %zu\nprefill %zu\n%s\n", threads.decode,
                     threads.prefill, why);
    (void)kl_cache_file_put(dir, name, text, (size_t)n, NULL);
    close(dir);
}

/* ---- choosing -------------------------------------------------------------------------------- */

static enum kl_status measure_and_keep(const struct kl_model *model, const struct kl_cpus *cpus,
                                       const struct kl_threads_options *o, const char *name,
                                       struct kl_threads *threads, char *why, size_t size,
                                       struct kl_error *err)
{
    uint64_t start = kl_now_ns();
    size_t candidates[KL_THREADS_MAX_CANDIDATES];
    struct kl_threads_speed speeds[KL_THREADS_MAX_CANDIDATES] = {{0}};
    size_t n = kl_threads_candidates(cpus, candidates);
    for (size_t i = 0; i < n; i++)
        speeds[i].threads = candidates[i];
    enum kl_status status = measure(model, o, speeds, n, err);
    if (status != KL_OK)
        return status;
    *threads = kl_threads_best(speeds, n);
    char decode[256], prefill[256];
    format_speeds(speeds, n, true, decode, sizeof decode);
    format_speeds(speeds, n, false, prefill, sizeof prefill);
    snprintf(why, size, "measured in %.1f s, tokens/s by threads: decoding %s; prompts %s",
             kl_seconds_since(start), decode, prefill);
    if (kl_threads_were_disturbed(speeds, n, *threads)) {
        *threads = (struct kl_threads){cpus->threads, cpus->threads};
        snprintf(why, size,
                 "all of them: other programs use the CPUs, so the next start measures again");
        return KL_OK;
    }
    keep(name, *threads, why);
    return KL_OK;
}

enum kl_status kl_threads_choose(const struct kl_model *model, const struct kl_cpus *cpus,
                                 const struct kl_threads_options *o, struct kl_threads *threads,
                                 struct kl_error *err)
{
    char name[32], why[640] = "all of them", available[128];
    enum kl_status status = KL_OK;
    *threads = (struct kl_threads){cpus->threads, cpus->threads};
    if (o->decode > 0) {
        *threads = (struct kl_threads){o->decode, o->decode};
        snprintf(why, sizeof why, "from --threads");
    } else if (cpus->threads > 1) {
        remembered_name(model, cpus, name);
        if (recall(name, cpus, threads))
            snprintf(why, sizeof why, "as measured before, see threads/%s in the cache directory",
                     name);
        else if (o->measure)
            status = measure_and_keep(model, cpus, o, name, threads, why, sizeof why, err);
    }
    if (o->prefill > 0)
        threads->prefill = o->prefill;
    if (status == KL_OK)
        kl_info("threads: %zu for decoding, %zu for prompts (%s; %s)", threads->decode,
                threads->prefill, kl_cpus_text(cpus, available, sizeof available), why);
    return status;
}
