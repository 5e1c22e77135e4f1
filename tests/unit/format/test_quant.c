/* src/format/quant.c; bit-equality with gguf/quants.py is in tests/fidelity/test_dequantize.py */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "format/quant.h"

static uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static float float_of(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* By the definition of IEEE 754, in arithmetic that is exact. */
static double half_value(uint16_t half)
{
    int exponent = (half >> 10) & 0x1F;
    int fraction = half & 0x3FF;
    double value = exponent == 0 ? ldexp(fraction, -24) : ldexp(1024 + fraction, exponent - 25);
    return (half & 0x8000) != 0 ? -value : value;
}

static void every_half_to_float(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 0x10000; h++) {
        float value = kl_f16_to_f32((uint16_t)h);
        assert_int_equal(bits_of(value) >> 31, h >> 15);
        if ((h & 0x7C00) != 0x7C00)
            assert_true((double)value == half_value((uint16_t)h));
        else if ((h & 0x3FF) == 0)
            assert_true(isinf(value));
        else
            assert_true(isnan(value));
    }
}

static void every_half_survives_the_way_back(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 0x10000; h++) {
        uint16_t back = kl_f32_to_f16(kl_f16_to_f32((uint16_t)h));
        if ((h & 0x7C00) == 0x7C00 && (h & 0x3FF) != 0)
            assert_int_equal(back, h | 0x200); /* a NaN comes back quiet */
        else
            assert_int_equal(back, h);
    }
}

/* Around the middle of every two neighbours, up to the step to infinity. */
static void float_to_half_rounds_to_nearest_even(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 0x7C00; h++) {
        double above = h == 0x7BFF ? 65536 : half_value((uint16_t)(h + 1));
        float middle = (float)((half_value((uint16_t)h) + above) / 2);
        uint32_t even = (h & 1) == 0 ? h : h + 1;
        assert_int_equal(kl_f32_to_f16(middle), even);
        assert_int_equal(kl_f32_to_f16(nextafterf(middle, 0)), h);
        assert_int_equal(kl_f32_to_f16(nextafterf(middle, INFINITY)), h + 1);
        assert_int_equal(kl_f32_to_f16(-middle), even | 0x8000);
        assert_int_equal(kl_f32_to_f16(-nextafterf(middle, INFINITY)), (h + 1) | 0x8000);
    }
}

