#include "client/file_transfer.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "client/curl_setup.h"

#define MAX_REDIRECTS   10L
#define MIN_BYTES_PER_S 64L /* fewer count as none */
#define HTTP_PARTIAL    206L

struct run {
    struct kl_transfer *transfer;
    CURL *curl;
    size_t head;     /* bytes of it, and of the heads of redirects */
    char range[128]; /* its Content-Range; empty: none */
    bool body;       /* its first byte has arrived */
    struct kl_error *err;
    enum kl_status failed; /* why a callback ended the transfer; *err has the text */
};

static void read_head(const struct run *r, struct kl_transfer_head *head)
{
    CURL *curl = r->curl;
    long code = 0;
    curl_off_t length = -1;
    unsigned long long first = 0;
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &code);
    curl_easy_getinfo(curl, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
    *head = (struct kl_transfer_head){.partial = code == HTTP_PARTIAL,
                                      .has_length = length >= 0,
                                      .length = length >= 0 ? (uint64_t)length : 0};
    if (sscanf(r->range, "bytes %llu-", &first) == 1) {
        head->has_first = true;
        head->first = first;
    }
}

static size_t take_body(char *data, size_t size, size_t count, void *context)
{
    struct run *r = context;
    const struct kl_transfer *t = r->transfer;
    size_t len = size * count;
    if (!r->body) {
        struct kl_transfer_head head;
        r->body = true;
        read_head(r, &head);
        r->failed = t->begin(t->context, &head, r->err);
    }
    if (r->failed == KL_OK)
        r->failed = t->take(t->context, data, len, r->err);
    return r->failed == KL_OK ? len : KL_CURL_STOP;
}

static size_t take_header(char *data, size_t size, size_t count, void *context)
{
    struct run *r = context;
    kl_curl_note_header(data, size * count, "Content-Range", r->range, sizeof r->range);
    r->head += size * count;
    if (r->head <= KL_CURL_HEAD_CAP)
        return size * count;
    r->failed =
        kl_fail(r->err, KL_ERR_NOT_FOUND,
                "the head of the server's answer is longer than %zu bytes", KL_CURL_HEAD_CAP);
    return 0;
}

static void set_options(struct run *r, const char *range, char *message)
{
    const struct kl_transfer *t = r->transfer;
    CURL *curl = r->curl;
    bool secure = strncmp(t->url, "https:", 6) == 0;
    kl_curl_prepare(curl, message);
    curl_easy_setopt(curl, CURLOPT_URL, t->url);
    kl_curl_follow_redirects(curl, MAX_REDIRECTS, !secure);
    curl_easy_setopt(curl, CURLOPT_FAILONERROR, 1L);
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, MIN_BYTES_PER_S);
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, (long)t->stall_seconds);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, r);
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, take_header);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, r);
    if (t->offset > 0)
        curl_easy_setopt(curl, CURLOPT_RANGE, range);
}

/* Translates libcurl's result for a caller that decides where to try next. */
static enum kl_status judge(const struct run *r, CURLcode result, const char *message,
                            struct kl_error *err)
{
    const struct kl_transfer *t = r->transfer;
    if (r->failed != KL_OK)
        return r->failed;
    if (result == CURLE_OK)
        return KL_OK;
    if (result == CURLE_HTTP_RETURNED_ERROR)
        return kl_fail(err, KL_ERR_NOT_FOUND, "the server answered %d", t->status);
    if (result == CURLE_OPERATION_TIMEDOUT && t->status != 0)
        return kl_fail(err, KL_ERR_BUSY, "nothing came for %zu seconds", t->stall_seconds);
    return kl_curl_fail(err, r->body ? KL_ERR_BUSY : KL_ERR_NOT_FOUND, "", result, message);
}

enum kl_status kl_transfer_run(struct kl_transfer *t, struct kl_error *err)
{
    char range[32], message[CURL_ERROR_SIZE] = "";
    struct run r = {.transfer = t, .err = err};
    enum kl_status status = kl_curl_begin(&r.curl, err);
    if (status != KL_OK)
        return status;
    snprintf(range, sizeof range, "%" PRIu64 "-", t->offset);
    set_options(&r, range, message);
    CURLcode result = curl_easy_perform(r.curl);
    long code = 0;
    curl_off_t connected = 0; /* microseconds until then; 0: never */
    curl_easy_getinfo(r.curl, CURLINFO_RESPONSE_CODE, &code);
    curl_easy_getinfo(r.curl, CURLINFO_CONNECT_TIME_T, &connected);
    t->status = (int)code;
    t->unreachable = result != CURLE_OK && connected == 0;
    t->untrusted = kl_curl_untrusted(result);
    status = judge(&r, result, message, err);
    curl_easy_cleanup(r.curl);
    return status;
}
