#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "http/http_message.h"

#define HOST "Host: localhost\r\n"

/* The status with which a head is refused, or 0. */
static int parse(struct kl_http_head *head, const char *text, size_t len)
{
    struct kl_api_error error;
    size_t scanned = 0, end;
    if (kl_http_head_find_end(text, len, &scanned, &end, &error) != KL_OK)
        return error.status;
    assert_int_equal(end, len);
    return kl_http_head_parse(head, text, len, &error) == KL_OK ? 0 : error.status;
}

static int status_of(const char *text)
{
    struct kl_http_head head = {0};
    int status = parse(&head, text, strlen(text));
    kl_http_head_release(&head);
    return status;
}

static void test_a_head(void **state)
{
    (void)state;
    const char text[] = "POST /a?b=c HTTP/1.1\r\nhost:box:80 \r\nX-Empty:\r\nX: \t a b\t\r\n"
                        "Content-Length: 12\r\nExpect: 100-Continue\r\nX: second\r\n\r\n";
    struct kl_http_head head;
    assert_int_equal(parse(&head, text, strlen(text)), 0);
    assert_int_equal(head.method, KL_HTTP_POST);
    assert_string_equal(head.target, "/a?b=c");
    assert_int_equal(head.minor, 1);
    assert_int_equal(head.length, 12);
    assert_false(head.chunked);
    assert_true(head.keep_alive);
    assert_true(head.expects_continue);
    assert_string_equal(kl_http_head_field(&head, "Host"), "box:80");
    assert_string_equal(kl_http_head_field(&head, "x-empty"), "");
    assert_string_equal(kl_http_head_field(&head, "x"), "a b");
    assert_null(kl_http_head_field(&head, "y"));
    kl_http_head_release(&head);
}

