/*
 * POST /v1/responses and /v1/responses/input_tokens, as in OpenAI's API reference (Responses), as
 * far as a model of this size can do it. Items are read by responses_input.h, answers written by
 * responses_format.h, and kept ones read again by responses_kept.c.
 */
#include <stdlib.h>
#include <string.h>

#include "api/answer_fields.h"
#include "api/answer_json.h"
#include "api/fields.h"
#include "api/input_tokens.h"
#include "api/message_fields.h"
#include "api/response_fields.h"
#include "api/responses_format.h"
#include "api/responses_input.h"
#include "api/rule_fields.h"
#include "api/sampling_fields.h"
#include "api/tool_calls.h"
#include "api/unsupported_fields.h"
#include "service/intake.h"
#include "json/json_limits.h"
#include "json/json_memory.h"
#include "json/json_numbers.h"

/* Values of one kept conversation: some thousand items. */
#define MAX_KEPT_NODES ((size_t)20000)
#define RETRY_SECONDS  2 /* until another answer is complete and may be removed */

/* ---- the conversation ------------------------------------------------------------------------ */

/* Finds the answer that the request continues: *previous is a share, or NULL. */
static enum kl_status find_previous(const json_t *body, const struct kl_generation_request *r,
                                    struct kl_answer_record **previous, struct kl_api_error *error)
{
    const char *name = "previous_response_id", *id = NULL;
    if (kl_field_string(body, name, &id, error) != KL_OK)
        return KL_ERR_INVALID;
    if (id == NULL)
        return KL_OK;
    *previous = kl_response_find(r->answers, r->scope, id);
    if (*previous != NULL)
        return KL_OK;
    return kl_api_fail(error, 400, "previous_response_not_found", name,
                       "Previous response with id '%.80s' not found: it was never kept here, or "
                       "is not any more; send the conversation as input",
                       id);
}

/* Reads the items of a conversation, the last max_bytes of them, as text, into *items. *fits: these
 * are all, and have no more values than may be read. */
static enum kl_status read_kept(const struct kl_answer_record *previous, size_t max_bytes,
                                json_t **items, bool *fits, size_t *n_read)
{
    struct kl_buffer text;
    struct kl_error err;
    enum kl_status status;
    *items = NULL;
    kl_buffer_init(&text, max_bytes + 2);
    kl_buffer_append(&text, "[", 1);
    *fits = kl_answer_record_items(previous, max_bytes, &text, &status) == 0;
    if (status == KL_OK)
        status = kl_buffer_append(&text, "]", 1);
    *n_read = text.len;
    if (status == KL_OK &&
        kl_json_check_limits(text.data, text.len, KL_JSON_MAX_DEPTH, MAX_KEPT_NODES, &err) != KL_OK)
        *fits = false;
    else if (status == KL_OK)
        *items = kl_json_read(text.data, text.len, NULL);
    kl_buffer_release(&text);
    return status;
}

/* Adds the items of the conversation that the request continues; if it may be cut, as many of the
 * last ones as may be read. */
static enum kl_status add_previous(struct kl_responses_input *in,
                                   const struct kl_answer_record *previous,
                                   struct kl_generation_request *r, struct kl_api_error *error)
{
    size_t max_bytes = r->kept_bytes, n_read = 0;
    bool fits = false, trims = r->context_policy == KL_CONTEXT_TRIM;
    json_t *items = NULL;
    enum kl_status status = read_kept(previous, max_bytes, &items, &fits, &n_read);
    while (status == KL_OK && trims && items == NULL && !fits && max_bytes > 0) {
        max_bytes /= 2;
        status = read_kept(previous, max_bytes, &items, &fits, &n_read);
    }
    in->n_read += n_read;
    if (status == KL_OK && !fits && !trims) {
        json_decref(items);
        return kl_api_fail(error, 400, "context_length_exceeded", "previous_response_id",
                           "the conversation before this request takes more than %zu bytes or %zu "
                           "values to read: send the part that matters as input, or truncation "
                           "\"auto\"",
                           r->kept_bytes, MAX_KEPT_NODES);
    }
    if (status != KL_OK || items == NULL || kl_keep_json(r, items, error) != KL_OK)
        return kl_api_fail_memory(error, "the conversation");
    return kl_responses_input_add(in, items, "previous_response_id", error);
}

