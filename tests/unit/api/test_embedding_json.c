/* src/api/embedding_json.c: vectors as text read back as the same floats. */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "api/embedding_json.h"

static uint64_t random_state = 1;

static uint32_t random_bits(void)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(random_state >> 32);
}

static float float_of(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static void expect_text(const float *vector, size_t n, const char *expected)
{
    struct kl_buffer out;
    kl_buffer_init(&out, 1 << 20);
    assert_int_equal(kl_vector_numbers(vector, n, &out), KL_OK);
    assert_string_equal(out.data, expected);
    kl_buffer_release(&out);
}

static void numbers_are_short(void **state)
{
    (void)state;
    expect_text(NULL, 0, "[]");
    const float usual[] = {0.0f,   -0.0f,    1.0f,     -1.0f,  0.5f,   0.1f,
                           -0.25f, 0.03125f, 1000.25f, 100.0f, 1e-10f, 3e20f};
    expect_text(
        usual, 12,
        "[0,0,1,-1,0.5,0.100000001,-0.25,0.03125,1000.25,100,1.00000001e-10,3.00000006e+20]");
    const float carry[] = {0.99999999f, 9.9999999e-6f, 0.000012345678f, 99999999.0f};
    expect_text(carry, 4, "[1,9.99999975e-06,0.0000123456784,100000000]");
}

/* Reads the numbers back; checks that they are JSON's. */
static void expect_same(const float *vector, size_t n)
{
    struct kl_buffer out;
    kl_buffer_init(&out, 1 << 20);
    assert_int_equal(kl_vector_numbers(vector, n, &out), KL_OK);
    const char *at = out.data;
    assert_int_equal(*at++, '[');
    for (size_t i = 0; i < n; i++) {
        char *end;
        const char *digits = at + (*at == '-');
        assert_true(*digits >= '0' && *digits <= '9');
        assert_true(digits[0] != '0' || digits[1] < '0' || digits[1] > '9');
        float found = strtof(at, &end);
        if (found != vector[i])
            fail_msg("%.9g was written as %.*s", (double)vector[i], (int)(end - at), at);
        assert_int_equal(*end, i + 1 < n ? ',' : ']');
        at = end + 1;
    }
    assert_int_equal(*at, '\0');
    kl_buffer_release(&out);
}

static void numbers_read_back(void **state)
{
    (void)state;
    enum { N = 1000 };
    float vector[N];
    for (size_t round = 0; round < 400; round++) {
        for (size_t i = 0; i < N; i++) {
            vector[i] = float_of(random_bits()); /* of any size, or close to those of embeddings */
            if (round % 2 == 0 || !isfinite(vector[i]))
                vector[i] = ((float)random_bits() - 2147483648.0f) *
                            powf(0.1f, (float)(9 + random_bits() % 7));
        }
        expect_same(vector, N);
    }
    const float edges[] = {FLT_MAX,
                           -FLT_MAX,
                           FLT_MIN,
                           FLT_TRUE_MIN,
                           1e-5f,
                           1e8f,
                           nextafterf(1e-5f, 0),
                           nextafterf(1e8f, 0),
                           nextafterf(1, 0)};
    expect_same(edges, sizeof edges / sizeof *edges);
}

static void base64_is_right(void **state)
{
    (void)state;
    static const struct {
        float vector[3];
        size_t n;
        const char *text;
    } cases[] = {{{0}, 0, "\"\""},
                 {{1.0f}, 1, "\"AACAPw==\""},
                 {{1.0f, -2.0f}, 2, "\"AACAPwAAAMA=\""},
                 {{1.0f, -2.0f, 0.1f}, 3, "\"AACAPwAAAMDNzMw9\""}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct kl_buffer out;
        kl_buffer_init(&out, 1 << 20);
        assert_int_equal(kl_vector_base64(cases[i].vector, cases[i].n, &out), KL_OK);
        assert_string_equal(out.data, cases[i].text);
        kl_buffer_release(&out);
    }
}

static void too_little_room(void **state)
{
    (void)state;
    float vector[500];
    for (size_t i = 0; i < 500; i++)
        vector[i] = 0.123456f;
    for (size_t room = 0; room < 1000; room += 7) {
        struct kl_buffer out;
        kl_buffer_init(&out, room);
        assert_int_equal(kl_vector_numbers(vector, 500, &out), KL_ERR_LIMIT);
        assert_int_equal(kl_vector_base64(vector, 500, &out), KL_ERR_LIMIT);
        assert_int_equal(out.len, 0);
        kl_buffer_release(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_short),
        cmocka_unit_test(numbers_read_back),
        cmocka_unit_test(base64_is_right),
        cmocka_unit_test(too_little_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
