/*
 * `kinglet bench --soak`: puts the load of simulated users on a server over HTTP, for minutes or
 * days, and reports latencies, failures, memory and their drift.
 *
 * bench_soak.c runs it; _options is the command line, _prompts the questions, _user a thread of one
 * user, _stats the statistics, _machine memory and temperature, _server a server that is started
 * for the run; _report writes text and JSON, _page the HTML page.
 *
 * The main thread and the threads of the users share struct kl_soak under its lock; all other
 * structs are for one thread at a time. Memory does not grow with time: histograms, and a series of
 * at most KL_SOAK_POINTS points.
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

#define KL_SOAK_MAX_USERS 64
#define KL_SOAK_KINDS     8   /* files of prompts */
#define KL_SOAK_TURNS     16  /* questions of one conversation */
#define KL_SOAK_POINTS    512 /* of the series; even */
#define KL_SOAK_STATUSES  4   /* that are counted separately */
#define KL_SOAK_ARGUMENTS 32  /* for `serve` */

struct kl_soak_options {
    const struct kl_load_options *load; /* of a server that is started */
    char **arguments;                   /* in addition, for `serve` */
    size_t n_arguments;
    const char *time, *url, *key_file, *model_name, *prompts, *report;
    size_t users, rounds, generate, timeout, pid; /* rounds, pid 0: not given */
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

/* Reads "90s", "10m", "72h" or "3d" as seconds. */
enum kl_status kl_soak_parse_time(const char *text, double *seconds, struct kl_error *err);

/* ---- bench_soak_prompts.c -------------------------------------------------------------------- */

/* One conversation: the questions of its user, in order. */
struct kl_soak_item {
    const char *turns[KL_SOAK_TURNS];
    size_t n_turns, kind;
};

struct kl_soak_prompts {
    char names[KL_SOAK_KINDS][32]; /* of the files, without .txt */
    char *texts[KL_SOAK_KINDS];    /* the items point into these */
    size_t n_kinds;
    struct kl_soak_item *items; /* [n_items]: the first of each kind, the second of each, ... */
    size_t n_items;
};

/* Reads the sets of bench/prompts, which are part of the program (directory NULL), or every *.txt
 * file of a directory, sorted by name. A line is a question; one that begins with "+ " continues
 * the conversation of the line above; "\n" stands for a line end; empty lines and lines that begin
 * with "#" are ignored. Release the prompts after either result. */
enum kl_status kl_soak_prompts_read(const char *directory, struct kl_soak_prompts *prompts,
                                    struct kl_error *err);
void kl_soak_prompts_release(struct kl_soak_prompts *prompts);

/* ---- bench_soak_stats.c ---------------------------------------------------------------------- */

enum kl_soak_outcome {
    KL_SOAK_ANSWERED,
    KL_SOAK_CONNECT, /* no connection */
    KL_SOAK_TIMEOUT, /* nothing arrived for too long */
    KL_SOAK_STATUS,  /* not 200 */
    KL_SOAK_CUT,     /* the stream ended before the answer did */
    KL_SOAK_ERROR,   /* an error object in the stream */
    KL_SOAK_BROKEN,  /* no event stream, or malformed events */
    KL_SOAK_EMPTY,   /* an answer without text */
    KL_SOAK_OUTCOMES
};
const char *kl_soak_outcome_name(enum kl_soak_outcome outcome);

/* The result of one request. Times are seconds since it began. */
struct kl_soak_answer {
    enum kl_soak_outcome outcome;
    int status;           /* of HTTP; 0: none arrived */
    double first, last;   /* of the first and the last text */
    double end;           /* of the last byte */
    size_t texts, tokens; /* tokens: from its usage; 0: it has none */
    char error[512];      /* why it failed */
};

/* The distribution of a time: mean, variance and largest value are exact, quantiles within 2 %. */
struct kl_soak_spread {
    struct kl_histogram histogram; /* seconds */
    double mean, squares, largest; /* squares: the sum of squared distances from the mean */
};
void kl_soak_spread_init(struct kl_soak_spread *spread);
void kl_soak_spread_add(struct kl_soak_spread *spread, double seconds);
double kl_soak_variance(const struct kl_soak_spread *spread);
/* share: 0 to 1. The result never exceeds the largest value. */
double kl_soak_quantile(const struct kl_soak_spread *spread, double share);

struct kl_soak_sums {
    uint64_t outcomes[KL_SOAK_OUTCOMES], requests;
    struct {
        int status;
        uint64_t n;
    } statuses[KL_SOAK_STATUSES];           /* the last one: status 0, for all others */
    struct kl_soak_spread latency, first;   /* of answered requests */
    struct kl_soak_spread gap;              /* from text to text, of all requests */
    uint64_t tokens, without_usage;         /* answers whose texts were counted instead */
    double writing_tokens, writing_seconds; /* after the first text of each answer */
};
void kl_soak_sums_init(struct kl_soak_sums *sums);
void kl_soak_sums_add(struct kl_soak_sums *sums, const struct kl_soak_answer *answer);
/* Returns tokens a second between the first and the last text of answers; 0: not known. */
double kl_soak_writing_speed(const struct kl_soak_sums *sums);

/* A reading of server and computer. 0: not known. */
struct kl_soak_reading {
    double resident, anonymous, file, swap, peak; /* bytes of the server */
    double celsius, mhz;                          /* the hottest zone; the mean of all CPUs */
    bool knows_throttling, throttled;             /* since the last reading */
};

/* One interval of the run: what was answered in it, and the readings. */
struct kl_soak_point {
    uint64_t answered, failed;
    double latency, latency_max, first, first_max; /* sums, and largest values */
    double writing_tokens, writing_seconds;
    double resident, anonymous, swap, celsius; /* the largest */
    double mhz;                                /* the smallest; 0: not known */
};

struct kl_soak_series {
    struct kl_soak_point points[KL_SOAK_POINTS];
    size_t n;
    double interval; /* seconds; doubled, with pairs of points merged, when all are used */
};
void kl_soak_series_init(struct kl_soak_series *series);
/* Returns the point of a time (seconds since the start); points that were skipped are empty. */
struct kl_soak_point *kl_soak_series_at(struct kl_soak_series *series, double time);
void kl_soak_point_answer(struct kl_soak_point *point, const struct kl_soak_answer *answer);
void kl_soak_point_reading(struct kl_soak_point *point, const struct kl_soak_reading *reading);

/* Merges the first or the last tenth of the run (at least one point) into one point. */
struct kl_soak_point kl_soak_series_tenth(const struct kl_soak_series *series, bool last);

/* ---- bench_soak_machine.c -------------------------------------------------------------------- */

/* root: as in base/system_files.h. */
struct kl_soak_machine {
    const char *root;
    double throttle_count; /* of x86 CPUs at the last reading; below 0: none yet */
};
void kl_soak_read_process(const char *root, pid_t pid, struct kl_soak_reading *reading);
void kl_soak_read_machine(struct kl_soak_machine *machine, struct kl_soak_reading *reading);

/* ---- bench_soak_server.c --------------------------------------------------------------------- */

/* `kinglet serve` as a child process on a free port of this computer. It ends when this process
 * ends, for whatever reason. */
struct kl_soak_server {
    pid_t pid; /* 0: there is none */
    char url[64];
};
/* Starts it and returns when it is ready. KL_ERR_CANCELLED: Ctrl-C. */
enum kl_status kl_soak_server_start(const struct kl_soak_options *options,
                                    struct kl_soak_server *server, struct kl_error *err);
/* KL_ERR_IO: it has ended; the text says how. */
enum kl_status kl_soak_server_check(struct kl_soak_server *server, struct kl_error *err);
/* Ends it, if it runs. KL_ERR_IO: it failed, or did not end in time. */
enum kl_status kl_soak_server_stop(struct kl_soak_server *server, struct kl_error *err);

/* ---- the run --------------------------------------------------------------------------------- */

struct kl_soak {
    const struct kl_soak_options *options;
    const char *command; /* as it was typed */
    char date[32];       /* UTC, of the start */
    char base[1024];     /* of the server, without a slash at its end */
    char model[128];
    const char *key; /* or NULL */
    double seconds;  /* the requested duration */
    struct kl_soak_prompts prompts;
    struct kl_bench_machine machine; /* only its description */
    struct kl_soak_server server;    /* started for the run; pid 0: none */

