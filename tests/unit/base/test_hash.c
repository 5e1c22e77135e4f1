/* src/base/hash.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/hash.h"

static void sha256(const void *data, size_t len, char hex[65])
{
    struct kl_sha256 h;
    kl_sha256_init(&h);
    kl_sha256_update(&h, data, len);
    kl_sha256_finish_hex(&h, hex);
}

/* From FIPS 180-4's examples. */
static void sha256_known_answers(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *hex;
    } cases[] = {
        {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
        {"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmn"
         "hijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu",
         "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1"},
    };
    char hex[65];
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        sha256(cases[i].text, strlen(cases[i].text), hex);
        assert_string_equal(hex, cases[i].hex);
    }
    char *million = malloc(1000000);
    assert_non_null(million);
    memset(million, 'a', 1000000);
    sha256(million, 1000000, hex);
    free(million);
    assert_string_equal(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

static void sha256_does_not_depend_on_the_pieces(void **state)
{
    (void)state;
    uint8_t data[200];
    char whole[65], pieces[65];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i * 37);
    for (size_t len = 0; len <= sizeof data; len++) {
        sha256(data, len, whole);
        for (size_t step = 1; step <= 70; step += 3) {
            struct kl_sha256 h;
            kl_sha256_init(&h);
            for (size_t at = 0; at < len; at += step)
                kl_sha256_update(&h, data + at, step < len - at ? step : len - at);
            kl_sha256_finish_hex(&h, pieces);
            assert_string_equal(pieces, whole);
        }
    }
}

/* Stored files contain these values: they must not change. */
static void hash64_stays_the_same(void **state)
{
    (void)state;
    static const char text[] = "the quick brown fox";
    assert_true(kl_hash64("", 0, 0) == 0x8570e250fe4c2473u);
    assert_true(kl_hash64(text, 19, 0) == 0x10cfe98072a9bd5u);
    assert_true(kl_hash64(text, 19, 1) == 0x5f0dd3ceb0aa0df1u);
}

static void hash64_sees_every_bit_and_the_length(void **state)
{
    (void)state;
    uint8_t data[24] = {0};
    for (size_t len = 1; len <= sizeof data; len++) {
        uint64_t zero = kl_hash64(data, len, 0);
        assert_true(zero != kl_hash64(data, len - 1, 0));
        assert_true(zero != kl_hash64(data, len, 7));
        for (size_t bit = 0; bit < 8 * len; bit++) {
            data[bit / 8] = (uint8_t)(1 << (bit % 8));
            assert_true(zero != kl_hash64(data, len, 0));
            data[bit / 8] = 0;
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sha256_known_answers),
        cmocka_unit_test(sha256_does_not_depend_on_the_pieces),
        cmocka_unit_test(hash64_stays_the_same),
        cmocka_unit_test(hash64_sees_every_bit_and_the_length),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
