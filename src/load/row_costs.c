#include "load/row_costs.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/cache_dir.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "load/threads.h"

/* Kernels compute up to four rows of a tile together, so a fifth costs more than a fourth. */
static const size_t sizes[] = {1, 2, 3, 4, 5, 6, 8, 12, KL_PASS_COSTS};
enum { N_SIZES = sizeof sizes / sizeof sizes[0] };

/* The best of some rounds counts: other programs only make a pass longer. CONTEXT: tokens before
 * the rows, so that attention takes its part. */
enum { ROUNDS = 4, CONTEXT = 64, ROOM = 1024 };

/* The least share of the CPUs of an undisturbed measurement, as in threads.c. */
#define UNDISTURBED 0.9

/* ---- measuring ------------------------------------------------------------------------------- */

struct measurement {
    struct kl_forward *forward;
    struct kl_kv_cache *cache;
    struct kl_sequence *sequence;
    struct kl_row rows[CONTEXT];
    struct kl_want want;
    struct kl_candidates candidates[KL_PASS_COSTS];
    struct kl_logit logits[KL_PASS_COSTS][ROOM];
};

static enum kl_status run(struct measurement *m, size_t n, bool answers, struct kl_error *err)
{
    for (size_t i = 0; i < n; i++) {
        m->rows[i] = (struct kl_row){.sequence = m->sequence, .token = (int32_t)i};
        if (!answers)
            continue;
        m->candidates[i] = (struct kl_candidates){.logits = m->logits[i], .room = ROOM};
        m->rows[i].want = &m->want;
        m->rows[i].candidates = &m->candidates[i];
    }
    return kl_forward_run(m->forward, m->rows, n, NULL, NULL, err);
}

static enum kl_status open_measurement(struct measurement *m, const struct kl_model *model,
                                       struct kl_threads threads, struct kl_error *err)
{
    size_t n_threads = threads.decode > threads.prefill ? threads.decode : threads.prefill;
    m->want = (struct kl_want){
        .n_vocab = kl_model_config(model)->n_vocab, .top_k = 1, .margin = INFINITY};
    enum kl_status status = kl_forward_open(model, CONTEXT, n_threads, &m->forward, err);
    if (status != KL_OK)
        return status;
    kl_forward_set_threads(m->forward, threads);
    status = kl_kv_cache_open(model, CONTEXT + KL_PASS_COSTS, &m->cache, err);
    if (status == KL_OK)
        status = kl_sequence_new(m->cache, &m->sequence, err);
    if (status == KL_OK)
        status = kl_sequence_reserve(m->sequence, CONTEXT, err);
    return status == KL_OK ? run(m, CONTEXT, false, err) : status;
}

static void close_measurement(struct measurement *m)
{
    kl_sequence_free(m->sequence);
    if (m->cache != NULL)
        kl_kv_cache_close(m->cache);
    if (m->forward != NULL)
        kl_forward_close(m->forward);
}

static double cpu_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* *share: of the time of all threads, the part in which they had a CPU. */
static enum kl_status measure(const struct kl_model *model, struct kl_threads threads,
                              double seconds[N_SIZES], double *share, struct kl_error *err)
{
    static struct measurement m; /* too large for a stack; only one thread loads */
    m = (struct measurement){0};
    enum kl_status status = open_measurement(&m, model, threads, err);
    double all = 0.0, cpu = cpu_seconds();
    for (size_t i = 0; i < N_SIZES * ROUNDS && status == KL_OK; i++) {
        size_t size = i % N_SIZES;
        status = kl_sequence_reserve(m.sequence, CONTEXT + sizes[size], err);
        uint64_t start = kl_now_ns();
        if (status == KL_OK)
            status = run(&m, sizes[size], true, err);
        double taken = kl_seconds_since(start);
        all += taken * (double)(sizes[size] == 1 ? threads.decode : threads.prefill);
        seconds[size] = i < N_SIZES || taken < seconds[size] ? taken : seconds[size];
        kl_sequence_truncate(m.sequence, CONTEXT);
    }
    *share = (cpu_seconds() - cpu) / all;
    close_measurement(&m);
    return status;
}

