#include "history/chat_text.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"

#define SUM_BEGIN  "{\"sum\":\""
#define SUM_DIGITS 16
/* where the bytes begin that the sum is of */
#define SUMMED (sizeof SUM_BEGIN - 1 + SUM_DIGITS + 2)

#define FIRST_SLOTS 64

/* ---- lines ----------------------------------------------------------------------------------- */

/* Takes a constant text from the front of a line. */
static bool take(const char **at, const char *end, const char *text)
{
    size_t len = strlen(text);
    if ((size_t)(end - *at) < len || memcmp(*at, text, len) != 0)
        return false;
    *at += len;
    return true;
}

static bool take_bytes(const char **at, const char *end, size_t len, const char **bytes)
{
    if ((size_t)(end - *at) < len)
        return false;
    *bytes = *at;
    *at += len;
    return true;
}

/* Checks the sum of a line without its line end; *at: what follows the sum. */
static bool check_sum(const char *line, size_t len, const char **at)
{
    char sum[SUM_DIGITS + 1];
    const char *end = line + len, *digits;
    *at = line;
    if (!take(at, end, SUM_BEGIN) || !take_bytes(at, end, SUM_DIGITS, &digits) ||
        !take(at, end, "\",") || end[-1] != '}')
        return false;
    snprintf(sum, sizeof sum, "%016" PRIx64, kl_hash64(line + SUMMED, len - SUMMED, 0));
    return memcmp(sum, digits, SUM_DIGITS) == 0;
}

static bool parse_message(const char *line, size_t len, struct kl_chat_message *m)
{
    const char *at, *end = line + len;
    if (!check_sum(line, len, &at) || !take(&at, end, "\"id\":\"") ||
        !take_bytes(&at, end, KL_CHAT_ID_LEN, &m->id) || !take(&at, end, "\",\"message\":"))
        return false;
    m->json = at;
    m->len = (size_t)(end - 1 - at);
    return true;
}

static bool parse_head(const char *line, size_t len, struct kl_chat_text *chat)
{
    const char *at, *end = line + len, *etag;
    uint64_t bytes = 0;
    if (!check_sum(line, len, &at) || !take(&at, end, "\"etag\":\"") ||
        !take_bytes(&at, end, KL_CHAT_ETAG_LEN, &etag) || !take(&at, end, "\",\"bytes\":"))
        return false;
    for (; at < end && *at >= '0' && *at <= '9' && bytes < KL_CHAT_MAX_BYTES; at++)
        bytes = bytes * 10 + (uint64_t)(*at - '0');
    if (!take(&at, end, ",\"head\":{") || at == end - 1)
        return false;
    at--; /* the head begins with its brace, and is not empty */
    chat->etag = etag;
    chat->bytes = bytes;
    chat->head = at;
    chat->head_len = (size_t)(end - 1 - at);
    return true;
}

bool kl_chat_text_last_head(const char *data, size_t len, struct kl_chat_text *chat)
{
    const char *end = memrchr(data, '\n', len);
    while (end != NULL) {
        const char *before = memrchr(data, '\n', (size_t)(end - data));
        const char *line = before != NULL ? before + 1 : data;
        if (parse_head(line, (size_t)(end - line), chat)) {
            chat->valid = (size_t)(end + 1 - data);
            return true;
        }
        end = before;
    }
    return false;
}

/* ---- the table of messages ------------------------------------------------------------------- */

/* The slot of an ID: that of its message, or the empty one where it belongs. */
static uint16_t *slot_of(const struct kl_chat_text *chat, const char *id)
{
    size_t i = (size_t)kl_hash64(id, KL_CHAT_ID_LEN, 0) & (chat->n_slots - 1);
    while (chat->slots[i] != 0 &&
           memcmp(chat->messages[chat->slots[i] - 1].id, id, KL_CHAT_ID_LEN) != 0)
        i = (i + 1) & (chat->n_slots - 1);
    return &chat->slots[i];
}

/* Makes room for another message: the table is at most half full. */
static enum kl_status grow(struct kl_chat_text *chat, struct kl_error *err)
{
    if (chat->n_messages * 2 < chat->n_slots)
        return KL_OK;
    size_t n = chat->n_slots == 0 ? FIRST_SLOTS : chat->n_slots * 2;
    struct kl_chat_message *messages = realloc(chat->messages, n / 2 * sizeof *messages);
    if (messages == NULL)
        return kl_fail_memory(err, "the messages of a chat", n / 2 * sizeof *messages);
    chat->messages = messages;
    uint16_t *slots = calloc(n, sizeof *slots);
    if (slots == NULL)
        return kl_fail_memory(err, "the messages of a chat", n * sizeof *slots);
    free(chat->slots);
    chat->slots = slots;
    chat->n_slots = n;
    for (size_t i = 0; i < chat->n_messages; i++)
        *slot_of(chat, chat->messages[i].id) = (uint16_t)(i + 1);
    return KL_OK;
}

