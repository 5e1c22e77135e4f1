#include <errno.h>
#include <fcntl.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/cpus.h"
#include "base/memory.h"
#include "base/pool.h"
#include "base/system_files.h"
#include "bench/bench.h"
#include "kernels/peak.h"

/* ---- the description ------------------------------------------------------------------------- */

void kl_bench_describe(struct kl_bench_machine *machine)
{
    struct kl_cpus cpus;
    struct kl_memory memory;
    kl_cpus_read("", NULL, &cpus);
    kl_memory_read("", &memory);
    snprintf(machine->cpu, sizeof machine->cpu, "%s", cpus.model);
    snprintf(machine->features, sizeof machine->features, "%s", kl_cpu_features());
    kl_system_line("", "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", machine->governor,
                   sizeof machine->governor);
    machine->cpus = cpus.allowed;
    machine->memory_bytes = memory.total;
}

void kl_bench_forget_peak(void)
{
    /* proc_pid_clear_refs(5): "5" sets the peak (VmHWM) to the present resident memory. Where that
     * is not allowed, the peak includes the buffer below, which is smaller than most models. */
    int fd = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    ssize_t ignored = write(fd, "5", 1);
    (void)ignored;
    close(fd);
}

/* ---- reading and multiplying ----------------------------------------------------------------- */

/* Larger than caches: 256 MiB is 8 times the largest L3 slice of today's small machines. Where less
 * than twice that may be taken in addition to the model, as with a limit of 512 MB, the buffer is
 * half of the rest: a larger one would push out the weights, or end the program. */
#define BUFFER_BYTES ((size_t)256 << 20)
#define CHUNK_BYTES  ((size_t)1 << 20)
#define MAX_CHUNKS   (BUFFER_BYTES / CHUNK_BYTES)
#define MIN_CHUNKS   16

/* A quarter of a million steps of 256 products: 0.3 ms on a fast core, 10 ms in scalar code. The
 * items of the slowest thread must not leave the others idle, so there are several for each. */
#define MULTIPLY_STEPS  ((size_t)250000)
#define MULTIPLY_PER    8
#define MEASURE_SECONDS 0.4
#define MEASURE_RUNS    1000

struct machine_job {
    const struct kl_peak *peak;
    uint8_t *buffer;
    size_t n_chunks;
    /* Shuffled: threads that go through memory at a constant distance use the same banks of it or
     * never do, depending on the addresses (18, 28 or 37 GB/s in eight runs here).
     */
    uint16_t order[MAX_CHUNKS]; /* [n_chunks] */
    _Atomic(uint64_t) sum;      /* so that the compiler cannot omit work */
};

static void touch_chunk(void *context, size_t item, size_t worker)
{
    struct machine_job *job = context;
    (void)worker;
    memset(job->buffer + item * CHUNK_BYTES, (int)item, CHUNK_BYTES);
}

static void read_chunk(void *context, size_t item, size_t worker)
{
    struct machine_job *job = context;
    (void)worker;
    job->sum += job->peak->read(job->buffer + job->order[item] * CHUNK_BYTES, CHUNK_BYTES);
}

static void multiply_chunk(void *context, size_t item, size_t worker)
{
    struct machine_job *job = context;
    (void)item;
    (void)worker;
    job->sum += job->peak->multiply(MULTIPLY_STEPS);
}

static struct kl_bench_summary time_runs(struct kl_pool *pool, size_t n_items, kl_pool_fn *fn,
                                         struct machine_job *job)
{
    double seconds[MEASURE_RUNS];
    size_t n = 0;
    uint64_t start = kl_now_ns();
    while (n < 3 || (n < MEASURE_RUNS && kl_seconds_since(start) < MEASURE_SECONDS)) {
        uint64_t run = kl_now_ns();
        kl_pool_run(pool, n_items, fn, job);
        seconds[n++] = kl_seconds_since(run);
    }
    return kl_bench_summarise(seconds, n);
}