    uint64_t start; /* kl_now_ns */
    double lasted;  /* seconds */
    bool interrupted;
    _Atomic(bool) stop;
    _Atomic(size_t) next;    /* next item; grows over all rounds */
    _Atomic(size_t) working; /* users */
    int over;                /* eventfd: signalled by the last user */

    pthread_mutex_t lock; /* of all members below */
    struct kl_soak_sums all, kinds[KL_SOAK_KINDS];
    struct kl_soak_series series;
    char errors[KL_SOAK_OUTCOMES][512]; /* the first one of each */
    struct kl_soak_reading last;
    double peak, hottest; /* bytes, degrees Celsius */
    uint64_t readings, throttled;
};

/* bench_soak_user.c: the thread of one user, which asks until the run is over. argument: struct
 * kl_soak *. */
void *kl_soak_user(void *argument);

/* ---- bench_soak_report.c --------------------------------------------------------------------- */

uint64_t kl_soak_failed(const struct kl_soak_sums *sums);
void kl_soak_json(const struct kl_soak *soak, struct kl_printer *out);
void kl_soak_text(const struct kl_soak *soak, struct kl_printer *out);

/* ---- bench_soak_page.c ----------------------------------------------------------------------- */

/* Writes the page, like kl_html_write. */
enum kl_status kl_soak_write_page(const struct kl_soak *soak, struct kl_error *err);

/* ---- bench_soak.c ---------------------------------------------------------------------------- */

/* The whole of `kinglet bench --soak`: runs, and prints the report. *all_answered: there were
 * requests, and none failed. KL_ERR_CANCELLED: Ctrl-C before the run began. */
enum kl_status kl_bench_soak(const struct kl_soak_options *options, const char *command,
                             bool *all_answered, struct kl_error *err);

#endif
