#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "http/holders.h"
#include "http/http_state.h"

#define MIB ((size_t)1 << 20)
#define MAX 200

/* A server with connections of which only the fields that holders.c reads are set. */
struct fixture {
    struct kl_http http;
    int sockets[2]; /* a pair: all connections share the first */
    struct kl_connection all[MAX];
    size_t n;
};

static struct kl_connection *add(struct fixture *f, unsigned address, uint64_t scope, size_t held)
{
    struct kl_connection *c = &f->all[f->n++];
    *c = (struct kl_connection){.http = &f->http,
                                .stage = KL_CONNECTION_BODY,
                                .peer.s6_addr = {[15] = (uint8_t)address},
                                .request_ns = f->n,
                                .progress_ns = f->n};
    c->bev = bufferevent_socket_new(f->http.base, f->sockets[0], 0);
    assert_non_null(c->bev);
    c->next = f->http.connections;
    if (c->next != NULL)
        c->next->previous = c;
    else
        f->http.oldest = c;
    f->http.connections = c;
    assert_true(kl_holders_join(&f->http, c, 0));
    assert_true(kl_holders_join(&f->http, c, scope));
    kl_holders_count(&f->http, c, held);
    return c;
}

static void end(struct fixture *f, struct kl_connection *c)
{
    if (c->previous != NULL)
        c->previous->next = c->next;
    else
        f->http.connections = c->next;
    if (c->next != NULL)
        c->next->previous = c->previous;
    else
        f->http.oldest = c->previous;
    kl_holders_leave(&f->http, c);
    bufferevent_free(c->bev);
}

static int setup(void **state)
{
    struct fixture *f = *state = calloc(1, sizeof *f);
    if (f == NULL || (f->http.base = event_base_new()) == NULL)
        return 1;
    f->http.options.held_bytes = KL_HTTP_HELD_BYTES;
    return socketpair(AF_UNIX, SOCK_STREAM, 0, f->sockets);
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    while (f->http.connections != NULL)
        end(f, f->http.connections);
    assert_null(f->http.holders.first);
    assert_int_equal(f->http.holders.held, 0);
    event_base_free(f->http.base);
    close(f->sockets[0]);
    close(f->sockets[1]);
    free(f);
    return 0;
}

static struct kl_connection *largest(const struct fixture *f)
{
    bool of_holder;
    return kl_holders_find_largest(&f->http, &of_holder);
}

static void test_limits(void **state)
{
    struct fixture *f = *state;
    bool of_holder;
    struct kl_connection *small = add(f, 1, 0, 3 * MIB), *large = add(f, 1, 0, 5 * MIB);
    struct kl_connection *other = add(f, 2, 0, 4 * MIB);
    kl_holders_count(&f->http, small, (KL_HTTP_HELD_BYTES / 4 * 3) - 5 * MIB);
    assert_null(largest(f));
    kl_holders_count(&f->http, small, (KL_HTTP_HELD_BYTES / 4 * 3) - 5 * MIB + 1);
    assert_ptr_equal(kl_holders_find_largest(&f->http, &of_holder), small); /* 7 MiB now */
    assert_true(of_holder);
    end(f, small);
    kl_holders_count(&f->http, other, KL_HTTP_HELD_BYTES - 5 * MIB);
    assert_null(largest(f));
    kl_holders_count(&f->http, large, 5 * MIB + 1);
    assert_ptr_equal(kl_holders_find_largest(&f->http, &of_holder), other);
    assert_false(of_holder);
}

static void test_among_connections_of_one(void **state)
{
    struct fixture *f = *state;
    struct kl_exchange exchange = {0};
    struct kl_connection *stream = add(f, 1, 0, 5 * MIB), *first = add(f, 1, 0, 4 * MIB);
    struct kl_connection *second = add(f, 1, 0, 4 * MIB), *idle = add(f, 1, 0, 0);
    stream->stage = KL_CONNECTION_ANSWERING;
    stream->exchange = &exchange;
    idle->progress_ns = 0;
    assert_ptr_equal(largest(f), first); /* it has made no progress for longest */
    first->progress_ns = 100;
    assert_ptr_equal(largest(f), second);
    exchange.sent = true;
    assert_ptr_equal(largest(f), stream);
    exchange.sent = false;
    end(f, first);
    end(f, second);
    kl_holders_count(&f->http, stream, (KL_HTTP_HELD_BYTES / 4 * 3) + 1);
    assert_ptr_equal(largest(f), stream); /* it is the only one */
    stream->exchange = NULL;
}

static void test_connections_without_key_first(void **state)
{
    struct fixture *f = *state;
    f->http.access.n_keys = 1;
    struct kl_connection *known = add(f, 1, 7, 11 * MIB), *keyless = add(f, 1, 0, 1);
    struct kl_connection *another = add(f, 2, 0, 5 * MIB);
    assert_ptr_equal(largest(f), another);
    end(f, another);
    another = add(f, 2, 8, 5 * MIB);
    assert_ptr_equal(largest(f), keyless);
    end(f, keyless);
    assert_null(largest(f));
    kl_holders_count(&f->http, another, 5 * MIB + 1);
    assert_ptr_equal(largest(f), known);
    /* a key is one holder from all addresses; an address with several keys is several holders */
    add(f, 3, 7, MIB);
    assert_int_equal(known->holder->held, 12 * MIB);
    assert_int_equal(known->holder->n_connections, 2);
}

