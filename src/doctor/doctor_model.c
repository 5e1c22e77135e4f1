#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mapped_file.h"
#include "base/memory.h"
#include "base/paths.h"
#include "console/terminal.h"
#include "doctor/doctor.h"
#include "format/sections.h"

/* ---- the disk -------------------------------------------------------------------------------- */

/* The speed of the disk is measured with 64 MB from the middle of the file, whose pages are dropped
 * from memory first. Pages that another process has mapped stay, and make it look faster. */
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

/* Returns the share of a file that is in memory, 0..1; 1: not known. */
static double share_in_memory(const char *path)
{
    struct kl_mapped_file file;
    double share = 1;
    if (kl_mapped_file_open(&file, path, NULL) != KL_OK)
        return share;
    size_t page = kl_memory_page(), n_pages = (file.size + page - 1) / page, n = 0;
    unsigned char *resident = malloc(n_pages + 1);
    if (resident != NULL && n_pages > 0 &&
        mincore((void *)(uintptr_t)file.data, file.size, resident) == 0) {
        for (size_t i = 0; i < n_pages; i++)
            n += resident[i] & 1;
        share = (double)n / (double)n_pages;
    }
    free(resident);
    kl_mapped_file_close(&file);
    return share;
}

/* Drops the pages of a file from memory, as after a reboot. Pages that another process has mapped
 * stay. */
static void forget_pages(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    close(fd);
}

/* ---- starts ---------------------------------------------------------------------------------- */

/* The files that a start maps; empty: not known. */
struct start_files {
    char model[PATH_MAX], weights[PATH_MAX], tokenizer[PATH_MAX];
};

struct starts {
    struct kl_load_times first, cold, warm; /* as found, from the disk, from memory */
    bool prepared;                          /* the first start packed the weights */
    double remembered; /* share of the packed weights in memory before the cold start */
    double disk_rate;  /* bytes a second; 0: not known */
};

#define STILL_IN_MEMORY 0.1 /* with a larger share it is no cold start */

static double all_of(const struct kl_load_times *t)
{
    return t->file + t->tokenizer + t->weights;
}

static void find_files(const struct kl_loaded *l, struct start_files *files)
{
    const char *weights = kl_model_packed_path(l->model);
    const char *tokenizer = kl_tokenizer_kept_path(l->tokenizer);
    *files = (struct start_files){0};
    memcpy(files->model, l->location.path, sizeof files->model);
    if (weights != NULL && tokenizer != NULL) {
        snprintf(files->weights, sizeof files->weights, "%s", weights);
        snprintf(files->tokenizer, sizeof files->tokenizer, "%s", tokenizer);
    }
}

/* Measures three starts; the last one stays in *l. */
static enum kl_status measure_starts(const struct kl_load_options *options, struct kl_loaded *l,
                                     struct starts *s, struct kl_error *err)
{
    struct start_files files;
    *s = (struct starts){.remembered = 1};
    enum kl_status status = kl_load(l, options, KL_LOAD_MODEL, err);
    if (status != KL_OK)
        return status;
    s->first = l->times;
    find_files(l, &files);
    s->prepared = l->prepared;
    if (kl_model_is_mapped(l->model)) {
        kl_unload(l);
        forget_pages(files.model);
        forget_pages(files.tokenizer);
        forget_pages(files.weights);
        s->remembered = share_in_memory(files.weights);
        s->disk_rate = read_disk(s->remembered < STILL_IN_MEMORY ? files.weights : files.model);
        forget_pages(files.weights);
        status = kl_load(l, options, KL_LOAD_MODEL, err);
        if (status != KL_OK)
            return status;
        s->cold = l->times;
    }
    kl_unload(l);
    if (s->disk_rate == 0)
        s->disk_rate = read_disk(files.model);
    status = kl_load(l, options, KL_LOAD_MODEL, err);
    if (status == KL_OK)
        s->warm = l->times;
    return status;
}

/* memory_rate: bytes a second of reading alone with all threads. */
static void judge_warm_start(struct kl_findings *findings, const struct kl_loaded *l,
                             const struct starts *s, double memory_rate)
{
    const struct kl_load_times *t = &s->warm;
    double bytes = (double)kl_model_weight_bytes(l->model);
    bool mapped = kl_model_is_mapped(l->model);
    struct kl_finding *found =
        kl_found(findings, mapped ? KL_GOOD : KL_WARNING, "start",
                 "%.0f ms from memory (file %.0f, tokenizer %.0f, weights %.0f; reading them alone "
                 "takes %.0f)",
                 all_of(t) * 1e3, t->file * 1e3, t->tokenizer * 1e3, t->weights * 1e3,
                 bytes / memory_rate * 1e3);
    if (!mapped) {
        kl_found_cost(found, "the weights are packed at each start, and their memory cannot be "
                             "freed when the system needs it");
        kl_found_remedy(found, "free space on the disk of the cache directory");
    } else if (s->prepared) {
        kl_found(findings, KL_NOTE, "start",
                 "the weights were packed now, in %.1f s; the next start will use them",
                 all_of(&s->first));
    } else {
        kl_found(findings, KL_GOOD, "start",
                 "packed weights exist and their checksums are correct (%.0f ms)",
                 all_of(&s->first) * 1e3);
    }
}

#define SLOW_START 10 /* seconds */

