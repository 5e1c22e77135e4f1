/*
 * One GET of a file, or of the rest of it, whose bytes go to the caller as they arrive.
 *
 * Blocks in the calling thread until the transfer is complete, refused or given up. Follows
 * redirects, but never from https to http. Does not write files, retry or decide where to try next:
 * see fetch/download.h.
 */
#ifndef KL_CLIENT_FILE_TRANSFER_H
#define KL_CLIENT_FILE_TRANSFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* The head of the answer that carries the file. */
struct kl_transfer_head {
    bool partial;   /* 206: a part of the file; otherwise all of it */
    bool has_first; /* it has a readable Content-Range */
    uint64_t first; /* the offset of its first byte */
    bool has_length;
    uint64_t length; /* of the body, bytes */
};

struct kl_transfer {
    const char *url;      /* http or https */
    uint64_t offset;      /* ask for the bytes from here on; 0: for all, without a range */
    size_t stall_seconds; /* given up when nothing arrives for that time */

    /* Called once, before the first byte of the body; then for each piece of it. An error ends the
     * transfer and is its result. */
    enum kl_status (*begin)(void *context, const struct kl_transfer_head *head,
                            struct kl_error *err);
    enum kl_status (*take)(void *context, const char *data, size_t len, struct kl_error *err);
    void *context;

    int status;       /* filled: the HTTP status; 0: no answer */
    bool unreachable; /* filled: no connection to the server */
    bool untrusted;   /* filled: its certificate is not trusted */
};

/* Runs the transfer.
 *   KL_ERR_BUSY       the connection broke, or stalled, after it had begun
 *   KL_ERR_NOT_FOUND  the server cannot be reached, is not trusted, or answered with an error
 *   others            of the callbacks; KL_ERR_MEMORY */
enum kl_status kl_transfer_run(struct kl_transfer *transfer, struct kl_error *err);

#endif
