#include "api/answer_json.h"

#include "api/fields.h"
#include "base/clock.h"
#include "json/json_memory.h"

json_t *kl_progress_json(const struct kl_generation *g)
{
    return json_pack("{s:I, s:I, s:I, s:I}", "total", (json_int_t)g->prefill_total, "cache",
                     (json_int_t)g->prefill_cached, "processed", (json_int_t)g->prefill_done,
                     "time_ms", (json_int_t)(kl_seconds_since(g->prefill_ns) * 1000));
}

json_t *kl_notes_json(const struct kl_generation *g, enum kl_finish finish)
{
    const char *ended_by = kl_ended_by(finish);
    if (g->n_left_out == 0 && ended_by == NULL)
        return NULL;
    json_t *notes = json_object();
    if (g->n_left_out > 0)
        json_object_set_new(notes, "messages_left_out", json_integer((json_int_t)g->n_left_out));
    if (ended_by != NULL)
        json_object_set_new(notes, "ended_by", json_string(ended_by));
    return notes;
}

void kl_print_notes(struct kl_printer *p, const struct kl_generation *g)
{
    const char *ended_by = kl_ended_by(g->choices[0].finish);
    if (g->n_left_out == 0 && ended_by == NULL)
        return;
    kl_print(p, ",\"x_kinglet\":{");
    if (g->n_left_out > 0)
        kl_print(p, "\"messages_left_out\":%zu%s", g->n_left_out, ended_by != NULL ? "," : "");
    if (ended_by != NULL)
        kl_print(p, "\"ended_by\":\"%s\"", ended_by);
    kl_print(p, "}");
}

void kl_sse_heartbeat(struct kl_generation *g, const char *text)
{
    kl_stream_comment(g->exchange, text);
}

void kl_sse_end(struct kl_generation *g)
{
    kl_stream_data(g->exchange, "[DONE]");
    kl_stream_end(g->exchange);
}

void kl_sse_error_event(struct kl_generation *g, const struct kl_api_error *error)
{
    struct kl_buffer line;
    kl_buffer_init(&line, KL_API_ERROR_BYTES);
    if (kl_api_error_write(error, kl_exchange_error_shape(g->exchange), &line) == KL_OK)
        kl_stream_data(g->exchange, line.data);
    else
        kl_stream_cut(g->exchange);
    kl_buffer_release(&line);
}

void kl_sse_error(struct kl_generation *g, const struct kl_api_error *error)
{
    kl_sse_error_event(g, error);
    kl_sse_end(g);
}

static void release_json(void *source)
{
    json_decref(source);
}

enum kl_status kl_keep_json(struct kl_generation_request *r, json_t *value,
                            struct kl_api_error *error)
{
    if (r->source == NULL) {
        r->source = json_array();
        r->release_source = release_json;
    }
    if (json_array_append_new(r->source, value) == 0)
        return KL_OK;
    return kl_api_fail_memory(error, "the conversation");
}

enum kl_status kl_read_body(const char *text, size_t len, struct kl_generation_request *r,
                            json_t **body, struct kl_api_error *error)
{
    *body = NULL;
    kl_json_was_short(); /* clears the flag of earlier requests */
    enum kl_status status = kl_parse_object(text, len, body, error);
    return status == KL_OK ? kl_keep_json(r, *body, error) : status;
}

bool kl_reply_loading(struct kl_exchange *x)
{
    struct kl_api_error error;
    if (!kl_service_is_loading(kl_service_of(x)))
        return false;
    kl_api_fail(&error, 503, "loading", NULL,
                "the model is being loaded; /health shows the progress");
    error.retry_after = 1;
    kl_reply_error(x, &error);
    return true;
}
