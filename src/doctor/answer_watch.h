/*
 * Sends requests to the server that doctor_stream.c examines, and watches an answer arrive.
 *
 * Every request ends, whatever the server does: after a number of seconds, of silent seconds, or of
 * bytes. All requests together end after KL_LONGEST_REQUESTS times the seconds of one. The structs
 * are the caller's; one thread at a time. It judges nothing.
 */
#ifndef KL_DOCTOR_ANSWER_WATCH_H
#define KL_DOCTOR_ANSWER_WATCH_H

#include "client/api_reader.h"
#include "client/http_client.h"
#include "doctor/doctor.h"

#define KL_CHAT_PATH        "/v1/chat/completions"
#define KL_WATCH_PIECES     4096
#define KL_WATCH_BYTES      ((size_t)4 << 20) /* of an answer of a few hundred tokens */
#define KL_LONGEST_REQUESTS 3

/* The server, and what all requests to it share. */
struct kl_checked_server {
    char base[1024]; /* without a slash at its end */
    char model[128];
    const char *key;
    struct kl_findings *findings;
    enum kl_delivery delivery; /* of its first answer */
    size_t timeout;            /* seconds of one request */
    uint64_t start;            /* of the first one, kl_now_ns */
};
void kl_checked_server_init(struct kl_checked_server *server, const char *url, const char *key,
                            size_t timeout);

/* Like kl_http_run, with the server's key and the limits filled in. */
enum kl_status kl_checked_server_run(const struct kl_checked_server *server,
                                     struct kl_http_request *request, struct kl_http_answer *answer,
                                     struct kl_error *err);
/* Sends a request to base + path; body NULL: GET. The answer is collected. */
enum kl_status kl_checked_server_ask(const struct kl_checked_server *server, const char *path,
                                     const char *body, struct kl_http_answer *answer,
                                     struct kl_error *err);

/* Everything seen of an answer. Times are seconds after its request began. */
struct kl_watch {
    double at[KL_WATCH_PIECES];
    struct kl_arrivals arrivals;
    double now, first_event, done_at;
    double silence; /* the longest time without a byte before the first text */
    size_t bytes, comments, answer_tokens;
    bool done, leave_at_first_text, left;
    char finish[40], error[200], broken[200];
    struct kl_stream_reader reader;
    enum kl_status status;
    struct kl_error err;
};

/* A question to the model. */
struct kl_question {
    const char *text;
    size_t n_tokens;
    bool leave; /* close the connection at the first text */
    bool offer_gzip;
};

/* Asks a question and watches the answer arrive. KL_ERR_LIMIT: stopped, because it was too long or
 * continued after [DONE]. Release the answer after either result. */
enum kl_status kl_watch_answer(const struct kl_checked_server *server,
                               const struct kl_question *question, struct kl_watch *watch,
                               struct kl_http_answer *answer, struct kl_error *err);

#endif
