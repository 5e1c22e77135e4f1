#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "doctor/doctor.h"

#define AREA "numbers"

#define N_GOLDEN     16
#define N_PROMPT_CAP 64
static const char golden_prompt[] = "A kinglet is a small bird. 小鸟在";

/* The greedy continuations by the models of the catalogue; the same on every computer, since all
 * kernels compute the same bits. */
static const struct golden {
    const char *model;
    int32_t tokens[N_GOLDEN];
} golden[] = {
    {"qwen2.5-coder-0.5b-instruct",
     {101916, 15946, 102582, 3837, 99652, 85106, 46944, 111668, 36407, 104069, 99652, 1773, 30709,
      100462, 9370, 111668}},
    {"smollm2-135m-instruct",
     {178, 139, 232, 23022, 138, 179, 130, 229, 198, 198, 504, 2798, 4097, 1694, 314, 42}},
};

struct passes {
    const struct kl_loaded *loaded;
    struct kl_forward *forward;
    struct kl_kv_cache *cache;
    struct kl_sequence *sequence;
    size_t n_vocab;
};

static enum kl_status open_passes(struct passes *p, const struct kl_loaded *l, struct kl_error *err)
{
    *p = (struct passes){.loaded = l, .n_vocab = kl_model_config(l->model)->n_vocab};
    size_t room = N_PROMPT_CAP + N_GOLDEN;
    enum kl_status status = kl_forward_open(l->model, N_PROMPT_CAP, l->n_threads, &p->forward, err);
    if (status == KL_OK)
        status = kl_kv_cache_open(l->model, room, &p->cache, err);
    if (status == KL_OK)
        status = kl_sequence_new(p->cache, &p->sequence, err);
    if (status == KL_OK)
        status = kl_sequence_reserve(p->sequence, room, err);
    return status;
}

static void close_passes(struct passes *p)
{
    kl_sequence_free(p->sequence);
    if (p->cache != NULL)
        kl_kv_cache_close(p->cache);
    if (p->forward != NULL)
        kl_forward_close(p->forward);
}

/* Computes n tokens (n <= N_PROMPT_CAP). logits: [n_vocab], after the last one. */
static enum kl_status pass(struct passes *p, const int32_t *tokens, size_t n, float *logits,
                           struct kl_error *err)
{
    struct kl_row rows[N_PROMPT_CAP];
    for (size_t i = 0; i < n; i++)
        rows[i] = (struct kl_row){.sequence = p->sequence, .token = tokens[i]};
    rows[n - 1].logits = logits;
    return kl_forward_run(p->forward, rows, n, NULL, NULL, err);
}

static int32_t most_likely(const float *logits, size_t n)
{
    size_t best = 0;
    for (size_t i = 1; i < n; i++)
        best = logits[i] > logits[best] ? i : best;
    return (int32_t)best;
}

/* Greedy tokens, and a hash of all logits that were computed for them. */
struct answer {
    int32_t tokens[N_GOLDEN];
    uint64_t bits;
};

static enum kl_status answer_prompt(const struct kl_loaded *l, size_t n_answer, struct answer *out,
                                    struct kl_error *err)
{
    struct passes p;
    struct kl_tokens prompt = {0};
    const struct kl_span span = {.text = golden_prompt, .len = strlen(golden_prompt)};
    *out = (struct answer){0};
    enum kl_status status = open_passes(&p, l, err);
    float *logits = malloc(p.n_vocab * sizeof logits[0]);
    if (status == KL_OK && logits == NULL)
        status = kl_fail_memory(err, "logits", p.n_vocab * sizeof logits[0]);
    if (status == KL_OK)
        status = kl_tokenizer_encode(l->tokenizer, &span, 1, &prompt, err);
    if (status == KL_OK && (prompt.len == 0 || prompt.len > N_PROMPT_CAP))
        status = kl_fail(err, KL_ERR_FORMAT, "the tokenizer makes %zu tokens of \"%s\"", prompt.len,
                         golden_prompt);
    const int32_t *next = prompt.ids;
    size_t n = prompt.len;
    for (size_t i = 0; i < n_answer && status == KL_OK; i++) {
        status = pass(&p, next, n, logits, err);
        if (status != KL_OK)
            break;
        out->bits = kl_hash64(logits, p.n_vocab * sizeof logits[0], out->bits);
        out->tokens[i] = most_likely(logits, p.n_vocab);
        next = &out->tokens[i];
        n = 1;
    }
    kl_tokens_release(&prompt);
    free(logits);
    close_passes(&p);
    return status;
}

