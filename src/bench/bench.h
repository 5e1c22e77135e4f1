/*
 * `kinglet bench`: measures the computer and the model on it, and reports the results.
 *
 * bench.c runs the parts in order. bench_machine.c measures the computer, bench_forward.c the
 * forward pass, bench_engine.c the engine; bench_table.c, bench_json.c and bench_report.c report as
 * text, JSON and HTML, bench_profile.c where the time of passes goes. The structs are the caller's.
 * One measurement at a time, in one thread; Ctrl-C ends it with KL_ERR_CANCELLED. The load of many
 * users is in bench_soak.h.
 */
#ifndef KL_BENCH_BENCH_H
#define KL_BENCH_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/printer.h"
#include "console/options.h"
#include "load/load.h"
#include "model/model.h"

struct kl_engine;
struct kl_request;

#define KL_BENCH_MAX_REPEAT  100
#define KL_BENCH_MAX_BATCH   64
#define KL_BENCH_MAX_RESULTS (2 * KL_MAX_LIST + 1)
#define KL_BENCH_MAX_POINTS  8 /* numbers of threads */
#define KL_BENCH_MAX_SHAPES  16

/* The parts that --only names. */
enum kl_bench_part {
    KL_BENCH_MACHINE = 1,
    KL_BENCH_START = 2,
    KL_BENCH_PREFILL = 4,
    KL_BENCH_DECODE = 8,
    KL_BENCH_BATCHES = 16,
    KL_BENCH_FIRST_TOKEN = 32, /* and the memory of an engine that has answered */
    KL_BENCH_DRAFTS = 64,      /* an answer with and without drafts */
    KL_BENCH_ALL = 127,
    KL_BENCH_PROFILE = 128 /* only by --profile */
};

struct kl_bench_options {
    struct kl_load_options load;
    struct kl_size_list prompts, batches;
    size_t generate, depth, repeat, chunk;
    const char *only, *report;
    unsigned parts; /* of enum kl_bench_part, from `only` */
    bool logits, quick, json, profile;
};

/* A summary of n measurements (base/quantile.h); n == 0: not measured. */
struct kl_bench_summary {
    double median, p10, p90;
    size_t n;
};

/* Sorts values[0..n) and summarises them. */
struct kl_bench_summary kl_bench_summarise(double *values, size_t n);

/* Instructions and cycles of all threads, where the processor counts them. */
struct kl_bench_counts {
    double instructions, cycles; /* 0: not known */
};

struct kl_bench_result {
    const char *test;                    /* "prefill", "decode", "batch" */
    size_t n;                            /* tokens of the prompt or answer; of a batch: sequences */
    size_t n_tokens;                     /* of one run */
    struct kl_bench_summary speed;       /* tokens/s, all sequences together */
    double samples[KL_BENCH_MAX_REPEAT]; /* the same, sorted */
    struct kl_bench_summary step;        /* seconds from token to token; decode and batch */
    double gb_per_second;                /* weights read: all of them in each pass */
    double gmac_per_second;
    double read_limit;             /* GB/s of reading alone, between the runs; 0: not measured */
    double int8_limit;             /* GMAC/s of multiplying alone, likewise */
    double read_share, int8_share; /* of read_limit and int8_limit */
    struct kl_bench_counts per_token;
};

struct kl_bench_point {
    size_t threads;
    double read_gb, int8_gmac; /* GB/s, the median; GMAC/s, the best tenth */
};

struct kl_bench_machine {
    char cpu[128], features[160], governor[32]; /* empty: not known */
    size_t cpus;                                /* that this process may use */
    uint64_t memory_bytes;
    struct kl_bench_point points[KL_BENCH_MAX_POINTS]; /* the last: the threads of the model */
    size_t n_points;
    char no_counters[160]; /* why counters are not available; empty: they are */
};

/* Seconds of each stage of a start, with all files in the page cache. */
struct kl_bench_start {
    struct kl_bench_summary file, tokenizer, weights, engine, all;
};

/* The time to the first token of an answer. */
struct kl_bench_first {
    size_t characters, prompt_tokens;
    struct kl_bench_summary seconds;
    double samples[KL_BENCH_MAX_REPEAT];
};

/* One answer that repeats most of its question, with and without drafts. */
struct kl_bench_drafts {
    size_t answer_tokens, drafted, accepted; /* drafted: computed as drafts */
    struct kl_bench_summary without, with;   /* tokens/s */
};

/* Bytes after the first tokens; peak: the largest resident memory of that part. */
struct kl_bench_memory {
    uint64_t resident, anonymous, file, peak;
    uint64_t weights, forward, kv; /* known parts: packed weights, buffers, KV pages */
};

/* The medians of one step over all passes. */
struct kl_bench_step {
    double seconds;
    double bytes, macs; /* of the pass; 0: not counted */
    double floor;       /* seconds that this computer needs for them; 0: not known */
};

/* Where the time of passes of the same shape goes. */
struct kl_bench_shape {
    size_t n_rows, n_sequences;
    size_t depth; /* tokens of each sequence before */
    size_t passes;
    double seconds; /* of a pass */
    struct kl_bench_step steps[KL_N_STEPS];
    double between; /* seconds outside of the steps */
    double beside;  /* seconds of a thread in the steps, beside the products and attention */
    double read_limit, int8_limit; /* GB/s, GMAC/s, between the passes */
};

