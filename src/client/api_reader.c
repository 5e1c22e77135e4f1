#include "client/api_reader.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/foreign_text.h"
#include "base/utf8.h"
#include "json/json_limits.h"
#include "json/json_text.h"

void kl_stream_reader_init(struct kl_stream_reader *reader, kl_stream_event_fn *see, void *context)
{
    *reader = (struct kl_stream_reader){.see = see, .context = context};
    kl_buffer_init(&reader->line, KL_STREAM_LINE_CAP);
    kl_buffer_init(&reader->data, KL_STREAM_LINE_CAP);
}

void kl_stream_reader_release(struct kl_stream_reader *reader)
{
    kl_buffer_release(&reader->line);
    kl_buffer_release(&reader->data);
}

/* As json_loadb, of what costs no more than a request may. NULL: *why says why, where it is asked.
 */
static json_t *load(const char *text, size_t len, char *why, size_t size)
{
    struct kl_error err;
    json_error_t problem;
    json_t *root = NULL;
    if (kl_json_check_limits(text, len, KL_JSON_MAX_DEPTH, KL_JSON_MAX_NODES, &err) != KL_OK)
        snprintf(problem.text, sizeof problem.text, "%.*s", (int)sizeof problem.text - 1, err.text);
    else
        root = json_loadb(text, len, 0, &problem);
    if (root == NULL && why != NULL)
        snprintf(why, size, "%s", problem.text);
    return root;
}

/* ---- what an event says ---------------------------------------------------------------------- */

static void tell(kl_stream_event_fn *see, void *context, enum kl_stream_event_type type,
                 const char *text)
{
    see(context, &(struct kl_stream_event){.type = type, .text = text});
}

static size_t count_of(const json_t *object, const char *name)
{
    json_int_t n = json_integer_value(json_object_get(object, name));
    return n > 0 ? (size_t)n : 0;
}

/* holder: "delta" in a stream, "message" in an answer. */
static void read_choice(const json_t *choice, const char *holder, kl_stream_event_fn *see,
                        void *context)
{
    const json_t *content = json_object_get(json_object_get(choice, holder), "content");
    const json_t *finish = json_object_get(choice, "finish_reason");
    if (json_string_length(content) > 0)
        tell(see, context, KL_STREAM_TEXT, json_string_value(content));
    if (json_is_string(finish))
        tell(see, context, KL_STREAM_FINISH, json_string_value(finish));
}

static void read_object(const char *text, size_t len, const char *holder, kl_stream_event_fn *see,
                        void *context)
{
    if (!kl_utf8_valid(text, len)) {
        tell(see, context, KL_STREAM_BROKEN, "bytes that are no UTF-8: a code point was cut");
        return;
    }
    char why[JSON_ERROR_TEXT_LENGTH];
    json_t *root = load(text, len, why, sizeof why);
    if (!json_is_object(root)) {
        tell(see, context, KL_STREAM_BROKEN, root != NULL ? "JSON that is no object" : why);
        json_decref(root);
        return;
    }
    const json_t *error = json_object_get(root, "error");
    const json_t *message = json_object_get(error, "message");
    if (error != NULL)
        tell(see, context, KL_STREAM_ERROR,
             json_is_string(message) ? json_string_value(message) : "an error without a message");
    size_t at;
    const json_t *choice, *usage = json_object_get(root, "usage");
    json_array_foreach(json_object_get(root, "choices"), at, choice)
        read_choice(choice, holder, see, context);
    if (json_is_object(usage))
        see(context,
            &(struct kl_stream_event){.type = KL_STREAM_USAGE,
                                      .text = "",
                                      .prompt_tokens = count_of(usage, "prompt_tokens"),
                                      .answer_tokens = count_of(usage, "completion_tokens")});
    json_decref(root);
}

void kl_read_answer(const char *json, size_t len, kl_stream_event_fn *see, void *context)
{
    read_object(json, len, "message", see, context);
}

/* ---- lines and events ------------------------------------------------------------------------ */

static void end_event(struct kl_stream_reader *r)
{
    if (!r->has_data)
        return;
    r->has_data = false;
    if (r->data.len == 6 && memcmp(r->data.data, "[DONE]", 6) == 0)
        tell(r->see, r->context, KL_STREAM_DONE, "");
    else
        read_object(r->data.len > 0 ? r->data.data : "", r->data.len, "delta", r->see, r->context);
    kl_buffer_clear(&r->data);
}

static enum kl_status end_line(struct kl_stream_reader *r)
{
    const char *line = r->line.len > 0 ? r->line.data : "";
    size_t len = r->line.len;
    enum kl_status status = KL_OK;
    if (len == 0) {
        end_event(r);
    } else if (line[0] == ':') {
        tell(r->see, r->context, KL_STREAM_COMMENT, line + (line[1] == ' ' ? 2 : 1));
    } else if (len >= 5 && memcmp(line, "data:", 5) == 0) {
        size_t skip = line[5] == ' ' ? 6 : 5;
        if (r->has_data)
            status = kl_buffer_append(&r->data, "\n", 1);
        if (status == KL_OK)
            status = kl_buffer_append(&r->data, line + skip, len - skip);
        r->has_data = true;
    } else if (line[0] == '{') {
        tell(r->see, r->context, KL_STREAM_BROKEN, "JSON where a line should begin with \"data:\"");
    } /* event, id, retry and unknown fields say nothing here */
    kl_buffer_clear(&r->line);
    return status;
}