static uint32_t random_below(uint64_t *seed, uint32_t n)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*seed >> 33) % n;
}

static size_t count_holders(const struct fixture *f)
{
    size_t n = 0;
    for (const struct kl_holder *h = f->http.holders.first; h != NULL; h = h->next)
        n++;
    return n;
}

/* Whatever is added: the limits hold, and a holder of no more than its part is never affected. */
static void test_small_holders_are_never_ended(void **state)
{
    struct fixture *f = *state;
    uint64_t seed = 1;
    size_t n_ended = 0;
    for (unsigned round = 0; round < 300; round++) {
        unsigned n_addresses = 1 + random_below(&seed, 30);
        for (unsigned i = 0; i < MAX; i++) {
            unsigned address = random_below(&seed, n_addresses) * random_below(&seed, 2);
            struct kl_connection *v;
            bool of_holder;
            add(f, address, 0, random_below(&seed, 1 << 20));
            while ((v = kl_holders_find_largest(&f->http, &of_holder)) != NULL) {
                size_t held = v->holder->held;
                assert_true(held > (of_holder ? (KL_HTTP_HELD_BYTES / 4 * 3)
                                              : KL_HTTP_HELD_BYTES / count_holders(f)));
                assert_true(v->held > 0);
                end(f, v);
                n_ended++;
            }
            assert_true(f->http.holders.held <= KL_HTTP_HELD_BYTES);
        }
        while (f->http.connections != NULL)
            end(f, f->http.connections);
        f->n = 0;
    }
    assert_true(n_ended > 10000);
}

static void test_evictable(void **state)
{
    struct fixture *f = *state;
    struct kl_connection *one = add(f, 1, 0, 0), *fresh = add(f, 2, 0, 0), *idle = add(f, 2, 0, 0);
    struct kl_connection *old = add(f, 2, 0, 0), *busy = add(f, 2, 0, 0);
    struct kl_exchange exchange = {0};
    one->stage = idle->stage = fresh->stage = KL_CONNECTION_IDLE;
    one->n_requests = idle->n_requests = 1;
    one->stage_ns = 1;
    fresh->stage_ns = 3;
    old->request_ns = 2;
    busy->stage = KL_CONNECTION_ANSWERING;
    busy->exchange = &exchange;
    /* of the address with most: an idle one, then the oldest that is not complete */
    struct kl_connection *const order[] = {idle, old};
    for (size_t i = 0; i < 2; i++) {
        assert_ptr_equal(kl_holders_find_evictable(&f->http, NULL), order[i]);
        end(f, order[i]);
    }
    assert_ptr_equal(kl_holders_find_evictable(&f->http, NULL), fresh);
    assert_ptr_equal(kl_holders_find_evictable(&f->http, &one->peer), one);
    end(f, fresh);
    assert_ptr_equal(kl_holders_find_evictable(&f->http, NULL), one);
    end(f, one);
    assert_null(kl_holders_find_evictable(&f->http, NULL));
    exchange.sent = true; /* and nothing of it was taken since time 0 */
    assert_ptr_equal(kl_holders_find_evictable(&f->http, NULL), busy);
    f->http.access.n_keys = 1;
    struct kl_connection *known = add(f, 3, 9, 0);
    known->stage = KL_CONNECTION_IDLE;
    known->n_requests = 1;
    assert_ptr_equal(kl_holders_find_evictable(&f->http, NULL), busy);
    busy->exchange = NULL;
}

/* Input that was not read yet is not the fault of the client. */
static void test_unread_input_is_spared(void **state)
{
    struct fixture *f = *state;
    struct kl_connection *first = add(f, 1, 0, 0), *second = add(f, 1, 0, 0);
    int silent[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, silent), 0);
    bufferevent_setfd(second->bev, silent[0]);
    assert_ptr_equal(kl_holders_find_evictable(&f->http, NULL), first);
    assert_int_equal(write(f->sockets[1], "x", 1), 1);
    assert_ptr_equal(kl_holders_find_evictable(&f->http, NULL), second);
    end(f, second);
    assert_ptr_equal(kl_holders_find_evictable(&f->http, NULL), first);
    close(silent[0]);
    close(silent[1]);
}

static void test_addresses(void **state)
{
    (void)state;
    const struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_addr.s_addr = 0x01020304};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_addr.s6_addr = {1, 2, [7] = 3, 4}};
    struct in6_addr a = kl_holders_address((const void *)&v6);
    v6.sin6_addr.s6_addr[15] = 9;
    struct in6_addr b = kl_holders_address((const void *)&v6);
    assert_memory_equal(&a, &b, sizeof a);
    v6.sin6_addr.s6_addr[7] = 9;
    b = kl_holders_address((const void *)&v6);
    assert_memory_not_equal(&a, &b, sizeof a);
    a = kl_holders_address((const void *)&v4);
    assert_memory_equal(a.s6_addr + 12, &v4.sin_addr, 4);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_limits),
        TEST(test_among_connections_of_one),
        TEST(test_connections_without_key_first),
        TEST(test_small_holders_are_never_ended),
        TEST(test_evictable),
        TEST(test_unread_input_is_spared),
        TEST(test_addresses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
