#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hash.h"
#include "cli/doctor.h"
#include "cli/terminal.h"

/* ---- the file -------------------------------------------------------------------------------- */

static void check_digest(struct kl_findings *findings, const struct kl_model_location *where)
{
    struct kl_sha256 hash;
    char hex[65];
    static char buffer[1 << 20];
    ssize_t n;
    if (where->entry == NULL) {
        kl_found(findings, KL_NOTE, "file",
                 "%s is not in the catalogue: its bytes can not be "
                 "compared with anything",
                 where->name);
        return;
    }
    int fd = open(where->path, O_RDONLY | O_CLOEXEC);
    kl_sha256_init(&hash);
    while (fd >= 0 && (n = read(fd, buffer, sizeof buffer)) > 0)
        kl_sha256_update(&hash, buffer, (size_t)n);
    if (fd >= 0)
        close(fd);
    kl_sha256_finish_hex(&hash, hex);
    if (strcmp(hex, where->entry->sha256) == 0) {
        kl_found(findings, KL_GOOD, "file", "%s: the bytes that were published (SHA-256)",
                 where->name);
        return;
    }
    struct kl_finding *found = kl_found(findings, KL_BROKEN, "file", "%s has SHA-256 %s and not %s",
                                        where->path, hex, where->entry->sha256);
    kl_found_cost(found, "the model may answer nonsense");
    kl_found_remedy(found, "rm '%s' and kinglet pull %s", where->path, where->name);
}

/* How fast the disk gives what is not in memory: 64 MB from the middle of the file, whose pages are
 * given up first. Those that another process has mapped stay, and make it look quicker. */
#define SAMPLE_BYTES ((off_t)64 << 20)

static double read_disk(const char *path)
{
    static char buffer[1 << 20];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    off_t size = fd >= 0 ? lseek(fd, 0, SEEK_END) : 0;
    off_t length = size / 2 < SAMPLE_BYTES ? size / 2 : SAMPLE_BYTES, done = 0;
    if (fd < 0 || length <= 0)
        return 0;
    off_t from = (size - length) / 2;
    posix_fadvise(fd, from, length, POSIX_FADV_DONTNEED);
    uint64_t start = kl_now_ns();
    ssize_t n = 1;
    while (done < length && (n = pread(fd, buffer, sizeof buffer, from + done)) > 0)
        done += n;
    double seconds = kl_seconds_since(start);
    close(fd);
    return n > 0 ? (double)done / seconds : 0;
}

static void check_disk(struct kl_findings *findings, const struct kl_loaded *l)
{
    char speed[32];
    double rate = read_disk(l->location.path);
    if (rate <= 0)
        return;
    double cold = (double)kl_model_weight_bytes(l->model) / rate;
    struct kl_finding *found =
        kl_found(findings, cold > 10 ? KL_WARNING : KL_GOOD, "disk",
                 "reads %s a second: a start with nothing in memory takes about %.1f s",
                 kl_format_bytes(rate, speed, sizeof speed), cold);
    if (cold > 10)
        kl_found_remedy(found, "keep the cache directory on an SSD (XDG_CACHE_HOME), or an SD card "
                               "of class A2");
}

/* ---- speed ----------------------------------------------------------------------------------- */

static void show_nothing(const struct kl_bench *b, const struct kl_bench_result *r)
{
    (void)b;
    (void)r;
}

static void judge_machine(struct kl_findings *findings, const struct kl_bench *b)
{
    double bytes = (double)kl_bench_bytes_per_token(b);
    char text[300] = "";
    for (size_t i = 0; i < b->machine.n_points; i++) {
        const struct kl_bench_point *point = &b->machine.points[i];
        size_t used = strlen(text);
        snprintf(text + used, sizeof text - used, "%s%.1f GB/s with %zu", i > 0 ? ", " : "",
                 point->read_gb, point->threads);
    }
    const struct kl_bench_point *last = &b->machine.points[b->machine.n_points - 1];
    kl_found(findings, KL_NOTE, "memory",
             "reading: %s threads; that allows %.0f tokens/s of this "
             "model",
             text, last->read_gb * 1e9 / bytes);
}

static void judge_speed(struct kl_findings *findings, const struct kl_bench *b)
{
    for (size_t i = 0; i < b->n_results; i++) {
        const struct kl_bench_result *r = &b->results[i];
        bool decode = strcmp(r->test, "decode") == 0;
        double share = decode ? r->read_share : r->int8_share;
        struct kl_finding *found =
            kl_found(findings, decode && share < 0.5 ? KL_WARNING : KL_GOOD, "speed",
                     "%s: %.1f tokens/s, %.0f %% of what %s alone reaches here",
                     decode ? "answers" : "prompts", r->speed.median, share * 100,
                     decode ? "reading" : "multiplying");
        if (decode && share < 0.5)
            kl_found_remedy(found, "look at neighbours and quotas above; delete the directory "
                                   "threads/ in the cache to have the number of threads measured "
                                   "again");
    }
}

