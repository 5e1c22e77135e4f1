/*
 * POST /v1/completions, as in OpenAI's API reference (Completions): texts that go on, without a
 * conversation. With `suffix`, the model fills in what is between prompt and suffix.
 *
 * max_tokens: OpenAI's default of 16 would cut the answers of clients that send none, so it is that
 * of chats.
 */
#include <stdlib.h>
#include <string.h>

#include "api/answer_fields.h"
#include "api/answer_json.h"
#include "api/fields.h"
#include "api/legacy_logprobs.h"
#include "api/prompt_fields.h"
#include "api/prompt_texts.h"
#include "api/reply_json.h"
#include "api/rule_fields.h"
#include "api/sampling_fields.h"
#include "api/token_columns.h"
#include "api/unsupported_fields.h"
#include "api/usage_json.h"
#include "service/intake.h"
#include "json/json_memory.h"
#include "json/json_text.h"

#define DEFAULT_MAX_TOKENS 2048
/* The largest answers and log-probabilities of all choices are far below it. */
#define MOST_DOCUMENT ((size_t)256 << 20)

/* ---- answers --------------------------------------------------------------------------------- */

/* Returns the fields common to documents and chunks. choices is stolen; NULL: without them. */
static json_t *envelope(const struct kl_generation *g, json_t *choices)
{
    return json_pack("{s:s+, s:s, s:I, s:s, s:o*}", "id", "cmpl-", g->exchange->id, "object",
                     "text_completion", "created", (json_int_t)g->created, "model",
                     g->model->served.model_name, "choices", choices);
}

static void add(json_t *object, const char *name, json_t *value)
{
    if (value != NULL)
        json_object_set_new(object, name, value);
}

/* Returns the prompt that goes before the answer of a choice, of texts (kl_prompt_texts_of), which
 * may be NULL: then there is none. */
static json_t *echoed(const struct kl_generation *g, const json_t *texts, size_t choice)
{
    return json_array_get(texts, choice / g->n_per_prompt);
}

/* text and logprobs (may be NULL) are stolen; finish may be NULL. */
static json_t *chunk(const struct kl_generation *g, size_t choice, json_t *text, json_t *logprobs,
                     const char *finish)
{
    json_t *result = envelope(g, json_pack("[{s:i, s:o, s:o?, s:s?}]", "index", (int)choice, "text",
                                           text, "logprobs", logprobs, "finish_reason", finish));
    if (g->include_usage)
        json_object_set_new(result, "usage", json_null());
    return result;
}

static void stream_begin(struct kl_generation *g)
{
    json_t *texts = kl_prompt_texts_of(g);
    for (size_t i = 0; i < g->n_choices; i++) {
        json_t *text = echoed(g, texts, i);
        if (json_string_length(text) > 0)
            kl_stream_json(g->exchange, chunk(g, i, json_incref(text), NULL, NULL));
    }
    json_decref(texts);
}

static void stream_progress(struct kl_generation *g)
{
    json_t *progress = chunk(g, 0, json_string(""), NULL, NULL);
    add(progress, "prompt_progress", kl_progress_json(g));
    kl_stream_json(g->exchange, progress);
}

static enum kl_status stream_text(struct kl_generation *g, size_t choice, const char *text,
                                  size_t len)
{
    json_t *logprobs = kl_legacy_logprobs_json(g, choice, text, len);
    if (g->logprobs && logprobs == NULL) {
        kl_json_was_short(); /* reported by this status */
        return KL_ERR_MEMORY;
    }
    kl_stream_json(g->exchange, chunk(g, choice, kl_json_text(text, len), logprobs, NULL));
    return KL_OK;
}

static void stream_choice_done(struct kl_generation *g, size_t choice)
{
    enum kl_finish finish = g->choices[choice].finish;
    json_t *last = chunk(g, choice, json_string(""), NULL, kl_finish_reason(finish));
    add(last, "x_kinglet", kl_notes_json(g, finish));
    if (g->n_open == 0 && !g->include_usage)
        add(last, "timings", kl_timings_json(g, 0, g->n_choices));
    kl_stream_json(g->exchange, last);
}