/* Writes "1 2 3". out: [12 * N_GOLDEN]. */
static const char *join_ids(const int32_t ids[N_GOLDEN], char *out)
{
    size_t used = 0;
    for (int i = 0; i < N_GOLDEN; i++)
        used += (size_t)sprintf(out + used, "%s%" PRId32, i > 0 ? " " : "", ids[i]);
    return out;
}

/* Returns NULL when no continuation is stored. */
static const struct golden *find_golden(const struct kl_model_entry *entry)
{
    for (size_t i = 0; entry != NULL && i < sizeof golden / sizeof golden[0]; i++)
        if (strcmp(golden[i].model, entry->name) == 0)
            return &golden[i];
    return NULL;
}

static enum kl_status compare_golden(struct kl_findings *findings, const struct kl_loaded *l,
                                     const struct golden *wanted, struct kl_error *err)
{
    struct answer found;
    char got[12 * N_GOLDEN], expected[12 * N_GOLDEN];
    enum kl_status status = answer_prompt(l, N_GOLDEN, &found, err);
    if (status != KL_OK)
        return status;
    if (memcmp(wanted->tokens, found.tokens, sizeof found.tokens) == 0) {
        kl_found(findings, KL_GOOD, AREA,
                 "the model continues as in the reference (%d greedy tokens)", N_GOLDEN);
        return KL_OK;
    }
    struct kl_finding *bad =
        kl_found(findings, KL_BROKEN, AREA, "the model continues with %s instead of %s",
                 join_ids(found.tokens, got), join_ids(wanted->tokens, expected));
    kl_found_cost(bad, "answers may be nonsense");
    kl_found_remedy(bad, "delete the directory packed/ in the cache; if that does not help, test "
                         "the memory (memtest86+)");
    return KL_OK;
}

/* The tokens that are computed with the scalar tier, which is slow, to compare all kernels that
 * this model uses. More of them where nothing else is compared. */
#define N_COMPARED      2
#define N_COMPARED_ONLY 8

static enum kl_status compare_kernels(struct kl_findings *findings, const struct kl_loaded *l,
                                      const struct kl_load_options *options, bool only,
                                      struct kl_error *err)
{
    struct kl_loaded plain;
    struct kl_load_options scalar = *options;
    struct answer ours, theirs;
    const size_t n = only ? N_COMPARED_ONLY : N_COMPARED;
    const char *name = kl_model_kernels(l->model)->name;
    scalar.cpu = "scalar";
    scalar.measure_threads = false;
    scalar.threads = l->n_threads;
    enum kl_status status = answer_prompt(l, n, &ours, err);
    if (status != KL_OK)
        return status;
    status = kl_load(&plain, &scalar, KL_LOAD_MODEL, err);
    if (status != KL_OK)
        return status;
    status = answer_prompt(&plain, n, &theirs, err);
    kl_unload(&plain);
    if (status != KL_OK)
        return status;
    if (ours.bits == theirs.bits) {
        kl_found(findings, KL_GOOD, AREA,
                 "the %s kernels give the bits of the scalar ones (all logits of %zu tokens)", name,
                 n);
        return KL_OK;
    }
    struct kl_finding *bad = kl_found(findings, KL_BROKEN, AREA,
                                      "the %s kernels do not give the bits of the scalar ones "
                                      "(all logits of %zu tokens)",
                                      name, n);
    kl_found_cost(bad, "answers may be nonsense");
    kl_found_remedy(bad, "serve with --cpu scalar until the cause is known: the processor, its "
                         "memory, or a bug in kinglet");
    return KL_OK;
}

enum kl_status kl_doctor_numbers(struct kl_findings *findings, const struct kl_loaded *loaded,
                                 const struct kl_model_entry *entry,
                                 const struct kl_load_options *options, struct kl_error *err)
{
    const struct golden *wanted = find_golden(entry);
    if (wanted == NULL)
        kl_found(findings, KL_NOTE, AREA,
                 "no answer of %s is stored for comparison: its kernels are compared with the "
                 "scalar ones only",
                 entry != NULL ? entry->name : "this file");
    enum kl_status status = wanted != NULL ? compare_golden(findings, loaded, wanted, err) : KL_OK;
    return status == KL_OK ? compare_kernels(findings, loaded, options, wanted == NULL, err)
                           : status;
}
