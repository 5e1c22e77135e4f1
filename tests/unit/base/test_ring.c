/* src/base/ring.c */
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/ring.h"

static void keeps_records_separate_and_in_order(void **state)
{
    (void)state;
    struct kl_ring ring;
    char out[64];
    assert_int_equal(kl_ring_init(&ring, 64, NULL), KL_OK);
    assert_int_equal(kl_ring_read(&ring, out, sizeof out), 0);
    assert_true(kl_ring_write(&ring, "one", 3, NULL, 0));
    assert_true(kl_ring_write(&ring, "two", 3, "three", 5));
    assert_true(kl_ring_write(&ring, NULL, 0, "4", 1));
    assert_int_equal(kl_ring_read(&ring, out, sizeof out), 3);
    assert_memory_equal(out, "one", 3);
    assert_int_equal(kl_ring_read(&ring, out, sizeof out), 8);
    assert_memory_equal(out, "twothree", 8);
    assert_int_equal(kl_ring_read(&ring, out, sizeof out), 1);
    assert_memory_equal(out, "4", 1);
    assert_int_equal(kl_ring_read(&ring, out, sizeof out), 0);
    kl_ring_release(&ring);
}

static void refuses_records_that_do_not_fit(void **state)
{
    (void)state;
    struct kl_ring ring;
    char record[64] = {0}, out[64];
    assert_int_equal(kl_ring_init(&ring, 32, NULL), KL_OK);
    assert_true(kl_ring_has_room(&ring, 28)); /* and 4 for the length */
    assert_false(kl_ring_has_room(&ring, 29));
    assert_false(kl_ring_has_room(&ring, SIZE_MAX));
    assert_false(kl_ring_write(&ring, record, 29, NULL, 0));
    assert_false(kl_ring_write(&ring, record, 14, record, 15));
    assert_int_equal(kl_ring_read(&ring, out, sizeof out), 0);
    assert_true(kl_ring_write(&ring, record, 14, record, 14));
    assert_false(kl_ring_has_room(&ring, 1));
    assert_false(kl_ring_write(&ring, record, 1, NULL, 0));
    assert_int_equal(kl_ring_read(&ring, out, sizeof out), 28);
    assert_true(kl_ring_has_room(&ring, 28));
    kl_ring_release(&ring);
}

/* Every length at every position, also where the end of the ring splits the length field. */
static void wraps_around_at_every_position(void **state)
{
    (void)state;
    struct kl_ring ring;
    uint8_t in[28], out[28];
    for (size_t i = 0; i < sizeof in; i++)
        in[i] = (uint8_t)(i + 1);
    for (size_t len = 1; len <= sizeof in; len++) {
        assert_int_equal(kl_ring_init(&ring, 32, NULL), KL_OK);
        for (int round = 0; round < 100; round++) {
            size_t first = (size_t)round % (len + 1);
            assert_true(kl_ring_write(&ring, in, first, in + first, len - first));
            memset(out, 0, sizeof out);
            assert_int_equal(kl_ring_read(&ring, out, sizeof out), len);
            assert_memory_equal(out, in, len);
        }
        kl_ring_release(&ring);
    }
}

enum { RECORDS = 100000, LONGEST = 60 };

/* Record i: its number in 4 bytes, then bytes that depend on it. */
static size_t make_record(uint32_t i, uint8_t record[LONGEST])
{
    size_t len = 4 + (i * 7919u) % (LONGEST - 3);
    memcpy(record, &i, 4);
    for (size_t k = 4; k < len; k++)
        record[k] = (uint8_t)(i + k);
    return len;
}

static void *write_all(void *argument)
{
    struct kl_ring *ring = argument;
    uint8_t record[LONGEST];
    for (uint32_t i = 0; i < RECORDS; i++) {
        size_t len = make_record(i, record);
        size_t first = i % len;
        while (!kl_ring_write(ring, record, first, record + first, len - first))
            sched_yield();
    }
    return NULL;
}

static void carries_everything_between_two_threads(void **state)
{
    (void)state;
    static struct kl_ring ring;
    pthread_t writer;
    uint8_t expected[LONGEST], found[LONGEST];
    assert_int_equal(kl_ring_init(&ring, 256, NULL), KL_OK);
    assert_int_equal(pthread_create(&writer, NULL, write_all, &ring), 0);
    for (uint32_t i = 0; i < RECORDS; i++) {
        size_t len;
        while ((len = kl_ring_read(&ring, found, sizeof found)) == 0)
            sched_yield();
        assert_int_equal(len, make_record(i, expected));
        assert_memory_equal(found, expected, len);
    }
    assert_int_equal(kl_ring_read(&ring, found, sizeof found), 0);
    pthread_join(writer, NULL);
    kl_ring_release(&ring);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keeps_records_separate_and_in_order),
        cmocka_unit_test(refuses_records_that_do_not_fit),
        cmocka_unit_test(wraps_around_at_every_position),
        cmocka_unit_test(carries_everything_between_two_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