enum kl_status kl_chat_text_add(struct kl_chat_text *chat, const struct kl_chat_message *message,
                                struct kl_error *err)
{
    _Static_assert(KL_CHAT_MAX_MESSAGES < UINT16_MAX, "an index + 1 fits into a slot");
    enum kl_status status = grow(chat, err);
    if (status != KL_OK)
        return status;
    uint16_t *slot = slot_of(chat, message->id);
    if (*slot != 0) {
        chat->messages[*slot - 1] = *message;
        return KL_OK;
    }
    if (chat->n_messages == KL_CHAT_MAX_MESSAGES)
        return kl_fail(err, KL_ERR_LIMIT, "a chat has at most %d messages; begin another one",
                       KL_CHAT_MAX_MESSAGES);
    chat->messages[chat->n_messages++] = *message;
    *slot = (uint16_t)chat->n_messages;
    return KL_OK;
}

enum kl_status kl_chat_text_read(const char *data, size_t len, struct kl_chat_text *chat,
                                 struct kl_error *err)
{
    *chat = (struct kl_chat_text){0};
    if (!kl_chat_text_last_head(data, len, chat))
        return KL_OK;
    const char *line = data, *end;
    enum kl_status status = KL_OK;
    for (; line < data + chat->valid && status != KL_ERR_MEMORY; line = end + 1) {
        struct kl_chat_message message;
        end = memchr(line, '\n', (size_t)(data + chat->valid - line));
        if (parse_message(line, (size_t)(end - line), &message))
            status = kl_chat_text_add(chat, &message, err); /* further ones were not written here */
    }
    return status == KL_ERR_MEMORY ? status : KL_OK;
}

void kl_chat_text_release(struct kl_chat_text *chat)
{
    free(chat->messages);
    free(chat->slots);
    *chat = (struct kl_chat_text){0};
}

/* ---- writing --------------------------------------------------------------------------------- */

#define MESSAGES "\"messages\":["

size_t kl_chat_text_bytes(const struct kl_chat_text *chat)
{
    /* the head without its brace, a comma, the name, the messages and their commas, "]}" */
    size_t bytes = chat->head_len - 1 + 1 + strlen(MESSAGES) + 2;
    for (size_t i = 0; i < chat->n_messages; i++)
        bytes += chat->messages[i].len + (i > 0 ? 1 : 0);
    return bytes;
}

enum kl_status kl_chat_text_document(const struct kl_chat_text *chat, struct kl_buffer *out)
{
    enum kl_status status = kl_buffer_append(out, chat->head, chat->head_len - 1);
    if (status == KL_OK)
        status = kl_buffer_append_string(out, "," MESSAGES);
    for (size_t i = 0; i < chat->n_messages && status == KL_OK; i++) {
        status = i > 0 ? kl_buffer_append(out, ",", 1) : KL_OK;
        if (status == KL_OK)
            status = kl_buffer_append(out, chat->messages[i].json, chat->messages[i].len);
    }
    return status == KL_OK ? kl_buffer_append_string(out, "]}") : status;
}

/* Appends the begin of a line, up to where its sum is of; *begin: where the line is. */
static enum kl_status begin_line(struct kl_buffer *out, size_t *begin)
{
    *begin = out->len;
    return kl_buffer_append_format(out, SUM_BEGIN "%0*d\",", SUM_DIGITS, 0);
}

/* Appends the end of a line, and fills its sum in. */
static enum kl_status end_line(struct kl_buffer *out, size_t begin)
{
    char sum[SUM_DIGITS + 1];
    enum kl_status status = kl_buffer_append_string(out, "}\n");
    if (status != KL_OK)
        return status;
    snprintf(sum, sizeof sum, "%016" PRIx64,
             kl_hash64(out->data + begin + SUMMED, out->len - 1 - begin - SUMMED, 0));
    memcpy(out->data + begin + strlen(SUM_BEGIN), sum, SUM_DIGITS);
    return KL_OK;
}

enum kl_status kl_chat_text_message_line(const struct kl_chat_message *m, struct kl_buffer *out)
{
    size_t begin;
    enum kl_status status = begin_line(out, &begin);
    if (status == KL_OK)
        status =
            kl_buffer_append_format(out, "\"id\":\"%.*s\",\"message\":", KL_CHAT_ID_LEN, m->id);
    if (status == KL_OK)
        status = kl_buffer_append(out, m->json, m->len);
    return status == KL_OK ? end_line(out, begin) : status;
}

enum kl_status kl_chat_text_head_line(const struct kl_chat_text *chat, struct kl_buffer *out)
{
    size_t begin;
    enum kl_status status = begin_line(out, &begin);
    if (status == KL_OK)
        status = kl_buffer_append_format(out, "\"etag\":\"%.*s\",\"bytes\":%" PRIu64 ",\"head\":",
                                         KL_CHAT_ETAG_LEN, chat->etag, chat->bytes);
    if (status == KL_OK)
        status = kl_buffer_append(out, chat->head, chat->head_len);
    return status == KL_OK ? end_line(out, begin) : status;
}
