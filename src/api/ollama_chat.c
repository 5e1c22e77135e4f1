/*
 * POST /api/chat, as in Ollama's API. Fields are read by ollama_fields.h, answers written by
 * ollama_format.h.
 *
 * Messages are those of /v1/chat/completions with these differences: content may be absent,
 * thoughts are called `thinking`, images are a field of their own (refused unless empty), and the
 * arguments of calls are objects. Results of tools belong to calls by their order: `tool_name` and
 * ids are not needed.
 */
#include <stdio.h>

#include "api/answer_fields.h"
#include "api/answer_json.h"
#include "api/fields.h"
#include "api/message_fields.h"
#include "api/ollama_fields.h"
#include "api/ollama_format.h"
#include "api/tool_calls.h"
#include "service/intake.h"

/* Returns the message as /v1/chat/completions has it, a new reference; NULL: *error is set. */
static json_t *complete_message(json_t *message, size_t i, struct kl_api_error *error)
{
    char where[48];
    snprintf(where, sizeof where, "messages[%zu].images", i);
    if (kl_ollama_check_images(json_object_get(message, "images"), where, error) != KL_OK)
        return NULL;
    const json_t *content = json_object_get(message, "content");
    json_t *thought = json_object_get(message, "thinking");
    bool has_content = content != NULL && !json_is_null(content);
    if (!json_is_object(message) || (has_content && thought == NULL))
        return json_incref(message);
    json_t *copy = json_copy(message);
    if (copy == NULL ||
        (!has_content && json_object_set_new(copy, "content", json_string("")) != 0) ||
        (thought != NULL && json_object_set(copy, "reasoning_content", thought) != 0)) {
        json_decref(copy);
        kl_api_fail_memory(error, "the conversation");
        return NULL;
    }
    return copy;
}

static enum kl_status parse_messages(const json_t *given, struct kl_generation_request *r,
                                     struct kl_api_error *error)
{
    size_t i;
    json_t *message, *messages = json_array();
    enum kl_status status = kl_keep_json(r, messages, error);
    json_array_foreach((json_t *)given, i, message)
    {
        json_t *complete = status == KL_OK ? complete_message(message, i, error) : NULL;
        if (complete == NULL)
            return KL_ERR_INVALID;
        if (json_array_append_new(messages, complete) != 0)
            return kl_api_fail_memory(error, "the conversation");
    }
    return status == KL_OK ? kl_chat_input_parse(messages, r->source, &r->input, error) : status;
}

static enum kl_status parse_tools(const json_t *body, struct kl_tools *tools,
                                  struct kl_api_error *error)
{
    const json_t *list = NULL;
    *tools = (struct kl_tools){.field = "tools", .schema = "function.parameters"};
    if (kl_field_array(body, "tools", &list, error) != KL_OK ||
        kl_tools_read(list, tools, error) != KL_OK)
        return KL_ERR_INVALID;
    return kl_tools_read_choice(json_object_get(body, "tool_choice"), tools, error);
}

static enum kl_status parse(const char *text, size_t len, bool is_query,
                            struct kl_generation_request *r, struct kl_api_error *error)
{
    (void)is_query;
    const json_t *body = NULL, *messages = NULL;
    struct kl_tools tools;
    if (kl_ollama_body(text, len, r, &body, error) != KL_OK ||
        kl_field_array(body, "messages", &messages, error) != KL_OK ||
        parse_tools(body, &tools, error) != KL_OK)
        return KL_ERR_INVALID;
    r->closed_suffices = json_array_size(messages) == 0 && kl_ollama_unloads(r);
    if (json_array_size(messages) == 0)
        r->compute = kl_ollama_chat_loaded;
    else if (parse_messages(messages, r, error) != KL_OK)
        return KL_ERR_INVALID;
    if (kl_ollama_answer_fields(body, r, error) != KL_OK)
        return KL_ERR_INVALID;
    return r->compute == NULL ? kl_tools_apply(&tools, r, error) : KL_OK;
}

static const struct kl_dialect dialect = {kl_answer_headers, parse, &kl_ollama_chat_stream,
                                          &kl_ollama_chat_document};

KL_HANDLER(kl_handle_ollama_chat)
{
    kl_generation_start(x, &dialect);
}