/* Adds the field `input`: a string, which is a message of the user, or an array of items. */
static enum kl_status add_input(const json_t *body, struct kl_responses_input *in,
                                struct kl_generation_request *r, struct kl_api_error *error)
{
    const json_t *input = json_object_get(body, "input");
    json_t *items = NULL;
    if (json_is_array(input)) {
        items = json_incref((json_t *)input);
    } else if (json_is_string(input)) {
        items = json_pack("[{s:s, s:s, s:O}]", "type", "message", "role", "user", "content", input);
    } else if (input == NULL || json_is_null(input)) {
        return kl_api_fail(error, 400, "missing_required_parameter", "input",
                           "input is missing; it must be a string or an array of items");
    } else {
        return kl_api_fail(error, 400, "invalid_type", "input",
                           "input must be a string or an array of items, not %s",
                           kl_json_type_name(input));
    }
    if (kl_keep_json(r, items, error) != KL_OK)
        return KL_ERR_INVALID;
    return kl_responses_input_add(in, items, "input", error);
}

/* Reads instructions, what is kept and what is new into r->input. */
static enum kl_status read_conversation(const json_t *body, struct kl_responses_input *in,
                                        const struct kl_answer_record *previous,
                                        struct kl_generation_request *r, struct kl_api_error *error)
{
    const char *instructions = NULL;
    enum kl_status status = kl_field_string(body, "instructions", &instructions, error);
    if (status == KL_OK && instructions != NULL && instructions[0] != '\0' &&
        json_array_append_new(
            in->messages, json_pack("{s:s, s:s}", "role", "system", "content", instructions)) != 0)
        status = kl_api_fail_memory(error, "the conversation");
    json_t *own = in->own;
    in->own = NULL; /* what is kept already is not kept again */
    if (status == KL_OK && previous != NULL)
        status = add_previous(in, previous, r, error);
    in->own = own;
    in->follows = false;
    if (status == KL_OK)
        status = add_input(body, in, r, error);
    if (status == KL_OK && json_array_size(in->messages) == 0)
        status = kl_api_fail(error, 400, "invalid_value", "input",
                             "input must have at least one message");
    if (status == KL_OK)
        status = kl_chat_input_parse(in->messages, r->source, &r->input, error);
    r->input.field = "input";
    r->input.continues = false; /* the answer is a message of its own */
    return status;
}

/* ---- the record of the answer ---------------------------------------------------------------- */

/* Returns an array or object as text without its brackets; NULL: no memory. */
static char *dump_inside(const json_t *value)
{
    char *text = json_dumps(value, JSON_COMPACT | JSON_REAL_PRECISION(15));
    size_t len = text != NULL ? strlen(text) : 0;
    if (len < 2)
        return text;
    text[len - 1] = '\0';
    memmove(text, text + 1, len - 1);
    return text;
}

static enum kl_status refuse_record(const struct kl_error *err, struct kl_api_error *error)
{
    switch (err->status) {
    case KL_ERR_LIMIT:
        return kl_api_fail(error, 400, "request_too_large", NULL, "this request is too large: %s",
                           err->text);
    case KL_ERR_BUSY:
        kl_api_fail(error, 429, "answers_full", NULL, "%s", err->text);
        error->retry_after = RETRY_SECONDS;
        return KL_ERR_INVALID;
    default:
        return kl_api_fail_internal(error, err);
    }
}

/* Makes the record with the fields that the answer repeats. Input that is too large to be kept is
 * left out, unless the client says that it wants it kept: then it is an error. */
static enum kl_status make_record(const json_t *body, const struct kl_responses_input *in,
                                  struct kl_answer_record *previous,
                                  struct kl_generation_request *r, struct kl_api_error *error)
{
    bool store = true;
    struct kl_error err;
    if (kl_field_bool(body, "store", &store, error) != KL_OK)
        return KL_ERR_INVALID;
    char *items = dump_inside(in->own);
    size_t half = kl_answer_store_most_bytes(r->answers) / 2;
    if (items != NULL && strlen(items) > half && store) {
        store = false;
        if (json_is_true(json_object_get(body, "store"))) {
            kl_api_fail(error, 400, "request_too_large", "store",
                        "the input takes %zu bytes, more than the %zu that are kept for one "
                        "answer: leave store out, or set it to false",
                        strlen(items), half);
            free(items);
            return KL_ERR_INVALID;
        }
    }
    json_t *repeated = kl_response_fields_repeat(body, r, store);
    char *fields = repeated != NULL ? dump_inside(repeated) : NULL;
    json_decref(repeated);
    enum kl_status status = KL_OK;
    if (fields == NULL || items == NULL || kl_json_was_short())
        status = kl_api_fail_memory(error, "the request");
    else if (kl_answer_record_new(r->answers, r->scope, store ? previous : NULL, fields,
                                  store ? items : "", &r->record, &err) != KL_OK)
        status = refuse_record(&err, error);
    else
        r->record->is_wanted = store;
    free(fields);
    free(items);
    return status;
}

/* ---- requests -------------------------------------------------------------------------------- */

