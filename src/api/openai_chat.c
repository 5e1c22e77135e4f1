/*
 * POST /v1/chat/completions, as in OpenAI's API reference (Chat Completions), as far as a model of
 * this size can do it. Unsupported fields that would change the answer are refused by name
 * (unsupported_fields.h); unknown fields are ignored.
 */
#include <string.h>

#include "api/answer_fields.h"
#include "api/answer_json.h"
#include "api/fields.h"
#include "api/logprobs_json.h"
#include "api/message_fields.h"
#include "api/openai_chat.h"
#include "api/prompt_texts.h"
#include "api/reply_json.h"
#include "api/rule_fields.h"
#include "api/sampling_fields.h"
#include "api/tool_calls.h"
#include "api/unsupported_fields.h"
#include "api/usage_json.h"
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
                          g->model->served.model_name, "choices", choices);
    if (g->service_tier != NULL)
        json_object_set_new(e, "service_tier", json_string(g->service_tier));
    return e;
}

static json_t *text_json(const struct kl_buffer *text)
{
    return kl_json_text(text->len > 0 ? text->data : "", text->len);
}

/* Adds a member, unless value is NULL; value is stolen. */
static void add(json_t *object, const char *name, json_t *value)
{
    if (value != NULL)
        json_object_set_new(object, name, value);
}

/* Returns one of the reasons that OpenAI's clients know; x_kinglet has the exact one. */
static const char *finish_reason(const struct kl_generation *g, size_t choice)
{
    enum kl_finish finish = g->choices[choice].finish;
    if (finish == KL_FINISH_STOP && g->choices[choice].n_calls > 0)
        return g->function_calls ? "function_call" : "tool_calls";
    if (finish == KL_FINISH_DEADLINE)
        finish = KL_FINISH_LENGTH;
    else if (finish == KL_FINISH_REPETITION)
        finish = KL_FINISH_STOP;
    return kl_finish_name(finish);
}

/* Adds llama-server's members of the last object of an answer: timings and, with `verbose`, the
 * prompt. */
