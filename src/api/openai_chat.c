/*
 * POST /v1/chat/completions, as in OpenAI's API reference (Chat Completions), as far as a model of
 * this size can do it. Unsupported fields that would change the answer are refused by name
 * (unsupported_fields.h); unknown fields are ignored.
 */
#include <math.h>
#include <string.h>

#include "api/answer_fields.h"
#include "api/answer_json.h"
#include "api/fields.h"
#include "api/logprobs_json.h"
#include "api/message_fields.h"
#include "api/reply_json.h"
#include "api/rule_fields.h"
#include "api/sampling_fields.h"
#include "api/tool_calls.h"
#include "api/unsupported_fields.h"
#include "service/intake.h"
#include "json/json_memory.h"
#include "json/json_text.h"

/* The limit if the request has none. Small models sometimes do not stop; this is some pages of
 * text.
 */
#define DEFAULT_MAX_TOKENS 2048

/* ---- answers --------------------------------------------------------------------------------- */

/* Returns an object with the fields common to documents and chunks of a stream. choices is stolen;
 * NULL: without them. */
static json_t *envelope(const struct kl_generation *g, const char *object, json_t *choices)
{
    json_t *e = json_pack("{s:s+, s:s, s:I, s:s, s:o*}", "id", "chatcmpl-", g->exchange->id,
                          "object", object, "created", (json_int_t)g->created, "model",
                          g->service->served.model_name, "choices", choices);
    if (g->service_tier != NULL)
        json_object_set_new(e, "service_tier", json_string(g->service_tier));
    return e;
}

/* Adds a member, unless value is NULL; value is stolen. */
static void add(json_t *object, const char *name, json_t *value)
{
    if (value != NULL)
        json_object_set_new(object, name, value);
}

/* Returns one of the reasons that OpenAI's clients know; x_kinglet has the exact one. */
static const char *finish_reason(const struct kl_generation *g, enum kl_finish finish)
{
    if (finish == KL_FINISH_STOP && g->calls_tool)
        return "tool_calls";
    if (finish == KL_FINISH_DEADLINE)
        finish = KL_FINISH_LENGTH;
    else if (finish == KL_FINISH_REPETITION)
        finish = KL_FINISH_STOP;
    return kl_finish_name(finish);
}

static double per_second(double n, double seconds)
{
    return seconds > 0 ? n / seconds : 0;
}

/* Returns the `timings` of an answer, as llama-server reports them. */
static json_t *timings(const struct kl_generation *g)
{
    const struct kl_answer_choice *first = &g->choices[0];
    double cached = first->cached_tokens, prompt = first->prompt_tokens - first->cached_tokens;
    double predicted = 0, prompt_s = first->prefill_seconds, predicted_s = 0;
    json_int_t drafted = 0, accepted = 0;
    for (size_t i = 0; i < g->n_choices; i++) {
        predicted += g->choices[i].answer_tokens;
        drafted += g->choices[i].drafted_tokens;
        accepted += g->choices[i].accepted_tokens;
        predicted_s = fmax(predicted_s, g->choices[i].decode_seconds);
    }
    return json_pack(
        "{s:I, s:I, s:f, s:f, s:f, s:I, s:f, s:f, s:f, s:I, s:I}", "cache_n", (json_int_t)cached,
        "prompt_n", (json_int_t)prompt, "prompt_ms", 1e3 * prompt_s, "prompt_per_token_ms",
        per_second(1e3 * prompt_s, prompt), "prompt_per_second", per_second(prompt, prompt_s),
        "predicted_n", (json_int_t)predicted, "predicted_ms", 1e3 * predicted_s,
        "predicted_per_token_ms", per_second(1e3 * predicted_s, predicted), "predicted_per_second",
        per_second(predicted, predicted_s), "draft_n", drafted, "draft_n_accepted", accepted);
}

static json_t *usage(const struct kl_generation *g)
{
    /* the prompt is the same for all choices and counts once, as in OpenAI's API */
    json_int_t prompt = g->choices[0].prompt_tokens, answer = 0;
    for (size_t i = 0; i < g->n_choices; i++)
        answer += g->choices[i].answer_tokens;
    return json_pack("{s:I, s:I, s:I, s:{s:I}}", "prompt_tokens", prompt, "completion_tokens",
                     answer, "total_tokens", prompt + answer, "prompt_tokens_details",
                     "cached_tokens", (json_int_t)g->choices[0].cached_tokens);
}

/* Returns a chunk of a stream. delta and logprobs (may be NULL) are stolen; finish may be NULL. */
static json_t *chunk(const struct kl_generation *g, size_t choice, json_t *delta, json_t *logprobs,
                     const char *finish)
{
    json_t *result = envelope(g, "chat.completion.chunk",
                              json_pack("[{s:i, s:o, s:o?, s:s?}]", "index", (int)choice, "delta",
                                        delta, "logprobs", logprobs, "finish_reason", finish));
    if (g->include_usage)
        json_object_set_new(result, "usage", json_null());
    return result;
}

