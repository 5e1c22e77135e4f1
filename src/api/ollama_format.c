#include "api/ollama_format.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "api/answer_json.h"
#include "api/json_print.h"
#include "api/logprobs_json.h"
#include "api/ollama_fields.h"
#include "api/reply_json.h"
#include "api/thought_reader.h"
#include "api/usage_json.h"
#include "base/clock.h"
#include "json/json_memory.h"

/* The most bytes of a document: the longest answer with escapes, and its log-probabilities. */
#define MOST_DOCUMENT ((size_t)96 << 20)
#define MOST_THOUGHTS ((size_t)32 << 20) /* as intake.c limits the text */
/* Progress of a prompt comes more often than a connection needs a sign of life. */
#define QUIET_SECONDS 0.4

/* ---- parts of JSON --------------------------------------------------------------------------- */

void kl_ollama_print_time(struct kl_printer *p, int64_t seconds, int64_t microseconds)
{
    const time_t time = (time_t)seconds;
    struct tm utc;
    gmtime_r(&time, &utc);
    kl_print(p, "\"%04d-%02d-%02dT%02d:%02d:%02d.%06dZ\"", utc.tm_year + 1900, utc.tm_mon + 1,
             utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec, (int)microseconds);
}

/* {"model", "created_at", and a comma */
static void print_head(struct kl_printer *p, const char *model)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    kl_print(p, "{\"model\":");
    kl_print_json_text(p, model, strlen(model));
    kl_print(p, ",\"created_at\":");
    kl_ollama_print_time(p, now.tv_sec, now.tv_nsec / 1000);
    kl_print(p, ",");
}

static bool is_chat(const struct kl_generation *g)
{
    return g->format == &kl_ollama_chat_stream || g->format == &kl_ollama_chat_document;
}

/* Prints the member with a text, which the caller closes (print_done) after further ones of the
 * message. */
static void open_text(struct kl_printer *p, bool chat, const char *text, size_t len)
{
    kl_print(p, chat ? "\"message\":{\"role\":\"assistant\",\"content\":" : "\"response\":");
    kl_print_json_text(p, text, len);
}

static void close_text(struct kl_printer *p, bool chat, bool done)
{
    kl_print(p, "%s,\"done\":%s", chat ? "}" : "", done ? "true" : "false");
}

static void print_call(struct kl_printer *p, const struct kl_generation *g, size_t index)
{
    const struct kl_answer_call *call = &g->choices[0].calls[index];
    char id[KL_CALL_ID_SIZE];
    kl_call_id(g, 0, index, id);
    kl_print(p, "{\"id\":\"%s\",\"function\":{\"index\":%zu,\"name\":", id, index);
    kl_print_json_text(p, call->name.data, call->name.len);
    kl_print(p, ",\"arguments\":");
    kl_print_bytes(p, call->arguments.data, call->arguments.len);
    kl_print(p, "}}");
}

static int64_t nanoseconds(double seconds)
{
    return seconds > 0 ? (int64_t)(seconds * 1e9) : 0;
}

/* The reason of the end, and the figures, and the closing brace. What Ollama calls loading is the
 * time until the model begins with the request. */
static void print_end(struct kl_printer *p, const struct kl_generation *g)
{
    const struct kl_answer_choice *c = &g->choices[0];
    kl_print(p, ",\"done_reason\":\"%s\"%s", kl_finish_reason(c->finish),
             is_chat(g) ? "" : ",\"context\":[]");
    kl_print(p,
             ",\"total_duration\":%" PRId64 ",\"load_duration\":%" PRId64
             ",\"prompt_eval_count\":%" PRIu32 ",\"prompt_eval_duration\":%" PRId64
             ",\"eval_count\":%" PRIu32 ",\"eval_duration\":%" PRId64,
             nanoseconds(kl_seconds_since(g->exchange->start_ns)), nanoseconds(c->queue_seconds),
             c->prompt_tokens, nanoseconds(c->prefill_seconds), c->answer_tokens,
             nanoseconds(c->decode_seconds));
    kl_print_notes(p, g);
    kl_print(p, "}\n");
}

/* ---- thoughts -------------------------------------------------------------------------------- */

/* The state of an answer of a model that thinks. */
struct thoughts {
    struct kl_thought_reader reader;
    struct kl_buffer text; /* for a document */
};

static void release_thoughts(void *state)
{
    struct thoughts *thoughts = state;
    if (thoughts != NULL)
        kl_buffer_release(&thoughts->text);
    free(thoughts);
}

