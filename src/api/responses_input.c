#include "api/responses_input.h"

#include <stdio.h>
#include <string.h>

#include "api/fields.h"
#include "json/json_limits.h"
#include "json/json_memory.h"
#include "json/json_numbers.h"

/* The longest name of a place: "input[12345].content[12345]". */
#define WHERE_SIZE 64
/* Comparisons with IDs of items that one request may cause: some 100 ms. */
#define MAX_COMPARED ((size_t)1 << 20)

void kl_response_item_id(const char *record_id, const char *prefix, size_t i,
                         char id[KL_RESPONSE_ITEM_SIZE])
{
    snprintf(id, KL_RESPONSE_ITEM_SIZE, "%s_%s%02zx", prefix, record_id, i);
}

/* Returns the ID of a record; "" for what is none of an answer. */
static const char *record_id(const char *id)
{
    size_t n = sizeof KL_RESPONSE_PREFIX - 1;
    return strncmp(id, KL_RESPONSE_PREFIX, n) == 0 ? id + n : "";
}

struct kl_answer_record *kl_response_find(struct kl_answer_store *store, uint64_t scope,
                                          const char *id)
{
    return kl_answer_store_find(store, scope, record_id(id));
}

bool kl_response_delete(struct kl_answer_store *store, uint64_t scope, const char *id)
{
    return kl_answer_store_delete(store, scope, record_id(id));
}

/* ---- messages -------------------------------------------------------------------------------- */

static enum kl_status no_memory(struct kl_api_error *error)
{
    return kl_api_fail_memory(error, "the conversation");
}

/* Appends a message; takes content. */
static enum kl_status add_message(struct kl_responses_input *in, const char *role, json_t *content,
                                  struct kl_api_error *error)
{
    in->follows = strcmp(role, "assistant") == 0;
    json_t *message = json_pack("{s:s, s:o}", "role", role, "content", content);
    return json_array_append_new(in->messages, message) == 0 ? KL_OK : no_memory(error);
}

/* Returns the text of a part, a new reference; NULL, with *error set, if it is none. */
static json_t *read_part(const json_t *part, const char *where, struct kl_api_error *error)
{
    static const char *const types[] = {"input_text", "output_text", "text", "summary_text"};
    const char *type = json_string_value(json_object_get(part, "type"));
    if (type != NULL && strcmp(type, "refusal") == 0)
        return json_incref(json_object_get(part, "refusal"));
    const json_t *text = json_object_get(part, "text");
    bool known = false;
    for (size_t i = 0; type != NULL && i < sizeof types / sizeof *types; i++)
        known = known || strcmp(type, types[i]) == 0;
    if (known && json_is_string(text))
        return json_incref((json_t *)text);
    if (type != NULL && !known)
        kl_api_fail(error, 400, "unsupported", where,
                    "%s is of type \"%.40s\"; this model reads only text (input_text, "
                    "output_text)",
                    where, type);
    else
        kl_api_fail(error, 400, "invalid_value", where,
                    "%s must be an object with \"type\": \"input_text\" and a string \"text\"",
                    where);
    return NULL;
}

/* Returns a content as Chat Completions has it: a string, or an array of text parts. A new
 * reference; NULL: *error is set. */
static json_t *read_content(const json_t *content, const char *where, struct kl_api_error *error)
{
    const json_t *part;
    size_t i;
    *error = (struct kl_api_error){0};
    if (json_is_string(content))
        return json_incref((json_t *)content);
    if (!json_is_array(content)) {
        kl_api_fail(error, 400, "invalid_type", where,
                    "%s must be a string or an array of text parts, not %s", where,
                    content != NULL ? kl_json_type_name(content) : "absent");
        return NULL;
    }
    json_t *parts = json_array();
    json_array_foreach((json_t *)content, i, part)
    {
        char place[WHERE_SIZE];
        snprintf(place, sizeof place, "%.40s[%zu]", where, i);
        json_t *text = read_part(part, place, error);
        if (text == NULL && error->status == 0)
            kl_api_fail(error, 400, "invalid_value", place, "%s has no text", place);
        if (error->status == 0 &&
            json_array_append_new(parts, json_pack("{s:s, s:o}", "type", "text", "text", text)) !=
                0)
            no_memory(error);
        if (error->status != 0) {
            json_decref(parts);
            return NULL;
        }
    }
    if (parts == NULL)
        no_memory(error);
    return parts;
}