static enum kl_status measure_point(struct kl_bench_point *point, struct machine_job *job,
                                    struct kl_error *err)
{
    struct kl_pool *pool;
    enum kl_status status = kl_pool_open(point->threads, &pool, err);
    if (status != KL_OK)
        return status;
    size_t n_multiplies = MULTIPLY_PER * point->threads;
    struct kl_bench_summary reads = time_runs(pool, job->n_chunks, read_chunk, job);
    struct kl_bench_summary multiplies = time_runs(pool, n_multiplies, multiply_chunk, job);
    /* Memory is shared with other programs, and its speed changes from second to second: the
     * median, as for the model. A core never multiplies faster than it can: the best runs. */
    double macs = (double)(n_multiplies * MULTIPLY_STEPS * KL_PEAK_MACS);
    point->read_gb = (double)(job->n_chunks * CHUNK_BYTES) / reads.median * 1e-9;
    point->int8_gmac = macs / multiplies.p10 * 1e-9;
    kl_pool_close(pool);
    return KL_OK;
}

static size_t count_chunks(void)
{
    struct kl_memory memory;
    kl_memory_read("", &memory);
    uint64_t room = kl_memory_room(&memory), taken = kl_memory_resident().all;
    if (room == 0 || room >= taken + 2 * BUFFER_BYTES)
        return MAX_CHUNKS;
    size_t n = room > taken ? (size_t)(room - taken) / 2 / CHUNK_BYTES : 0;
    return n > MIN_CHUNKS ? n : MIN_CHUNKS;
}