/* Passes text on; NULL: it is complete. */
static enum kl_status read_thoughts(struct kl_generation *g, const char *text, size_t len,
                                    kl_thought_sink *sink)
{
    const struct kl_chat_template *t = g->model->served.chat_template;
    bool always = kl_chat_template_has(t, KL_CHAT_ONLY_THINKING);
    struct thoughts *thoughts = g->state;
    if (!always && !kl_chat_template_has(t, KL_CHAT_THINKING))
        return len > 0 ? sink(g, false, text, len) : KL_OK;
    if (thoughts == NULL) {
        thoughts = malloc(sizeof *thoughts);
        if (thoughts == NULL)
            return KL_ERR_MEMORY;
        kl_thought_reader_init(&thoughts->reader, always);
        kl_buffer_init(&thoughts->text, MOST_THOUGHTS);
        g->state = thoughts;
        g->release_state = release_thoughts;
    }
    return text != NULL ? kl_thought_reader_feed(&thoughts->reader, text, len, sink, g)
                        : kl_thought_reader_end(&thoughts->reader, sink, g);
}

/* ---- streams --------------------------------------------------------------------------------- */

static void begin_line(struct kl_printer *p, const struct kl_generation *g)
{
    kl_printer_init(p, MOST_DOCUMENT);
    print_head(p, g->kept);
}

static void send_line(struct kl_generation *g, struct kl_printer *p)
{
    if (kl_json_was_short() && p->status == KL_OK)
        p->status = KL_ERR_MEMORY;
    kl_stream_write(g->exchange, p->status, &p->text);
    kl_printer_release(p);
}

static void print_thoughts(struct kl_printer *p, const char *text, size_t len)
{
    kl_print(p, ",\"thinking\":");
    kl_print_json_text(p, text, len);
}

static enum kl_status send_piece(void *context, bool is_thought, const char *text, size_t len)
{
    struct kl_generation *g = context;
    struct kl_printer p;
    bool chat = is_chat(g);
    begin_line(&p, g);
    open_text(&p, chat, text, is_thought ? 0 : len);
    if (is_thought)
        print_thoughts(&p, text, len);
    close_text(&p, chat, false);
    json_t *logprobs = len > 0 ? kl_logprobs_json(g, 0) : NULL;
    if (logprobs != NULL) {
        char *list = json_dumps(json_object_get(logprobs, "content"),
                                JSON_COMPACT | JSON_REAL_PRECISION(10));
        kl_print(&p, ",\"logprobs\":%s", list != NULL ? list : "[]");
        free(list);
        json_decref(logprobs);
    }
    kl_print(&p, "}\n");
    send_line(g, &p);
    return KL_OK;
}

static void stream_heartbeat(struct kl_generation *g, const char *text)
{
    (void)text;
    if (kl_seconds_since(g->exchange->last_write_ns) >= QUIET_SECONDS)
        (void)send_piece(g, false, "", 0);
}

static enum kl_status stream_text(struct kl_generation *g, size_t choice, const char *text,
                                  size_t len)
{
    (void)choice;
    return read_thoughts(g, text, len, send_piece);
}

static enum kl_status stream_call(struct kl_generation *g, size_t choice,
                                  const struct kl_call_piece *piece)
{
    struct kl_printer p;
    enum kl_status status = kl_document_call(g, choice, piece);
    const struct kl_answer_call *call = &g->choices[choice].calls[piece->index];
    if (status != KL_OK || piece->part != KL_CALL_END || !kl_is_json_object(&call->arguments))
        return status;
    begin_line(&p, g);
    open_text(&p, true, "", 0);
    kl_print(&p, ",\"tool_calls\":[");
    print_call(&p, g, piece->index);
    kl_print(&p, "]");
    close_text(&p, true, false);
    kl_print(&p, "}\n");
    send_line(g, &p);
    return KL_OK;
}

static void stream_end(struct kl_generation *g)
{
    struct kl_printer p;
    bool chat = is_chat(g);
    if (read_thoughts(g, NULL, 0, send_piece) != KL_OK) {
        kl_stream_cut(g->exchange);
        return;
    }
    begin_line(&p, g);
    open_text(&p, chat, "", 0);
    close_text(&p, chat, true);
    print_end(&p, g);
    send_line(g, &p);
    kl_stream_end(g->exchange);
}

