/*
 * The parts of `kinglet doctor`: each looks at one thing and adds what it found. doctor.c is the
 * command.
 */
#ifndef KL_CLI_DOCTOR_H
#define KL_CLI_DOCTOR_H

#include <stddef.h>

#include "cli/bench.h"
#include "cli/findings.h"
#include "cli/load.h"

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

/* url: "http://host:port" with or without "/v1". key: may be NULL. */
void kl_doctor_stream(struct kl_findings *findings, const char *url, const char *key);

/* ---- doctor_machine.c: processor, memory, disk ------------------------------------------------
 */

/* root: "" for this computer, or a directory with copies of proc/ and sys/. */
void kl_doctor_cpu(struct kl_findings *findings, const char *root);
void kl_doctor_memory(struct kl_findings *findings, const char *root);

/* Which kernels are used, and which better ones are not. */
void kl_doctor_tier(struct kl_findings *findings, const struct kl_load_options *options);

/* ---- doctor_model.c: the model on this computer ------------------------------------------------
 */

/* Loads it twice, measures reading, decoding and the tokenizer, and compares numbers. */
void kl_doctor_model(struct kl_findings *findings, const struct kl_load_options *options);

#endif