static enum kl_status parse_tools(const json_t *body, struct kl_tools *tools,
                                  struct kl_api_error *error)
{
    const json_t *list = NULL;
    if (kl_field_array(body, "tools", &list, error) != KL_OK)
        return KL_ERR_INVALID;
    *tools = (struct kl_tools){.field = "tools", .schema = "parameters"};
    if (kl_tools_read(list, tools, error) != KL_OK ||
        kl_tools_read_choice(json_object_get(body, "tool_choice"), tools, error) != KL_OK)
        return KL_ERR_INVALID;
    return kl_tools_read_parallel(body, tools, error);
}

static enum kl_status parse_answer(const json_t *body, struct kl_answer_record *previous,
                                   struct kl_generation_request *r, struct kl_api_error *error)
{
    struct kl_tools tools;
    struct kl_responses_input in = {.messages = json_array(),
                                    .store = r->answers,
                                    .scope = r->scope,
                                    .max_read = r->kept_bytes};
    enum kl_status status = kl_keep_json(r, in.messages, error);
    if (status == KL_OK)
        status = kl_keep_json(r, in.own = json_array(), error);
    if (status == KL_OK)
        status = parse_tools(body, &tools, error);
    if (status == KL_OK)
        status = read_conversation(body, &in, previous, r, error);
    if (status == KL_OK)
        status = kl_answer_fields(body, r, error);
    if (status == KL_OK)
        status = kl_response_reasoning_field(body, r, error);
    if (status == KL_OK)
        status = kl_response_text_field(body, r, error);
    if (status == KL_OK)
        status = kl_tools_apply(&tools, r, error);
    if (status == KL_OK && r->compute == NULL)
        status = make_record(body, &in, previous, r, error);
    kl_responses_input_release(&in);
    return status;
}

static enum kl_status parse_fields(const json_t *body, struct kl_generation_request *r,
                                   struct kl_api_error *error)
{
    struct kl_answer_record *previous = NULL;
    if (kl_field_string(body, "model", &r->model, error) != KL_OK ||
        kl_unsupported_fields_check(body, KL_FIELDS_OF_RESPONSES, error) != KL_OK ||
        kl_sampling_fields(body, r, error) != KL_OK || kl_stop_field(body, r, error) != KL_OK ||
        kl_tier_field(body, r, error) != KL_OK ||
        kl_field_bool(body, "stream", &r->stream, error) != KL_OK ||
        kl_response_fields(body, r, error) != KL_OK ||
        find_previous(body, r, &previous, error) != KL_OK)
        return KL_ERR_INVALID;
    enum kl_status status = parse_answer(body, previous, r, error);
    kl_answer_record_release(previous);
    return status;
}

static enum kl_status parse(const char *text, size_t len, bool is_query,
                            struct kl_generation_request *r, struct kl_api_error *error)
{
    (void)is_query;
    json_t *body;
    enum kl_status status = kl_read_body(text, len, r, &body, error);
    return status == KL_OK ? parse_fields(body, r, error) : status;
}

/* Whether a body may refer to kept answers, whose items then count as memory for reading it. One
 * that hides the names of its fields in escapes is not served with any. */
static bool may_refer(const struct kl_exchange *x)
{
    size_t len;
    const char *body = kl_request_body(x, &len);
    static const char previous[] = "previous_response_id", id[] = "\"id\"";
    return len > 0 && (memmem(body, len, previous, strlen(previous)) != NULL ||
                       memmem(body, len, id, strlen(id)) != NULL);
}

static enum kl_status read_headers(const struct kl_exchange *x, struct kl_generation_request *r,
                                   struct kl_api_error *error)
{
    r->answers = kl_service_of(x)->answers;
    r->scope = x->cache_scope;
    r->kept_bytes = may_refer(x) ? KL_RESPONSES_MAX_KEPT : 0;
    return kl_answer_headers(x, r, error);
}

static const struct kl_dialect dialect = {read_headers, parse, &kl_responses_stream,
                                          &kl_responses_document};

KL_HANDLER(kl_handle_responses)
{
    kl_generation_start(x, &dialect);
}

/* ---- /v1/responses/input_tokens -------------------------------------------------------------- */

static enum kl_status parse_count(const char *text, size_t len, bool is_query,
                                  struct kl_generation_request *r, struct kl_api_error *error)
{
    r->compute = kl_input_tokens_write;
    enum kl_status status = parse(text, len, is_query, r, error);
    r->stream = false;
    r->context_policy = KL_CONTEXT_ERROR; /* all of it is counted */
    return status;
}

static const struct kl_dialect count_dialect = {read_headers, parse_count, &kl_responses_document,
                                                &kl_responses_document};

KL_HANDLER(kl_handle_responses_input_tokens)
{
    kl_generation_start(x, &count_dialect);
}