static void stream_begin(struct kl_generation *g)
{
    for (size_t i = 0; i < g->n_choices; i++) {
        json_t *first =
            chunk(g, i, json_pack("{s:s, s:s}", "role", "assistant", "content", ""), NULL, NULL);
        add(first, "x_kinglet", kl_notes_json(g, KL_FINISH_STOP));
        kl_stream_json(g->exchange, first);
    }
}

/* Sends the progress with an empty delta. llama-server repeats the role there, but clients that
 * concatenate deltas would show it twice. */
static void stream_progress(struct kl_generation *g)
{
    json_t *progress = chunk(g, 0, json_object(), NULL, NULL);
    add(progress, "prompt_progress", kl_progress_json(g));
    kl_stream_json(g->exchange, progress);
}

static void stream_content(struct kl_generation *g, size_t choice, const char *text, size_t len)
{
    json_t *delta = json_pack("{s:o}", "content", kl_json_text(text, len));
    kl_stream_json(g->exchange, chunk(g, choice, delta, kl_logprobs_json(g, choice), NULL));
}

/* The call of a tool is sent as a whole, once it is complete. */
static enum kl_status stream_text(struct kl_generation *g, size_t choice, const char *text,
                                  size_t len)
{
    if (g->calls_tool)
        return kl_document_logprobs(g, choice, text, len);
    stream_content(g, choice, text, len);
    return KL_OK;
}

/* Sends the call of a tool, or as text what there is of one that is cut. */
static void stream_call(struct kl_generation *g, size_t choice)
{
    const struct kl_buffer *text = &g->choices[choice].text;
    json_t *calls = kl_tool_calls_json(g, choice);
    if (calls != NULL)
        kl_stream_json(g->exchange,
                       chunk(g, choice, json_pack("{s:o}", "tool_calls", calls), NULL, NULL));
    else if (text->len > 0)
        stream_content(g, choice, text->data, text->len);
}

static void stream_choice_done(struct kl_generation *g, size_t choice)
{
    enum kl_finish finish = g->choices[choice].finish;
    if (g->calls_tool)
        stream_call(g, choice);
    json_t *last = chunk(g, choice, json_object(), NULL, finish_reason(g, finish));
    add(last, "x_kinglet", kl_notes_json(g, finish));
    if (g->n_open == 0 && !g->include_usage)
        add(last, "timings", timings(g));
    kl_stream_json(g->exchange, last);
}

static void stream_end(struct kl_generation *g)
{
    if (g->include_usage) {
        json_t *last = envelope(g, "chat.completion.chunk", json_array());
        json_object_set_new(last, "usage", usage(g));
        add(last, "timings", timings(g));
        kl_stream_json(g->exchange, last);
    }
    kl_sse_end(g);
}

static json_t *message(const struct kl_generation *g, size_t choice)
{
    const struct kl_buffer *text = &g->choices[choice].text;
    json_t *calls = g->calls_tool ? kl_tool_calls_json(g, choice) : NULL;
    if (calls != NULL) {
        json_object_del(json_array_get(calls, 0), "index"); /* only streams have it */
        return json_pack("{s:s, s:n, s:o}", "role", "assistant", "content", "tool_calls", calls);
    }
    return json_pack("{s:s, s:o}", "role", "assistant", "content",
                     kl_json_text(text->len > 0 ? text->data : "", text->len));
}

static void document_end(struct kl_generation *g)
{
    json_t *choices = json_array();
    enum kl_finish finish = KL_FINISH_STOP;
    for (size_t i = 0; i < g->n_choices; i++) {
        const struct kl_answer_choice *c = &g->choices[i];
        json_t *choice =
            json_pack("{s:i, s:o, s:n, s:s}", "index", (int)i, "message", message(g, i), "logprobs",
                      "finish_reason", finish_reason(g, c->finish));
        if (g->logprobs) /* added as text */
            json_object_del(choice, "logprobs");
        json_array_append_new(choices, choice);
        if (kl_ended_by(c->finish) != NULL)
            finish = c->finish;
    }
    json_t *document = envelope(g, "chat.completion", g->logprobs ? NULL : choices);
    json_object_set_new(document, "usage", usage(g));
    add(document, "timings", timings(g));
    add(document, "x_kinglet", kl_notes_json(g, finish));
    if (g->logprobs)
        kl_reply_logprobs(g, document, choices);
    else
        kl_reply_json(g->exchange, 200, document);
}

