/*
 * POST and GET /chat: takes a prompt or conversation, answers with an event stream of
 * {"text":"..."}, ended by [DONE]. GET takes its fields from the query, for EventSource.
 */
#include <string.h>

#include "api/answer_fields.h"
#include "api/answer_json.h"
#include "api/fields.h"
#include "api/message_fields.h"
#include "api/reply_json.h"
#include "api/rule_fields.h"
#include "api/sampling_fields.h"
#include "api/unsupported_fields.h"
#include "http/query.h"
#include "service/intake.h"
#include "json/json_memory.h"
#include "json/json_numbers.h"
#include "json/json_text.h"

#define DEFAULT_MAX_NEW_TOKENS 256
#define DEFAULT_TEMPERATURE    0.1f /* used with do_sample; without it the answer is greedy */
#define DEFAULT_TOP_P          0.9f

/* Sends an event other than text. It has an empty text, for clients that read only that field.
 * note is stolen; NULL: nothing is sent. */
static void send_note(struct kl_generation *g, json_t *note)
{
    if (note == NULL)
        return;
    json_object_set_new(note, "text", json_string(""));
    kl_stream_json(g->exchange, note);
}

static void begin(struct kl_generation *g)
{
    send_note(g, kl_notes_json(g, KL_FINISH_STOP));
}

static void send_progress(struct kl_generation *g)
{
    send_note(g, json_pack("{s:o}", "prompt_progress", kl_progress_json(g)));
}

static enum kl_status send_text(struct kl_generation *g, size_t choice, const char *text,
                                size_t len)
{
    (void)choice;
    kl_stream_json(g->exchange, json_pack("{s:o}", "text", kl_json_text(text, len)));
    return KL_OK;
}

static void choice_done(struct kl_generation *g, size_t choice)
{
    const char *ended_by = kl_ended_by(g->choices[choice].finish);
    if (ended_by != NULL)
        send_note(g, json_pack("{s:s}", "ended_by", ended_by));
}

static const struct kl_answer_format native_format = {
    .stream_type = KL_SSE_TYPE,
    .begin = begin,
    .progress = send_progress,
    .heartbeat = kl_sse_heartbeat,
    .text = send_text,
    .choice_done = choice_done,
    .end = kl_sse_end,
    .error = kl_sse_error,
};

/* Returns the conversation as a new array; "prompt" is the shorthand for one user message. */
static json_t *conversation(const json_t *body, struct kl_api_error *error)
{
    const json_t *messages = NULL;
    const char *prompt = NULL;
    if (kl_field_array(body, "messages", &messages, error) != KL_OK)
        return NULL;
    const json_t *given = json_object_get(body, "prompt");
    if (!json_is_string(given) && kl_field_string(body, "prompt", &prompt, error) != KL_OK)
        return NULL;
    if ((messages != NULL) == json_is_string(given)) {
        kl_api_fail(error, 400, "invalid_value", "prompt",
                    "give either prompt (a string) or messages (an array)%s",
                    messages != NULL ? ", not both" : "");
        return NULL;
    }
    json_t *result = messages != NULL ? json_incref((json_t *)messages)
                                      : json_pack("[{s:s, s:O}]", "role", "user", "content", given);
    if (messages == NULL && json_string_length(given) == 0) {
        kl_api_fail(error, 400, "invalid_value", "prompt", "prompt must not be empty");
        json_decref(result);
        return NULL;
    }
    if (result == NULL)
        kl_api_fail_memory(error, "the conversation");
    return result;
}

