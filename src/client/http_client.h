/*
 * One HTTP request to a server that is looked at, by libcurl, with the time of everything that
 * comes. Blocks until the answer is complete, refused or given up.
 */
#ifndef KL_CLIENT_HTTP_CLIENT_H
#define KL_CLIENT_HTTP_CLIENT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/buffer.h"
#include "base/error.h"

#define KL_HTTP_BODY_CAP ((size_t)4 << 20) /* of an answer that is collected */

struct kl_http_request {
    const char *url;
    const char *key;      /* "Authorization: Bearer KEY"; NULL: none */
    const char *body;     /* NULL: GET; else POST, JSON */
    bool offer_gzip;      /* Accept-Encoding: gzip; the answer is not decoded */
    size_t stall_seconds; /* given up when nothing comes for so long */
    double max_seconds;   /* given up when it is not over then, whatever comes; 0: never */
    /* Sees each part of the body as it comes, `at` seconds after the request began; false gives the
     * answer up: the connection is closed. NULL: the body is collected. */
    bool (*see)(void *context, double at, const char *data, size_t len);
    void *context;
    const _Atomic(bool) *stop; /* becomes true: given up within a second. NULL: never */
};

/* STALLED: nothing came, or it was not over in time. */
enum kl_http_failure { KL_HTTP_WHOLE, KL_HTTP_NO_CONNECTION, KL_HTTP_STALLED, KL_HTTP_CUT };

struct kl_http_answer {
    int status;                          /* 0: none came */
    int version;                         /* 10, 11, 20 */
    char content_type[80], encoding[32]; /* empty: the header is not there */
    bool chunked;
    double head, end;             /* seconds: when the first byte and when the last one came */
    bool given_up;                /* by see, or stop */
    enum kl_http_failure failure; /* what KL_ERR_IO was */
    struct kl_buffer body;        /* without see */
};

/* KL_ERR_IO: no answer, or it broke; the text says why. Any status that came is KL_OK. The answer
 * is to be released in any case. */
enum kl_status kl_http_run(const struct kl_http_request *request, struct kl_http_answer *answer,
                           struct kl_error *err);
void kl_http_release(struct kl_http_answer *answer);

/* The address that a server's paths are put behind: "host:port/v1/" is meant as
 * "http://host:port". */
void kl_http_base(const char *url, char *out, size_t size);

#endif