/* All results. Parts that were not measured are zero. */
struct kl_bench {
    const struct kl_bench_options *options;
    struct kl_loaded *loaded;
    const char *command; /* as it was typed */
    char date[32];       /* UTC */
    struct kl_bench_machine machine;
    struct kl_bench_start start;
    struct kl_bench_result results[KL_BENCH_MAX_RESULTS];
    size_t n_results;
    struct kl_bench_shape shapes[KL_BENCH_MAX_SHAPES];
    size_t n_shapes;
    struct kl_bench_first first;
    struct kl_bench_drafts drafts;
    struct kl_bench_memory memory;
};

/* ---- bench.c --------------------------------------------------------------------------------- */

/* Writes the present time, "2026-11-22 13:00 UTC". */
void kl_bench_date(char out[32]);

/* Reads the value of --only ("machine,decode"; NULL: all) into a set of enum kl_bench_part. */
enum kl_status kl_bench_read_parts(const char *only, unsigned *parts, struct kl_error *err);

/* Measures the parts that the options name, and writes the results to stdout and to the report. The
 * model is loaded; KL_ERR_CANCELLED: Ctrl-C. */
enum kl_status kl_bench_run(struct kl_bench *b, struct kl_error *err);

/* ---- bench_table.c: text on stdout ------------------------------------------------------------
 */

void kl_bench_print_machine(const struct kl_bench *b);
void kl_bench_print_start(const struct kl_bench_start *start);
void kl_bench_print_first_token(const struct kl_bench *b);
void kl_bench_print_drafts(const struct kl_bench_drafts *drafts);
/* The first row prints the heads of the columns, too. */
void kl_bench_print_row(const struct kl_bench *b, const struct kl_bench_result *r);
/* Prints the lines after the last row. */
void kl_bench_print_steps(const struct kl_bench *b);

/* ---- bench_machine.c ------------------------------------------------------------------------- */

/* Reads the description of the computer; measures nothing. */
void kl_bench_describe(struct kl_bench_machine *machine);

/* Measures reading and int8 multiplying with 1, 2, 4, ... up to n_threads threads. */
enum kl_status kl_bench_measure_machine(struct kl_bench_machine *machine,
                                        const struct kl_kernels *kernels, size_t n_threads,
                                        struct kl_error *err);

/* Measures reading and multiplying between the runs of the model: on a virtual machine both speeds
 * change meanwhile, that of multiplying by half when its CPUs become two threads of one core. */
struct kl_bench_reader;
enum kl_status kl_bench_reader_open(const struct kl_kernels *kernels, size_t n_threads,
                                    struct kl_bench_reader **reader, struct kl_error *err);
void kl_bench_reader_close(struct kl_bench_reader *reader);    /* NULL is allowed */
double kl_bench_read_once(struct kl_bench_reader *reader);     /* GB/s */
double kl_bench_multiply_once(struct kl_bench_reader *reader); /* GMAC/s */

/* Resets the kernel's peak of resident memory, so that it excludes the buffers of the measurements
 * before. */
void kl_bench_forget_peak(void);

/* Counts instructions and cycles of the calling thread and of those started after _open. */
struct kl_bench_counters {
    int fds[2];
};
void kl_bench_counters_open(struct kl_bench_counters *c, struct kl_bench_machine *machine);
void kl_bench_counters_close(struct kl_bench_counters *c);
struct kl_bench_counts kl_bench_counters_read(const struct kl_bench_counters *c);

/* ---- bench_forward.c, bench_engine.c --------------------------------------------------------- */

/* Loads the model repeatedly; b->loaded is the last one. */
enum kl_status kl_bench_measure_start(struct kl_bench *b, struct kl_error *err);

/* Measures prefill, decoding and batches; calls `show` with each result. */
enum kl_status kl_bench_measure_model(struct kl_bench *b,
                                      void (*show)(const struct kl_bench *b,
                                                   const struct kl_bench_result *r),
                                      struct kl_error *err);

/* Measures where the time of passes of several shapes goes; calls `show` with each. */
enum kl_status kl_bench_measure_profile(struct kl_bench *b,
                                        void (*show)(const struct kl_bench *b,
                                                     const struct kl_bench_shape *s),
                                        struct kl_error *err);

/* Returns the bytes of weights that a forward pass of one token reads. */
uint64_t kl_bench_bytes_per_token(const struct kl_bench *b);

/* Measures the first token through an engine, with template and tokenizer, and the memory. */
enum kl_status kl_bench_measure_first_token(struct kl_bench *b, struct kl_error *err);

/* Opens an engine of one slot. */
enum kl_status kl_bench_open_engine(const struct kl_bench *b, size_t draft_max,
                                    struct kl_engine **engine, struct kl_error *err);
/* Submits a question, to be answered greedily. */
enum kl_status kl_bench_submit(struct kl_bench *b, struct kl_engine *engine, const char *text,
                               size_t max_tokens, size_t *n_prompt, struct kl_request **request,
                               struct kl_error *err);

/* ---- bench_drafts.c -------------------------------------------------------------------------- */

enum kl_status kl_bench_measure_drafts(struct kl_bench *b, struct kl_error *err);

/* ---- bench_profile.c ------------------------------------------------------------------------- */

const char *kl_bench_step_name(enum kl_step step);
void kl_bench_print_profile(const struct kl_bench *b, const struct kl_bench_shape *s);

/* ---- bench_json.c, bench_report.c ------------------------------------------------------------ */

void kl_bench_json(const struct kl_bench *b, struct kl_printer *out);

/* Writes the page, like kl_html_write. */
enum kl_status kl_bench_write_report(const struct kl_bench *b, const char *path,
                                     struct kl_error *err);

#endif