static enum kl_status parse_fields(const json_t *body, const json_t *messages,
                                   struct kl_generation_request *r, struct kl_api_error *error)
{
    bool do_sample = false;
    r->stream = true;
    r->max_tokens = DEFAULT_MAX_NEW_TOKENS;
    r->sampling.temperature = DEFAULT_TEMPERATURE;
    r->sampling.top_p = DEFAULT_TOP_P;
    if (kl_field_bool(body, "do_sample", &do_sample, error) != KL_OK ||
        kl_max_tokens_field(body, "max_new_tokens", &r->max_tokens, error) != KL_OK ||
        kl_sampling_fields(body, r, error) != KL_OK || kl_stop_field(body, r, error) != KL_OK ||
        kl_unsupported_fields_check(body, KL_FIELDS_OF_NATIVE, error) != KL_OK)
        return KL_ERR_INVALID;
    if (!do_sample)
        r->sampling.temperature = 0;
    enum kl_status status = kl_chat_input_parse(messages, r->source, &r->input, error);
    if (status == KL_OK)
        status = kl_answer_fields(body, r, error);
    return status == KL_OK ? kl_rule_schema_field(body, r, error) : status;
}

static const char *const query_names[] = {
    "prompt", "max_new_tokens", "do_sample", "stop",
    /* sampling_fields.h */
    "temperature", "top_p", "top_k", "min_p", "typical_p", "min_keep", "seed", "repetition_penalty",
    "repeat_penalty", "repeat_last_n", "frequency_penalty", "presence_penalty", "dry_multiplier",
    "dry_base", "dry_allowed_length", "dry_penalty_last_n", "dry_sequence_breakers", "ignore_eos",
    "logit_bias",
    /* answer_fields.h */
    "context_policy", "return_progress", "enable_thinking", "thinking", "reasoning_effort",
    "loop_guard",
    /* rule_fields.h */
    "schema"};
#define N_QUERY_NAMES (sizeof query_names / sizeof query_names[0])

/* Returns the name of the i-th field that is read or refused; NULL past the end. */
static const char *query_name(size_t i)
{
    return i < N_QUERY_NAMES ? query_names[i] : kl_unsupported_field_at(i - N_QUERY_NAMES);
}

/* Adds a field of the query to object; "8", "0.5", "true" become numbers and booleans. Returns
 * false with *error set if that fails. */
static bool add_query_field(json_t *object, const char *name, const char *value,
                            struct kl_api_error *error)
{
    bool text = strcmp(name, "prompt") == 0 || strcmp(name, "stop") == 0;
    json_t *json = text ? NULL : kl_json_read(value, strlen(value), NULL);
    if (json == NULL)
        json = json_string(value);
    if (kl_json_was_short()) {
        json_decref(json);
        kl_api_fail_memory(error, "the request");
    } else if (json == NULL) {
        kl_api_fail(error, 400, "invalid_value", name, "%s must be UTF-8", name);
    } else if (json_object_set_new(object, name, json) != 0) {
        kl_api_fail_memory(error, "the request");
    }
    return error->status == 0;
}

/* Returns the fields of the query as a JSON object, as in a body. */
static json_t *query_object(const char *text, struct kl_api_error *error)
{
    json_t *object = json_object();
    *error = (struct kl_api_error){0};
    if (object == NULL) {
        kl_api_fail_memory(error, "the request");
        return NULL;
    }
    struct kl_query *query = kl_query_parse(text, error);
    const char *name;
    bool ok = query != NULL;
    for (size_t i = 0; ok && (name = query_name(i)) != NULL; i++) {
        const char *value = kl_query_find(query, name);
        ok = value == NULL || add_query_field(object, name, value, error);
    }
    kl_query_free(query);
    if (!ok) {
        json_decref(object);
        return NULL;
    }
    return object;
}

static enum kl_status parse(const char *text, size_t len, bool is_query,
                            struct kl_generation_request *r, struct kl_api_error *error)
{
    json_t *body = NULL;
    kl_json_was_short(); /* clears the flag of earlier requests */
    if (is_query)
        body = query_object(text, error);
    else
        kl_parse_object(text, len, &body, error);
    if (body == NULL || kl_keep_json(r, body, error) != KL_OK)
        return KL_ERR_INVALID;
    json_t *messages = conversation(body, error);
    if (messages == NULL || kl_keep_json(r, messages, error) != KL_OK)
        return KL_ERR_INVALID;
    return parse_fields(body, messages, r, error);
}

static const struct kl_dialect dialect = {kl_answer_headers, parse, &native_format, &native_format};

KL_HANDLER(kl_handle_native_chat)
{
    kl_generation_start(x, &dialect);
}