static void stream_end(struct kl_generation *g)
{
    if (g->include_usage) {
        json_t *last = envelope(g, json_array());
        json_object_set_new(last, "usage", kl_usage_json(g));
        add(last, "timings", kl_timings_json(g, 0, g->n_choices));
        kl_stream_json(g->exchange, last);
    }
    kl_sse_end(g);
}

/* Prints the element of `choices`. */
static void print_choice(struct kl_printer *p, const struct kl_generation *g, size_t choice,
                         const json_t *before)
{
    const struct kl_answer_choice *c = &g->choices[choice];
    size_t len = json_string_length(before);
    struct kl_buffer text;
    kl_buffer_init(&text, len + c->text.len);
    if (kl_buffer_append(&text, len > 0 ? json_string_value(before) : "", len) != KL_OK ||
        kl_buffer_append(&text, c->text.len > 0 ? c->text.data : "", c->text.len) != KL_OK)
        kl_json_tell_short();
    kl_print_open_object(p, json_pack("{s:i, s:o, s:s}", "index", (int)choice, "text",
                                      kl_json_text(text.data, text.len), "finish_reason",
                                      kl_finish_reason(c->finish)));
    kl_buffer_release(&text);
    kl_print(p, ",\"logprobs\":");
    if (g->logprobs)
        kl_legacy_logprobs_print(c, p);
    else
        kl_print(p, "null");
    kl_print(p, "}");
}

static void document_end(struct kl_generation *g)
{
    enum kl_finish finish = KL_FINISH_STOP;
    struct kl_printer p;
    json_t *document = envelope(g, NULL), *texts = kl_prompt_texts_of(g);
    for (size_t i = 0; i < g->n_choices; i++) {
        if (kl_ended_by(g->choices[i].finish) != NULL)
            finish = g->choices[i].finish;
    }
    add(document, "usage", kl_usage_json(g));
    add(document, "timings", kl_timings_json(g, 0, g->n_choices));
    add(document, "x_kinglet", kl_notes_json(g, finish));
    kl_printer_init(&p, MOST_DOCUMENT);
    kl_print_open_object(&p, document);
    kl_print(&p, ",\"choices\":[");
    for (size_t i = 0; i < g->n_choices; i++) {
        if (i > 0)
            kl_print(&p, ",");
        print_choice(&p, g, i, echoed(g, texts, i));
    }
    json_decref(texts);
    kl_print(&p, "]}\n");
    kl_reply_printed(g->exchange, &p);
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
    .text = kl_legacy_logprobs_text, .end = document_end, .error = kl_document_error};

/* ---- requests -------------------------------------------------------------------------------- */

/* Reads `logprobs`: the number of most likely tokens to report for each, 0: the token alone. */
static enum kl_status logprobs_field(const json_t *body, struct kl_generation_request *r,
                                     struct kl_api_error *error)
{
    const json_t *given = json_object_get(body, "logprobs");
    int64_t top = 0;
    r->logprobs = json_is_number(given) || json_is_true(given);
    if (json_is_boolean(given))
        return KL_OK;
    enum kl_status status = kl_field_int(body, "logprobs", 0, KL_MAX_TOP_LOGPROBS, &top, error);
    r->top_logprobs = (size_t)top;
    return status;
}

static enum kl_status echo_field(const json_t *body, struct kl_generation_request *r,
                                 struct kl_api_error *error)
{
    bool echo = false;
    if (kl_field_bool(body, "echo", &echo, error) != KL_OK)
        return KL_ERR_INVALID;
    if (echo && r->logprobs)
        return kl_api_fail(error, 400, "unsupported", "echo",
                           "echo together with logprobs is not offered by this server: the "
                           "probabilities of a prompt are not computed; leave one of them out");
    if (echo)
        r->describe = kl_prompt_texts_describe;
    return KL_OK;
}

