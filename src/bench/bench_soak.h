/*
 * The parts of `kinglet bench --soak`: the same load for minutes or days, against a server over
 * HTTP, and what becomes of it. bench_soak.c is the command, _prompts what is asked, _person who
 * asks, _stats what is kept of the answers, _machine what server and computer say of themselves,
 * _server a server of our own, _report JSON, text and page.
 *
 * Memory does not grow with time: histograms, and a series of at most KL_SOAK_POINTS points.
 */
#ifndef KL_BENCH_BENCH_SOAK_H
#define KL_BENCH_BENCH_SOAK_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "base/histogram.h"
#include "base/printer.h"
#include "bench/bench.h"
#include "load/load.h"

#define KL_SOAK_PEOPLE    64
#define KL_SOAK_KINDS     8   /* files of prompts */
#define KL_SOAK_TURNS     16  /* questions of one conversation */
#define KL_SOAK_POINTS    512 /* of the series; even */
#define KL_SOAK_STATUSES  4   /* different ones that are told apart */
#define KL_SOAK_ARGUMENTS 32  /* for `serve` */

struct kl_soak_options {
    const struct kl_load_options *load; /* of a server of our own */
    char **arguments;                   /* further ones for `serve` */
    size_t n_arguments;
    const char *time, *url, *key_file, *model_name, *prompts, *report;
    size_t people, rounds, generate, timeout, pid; /* rounds, pid 0: not given */
    bool json;
};

/* ---- bench_soak_options.c -------------------------------------------------------------------- */

/* Appends the option rows that fill *options, but for --generate, --report and --json, which bench
 * has anyway. */
void kl_soak_add_options(struct kl_option_table *table, struct kl_soak_options *options);

/* Refuses options of one kind of measuring that were given to the other. n_arguments: the words
 * behind "--". */
enum kl_status kl_soak_check_options(const struct kl_soak_options *options, size_t n_arguments,
                                     struct kl_error *err);

/* "90s", "10m", "72h", "3d": seconds. */
enum kl_status kl_soak_parse_time(const char *text, double *seconds, struct kl_error *err);

/* ---- bench_soak_prompts.c -------------------------------------------------------------------- */

/* One conversation: what the person says, in turn. */
struct kl_soak_item {
    const char *turns[KL_SOAK_TURNS];
    size_t n_turns, kind;
};

struct kl_soak_prompts {
    char names[KL_SOAK_KINDS][32]; /* of the files, without .txt */
    char *texts[KL_SOAK_KINDS];    /* what the items point into */
    size_t n_kinds;
    struct kl_soak_item *items; /* [n_items]: a first one of each kind, a second one, ... */
    size_t n_items;
};

/* The sets of bench/prompts, which the program holds (directory NULL), or every *.txt file of a
 * directory, by name. A line is a question; one that begins with "+ " goes on with the conversation
 * of the line above; "\n" stands for a line's end; empty lines and those that begin with "#" do not
 * count. To be released in any case. */
enum kl_status kl_soak_prompts_read(const char *directory, struct kl_soak_prompts *prompts,
                                    struct kl_error *err);
void kl_soak_prompts_release(struct kl_soak_prompts *prompts);

/* ---- bench_soak_stats.c ---------------------------------------------------------------------- */

enum kl_soak_outcome {
    KL_SOAK_ANSWERED,
    KL_SOAK_CONNECT, /* no connection */
    KL_SOAK_TIMEOUT, /* nothing came for too long */
    KL_SOAK_STATUS,  /* not 200 */
    KL_SOAK_CUT,     /* the stream ended before the answer did */
    KL_SOAK_ERROR,   /* an error object in the stream */
    KL_SOAK_BROKEN,  /* no event stream, or events that can not be read */
    KL_SOAK_EMPTY,   /* an answer without text */
    KL_SOAK_OUTCOMES
};
const char *kl_soak_outcome_name(enum kl_soak_outcome outcome);

/* One request. Times in seconds from its beginning. */
struct kl_soak_answer {
    enum kl_soak_outcome outcome;
    int status;           /* of HTTP; 0: none came */
    double first, last;   /* the first and the last text */
    double end;           /* the last byte */
    size_t texts, tokens; /* tokens: as its usage says; 0: it does not */
    char error[512];      /* why it failed */
};

/* Values of one measure: mean, variance and largest are exact, percentiles within 2 %. */
struct kl_soak_spread {
    struct kl_histogram histogram; /* seconds */
    double mean, squares, largest; /* squares: the sum of squared distances from the mean */
};
void kl_soak_spread_init(struct kl_soak_spread *spread);
void kl_soak_spread_add(struct kl_soak_spread *spread, double seconds);
double kl_soak_variance(const struct kl_soak_spread *spread);
/* share: 0 to 1. Never above the largest value. */
double kl_soak_quantile(const struct kl_soak_spread *spread, double share);

struct kl_soak_sums {
    uint64_t outcomes[KL_SOAK_OUTCOMES], requests;
    struct {
        int status;
        uint64_t n;
    } statuses[KL_SOAK_STATUSES];           /* the last one: status 0, all others */
    struct kl_soak_spread latency, first;   /* of what was answered */
    struct kl_soak_spread gap;              /* from text to text, whatever came of the answer */
    uint64_t tokens, without_usage;         /* of these the texts were counted */
    double writing_tokens, writing_seconds; /* behind the first text */
};
void kl_soak_sums_init(struct kl_soak_sums *sums);
void kl_soak_sums_add(struct kl_soak_sums *sums, const struct kl_soak_answer *answer);
/* Tokens a second from the first to the last text of an answer; 0: not known. */
double kl_soak_writing_speed(const struct kl_soak_sums *sums);

