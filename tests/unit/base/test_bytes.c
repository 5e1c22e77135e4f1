/* src/base/bytes.h, bytes.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"

static void arithmetic_notices_overflow(void **state)
{
    (void)state;
    uint64_t out;
    assert_true(kl_add(UINT64_MAX - 1, 1, &out));
    assert_true(out == UINT64_MAX);
    assert_false(kl_add(UINT64_MAX, 1, &out));
    assert_true(kl_mul((uint64_t)1 << 32, ((uint64_t)1 << 32) - 1, &out));
    assert_true(out == 0xFFFFFFFF00000000u);
    assert_false(kl_mul((uint64_t)1 << 32, (uint64_t)1 << 32, &out));
    assert_true(kl_mul(UINT64_MAX, 0, &out));
    assert_true(out == 0);
}

static void align_up_rounds_or_refuses(void **state)
{
    (void)state;
    uint64_t out;
    assert_true(kl_align_up(0, 32, &out));
    assert_true(out == 0);
    assert_true(kl_align_up(1, 32, &out));
    assert_true(out == 32);
    assert_true(kl_align_up(32, 32, &out));
    assert_true(out == 32);
    assert_true(kl_align_up(33, 1, &out));
    assert_true(out == 33);
    assert_true(kl_align_up(UINT64_MAX - 31, 32, &out));
    assert_true(out == UINT64_MAX - 31);
    assert_false(kl_align_up(UINT64_MAX - 30, 32, &out));
}

static void reads_little_endian_values(void **state)
{
    (void)state;
    static const uint8_t data[] = {0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a,
                                   0x0b, 0x0c, 0x0d, 0x0e, 0x0f, 0x00, 0x00, 0x80, 0x3f, 0x00,
                                   0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xc0, 'e',  'n',  'd'};
    struct kl_reader r = {.data = data, .size = sizeof data};
    uint8_t u8;
    uint16_t u16;
    uint32_t u32;
    uint64_t u64;
    float f32;
    double f64;
    const uint8_t *bytes;
    assert_true(kl_read_u8(&r, &u8) && u8 == 1);
    assert_true(kl_read_u16(&r, &u16) && u16 == 0x0302);
    assert_true(kl_read_u32(&r, &u32) && u32 == 0x07060504);
    assert_true(kl_read_u64(&r, &u64) && u64 == 0x0f0e0d0c0b0a0908u);
    assert_true(kl_read_f32(&r, &f32) && f32 == 1.0f);
    assert_true(kl_read_f64(&r, &f64) && f64 == -2.0);
    assert_int_equal(kl_reader_left(&r), 3);
    assert_true(kl_read_bytes(&r, 3, &bytes));
    assert_ptr_equal(bytes, data + sizeof data - 3);
    assert_int_equal(kl_reader_left(&r), 0);
}

static void never_moves_past_the_end(void **state)
{
    (void)state;
    static const uint8_t data[7] = {1, 2, 3, 4, 5, 6, 7};
    uint8_t u8 = 99;
    uint16_t u16 = 99;
    uint32_t u32 = 99;
    uint64_t u64 = 99;
    float f32;
    double f64;
    const uint8_t *bytes;
    for (size_t left = 0; left <= sizeof data; left++) {
        struct kl_reader r = {.data = data, .size = sizeof data, .pos = sizeof data - left};
        struct kl_reader before = r;
        if (left < 1)
            assert_false(kl_read_u8(&r, &u8));
        if (left < 2)
            assert_false(kl_read_u16(&r, &u16));
        if (left < 4) {
            assert_false(kl_read_u32(&r, &u32));
            assert_false(kl_read_f32(&r, &f32));
        }
        assert_false(kl_read_u64(&r, &u64));
        assert_false(kl_read_f64(&r, &f64));
        assert_false(kl_read_bytes(&r, left + 1, &bytes));
        assert_false(kl_read_bytes(&r, UINT64_MAX, &bytes));
        assert_memory_equal(&r, &before, sizeof r);
        assert_true(kl_read_bytes(&r, left, &bytes));
        assert_int_equal(r.pos, sizeof data);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arithmetic_notices_overflow),
        cmocka_unit_test(align_up_rounds_or_refuses),
        cmocka_unit_test(reads_little_endian_values),
        cmocka_unit_test(never_moves_past_the_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