enum kl_status kl_stream_reader_feed(struct kl_stream_reader *r, const char *bytes, size_t len,
                                     struct kl_error *err)
{
    enum kl_status status = KL_OK;
    for (size_t at = 0; at < len && status == KL_OK;) {
        if (r->after_cr && bytes[at] == '\n') {
            r->after_cr = false;
            at++;
            continue;
        }
        r->after_cr = false;
        size_t end = at;
        while (end < len && bytes[end] != '\n' && bytes[end] != '\r')
            end++;
        status = kl_buffer_append(&r->line, bytes + at, end - at);
        at = end;
        if (status == KL_OK && end < len) {
            r->after_cr = bytes[end] == '\r';
            at++;
            status = end_line(r);
        }
    }
    if (status == KL_ERR_LIMIT)
        return kl_fail(err, status, "an event of the stream is longer than %zu bytes",
                       KL_STREAM_LINE_CAP);
    return status == KL_OK ? KL_OK : kl_fail_memory(err, "an event of the stream", r->line.len);
}

bool kl_stream_reader_at_end(const struct kl_stream_reader *r)
{
    return r->line.len == 0 && !r->has_data;
}

/* ---- other answers, and the question --------------------------------------------------------- */

bool kl_read_model_id(const char *json, size_t len, char *out, size_t size)
{
    json_t *root = load(json, len, NULL, 0);
    const char *id =
        json_string_value(json_object_get(json_array_get(json_object_get(root, "data"), 0), "id"));
    if (id != NULL)
        kl_foreign_line(id, strlen(id), out, size);
    json_decref(root);
    return id != NULL;
}

bool kl_read_running(const char *json, size_t len, size_t *running)
{
    json_t *root = load(json, len, NULL, 0);
    const json_t *count = json_object_get(root, "running");
    bool known = json_is_integer(count);
    *running = known ? count_of(root, "running") : 0;
    size_t at;
    const json_t *slot;
    json_array_foreach(root, at, slot)
    {
        const json_t *busy = json_object_get(slot, "is_processing");
        known = known || json_is_boolean(busy);
        *running += json_is_true(busy);
    }
    json_decref(root);
    return known;
}

enum kl_health_told kl_read_health(const char *json, size_t len)
{
    json_t *root = json_loadb(json, len, 0, NULL);
    bool ours = json_is_string(json_object_get(root, "status")) &&
                json_is_string(json_object_get(root, "version"));
    bool all = json_is_number(json_object_get(root, "uptime_seconds"));
    json_decref(root);
    return !ours ? KL_HEALTH_OTHER : all ? KL_HEALTH_ALL : KL_HEALTH_STATUS;
}

bool kl_read_resident(const char *json, size_t len, double *bytes)
{
    json_t *root = load(json, len, NULL, 0);
    const json_t *value = json_object_get(root, "resident_bytes");
    bool known = json_is_number(value);
    *bytes = known ? json_number_value(value) : 0;
    json_decref(root);
    return known;
}

/* What is asked may come from a command line or be a part of an answer: any bytes. */
static json_t *text_json(const char *text)
{
    return kl_json_text(text, strlen(text));
}

/* Takes root; NULL: there was no memory for it. */
static enum kl_status write_json(json_t *root, struct kl_buffer *out)
{
    char *json = root != NULL ? json_dumps(root, JSON_COMPACT) : NULL;
    enum kl_status status = json != NULL ? kl_buffer_append_string(out, json) : KL_ERR_MEMORY;
    free(json);
    json_decref(root);
    return status;
}

enum kl_status kl_write_conversation(const char *model, const char *const *turns, size_t n,
                                     size_t max_tokens, struct kl_buffer *out)
{
    json_t *root = json_pack("{s:o, s:[], s:I, s:i, s:b, s:{s:b}}", "model", text_json(model),
                             "messages", "max_tokens", (json_int_t)max_tokens, "temperature", 0,
                             "stream", 1, "stream_options", "include_usage", 1);
    for (size_t i = 0; i < n; i++) {
        json_t *message = json_pack("{s:s, s:o}", "role", i % 2 == 0 ? "user" : "assistant",
                                    "content", text_json(turns[i]));
        if (json_array_append_new(json_object_get(root, "messages"), message) != 0) {
            json_decref(root);
            return KL_ERR_MEMORY;
        }
    }
    return write_json(root, out);
}

enum kl_status kl_write_chat_request(const char *model, const char *text, size_t max_tokens,
                                     bool stream, struct kl_buffer *out)
{
    return write_json(json_pack("{s:o, s:[{s:s, s:o}], s:I, s:i, s:b}", "model", text_json(model),
                                "messages", "role", "user", "content", text_json(text),
                                "max_tokens", (json_int_t)max_tokens, "temperature", 0, "stream",
                                (int)stream),
                      out);
}
