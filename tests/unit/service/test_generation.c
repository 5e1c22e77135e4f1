/* src/service/generation.c: when a client that waits gets a sign of life, by a clock that the test
 * moves. HTTP server and service are real, with a dialect of the test; the model is still being
 * loaded; the test is their event loop. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "service/generation.h"
#include "service/intake.h"
#include "service/service.h"

#define MS 1000000u

static uint64_t now_ns = 1000000u * (uint64_t)MS;

int __real_clock_gettime(clockid_t clock, struct timespec *t);
int __wrap_clock_gettime(clockid_t clock, struct timespec *t);
int __wrap_clock_gettime(clockid_t clock, struct timespec *t)
{
    if (clock != CLOCK_MONOTONIC)
        return __real_clock_gettime(clock, t);
    *t = (struct timespec){.tv_sec = (time_t)(now_ns / 1000000000u),
                           .tv_nsec = (long)(now_ns % 1000000000u)};
    return 0;
}

/* ---- a dialect: a body is "stream", or anything else
 * --------------------------------------------- */

static enum kl_status read_headers(const struct kl_exchange *x,
                                   struct kl_generation_request *request,
                                   struct kl_api_error *error)
{
    (void)x;
    (void)request;
    (void)error;
    return KL_OK;
}

static enum kl_status parse(const char *text, size_t len, bool is_query,
                            struct kl_generation_request *request, struct kl_api_error *error)
{
    (void)is_query;
    (void)error;
    request->stream = len == 6 && memcmp(text, "stream", 6) == 0;
    return KL_OK;
}

static void send_comment(struct kl_generation *g, const char *text)
{
    kl_stream_comment(g->exchange, text);
}

static const struct kl_answer_format stream = {.stream_type = "text/event-stream",
                                               .heartbeat = send_comment};
static const struct kl_answer_format document = {.text = kl_document_text,
                                                 .error = kl_document_error};
static const struct kl_dialect dialect = {read_headers, parse, &stream, &document};

static void handle(struct kl_exchange *x)
{
    kl_generation_start(x, &dialect);
}

/* ---- server and client
 * --------------------------------------------------------------------------- */

struct client {
    struct kl_loop *loop;
    struct kl_service service;
    struct kl_http *http;
    int fd;
    char data[8192];
    size_t len;
};

/* Lets the server handle what is ready and reads its output. Returns the number of comments. */
static size_t listen_to(struct client *c)
{
    for (int i = 0; i < 4; i++)
        kl_loop_turn(c->loop);
    ssize_t got = recv(c->fd, c->data + c->len, sizeof c->data - 1 - c->len, MSG_DONTWAIT);
    const char *at = c->data + c->len;
    c->len += got > 0 ? (size_t)got : 0;
    c->data[c->len] = '\0';
    size_t n = 0;
    while ((at = strstr(at, "\n: ")) != NULL) {
        at++;
        n++;
    }
    return n;
}

static void wait_for(struct client *c, const char *text)
{
    for (int i = 0; strstr(c->data, text) == NULL; i++) {
        if (i > 10000)
            fail_msg("\"%s\" does not come: %s", text, c->data);
        struct pollfd readable = {.fd = c->fd, .events = POLLIN};
        poll(&readable, 1, 1);
        listen_to(c);
    }
}

static void ignore(void *context)
{
    (void)context;
}

static void open_server(struct client *c)
{
    static const struct kl_route rows[] = {{"/", KL_POST, KL_ROUTE_ANSWERS, handle, NULL}};
    static const struct kl_routes routes = {rows, 1};
    static const struct kl_service_options options = {.max_waiting = 4};
    static const struct kl_http_options http_options = {.port = 0};
    static const struct kl_service_events events = {ignore, ignore};
    struct kl_error err;
    memset(c, 0, sizeof *c);
    if (kl_loop_open(&c->loop, &err) != KL_OK ||
        kl_service_open(&c->service, &options, c->loop, &events, NULL, &err) != KL_OK ||
        kl_http_open(&http_options, c->loop, &routes, &c->service, ignore, &c->http, &err) != KL_OK)
        fail_msg("%s", err.text);
    c->service.http = c->http;
}

static void ask(struct client *c, bool streams)
{
    open_server(c);
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(kl_http_port(c->http)),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(c->fd, (struct sockaddr *)&address, sizeof address), 0);
    const char *body = streams ? "stream" : "document";
    char request[400];
    int n = snprintf(request, sizeof request,
                     "POST / HTTP/1.1\r\nHost: localhost\r\n"
                     "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
                     strlen(body), body);
    assert_int_equal(send(c->fd, request, (size_t)n, 0), n);
}

static void leave(struct client *c)
{
    close(c->fd);
    kl_service_close(&c->service);
    kl_http_close(c->http);
    kl_loop_close(c->loop);
}

/* Whatever the times of the ticks, no second passes without a sign. */
static void test_a_sign_of_life_every_second(void **state)
{
    (void)state;
    static struct client c;
    ask(&c, true);
    wait_for(&c, "\n: loading"); /* the first one comes at once */
    assert_true(kl_timer_runs(c.service.tick));
    assert_in_range(KL_SERVICE_TICK_US, 1, 299999);

    uint64_t heard = now_ns;
    kl_generations_tick(&c.service);
    assert_int_equal(listen_to(&c), 0); /* nothing more in the same moment */
    now_ns = heard + 699 * (uint64_t)MS;
    kl_generations_tick(&c.service);
    assert_int_equal(listen_to(&c), 0);
    now_ns = heard + 700 * (uint64_t)MS;
    kl_generations_tick(&c.service);
    assert_int_equal(listen_to(&c), 1);

    /* an hour of ticks, each a little late */
    heard = now_ns;
    for (int i = 0; i < 4 * 3600; i++) {
        now_ns += (KL_SERVICE_TICK_US / 1000 + (uint64_t)i % 49) * MS;
        kl_generations_tick(&c.service);
        size_t n = listen_to(&c);
        c.len = 0;
        assert_in_range(n, 0, 1);
        assert_true(now_ns - heard < (n == 1 ? 1000 : 700) * (uint64_t)MS);
        if (n == 1)
            heard = now_ns;
    }
    leave(&c);
}

/* A client that waits for a document gets nothing before it. */
static void test_no_signs_without_a_stream(void **state)
{
    (void)state;
    static struct client c;
    ask(&c, false);
    for (int i = 0; i < 10000 && c.service.generations == NULL; i++) {
        struct pollfd readable = {.fd = c.fd, .events = POLLIN};
        poll(&readable, 1, 1);
        listen_to(&c);
    }
    assert_non_null(c.service.generations);
    for (int i = 0; i < 8; i++) {
        now_ns += 250 * (uint64_t)MS;
        kl_generations_tick(&c.service);
        listen_to(&c);
    }
    assert_int_equal(c.len, 0);
    leave(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_sign_of_life_every_second),
        cmocka_unit_test(test_no_signs_without_a_stream),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
