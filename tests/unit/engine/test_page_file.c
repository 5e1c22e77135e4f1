/* src/engine/page_file.c: names of pages. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "engine/page_file.h"

static struct kl_page_key key_of(uint8_t first)
{
    struct kl_page_key key;
    for (size_t i = 0; i < KL_PAGE_KEY_SIZE; i++)
        key.bytes[i] = (uint8_t)(first + 37 * i);
    return key;
}

static void a_name_has_the_keys_of_its_page(void **state)
{
    (void)state;
    struct kl_page_key key = key_of(0x0f), parent = key_of(0xa9), found, before;
    char name[KL_PAGE_NAME_SIZE];
    kl_page_name(&key, &parent, name);
    assert_int_equal(strlen(name), KL_PAGE_NAME_SIZE - 1);
    assert_true(kl_page_name_parse(name, &found, &before));
    assert_memory_equal(&found, &key, sizeof key);
    assert_memory_equal(&before, &parent, sizeof parent);
    assert_false(kl_page_name_is_old(name));
}

/* A page has one name: its digits are 0 to 9 and a to f only. */
static void no_other_name_is_a_page(void **state)
{
    (void)state;
    struct kl_page_key key = key_of(1), parent = key_of(2), found, before;
    char name[KL_PAGE_NAME_SIZE + 1];
    kl_page_name(&key, &parent, name);
    const size_t dash = 2 * KL_PAGE_KEY_SIZE;
    for (size_t at = 0; at <= 2 * dash; at++) {
        char was = name[at];
        for (int c = 1; c < 256; c++) {
            name[at] = (char)c;
            bool digit = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
            assert_int_equal(kl_page_name_parse(name, &found, &before),
                             at == dash ? c == '-' : digit);
        }
        name[at] = was;
    }
    strcat(name, "x");
    assert_false(kl_page_name_parse(name, &found, &before));
    name[strlen(name) - 2] = '\0';
    assert_false(kl_page_name_parse(name, &found, &before));
    assert_false(kl_page_name_parse("", &found, &before));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_name_has_the_keys_of_its_page),
        cmocka_unit_test(no_other_name_is_a_page),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
