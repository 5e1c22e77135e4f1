#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/quantile.h"
#include "bench/server_query.h"
#include "client/api_reader.h"
#include "doctor/answer_watch.h"
#include "doctor/doctor.h"

#define AREA            "stream"
#define N_TOKENS        96
#define RELEASE_SECONDS 5.0
#define LATE_SECONDS    1.0
static const char short_question[] = "Count from one to thirty in words, separated by commas.";
/* The answer is long enough that only the closed connection can end it. */
static const char long_question[] =
    "Tell me a very long story about a lighthouse, in ten chapters.";

/* ---- the arrival of pieces ------------------------------------------------------------------- */

/* Pieces within a millisecond of each other arrived together: no model on a small CPU is that fast,
 * and one read of a socket may be two callbacks. */
#define TOGETHER_SECONDS 1e-3
#define TELLING_SECONDS  0.2 /* a shorter answer shows only noise */
#define TELLING_PIECES   8
/* A server that computes guessed tokens together (our --draft-max is 7) sends up to 8 at a time. */
#define TOGETHER 9

struct kl_delivery_judgement kl_judge_delivery(const struct kl_arrivals *a)
{
    struct kl_delivery_judgement j = {.delivery = KL_DELIVERY_UNKNOWN, .n_arrivals = a->n > 0};
    double gaps[KL_WATCH_PIECES];
    size_t n = 0;
    for (size_t i = 1; i < a->n && n < KL_WATCH_PIECES; i++) {
        double gap = a->at[i] - a->at[i - 1];
        if (gap > TOGETHER_SECONDS)
            gaps[n++] = gap;
    }
    j.n_arrivals += n;
    if (n > 0) {
        kl_sort_values(gaps, n);
        j.gap_median = kl_quantile(gaps, n, 0.5);
        j.gap_p95 = kl_quantile(gaps, n, 0.95);
        j.gap_max = gaps[n - 1];
    }
    if (a->n < TELLING_PIECES || a->end < TELLING_SECONDS)
        return j;
    double span = a->at[a->n - 1] - a->at[0];
    if (span < 0.05 * a->end)
        j.delivery = KL_DELIVERY_LUMP;
    else if (j.n_arrivals * TOGETHER < a->n)
        j.delivery = KL_DELIVERY_GROUPED;
    else
        j.delivery = KL_DELIVERY_REAL;
    return j;
}

/* ---- findings -------------------------------------------------------------------------------- */

static void judge_headers(const struct kl_checked_server *p, const struct kl_http_answer *answer)
{
    struct kl_finding *found;
    if (!kl_is_event_stream(answer)) {
        found = kl_found(p->findings, KL_BROKEN, AREA, "the answer is %s and not text/event-stream",
                         answer->content_type[0] != '\0' ? answer->content_type : "of no type");
        kl_found_cost(found, "browsers and SDKs do not read it as a stream");
        kl_found_remedy(found, "make the server, or the proxy in front of it, send Content-Type: "
                               "text/event-stream");
    }
    if (answer->version == 10)
        kl_found_remedy(
            kl_found(p->findings, KL_WARNING, AREA, "the answer is HTTP/1.0, which has no chunks"),
            "nginx: proxy_http_version 1.1;");
    else if (answer->version == 11 && !answer->chunked)
        kl_found_remedy(
            kl_found(p->findings, KL_WARNING, AREA,
                     "the answer is not chunked: its length was known in advance, or the "
                     "connection ends with it"),
            "look for a proxy that collects answers (nginx: proxy_buffering off;)");
}