/* What server and computer said. 0: not known. */
struct kl_soak_reading {
    double resident, anonymous, file, swap, peak; /* bytes of the server */
    double celsius, mhz;                          /* the hottest zone; the mean of all CPUs */
    bool knows_throttling, throttled;             /* since the reading before */
};

/* One interval of the run. */
struct kl_soak_point {
    uint64_t answered, failed;
    double latency, latency_max, first, first_max; /* sums, and the largest */
    double writing_tokens, writing_seconds;
    double resident, anonymous, swap, celsius; /* the largest */
    double mhz;                                /* the smallest; 0: not known */
};

struct kl_soak_series {
    struct kl_soak_point points[KL_SOAK_POINTS];
    size_t n;
    double interval; /* seconds; doubles when all points are taken */
};
void kl_soak_series_init(struct kl_soak_series *series);
/* The point of a time, seconds since the start; those before it that nobody asked for are empty. */
struct kl_soak_point *kl_soak_series_at(struct kl_soak_series *series, double time);
void kl_soak_point_answer(struct kl_soak_point *point, const struct kl_soak_answer *answer);
void kl_soak_point_reading(struct kl_soak_point *point, const struct kl_soak_reading *reading);

/* A tenth of the run (at least one point), all intervals in one: the first, or the last. */
struct kl_soak_point kl_soak_series_tenth(const struct kl_soak_series *series, bool last);

/* ---- bench_soak_machine.c -------------------------------------------------------------------- */

/* root: "" for this computer, or a directory with copies of proc/ and sys/. */
struct kl_soak_machine {
    const char *root;
    double throttle_count; /* of x86, at the last reading; below 0: none yet */
};
void kl_soak_read_process(const char *root, pid_t pid, struct kl_soak_reading *reading);
void kl_soak_read_machine(struct kl_soak_machine *machine, struct kl_soak_reading *reading);

/* ---- bench_soak_server.c --------------------------------------------------------------------- */

/* `kinglet serve` as a child, on a free port of this computer. Ends with us, however we end. */
struct kl_soak_server {
    pid_t pid; /* 0: there is none */
    char url[64];
};
/* Returns when it is ready. KL_ERR_CANCELLED: Ctrl-C. */
enum kl_status kl_soak_server_start(const struct kl_soak_options *options,
                                    struct kl_soak_server *server, struct kl_error *err);
/* KL_ERR_IO when it has ended; the text says how. */
enum kl_status kl_soak_server_check(struct kl_soak_server *server, struct kl_error *err);
/* Ends it. KL_ERR_IO when it did not end well. Nothing without one. */
enum kl_status kl_soak_server_stop(struct kl_soak_server *server, struct kl_error *err);

/* ---- the run --------------------------------------------------------------------------------- */

struct kl_soak {
    const struct kl_soak_options *options;
    const char *command; /* as it was typed */
    char date[32];       /* UTC, of the start */
    char base[1024];     /* of the server, without a slash at its end */
    char model[128];
    const char *key; /* or NULL */
    double seconds;  /* asked for */
    struct kl_soak_prompts prompts;
    struct kl_bench_machine machine; /* only what it says of itself */
    struct kl_soak_server server;    /* of our own; pid 0: none */

    uint64_t start; /* kl_now_ns */
    double lasted;  /* seconds */
    bool interrupted;
    _Atomic(bool) stop;
    _Atomic(size_t) next;    /* item; counts on over the rounds */
    _Atomic(size_t) working; /* people */
    int over;                /* eventfd: the last of them has gone */

    pthread_mutex_t lock; /* of all below */
    struct kl_soak_sums all, kinds[KL_SOAK_KINDS];
    struct kl_soak_series series;
    char errors[KL_SOAK_OUTCOMES][512]; /* the first one of each */
    struct kl_soak_reading last;
    double peak, hottest; /* bytes, degrees Celsius */
    uint64_t readings, throttled;
};

/* bench_soak_person.c: asks until it is over. argument: struct kl_soak *. For kl_thread_start. */
void *kl_soak_person(void *argument);

/* ---- bench_soak_report.c --------------------------------------------------------------------- */

uint64_t kl_soak_failed(const struct kl_soak_sums *sums);
void kl_soak_json(const struct kl_soak *soak, struct kl_printer *out);
void kl_soak_text(const struct kl_soak *soak, struct kl_printer *out);

/* ---- bench_soak_page.c ----------------------------------------------------------------------- */

/* As kl_html_write. */
enum kl_status kl_soak_write_page(const struct kl_soak *soak, struct kl_error *err);

/* ---- bench_soak.c ---------------------------------------------------------------------------- */

/* The whole of `kinglet bench --soak`: runs, and prints the report. *all_answered: there were
 * requests, and none failed. KL_ERR_CANCELLED: Ctrl-C before the run began. */
enum kl_status kl_bench_soak(const struct kl_soak_options *options, const char *command,
                             bool *all_answered, struct kl_error *err);

#endif
