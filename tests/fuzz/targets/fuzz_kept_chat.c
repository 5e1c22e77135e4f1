/*
 * A kept chat: the body that a client sends (first byte odd), and the bytes of its file (even).
 *
 * The target adds the right sum to each line of a file, since guessed ones are never right.
 * Whatever the lines are, a chat that is read has a document of the size that it tells, and a file
 * that is cut has no message that the whole one lacks.
 */
#include <inttypes.h>
#include <string.h>

#include "api/chat_records.h"
#include "base/hash.h"
#include "fuzz.h"
#include "history/chat_text.h"
#include "json/json_memory.h"

#define ID "01234567-89ab-cdef-0123-456789abcdef"

static void read_body(const char *data, size_t size, bool adds)
{
    struct kl_chat_record record;
    struct kl_api_error error = {0};
    enum kl_status status = kl_chat_record_read(data, size, ID, adds, &record, &error);
    PROMISE(status == KL_OK || (error.status >= 400 && error.status < 500 && error.text[0] != 0));
    for (size_t i = 0; status == KL_OK && i < json_array_size(record.messages); i++) {
        const json_t *id = json_object_get(json_array_get(record.messages, i), "id");
        PROMISE(json_string_length(id) == KL_UUID_LEN && kl_is_uuid(json_string_value(id)));
    }
    PROMISE(status != KL_OK || json_object_get(record.head, "messages") == NULL);
    kl_chat_record_release(&record);
}

/* Reads a file, and returns the number of its messages. */
static size_t read_file(const char *data, size_t size)
{
    struct kl_chat_text chat;
    struct kl_error err;
    struct kl_buffer document;
    char *copy = malloc(size > 0 ? size : 1); /* reads behind the end are found */
    PROMISE(copy != NULL);
    memcpy(copy, data, size);
    kl_buffer_init(&document, size + 1024);
    PROMISE(kl_chat_text_read(copy, size, &chat, &err) == KL_OK);
    PROMISE(chat.valid <= size);
    if (chat.head != NULL) {
        PROMISE(kl_chat_text_document(&chat, &document) == KL_OK);
        PROMISE(document.len == kl_chat_text_bytes(&chat));
    }
    size_t n = chat.n_messages;
    kl_chat_text_release(&chat);
    kl_buffer_release(&document);
    free(copy);
    return n;
}

/* Appends the lines of the input, each with its sum. */
static void add_sums(const char *data, size_t size, struct kl_buffer *file)
{
    while (size > 0) {
        const char *end = memchr(data, '\n', size);
        size_t len = end != NULL ? (size_t)(end - data) : size;
        PROMISE(kl_buffer_append_format(file, "{\"sum\":\"%016" PRIx64 "\",",
                                        kl_hash64(data, len, 0)) == KL_OK);
        PROMISE(kl_buffer_append(file, data, len) == KL_OK);
        PROMISE(end == NULL || kl_buffer_append(file, "\n", 1) == KL_OK);
        data += len + (end != NULL);
        size -= len + (end != NULL);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    kl_json_memory_watch();
    uint8_t how = take_byte(&data, &size);
    if (how % 2 == 1) {
        read_body((const char *)data, size, how % 4 == 3);
        return 0;
    }
    struct kl_buffer file;
    kl_buffer_init(&file, size * 32 + 1024);
    PROMISE(kl_buffer_append(&file, "", 0) == KL_OK);
    add_sums((const char *)data, size, &file);
    size_t all = read_file(file.data, file.len);
    for (size_t cut = 1; cut < file.len; cut += cut / 2 + 1)
        PROMISE(read_file(file.data, file.len - cut) <= all);
    kl_buffer_release(&file);
    return 0;
}