static void add_end(const struct kl_generation *g, json_t *object)
{
    json_t *prompts = kl_prompt_texts_of(g);
    add(object, "timings", kl_timings_json(g, 0, g->n_choices));
    if (prompts != NULL)
        add(object, "__verbose", json_pack("{s:O}", "prompt", json_array_get(prompts, 0)));
    json_decref(prompts);
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
            chunk(g, i, json_pack("{s:s, s:n}", "role", "assistant", "content"), NULL, NULL);
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

static enum kl_status stream_text(struct kl_generation *g, size_t choice, const char *text,
                                  size_t len)
{
    json_t *delta = json_pack("{s:o}", "content", kl_json_text(text, len));
    kl_stream_json(g->exchange, chunk(g, choice, delta, kl_logprobs_json(g, choice), NULL));
    return KL_OK;
}

/* Sends a piece of a call: first its name, then its arguments as they come. */
static enum kl_status stream_call(struct kl_generation *g, size_t choice,
                                  const struct kl_call_piece *piece)
{
    bool begins = piece->part == KL_CALL_BEGIN;
    if (piece->part == KL_CALL_END || (g->function_calls && piece->index > 0))
        return KL_OK;
    char id[KL_CALL_ID_SIZE];
    kl_call_id(g, choice, piece->index, id);
    json_t *name = begins ? kl_json_text(piece->text, piece->len) : NULL;
    json_t *function = json_pack("{s:o*, s:o}", "name", name, "arguments",
                                 kl_json_text(begins ? "" : piece->text, begins ? 0 : piece->len));
    json_t *delta;
    if (g->function_calls)
        delta = json_pack("{s:o}", "function_call", function);
    else
        delta = json_pack("{s:[{s:I, s:s*, s:s*, s:o}]}", "tool_calls", "index",
                          (json_int_t)piece->index, "id", begins ? id : NULL, "type",
                          begins ? "function" : NULL, "function", function);
    kl_stream_json(g->exchange, chunk(g, choice, delta, kl_logprobs_json(g, choice), NULL));
    return KL_OK;
}

static void stream_choice_done(struct kl_generation *g, size_t choice)
{
    enum kl_finish finish = g->choices[choice].finish;
    bool calls = g->choices[choice].n_calls > 0; /* tokens that close a call are no part of it */
    json_t *last = chunk(g, choice, json_object(), calls ? kl_logprobs_json(g, choice) : NULL,
                         finish_reason(g, choice));
    add(last, "x_kinglet", kl_notes_json(g, finish));
    if (g->n_open == 0 && !g->include_usage)
        add_end(g, last);
    kl_stream_json(g->exchange, last);
}

static void stream_end(struct kl_generation *g)
{
    if (g->include_usage) {
        json_t *last = envelope(g, "chat.completion.chunk", json_array());
        json_object_set_new(last, "usage", kl_usage_json(g));
        add_end(g, last);
        kl_stream_json(g->exchange, last);
    }
    kl_sse_end(g);
}

static json_t *calls_json(const struct kl_generation *g, size_t choice)
{
    const struct kl_answer_choice *c = &g->choices[choice];
    json_t *calls = json_array();
    for (size_t i = 0; i < c->n_calls; i++) {
        const struct kl_answer_call *call = &c->calls[i];
        char id[KL_CALL_ID_SIZE];
        kl_call_id(g, choice, i, id);
        json_t *function = json_pack("{s:o, s:o}", "name", text_json(&call->name), "arguments",
                                     text_json(&call->arguments));
        json_array_append_new(calls, json_pack("{s:s, s:s, s:o}", "id", id, "type", "function",
                                               "function", function));
    }
    return calls;
}

static json_t *message(const struct kl_generation *g, size_t choice)
{
    const struct kl_answer_choice *c = &g->choices[choice];
    json_t *content = c->n_calls > 0 && c->text.len == 0 ? json_null() : text_json(&c->text);
    json_t *result = json_pack("{s:s, s:o}", "role", "assistant", "content", content);
    if (c->n_calls == 0)
        return result;
    json_t *calls = calls_json(g, choice);
    if (!g->function_calls) {
        json_object_set_new(result, "tool_calls", calls);
        return result;
    }
    json_object_set(result, "function_call", json_object_get(json_array_get(calls, 0), "function"));
    json_decref(calls);
    return result;
}

static enum kl_status document_call(struct kl_generation *g, size_t choice,
                                    const struct kl_call_piece *piece)
{
    enum kl_status status = kl_document_call(g, choice, piece);
    return status == KL_OK ? kl_document_logprobs(g, choice, "", 0) : status;
}

/* Tokens that close a call come behind all that is written of it. */
static enum kl_status take_last_logprobs(struct kl_generation *g)
{
    enum kl_status status = KL_OK;
    for (size_t i = 0; i < g->n_choices && g->logprobs && status == KL_OK; i++)
        status = kl_document_logprobs(g, i, "", 0);
    return status;
}

static void document_end(struct kl_generation *g)
{
    struct kl_api_error error;
    if (take_last_logprobs(g) != KL_OK) {
        kl_api_fail_memory(&error, "the answer");
        kl_document_error(g, &error);
        return;
    }
    json_t *choices = json_array();
    enum kl_finish finish = KL_FINISH_STOP;
    for (size_t i = 0; i < g->n_choices; i++) {
        const struct kl_answer_choice *c = &g->choices[i];
        json_t *choice = json_pack("{s:i, s:o, s:n, s:s}", "index", (int)i, "message",
                                   message(g, i), "logprobs", "finish_reason", finish_reason(g, i));
        if (g->logprobs) /* added as text */
            json_object_del(choice, "logprobs");
        json_array_append_new(choices, choice);
        if (kl_ended_by(c->finish) != NULL)
            finish = c->finish;
    }
    json_t *document = envelope(g, "chat.completion", g->logprobs ? NULL : choices);
    json_object_set_new(document, "usage", kl_usage_json(g));
    add_end(g, document);
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
    .call = stream_call,
    .choice_done = stream_choice_done,
    .end = stream_end,
    .error = kl_sse_error,
};
static const struct kl_answer_format document_format = {.text = kl_document_logprobs,
                                                        .call = document_call,
                                                        .end = document_end,
                                                        .error = kl_document_error};

/* ---- requests -------------------------------------------------------------------------------- */

/* Reads the tools; older clients call them functions, and want one call at most. */
static enum kl_status parse_tools(const json_t *body, struct kl_generation_request *r,
                                  struct kl_tools *tools, struct kl_api_error *error)
{
    const json_t *list = NULL, *functions = NULL, *choice = json_object_get(body, "tool_choice");
    if (kl_field_array(body, "tools", &list, error) != KL_OK ||
        kl_field_array(body, "functions", &functions, error) != KL_OK)
        return KL_ERR_INVALID;
    *tools = (struct kl_tools){.field = "tools", .schema = "function.parameters"};
    if (list == NULL && functions != NULL) {
        *tools = (struct kl_tools){.field = "functions", .schema = "parameters"};
        r->function_calls = tools->is_single = true;
        list = functions;
    }
    if (kl_tools_read(list, tools, error) != KL_OK)
        return KL_ERR_INVALID;
    if (r->function_calls)
        return kl_tools_read_function_call(json_object_get(body, "function_call"), tools, error);
    enum kl_status status = kl_tools_read_choice(choice, tools, error);
    return status == KL_OK ? kl_tools_read_parallel(body, tools, error) : status;
}

/* Reads llama-server's `verbose`: the answer repeats the prompt that the template has made. */
static enum kl_status parse_verbose(const json_t *body, struct kl_generation_request *r,
                                    struct kl_api_error *error)
{
    bool verbose = false;
    enum kl_status status = kl_field_bool(body, "verbose", &verbose, error);
    if (verbose)
        r->describe = kl_prompt_texts_describe;
    return status;
}

static enum kl_status parse_fields(const json_t *body, struct kl_generation_request *r,
                                   struct kl_api_error *error)
{
    const json_t *messages = NULL;
    struct kl_tools tools;
    int64_t n = 1;
    r->max_tokens = DEFAULT_MAX_TOKENS;
    if (kl_field_string(body, "model", &r->model, error) != KL_OK ||
        kl_field_array(body, "messages", &messages, error) != KL_OK ||
        kl_field_int(body, "n", 1, KL_MAX_CHOICES, &n, error) != KL_OK ||
        kl_max_tokens_field(body, "n_predict", &r->max_tokens, error) != KL_OK ||
        kl_max_tokens_field(body, "max_tokens", &r->max_tokens, error) != KL_OK ||
        kl_max_tokens_field(body, "max_completion_tokens", &r->max_tokens, error) != KL_OK ||
        kl_sampling_fields(body, r, error) != KL_OK ||
        kl_logprobs_fields(body, r, error) != KL_OK || kl_stop_field(body, r, error) != KL_OK ||
        kl_stream_fields(body, r, error) != KL_OK || parse_verbose(body, r, error) != KL_OK ||
        kl_tier_field(body, r, error) != KL_OK ||
        kl_unsupported_fields_check(body, KL_FIELDS_OF_CHAT, error) != KL_OK ||
        parse_tools(body, r, &tools, error) != KL_OK)
        return KL_ERR_INVALID;
    if (kl_prediction_field(body, r->source, &r->prediction, &r->prediction_len, error) != KL_OK)
        return KL_ERR_INVALID;
    if (messages == NULL)
        return kl_api_fail(error, 400, "invalid_value", "messages",
                           "messages is missing; it must be an array of messages");
    r->n_choices = (size_t)n;
    enum kl_status status = kl_chat_input_parse(messages, r->source, &r->input, error);
    if (status == KL_OK)
        status = kl_continuation_fields(body, &r->input, error);
    if (status == KL_OK)
        status = kl_answer_fields(body, r, error);
    if (status == KL_OK)
        status = kl_rule_fields(body, r, error);
    return status == KL_OK ? kl_tools_apply(&tools, r, error) : status;
}

enum kl_status kl_chat_completions_parse(const char *text, size_t len, bool is_query,
                                         struct kl_generation_request *r,
                                         struct kl_api_error *error)
{
    (void)is_query;
    json_t *body;
    enum kl_status status = kl_read_body(text, len, r, &body, error);
    return status == KL_OK ? parse_fields(body, r, error) : status;
}

static const struct kl_dialect dialect = {kl_answer_headers, kl_chat_completions_parse,
                                          &stream_format, &document_format};

KL_HANDLER(kl_handle_chat_completions)
{
    kl_generation_start(x, &dialect);
}