static enum kl_delivery judge_delivery(const struct kl_checked_server *p, const struct kl_watch *w)
{
    struct kl_delivery_judgement j = kl_judge_delivery(&w->arrivals);
    struct kl_finding *found;
    double first = w->arrivals.n > 0 ? w->arrivals.at[0] : 0;
    switch (j.delivery) {
    case KL_DELIVERY_REAL:
        kl_found(p->findings, KL_GOOD, AREA,
                 "a real stream: %zu pieces in %zu arrivals, first event after %.0f ms, first text "
                 "after %.0f ms; between texts %.0f ms (95 %%: %.0f ms, longest %.0f ms)",
                 w->arrivals.n, j.n_arrivals, w->first_event * 1e3, first * 1e3, j.gap_median * 1e3,
                 j.gap_p95 * 1e3, j.gap_max * 1e3);
        break;
    case KL_DELIVERY_GROUPED:
        found = kl_found(p->findings, KL_WARNING, AREA,
                         "held back on the way: %zu pieces arrived in %zu groups, %.0f ms apart",
                         w->arrivals.n, j.n_arrivals, j.gap_median * 1e3);
        kl_found_cost(found, "text appears in bursts, the first %.1f s after the question", first);
        kl_found_remedy(found, "a proxy buffers: nginx: proxy_buffering off; or the header "
                               "X-Accel-Buffering: no; disable compression of text/event-stream");
        break;
    case KL_DELIVERY_LUMP:
        found = kl_found(p->findings, KL_BROKEN, AREA,
                         "not a stream: nothing for %.1f s, then all %zu pieces at once", first,
                         w->arrivals.n);
        kl_found_cost(found, "users wait %.1f s for the first text", first);
        kl_found_remedy(found, "a proxy buffers the whole answer (nginx: proxy_buffering off; "
                               "proxy_cache off;), or the server only pretends to stream");
        break;
    case KL_DELIVERY_UNKNOWN:
        kl_found(p->findings, KL_NOTE, AREA,
                 "%zu pieces in %.2f s: too little to tell whether something holds them back",
                 w->arrivals.n, w->arrivals.end);
    }
    return j.delivery;
}

/* cut: why the stream was stopped; "": it ended by itself. */
static void judge_content(const struct kl_checked_server *p, const struct kl_watch *w,
                          const char *cut)
{
    if (cut[0] != '\0')
        kl_found_cost(
            kl_found(p->findings, KL_BROKEN, AREA, "the stream does not end after [DONE]: %s", cut),
            "clients that wait for its end hang");
    if (w->broken[0] != '\0')
        kl_found_cost(kl_found(p->findings, KL_BROKEN, AREA, "malformed events: %s", w->broken),
                      "SDKs raise an exception in the middle of an answer");
    if (w->error[0] != '\0')
        kl_found(p->findings, KL_BROKEN, AREA, "the answer ended with an error: %s", w->error);
    else if (!w->done)
        kl_found_cost(kl_found(p->findings, KL_WARNING, AREA, "the stream ends without [DONE]"),
                      "some clients wait for it, or treat the answer as truncated");
    if (w->error[0] == '\0' && w->finish[0] == '\0')
        kl_found(p->findings, KL_WARNING, AREA,
                 "no finish_reason: clients cannot distinguish a complete answer from a "
                 "truncated one");
}

/* false: further checks would fail, too. */
static bool check_answer(struct kl_checked_server *p)
{
    struct kl_error err = {0};
    struct kl_http_answer answer;
    static struct kl_watch w; /* 32 KB of times */
    struct kl_question question = {
        .text = short_question, .n_tokens = N_TOKENS, .offer_gzip = true};
    enum kl_status status = kl_watch_answer(p, &question, &w, &answer, &err);
    if (status == KL_OK && answer.status == 200 && answer.encoding[0] != '\0') {
        struct kl_finding *found = kl_found(p->findings, KL_WARNING, AREA,
                                            "the stream is compressed (%s)", answer.encoding);
        kl_found_cost(found, "compression buffers before it sends, and takes time");
        kl_found_remedy(found, "nginx: remove text/event-stream from gzip_types");
        kl_http_release(&answer);
        question.offer_gzip = false;
        status = kl_watch_answer(p, &question, &w, &answer, &err);
    }
    bool answered = answer.status == 200 && (status == KL_OK || w.done);
    if (answered && answer.encoding[0] != '\0') {
        kl_found_cost(kl_found(p->findings, KL_BROKEN, AREA,
                               "the stream is compressed (%s) for a client that did not accept it",
                               answer.encoding),
                      "clients show compressed bytes as text");
        answered = false;
    } else if (answered) {
        judge_headers(p, &answer);
        p->delivery = judge_delivery(p, &w);
        judge_content(p, &w, status == KL_OK ? "" : err.text);
    } else {
        struct kl_finding *found =
            status != KL_OK
                ? kl_found(p->findings, KL_BROKEN, AREA, "%s", err.text)
                : kl_found(p->findings, KL_BROKEN, AREA, "POST %s/v1/chat/completions: status %d",
                           p->base, answer.status);
        if (answer.status == 401 || answer.status == 403)
            kl_found_remedy(found, "send a key: --api-key-file FILE");
    }
    kl_http_release(&answer);
    return answered && status == KL_OK;
}