static void judge_cold_start(struct kl_findings *findings, const struct kl_loaded *l,
                             const struct starts *s)
{
    char speed[32], reached[32];
    double rate = s->disk_rate;
    double bytes = (double)kl_model_weight_bytes(l->model);
    struct kl_finding *found;
    if (rate <= 0)
        return;
    double alone = bytes / rate, cold = alone;
    kl_format_bytes(rate, speed, sizeof speed);
    if (s->remembered < STILL_IN_MEMORY) {
        const struct kl_load_times *t = &s->cold;
        cold = all_of(t);
        found =
            kl_found(findings, cold > SLOW_START ? KL_WARNING : KL_GOOD, "disk",
                     "%.1f s for a start with nothing in memory, as after a reboot (file %.0f "
                     "ms, tokenizer %.0f, weights %.0f: %s a second); the disk reads %s a "
                     "second, which takes %.1f s",
                     cold, t->file * 1e3, t->tokenizer * 1e3, t->weights * 1e3,
                     kl_format_bytes(bytes / t->weights, reached, sizeof reached), speed, alone);
    } else {
        found = kl_found(findings, cold > SLOW_START ? KL_WARNING : KL_GOOD, "disk",
                         "reads %s a second: a start with nothing in memory takes about %.1f s%s",
                         speed, alone,
                         kl_model_is_mapped(l->model)
                             ? " (not measured: another process has the weights in memory)"
                             : "");
    }
    if (cold > SLOW_START) {
        kl_found_cost(found, "no request is answered during this time after a reboot");
        kl_found_remedy(found, "keep the cache directory on an SSD (XDG_CACHE_HOME), or an SD card "
                               "of class A2");
    }
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
             "reading: %s threads; enough for %.0f tokens/s of this model", text,
             last->read_gb * 1e9 / bytes);
}

static void judge_speed(struct kl_findings *findings, const struct kl_bench *b)
{
    for (size_t i = 0; i < b->n_results; i++) {
        const struct kl_bench_result *r = &b->results[i];
        bool decode = strcmp(r->test, "decode") == 0;
        double share = decode ? r->read_share : r->int8_share;
        struct kl_finding *found = kl_found(
            findings, decode && share < 0.5 ? KL_WARNING : KL_GOOD, "speed",
            "%s: %.1f tokens/s, %.0f %% of the speed of %s alone", decode ? "answers" : "prompts",
            r->speed.median, share * 100, decode ? "reading" : "multiplying");
        if (decode && share < 0.5)
            kl_found_remedy(found, "see other programs and quotas above; delete the directory "
                                   "threads/ in the cache to have the number of threads measured "
                                   "again");
    }
}

/* read_rate: bytes a second of reading alone. */
static enum kl_status measure_speed(struct kl_findings *findings, struct kl_loaded *l,
                                    double *read_rate, struct kl_error *err)
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
    *read_rate = b.machine.points[b.machine.n_points - 1].read_gb * 1e9;
    judge_machine(findings, &b);
    judge_speed(findings, &b);
    return KL_OK;
}

/* ---- all of it ------------------------------------------------------------------------------- */

static enum kl_status check_model(struct kl_findings *findings, struct kl_loaded *l,
                                  const struct starts *starts, const struct kl_model_entry *entry,
                                  const struct kl_load_options *options, struct kl_error *err)
{
    double read_rate;
    bool kept = kl_model_is_mapped(l->model) && l->packed_dir[0] != '\0';
    kl_doctor_storage(findings, "", kept ? l->packed_dir : l->location.path);
    kl_doctor_tokenizer(findings, l);
    enum kl_status status = measure_speed(findings, l, &read_rate, err);
    if (status != KL_OK)
        return status;
    judge_warm_start(findings, l, starts, read_rate);
    judge_cold_start(findings, l, starts);
    return kl_doctor_numbers(findings, l, entry, options, err);
}

static void measure_model(struct kl_findings *findings, const struct kl_load_options *options,
                          const struct kl_model_entry *entry)
{
    struct kl_loaded l;
    struct starts starts;
    struct kl_error err = {0};
    enum kl_status status = measure_starts(options, &l, &starts, &err);
    if (status == KL_OK) {
        status = check_model(findings, &l, &starts, entry, options, &err);
        kl_unload(&l);
    }
    if (status != KL_OK)
        kl_found(findings, KL_BROKEN, "model", "%s", err.text);
}

void kl_doctor_model(struct kl_findings *findings, const struct kl_load_options *options,
                     const struct kl_doctor_serving *serving, bool measure)
{
    struct kl_loaded l;
    const struct kl_model_entry *entry;
    if (!kl_doctor_file(findings, options, &l, &entry))
        return;
    bool fits = kl_doctor_fit(findings, options, serving, &l);
    bool used = kl_model_packed_path(l.model) != NULL;
    kl_doctor_room_on_disk(findings, &l);
    if (fits && (used || measure)) {
        kl_unload(&l);
        measure_model(findings, options, entry);
        return;
    }
    kl_doctor_expect(findings, &l);
    kl_unload(&l);
    struct kl_finding *found =
        kl_found(findings, KL_NOTE, "model",
                 "%s, so it was not opened: start, speed and numbers are not measured",
                 fits ? "it was not used on this computer yet" : "it does not fit");
    if (fits)
        kl_found_remedy(found, "--measure packs its weights, as the first start would, and "
                               "measures them");
}