static enum kl_status read_message(struct kl_responses_input *in, const json_t *item,
                                   const char *where, struct kl_api_error *error)
{
    static const char *const roles[] = {"user", "assistant", "system", "developer"};
    const char *role = json_string_value(json_object_get(item, "role"));
    char place[WHERE_SIZE];
    size_t i = 0;
    snprintf(place, sizeof place, "%s.role", where);
    while (role != NULL && i < 4 && strcmp(role, roles[i]) != 0)
        i++;
    if (role == NULL || i == 4)
        return kl_api_fail(error, 400, "invalid_value", place,
                           "%s must be user, assistant, system or developer%s%.40s%s", place,
                           role != NULL ? ", not \"" : "", role != NULL ? role : "",
                           role != NULL ? "\"" : "");
    snprintf(place, sizeof place, "%s.content", where);
    json_t *content = read_content(json_object_get(item, "content"), place, error);
    return content != NULL ? add_message(in, roles[i], content, error) : KL_ERR_INVALID;
}

/* ---- calls ----------------------------------------------------------------------------------- */

/* Returns a member that must be a string; NULL: *error is set. */
static const json_t *need_string(const json_t *item, const char *name, const char *where,
                                 struct kl_api_error *error)
{
    const json_t *value = json_object_get(item, name);
    if (json_is_string(value))
        return value;
    char place[WHERE_SIZE];
    snprintf(place, sizeof place, "%s.%s", where, name);
    kl_api_fail(error, 400, "invalid_type", place, "%s must be a string, not %s", place,
                value != NULL ? kl_json_type_name(value) : "absent");
    return NULL;
}

/* A call belongs to the message of the assistant before it, if there is one. */
static enum kl_status read_call(struct kl_responses_input *in, const json_t *item,
                                const char *where, struct kl_api_error *error)
{
    const json_t *id = need_string(item, "call_id", where, error);
    const json_t *name = id != NULL ? need_string(item, "name", where, error) : NULL;
    const json_t *arguments = name != NULL ? need_string(item, "arguments", where, error) : NULL;
    if (arguments == NULL)
        return KL_ERR_INVALID;
    if (!in->follows && add_message(in, "assistant", json_null(), error) != KL_OK)
        return KL_ERR_INVALID;
    json_t *message = json_array_get(in->messages, json_array_size(in->messages) - 1);
    json_t *calls = json_object_get(message, "tool_calls");
    if (calls == NULL) {
        json_object_set_new(message, "tool_calls", json_array());
        calls = json_object_get(message, "tool_calls");
    }
    json_t *call = json_pack("{s:O, s:s, s:{s:O, s:O}}", "id", id, "type", "function", "function",
                             "name", name, "arguments", arguments);
    return json_array_append_new(calls, call) == 0 ? KL_OK : no_memory(error);
}

static enum kl_status read_output(struct kl_responses_input *in, const json_t *item,
                                  const char *where, struct kl_api_error *error)
{
    const json_t *id = need_string(item, "call_id", where, error);
    if (id == NULL)
        return KL_ERR_INVALID;
    char place[WHERE_SIZE];
    snprintf(place, sizeof place, "%s.output", where);
    json_t *content = read_content(json_object_get(item, "output"), place, error);
    if (content == NULL || add_message(in, "tool", content, error) != KL_OK)
        return KL_ERR_INVALID;
    json_t *message = json_array_get(in->messages, json_array_size(in->messages) - 1);
    return json_object_set(message, "tool_call_id", (json_t *)id) == 0 ? KL_OK : no_memory(error);
}

/* ---- references ------------------------------------------------------------------------------ */

/* Makes in->referred the items of that answer. */
static enum kl_status read_referred(struct kl_responses_input *in,
                                    const struct kl_answer_record *record, const char *where,
                                    struct kl_api_error *error)
{
    if (in->referred != NULL && strcmp(in->referred_id, record->id) == 0)
        return KL_OK;
    json_decref(in->referred);
    in->referred = NULL;
    in->next_referred = 0;
    in->n_read += record->items.len;
    if (in->n_read > in->max_read)
        return kl_api_fail(error, 400, "input_too_large", where,
                           "the items that the input refers to take more than %zu bytes to read: "
                           "refer to fewer answers, or give previous_response_id",
                           in->max_read);
    struct kl_buffer text;
    kl_buffer_init(&text, record->items.len + 2);
    if (kl_buffer_append(&text, "[", 1) == KL_OK &&
        kl_buffer_append(&text, record->items.data, record->items.len) == KL_OK &&
        kl_buffer_append(&text, "]", 1) == KL_OK)
        in->referred = kl_json_read(text.data, text.len, NULL);
    kl_buffer_release(&text);
    if (in->referred == NULL)
        return no_memory(error);
    snprintf(in->referred_id, sizeof in->referred_id, "%s", record->id);
    return KL_OK;
}

