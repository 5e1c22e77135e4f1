/* src/service/generation.c: when a client that waits hears something, by a clock that the test
 * moves. The server is a real one whose model is still being loaded; the test is its event loop. */
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

#include "server/server_state.h"
#include "service/generation.h"

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

struct client {
    struct kl_server *server;
    int fd;
    char data[8192];
    size_t len;
};

/* What the server has to do now, and what it says. Returns how many comments came. */
static size_t listen_to(struct client *c)
{
    for (int i = 0; i < 4; i++)
        kl_loop_turn(c->server->loop);
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

static void ask(struct client *c, bool stream)
{
    static const struct kl_server_options options = {.service.max_waiting = 4};
    struct kl_error err;
    memset(c, 0, sizeof *c);
    if (kl_server_open(&options, &c->server, &err) != KL_OK)
        fail_msg("%s", err.text);
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(kl_server_port(c->server)),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(c->fd, (struct sockaddr *)&address, sizeof address), 0);
    char body[200], request[400];
    int len = snprintf(body, sizeof body,
                       "{\"stream\":%s,\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}",
                       stream ? "true" : "false");
    int n = snprintf(request, sizeof request,
                     "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
                     "Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
                     len, body);
    assert_int_equal(send(c->fd, request, (size_t)n, 0), n);
}

static void leave(struct client *c)
{
    close(c->fd);
    kl_server_close(c->server);
}

/* Whenever the server looks, no moment of a second passes without a sign. */
static void test_a_sign_of_life_every_second(void **state)
{
    (void)state;
    static struct client c;
    ask(&c, true);
    wait_for(&c, "\n: loading"); /* the first one comes at once */
    assert_true(kl_timer_runs(c.server->service.tick));
    assert_in_range(KL_SERVICE_TICK_US, 1, 299999);

    uint64_t heard = now_ns;
    kl_generations_tick(&c.server->service);
    assert_int_equal(listen_to(&c), 0); /* nothing more in the same moment */
    now_ns = heard + 699 * (uint64_t)MS;
    kl_generations_tick(&c.server->service);
    assert_int_equal(listen_to(&c), 0);
    now_ns = heard + 700 * (uint64_t)MS;
    kl_generations_tick(&c.server->service);
    assert_int_equal(listen_to(&c), 1);

    /* an hour of ticks, each a little late */
    heard = now_ns;
    for (int i = 0; i < 4 * 3600; i++) {
        now_ns += (KL_SERVICE_TICK_US / 1000 + (uint64_t)i % 49) * MS;
        kl_generations_tick(&c.server->service);
        size_t n = listen_to(&c);
        c.len = 0;
        assert_in_range(n, 0, 1);
        assert_true(now_ns - heard < (n == 1 ? 1000 : 700) * (uint64_t)MS);
        if (n == 1)
            heard = now_ns;
    }
    leave(&c);
}

/* An answer in one piece hears nothing before it is there. */
static void test_no_signs_without_a_stream(void **state)
{
    (void)state;
    static struct client c;
    ask(&c, false);
    for (int i = 0; i < 10000 && c.server->service.generations == NULL; i++) {
        struct pollfd readable = {.fd = c.fd, .events = POLLIN};
        poll(&readable, 1, 1);
        listen_to(&c);
    }
    assert_non_null(c.server->service.generations);
    for (int i = 0; i < 8; i++) {
        now_ns += 250 * (uint64_t)MS;
        kl_generations_tick(&c.server->service);
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
