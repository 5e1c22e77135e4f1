#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "server/routes.h"

static const struct kl_route *find(const char *path)
{
    return kl_route_find(&kl_server_routes, path);
}

static void test_find(void **state)
{
    (void)state;
    const struct kl_route *chat = find("/v1/chat/completions");
    assert_non_null(chat);
    assert_ptr_equal(chat, find("/chat/completions"));
    assert_int_equal(chat->methods, KL_POST);
    const struct kl_route *native = find("/chat");
    assert_non_null(native);
    assert_ptr_not_equal(chat, native);
    const struct kl_route *models = find("/v1/models");
    assert_non_null(models);
    assert_ptr_equal(models, find("/models"));
    assert_ptr_equal(models, find("/v1/models/vendor/name"));
    assert_non_null(find("/health"));
    assert_non_null(find("/"));
    const char *const none[] = {"/v1",           "/v1/chat",  "/v1/health", "/chat/x",
                                "/modelsx",      "/health/x", "/nothing",   "/chat/completions/x",
                                "/../etc/passwd"};
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++)
        assert_null(find(none[i]));
    /* what costs something or tells something wants a key, where there are keys */
    assert_int_equal(chat->flags & KL_ROUTE_OPEN, 0);
    assert_int_equal(native->flags & KL_ROUTE_OPEN, 0);
    assert_int_equal(models->flags & KL_ROUTE_OPEN, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_find),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
