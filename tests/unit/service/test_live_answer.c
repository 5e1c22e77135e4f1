/* src/service/live_answer.c: what readers get of an answer, how long it is kept, and whose memory
 * it takes. The clock is the test's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <time.h>

#include "live_clients.h"

#define STORE   ((size_t)4 << 20)
#define SECONDS ((uint64_t)1000000000u)

static uint64_t now_ns = 1000 * SECONDS;

int __real_clock_gettime(clockid_t clock, struct timespec *t);
int __wrap_clock_gettime(clockid_t clock, struct timespec *t);
int __wrap_clock_gettime(clockid_t clock, struct timespec *t)
{
    if (clock != CLOCK_MONOTONIC)
        return __real_clock_gettime(clock, t);
    *t = (struct timespec){.tv_sec = (time_t)(now_ns / SECONDS),
                           .tv_nsec = (long)(now_ns % SECONDS)};
    return 0;
}

static struct kl_live_answers all;
static unsigned n_alone;

static int setup(void **state)
{
    (void)state;
    struct kl_error err;
    n_alone = 0;
    all = (struct kl_live_answers){.events = &work_events, .context = &n_alone};
    return kl_answer_store_open(STORE, &all.store, &err) == KL_OK ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    struct kl_answer_store_stats stats;
    kl_live_answers_free(&all);
    kl_answer_store_read(all.store, &stats);
    assert_int_equal(all.n + all.bytes + stats.bytes, 0);
    kl_answer_store_close(all.store);
    return 0;
}

static void begin(struct client *c, const char *id, struct work *w)
{
    struct kl_api_error error;
    assert_int_equal(work_begin(&all, c, id, w, &error), KL_OK);
}

/* Makes a client of another address watch from an event on. */
static void watch(struct work *w, struct client *c, uint64_t from)
{
    struct kl_api_error error;
    client_init(c, 0, 9);
    assert_int_equal(kl_live_read(w->live, &c->exchange, from, &error), KL_OK);
}

/* Moves the clock, and lets the service look. Returns the seconds until it is to look again. */
static uint64_t pass(uint64_t seconds)
{
    now_ns += seconds * SECONDS;
    return kl_live_answers_expire(&all, now_ns) / SECONDS;
}

/* ---- readers --------------------------------------------------------------------------------- */

static void test_readers(void **state)
{
    (void)state;
    struct client first, early, late, far, last;
    struct work w;
    begin(client_init(&first, 0, 1), ONE, &w);
    work_write(&w, "a");
    watch(&w, &early, 0);
    watch(&w, &far, 2);
    kl_stream_comment(&w.live->exchange, "x");
    work_write(&w, "b");
    client_leave(&first);
    work_write(&w, "c");
    watch(&w, &late, 1);
    assert_int_equal(w.n_changes, 4);
    work_write(&w, "d");
    work_end(&w);
    watch(&w, &last, 0);
    assert_string_equal(first.got, "(text)a: x\nb");
    assert_string_equal(early.got, "(text)a: x\nbcd.");
    assert_string_equal(far.got, "(text): x\ncd.");
    assert_string_equal(late.got, "(text)bcd.");
    assert_string_equal(last.got, "(text)abcd.");
}

static void test_documents(void **state)
{
    (void)state;
    struct client first, early, late, wrong;
    struct kl_api_error error;
    struct work w = {0};
    client_init(&first, 0, 1);
    assert_int_equal(kl_live_begin(&all, &first.exchange, ONE, &w, &w.live, &error), KL_OK);
    watch(&w, &early, 0);
    client_leave(&first);
    kl_reply_text(&w.live->exchange, 200, "json", "{}");
    kl_live_leave(w.live);
    watch(&w, &late, 0);
    watch(&w, &wrong, 1);
    assert_string_equal(first.got, "");
    assert_string_equal(early.got, "<200:{}>");
    assert_string_equal(late.got, "<200:{}>");
    assert_non_null(strstr(wrong.got, "<400:"));
}