/* ---- errors, and clients that leave ---------------------------------------------------------- */

static void see_error(void *context, const struct kl_stream_event *event)
{
    bool *named = context;
    *named = *named || event->type == KL_STREAM_ERROR;
}

static void check_refusal(const struct kl_checked_server *p)
{
    struct kl_error err = {0};
    struct kl_http_answer answer;
    bool named = false;
    enum kl_status status =
        kl_checked_server_ask(p, KL_CHAT_PATH, "{\"messages\": 7", &answer, &err);
    if (status == KL_OK && answer.body.len > 0)
        kl_read_answer(answer.body.data, answer.body.len, see_error, &named);
    if (status != KL_OK)
        kl_found(p->findings, KL_WARNING, AREA, "a request that is no JSON: %s", err.text);
    else if (answer.status < 400 || answer.status > 499)
        kl_found_cost(kl_found(p->findings, KL_WARNING, AREA,
                               "a request that is no JSON is answered with status %d",
                               answer.status),
                      "SDKs retry after a 5xx, and treat a 2xx as an answer");
    else if (!named)
        kl_found(p->findings, KL_NOTE, AREA,
                 "errors do not have OpenAI's format: SDKs show no reason");
    else
        kl_found(p->findings, KL_GOOD, AREA,
                 "malformed requests are refused with a reason (status %d)", answer.status);
    kl_http_release(&answer);
}

/* Asks for the number of requests that the server works on. false: it does not report it. */
static bool ask_running(const struct kl_checked_server *p, size_t *running)
{
    static const char *const paths[] = {"/health", "/slots"};
    bool known = false;
    for (size_t i = 0; i < 2 && !known; i++) {
        struct kl_error err;
        struct kl_http_answer answer;
        if (kl_checked_server_ask(p, paths[i], NULL, &answer, &err) == KL_OK &&
            answer.status == 200)
            known = kl_read_running(answer.body.data != NULL ? answer.body.data : "",
                                    answer.body.len, running);
        kl_http_release(&answer);
    }
    return known;
}

static void check_leaving(const struct kl_checked_server *p)
{
    static struct kl_watch w;
    size_t before, running = 0;
    struct kl_error err = {0};
    struct kl_http_answer answer;
    if (!ask_running(p, &before)) {
        kl_found(p->findings, KL_NOTE, AREA,
                 "not known whether work stops when a client leaves: this server does not report "
                 "the number of running requests");
        return;
    }
    const struct kl_question question = {.text = long_question, .n_tokens = 1000, .leave = true};
    enum kl_status status = kl_watch_answer(p, &question, &w, &answer, &err);
    kl_http_release(&answer);
    if (status != KL_OK || !w.left)
        return;
    uint64_t left = kl_now_ns();
    const struct timespec pause = {.tv_nsec = 5000000};
    while (ask_running(p, &running) && running > before && kl_seconds_since(left) < RELEASE_SECONDS)
        nanosleep(&pause, NULL);
    double seconds = kl_seconds_since(left);
    struct kl_finding *found;
    if (running > before)
        found = kl_found(p->findings, KL_WARNING, AREA,
                         "the work continues for more than %.0f s after its client has left",
                         RELEASE_SECONDS);
    else
        found = kl_found(p->findings, seconds > LATE_SECONDS ? KL_NOTE : KL_GOOD, AREA,
                         "the work stops %.0f ms after its client has left", seconds * 1e3);
    if (found->severity == KL_GOOD)
        return;
    kl_found_cost(found, "other clients wait for it");
    kl_found_remedy(found, "make the proxy pass the end of a connection on at once (nginx: "
                           "proxy_ignore_client_abort off; proxy_buffering off;)");
}

/* ---- characters ------------------------------------------------------------------------------ */

/* Characters that are no tokens of common vocabularies: their bytes are several tokens. */
static const char rare_question[] = "Write this line again: 🦩🪶 𠮷野家 龘 🇳🇵 ½ ğ";
#define N_RARE_TOKENS 24

