#include "fetch/download.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "client/curl_setup.h"

#define MAX_REDIRECTS   10L
#define MIN_BYTES_PER_S 64L /* less than this counts as nothing */
#define CHECKED_BYTES   ((uint64_t)16 << 20)
#define HTTP_PARTIAL    206L
#define HTTP_BAD_RANGE  416L

struct transfer {
    struct kl_download *download;
    CURL *curl;
    size_t head; /* bytes of it, and of those that sent us here */
    bool body;   /* its first byte has come */
    struct kl_error *err;
    uint64_t checked;      /* up to this size of the file there is room */
    enum kl_status failed; /* why a callback ended the transfer; *err has the text */
};

enum kl_status kl_check_free_space(const char *directory, uint64_t bytes, uint64_t reserve,
                                   struct kl_error *err)
{
    struct statvfs fs;
    char need[32], room[32], kept[32], rest[64] = "";
    if (statvfs(directory, &fs) != 0)
        return kl_fail_errno(err, "cannot see how much room there is in %s", directory);
    uint64_t free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
    if (free_bytes >= reserve && free_bytes - reserve >= bytes)
        return KL_OK;
    if (reserve > 0)
        snprintf(rest, sizeof rest, " and %s must stay free",
                 kl_format_bytes((double)reserve, kept, sizeof kept));
    return kl_fail(err, KL_ERR_IO,
                   "not enough room in %s: %s are needed%s, %s are free; make room, or let "
                   "XDG_CACHE_HOME name a directory on a larger disk",
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

/* The answer's first byte is here, so its headers are: is it the part that was asked for? */
static enum kl_status begin_body(struct transfer *t)
{
    struct kl_download *d = t->download;
    long code = 0;
    curl_off_t length = -1;
    curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &code);
    curl_easy_getinfo(t->curl, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
    if (code == HTTP_PARTIAL) {
        struct curl_header *header;
        unsigned long long first = 0;
        if (curl_easy_header(t->curl, "Content-Range", 0, CURLH_HEADER, -1, &header) != CURLHE_OK ||
            sscanf(header->value, "bytes %llu-", &first) != 1 || first != d->done)
            return kl_fail(t->err, KL_ERR_NOT_FOUND,
                           "the server sent another part of the file than it was asked for");
    } else if (d->done > 0) { /* it does not do ranges and sends everything */
        enum kl_status status = kl_download_restart(d, t->err);
        if (status != KL_OK)
            return status;
    }
    if (length < 0)
        return KL_OK;
    uint64_t total = d->done + (uint64_t)length;
    if (d->bytes != 0 && total != d->bytes)
        return kl_fail(t->err, KL_ERR_NOT_FOUND,
                       "the file there has %" PRIu64 " bytes instead of %" PRIu64, total, d->bytes);
    if (d->bytes == 0) { /* its own word, so the disk keeps its reserve */
        d->bytes = total;
        return kl_check_free_space(d->directory, (uint64_t)length, KL_DISK_RESERVE, t->err);
    }
    return KL_OK;
}

/* It is not known how long a file without a length is. Before each CHECKED_BYTES of it: is there
 * room? What there is of it then is given back, since it need not have an end. */
static enum kl_status check_growth(struct transfer *t, size_t len)
{
    struct kl_download *d = t->download;
    char size[32];
    if (d->bytes != 0 || d->done + len <= t->checked)
        return KL_OK;
    t->checked = d->done + len + CHECKED_BYTES;
    enum kl_status status =
        kl_check_free_space(d->directory, len + CHECKED_BYTES, KL_DISK_RESERVE, t->err);
    if (status == KL_OK)
        return KL_OK;
    kl_error_prefix(t->err, "the server does not say how long the file is; after %s it was removed",
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

static size_t take_body(char *data, size_t size, size_t count, void *context)
{
    struct transfer *t = context;
    struct kl_download *d = t->download;
    size_t len = size * count;
    if (!t->body) {
        t->body = true;
        t->failed = begin_body(t);
    }
    if (t->failed == KL_OK && d->bytes != 0 && len > d->bytes - d->done)
        t->failed =
            kl_fail(t->err, KL_ERR_NOT_FOUND,
                    "the server sends more than the %" PRIu64 " bytes of the file", d->bytes);
    if (t->failed == KL_OK)
        t->failed = check_growth(t, len);
    if (t->failed == KL_OK)
        t->failed = write_all(d, data, len, t->err);
    if (t->failed != KL_OK)
        return CURL_WRITEFUNC_ERROR;
    kl_sha256_update(&d->hash, data, len);
    d->done += len;
    kl_progress_update(d->progress, d->done, d->bytes);
    return len;
}

static size_t count_head(char *data, size_t size, size_t count, void *context)
{
    struct transfer *t = context;
    (void)data;
    t->head += size * count;
    if (t->head <= KL_CURL_HEAD_CAP)
        return size * count;
    t->failed =
        kl_fail(t->err, KL_ERR_NOT_FOUND,
                "the head of the server's answer is longer than %zu bytes", KL_CURL_HEAD_CAP);
    return 0;
}

static void set_options(struct transfer *t, const char *range, char *message)
{
    const struct kl_download *d = t->download;
    CURL *curl = t->curl;
    bool secure = strncmp(d->url, "https:", 6) == 0;
    kl_curl_prepare(curl, message);
    curl_easy_setopt(curl, CURLOPT_URL, d->url);
    curl_easy_setopt(curl, CURLOPT_REDIR_PROTOCOLS_STR, secure ? "https" : "http,https");
    curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 1L);
    curl_easy_setopt(curl, CURLOPT_MAXREDIRS, MAX_REDIRECTS);
    curl_easy_setopt(curl, CURLOPT_FAILONERROR, 1L);
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, MIN_BYTES_PER_S);
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, (long)d->stall_seconds);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, t);
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, count_head);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, t);
    if (d->done > 0)
        curl_easy_setopt(curl, CURLOPT_RANGE, range);
}