/* An ID is in use until its answer is forgotten; not after a refusal that its client has seen. */
static void test_ids(void **state)
{
    (void)state;
    struct client a, b, c;
    struct work w, v;
    struct kl_api_error error;
    begin(client_init(&a, 7, 1), ONE, &w);
    assert_ptr_equal(kl_live_find(&all, 7, ONE), w.live);
    assert_null(kl_live_find(&all, 8, ONE));
    assert_null(kl_live_find(&all, 7, TWO));
    client_init(&b, 7, 2);
    assert_int_not_equal(work_begin(&all, &b, ONE, &v, &error), KL_OK);
    assert_int_equal(error.status, 409);
    client_leave(&b);
    begin(client_init(&b, 8, 2), ONE, &v);
    kl_live_delete(v.live, &error);
    assert_string_equal(b.got, "(text)error.");
    work_end(&w);
    client_init(&c, 7, 2);
    assert_int_not_equal(work_begin(&all, &c, ONE, &v, &error), KL_OK);
    client_leave(&c);
    client_init(&c, 7, 2);
    kl_live_delete(kl_live_find(&all, 7, ONE), &error);
    assert_int_equal(kl_live_begin(&all, &c.exchange, ONE, &v, &v.live, &error), KL_OK);
    kl_api_fail(&error, 429, "queue_full", NULL, "full");
    kl_reply_error(&v.live->exchange, &error);
    kl_live_leave(v.live);
    assert_int_equal(all.n, 0);
    assert_non_null(strstr(c.got, "<429:"));
    kl_buffer_release(&c.exchange.headers);
}

static void test_an_answer_that_is_cut(void **state)
{
    (void)state;
    struct client a, b;
    struct work w, v = {0};
    struct kl_api_error error;
    begin(client_init(&a, 0, 1), ONE, &w);
    kl_live_leave(w.live);
    assert_string_equal(a.got, "(text)!");
    client_init(&b, 0, 1);
    assert_int_equal(kl_live_begin(&all, &b.exchange, ONE, &v, &v.live, &error), KL_OK);
    kl_live_leave(v.live);
    assert_string_equal(b.got, "<503:no memory>");
    assert_int_equal(all.n, 0);
}

/* ---- for how long ---------------------------------------------------------------------------- */

static void test_an_answer_without_readers_is_stopped(void **state)
{
    (void)state;
    struct client a, b;
    struct work w;
    begin(client_init(&a, 0, 1), ONE, &w);
    assert_int_equal(pass(1000), 0);
    client_leave(&a);
    assert_int_equal(n_alone, 1);
    assert_int_equal(pass(119), 1);
    watch(&w, &b, 0);
    assert_int_equal(pass(1000), 0);
    client_leave(&b);
    assert_int_equal(pass(119), 1);
    assert_string_equal(w.stopped, "");
    assert_int_equal(pass(1), 120);
    assert_string_equal(w.stopped, "cancelled");
    assert_int_equal(all.n, 1); /* it can be read up to there */
    assert_int_equal(pass(120), 0);
    assert_int_equal(all.n, 0);
}

static void test_an_answer_is_kept_after_its_last_reader(void **state)
{
    (void)state;
    struct client a, b;
    struct work w;
    begin(client_init(&a, 0, 1), ONE, &w);
    now_ns += 500 * SECONDS;
    work_end(&w);
    assert_string_equal(a.got, "(text).");
    assert_int_equal(pass(119), 1);
    watch(&w, &b, 0);
    assert_int_equal(pass(119), 1);
    assert_int_equal(pass(1), 0);
    assert_int_equal(all.n, 0);
}

/* ---- memory ---------------------------------------------------------------------------------- */

/* Begins answers of a client until one is refused. Returns how many began. */
static size_t fill(struct client *clients, struct work *works, size_t n, uint64_t scope,
                   unsigned char address)
{
    struct kl_api_error error;
    static unsigned n_ids;
    char id[KL_LIVE_ID_SIZE];
    for (size_t i = 0; i < n; i++) {
        snprintf(id, sizeof id, "%08x-0000-4000-8000-000000000000", n_ids++);
        client_init(&clients[i], scope, address);
        if (work_begin(&all, &clients[i], id, &works[i], &error) != KL_OK) {
            assert_int_equal(error.status, 503);
            assert_string_equal(error.code, "busy");
            assert_true(error.retry_after > 0);
            return i;
        }
    }
    return n;
}

