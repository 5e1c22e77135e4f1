/*
 * `kinglet doctor`: each part examines one thing and adds findings: what was measured, its cost,
 * and a remedy.
 *
 * A part never fails: a check that cannot be made is a finding, or nothing. Parts print nothing and
 * change nothing but caches that a start would change. They use static storage: one thread at a
 * time. root: "" for this computer, or a directory with copies of proc/ and sys/ (tests).
 */
#ifndef KL_DOCTOR_DOCTOR_H
#define KL_DOCTOR_DOCTOR_H

#include <stddef.h>

#include "bench/bench.h"
#include "console/findings.h"
#include "doctor/process_watch.h"
#include "load/load.h"

/* ---- doctor_stream.c: any OpenAI-compatible server ------------------------------------------- */

/* The arrival times of an answer's text, in seconds after the request began. */
struct kl_arrivals {
    double *at; /* [n], ascending: arrival of each piece of text */
    size_t n;
    double end; /* end of the answer */
};

enum kl_delivery {
    KL_DELIVERY_UNKNOWN, /* too little text, or too fast, to judge */
    KL_DELIVERY_REAL,    /* each piece as it was generated */
    KL_DELIVERY_GROUPED, /* a proxy holds pieces back */
    KL_DELIVERY_LUMP     /* all at once at the end: not a stream */
};

/* Gaps between arrivals in seconds; 0 with fewer than two arrivals. */
struct kl_delivery_judgement {
    enum kl_delivery delivery;
    size_t n_arrivals; /* pieces that arrived together count once */
    double gap_median, gap_p95, gap_max;
};

/* Judges how an answer arrived. Pure. */
struct kl_delivery_judgement kl_judge_delivery(const struct kl_arrivals *arrivals);

/* Examines a server by a few requests. url: "http://host:port" with or without "/v1", or a URL with
 * a query ("?"), which is requested as it is and answers with server-sent events of any kind. key:
 * may be NULL. timeout: of one request, seconds. */
void kl_doctor_stream(struct kl_findings *findings, const char *url, const char *key,
                      size_t timeout);

/* Whether the server reports that it works on no request. */
bool kl_server_is_idle(const char *url, const char *key, size_t timeout);

/* ---- doctor_cpu.c: processor; doctor_memory.c: memory, disk ---------------------------------- */

/* Limits, frequencies, throttling, temperature of the processor, and other programs. */
void kl_doctor_cpu(struct kl_findings *findings, const char *root);
/* Available memory, limits, swap, page size. */
void kl_doctor_memory(struct kl_findings *findings, const char *root);

/* The disk with a file or directory, and whether it is busy with writes. */
void kl_doctor_storage(struct kl_findings *findings, const char *root, const char *path);

/* The kernels in use, and better ones that are not used. */
void kl_doctor_tier(struct kl_findings *findings, const struct kl_load_options *options);

/* ---- doctor_health.c: the figures that a server publishes ------------------------------------ */

/* base: from kl_http_base. Adds nothing for servers of other programs. */
void kl_doctor_health(struct kl_findings *findings, const char *base, const char *key);

/* ---- doctor_process.c: a running process ----------------------------------------------------- */

/* Watches its threads, memory and log for a second. idle: it is known to work on no request. */
void kl_doctor_process(struct kl_findings *findings, int pid, bool idle);

/* Judges what was seen; watch->ended is false. */
void kl_judge_process(struct kl_findings *findings, const struct kl_process_watch *watch,
                      bool idle);

struct kl_log_growth {
    const char *path;
    double rate;  /* bytes a second */
    bool sd_card; /* the log is on an SD card */
    bool debug;   /* the process logs with level debug */
};
void kl_judge_log(struct kl_findings *findings, const struct kl_log_growth *log);

/* ---- doctor_file.c: a model file before it is used --------------------------------------------
 */

/* Finds its shape, whether its bytes are the published ones, its number types, tokenizer and turns.
 * true: kinglet runs it; the caller
 * unloads *loaded, which was opened with KL_LOAD_AHEAD, and *entry is the model of the catalogue
 * that has the bytes of this file, or NULL. false: each reason why not is a finding. */
bool kl_doctor_file(struct kl_findings *findings, const struct kl_load_options *options,
                    struct kl_loaded *loaded, const struct kl_model_entry **entry);

/* ---- doctor_turns.c: chat template and ends -------------------------------------------------- */

/* Whether the template is known, and its turns and the model's answers end with control tokens. */
void kl_doctor_turns(struct kl_findings *findings, const struct kl_loaded *loaded);

/* ---- doctor_fit.c: memory and disk that a model takes -----------------------------------------
 */

/* How serve plans its memory; the program sets it, since serving lies above this room. */
struct kl_doctor_serving {
    size_t parallel; /* conversations at a time, by default */
    /* Adds the lines of serve to those of a loaded model. Errors are those of kl_engine_open. */
    enum kl_status (*plan)(const struct kl_loaded *loaded, size_t ctx_size, size_t parallel,
                           struct kl_plan *plan, struct kl_error *err);
};

/* Whether serve has the memory for this model: with --memory or the control group's limit, or else
 * what is available; and if not, with which options it has. loaded: at least KL_LOAD_AHEAD. */
bool kl_doctor_fit(struct kl_findings *findings, const struct kl_load_options *options,
                   const struct kl_doctor_serving *serving, const struct kl_loaded *loaded);

/* Says how much of the disk the packed weights take, and whether there is room. */
void kl_doctor_room_on_disk(struct kl_findings *findings, const struct kl_loaded *loaded);

/* ---- doctor_expect.c: the speed of a model that was not used yet ------------------------------
 */

/* Tokens a second, at worst and at best. */
struct kl_expected_speed {
    double decode_low, decode_high, prefill_low, prefill_high;
};

/* Computes it from the measured speed of memory and processor. Pure. */
struct kl_expected_speed kl_expect_speed(const struct kl_model_work *work,
                                         const struct kl_bench_point *point);

/* Measures the computer for half a second. */
void kl_doctor_expect(struct kl_findings *findings, const struct kl_loaded *loaded);

/* ---- doctor_model.c: the model on this computer ---------------------------------------------- */

/* The parts above. Then, if it fits, and was used before or `measure` is set: loads it three times
 * (as found, from the disk, from memory), measures reading and decoding, and runs the two parts
 * below. */
void kl_doctor_model(struct kl_findings *findings, const struct kl_load_options *options,
                     const struct kl_doctor_serving *serving, bool measure);

/* ---- doctor_tokenizer.c: speed, and ids compared with the stored ones ------------------------ */

/* Speed and ids. */
void kl_doctor_tokenizer(struct kl_findings *findings, const struct kl_loaded *loaded);

/* ---- doctor_numbers.c: whether the model computes correctly ---------------------------------- */

/* Compares the model's answer with the stored one, and its kernels with the scalar ones. entry: the
 * model of the catalogue that has the bytes of this file, or NULL. */
enum kl_status kl_doctor_numbers(struct kl_findings *findings, const struct kl_loaded *loaded,
                                 const struct kl_model_entry *entry,
                                 const struct kl_load_options *options, struct kl_error *err);

/* ---- doctor_cache.c: the cache directory ----------------------------------------------------- */

/* The size of each kind of file, and how much of it no process uses. Reads directories only. */
void kl_doctor_cache(struct kl_findings *findings);

#endif
