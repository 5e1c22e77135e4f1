#include "doctor/answer_watch.h"

#include <stdio.h>

#include "base/clock.h"

#define STALL_SECONDS 120
#define DONE_SECONDS  5.0 /* after [DONE]: for bytes that proxies add */

/* ---- question ----------------------------------------------------------------------------------
 */

void kl_checked_server_init(struct kl_checked_server *p, const char *url, const char *key,
                            size_t timeout)
{
    *p = (struct kl_checked_server){
        .model = "default", .key = key, .timeout = timeout, .start = kl_now_ns()};
    kl_http_base(url, p->base, sizeof p->base);
}

enum kl_status kl_checked_server_run(const struct kl_checked_server *p,
                                     struct kl_http_request *request, struct kl_http_answer *answer,
                                     struct kl_error *err)
{
    double most = (double)p->timeout,
           left = KL_LONGEST_REQUESTS * most - kl_seconds_since(p->start);
    *answer = (struct kl_http_answer){0};
    if (left <= 0)
        return kl_fail(err, KL_ERR_IO, "%s: not requested, since earlier requests took %.0f s",
                       request->url, KL_LONGEST_REQUESTS * most);
    request->key = p->key;
    request->stall_seconds = p->timeout < STALL_SECONDS ? p->timeout : STALL_SECONDS;
    request->max_seconds = left < most ? left : most;
    return kl_http_run(request, answer, err);
}

enum kl_status kl_checked_server_ask(const struct kl_checked_server *p, const char *path,
                                     const char *body, struct kl_http_answer *answer,
                                     struct kl_error *err)
{
    char url[1100];
    snprintf(url, sizeof url, "%s%s", p->base, path);
    struct kl_http_request request = {.url = url, .body = body};
    return kl_checked_server_run(p, &request, answer, err);
}

/* ---- watching -------------------------------------------------------------------------------- */

static void see_event(void *context, const struct kl_stream_event *event)
{
    struct kl_watch *w = context;
    if (w->first_event == 0)
        w->first_event = w->now;
    switch (event->type) {
    case KL_STREAM_TEXT:
        if (w->arrivals.n < KL_WATCH_PIECES)
            w->at[w->arrivals.n++] = w->now;
        w->left = w->leave_at_first_text;
        break;
    case KL_STREAM_COMMENT:
        w->comments++;
        break;
    case KL_STREAM_FINISH:
        snprintf(w->finish, sizeof w->finish, "%s", event->text);
        break;
    case KL_STREAM_USAGE:
        w->answer_tokens = event->answer_tokens;
        break;
    case KL_STREAM_ERROR:
        snprintf(w->error, sizeof w->error, "%s", event->text);
        break;
    case KL_STREAM_BROKEN:
        if (w->broken[0] == '\0')
            snprintf(w->broken, sizeof w->broken, "%s", event->text);
        break;
    case KL_STREAM_DONE:
        if (!w->done)
            w->done_at = w->now;
        w->done = true;
    }
}

static bool see_part(void *context, double at, const char *data, size_t len)
{
    struct kl_watch *w = context;
    if (w->arrivals.n == 0 && at - w->now > w->silence)
        w->silence = at - w->now;
    w->now = at;
    w->bytes += len;
    if (w->bytes > KL_WATCH_BYTES)
        w->status = kl_fail(&w->err, KL_ERR_LIMIT, "the answer did not end within %zu bytes",
                            KL_WATCH_BYTES);
    else if (w->done && at - w->done_at > DONE_SECONDS)
        w->status = kl_fail(&w->err, KL_ERR_LIMIT, "more came %.0f s later", at - w->done_at);
    else
        w->status = kl_stream_reader_feed(&w->reader, data, len, &w->err);
    return w->status == KL_OK && !w->left;
}

enum kl_status kl_watch_answer(const struct kl_checked_server *p, const struct kl_question *a,
                               struct kl_watch *w, struct kl_http_answer *answer,
                               struct kl_error *err)
{
    char url[1100];
    struct kl_buffer body;
    kl_buffer_init(&body, 16384);
    *w = (struct kl_watch){.leave_at_first_text = a->leave};
    w->arrivals.at = w->at;
    kl_stream_reader_init(&w->reader, see_event, w);
    snprintf(url, sizeof url, "%s" KL_CHAT_PATH, p->base);
    *answer = (struct kl_http_answer){0};
    enum kl_status status = kl_write_chat_request(p->model, a->text, a->n_tokens, true, &body);
    if (status != KL_OK) {
        status = kl_fail(err, status, "no memory for a request");
    } else {
        struct kl_http_request request = {.url = url,
                                          .body = body.data,
                                          .offer_gzip = a->offer_gzip,
                                          .take = see_part,
                                          .context = w};
        status = kl_checked_server_run(p, &request, answer, err);
    }
    w->arrivals.end = answer->end;
    if (status == KL_OK && w->status != KL_OK) {
        status = w->status;
        *err = w->err;
    }
    kl_stream_reader_release(&w->reader);
    kl_buffer_release(&body);
    return status;
}
