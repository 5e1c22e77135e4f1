/*
 * Inside doctor_stream.c: asking the server that is looked at, and watching its answer come.
 *
 * Whatever the server does, each request ends: after so many seconds, so many silent ones, so many
 * bytes. All requests together end after KL_PATIENT_REQUESTS times the seconds of one.
 */
#ifndef KL_DOCTOR_DOCTOR_WATCH_H
#define KL_DOCTOR_DOCTOR_WATCH_H

#include "client/api_reader.h"
#include "client/http_client.h"
#include "doctor/doctor.h"

#define KL_CHAT_PATH        "/v1/chat/completions"
#define KL_WATCH_PIECES     4096
#define KL_WATCH_BYTES      ((size_t)4 << 20) /* of an answer of some hundred tokens */
#define KL_PATIENT_REQUESTS 3

/* What all requests share. */
struct kl_patient {
    char base[1024]; /* without a slash at its end */
    char model[128];
    const char *key;
    struct kl_findings *findings;
    enum kl_delivery delivery; /* of its first answer */
    size_t timeout;            /* seconds of one request */
    uint64_t start;            /* of the first one, kl_now_ns */
};
void kl_patient_init(struct kl_patient *patient, const char *url, const char *key, size_t timeout);

/* As kl_http_run, with the patient's key and limits put into the request. */
enum kl_status kl_patient_run(const struct kl_patient *patient, struct kl_http_request *request,
                              struct kl_http_answer *answer, struct kl_error *err);
/* body NULL: GET. The answer is collected. */
enum kl_status kl_patient_ask(const struct kl_patient *patient, const char *path, const char *body,
                              struct kl_http_answer *answer, struct kl_error *err);

/* What was seen of an answer. */
struct kl_watch {
    double at[KL_WATCH_PIECES];
    struct kl_arrivals arrivals;
    double now, first_event, done_at;
    double silence; /* longest time without a byte before the first text */
    size_t bytes, comments, answer_tokens;
    bool done, leave_at_first_text, left;
    char finish[40], error[200], broken[200];
    struct kl_stream_reader reader;
    enum kl_status status;
    struct kl_error err;
};

/* What is asked, and how. */
struct kl_asking {
    const char *text;
    size_t n_tokens;
    bool leave; /* at the first text */
    bool offer_gzip;
};

/* Asks for an answer and watches it come. KL_ERR_LIMIT: it was given up for its size, or went on
 * after [DONE]. */
enum kl_status kl_watch_answer(const struct kl_patient *patient, const struct kl_asking *asking,
                               struct kl_watch *watch, struct kl_http_answer *answer,
                               struct kl_error *err);

#endif
