#include "client/http_client.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "client/curl_setup.h"

struct exchange {
    const struct kl_http_request *request;
    struct kl_http_answer *answer;
    uint64_t start;
    double last;       /* seconds: when the last part arrived */
    size_t head;       /* bytes */
    char transfer[32]; /* its Transfer-Encoding */
    bool stalled, late;
    enum kl_status failed;
};

static size_t take_body(char *data, size_t size, size_t count, void *context)
{
    struct exchange *x = context;
    size_t len = size * count;
    double at = kl_seconds_since(x->start);
    if (x->answer->head == 0)
        x->answer->head = at;
    x->answer->end = x->last = at;
    if (x->request->take == NULL)
        x->failed = kl_buffer_append(&x->answer->body, data, len);
    else
        x->answer->given_up = !x->request->take(x->request->context, at, data, len);
    return x->failed == KL_OK && !x->answer->given_up ? len : KL_CURL_STOP;
}

/* Notes the time of the head, which a slow server sends long before the body. */
static size_t take_header(char *data, size_t size, size_t count, void *context)
{
    struct exchange *x = context;
    struct kl_http_answer *answer = x->answer;
    kl_curl_note_header(data, size * count, "Content-Type", answer->content_type,
                        sizeof answer->content_type);
    kl_curl_note_header(data, size * count, "Content-Encoding", answer->encoding,
                        sizeof answer->encoding);
    kl_curl_note_header(data, size * count, "Transfer-Encoding", x->transfer, sizeof x->transfer);
    x->last = kl_seconds_since(x->start);
    if (x->answer->head == 0)
        x->answer->head = x->last;
    x->head += size * count;
    return x->head <= KL_CURL_HEAD_CAP ? size * count : 0;
}

/* Called about once a second while nothing arrives, and more often otherwise. */
static int check_limits(void *context, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    struct exchange *x = context;
    (void)a, (void)b, (void)c, (void)d;
    if (x->request->stop != NULL && atomic_load(x->request->stop))
        x->answer->given_up = true;
    double now = kl_seconds_since(x->start);
    x->stalled = now - x->last > (double)x->request->stall_seconds;
    x->late = x->request->max_seconds > 0 && now > x->request->max_seconds;
    return x->answer->given_up || x->stalled || x->late;
}

static void read_head(CURL *curl, const struct exchange *x)
{
    long value = 0;
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &value);
    x->answer->status = (int)value;
    curl_easy_getinfo(curl, CURLINFO_HTTP_VERSION, &value);
    x->answer->version = value == CURL_HTTP_VERSION_1_0   ? 10
                         : value == CURL_HTTP_VERSION_1_1 ? 11
                                                          : 20;
    x->answer->chunked = strcmp(x->transfer, "chunked") == 0;
}

static struct curl_slist *make_headers(const struct kl_http_request *request)
{
    char line[1024];
    struct curl_slist *list = NULL;
    if (request->body != NULL)
        list = curl_slist_append(list, "Content-Type: application/json");
    if (request->offer_gzip)
        list = curl_slist_append(list, "Accept-Encoding: gzip");
    if (request->key != NULL) {
        snprintf(line, sizeof line, "Authorization: Bearer %s", request->key);
        list = curl_slist_append(list, line);
    }
    return list;
}

static void set_options(CURL *curl, struct exchange *x, const struct curl_slist *headers,
                        char *message)
{
    const struct kl_http_request *request = x->request;
    kl_curl_prepare(curl, message);
    curl_easy_setopt(curl, CURLOPT_URL, request->url);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, x);
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, take_header);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, x);
    curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, check_limits);
    curl_easy_setopt(curl, CURLOPT_XFERINFODATA, x);
    if (request->body != NULL)
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, request->body);
}

static enum kl_http_failure failure_of(CURL *curl, CURLcode result, const struct exchange *x)
{
    curl_off_t connected = 0; /* microseconds until then; 0: never */
    curl_easy_getinfo(curl, CURLINFO_CONNECT_TIME_T, &connected);
    if (result == CURLE_OK)
        return KL_HTTP_WHOLE;
    if (connected == 0)
        return KL_HTTP_NO_CONNECTION;
    return x->stalled || x->late ? KL_HTTP_STALLED : KL_HTTP_CUT;
}

enum kl_status kl_http_run(const struct kl_http_request *request, struct kl_http_answer *answer,
                           struct kl_error *err)
{
    char message[CURL_ERROR_SIZE] = "";
    *answer = (struct kl_http_answer){0};
    kl_buffer_init(&answer->body, KL_HTTP_BODY_CAP);
    struct exchange x = {.request = request, .answer = answer, .start = kl_now_ns()};
    CURL *curl;
    enum kl_status status = kl_curl_begin(&curl, err);
    if (status != KL_OK)
        return status;
    struct curl_slist *headers = make_headers(request);
    set_options(curl, &x, headers, message);
    CURLcode result = curl_easy_perform(curl);
    read_head(curl, &x);
    answer->failure = failure_of(curl, result, &x);
    curl_easy_cleanup(curl);
    curl_slist_free_all(headers);
    if (x.failed != KL_OK)
        return kl_fail(err, x.failed, "%s: the answer is longer than %zu bytes", request->url,
                       KL_HTTP_BODY_CAP);
    if (result == CURLE_OK || answer->given_up)
        return KL_OK;
    if (x.head > KL_CURL_HEAD_CAP)
        return kl_fail(err, KL_ERR_IO, "%s: the head of the answer is longer than %zu bytes",
                       request->url, KL_CURL_HEAD_CAP);
    if (x.stalled)
        return kl_fail(err, KL_ERR_IO, "%s: nothing came for %zu s", request->url,
                       request->stall_seconds);
    if (x.late)
        return kl_fail(err, KL_ERR_IO, "%s: the answer was not over after %.0f s", request->url,
                       request->max_seconds);
    char prefix[256];
    snprintf(prefix, sizeof prefix, "%.200s: ", request->url);
    return kl_curl_fail(err, KL_ERR_IO, prefix, result, message);
}

void kl_http_release(struct kl_http_answer *answer)
{
    kl_buffer_release(&answer->body);
}

void kl_http_base(const char *url, char *out, size_t size)
{
    snprintf(out, size, "%s%s", strstr(url, "://") == NULL ? "http://" : "", url);
    size_t len = strlen(out);
    while (len > 0 && out[len - 1] == '/')
        len--;
    if (len > 3 && memcmp(out + len - 3, "/v1", 3) == 0)
        len -= 3;
    out[len] = '\0';
}