static enum kl_status measure_speed(struct kl_findings *findings, struct kl_loaded *l,
                                    struct kl_error *err)
{
    static struct kl_bench b; /* 200 KB */
    const struct kl_bench_options options = {.prompts = {.values = {128}, .len = 1},
                                             .generate = 24,
                                             .repeat = 3,
                                             .chunk = KL_PREFILL_CHUNK,
                                             .parts = KL_BENCH_MACHINE | KL_BENCH_PREFILL |
                                                      KL_BENCH_DECODE};
    b = (struct kl_bench){.options = &options, .loaded = l, .command = ""};
    enum kl_status status =
        kl_bench_measure_machine(&b.machine, kl_model_kernels(l->model), l->n_threads, err);
    if (status == KL_OK)
        status = kl_bench_measure_model(&b, show_nothing, err);
    if (status != KL_OK)
        return status;
    judge_machine(findings, &b);
    judge_speed(findings, &b);
    return KL_OK;
}

/* ---- tokenizer ------------------------------------------------------------------------------- */

static const struct {
    const char *kind, *text;
    double slow; /* MB/s: less is a warning */
} samples[] = {
    {"Chinese", "清晨的海面上起了薄雾,灯塔的光慢慢淡下去。渔民们把网拖上船,数着今天的收获。", 3},
    {"English", "The lighthouse keeper wrote down the weather every hour, and nobody read it. ", 8},
    {"code", "for (size_t i = 0; i < n; i++) {\n    sum += values[i] * weights[i];\n}\n", 8},
};

static double encode_speed(const struct kl_tokenizer *tokenizer, const char *text)
{
    struct kl_tokens tokens = {0};
    size_t len = strlen(text), repeat = (size_t)200000 / len;
    char *long_text = malloc(len * repeat);
    if (long_text == NULL)
        return 0;
    for (size_t i = 0; i < repeat; i++)
        memcpy(long_text + i * len, text, len);
    const struct kl_span span = {.text = long_text, .len = len * repeat};
    double best = INFINITY;
    for (int i = 0; i < 3; i++) {
        tokens.len = 0;
        uint64_t start = kl_now_ns();
        if (kl_tokenizer_encode(tokenizer, &span, 1, &tokens, NULL) != KL_OK)
            best = INFINITY;
        else
            best = fmin(best, kl_seconds_since(start));
    }
    kl_tokens_release(&tokens);
    free(long_text);
    return (double)span.len / best * 1e-6;
}

static void check_tokenizer(struct kl_findings *findings, const struct kl_loaded *l)
{
    for (size_t i = 0; i < sizeof samples / sizeof samples[0]; i++) {
        double speed = encode_speed(l->tokenizer, samples[i].text);
        kl_found(findings, speed < samples[i].slow ? KL_WARNING : KL_GOOD, "tokenizer",
                 "%s: %.0f MB/s", samples[i].kind, speed);
    }
}

/* ---- numbers --------------------------------------------------------------------------------- */

#define N_GOLDEN     16
#define N_PROMPT_CAP 64
static const char golden_prompt[] = "A kinglet is a small bird. 小鸟在";

/* What the models of the catalogue go on with, greedily; the same on every computer, since all
 * kernels give the same bits. */
