/* src/service/event_log.c: events come out as they went in, from any number on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "service/event_log.h"

#define MOST ((size_t)1 << 20)

static void append(struct kl_event_log *log, const char *event)
{
    size_t before = log->bytes, growth = kl_event_log_growth(log, strlen(event));
    assert_int_equal(kl_event_log_append(log, event, strlen(event)), KL_OK);
    assert_true(log->bytes - before <= growth);
}

/* Checks the event behind the cursor. */
static void expect(const struct kl_event_log *log, struct kl_event_cursor *cursor,
                   const char *event)
{
    struct kl_buffer found;
    enum kl_status status = KL_ERR_INVALID;
    kl_buffer_init(&found, MOST);
    assert_true(kl_event_log_read(log, cursor, &found, &status));
    assert_int_equal(status, KL_OK);
    assert_int_equal(found.len, strlen(event));
    assert_string_equal(found.data, event);
    kl_buffer_release(&found);
}

static void expect_end(const struct kl_event_log *log, struct kl_event_cursor *cursor)
{
    struct kl_buffer found;
    enum kl_status status;
    kl_buffer_init(&found, MOST);
    assert_false(kl_event_log_read(log, cursor, &found, &status));
    assert_int_equal(found.len, 0);
}

static void test_empty(void **state)
{
    (void)state;
    struct kl_event_log log = {0};
    struct kl_event_cursor cursor = kl_event_log_seek(&log, 0);
    expect_end(&log, &cursor);
    append(&log, "first");
    expect(&log, &cursor, "first");
    expect_end(&log, &cursor);
    append(&log, "second");
    expect(&log, &cursor, "second");
    kl_event_log_release(&log);
    assert_int_equal(log.bytes, 0);
}

/* Writes event i of a stream, in which the number and the text change. */
static const char *event_of(size_t i, bool named)
{
    static char event[1024];
    const char *texts[] = {" the", " lighthouse", "\\n", " \xe7\x81\xaf", "", "a", " keeper"};
    if (named)
        snprintf(
            event, sizeof event,
            "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\","
            "\"sequence_number\":%zu,\"output_index\":0,\"item_id\":\"msg_0123456789abcdef\","
            "\"content_index\":0,\"logprobs\":[],\"delta\":\"%s\"}\n\n",
            i, texts[i % 7]);
    else
        snprintf(event, sizeof event,
                 "data: {\"id\":\"chatcmpl-000000000000000000000000\",\"object\":"
                 "\"chat.completion.chunk\",\"created\":1790000000,\"model\":\"qwen\",\"choices\":"
                 "[{\"index\":0,\"delta\":{\"content\":\"%s\"},\"finish_reason\":null}]}\n\n",
                 texts[i % 7]);
    return event;
}

/* The memory of an answer of 2,000 tokens is a fraction of its bytes. */
static void test_streams_are_small(void **state)
{
    (void)state;
    for (int named = 0; named < 2; named++) {
        struct kl_event_log log = {0};
        size_t bytes = 0;
        for (size_t i = 0; i < 2000; i++) {
            bytes += strlen(event_of(i, named));
            append(&log, event_of(i, named));
        }
        print_message("%zu bytes of events in %zu\n", bytes, log.bytes);
        assert_true(log.bytes * 5 < bytes);
        assert_true(log.bytes <= (size_t)88 << 10);
        struct kl_event_cursor cursor = {0};
        for (size_t i = 0; i < 2000; i++)
            expect(&log, &cursor, event_of(i, named));
        expect_end(&log, &cursor);
        for (size_t i = 0; i <= 2000; i += 37) {
            cursor = kl_event_log_seek(&log, i);
            if (i < 2000)
                expect(&log, &cursor, event_of(i, named));
        }
        cursor = kl_event_log_seek(&log, 2000);
        expect_end(&log, &cursor);
        append(&log, "the last one");
        expect(&log, &cursor, "the last one");
        kl_event_log_release(&log);
    }
}

static uint32_t next_random(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

/* An event of any length, of which parts may be those of the one before. */
static char *random_event(uint32_t *state, const char *before)
{
    static const size_t lengths[] = {1, 7, 8, 40, 300, 255, 256, 5000, 9000, 70000};
    size_t len = lengths[next_random(state) % 10] + next_random(state) % 9;
    size_t n_before = before != NULL ? strlen(before) : 0;
    char *event = malloc(len + 1);
    assert_non_null(event);
    for (size_t i = 0; i < len;) {
        size_t n = 1 + next_random(state) % 600;
        size_t at = n_before > 0 ? next_random(state) % n_before : 0;
        bool copies = n_before > 0 && next_random(state) % 4 != 0;
        for (; n > 0 && i < len; n--, at++)
            event[i++] = (char)(copies && at < n_before ? before[at]
                                                        : 'a' + (char)(next_random(state) % 26));
    }
    event[len] = '\0';
    return event;
}

static void test_any_events(void **state)
{
    (void)state;
    enum { N = 600 };
    char *events[N];
    uint32_t random = 1;
    struct kl_event_log log = {0};
    for (size_t i = 0; i < N; i++) {
        events[i] = random_event(&random, i > 0 ? events[i - 1] : NULL);
        append(&log, events[i]);
    }
    assert_int_equal(log.n, N);
    struct kl_event_cursor cursor = {0};
    for (size_t i = 0; i < N; i++)
        expect(&log, &cursor, events[i]);
    expect_end(&log, &cursor);
    for (size_t i = 0; i < N; i++) {
        cursor = kl_event_log_seek(&log, i);
        expect(&log, &cursor, events[i]);
        free(events[i]);
    }
    kl_event_log_release(&log);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_streams_are_small),
        cmocka_unit_test(test_any_events),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