static const struct kl_answer_format stream_format = {
    .stream_type = KL_SSE_TYPE,
    .begin = stream_begin,
    .progress = stream_progress,
    .heartbeat = kl_sse_heartbeat,
    .text = stream_text,
    .choice_done = stream_choice_done,
    .end = stream_end,
    .error = kl_sse_error,
};
static const struct kl_answer_format document_format = {
    .text = kl_document_logprobs, .end = document_end, .error = kl_document_error};

/* ---- requests -------------------------------------------------------------------------------- */

static enum kl_status parse_stream(const json_t *body, struct kl_generation_request *r,
                                   struct kl_api_error *error)
{
    const json_t *options = NULL;
    if (kl_field_bool(body, "stream", &r->stream, error) != KL_OK ||
        kl_field_object(body, "stream_options", &options, error) != KL_OK)
        return KL_ERR_INVALID;
    if (options != NULL &&
        kl_field_bool(options, "include_usage", &r->include_usage, error) != KL_OK)
        return kl_api_fail(error, 400, "invalid_type", "stream_options",
                           "stream_options.include_usage must be true or false");
    return KL_OK;
}

/* Reads `service_tier`: "flex", OpenAI's name for cheaper and slower answers, means background
 * priority. The answer reports the tier. */
static enum kl_status parse_tier(const json_t *body, struct kl_generation_request *r,
                                 struct kl_api_error *error)
{
    const char *tier = NULL;
    if (kl_field_string(body, "service_tier", &tier, error) != KL_OK)
        return KL_ERR_INVALID;
    if (tier == NULL)
        return KL_OK;
    if (strcmp(tier, "flex") == 0) {
        r->priority = r->has_priority ? r->priority : KL_PRIORITY_BACKGROUND;
        r->service_tier = "flex";
    } else if (strcmp(tier, "auto") == 0 || strcmp(tier, "default") == 0) {
        r->service_tier = "default";
    } else {
        return kl_api_fail(error, 400, "invalid_value", "service_tier",
                           "service_tier is \"%.40s\"; it must be auto, default or flex", tier);
    }
    return KL_OK;
}

static enum kl_status parse_fields(const json_t *body, struct kl_generation_request *r,
                                   struct kl_api_error *error)
{
    const json_t *messages = NULL, *tools = NULL;
    json_t *calls = NULL;
    int64_t n = 1;
    r->max_tokens = DEFAULT_MAX_TOKENS;
    if (kl_field_string(body, "model", &r->model, error) != KL_OK ||
        kl_field_array(body, "messages", &messages, error) != KL_OK ||
        kl_field_int(body, "n", 1, KL_MAX_CHOICES, &n, error) != KL_OK ||
        kl_max_tokens_field(body, "max_tokens", &r->max_tokens, error) != KL_OK ||
        kl_max_tokens_field(body, "max_completion_tokens", &r->max_tokens, error) != KL_OK ||
        kl_sampling_fields(body, r, error) != KL_OK ||
        kl_logprobs_fields(body, r, error) != KL_OK || kl_stop_field(body, r, error) != KL_OK ||
        parse_stream(body, r, error) != KL_OK || parse_tier(body, r, error) != KL_OK ||
        kl_unsupported_fields_check(body, KL_FIELDS_OF_CHAT, error) != KL_OK ||
        kl_field_array(body, "tools", &tools, error) != KL_OK ||
        kl_tool_choice_field(body, &tools, &calls, error) != KL_OK ||
        (calls != NULL && kl_keep_json(r, calls, error) != KL_OK))
        return KL_ERR_INVALID;
    if (kl_prediction_field(body, r->source, &r->prediction, &r->prediction_len, error) != KL_OK)
        return KL_ERR_INVALID;
    if (messages == NULL)
        return kl_api_fail(error, 400, "invalid_value", "messages",
                           "messages is missing; it must be an array of messages");
    r->n_choices = (size_t)n;
    enum kl_status status = kl_chat_input_parse(messages, tools, r->source, &r->input, error);
    if (status == KL_OK)
        status = kl_answer_fields(body, r, error);
    return status == KL_OK ? kl_rule_fields(body, calls, r, error) : status;
}

static enum kl_status parse(const char *text, size_t len, bool is_query,
                            struct kl_generation_request *r, struct kl_api_error *error)
{
    (void)is_query;
    json_t *body = NULL;
    kl_json_was_short(); /* clears the flag of earlier requests */
    enum kl_status status = kl_parse_object(text, len, &body, error);
    if (status == KL_OK)
        status = kl_keep_json(r, body, error);
    return status == KL_OK ? parse_fields(body, r, error) : status;
}

static const struct kl_dialect dialect = {kl_answer_headers, parse, &stream_format,
                                          &document_format};

KL_HANDLER(kl_handle_chat_completions)
{
    kl_generation_start(x, &dialect);
}