/* What libcurl's result means for the one who decides where to try next. */
static enum kl_status judge(const struct transfer *t, CURLcode result, const char *message,
                            struct kl_error *err)
{
    const struct kl_download *d = t->download;
    long code = 0;
    if (t->failed != KL_OK)
        return t->failed;
    curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &code);
    if (result == CURLE_HTTP_RETURNED_ERROR)
        return kl_fail(err, KL_ERR_NOT_FOUND, "the server answered %ld", code);
    if (result == CURLE_OPERATION_TIMEDOUT && code != 0)
        return kl_fail(err, KL_ERR_BUSY, "nothing came for %zu seconds", d->stall_seconds);
    if (result != CURLE_OK)
        return kl_curl_fail(err, t->body ? KL_ERR_BUSY : KL_ERR_NOT_FOUND, "", result, message);
    if (d->bytes != 0 && d->done < d->bytes)
        return kl_fail(err, KL_ERR_BUSY,
                       "the connection ended after %" PRIu64 " of %" PRIu64 " bytes", d->done,
                       d->bytes);
    return KL_OK;
}

enum kl_status kl_download_run(struct kl_download *d, struct kl_error *err)
{
    char range[32], message[CURL_ERROR_SIZE];
    enum kl_status status = KL_OK;
    for (int attempt = 0; attempt < 2; attempt++) {
        struct transfer t = {.download = d, .curl = curl_easy_init(), .err = err};
        if (t.curl == NULL)
            return kl_fail(err, KL_ERR_MEMORY, "libcurl cannot be started");
        d->resumed = d->resumed || d->done > 0;
        snprintf(range, sizeof range, "%" PRIu64 "-", d->done);
        message[0] = '\0';
        set_options(&t, range, message);
        CURLcode result = curl_easy_perform(t.curl);
        curl_off_t connected = 0; /* microseconds until it was; 0: never */
        curl_easy_getinfo(t.curl, CURLINFO_CONNECT_TIME_T, &connected);
        d->unreachable = result != CURLE_OK && connected == 0;
        d->untrusted = kl_curl_untrusted(result);
        status = judge(&t, result, message, err);
        long code = 0;
        curl_easy_getinfo(t.curl, CURLINFO_RESPONSE_CODE, &code);
        curl_easy_cleanup(t.curl);
        /* there is nothing behind what we hold: it is from another file, so begin again */
        if (code != HTTP_BAD_RANGE || d->done == 0)
            break;
        status = kl_download_restart(d, err);
        if (status != KL_OK)
            break;
    }
    return status;
}
