/* src/client/api_reader.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "client/api_reader.h"

/* The events so far, as text: "text:Hel finish:stop usage:3+2 ..." */
static char events[4000];

static void add_event(void *context, const struct kl_stream_event *event)
{
    (void)context;
    static const char *const names[] = {"comment", "text",   "finish", "usage",
                                        "error",   "broken", "done"};
    size_t len = strlen(events);
    len += (size_t)snprintf(events + len, sizeof events - len, "%s%s:%s", len > 0 ? "|" : "",
                            names[event->type], event->text);
    if (event->type == KL_STREAM_USAGE)
        snprintf(events + len, sizeof events - len, "%zu+%zu", event->prompt_tokens,
                 event->answer_tokens);
}

/* Feeds the stream in pieces of each size up to its length: the events must not depend on it. */
static void expect_events(const char *stream, const char *expected, bool at_end)
{
    size_t len = strlen(stream);
    for (size_t step = 1; step <= len; step++) {
        struct kl_stream_reader reader;
        kl_stream_reader_init(&reader, add_event, NULL);
        events[0] = '\0';
        for (size_t at = 0; at < len; at += step)
            assert_int_equal(kl_stream_reader_feed(&reader, stream + at,
                                                   len - at < step ? len - at : step, NULL),
                             KL_OK);
        assert_string_equal(events, expected);
        assert_int_equal(kl_stream_reader_at_end(&reader), at_end);
        kl_stream_reader_release(&reader);
    }
}

static void reads_an_answer(void **state)
{
    (void)state;
    expect_events(
        ": queue 1\n"
        "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n"
        "data: {\"choices\":[{\"delta\":{\"content\":\"你\"},\"finish_reason\":null}]}\n\n"
        "data:{\"choices\":[{\"delta\":{\"content\":\" a\\n\"}}]}\r\n\r\n"
        "event: x\nid: 7\nretry: 3\n\n"
        "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}],\"usage\":null}\n\n"
        "data: {\"choices\":[],\n"
        "data: \"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2}}\n\n"
        "data: [DONE]\n\n",
        "comment:queue 1|text:你|text: a\n|finish:stop|usage:3+2|done:", true);
    expect_events("data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\r\rdata: [DONE]\r\r",
                  "text:x|done:", true);
}

static void names_what_is_wrong(void **state)
{
    (void)state;
    expect_events("data: {\"error\":{\"message\":\"too long\"}}\n\n", "error:too long", true);
    expect_events("data: {\"error\":true}\n\n", "error:an error without a message", true);
    expect_events("data: [1]\n\n", "broken:JSON that is not an object", true);
    expect_events("{\"choices\":[]}\n", "broken:JSON where a line should begin with \"data:\"",
                  true);
    expect_events("data: {\"choices\":[{\"delta\":{\"content\":\"\xe4\xbd\"}}]}\n\n",
                  "broken:invalid UTF-8: a code point was cut", true);
    /* the connection broke: an event that was not ended does not count */
    expect_events("data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n", "", false);
    expect_events("data: [DO", "", false);
}

static void a_line_has_a_cap(void **state)
{
    (void)state;
    static char line[KL_STREAM_LINE_CAP + 100];
    memset(line, 'a', sizeof line);
    struct kl_stream_reader reader;
    struct kl_error err = {0};
    kl_stream_reader_init(&reader, add_event, NULL);
    assert_int_equal(kl_stream_reader_feed(&reader, line, sizeof line, &err), KL_ERR_LIMIT);
    assert_non_null(strstr(err.text, "longer than"));
    kl_stream_reader_release(&reader);
}