static void collect_text(void *context, const struct kl_stream_event *event)
{
    if (event->type == KL_STREAM_TEXT)
        kl_buffer_append_string(context,
                                event->text); /* missing text is noticed in the comparison */
}

/* Collects the text of an answer, as a stream or as one document. false: there is none. */
static bool ask_text(const struct kl_checked_server *p, bool stream, struct kl_buffer *text)
{
    struct kl_buffer body;
    struct kl_error err;
    struct kl_stream_reader reader;
    struct kl_http_answer answer = {0};
    kl_buffer_init(&body, 4096);
    bool done =
        kl_write_chat_request(p->model, rare_question, N_RARE_TOKENS, stream, &body) == KL_OK &&
        kl_checked_server_ask(p, KL_CHAT_PATH, body.data, &answer, &err) == KL_OK &&
        answer.status == 200 && answer.body.len > 0;
    if (done && stream) {
        kl_stream_reader_init(&reader, collect_text, text);
        done = kl_stream_reader_feed(&reader, answer.body.data, answer.body.len, &err) == KL_OK;
        kl_stream_reader_release(&reader);
    } else if (done) {
        kl_read_answer(answer.body.data, answer.body.len, collect_text, text);
    }
    kl_http_release(&answer);
    kl_buffer_release(&body);
    return done && text->len > 0;
}

/* Counts U+FFFD, which replaces bytes that are no character. */
static size_t count_replaced(const struct kl_buffer *text)
{
    static const char replacement[] = "\xEF\xBF\xBD";
    size_t n = 0;
    for (const char *at = text->data; (at = strstr(at, replacement)) != NULL; at++)
        n++;
    return n;
}

static void check_characters(const struct kl_checked_server *p)
{
    struct kl_buffer streamed, whole;
    kl_buffer_init(&streamed, 65536);
    kl_buffer_init(&whole, 65536);
    if (ask_text(p, true, &streamed) && ask_text(p, false, &whole)) {
        size_t broken = count_replaced(&streamed), usual = count_replaced(&whole);
        if (broken > usual) {
            struct kl_finding *found = kl_found(p->findings, KL_BROKEN, AREA,
                                                "characters break in the stream: %zu are U+FFFD, "
                                                "and %zu in the same answer as one document",
                                                broken, usual);
            kl_found_cost(found, "rare Chinese characters and emoji appear as question marks");
            kl_found_remedy(found, "the server has to hold the first bytes of a character back "
                                   "until its last byte is generated");
        } else if (streamed.len == whole.len && memcmp(streamed.data, whole.data, whole.len) == 0) {
            kl_found(p->findings, KL_GOOD, AREA,
                     "characters are whole: the stream has the same text as the answer in one "
                     "document");
        } else {
            kl_found(p->findings, KL_NOTE, AREA,
                     "a stream and the same answer in one document have different texts, although "
                     "both were requested with temperature 0");
        }
    }
    kl_buffer_release(&streamed);
    kl_buffer_release(&whole);
}

/* ---- while a long prompt is computed --------------------------------------------------------- */

#define N_WORDS      400
#define LONG_SILENCE 10.0 /* seconds */

static void check_waiting(const struct kl_checked_server *p)
{
    static const char *const words[] = {"lamp", "river", "stone", "bread", "window", "garden"};
    static struct kl_watch w;
    struct kl_printer prompt;
    struct kl_error err;
    struct kl_http_answer answer;
    kl_printer_init(&prompt, 16384);
    /* the time makes the prompt new to the prefix cache */
    kl_print(&prompt, "%llu", (unsigned long long)kl_now_ns());
    for (size_t i = 0; i < N_WORDS; i++)
        kl_print(&prompt, " %s", words[i * i % 6]);
    if (prompt.status == KL_OK) {
        const struct kl_question question = {.text = prompt.text.data, .n_tokens = 1};
        enum kl_status status = kl_watch_answer(p, &question, &w, &answer, &err);
        if (status == KL_OK && answer.status == 200 && w.arrivals.n > 0) {
            bool silent = w.silence > LONG_SILENCE;
            struct kl_finding *found = kl_found(
                p->findings, silent ? KL_WARNING : KL_GOOD, AREA,
                "a question of %d words: first text after %.1f s, until then silent for at most "
                "%.1f s (%zu comments)",
                N_WORDS, w.arrivals.at[0], w.silence, w.comments);
            if (silent) {
                kl_found_cost(found,
                              "it looks broken to users; proxies end silent connections (nginx "
                              "after 60 s)");
                kl_found_remedy(found, "the server should send comments (\": ...\") while it "
                                       "computes the prompt, as kinglet does");
            }
        }
        if (status != KL_OK)
            kl_found(p->findings, KL_BROKEN, AREA, "a question of %d words: %s", N_WORDS, err.text);
        kl_http_release(&answer);
    }
    kl_printer_release(&prompt);
}

