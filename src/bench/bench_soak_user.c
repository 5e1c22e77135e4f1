#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/foreign_text.h"
#include "bench/bench_soak.h"
#include "bench/server_query.h"
#include "client/api_reader.h"

#define ANSWER_CAP    ((size_t)1 << 20)
#define STREAM_CAP    ((size_t)16 << 20) /* of an answer, with the JSON around its text */
#define DONE_SECONDS  5.0                /* after [DONE]: for bytes that proxies add */
#define LATE_TIMEOUTS 3.0                /* that an answer may take after the end of the run */
#define REQUEST_CAP   ((size_t)64 << 20)
#define PAUSE_SECONDS 1.0 /* after a failure, so that a dead server is not flooded */

/* ---- one answer ------------------------------------------------------------------------------ */

struct exchange {
    struct kl_soak *soak;
    size_t kind;
    double now, last_text, done_at;
    size_t bytes;
    bool done, finished, failed, broken;
    struct kl_soak_answer *answer;
    struct kl_buffer text; /* the answer */
    struct kl_stream_reader reader;
    enum kl_status status; /* of reading it */
};

static void see_text(struct exchange *x, const char *text)
{
    struct kl_soak_answer *a = x->answer;
    if (a->texts > 0) {
        double gap = x->now - a->last;
        pthread_mutex_lock(&x->soak->lock);
        kl_soak_spread_add(&x->soak->all.gap, gap);
        kl_soak_spread_add(&x->soak->kinds[x->kind].gap, gap);
        pthread_mutex_unlock(&x->soak->lock);
    } else {
        a->first = x->now;
    }
    a->last = x->now;
    a->texts++;
    x->status = kl_buffer_append_string(&x->text, text);
}

static void note(struct exchange *x, bool *which, const char *text)
{
    if (!*which) {
        snprintf(x->answer->error, sizeof x->answer->error, "%s", text);
        kl_foreign_clean(x->answer->error);
    }
    *which = true;
}

static void see_event(void *context, const struct kl_stream_event *event)
{
    struct exchange *x = context;
    switch (event->type) {
    case KL_STREAM_TEXT:
        see_text(x, event->text);
        break;
    case KL_STREAM_FINISH:
        x->finished = true;
        break;
    case KL_STREAM_USAGE:
        x->answer->tokens = event->answer_tokens;
        break;
    case KL_STREAM_ERROR:
        note(x, &x->failed, event->text);
        break;
    case KL_STREAM_BROKEN:
        note(x, &x->broken, event->text);
        break;
    case KL_STREAM_DONE:
        if (!x->done)
            x->done_at = x->now;
        x->done = true;
        break;
    case KL_STREAM_COMMENT: /* progress, pings */
        break;
    }
}

/* Reads a part of the body; that of another status is no stream, and harmless. */
static bool see_part(void *context, double at, const char *data, size_t len)
{
    struct exchange *x = context;
    struct kl_error err;
    x->now = at;
    x->bytes += len;
    if (x->bytes > STREAM_CAP || (x->done && at - x->done_at > DONE_SECONDS)) {
        note(x, &x->broken,
             x->done ? "the stream does not end after [DONE]" : "the answer does not end");
        return false;
    }
    if (x->status == KL_OK)
        x->status = kl_stream_reader_feed(&x->reader, data, len, &err);
    return x->status == KL_OK;
}

static enum kl_soak_outcome fail(struct kl_soak_answer *a, enum kl_soak_outcome outcome,
                                 const char *why)
{
    if (a->error[0] == '\0') {
        snprintf(a->error, sizeof a->error, "%s", why);
        kl_foreign_clean(a->error);
    }
    return outcome;
}

static enum kl_soak_outcome judge(const struct exchange *x, const struct kl_http_answer *http,
                                  enum kl_status status, const struct kl_error *err)
{
    static const enum kl_soak_outcome broke[] = {[KL_HTTP_WHOLE] = KL_SOAK_CUT,
                                                 [KL_HTTP_NO_CONNECTION] = KL_SOAK_CONNECT,
                                                 [KL_HTTP_STALLED] = KL_SOAK_TIMEOUT,
                                                 [KL_HTTP_CUT] = KL_SOAK_CUT};
    struct kl_soak_answer *a = x->answer;
    char why[200];
    if (status != KL_OK)
        return fail(a, broke[http->failure], err->text);
    if (http->status != 200) {
        snprintf(why, sizeof why, "status %d", http->status);
        return fail(a, KL_SOAK_STATUS, why);
    }
    if (!kl_is_event_stream(http)) {
        snprintf(why, sizeof why, "the answer is %s and not text/event-stream",
                 http->content_type[0] != '\0' ? http->content_type : "of no type");
        return fail(a, KL_SOAK_BROKEN, why);
    }
    if (x->failed)
        return KL_SOAK_ERROR;
    if (x->broken)
        return KL_SOAK_BROKEN;
    if (x->status != KL_OK)
        return fail(a, KL_SOAK_BROKEN, "more than 1 MiB in one event, or in the answer");
    if (!x->done && !x->finished)
        return fail(a, KL_SOAK_CUT, "the stream ended without a finish_reason and without [DONE]");
    if (a->texts == 0)
        return fail(a, KL_SOAK_EMPTY, "the answer has no text");
    return KL_SOAK_ANSWERED;
}