static void reads_what_is_no_stream(void **state)
{
    (void)state;
    static const char answer[] = "{\"choices\":[{\"message\":{\"content\":\"hi\"},"
                                 "\"finish_reason\":\"length\"}]}";
    events[0] = '\0';
    kl_read_answer(answer, strlen(answer), add_event, NULL);
    assert_string_equal(events, "text:hi|finish:length");

    char id[8];
    static const char models[] = "{\"data\":[{\"id\":\"qwen2.5-0.5b\"},{\"id\":\"b\"}]}";
    assert_true(kl_read_model_id(models, strlen(models), id, sizeof id));
    assert_string_equal(id, "qwen2.5");
    static const char wide[] = "{\"data\":[{\"id\":\"123456\xe4\xb8\xad\"}]}";
    assert_true(kl_read_model_id(wide, strlen(wide), id, sizeof id));
    assert_string_equal(id, "123456"); /* and not a part of a code point */
    assert_false(kl_read_model_id("{\"data\":[]}", 11, id, sizeof id));
    /* cut, but not in the middle of a character */
    static const char foreign[] = "{\"data\":[{\"id\":\"中中中\"}]}";
    char small[6];
    assert_true(kl_read_model_id(foreign, strlen(foreign), small, sizeof small));
    assert_string_equal(small, "中");
    assert_false(kl_read_model_id("oops", 4, id, sizeof id));

    size_t running = 9;
    static const struct {
        const char *text;
        enum kl_health_told told;
    } healths[] = {
        {"{\"status\":\"ok\",\"version\":\"1\",\"uptime_seconds\":0.5}", KL_HEALTH_ALL},
        {"{\"status\":\"ok\",\"version\":\"1\"}", KL_HEALTH_STATUS},
        {"{\"status\":\"ok\"}", KL_HEALTH_OTHER},
        {"{\"status\":\"ok\",\"version\":1,\"uptime_seconds\":0.5}", KL_HEALTH_OTHER},
        {"[]", KL_HEALTH_OTHER},
        {"OK", KL_HEALTH_OTHER},
    };
    for (size_t i = 0; i < sizeof healths / sizeof healths[0]; i++)
        assert_int_equal(kl_read_health(healths[i].text, strlen(healths[i].text)), healths[i].told);
    assert_true(kl_read_running("{\"running\":2}", 13, &running));
    assert_int_equal(running, 2);
    static const char slots[] = "[{\"is_processing\":true},{\"is_processing\":false}]";
    assert_true(kl_read_running(slots, strlen(slots), &running));
    assert_int_equal(running, 1);
    assert_false(kl_read_running("{\"status\":\"ok\"}", 15, &running));
    assert_false(kl_read_running("[]", 2, &running));

    double resident = 9;
    assert_true(kl_read_resident("{\"resident_bytes\":1048576}", 26, &resident));
    assert_float_equal(resident, 1048576, 0);
    assert_false(kl_read_resident("{\"status\":\"ok\"}", 15, &resident));
}

static void asks(void **state)
{
    (void)state;
    struct kl_buffer out;
    kl_buffer_init(&out, 1000);
    assert_int_equal(kl_write_chat_request("m", "say \"hi\"", 5, true, &out), KL_OK);
    assert_string_equal(out.data, "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":"
                                  "\"say \\\"hi\\\"\"}],\"max_tokens\":5,\"temperature\":0,"
                                  "\"stream\":true}");
    kl_buffer_clear(&out);
    static const char *const turns[] = {"a", "b", "c\n"};
    assert_int_equal(kl_write_conversation("m", turns, 3, 7, &out), KL_OK);
    assert_string_equal(out.data,
                        "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"a\"},"
                        "{\"role\":\"assistant\",\"content\":\"b\"},{\"role\":\"user\",\"content\":"
                        "\"c\\n\"}],\"max_tokens\":7,\"temperature\":0,\"stream\":true,"
                        "\"stream_options\":{\"include_usage\":true}}");
    /* a name from a command line, a text that was cut */
    kl_buffer_clear(&out);
    assert_int_equal(kl_write_chat_request("\xff", "a\xe4\xb8", 1, false, &out), KL_OK);
    assert_non_null(strstr(out.data, "\"model\":\"\xef\xbf\xbd\""));
    assert_non_null(strstr(out.data, "\"content\":\"a\xef\xbf\xbd\""));
    kl_buffer_clear(&out);
    static const char *const cut[] = {"a", "\xe4\xb8"};
    assert_int_equal(kl_write_conversation("\xff", cut, 2, 7, &out), KL_OK);
    assert_non_null(strstr(out.data, "\"content\":\"\xef\xbf\xbd\""));
    kl_buffer_release(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_an_answer),
        cmocka_unit_test(names_what_is_wrong),
        cmocka_unit_test(a_line_has_a_cap),
        cmocka_unit_test(reads_what_is_no_stream),
        cmocka_unit_test(asks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
