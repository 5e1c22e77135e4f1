/*
 * One HTTP request to a server that is measured or examined, with the time of each part of the
 * answer. Blocks the calling thread until the answer is complete, refused or given up. Does not
 * follow redirects or retry.
 */
#ifndef KL_CLIENT_HTTP_CLIENT_H
#define KL_CLIENT_HTTP_CLIENT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/buffer.h"
#include "base/error.h"

#define KL_HTTP_BODY_CAP ((size_t)4 << 20) /* bytes of an answer that is collected */

struct kl_http_request {
    const char *url;
    const char *key;      /* "Authorization: Bearer KEY"; NULL: none */
    const char *body;     /* NULL: GET; else POST, JSON */
    bool offer_gzip;      /* Accept-Encoding: gzip; the answer is not decoded */
    size_t stall_seconds; /* given up when nothing arrives for this time */
    double max_seconds;   /* longest time for the complete answer; 0: no limit */
    /* Receives each part of the body as it arrives, `at` seconds after the request began. Returns
     * false to give the answer up and close the connection. NULL: the body is collected. */
    bool (*take)(void *context, double at, const char *data, size_t len);
    void *context;
    const _Atomic(bool) *stop; /* set to true to give up within a second; or NULL */
};

/* How a request ended. STALLED: nothing arrived, or the answer was not complete in time. */
enum kl_http_failure { KL_HTTP_WHOLE, KL_HTTP_NO_CONNECTION, KL_HTTP_STALLED, KL_HTTP_CUT };

struct kl_http_answer {
    int status;                          /* 0: no answer */
    int version;                         /* 10, 11, 20 */
    char content_type[80], encoding[32]; /* headers; empty: not sent */
    bool chunked;
    double head, end;             /* seconds: when the first byte and the last byte arrived */
    bool given_up;                /* by take or stop */
    enum kl_http_failure failure; /* the kind of KL_ERR_IO */
    struct kl_buffer body;        /* if take is NULL */
};

/* KL_ERR_IO: there was no answer, or the connection broke; the text says why. Any HTTP status is
 * KL_OK. Release the answer after either result. */
enum kl_status kl_http_run(const struct kl_http_request *request, struct kl_http_answer *answer,
                           struct kl_error *err);
void kl_http_release(struct kl_http_answer *answer);

/* Writes the address to which paths are appended: "host:port/v1/" becomes "http://host:port". */
void kl_http_base(const char *url, char *out, size_t size);

#endif