/* Finds the item of that ID among in->referred, behind the one that was found last: references are
 * mostly in the order of the items. */
static enum kl_status find_referred(struct kl_responses_input *in, const char *id,
                                    const char *where, const json_t **found,
                                    struct kl_api_error *error)
{
    size_t n = json_array_size(in->referred);
    for (size_t i = 0; i < n; i++) {
        const json_t *item = json_array_get(in->referred, (in->next_referred + i) % n);
        const char *its_id = json_string_value(json_object_get(item, "id"));
        if (++in->n_compared > MAX_COMPARED)
            return kl_api_fail(error, 400, "input_too_large", where,
                               "the input refers to too many items in a different order: send "
                               "them, or give previous_response_id");
        if (its_id == NULL || strcmp(its_id, id) != 0)
            continue;
        *found = item;
        in->next_referred = (in->next_referred + i + 1) % n;
        break;
    }
    return KL_OK;
}

static enum kl_status read_item(struct kl_responses_input *in, const json_t *item,
                                const char *where, bool is_kept, struct kl_api_error *error);

/* Reads the item of a kept answer in place of a reference to it. */
static enum kl_status read_reference(struct kl_responses_input *in, const json_t *item,
                                     const char *where, struct kl_api_error *error)
{
    const char *id = json_string_value(json_object_get(item, "id"));
    const char *hex = id != NULL ? strrchr(id, '_') : NULL;
    char its_answer[KL_ANSWER_ID_SIZE] = "";
    if (id == NULL)
        return kl_api_fail(error, 400, "invalid_type", where,
                           "%s is a reference, so its id must be a string", where);
    if (strncmp(id, "rs_", 3) == 0) /* reasoning */
        return KL_OK;
    if (hex != NULL && strlen(hex + 1) >= KL_ANSWER_ID_SIZE - 1)
        snprintf(its_answer, sizeof its_answer, "%.*s", KL_ANSWER_ID_SIZE - 1, hex + 1);
    struct kl_answer_record *record = kl_answer_store_find(in->store, in->scope, its_answer);
    enum kl_status status = KL_OK;
    const json_t *found = NULL;
    if (record != NULL)
        status = read_referred(in, record, where, error);
    kl_answer_record_release(record);
    if (status == KL_OK && record != NULL)
        status = find_referred(in, id, where, &found, error);
    if (status != KL_OK)
        return status;
    if (found == NULL)
        return kl_api_fail(error, 404, "item_not_found", where,
                           "%s refers to the item \"%.80s\", which is not kept here (any more): "
                           "send the item itself",
                           where, id);
    return read_item(in, found, where, true, error);
}

/* ---- items ----------------------------------------------------------------------------------- */

static enum kl_status read_item(struct kl_responses_input *in, const json_t *item,
                                const char *where, bool is_kept, struct kl_api_error *error)
{
    if (!json_is_object(item))
        return kl_api_fail(error, 400, "invalid_type", where, "%s must be an object, not %s", where,
                           kl_json_type_name(item));
    const char *type = json_string_value(json_object_get(item, "type"));
    if (type == NULL)
        type = json_object_get(item, "role") != NULL ? "message" : "item_reference";
    if (strcmp(type, "reasoning") == 0)
        return KL_OK;
    if (strcmp(type, "item_reference") == 0 && !is_kept)
        return read_reference(in, item, where, error);
    enum kl_status status = KL_OK;
    if (in->own != NULL && json_array_append(in->own, (json_t *)item) != 0)
        return no_memory(error);
    if (strcmp(type, "message") == 0)
        status = read_message(in, item, where, error);
    else if (strcmp(type, "function_call") == 0)
        status = read_call(in, item, where, error);
    else if (strcmp(type, "function_call_output") == 0)
        status = read_output(in, item, where, error);
    else
        status =
            kl_api_fail(error, 400, "unsupported", where,
                        "%s is of type \"%.40s\", which this server does not have; it has message, "
                        "function_call, function_call_output, reasoning and item_reference",
                        where, type);
    return status;
}

enum kl_status kl_responses_input_add(struct kl_responses_input *in, const json_t *items,
                                      const char *where, struct kl_api_error *error)
{
    const json_t *item;
    size_t i;
    json_array_foreach((json_t *)items, i, item)
    {
        char place[WHERE_SIZE];
        snprintf(place, sizeof place, "%.20s[%zu]", where, i);
        enum kl_status status = read_item(in, item, place, false, error);
        if (status != KL_OK)
            return status;
    }
    return KL_OK;
}

void kl_responses_input_release(struct kl_responses_input *in)
{
    json_decref(in->referred);
    in->referred = NULL;
}