/* ---- other event streams --------------------------------------------------------------------- */

/* Counts each line that begins with "data:" as a piece. */
struct plain_watch {
    struct kl_watch *watch;
    char begun[6]; /* the beginning of the line, up to "data:" */
    size_t n_begun;
};

static bool see_plain_part(void *context, double at, const char *data, size_t len)
{
    struct plain_watch *plain = context;
    struct kl_watch *w = plain->watch;
    if (w->first_event == 0)
        w->first_event = at;
    w->bytes += len;
    for (size_t i = 0; i < len; i++) {
        if (data[i] == '\n' || data[i] == '\r') {
            plain->n_begun = 0;
        } else if (plain->n_begun < 5) {
            plain->begun[plain->n_begun++] = data[i];
            if (plain->n_begun == 5 && memcmp(plain->begun, "data:", 5) == 0 &&
                w->arrivals.n < KL_WATCH_PIECES)
                w->at[w->arrivals.n++] = at;
        }
    }
    return w->bytes <= KL_WATCH_BYTES;
}

/* url: as given by the user. */
static void check_plain_stream(const struct kl_checked_server *p, const char *url)
{
    static struct kl_watch w;
    struct plain_watch plain = {.watch = &w};
    struct kl_error err;
    struct kl_http_answer answer;
    w = (struct kl_watch){.arrivals.at = w.at};
    struct kl_http_request request = {.url = url, .take = see_plain_part, .context = &plain};
    enum kl_status status = kl_checked_server_run(p, &request, &answer, &err);
    w.arrivals.end = answer.end;
    if (status != KL_OK) {
        kl_found(p->findings, KL_BROKEN, AREA, "%s", err.text);
    } else if (w.bytes > KL_WATCH_BYTES) {
        kl_found(p->findings, KL_BROKEN, AREA, "GET %s: it did not end within %zu bytes", url,
                 KL_WATCH_BYTES);
    } else if (answer.status != 200) {
        kl_found(p->findings, KL_BROKEN, AREA, "GET %s: status %d", url, answer.status);
    } else {
        judge_headers(p, &answer);
        judge_delivery(p, &w);
    }
    kl_http_release(&answer);
}

/* ---- all of it ------------------------------------------------------------------------------- */

static void find_model_name(struct kl_checked_server *p)
{
    struct kl_error err;
    struct kl_http_answer answer;
    if (kl_checked_server_ask(p, "/v1/models", NULL, &answer, &err) == KL_OK && answer.body.len > 0)
        kl_read_model_id(answer.body.data, answer.body.len, p->model, sizeof p->model);
    kl_http_release(&answer);
}

void kl_doctor_stream(struct kl_findings *findings, const char *url, const char *key,
                      size_t timeout)
{
    struct kl_checked_server p;
    kl_checked_server_init(&p, url, key, timeout);
    p.findings = findings;
    if (strchr(p.base, '?') != NULL) {
        check_plain_stream(&p, p.base);
        return;
    }
    kl_doctor_health(findings, p.base, key);
    find_model_name(&p);
    if (!check_answer(&p))
        return;
    check_characters(&p);
    check_waiting(&p);
    check_refusal(&p);
    if (p.delivery != KL_DELIVERY_LUMP) /* else the work is complete at the first text */
        check_leaving(&p);
}

bool kl_server_is_idle(const char *url, const char *key, size_t timeout)
{
    struct kl_checked_server p;
    size_t running;
    kl_checked_server_init(&p, url, key, timeout);
    return ask_running(&p, &running) && running == 0;
}
