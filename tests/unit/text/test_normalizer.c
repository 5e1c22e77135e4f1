/* src/text/normalizer.c. Against the reference: tests/fidelity/test_tokenizer.py */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "text/normalizer.h"

#define ACUTE     "\xCC\x81" /* U+0301, class 230 */
#define DOT_BELOW "\xCC\xA3" /* U+0323, class 220 */
#define REPLACED  "\xEF\xBF\xBD"

static struct kl_char_classes classes;

static void assert_nfc(const char *text, const char *expected)
{
    struct kl_buffer out;
    kl_buffer_init(&out, 1000);
    assert_int_equal(kl_normalize(&classes, text, strlen(text), &out), KL_OK);
    assert_string_equal(out.data, expected);
    kl_buffer_release(&out);
}

static void what_is_nfc_already_stays(void **state)
{
    (void)state;
    assert_nfc("", "");
    assert_nfc("plain text, long enough for whole words",
               "plain text, long enough for whole words");
    assert_nfc("é 你好 각 👨‍👩‍👧 ก็",
               "é 你好 각 👨‍👩‍👧 ก็");
}

static void signs_join_their_letter(void **state)
{
    (void)state;
    assert_nfc("e" ACUTE, "é");
    assert_nfc("xye" ACUTE "z" ACUTE "中e" ACUTE, "xyéź中é");
    assert_nfc(ACUTE "e", ACUTE "e");
    assert_nfc("e" ACUTE DOT_BELOW, "ẹ" ACUTE);
    assert_nfc("é" DOT_BELOW, "ẹ" ACUTE);
    assert_nfc("\xE1\x84\x80\xE1\x85\xA1\xE1\x86\xA8", "각");
    assert_nfc("\xE2\x84\xAB", "Å");              /* the sign of the unit */
    assert_nfc("क\xE0\xA4\xBC", "क\xE0\xA4\xBC"); /* excluded from composition */
}

static void what_is_not_utf8_is_replaced(void **state)
{
    (void)state;
    assert_nfc("a\xFF", "a" REPLACED);
    assert_nfc("\xE4\xBD"
               "b\xC0\xAF",
               REPLACED "b" REPLACED REPLACED);
    assert_nfc("e\xFF" ACUTE, "e" REPLACED ACUTE);
    assert_nfc("e" ACUTE "\xFF"
               "e" ACUTE,
               "é" REPLACED "é");
}

/* A sign newer than the reference's Unicode (U+1E130, class 230) is no sign: what stands behind it
 * does not move before it. */
static void newer_signs_do_not_move(void **state)
{
    (void)state;
    assert_nfc("a\xF0\x9E\x84\xB0" DOT_BELOW, "a\xF0\x9E\x84\xB0" DOT_BELOW);
}

/* utf8proc's own ordering would take an hour for this. */
static void a_megabyte_of_signs_is_sorted(void **state)
{
    (void)state;
    const size_t n = 250000;
    struct kl_buffer text, out;
    kl_buffer_init(&text, 1 << 20);
    kl_buffer_init(&out, 1 << 20);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(kl_buffer_append(&text, ACUTE DOT_BELOW, 4), KL_OK);
    assert_int_equal(kl_normalize(&classes, text.data, text.len, &out), KL_OK);
    assert_int_equal(out.len, text.len);
    for (size_t i = 0; i < n; i++) {
        assert_memory_equal(out.data + 2 * i, DOT_BELOW, 2);
        assert_memory_equal(out.data + 2 * (n + i), ACUTE, 2);
    }
    kl_buffer_release(&text);
    kl_buffer_release(&out);
}

static void stops_at_the_cap(void **state)
{
    (void)state;
    struct kl_buffer out;
    kl_buffer_init(&out, 4);
    assert_int_equal(kl_normalize(&classes, "12345", 5, &out), KL_ERR_LIMIT);
    assert_int_equal(kl_normalize(&classes, "123\xFF", 4, &out), KL_ERR_LIMIT);
    kl_buffer_clear(&out);
    assert_int_equal(kl_normalize(&classes, "123e" ACUTE, 6, &out), KL_ERR_LIMIT);
    kl_buffer_release(&out);
}

static int prepare(void **state)
{
    (void)state;
    return kl_char_classes_init(&classes, NULL) == KL_OK ? 0 : -1;
}

static int finish(void **state)
{
    (void)state;
    kl_char_classes_release(&classes);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_nfc_already_stays),     cmocka_unit_test(signs_join_their_letter),
        cmocka_unit_test(what_is_not_utf8_is_replaced),  cmocka_unit_test(newer_signs_do_not_move),
        cmocka_unit_test(a_megabyte_of_signs_is_sorted), cmocka_unit_test(stops_at_the_cap),
    };
    return cmocka_run_group_tests(tests, prepare, finish);
}
