/* src/history/chat_text.c: lines that were written are read again; whatever is torn or damaged is
 * left out, and an append counts as a whole or not at all. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "history/chat_text.h"

#define ETAG "0123456789abcdef0123456789abcdef"
#define HEAD "{\"id\":\"x\",\"title\":\"%d\"}"

/* An ID made of a number; valid until the third next call. */
static const char *id_of(int n)
{
    static char ids[3][64];
    static int next;
    char *id = ids[next++ % 3];
    snprintf(id, sizeof ids[0], "%08x-0000-4000-8000-000000000000", (unsigned)n);
    return id;
}

static void add_message(struct kl_buffer *out, int id, const char *json)
{
    const struct kl_chat_message m = {id_of(id), json, strlen(json)};
    assert_int_equal(kl_chat_text_message_line(&m, out), KL_OK);
}

static void add_head(struct kl_buffer *out, int title)
{
    char head[64];
    snprintf(head, sizeof head, HEAD, title);
    const struct kl_chat_text chat = {
        .head = head, .head_len = strlen(head), .etag = ETAG, .bytes = 77};
    assert_int_equal(kl_chat_text_head_line(&chat, out), KL_OK);
}

/* The document of the first len bytes of a file; "" if there is no chat. The caller frees it. */
static char *document_of(const char *data, size_t len)
{
    struct kl_chat_text chat;
    struct kl_error err;
    struct kl_buffer out;
    char *copy = malloc(len > 0 ? len : 1); /* so that reads behind the end are found */
    assert_non_null(copy);
    memcpy(copy, data, len);
    kl_buffer_init(&out, KL_CHAT_MAX_BYTES);
    assert_int_equal(kl_chat_text_read(copy, len, &chat, &err), KL_OK);
    assert_int_equal(kl_buffer_append(&out, "", 0), KL_OK);
    if (chat.head != NULL) {
        assert_int_equal(kl_chat_text_document(&chat, &out), KL_OK);
        assert_int_equal(out.len, kl_chat_text_bytes(&chat));
        assert_int_equal(chat.bytes, 77);
        assert_memory_equal(chat.etag, ETAG, KL_CHAT_ETAG_LEN);
        assert_true(chat.valid <= len);
    }
    kl_chat_text_release(&chat);
    free(copy);
    return out.data;
}

static void expect(const struct kl_buffer *file, size_t len, const char *document)
{
    char *found = document_of(file->data, len);
    assert_string_equal(found, document);
    free(found);
}

static void messages_are_read_in_the_order_of_their_ids(void **state)
{
    (void)state;
    struct kl_buffer file;
    kl_buffer_init(&file, 1 << 20);
    add_message(&file, 1, "{\"a\":1}");
    add_message(&file, 2, "{\"b\":1}");
    add_head(&file, 1);
    expect(&file, file.len, "{\"id\":\"x\",\"title\":\"1\",\"messages\":[{\"a\":1},{\"b\":1}]}");
    add_message(&file, 1, "{\"a\":2}");
    add_message(&file, 3, "{}");
    add_head(&file, 2);
    expect(&file, file.len, "{\"id\":\"x\",\"title\":\"2\",\"messages\":[{\"a\":2},{\"b\":1},{}]}");
    kl_buffer_release(&file);
}

/* A file that is cut anywhere has the state before an append or the one after it. */
static void an_append_counts_as_a_whole(void **state)
{
    (void)state;
    struct kl_buffer file;
    kl_buffer_init(&file, 1 << 20);
    add_message(&file, 1, "{\"a\":1}");
    add_head(&file, 1);
    size_t first = file.len;
    add_message(&file, 1, "{\"a\":2}");
    add_message(&file, 2, "{}");
    add_head(&file, 2);
    for (size_t len = 0; len <= file.len; len++)
        expect(&file, len,
               len < first      ? ""
               : len < file.len ? "{\"id\":\"x\",\"title\":\"1\",\"messages\":[{\"a\":1}]}"
                                : "{\"id\":\"x\",\"title\":\"2\",\"messages\":[{\"a\":2},{}]}");
    kl_buffer_release(&file);
}