static void float_to_half_at_the_ends(void **state)
{
    (void)state;
    static const struct {
        uint32_t in;
        uint16_t out;
    } cases[] = {
        {0x00000000, 0x0000}, {0x80000000, 0x8000}, {0x00000001, 0x0000}, /* float subnormal */
        {0x807FFFFF, 0x8000}, {0x7F7FFFFF, 0x7C00}, {0xFF7FFFFF, 0xFC00}, /* largest floats */
        {0x7F800000, 0x7C00}, {0xFF800000, 0xFC00}, {0x7FC00000, 0x7E00}, /* infinity, NaN */
        {0xFFC00000, 0xFE00}, {0x7F800001, 0x7E00}, {0x7FFFFFFF, 0x7FFF},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_int_equal(kl_f32_to_f16(float_of(cases[i].in)), cases[i].out);
}

static void bfloat_is_the_upper_half(void **state)
{
    (void)state;
    for (uint32_t b = 0; b < 0x10000; b++)
        assert_int_equal(bits_of(kl_bf16_to_f32((uint16_t)b)), b << 16);
}

/* Sizes from ggml-common.h. */
static void the_table_is_right(void **state)
{
    (void)state;
    static const struct {
        uint32_t id;
        const char *name;
        uint32_t elements;
        uint32_t bytes;
    } expected[] = {
        {0, "F32", 1, 4},         {1, "F16", 1, 2},       {2, "Q4_0", 32, 18},
        {3, "Q4_1", 32, 20},      {6, "Q5_0", 32, 22},    {7, "Q5_1", 32, 24},
        {8, "Q8_0", 32, 34},      {10, "Q2_K", 256, 84},  {11, "Q3_K", 256, 110},
        {12, "Q4_K", 256, 144},   {13, "Q5_K", 256, 176}, {14, "Q6_K", 256, 210},
        {18, "IQ3_XXS", 256, 98}, {20, "IQ4_NL", 32, 18}, {21, "IQ3_S", 256, 110},
        {23, "IQ4_XS", 256, 136}, {30, "BF16", 1, 2},     {34, "TQ1_0", 256, 54},
        {35, "TQ2_0", 256, 66},
    };
    size_t n = 0;
    for (uint32_t id = 0; id < 1000; id++) {
        const struct kl_quant_type *type = kl_quant_type(id);
        if (type == NULL)
            continue;
        assert_true(n < sizeof expected / sizeof expected[0]);
        assert_int_equal(id, expected[n].id);
        assert_int_equal(type->id, id);
        assert_string_equal(type->name, expected[n].name);
        assert_int_equal(type->block_elements, expected[n].elements);
        assert_int_equal(type->block_bytes, expected[n].bytes);
        assert_non_null(strstr(kl_quant_names(), type->name));
        n++;
    }
    assert_int_equal(n, sizeof expected / sizeof expected[0]);
    assert_null(kl_quant_type(UINT32_MAX));
}

/* Blocks written down by hand, at an odd address. */
static void q4_and_q5_by_hand(void **state)
{
    (void)state;
    uint8_t memory[1 + 24] = {0}, *block = memory + 1;
    float out[32];
    block[1] = 0x40; /* d = 2 */
    block[2] = 0x1F; /* number 0: 15, number 16: 1 */
    block[17] = 0xA0;
    kl_quant_type(KL_Q4_0)->dequantize(block, 1, out);
    assert_true(out[0] == 14 && out[16] == -14 && out[15] == -16 && out[31] == 4);
    assert_true(out[1] == -16);

    memset(memory, 0, sizeof memory);
    block[1] = 0x40;
    block[3] = 0xBC; /* m = -1 */
    block[4] = 0x1F;
    kl_quant_type(KL_Q4_1)->dequantize(block, 1, out);
    assert_true(out[0] == 29 && out[16] == 1 && out[1] == -1);

    memset(memory, 0, sizeof memory);
    block[1] = 0x40;
    block[2] = 0x01; /* fifth bit of number 0 */
    block[5] = 0x80; /* and of number 31 */
    block[6] = 0x1F;
    kl_quant_type(KL_Q5_0)->dequantize(block, 1, out);
    assert_true(out[0] == 30 && out[16] == -30 && out[31] == 0 && out[1] == -32);

    memset(memory, 0, sizeof memory);
    block[1] = 0x40;
    block[3] = 0xBC;
    block[5] = 0x01; /* fifth bit of number 8 */
    block[6] = 0x01; /* and of number 16 */
    block[8] = 0x1F;
    kl_quant_type(KL_Q5_1)->dequantize(block, 1, out);
    assert_true(out[0] == 29 && out[8] == 31 && out[16] == 33 && out[1] == -1);
}

static void q8_by_hand(void **state)
{
    (void)state;
    uint8_t block[2 * 34] = {0};
    float out[64];
    block[1] = 0x38; /* d = 0.5 */
    block[2] = 127;
    block[33] = 128;
    block[35] = 0xC0; /* the next block: d = -2 */
    block[36] = 255;
    kl_quant_type(KL_Q8_0)->dequantize(block, 2, out);
    assert_true(out[0] == 63.5f && out[31] == -64 && out[32] == 2 && out[1] == 0);
}

static void k_types_by_hand(void **state)
{
    (void)state;
    uint8_t block[210] = {0};
    float out[256];
    block[1] = 0x3C;  /* d = 1 */
    block[3] = 0x40;  /* dmin = 2 */
    block[4] = 0xC3;  /* scale 0: 3, scale 4: 48 + its low bits */
    block[8] = 0x45;  /* minimum 0: 5, minimum 4: 16 + its low bits */
    block[12] = 0x21; /* low bits: scale 4 is 49, minimum 4 is 18 */
    block[16] = 0x07;
    block[16 + 64] = 0x0A; /* number 0 of sub-block 4 */
    kl_quant_type(KL_Q4_K)->dequantize(block, 1, out);
    assert_true(out[0] == 3 * 7 - 10 && out[1] == -10);
    assert_true(out[128] == 49 * 10 - 36 && out[129] == -36 && out[255] == 0);

    block[16] = 0x11; /* fifth bits of number 0 of sub-blocks 0 and 4 */
    block[48] = 0x07;
    block[48 + 64] = 0x0A;
    block[80] = 0;
    kl_quant_type(KL_Q5_K)->dequantize(block, 1, out);
    assert_true(out[0] == 3 * 23 - 10 && out[128] == 49 * 26 - 36 && out[129] == -36);

    memset(block, 0, sizeof block);
    block[209] = 0x3C;
    memset(block + 192, 1, 16);
    block[192 + 8] = 0xFE; /* the scale of numbers 128 to 143 is -2 */
    block[0] = 0xF1;       /* low bits of number 0 and of number 64 */
    block[128] = 0xC1;     /* high pairs: 1 for number 0, 0 for 32 and 64, 3 for 96 */
    kl_quant_type(KL_Q6_K)->dequantize(block, 1, out);
    assert_true(out[0] == 17 - 32 && out[64] == 15 - 32 && out[96] == 48 - 32 && out[32] == -32);
    assert_true(out[128] == 64 && out[143] == 64 && out[144] == -32);
}

static void tables_of_numbers_by_hand(void **state)
{
    (void)state;
    uint8_t block[136] = {0};
    float out[256];
    block[1] = 0x40;  /* d = 2 */
    block[2] = 0x80;  /* number 0: -127, number 16: 1 */
    block[17] = 0xF7; /* number 15: -10, number 31: 113 */
    kl_quant_type(KL_IQ4_NL)->dequantize(block, 1, out);
    assert_true(out[0] == -254 && out[16] == 2 && out[15] == -20 && out[31] == 226);

    memset(block, 0, sizeof block);
    block[1] = 0x40;
    block[3] = 0x80; /* upper bits of scale 7: 2, so it is its lower bits */
    block[7] = 0x30; /* lower bits of scale 7: 3 */
    block[8] = 0x08;
    kl_quant_type(KL_IQ4_XS)->dequantize(block, 1, out);
    assert_true(out[0] == 2 * -32 && out[1] == 2 * -32 * -127 && out[255] == 2 * 3 * -127);

    memset(block, 0, sizeof block);
    block[1] = 0x40;
    block[2] = 1;      /* the entry 3, 1, 1, 1 of the grid */
    block[66] = 0x02;  /* the second index of sub-block 0 is 256 */
    block[74] = 0x81;  /* numbers 0 and 7 are negative */
    block[106] = 0x02; /* factor 0: 2 * 2 + 1 */
    kl_quant_type(KL_IQ3_S)->dequantize(block, 1, out);
    assert_true(out[0] == 2 * 5 * -3 && out[1] == 2 * 5 && out[7] < 0 && out[6] > 0);
    assert_true(out[32] == 2);

    memset(block, 0, sizeof block);
    block[1] = 0x40;
    block[66] = 0x01; /* number 0 of sub-block 0 is negative, and so is number 7: an even number */
    block[69] = 0x10; /* factor 0: 2 * 1 + 1 */
    kl_quant_type(KL_IQ3_XXS)->dequantize(block, 1, out);
    assert_true(out[0] == 2 * 1.5f * 0.5f * -4 && out[1] == -out[0] && out[7] == out[0]);
    assert_true(out[32] == 2 * 0.5f * 0.5f * 4);
}

static void ternary_by_hand(void **state)
{
    (void)state;
    uint8_t block[66] = {0};
    float out[256];
    block[53] = 0x40; /* d = 2 */
    block[0] = 0xFF;  /* numbers 0, 32, 64, 96, 128: five times the digit 2 */
    block[51] = 0x56; /* number 243: the digit 1, and nothing behind it */
    kl_quant_type(KL_TQ1_0)->dequantize(block, 1, out);
    assert_true(out[0] == 2 && out[32] == 2 && out[128] == 2 && out[1] == -2 && out[160] == -2);
    assert_true(out[243] == 0 && out[247] == -2);

    memset(block, 0, sizeof block);
    block[65] = 0x40;
    block[32] = 0x24; /* numbers 128: 0, 160: 1, 192: 2, 224: 0 */
    kl_quant_type(KL_TQ2_0)->dequantize(block, 1, out);
    assert_true(out[128] == -2 && out[160] == 0 && out[192] == 2 && out[224] == -2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_half_to_float),
        cmocka_unit_test(every_half_survives_the_way_back),
        cmocka_unit_test(float_to_half_rounds_to_nearest_even),
        cmocka_unit_test(float_to_half_at_the_ends),
        cmocka_unit_test(bfloat_is_the_upper_half),
        cmocka_unit_test(the_table_is_right),
        cmocka_unit_test(q4_and_q5_by_hand),
        cmocka_unit_test(q8_by_hand),
        cmocka_unit_test(k_types_by_hand),
        cmocka_unit_test(tables_of_numbers_by_hand),
        cmocka_unit_test(ternary_by_hand),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