static void record(struct kl_soak *soak, size_t kind, const struct kl_soak_answer *answer)
{
    pthread_mutex_lock(&soak->lock);
    double time = kl_seconds_since(soak->start);
    kl_soak_sums_add(&soak->all, answer);
    kl_soak_sums_add(&soak->kinds[kind], answer);
    kl_soak_point_answer(kl_soak_series_at(&soak->series, time), answer);
    char *error = soak->errors[answer->outcome];
    if (error[0] == '\0')
        snprintf(error, sizeof soak->errors[0], "%s", answer->error);
    pthread_mutex_unlock(&soak->lock);
}

/* Asks one question. *text: the complete answer, which the caller frees; NULL: it failed. */
static void ask(struct kl_soak *soak, size_t kind, const char *const *turns, size_t n, char **text)
{
    char url[1100];
    struct kl_error err = {0};
    struct kl_soak_answer answer = {0};
    struct kl_http_answer http = {0};
    struct exchange x = {.soak = soak, .kind = kind, .answer = &answer};
    struct kl_buffer body;
    kl_buffer_init(&body, REQUEST_CAP);
    kl_buffer_init(&x.text, ANSWER_CAP);
    kl_stream_reader_init(&x.reader, see_event, &x);
    snprintf(url, sizeof url, "%s/v1/chat/completions", soak->base);
    double left = fmax(0, soak->seconds - kl_seconds_since(soak->start));
    enum kl_status status =
        kl_write_conversation(soak->model, turns, n, soak->options->generate, &body);
    if (status != KL_OK)
        status = kl_fail(&err, status, "no memory for a request");
    else
        status = kl_http_run(
            &(struct kl_http_request){.url = url,
                                      .key = soak->key,
                                      .body = body.data,
                                      .stall_seconds = soak->options->timeout,
                                      .max_seconds =
                                          left + LATE_TIMEOUTS * (double)soak->options->timeout,
                                      .take = see_part,
                                      .context = &x,
                                      .stop = &soak->stop},
            &http, &err);
    answer.status = http.status;
    answer.end = http.end;
    answer.outcome = judge(&x, &http, status, &err);
    /* requests that Ctrl-C stopped do not count */
    if (!atomic_load(&soak->stop))
        record(soak, kind, &answer);
    *text = NULL;
    if (answer.outcome == KL_SOAK_ANSWERED)
        *text = x.text.data;
    else
        kl_buffer_release(&x.text);
    kl_http_release(&http);
    kl_stream_reader_release(&x.reader);
    kl_buffer_release(&body);
}

/* ---- the user -------------------------------------------------------------------------------- */

static bool is_over(struct kl_soak *soak)
{
    return atomic_load(&soak->stop) || kl_seconds_since(soak->start) >= soak->seconds;
}

static void pause_after_failure(struct kl_soak *soak)
{
    uint64_t begin = kl_now_ns();
    while (!is_over(soak) && kl_seconds_since(begin) < PAUSE_SECONDS)
        usleep(20000);
}

/* Asks the questions of a conversation, up to the first failure. */
static void converse(struct kl_soak *soak, const struct kl_soak_item *item)
{
    char *answers[KL_SOAK_TURNS] = {0};
    const char *turns[2 * KL_SOAK_TURNS];
    for (size_t i = 0; i < item->n_turns && !is_over(soak); i++) {
        turns[2 * i] = item->turns[i];
        ask(soak, item->kind, turns, 2 * i + 1, &answers[i]);
        if (answers[i] == NULL) {
            pause_after_failure(soak);
            break;
        }
        turns[2 * i + 1] = answers[i];
    }
    for (size_t i = 0; i < item->n_turns; i++)
        free(answers[i]);
}

void *kl_soak_user(void *argument)
{
    struct kl_soak *soak = argument;
    const struct kl_soak_prompts *prompts = &soak->prompts;
    size_t last = soak->options->rounds * prompts->n_items; /* 0: no limit */
    while (!is_over(soak)) {
        size_t i = atomic_fetch_add(&soak->next, 1);
        if (last > 0 && i >= last)
            break;
        converse(soak, &prompts->items[i % prompts->n_items]);
    }
    if (atomic_fetch_sub(&soak->working, 1) == 1) {
        uint64_t one = 1;
        ssize_t ignored = write(soak->over, &one, sizeof one); /* cannot fail */
        (void)ignored;
    }
    return NULL;
}