/* A byte that changed loses its own line at most. */
static void damage_is_found(void **state)
{
    (void)state;
    struct kl_buffer file;
    kl_buffer_init(&file, 1 << 20);
    add_message(&file, 1, "{\"a\":1}");
    size_t second = file.len;
    add_message(&file, 2, "{\"b\":1}");
    size_t third = file.len;
    add_head(&file, 1);
    static const char values[] = {0, '\n', '"', '}', 'x'};
    for (size_t at = 0; at < file.len; at++) {
        for (size_t i = 0; i < sizeof values; i++) {
            char before = file.data[at];
            if (before == values[i])
                continue;
            file.data[at] = values[i];
            const char *rest = at < second ? "{\"b\":1}" : at < third ? "{\"a\":1}" : NULL;
            /* the end of a line joins it to the next one, and both are lost */
            bool joins = before == '\n';
            char expected[128] = "";
            if (rest != NULL && !joins)
                snprintf(expected, sizeof expected,
                         "{\"id\":\"x\",\"title\":\"1\",\"messages\":[%s]}", rest);
            else if (rest != NULL && at < second)
                snprintf(expected, sizeof expected,
                         "{\"id\":\"x\",\"title\":\"1\",\"messages\":[]}");
            expect(&file, file.len, expected);
            file.data[at] = before;
        }
    }
    kl_buffer_release(&file);
}

static void the_last_head_is_found_from_the_end(void **state)
{
    (void)state;
    struct kl_buffer file;
    struct kl_chat_text chat = {0};
    kl_buffer_init(&file, 1 << 20);
    add_head(&file, 1);
    add_message(&file, 1, "{}");
    size_t begin = file.len - 10; /* in the middle of a line */
    add_head(&file, 2);
    size_t end = file.len;
    add_message(&file, 2, "{}");
    assert_true(kl_chat_text_last_head(file.data + begin, file.len - begin, &chat));
    assert_memory_equal(chat.head, "{\"id\":\"x\",\"title\":\"2\"}", chat.head_len);
    assert_int_equal(chat.valid, end - begin);
    assert_false(kl_chat_text_last_head(file.data + begin + 20, 60, &chat));
    assert_false(kl_chat_text_last_head("\n\n\n", 3, &chat));
    assert_false(kl_chat_text_last_head("", 0, &chat));
    kl_buffer_release(&file);
}

static void the_number_of_messages_is_bounded(void **state)
{
    (void)state;
    struct kl_chat_text chat = {0};
    struct kl_error err;
    static char ids[KL_CHAT_MAX_MESSAGES + 1][48];
    for (int i = 0; i <= KL_CHAT_MAX_MESSAGES; i++) {
        strcpy(ids[i], id_of(i));
        const struct kl_chat_message m = {ids[i], "{}", 2};
        assert_int_equal(kl_chat_text_add(&chat, &m, &err),
                         i < KL_CHAT_MAX_MESSAGES ? KL_OK : KL_ERR_LIMIT);
    }
    const struct kl_chat_message again = {ids[0], "{1}", 3};
    assert_int_equal(kl_chat_text_add(&chat, &again, &err), KL_OK);
    assert_int_equal(chat.n_messages, KL_CHAT_MAX_MESSAGES);
    assert_int_equal(chat.messages[0].len, 3);
    assert_memory_equal(chat.messages[777].id, id_of(777), KL_CHAT_ID_LEN);
    kl_chat_text_release(&chat);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_are_read_in_the_order_of_their_ids),
        cmocka_unit_test(an_append_counts_as_a_whole),
        cmocka_unit_test(damage_is_found),
        cmocka_unit_test(the_last_head_is_found_from_the_end),
        cmocka_unit_test(the_number_of_messages_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