static void test_keep_alive(void **state)
{
    (void)state;
    const struct {
        const char *version, *field;
        bool keep_alive;
    } cases[] = {
        {"1.1", "", true},
        {"1.1", "Connection: close\r\n", false},
        {"1.1", "Connection: Upgrade, Close\r\n", false},
        {"1.1", "Connection: keep-alive\r\nConnection: close\r\n", false},
        {"1.1", "Connection: closed\r\n", true},
        {"1.0", "", false},
        {"1.0", "Connection: Keep-Alive\r\n", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[200];
        struct kl_http_head head;
        snprintf(text, sizeof text, "GET / HTTP/%s\r\n" HOST "%s\r\n", cases[i].version,
                 cases[i].field);
        assert_int_equal(parse(&head, text, strlen(text)), 0);
        assert_int_equal(head.keep_alive, cases[i].keep_alive);
        kl_http_head_release(&head);
    }
}

static void test_heads_that_are_refused(void **state)
{
    (void)state;
    const struct {
        const char *text;
        int status;
    } cases[] = {
        {"GET / HTTP/1.1\r\n" HOST "\r\n", 0},
        {"GET / HTTP/1.0\r\n\r\n", 0},
        {"PATCH * HTTP/1.1\r\n" HOST "\r\n", 0},
        {"GET / HTTP/1.1\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n" HOST HOST "\r\n", 400},
        {"GET / HTTP/1.1\n" HOST "\r\n", 400},
        {"\r\n\r\n", 400},
        {"x\r\n\r\n", 400},
        {"GET /\r\n\r\n", 400},
        {"GET  / HTTP/1.1\r\n" HOST "\r\n", 400},
        {"GET / HTTP/1.1 \r\n" HOST "\r\n", 505},
        {"GET /\x01 HTTP/1.1\r\n" HOST "\r\n", 400},
        {"G(T / HTTP/1.1\r\n" HOST "\r\n", 400},
        {"GET / http/1.1\r\n" HOST "\r\n", 400},
        {"GET / HTTP/1.2\r\n" HOST "\r\n", 505},
        {"GET / HTTP/2\r\n" HOST "\r\n", 505},
        {"GET / HTTP/1.1\r\n" HOST "Origin: http://a\r\norigin: http://b\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n" HOST "Origin: http://a\r\norigin: http://a\r\n\r\n", 0},
        {"GET / HTTP/1.1\r\n" HOST "Authorization: a\r\nx: y\r\nauthorization: b\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n" HOST "x-api-key: a\r\nX-API-Key: \r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n" HOST "Cookie: a\r\nCookie: b\r\n\r\n", 0},
        {"GET / HTTP/1.1\r\n" HOST "no colon\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n" HOST "a b: c\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n" HOST "a : c\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n" HOST ": c\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n" HOST "a: b\r\n c\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n" HOST "a: b\rc\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n" HOST "a: b\x7f\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n" HOST "a: \xe4\xbd\xa0\r\n\r\n", 0},
        {"GET / HTTP/1.1\r\n" HOST "Content-Length: 0\r\n\r\n", 0},
        {"GET / HTTP/1.1\r\n" HOST "Content-Length:\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n" HOST "Content-Length: +1\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n" HOST "Content-Length: 1, 1\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n" HOST "Content-Length: 1\r\nContent-Length: 1\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n" HOST "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n" HOST "Transfer-Encoding: Chunked\r\n\r\n", 0},
        {"GET / HTTP/1.1\r\n" HOST "Transfer-Encoding: gzip\r\n\r\n", 501},
        {"GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        if (status_of(cases[i].text) != cases[i].status)
            fail_msg("%d, not %d: %s", status_of(cases[i].text), cases[i].status, cases[i].text);
    }
    struct kl_http_head head = {0};
    const char nul[] = "GET / HTTP/1.1\r\n" HOST "a: b\0c\r\n\r\n";
    assert_int_equal(parse(&head, nul, sizeof nul - 1), 400);
    kl_http_head_release(&head);
}

static void test_lengths(void **state)
{
    (void)state;
    const struct {
        const char *text;
        uint64_t length;
    } cases[] = {{"0", 0},
                 {"007", 7},
                 {"999999999999999999", 999999999999999999},
                 {"18446744073709551617", UINT64_MAX}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[200];
        struct kl_http_head head;
        snprintf(text, sizeof text, "POST / HTTP/1.1\r\n" HOST "Content-Length: %s\r\n\r\n",
                 cases[i].text);
        assert_int_equal(parse(&head, text, strlen(text)), 0);
        assert_true(head.length == cases[i].length);
        kl_http_head_release(&head);
    }
}

/* The end of a head that arrives byte by byte is found exactly there. */
static void test_the_end_byte_by_byte(void **state)
{
    (void)state;
    const char text[] = "GET / HTTP/1.1\r\n" HOST "\r\nGET";
    size_t scanned = 0, end = 0, expected = strlen(text) - 3;
    struct kl_api_error error;
    for (size_t len = 0; len <= strlen(text) && end == 0; len++) {
        assert_int_equal(kl_http_head_find_end(text, len, &scanned, &end, &error), KL_OK);
        assert_int_equal(end, len < expected ? 0 : expected);
    }
    assert_int_equal(end, expected);
}

static void test_sizes(void **state)
{
    (void)state;
    static char text[KL_HTTP_MAX_HEADER + 100];
    size_t scanned = 0, end;
    struct kl_api_error error;
    memset(text, 'a', sizeof text);
    assert_int_equal(kl_http_head_find_end(text, KL_HTTP_MAX_HEADER - 1, &scanned, &end, &error),
                     KL_OK);
    assert_int_equal(end, 0);
    assert_int_not_equal(kl_http_head_find_end(text, KL_HTTP_MAX_HEADER, &scanned, &end, &error),
                         KL_OK);
    assert_int_equal(error.status, 431);

    int n = snprintf(text, sizeof text, "GET / HTTP/1.1\r\n" HOST);
    for (int i = 0; i < KL_HTTP_MAX_FIELDS - 1; i++)
        n += snprintf(text + n, sizeof text - (size_t)n, "a:\r\n");
    snprintf(text + n, sizeof text - (size_t)n, "\r\n");
    assert_int_equal(status_of(text), 0);
    snprintf(text + n, sizeof text - (size_t)n, "a:\r\n\r\n");
    assert_int_equal(status_of(text), 431);
}

/* Decodes in pieces of `step` bytes; returns the status of the error, or 0. */
static int decode(const char *text, size_t step, struct kl_buffer *body, size_t *used)
{
    struct kl_http_chunks chunks = {0};
    struct kl_api_error error;
    *used = 0;
    for (size_t at = 0; at < strlen(text) && !chunks.done; at += step) {
        size_t n = strlen(text) - at < step ? strlen(text) - at : step, taken;
        if (kl_http_chunks_decode(&chunks, text + at, n, &taken, body, &error) != KL_OK)
            return error.status;
        *used += taken;
        assert_true(taken == n || chunks.done);
    }
    return chunks.done ? 0 : -1;
}

static void test_chunks(void **state)
{
    (void)state;
    const char text[] = "3\r\nabc\r\n00A;x=\"y\\\" ;\";a;b=c\r\n0123456789\r\n1\r\nz\r\n"
                        "0;last\r\nT: 1\t\xc3\xa4\r\nU:\r\n\r\nGET";
    for (size_t step = 1; step <= sizeof text; step++) {
        struct kl_buffer body;
        size_t used;
        kl_buffer_init(&body, 100);
        assert_int_equal(decode(text, step, &body, &used), 0);
        assert_string_equal(body.data, "abc0123456789z");
        assert_int_equal(used, strlen(text) - 3);
        kl_buffer_release(&body);
    }
}

static void test_chunks_that_are_refused(void **state)
{
    (void)state;
    const struct {
        const char *text;
        int status;
    } cases[] = {
        {"0\r\n\r\n", 0},
        {"5\r\nab", -1},
        {"\r\n", 400},
        {";x\r\n", 400},
        {"-1\r\n", 400},
        {"0x1\r\na\r\n", 400},
        {"1\na\r\n", 400},
        {"1\r\nab\r\n", 400},
        {"1\r\na\n", 400},
        {"1;\n", 400},
        {"1 \r\na\r\n", 400},
        {"1 5\r\na\r\n", 400},
        {"1\t;x\r\na\r\n", 400},
        {"1;\r\na\r\n", 400},
        {"1;x;\r\na\r\n", 400},
        {"1; x\r\na\r\n", 400},
        {"1;x y\r\na\r\n", 400},
        {"1;x=\r\na\r\n", 400},
        {"1;x=y=z\r\na\r\n", 400},
        {"1;x=\"y\r\n\"\r\na\r\n", 400},
        {"1;x=\"y\"z\r\na\r\n", 400},
        {"1;x=\"\x01\"\r\na\r\n", 400},
        {"0\r\nno colon\r\n\r\n", 400},
        {"0\r\na\r\n\r\n", 400},
        {"0\r\n: b\r\n\r\n", 400},
        {"0\r\n a: b\r\n\r\n", 400},
        {"0\r\na : b\r\n\r\n", 400},
        {"0\r\na: b\r\n c\r\n\r\n", 400},
        {"0\r\na: \x7f\r\n\r\n", 400},
        {"0\r\n\n", 400},
        {"0\r\na\n", 400},
        {"00000000000000001\r\n", 400},
        {"B\r\n0123456789a\r\n", 413},
        {"fffffffffffffff0\r\na", 413},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct kl_buffer body;
        size_t used;
        kl_buffer_init(&body, 10);
        int status = decode(cases[i].text, 1, &body, &used);
        if (status != cases[i].status)
            fail_msg("%d, not %d: %s", status, cases[i].status, cases[i].text);
        kl_buffer_release(&body);
    }
}

/* NUL bytes, which a C string cannot contain. */
static void test_nul_between_chunks(void **state)
{
    (void)state;
    const struct {
        const char *text;
        size_t len;
    } cases[] = {
#define CASE(t) {t, sizeof(t) - 1}
        CASE("1\0"),
        CASE("1;\0"),
        CASE("1;x\0"),
        CASE("1;x=\0"),
        CASE("1;x=y\0"),
        CASE("1;x=\"\0"),
        CASE("1;x=\"\\\0"),
        CASE("1;x=\"y\"\0"),
        CASE("1\r\na\0"),
        CASE("0\r\n\0"),
        CASE("0\r\na\0"),
        CASE("0\r\na:\0"),
        CASE("0\r\na: b\r\n\0"),
        CASE("0\r\na: b\r\0"),
#undef CASE
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct kl_http_chunks chunks = {0};
        struct kl_api_error error = {0};
        struct kl_buffer body;
        size_t used;
        kl_buffer_init(&body, 10);
        assert_int_equal(
            kl_http_chunks_decode(&chunks, cases[i].text, cases[i].len - 1, &used, &body, &error),
            KL_OK);
        if (kl_http_chunks_decode(&chunks, "", 1, &used, &body, &error) == KL_OK)
            fail_msg("case %zu: a NUL is taken", i);
        assert_int_equal(error.status, 400);
        kl_buffer_release(&body);
    }
}

static void test_lines_between_chunks_are_bounded(void **state)
{
    (void)state;
    const char *const beginnings[] = {"1;", "1;x=\"", "0\r\n", "0\r\na:"};
    for (size_t i = 0; i < sizeof beginnings / sizeof beginnings[0]; i++) {
        struct kl_http_chunks chunks = {0};
        struct kl_api_error error;
        struct kl_buffer body;
        size_t used, n = 0;
        kl_buffer_init(&body, 10);
        assert_int_equal(kl_http_chunks_decode(&chunks, beginnings[i], strlen(beginnings[i]), &used,
                                               &body, &error),
                         KL_OK);
        while (n < 10000 && kl_http_chunks_decode(&chunks, "a", 1, &used, &body, &error) == KL_OK)
            n++;
        assert_in_range(n, 100, 5000);
        kl_buffer_release(&body);
    }
}

/* All that handlers answer with. */
static void test_each_status_has_a_name(void **state)
{
    (void)state;
    static const int statuses[] = {200, 201, 204, 304, 400, 401, 403, 404, 405, 408, 409, 410,
                                   412, 413, 415, 428, 429, 431, 500, 501, 503, 504, 505, 507};
    for (size_t i = 0; i < sizeof statuses / sizeof statuses[0]; i++)
        assert_string_not_equal(kl_http_reason(statuses[i]), kl_http_reason(999));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_head),
        cmocka_unit_test(test_keep_alive),
        cmocka_unit_test(test_heads_that_are_refused),
        cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_the_end_byte_by_byte),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_chunks),
        cmocka_unit_test(test_chunks_that_are_refused),
        cmocka_unit_test(test_nul_between_chunks),
        cmocka_unit_test(test_lines_between_chunks_are_bounded),
        cmocka_unit_test(test_each_status_has_a_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
