#include "api/chat_records.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "api/fields.h"
#include "history/history.h"

#define MAX_TIME ((int64_t)1 << 53) /* milliseconds: exact in JavaScript */

bool kl_is_uuid(const char *text)
{
    static const char pattern[] = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
    for (size_t i = 0; i < KL_UUID_LEN; i++) {
        bool fits = pattern[i] == 'x' ? text[i] != '\0' && strchr("0123456789abcdefABCDEF", text[i])
                                      : text[i] == '-';
        if (!fits)
            return false;
    }
    return text[KL_UUID_LEN] == '\0';
}

static bool is_uuid(const json_t *value)
{
    return json_string_length(value) == KL_UUID_LEN && kl_is_uuid(json_string_value(value));
}

/* The name of a field for an error: "messages[3].role". */
struct field_name {
    char text[64];
};

static struct field_name name_of(size_t i, const char *member)
{
    struct field_name name;
    snprintf(name.text, sizeof name.text, "messages[%zu]%s%s", i, member != NULL ? "." : "",
             member != NULL ? member : "");
    return name;
}

/* Checks a member that must be a UUID, or may be null or absent. */
static enum kl_status check_uuid(const json_t *value, const char *name, bool may_be_null,
                                 struct kl_api_error *error)
{
    if (is_uuid(value) || (may_be_null && (value == NULL || json_is_null(value))))
        return KL_OK;
    return kl_api_fail(error, 400, "invalid_value", name,
                       "%s must be a UUID (36 characters: hexadecimal digits and dashes)%s", name,
                       may_be_null ? " or null" : "");
}

static enum kl_status check_role(const json_t *message, size_t i, struct kl_api_error *error)
{
    const char *role = json_string_value(json_object_get(message, "role"));
    if (role != NULL && (strcmp(role, "user") == 0 || strcmp(role, "assistant") == 0))
        return KL_OK;
    return kl_api_fail(error, 400, "invalid_value", name_of(i, "role").text,
                       "%s must be \"user\" or \"assistant\"", name_of(i, "role").text);
}

static enum kl_status check_message(const json_t *m, size_t i, struct kl_api_error *error)
{
    if (!json_is_object(m))
        return kl_api_fail(error, 400, "invalid_type", name_of(i, NULL).text,
                           "%s must be an object, not %s", name_of(i, NULL).text,
                           kl_json_type_name(m));
    enum kl_status status =
        check_uuid(json_object_get(m, "id"), name_of(i, "id").text, false, error);
    if (status == KL_OK)
        status = check_uuid(json_object_get(m, "parent"), name_of(i, "parent").text, true, error);
    if (status == KL_OK)
        status = check_role(m, i, error);
    if (status == KL_OK && !json_is_string(json_object_get(m, "content")))
        status = kl_api_fail(error, 400, "invalid_type", name_of(i, "content").text,
                             "%s must be a string", name_of(i, "content").text);
    return status;
}

static enum kl_status check_messages(const json_t *messages, struct kl_api_error *error)
{
    size_t n = json_array_size(messages);
    if (n > KL_CHAT_MAX_MESSAGES)
        return kl_api_fail(error, 413, "chat_too_large", "messages",
                           "there are %zu messages; a chat has at most %d", n,
                           KL_CHAT_MAX_MESSAGES);
    enum kl_status status = KL_OK;
    for (size_t i = 0; i < n && status == KL_OK; i++)
        status = check_message(json_array_get(messages, i), i, error);
    return status;
}

/* The bytes of a string in JSON. */
static size_t printed_bytes(const char *text)
{
    size_t bytes = 0;
    for (; *text != '\0'; text++)
        bytes += (unsigned char)*text < ' ' ? strlen("\\u0001") : strchr("\"\\", *text) ? 2 : 1;
    return bytes;
}

static enum kl_status check_title(const json_t *head, struct kl_api_error *error)
{
    const char *title = "";
    if (kl_field_string(head, "title", &title, error) != KL_OK)
        return KL_ERR_INVALID;
    size_t bytes = printed_bytes(title);
    if (bytes <= KL_HISTORY_MAX_TITLE)
        return KL_OK;
    return kl_api_fail(error, 400, "invalid_value", "title", "title has %zu bytes; the limit is %d",
                       bytes, KL_HISTORY_MAX_TITLE);
}

static enum kl_status check_head(const json_t *head, const char *id, struct kl_api_error *error)
{
    const json_t *own = json_object_get(head, "id"), *settings = NULL;
    int64_t time;
    bool pinned;
    if (own != NULL && (!is_uuid(own) || strcasecmp(json_string_value(own), id) != 0))
        return kl_api_fail(error, 400, "invalid_value", "id",
                           "id must be that of the URL, %s, or be left out", id);
    enum kl_status status = check_title(head, error);
    if (status == KL_OK)
        status = kl_field_int(head, "created", 0, MAX_TIME, &time, error);
    if (status == KL_OK)
        status = kl_field_int(head, "changed", 0, MAX_TIME, &time, error);
    if (status == KL_OK)
        status = kl_field_bool(head, "pinned", &pinned, error);
    if (status == KL_OK)
        status = kl_field_object(head, "settings", &settings, error);
    return status == KL_OK ? check_uuid(json_object_get(head, "current"), "current", true, error)
                           : status;
}

/* With messages that are added, only what follows from them. */
static enum kl_status check_added(const json_t *body, struct kl_api_error *error)
{
    const char *name;
    const json_t *value;
    json_object_foreach((json_t *)(uintptr_t)body, name, value)
    {
        if (strcmp(name, "messages") != 0 && strcmp(name, "current") != 0 &&
            strcmp(name, "changed") != 0)
            return kl_api_fail(error, 400, "unsupported", name,
                               "%.60s is not taken here, only messages, current and changed; PUT "
                               "the chat to set it",
                               name);
    }
    if (json_object_get(body, "messages") == NULL)
        return kl_api_fail(error, 400, "missing_required_parameter", "messages",
                           "messages is missing: an array of the messages to add or replace");
    return KL_OK;
}

/* Removes what the server sets, and what is absent by being null. */
static void clean(json_t *head)
{
    static const char *const ours[] = {"id", "object", "bytes", "etag", "messages"};
    static const char *const known[] = {"title", "created", "changed", "pinned", "settings"};
    for (size_t i = 0; i < sizeof ours / sizeof ours[0]; i++)
        json_object_del(head, ours[i]);
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (json_is_null(json_object_get(head, known[i])))
            json_object_del(head, known[i]);
    }
}

enum kl_status kl_chat_record_read(const char *data, size_t len, const char *id, bool adds,
                                   struct kl_chat_record *record, struct kl_api_error *error)
{
    *record = (struct kl_chat_record){0};
    enum kl_status status = kl_parse_object(data, len, &record->head, error);
    if (status == KL_OK && adds)
        status = check_added(record->head, error);
    if (status == KL_OK)
        status = kl_field_array(record->head, "messages", &record->messages, error);
    if (status == KL_OK && record->messages != NULL) {
        record->owner = json_incref((json_t *)(uintptr_t)record->messages);
        status = check_messages(record->messages, error);
    }
    if (status == KL_OK)
        status = check_head(record->head, id, error);
    if (status == KL_OK)
        clean(record->head);
    return status;
}

void kl_chat_record_release(struct kl_chat_record *record)
{
    json_decref(record->head);
    json_decref(record->owner);
    *record = (struct kl_chat_record){0};
}