void kl_row_costs_of(const size_t *n_rows, const double *seconds, size_t n,
                     struct kl_pass_costs *costs)
{
    costs->cost[0] = 1.0f;
    for (size_t i = 1; i < n; i++) {
        size_t from = n_rows[i - 1], to = n_rows[i];
        float before = costs->cost[from - 1], cost = (float)(seconds[i] / seconds[0]);
        if (!(cost > before))
            cost = before;
        for (size_t rows = from + 1; rows <= to; rows++)
            costs->cost[rows - 1] =
                before + (cost - before) * (float)(rows - from) / (float)(to - from);
    }
}

/* ---- remembering ----------------------------------------------------------------------------- */

/* Names a file for all that the costs depend on; the version, too, since another one may compute in
 * another way. */
static void name_of(const struct kl_model *model, const struct kl_cpus *cpus,
                    struct kl_threads threads, char name[32])
{
    char text[512];
    const struct kl_config *c = kl_model_config(model);
    int n = snprintf(text, sizeof text, "%s|%s|%zu|%zu|%" PRIu64 "|%s|%s|%zu|%zu", KL_VERSION,
                     c->architecture, c->n_layers, c->n_embd, kl_model_weight_bytes(model),
                     kl_model_kernels(model)->name, cpus->model, threads.decode, threads.prefill);
    snprintf(name, 32, "%016" PRIx64 "-rows", kl_hash64(text, (size_t)n, 0));
}

void kl_row_costs_format(const struct kl_pass_costs *costs, char *out, size_t size)
{
    size_t used = 0;
    for (size_t i = 0; i < KL_PASS_COSTS && used < size; i++)
        used += (size_t)snprintf(out + used, size - used, i > 0 ? " %.3f" : "%.3f",
                                 (double)costs->cost[i]);
}

bool kl_row_costs_parse(const char *text, struct kl_pass_costs *costs)
{
    struct kl_pass_costs c;
    for (size_t i = 0; i < KL_PASS_COSTS; i++) {
        int used = 0;
        if (sscanf(text, "%f%n", &c.cost[i], &used) != 1 || !(c.cost[i] < 1000.0f) ||
            !(c.cost[i] >= (i > 0 ? c.cost[i - 1] : 1.0f)))
            return false;
        text += used;
    }
    *costs = c;
    return true;
}

static bool recall(const char *name, struct kl_pass_costs *costs)
{
    char text[1024];
    size_t len;
    int dir = kl_threads_open_dir(false);
    if (dir < 0)
        return false;
    bool ok = kl_cache_file_get(dir, name, text, sizeof text, &len, NULL) == KL_OK &&
              kl_row_costs_parse(text, costs);
    close(dir);
    return ok;
}

/* Ignores errors: the next start measures again. */
static void keep(const char *name, const char *text)
{
    int dir = kl_threads_open_dir(true);
    if (dir < 0)
        return;
    (void)kl_cache_file_put(dir, name, text, strlen(text), NULL);
    close(dir);
}

/* ---- choosing -------------------------------------------------------------------------------- */

enum kl_status kl_row_costs_choose(const struct kl_model *model, const struct kl_cpus *cpus,
                                   struct kl_threads threads, bool may_measure,
                                   struct kl_pass_costs *costs, struct kl_error *err)
{
    char name[32], text[256];
    const char *why = "usual";
    double seconds[N_SIZES], share;
    *costs = kl_pass_costs_usual;
    name_of(model, cpus, threads, name);
    if (recall(name, costs)) {
        why = "measured before";
    } else if (may_measure) {
        enum kl_status status = measure(model, threads, seconds, &share, err);
        if (status != KL_OK)
            return status;
        if (share >= UNDISTURBED) {
            kl_row_costs_of(sizes, seconds, N_SIZES, costs);
            kl_row_costs_format(costs, text, sizeof text);
            keep(name, text);
            why = "measured";
        } else {
            why = "usual: other programs use the CPUs, so the next start measures again";
        }
    }
    kl_info("drafts: a pass of 2, 4, 8 rows costs %.2f, %.2f, %.2f of one row (%s)",
            (double)costs->cost[1], (double)costs->cost[3], (double)costs->cost[7], why);
    return KL_OK;
}