/* Maps the buffer and makes its pages present: each is first written by one of n_threads. */
static enum kl_status open_job(struct machine_job *job, const struct kl_kernels *kernels,
                               size_t n_threads, struct kl_error *err)
{
    uint64_t random = 1;
    *job = (struct machine_job){.peak = kl_peak_of(kernels), .n_chunks = count_chunks()};
    for (size_t i = 0; i < job->n_chunks; i++) { /* Fisher and Yates, Knuth's MMIX generator */
        random = random * 6364136223846793005u + 1442695040888963407u;
        size_t other = (size_t)(random >> 33) % (i + 1);
        job->order[i] = job->order[other];
        job->order[other] = (uint16_t)i;
    }
    void *buffer = mmap(NULL, job->n_chunks * CHUNK_BYTES, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (buffer == MAP_FAILED)
        return kl_fail_errno(err,
                             "no memory to measure reading with (--only can exclude this part)");
    job->buffer = buffer;
    struct kl_pool *pool;
    enum kl_status status = kl_pool_open(n_threads, &pool, err);
    if (status != KL_OK) {
        munmap(buffer, job->n_chunks * CHUNK_BYTES);
        return status;
    }
    kl_pool_run(pool, job->n_chunks, touch_chunk, job);
    kl_pool_close(pool);
    return KL_OK;
}

enum kl_status kl_bench_measure_machine(struct kl_bench_machine *machine,
                                        const struct kl_kernels *kernels, size_t n_threads,
                                        struct kl_error *err)
{
    struct machine_job job;
    enum kl_status status = open_job(&job, kernels, n_threads, err);
    if (status != KL_OK)
        return status;
    for (size_t threads = 1; status == KL_OK && machine->n_points < KL_BENCH_MAX_POINTS;) {
        struct kl_bench_point *point = &machine->points[machine->n_points++];
        *point = (struct kl_bench_point){.threads = threads};
        status = measure_point(point, &job, err);
        if (threads == n_threads)
            break;
        threads = 2 * threads < n_threads ? 2 * threads : n_threads;
    }
    munmap(job.buffer, job.n_chunks * CHUNK_BYTES);
    return status;
}

struct kl_bench_reader {
    struct machine_job job;
    struct kl_pool *pool;
};

enum kl_status kl_bench_reader_open(const struct kl_kernels *kernels, size_t n_threads,
                                    struct kl_bench_reader **out, struct kl_error *err)
{
    struct kl_bench_reader *reader = calloc(1, sizeof *reader);
    *out = NULL;
    if (reader == NULL)
        return kl_fail_memory(err, "a reader", sizeof *reader);
    enum kl_status status = open_job(&reader->job, kernels, n_threads, err);
    if (status == KL_OK) {
        status = kl_pool_open(n_threads, &reader->pool, err);
        if (status != KL_OK)
            munmap(reader->job.buffer, reader->job.n_chunks * CHUNK_BYTES);
    }
    if (status != KL_OK) {
        free(reader);
        return status;
    }
    *out = reader;
    return KL_OK;
}

void kl_bench_reader_close(struct kl_bench_reader *reader)
{
    if (reader == NULL)
        return;
    kl_pool_close(reader->pool);
    munmap(reader->job.buffer, reader->job.n_chunks * CHUNK_BYTES);
    free(reader);
}

double kl_bench_read_once(struct kl_bench_reader *reader)
{
    uint64_t start = kl_now_ns();
    kl_pool_run(reader->pool, reader->job.n_chunks, read_chunk, &reader->job);
    return (double)(reader->job.n_chunks * CHUNK_BYTES) / kl_seconds_since(start) * 1e-9;
}

double kl_bench_multiply_once(struct kl_bench_reader *reader)
{
    size_t n = MULTIPLY_PER * kl_pool_threads(reader->pool);
    uint64_t start = kl_now_ns();
    kl_pool_run(reader->pool, n, multiply_chunk, &reader->job);
    return (double)(n * MULTIPLY_STEPS * KL_PEAK_MACS) / kl_seconds_since(start) * 1e-9;
}

/* ---- instructions and cycles ----------------------------------------------------------------- */

/* perf_event_open(2). inherit: threads that are started later count as well. Excludes the
 * kernel, which users may rarely count. */
static int open_counter(uint64_t config)
{
    struct perf_event_attr attr = {
        .type = PERF_TYPE_HARDWARE,
        .size = sizeof attr,
        .config = config,
        .inherit = 1,
        .exclude_kernel = 1,
        .exclude_hv = 1,
        .read_format = PERF_FORMAT_TOTAL_TIME_ENABLED | PERF_FORMAT_TOTAL_TIME_RUNNING,
    };
    return (int)syscall(SYS_perf_event_open, &attr, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);
}

void kl_bench_counters_open(struct kl_bench_counters *c, struct kl_bench_machine *machine)
{
    c->fds[0] = open_counter(PERF_COUNT_HW_INSTRUCTIONS);
    int error = errno;
    c->fds[1] = open_counter(PERF_COUNT_HW_CPU_CYCLES);
    if (c->fds[0] >= 0)
        return;
    if (error == EACCES || error == EPERM)
        snprintf(machine->no_counters, sizeof machine->no_counters,
                 "the system does not allow it (kernel.perf_event_paranoid)");
    else if (error == ENOENT || error == EOPNOTSUPP || error == ENODEV)
        snprintf(machine->no_counters, sizeof machine->no_counters,
                 "this (virtual) processor offers no counters");
    else
        snprintf(machine->no_counters, sizeof machine->no_counters, "perf_event_open: %s",
                 strerror(error));
}

void kl_bench_counters_close(struct kl_bench_counters *c)
{
    for (int i = 0; i < 2; i++)
        if (c->fds[i] >= 0)
            close(c->fds[i]);
}

/* Events take turns when there are more of them than registers: the count is scaled to the whole
 * time. */
static double read_counter(int fd)
{
    uint64_t value[3]; /* count, time enabled, time running */
    if (fd < 0 || read(fd, value, sizeof value) != sizeof value || value[2] == 0)
        return 0;
    return (double)value[0] * (double)value[1] / (double)value[2];
}

struct kl_bench_counts kl_bench_counters_read(const struct kl_bench_counters *c)
{
    return (struct kl_bench_counts){read_counter(c->fds[0]), read_counter(c->fds[1])};
}
