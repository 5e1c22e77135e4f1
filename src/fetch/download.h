/*
 * Downloads one file from one URL into an open file that may contain its beginning already.
 *
 * Blocks the calling thread until the download is complete or given up. Hashes the bytes as they
 * arrive, so that none are read twice. Does not decide where to try next: see fetch.h.
 */
#ifndef KL_FETCH_DOWNLOAD_H
#define KL_FETCH_DOWNLOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/hash.h"
#include "console/terminal.h"

/* The caller sets the first part, fills hash and done from the bytes that the file contains
 * already, and keeps the struct between attempts. */
struct kl_download {
    const char *url;       /* http or https; redirects as in client/file_transfer.h */
    const char *directory; /* of the file; its file system must have room */
    int fd;                /* the caller's, open for reading and writing; contains `done` bytes */
    uint64_t bytes;        /* size of the complete file; 0: not known */
    size_t stall_seconds;  /* given up when nothing arrives for this time */
    struct kl_progress *progress;

    struct kl_sha256 hash; /* of the first `done` bytes */
    uint64_t done;
    bool resumed;     /* some of the bytes may be from another source */
    bool unreachable; /* set: the last attempt had no connection to the server */
    bool untrusted;   /* set: the server's certificate is not trusted */
};

/* Requests the missing bytes as a range, or the complete file from a server without ranges.
 *   KL_ERR_BUSY       the connection broke; the bytes are kept, and another try may complete them
 *   KL_ERR_NOT_FOUND  this source cannot be reached, or does not have the file
 *   KL_ERR_CANCELLED  the observer of the progress wants it to end
 *   others            this computer is the problem (no room, a failing disk): give up */
enum kl_status kl_download_run(struct kl_download *download, struct kl_error *err);

/* Empties the file and resets done, hash and resumed. */
enum kl_status kl_download_restart(struct kl_download *download, struct kl_error *err);

/* Bytes that a file of unknown size must leave free on the disk: for logs, packed weights and the
 * system. */
#define KL_DISK_RESERVE ((uint64_t)256 << 20)

/* Checks that there is room for `bytes` more, with `reserve` left free. The text of KL_ERR_IO says
 * how many are needed and free. */
enum kl_status kl_check_free_space(const char *directory, uint64_t bytes, uint64_t reserve,
                                   struct kl_error *err);

#endif
