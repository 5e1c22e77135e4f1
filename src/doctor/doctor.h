/*
 * The parts of `kinglet doctor`: each looks at one thing and adds what it found. doctor.c is the
 * command.
 */
#ifndef KL_DOCTOR_DOCTOR_H
#define KL_DOCTOR_DOCTOR_H

#include <stddef.h>

#include "bench/bench.h"
#include "console/findings.h"
#include "doctor/process_watch.h"
#include "load/load.h"

/* ---- doctor_stream.c: any OpenAI-compatible server --------------------------------------------
 */

/* How the text of an answer came. Times are seconds after the request began. */
struct kl_arrivals {
    double *at; /* [n] when each piece of text came; not falling */
    size_t n;
    double end; /* of the whole answer */
};

enum kl_delivery {
    KL_DELIVERY_UNKNOWN, /* too little or too quick to tell */
    KL_DELIVERY_REAL,    /* piece by piece, as it was made */
    KL_DELIVERY_GROUPED, /* something on the way holds pieces back */
    KL_DELIVERY_LUMP     /* all at once, at the end: not a stream */
};

/* gap: seconds between the pieces, where there are at least two arrivals. */
struct kl_delivery_judgement {
    enum kl_delivery delivery;
    size_t n_arrivals; /* pieces that came together are one */
    double gap_median, gap_p95, gap_max;
};

/* Pure. */
struct kl_delivery_judgement kl_judge_delivery(const struct kl_arrivals *arrivals);

/* url: "http://host:port" with or without "/v1"; or one with a query ("?"), which is asked as it is
 * and answers with server-sent events of any kind. key: may be NULL. timeout: seconds of one
 * request. */
void kl_doctor_stream(struct kl_findings *findings, const char *url, const char *key,
                      size_t timeout);

/* Whether the server says that it works on no request now. */
bool kl_server_is_idle(const char *url, const char *key, size_t timeout);

/* ---- doctor_machine.c: processor; doctor_memory.c: memory, disk --------------------------------
 */

/* root: "" for this computer, or a directory with copies of proc/ and sys/. */
void kl_doctor_cpu(struct kl_findings *findings, const char *root);
void kl_doctor_memory(struct kl_findings *findings, const char *root);

/* What the files of a directory (or this file) lie on, and whether that is kept busy. */
void kl_doctor_storage(struct kl_findings *findings, const char *root, const char *path);

/* Which kernels are used, and which better ones are not. */
void kl_doctor_tier(struct kl_findings *findings, const struct kl_load_options *options);

/* ---- doctor_health.c: how much a server tells of itself -----------------------------------------
 */

/* base: as kl_http_base makes it. Says nothing of servers that are not kinglet's. */
void kl_doctor_health(struct kl_findings *findings, const char *base, const char *key);

/* ---- doctor_process.c: a running process -------------------------------------------------------
 */

/* Looks at its threads, memory and log for a second. unasked: it is known that it works on no
 * request. */
void kl_doctor_process(struct kl_findings *findings, int pid, bool unasked);

/* What was seen, judged; watch->ended is false. */
void kl_judge_process(struct kl_findings *findings, const struct kl_process_watch *watch,
                      bool unasked);

struct kl_log_growth {
    const char *path;
    double rate;  /* bytes a second */
    bool sd_card; /* it lies on one */
    bool debug;   /* the process was told to log everything */
};
void kl_judge_log(struct kl_findings *findings, const struct kl_log_growth *log);

/* ---- doctor_model.c: the model on this computer ------------------------------------------------
 */

/* Starts it three times (as it is, from the disk, from memory), measures reading and decoding, and
 * goes on with the two parts below. */
void kl_doctor_model(struct kl_findings *findings, const struct kl_load_options *options);

/* ---- doctor_tokenizer.c: its speed, and its ids against the stored ones ------------------------
 */

void kl_doctor_tokenizer(struct kl_findings *findings, const struct kl_loaded *loaded);

/* ---- doctor_numbers.c: whether the numbers are right -------------------------------------------
 */

/* The stored answer of this model, and the kernels against the scalar ones. entry: which model of
 * the catalogue the bytes of its file are, or NULL. */
enum kl_status kl_doctor_numbers(struct kl_findings *findings, const struct kl_loaded *loaded,
                                 const struct kl_model_entry *entry,
                                 const struct kl_load_options *options, struct kl_error *err);

#endif
