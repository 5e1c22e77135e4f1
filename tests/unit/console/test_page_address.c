#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "console/page_address.h"

static void test_given_urls(void **state)
{
    (void)state;
    struct kl_error err;
    char url[KL_PAGE_URL];
    const struct {
        const char *text, *url; /* NULL: refused */
    } cases[] = {
        {"http://box.local:7860", "http://box.local:7860"},
        {"https://chat.example/", "https://chat.example"},
        {"http://[fd00::7]:80/kinglet//", "http://[fd00::7]:80/kinglet"},
        {"http://", NULL},
        {"http:///", NULL},
        {"http://:7860", NULL},
        {"box:7860", NULL},
        {"ftp://box", NULL},
        {"", NULL},
        {"http://box/#x", NULL},
        {"http://box/?key=1", NULL},
        {"http://box /", NULL},
        {"http://box\n", NULL},
        {"http://b\xC3\xBCro", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        enum kl_status status = kl_page_url_read(cases[i].text, url, &err);
        assert_int_equal(status, cases[i].url != NULL ? KL_OK : KL_ERR_INVALID);
        if (cases[i].url != NULL)
            assert_string_equal(url, cases[i].url);
        else
            assert_non_null(strstr(err.text, "--url"));
    }
    char text[KL_PAGE_URL + 1] = "http://";
    memset(text + 7, 'a', sizeof text - 8);
    text[KL_PAGE_URL] = '\0';
    assert_int_equal(kl_page_url_read(text, url, &err), KL_ERR_INVALID);
    text[KL_PAGE_URL - 1] = '\0';
    assert_int_equal(kl_page_url_read(text, url, &err), KL_OK);
}

/* tests/api/test_keys.py has computers with and without a network. */
static void test_in_a_container(void **state)
{
    (void)state;
    char url[KL_PAGE_URL];
    setenv("container", "oci", 1);
    assert_false(kl_page_address(url));
    assert_string_equal(url, "http://127.0.0.1:7860");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_given_urls),
        cmocka_unit_test(test_in_a_container),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