enum { MANY = 300 };
static struct client mine[MANY], yours[MANY], theirs[MANY];
static struct work my_works[MANY], your_works[MANY], their_works[MANY];

/* One address may take a quarter, all together a half; one with a key counts by its key. */
static void test_shares(void **state)
{
    (void)state;
    size_t n = fill(mine, my_works, MANY, 0, 1), m = fill(yours, your_works, MANY, 0, 2);
    assert_true(n > 50 && n < 256 && all.bytes <= STORE / 2);
    assert_true(n * (sizeof(struct kl_live_answer) + KL_EVENT_CHUNK_BYTES) <= STORE / 4);
    assert_int_equal(m, n);
    assert_true(fill(theirs, their_works, 10, 5, 1) <= 1); /* the rests of two shares */
    /* the oldest that has ended goes, and only one of the same client where its share is used up */
    char first[KL_LIVE_ID_SIZE], second[KL_LIVE_ID_SIZE], third[KL_LIVE_ID_SIZE];
    memcpy(first, my_works[3].live->id, sizeof first);
    memcpy(second, my_works[5].live->id, sizeof second);
    memcpy(third, your_works[0].live->id, sizeof third);
    work_end(&my_works[5]);
    work_end(&my_works[3]);
    work_end(&your_works[0]);
    for (size_t i = 10; kl_live_find(&all, 0, first) != NULL; i++) {
        assert_true(i < 14);
        assert_int_equal(fill(theirs + i, their_works + i, 1, 0, 1), 1);
    }
    assert_non_null(kl_live_find(&all, 0, third));
    for (size_t i = 20; kl_live_find(&all, 0, third) != NULL; i++) {
        assert_true(i < 24);
        assert_int_equal(fill(theirs + i, their_works + i, 1, 5, 1), 1);
    }
    assert_null(kl_live_find(&all, 0, second));
    assert_non_null(kl_live_find(&all, 0, my_works[0].live->id));
}

/* A client that takes much makes room, not one that has a single answer. */
static void test_one_client_does_not_push_out_others(void **state)
{
    (void)state;
    struct client a;
    struct work w;
    begin(client_init(&a, 0, 3), ONE, &w);
    client_leave(&a);
    work_end(&w);
    size_t n = fill(mine, my_works, MANY, 0, 1);
    for (size_t i = 0; i < n; i++)
        work_end(&my_works[i]);
    assert_int_equal(fill(yours, your_works, n, 0, 2), n);
    assert_int_equal(fill(theirs, their_works, 20, 5, 1), 20);
    assert_ptr_equal(kl_live_find(&all, 0, ONE), w.live);
}

/* Answers that go on keep their places in the queue: one address or key cannot take all of them. */
static void test_places_are_shared(void **state)
{
    (void)state;
    all.most_running = 3;
    assert_int_equal(fill(mine, my_works, MANY, 0, 1), 3);
    client_leave(&mine[0]);
    assert_int_equal(fill(yours, your_works, MANY, 0, 2), 3);
    assert_int_equal(fill(theirs, their_works, MANY, 5, 1), 3);
    work_end(&my_works[0]);
    assert_int_equal(fill(mine + 4, my_works + 4, 2, 0, 1), 1);
}

static char text_of_kb[1025];

/* Writes this many KB that cannot be kept as copies of each other. */
static void write_kb(struct work *w, size_t n)
{
    static uint32_t random = 1;
    for (; n > 0; n--) {
        for (size_t i = 0; i + 1 < sizeof text_of_kb; i++) {
            random = random * 1664525u + 1013904223u;
            text_of_kb[i] = (char)('a' + (random >> 16) % 26);
        }
        work_write(w, text_of_kb);
    }
}

static void test_the_longest_answer(void **state)
{
    (void)state;
    static struct client a;
    struct work w;
    struct kl_api_error error;
    begin(client_init(&a, 0, 1), ONE, &w);
    write_kb(&w, 200);
    assert_int_equal(kl_live_check(w.live, &error), KL_OK);
    write_kb(&w, 57);
    assert_int_not_equal(kl_live_check(w.live, &error), KL_OK);
    assert_string_equal(error.code, "answer_too_long");
    size_t n = a.n_got;
    work_write(&w, "more");
    assert_int_equal(a.n_got, n);
    work_stop(&w, &error);
    assert_int_equal(a.n_got, n + strlen("error."));
    assert_true(w.live->bytes <= KL_LIVE_BYTES + sizeof *w.live + KL_EVENT_CHUNK_BYTES);
}

