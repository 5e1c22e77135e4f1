#include "fetch/download.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "client/file_transfer.h"

#define CHECKED_BYTES  ((uint64_t)16 << 20)
#define HTTP_BAD_RANGE 416

/* One attempt. */
struct attempt {
    struct kl_download *download;
    uint64_t checked; /* the file system has room for this size of the file */
};

enum kl_status kl_check_free_space(const char *directory, uint64_t bytes, uint64_t reserve,
                                   struct kl_error *err)
{
    struct statvfs fs;
    char need[32], room[32], kept[32], rest[64] = "";
    if (statvfs(directory, &fs) != 0)
        return kl_fail_errno(err, "cannot read how much space is free in %s", directory);
    uint64_t free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
    if (free_bytes >= reserve && free_bytes - reserve >= bytes)
        return KL_OK;
    if (reserve > 0)
        snprintf(rest, sizeof rest, " and %s must stay free",
                 kl_format_bytes((double)reserve, kept, sizeof kept));
    return kl_fail(err, KL_ERR_IO,
                   "not enough space in %s: %s are needed%s, %s are free; free some space, or set "
                   "XDG_CACHE_HOME to a directory on a larger disk",
                   directory, kl_format_bytes((double)bytes, need, sizeof need), rest,
                   kl_format_bytes((double)free_bytes, room, sizeof room));
}

enum kl_status kl_download_restart(struct kl_download *d, struct kl_error *err)
{
    if (ftruncate(d->fd, 0) != 0 || lseek(d->fd, 0, SEEK_SET) != 0)
        return kl_fail_errno(err, "cannot empty the unfinished download in %s", d->directory);
    kl_sha256_init(&d->hash);
    d->done = 0;
    d->resumed = false;
    return KL_OK;
}

/* Checks, before the first byte, that the answer is the part that was asked for. */
static enum kl_status begin(void *context, const struct kl_transfer_head *head,
                            struct kl_error *err)
{
    struct attempt *a = context;
    struct kl_download *d = a->download;
    if (head->partial) {
        if (!head->has_first || head->first != d->done)
            return kl_fail(err, KL_ERR_NOT_FOUND,
                           "the server sent another part of the file than it was asked for");
    } else if (d->done > 0) { /* the server ignores ranges and sends the whole file */
        enum kl_status status = kl_download_restart(d, err);
        if (status != KL_OK)
            return status;
    }
    if (!head->has_length)
        return KL_OK;
    uint64_t total = d->done + head->length;
    if (d->bytes != 0 && total != d->bytes)
        return kl_fail(err, KL_ERR_NOT_FOUND,
                       "the file there has %" PRIu64 " bytes instead of %" PRIu64, total, d->bytes);
    if (d->bytes == 0) { /* only the server says so: the disk keeps its reserve */
        d->bytes = total;
        return kl_check_free_space(d->directory, head->length, KL_DISK_RESERVE, err);
    }
    return KL_OK;
}

/* The size of a file without a length is not known. Checks before each CHECKED_BYTES of it that
 * there is room. If not, removes the part that was downloaded, since the file may have no end. */
static enum kl_status check_growth(struct attempt *a, size_t len, struct kl_error *err)
{
    struct kl_download *d = a->download;
    char size[32];
    if (d->bytes != 0 || d->done + len <= a->checked)
        return KL_OK;
    a->checked = d->done + len + CHECKED_BYTES;
    enum kl_status status =
        kl_check_free_space(d->directory, len + CHECKED_BYTES, KL_DISK_RESERVE, err);
    if (status == KL_OK)
        return KL_OK;
    kl_error_prefix(err, "the server does not say how long the file is; after %s it was removed",
                    kl_format_bytes((double)d->done, size, sizeof size));
    struct kl_error ignored;
    kl_download_restart(d, &ignored);
    return status;
}

static enum kl_status write_all(const struct kl_download *d, const char *data, size_t len,
                                struct kl_error *err)
{
    while (len > 0) {
        ssize_t n = write(d->fd, data, len);
        if (n < 0 && errno != EINTR)
            return kl_fail_errno(err, "cannot write the download to %s", d->directory);
        if (n > 0) {
            data += n;
            len -= (size_t)n;
        }
    }
    return KL_OK;
}

static enum kl_status take(void *context, const char *data, size_t len, struct kl_error *err)
{
    struct attempt *a = context;
    struct kl_download *d = a->download;
    if (d->bytes != 0 && len > d->bytes - d->done)
        return kl_fail(err, KL_ERR_NOT_FOUND,
                       "the server sends more than the %" PRIu64 " bytes of the file", d->bytes);
    enum kl_status status = check_growth(a, len, err);
    if (status == KL_OK)
        status = write_all(d, data, len, err);
    if (status != KL_OK)
        return status;
    kl_sha256_update(&d->hash, data, len);
    d->done += len;
    kl_progress_update(d->progress, d->done, d->bytes);
    if (kl_progress_is_stopped(d->progress))
        return kl_fail(err, KL_ERR_CANCELLED, "the download was stopped");
    return KL_OK;
}

/* Returns the HTTP status in *code. */
static enum kl_status attempt(struct kl_download *d, int *code, struct kl_error *err)
{
    struct attempt a = {.download = d};
    struct kl_transfer t = {.url = d->url,
                            .offset = d->done,
                            .stall_seconds = d->stall_seconds,
                            .begin = begin,
                            .take = take,
                            .context = &a};
    d->resumed = d->resumed || d->done > 0;
    enum kl_status status = kl_transfer_run(&t, err);
    d->unreachable = t.unreachable;
    d->untrusted = t.untrusted;
    *code = t.status;
    if (status == KL_OK && d->bytes != 0 && d->done < d->bytes)
        return kl_fail(err, KL_ERR_BUSY,
                       "the connection ended after %" PRIu64 " of %" PRIu64 " bytes", d->done,
                       d->bytes);
    return status;
}

enum kl_status kl_download_run(struct kl_download *d, struct kl_error *err)
{
    int code;
    enum kl_status status = attempt(d, &code, err);
    if (code != HTTP_BAD_RANGE || d->done == 0)
        return status;
    /* nothing follows the bytes that are here, so they are from another file: begin again */
    status = kl_download_restart(d, err);
    return status == KL_OK ? attempt(d, &code, err) : status;
}