static void stream_error(struct kl_generation *g, const struct kl_api_error *error)
{
    struct kl_buffer line;
    kl_buffer_init(&line, KL_API_ERROR_BYTES);
    enum kl_status status = kl_api_error_write(error, KL_ERRORS_OLLAMA, &line);
    if (status == KL_OK)
        status = kl_buffer_append(&line, "\n", 1);
    kl_stream_write(g->exchange, status, &line);
    kl_buffer_release(&line);
    kl_stream_end(g->exchange);
}

/* ---- documents ------------------------------------------------------------------------------- */

/* Prints the calls that are complete. */
static void print_calls(struct kl_printer *p, const struct kl_generation *g)
{
    const struct kl_answer_choice *c = &g->choices[0];
    bool any = false;
    for (size_t i = 0; i < c->n_calls; i++) {
        if (!kl_is_json_object(&c->calls[i].arguments))
            continue;
        kl_print(p, any ? "," : ",\"tool_calls\":[");
        print_call(p, g, i);
        any = true;
    }
    if (any)
        kl_print(p, "]");
}

static enum kl_status keep_piece(void *context, bool is_thought, const char *text, size_t len)
{
    struct kl_generation *g = context;
    struct thoughts *thoughts = g->state;
    return is_thought ? kl_buffer_append(&thoughts->text, text, len)
                      : kl_document_logprobs(g, 0, text, len);
}

static enum kl_status document_text(struct kl_generation *g, size_t choice, const char *text,
                                    size_t len)
{
    (void)choice;
    return read_thoughts(g, text, len, keep_piece);
}

static void document_end(struct kl_generation *g)
{
    struct kl_printer p;
    const struct kl_answer_choice *c = &g->choices[0];
    bool chat = is_chat(g);
    enum kl_status status = read_thoughts(g, NULL, 0, keep_piece);
    const struct thoughts *thoughts = g->state;
    begin_line(&p, g);
    if (p.status == KL_OK)
        p.status = status;
    open_text(&p, chat, c->text.data, c->text.len);
    if (thoughts != NULL && thoughts->text.len > 0)
        print_thoughts(&p, thoughts->text.data, thoughts->text.len);
    if (chat)
        print_calls(&p, g);
    close_text(&p, chat, true);
    if (g->logprobs) {
        kl_print(&p, ",\"logprobs\":[");
        if (c->logprobs.len > 0)
            kl_print_bytes(&p, c->logprobs.data, c->logprobs.len);
        kl_print(&p, "]");
    }
    print_end(&p, g);
    kl_reply_printed(g->exchange, &p);
}

const struct kl_answer_format kl_ollama_chat_stream = {.stream_type = KL_NDJSON_TYPE,
                                                       .heartbeat = stream_heartbeat,
                                                       .text = stream_text,
                                                       .call = stream_call,
                                                       .end = stream_end,
                                                       .error = stream_error};
const struct kl_answer_format kl_ollama_generate_stream = {.stream_type = KL_NDJSON_TYPE,
                                                           .heartbeat = stream_heartbeat,
                                                           .text = stream_text,
                                                           .end = stream_end,
                                                           .error = stream_error};
const struct kl_answer_format kl_ollama_chat_document = {.text = document_text,
                                                         .call = kl_document_call,
                                                         .end = document_end,
                                                         .error = kl_document_error};
const struct kl_answer_format kl_ollama_generate_document = {
    .text = document_text, .end = document_end, .error = kl_document_error};

/* ---- without an answer ----------------------------------------------------------------------- */

static enum kl_status write_loaded(const struct kl_computation *c, bool chat, struct kl_buffer *out,
                                   struct kl_api_error *error)
{
    const struct kl_generation_request *r = c->request;
    struct kl_printer p = {.text = *out};
    print_head(&p, r->model != NULL ? r->model : "");
    open_text(&p, chat, "", 0);
    close_text(&p, chat, true);
    kl_print(&p, ",\"done_reason\":\"%s\"}\n", kl_ollama_unloads(r) ? "unload" : "load");
    *out = p.text;
    return p.status == KL_OK ? KL_OK : kl_api_fail_memory(error, "the answer");
}

enum kl_status kl_ollama_chat_loaded(const struct kl_computation *c, struct kl_buffer *out,
                                     struct kl_api_error *error)
{
    return write_loaded(c, true, out, error);
}

enum kl_status kl_ollama_generate_loaded(const struct kl_computation *c, struct kl_buffer *out,
                                         struct kl_api_error *error)
{
    return write_loaded(c, false, out, error);
}