/* Running answers grow until their share is used up. */
static void test_growth_is_counted(void **state)
{
    (void)state;
    static struct client clients[5];
    static struct work works[5];
    struct kl_api_error error;
    char id[] = "33333333-3333-4333-8333-333333333330";
    for (size_t i = 0; i < 5; i++, id[sizeof id - 2]++) {
        begin(client_init(&clients[i], 0, 1), id, &works[i]);
        write_kb(&works[i], 200);
        bool fits = kl_live_check(works[i].live, &error) == KL_OK;
        assert_int_equal(fits, i < 4);
    }
    assert_string_equal(error.code, "busy");
    size_t n = clients[4].n_got;
    work_stop(&works[4], &error); /* there is room for that */
    assert_int_equal(clients[4].n_got, n + strlen("error."));
    struct kl_answer_store_stats stats;
    kl_answer_store_read(all.store, &stats);
    assert_int_equal(stats.bytes, all.bytes);
    assert_true(all.bytes <= STORE / 4);
}

/* The text of a request counts once its connection does not hold it any more. */
static void test_the_text_of_a_request(void **state)
{
    (void)state;
    struct client a, b;
    struct work w, v;
    begin(client_init(&a, 0, 1), ONE, &w);
    begin(client_init(&b, 0, 2), TWO, &v);
    size_t before = all.bytes;
    kl_live_hold(w.live, 10000);
    assert_int_equal(all.bytes, before);
    client_leave(&a);
    assert_int_equal(all.bytes, before + 10000);
    kl_live_hold(w.live, 0);
    assert_int_equal(all.bytes, before);
    kl_live_hold(v.live, STORE / 4); /* it would take more than its share */
    client_leave(&b);
    assert_string_equal(v.stopped, "busy");
}

/* ---- the header ------------------------------------------------------------------------------ */

static enum kl_status read_id(const char *value, char id[KL_LIVE_ID_SIZE])
{
    char text[200];
    struct kl_http_head head = {0};
    struct kl_api_error error;
    struct kl_exchange x = {.head = &head};
    int n = snprintf(text, sizeof text, "POST / HTTP/1.1\r\nHost: x\r\n%s%s\r\n\r\n",
                     value != NULL ? "x-answer-id: " : "A: b", value != NULL ? value : "");
    assert_int_equal(kl_http_head_parse(&head, text, (size_t)n, &error), KL_OK);
    enum kl_status status = kl_live_read_id(&x, id, &error);
    assert_true(status == KL_OK || strstr(error.text, "X-Answer-Id") != NULL);
    kl_http_head_release(&head);
    return status;
}

static void test_the_header(void **state)
{
    (void)state;
    static const char *const wrong[] = {"",
                                        "1",
                                        "11111111-1111-4111-8111-11111111111",
                                        "11111111-1111-4111-8111-1111111111111",
                                        "11111111-1111-4111-8111-11111111111g",
                                        "111111111-111-4111-8111-111111111111",
                                        "11111111-1111-4111-8111111111-111111",
                                        "{1111111-1111-4111-8111-11111111111}"};
    char id[KL_LIVE_ID_SIZE];
    assert_int_equal(read_id(NULL, id), KL_OK);
    assert_string_equal(id, "");
    assert_int_equal(read_id("ABCDEF01-2345-6789-abcd-ef0123456789", id), KL_OK);
    assert_string_equal(id, "abcdef01-2345-6789-abcd-ef0123456789");
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_int_not_equal(read_id(wrong[i], id), KL_OK);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_readers),
        TEST(test_documents),
        TEST(test_ids),
        TEST(test_an_answer_that_is_cut),
        TEST(test_an_answer_without_readers_is_stopped),
        TEST(test_an_answer_is_kept_after_its_last_reader),
        TEST(test_shares),
        TEST(test_one_client_does_not_push_out_others),
        TEST(test_places_are_shared),
        TEST(test_the_longest_answer),
        TEST(test_growth_is_counted),
        TEST(test_the_text_of_a_request),
        cmocka_unit_test(test_the_header),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