/* Reads `n` and `best_of`, which must be the same: answers are not compared here. */
static enum kl_status choices_fields(const json_t *body, struct kl_generation_request *r,
                                     struct kl_api_error *error)
{
    int64_t n = 1;
    if (kl_field_int(body, "n", 1, KL_MAX_CHOICES, &n, error) != KL_OK)
        return KL_ERR_INVALID;
    int64_t best_of = n;
    if (kl_field_int(body, "best_of", 1, INT32_MAX, &best_of, error) != KL_OK)
        return KL_ERR_INVALID;
    if (best_of != n)
        return kl_api_fail(error, 400, "unsupported", "best_of",
                           "best_of is %lld and n is %lld; this server returns all answers that "
                           "it generates, so they must be equal; leave best_of out",
                           (long long)best_of, (long long)n);
    return kl_choices_of_prompts((size_t)n, r, error);
}

/* Reads `suffix`: the prompt, which is to be one string, is the text before it. */
static enum kl_status suffix_field(const json_t *body, struct kl_generation_request *r,
                                   struct kl_api_error *error)
{
    const json_t *prompt = json_object_get(body, "prompt"),
                 *suffix = json_object_get(body, "suffix");
    if (suffix == NULL || json_is_null(suffix) || json_string_length(suffix) == 0) {
        const char *unused;
        return kl_field_string(body, "suffix", &unused, error);
    }
    if (!json_is_string(suffix) || !json_is_string(prompt))
        return kl_api_fail(error, 400, "invalid_type", "suffix",
                           "suffix must be a string, and prompt as well if there is one");
    if (r->describe != NULL)
        return kl_api_fail(error, 400, "unsupported", "echo",
                           "echo is not offered together with suffix; leave one of them out");
    kl_raw_input_release(&r->raw);
    const struct kl_raw_gap gap = {.prefix = json_string_value(prompt),
                                   .prefix_len = json_string_length(prompt),
                                   .suffix = json_string_value(suffix),
                                   .suffix_len = json_string_length(suffix)};
    r->raw.field = "suffix";
    return kl_raw_input_gap(&r->raw, &gap) == KL_OK ? KL_OK
                                                    : kl_api_fail_memory(error, "the prompt");
}

static enum kl_status parse_fields(const json_t *body, struct kl_generation_request *r,
                                   struct kl_api_error *error)
{
    r->max_tokens = DEFAULT_MAX_TOKENS;
    if (kl_field_string(body, "model", &r->model, error) != KL_OK ||
        kl_prompt_field(body, &r->raw, error) != KL_OK ||
        kl_max_tokens_field(body, "max_tokens", &r->max_tokens, error) != KL_OK ||
        kl_max_tokens_field(body, "max_completion_tokens", &r->max_tokens, error) != KL_OK ||
        kl_max_tokens_field(body, "n_predict", &r->max_tokens, error) != KL_OK ||
        choices_fields(body, r, error) != KL_OK || kl_sampling_fields(body, r, error) != KL_OK ||
        logprobs_field(body, r, error) != KL_OK || echo_field(body, r, error) != KL_OK ||
        suffix_field(body, r, error) != KL_OK || kl_stop_field(body, r, error) != KL_OK ||
        kl_stream_fields(body, r, error) != KL_OK ||
        kl_unsupported_fields_check(body, KL_FIELDS_OF_COMPLETIONS, error) != KL_OK)
        return KL_ERR_INVALID;
    enum kl_status status = kl_answer_fields(body, r, error);
    return status == KL_OK ? kl_rule_fields(body, r, error) : status;
}

static enum kl_status parse(const char *text, size_t len, bool is_query,
                            struct kl_generation_request *r, struct kl_api_error *error)
{
    (void)is_query;
    json_t *body;
    enum kl_status status = kl_read_body(text, len, r, &body, error);
    return status == KL_OK ? parse_fields(body, r, error) : status;
}

static const struct kl_dialect dialect = {kl_answer_headers, parse, &stream_format,
                                          &document_format};

KL_HANDLER(kl_handle_completions)
{
    kl_generation_start(x, &dialect);
}