static const struct golden {
    const char *model;
    int32_t tokens[N_GOLDEN];
} golden[] = {
    {"qwen2.5-coder-0.5b-instruct",
     {101916, 15946, 102582, 3837, 104017, 9370, 111668, 20412, 110609, 3837, 104017, 9370, 111668,
      101913, 116139, 20412}},
    {"smollm2-135m-instruct",
     {178, 139, 232, 23022, 138, 179, 130, 229, 198, 198, 504, 2798, 4097, 8715, 314, 476}},
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

/* All logits behind the last of n tokens (n <= N_PROMPT_CAP). */
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

/* Greedy tokens, and the bits of all logits on the way as one number. */
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

/* "1 2 3"; out: 12 * N_GOLDEN bytes. */
static const char *join_ids(const int32_t ids[N_GOLDEN], char *out)
{
    size_t used = 0;
    for (int i = 0; i < N_GOLDEN; i++)
        used += (size_t)sprintf(out + used, "%s%" PRId32, i > 0 ? " " : "", ids[i]);
    return out;
}

static void compare_golden(struct kl_findings *findings, const struct kl_loaded *l,
                           const struct answer *found)
{
    char expected[12 * N_GOLDEN];
    for (size_t i = 0; i < sizeof golden / sizeof golden[0]; i++) {
        if (strcmp(golden[i].model, l->location.name) != 0)
            continue;
        if (memcmp(golden[i].tokens, found->tokens, sizeof found->tokens) == 0) {
            kl_found(findings, KL_GOOD, "numbers",
                     "the model goes on as it did when kinglet was "
                     "made (%d tokens)",
                     N_GOLDEN);
        } else {
            char ids[12 * N_GOLDEN];
            struct kl_finding *bad = kl_found(
                findings, KL_BROKEN, "numbers", "the model goes on with %s and not with %s",
                join_ids(found->tokens, ids), join_ids(golden[i].tokens, expected));
            kl_found_cost(bad, "answers may be nonsense");
            kl_found_remedy(bad, "remove the directory packed/ in the cache; if that does not "
                                 "help, test the memory (memtest86+)");
        }
        return;
    }
    kl_found(findings, KL_NOTE, "numbers", "no answer of this model is stored to compare with");
}

/* The tier against the scalar one: every kernel that this model uses, on its own weights. */
#define N_COMPARED 2

static enum kl_status compare_kernels(struct kl_findings *findings, const struct kl_loaded *l,
                                      const struct kl_load_options *options, struct kl_error *err)
{
    struct kl_loaded plain;
    struct kl_load_options scalar = *options;
    struct answer ours, theirs;
    scalar.cpu = "scalar";
    scalar.measure_threads = false;
    scalar.threads = l->n_threads;
    enum kl_status status = answer_prompt(l, N_COMPARED, &ours, err);
    if (status != KL_OK)
        return status;
    status = kl_load(&plain, &scalar, KL_LOAD_MODEL, err);
    if (status != KL_OK)
        return status;
    status = answer_prompt(&plain, N_COMPARED, &theirs, err);
    const char *name = kl_model_kernels(l->model)->name;
    if (status == KL_OK && ours.bits == theirs.bits)
        kl_found(findings, KL_GOOD, "numbers", "the %s kernels give the bits of the scalar ones",
                 name);
    else if (status == KL_OK)
        kl_found_remedy(kl_found(findings, KL_BROKEN, "numbers",
                                 "the %s kernels do not give the bits of the scalar ones", name),
                        "serve with --cpu scalar until it is known why: the processor, its memory, "
                        "or a bug of kinglet");
    kl_unload(&plain);
    return status;
}

/* ---- all of it ------------------------------------------------------------------------------- */

static void judge_start(struct kl_findings *findings, const struct kl_loaded *l,
                        const struct kl_load_times *first)
{
    double total = l->times.file + l->times.tokenizer + l->times.weights;
    double before = first->file + first->tokenizer + first->weights;
    bool mapped = kl_model_is_mapped(l->model);
    struct kl_finding *found =
        kl_found(findings, mapped ? KL_GOOD : KL_WARNING, "start",
                 "%.0f ms with everything in memory (file %.0f, tokenizer %.0f, weights %.0f); "
                 "the first of two took %.0f ms",
                 total * 1e3, l->times.file * 1e3, l->times.tokenizer * 1e3, l->times.weights * 1e3,
                 before * 1e3);
    if (!mapped) {
        kl_found_cost(found, "the weights are prepared anew at each start, and their memory can "
                             "not be given back");
        kl_found_remedy(found, "make room in the cache directory");
    }
}

static enum kl_status check_model(struct kl_findings *findings, struct kl_loaded *l,
                                  const struct kl_load_options *options, struct kl_error *err)
{
    struct answer answer;
    check_digest(findings, &l->location);
    check_disk(findings, l);
    check_tokenizer(findings, l);
    enum kl_status status = measure_speed(findings, l, err);
    if (status == KL_OK)
        status = answer_prompt(l, N_GOLDEN, &answer, err);
    if (status == KL_OK) {
        compare_golden(findings, l, &answer);
        status = compare_kernels(findings, l, options, err);
    }
    return status;
}

void kl_doctor_model(struct kl_findings *findings, const struct kl_load_options *options)
{
    struct kl_loaded l;
    struct kl_error err = {0};
    enum kl_status status = kl_load(&l, options, KL_LOAD_MODEL, &err);
    if (status == KL_OK) {
        struct kl_load_times first = l.times;
        kl_unload(&l);
        status = kl_load(&l, options, KL_LOAD_MODEL, &err);
        if (status == KL_OK) {
            judge_start(findings, &l, &first);
            status = check_model(findings, &l, options, &err);
            kl_unload(&l);
        }
    }
    if (status != KL_OK)
        kl_found(findings, KL_BROKEN, "model", "%s", err.text);
}
