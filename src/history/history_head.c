#include "history/history_head.h"

#include <stdlib.h>
#include <string.h>

#include "json/json_limits.h"
#include "json/json_memory.h"

static json_t *parse(const char *text, size_t len, struct kl_error *err)
{
    json_t *head = NULL;
    if (kl_json_check_limits(text, len, KL_JSON_MAX_DEPTH, KL_JSON_MAX_NODES, err) == KL_OK)
        head = kl_json_load(text, len, JSON_ALLOW_NUL, NULL);
    if (kl_json_was_short()) {
        json_decref(head);
        kl_fail_memory(err, "the head of a chat", len);
        return NULL;
    }
    if (json_is_object(head))
        return head;
    json_decref(head);
    kl_fail(err, KL_ERR_FORMAT, "the head of a kept chat is not a JSON object");
    return NULL;
}

char *kl_history_head_make(const char *present, size_t len, const json_t *changes, bool replaces,
                           const char *id, uint64_t now_ms, struct kl_error *err)
{
    json_t *before = present != NULL ? parse(present, len, err) : json_object();
    if (before == NULL && present != NULL)
        return NULL;
    json_t *created = json_object_get(before, "created");
    json_t *head = json_pack("{s:s#, s:s}", "id", id, KL_CHAT_ID_LEN, "title", "");
    if (created != NULL)
        json_object_set(head, "created", created);
    else
        json_object_set_new(head, "created", json_integer((json_int_t)now_ms));
    json_object_set_new(head, "changed", json_integer((json_int_t)now_ms));
    json_object_set_new(head, "pinned", json_false());
    json_object_set_new(head, "settings", json_object());
    json_object_set_new(head, "current", json_null());
    json_object_del(before, "changed");
    if (!replaces)
        json_object_update(head, before);
    json_object_update(head, (json_t *)(uintptr_t)changes); /* shared, not changed */
    char *text = json_dumps(head, JSON_COMPACT | JSON_REAL_PRECISION(17));
    json_decref(before);
    json_decref(head);
    if (!kl_json_was_short() && text != NULL)
        return text;
    free(text);
    kl_fail_memory(err, "the head of a chat", len);
    return NULL;
}

/* Returns the members of lists. They are the first ones of a head, so that the rest, which may be
 * long, is not parsed: its first member cannot occur before, since quotes within a title are
 * escaped. */
static json_t *parse_front(const struct kl_chat_text *chat, struct kl_error *err)
{
    static const char rest[] = ",\"settings\":";
    const char *end = memmem(chat->head, chat->head_len, rest, strlen(rest));
    if (end == NULL)
        return parse(chat->head, chat->head_len, err);
    struct kl_buffer front;
    kl_buffer_init(&front, KL_CHAT_MAX_HEAD_BYTES);
    json_t *head = NULL;
    if (kl_buffer_append(&front, chat->head, (size_t)(end - chat->head)) == KL_OK &&
        kl_buffer_append(&front, "}", 1) == KL_OK)
        head = parse(front.data, front.len, err);
    else
        kl_fail_memory(err, "the head of a chat", chat->head_len);
    kl_buffer_release(&front);
    return head;
}

enum kl_status kl_history_head_entry(const struct kl_chat_text *chat, struct kl_buffer *out,
                                     double *changed, struct kl_error *err)
{
    static const char *const names[] = {"id", "title", "created", "changed", "pinned"};
    json_t *head = parse_front(chat, err), *entry = json_object();
    if (head == NULL) {
        json_decref(entry);
        return err->status;
    }
    *changed = json_number_value(json_object_get(head, "changed"));
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        json_object_set(entry, names[i], json_object_get(head, names[i]));
    json_object_set_new(entry, "bytes", json_integer((json_int_t)chat->bytes));
    json_object_set_new(entry, "etag", json_stringn(chat->etag, KL_CHAT_ETAG_LEN));
    char *text = json_dumps(entry, JSON_COMPACT | JSON_REAL_PRECISION(17));
    enum kl_status status =
        !kl_json_was_short() && text != NULL ? kl_buffer_append_string(out, text) : KL_ERR_MEMORY;
    free(text);
    json_decref(entry);
    json_decref(head);
    return status == KL_OK ? KL_OK : kl_fail_memory(err, "the list of chats", out->len);
}
