/*
 * One file from one URL, by libcurl, into an open file that may hold its beginning already.
 *
 * Blocks until it is done or given up. The hash grows with the bytes, so that nothing is read
 * twice. Does not decide where to try next: see fetch.h.
 */
#ifndef KL_FETCH_DOWNLOAD_H
#define KL_FETCH_DOWNLOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/hash.h"
#include "console/terminal.h"

struct kl_download {
    const char *url;       /* http or https; redirects are followed, but never from https to http */
    const char *directory; /* where the file lies, to see whether there is room */
    int fd;                /* open for reading and writing; holds `done` bytes */
    uint64_t bytes;        /* size of the whole; 0: not known */
    size_t stall_seconds;  /* given up when nothing comes for so long */
    struct kl_progress *progress;

    struct kl_sha256 hash; /* of the first `done` bytes */
    uint64_t done;
    bool resumed;     /* some of the bytes are not from this source */
    bool unreachable; /* no connection to the server could be made */
    bool untrusted;   /* its certificate is not trusted */
};

/* Fetches what is missing with a Range request, or everything where the server cannot do that.
 *   KL_ERR_BUSY       the connection broke; what came is kept, and another try may finish it
 *   KL_ERR_NOT_FOUND  this source cannot be reached, or does not have the file
 *   others            this computer is the problem (no room, a failing disk): give up */
enum kl_status kl_download_run(struct kl_download *download, struct kl_error *err);

/* Forgets what the file holds. */
enum kl_status kl_download_restart(struct kl_download *download, struct kl_error *err);

/* What a file whose size the catalogue does not know leaves free on the disk: for logs, the
 * prepared weights, the system. */
#define KL_DISK_RESERVE ((uint64_t)256 << 20)

/* Is there room for that many more bytes, with `reserve` left free? KL_ERR_IO says how many are
 * needed and free. */
enum kl_status kl_check_free_space(const char *directory, uint64_t bytes, uint64_t reserve,
                                   struct kl_error *err);

#endif
