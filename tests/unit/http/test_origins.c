#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "http/origins.h"

static struct kl_origins open_origins(const char *const *names, size_t n)
{
    struct kl_origins origins;
    struct kl_error err;
    assert_int_equal(kl_origins_init(&origins, names, n, &err), KL_OK);
    return origins;
}

static void test_none(void **state)
{
    (void)state;
    struct kl_origins origins = open_origins(NULL, 0);
    assert_false(kl_origins_any(&origins));
    assert_int_equal(kl_origins_find(&origins, "http://localhost"), KL_ORIGIN_OTHER);
    assert_int_equal(kl_origins_find(&origins, ""), KL_ORIGIN_OTHER);
    kl_origins_release(&origins);
}

static void test_exact(void **state)
{
    (void)state;
    static const char *const names[] = {"https://Chat.Example:443", "http://box.lan:3000",
                                        "http://[fd00::7]:80", "app://obsidian.md", "file://"};
    struct kl_origins origins = open_origins(names, 5);
    assert_true(kl_origins_any(&origins));
    static const char *const good[] = {"https://chat.example",
                                       "https://chat.example:443",
                                       "HTTPS://CHAT.example",
                                       "http://box.lan:3000",
                                       "http://[fd00::7]",
                                       "app://obsidian.md",
                                       "file://"};
    static const char *const bad[] = {"http://chat.example",
                                      "https://chat.example:80",
                                      "https://chat.example.evil",
                                      "https://chat.example/",
                                      "https://xchat.example",
                                      "https://chat.example:443.evil",
                                      "http://box.lan",
                                      "http://box.lan:30000",
                                      "http://box.lan:3000@evil",
                                      "http://localhost:3000",
                                      "app://obsidian.md.evil",
                                      "app://other",
                                      "null",
                                      "",
                                      "https://",
                                      "chat.example",
                                      "file:///etc",
                                      "https://chat.example evil",
                                      "https://chat.example:"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        assert_int_equal(kl_origins_find(&origins, good[i]), KL_ORIGIN_EXACT);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        print_message("%s\n", bad[i]);
        assert_int_equal(kl_origins_find(&origins, bad[i]), KL_ORIGIN_OTHER);
    }
    kl_origins_release(&origins);
}

static void test_apps(void **state)
{
    (void)state;
    static const char *const names[] = {"apps"};
    struct kl_origins origins = open_origins(names, 1);
    static const char *const good[] = {"app://obsidian.md",
                                       "app://-",
                                       "tauri://localhost",
                                       "file://",
                                       "vscode-webview://0abcd1e2",
                                       "vscode-file://vscode-app",
                                       "chrome-extension://abcdefghijklmnop",
                                       "moz-extension://0d1e-2f",
                                       "http://localhost",
                                       "http://localhost:5173",
                                       "https://localhost:8443",
                                       "http://127.0.0.1:3000",
                                       "http://[::1]:3000",
                                       "http://tauri.localhost"};
    static const char *const bad[] = {"http://localhost.evil.com",
                                      "http://localhost.evil.com:80",
                                      "http://evil.localhost.com",
                                      "http://xlocalhost",
                                      "http://127.0.0.1.evil.com",
                                      "http://127.0.0.11",
                                      "http://localhost@evil.com",
                                      "http://localhost:80@evil.com",
                                      "http://localhost:80.evil.com",
                                      "http://localhost:",
                                      "https://app",
                                      "application://x",
                                      "xtauri://localhost",
                                      "extension://x",
                                      "-extension://x",
                                      "vscode://x",
                                      "http://app://x",
                                      "null",
                                      "",
                                      "://",
                                      "app://a b",
                                      "app://a\"b"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        print_message("%s\n", good[i]);
        assert_int_equal(kl_origins_find(&origins, good[i]), KL_ORIGIN_OF_GROUP);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        print_message("%s\n", bad[i]);
        assert_int_equal(kl_origins_find(&origins, bad[i]), KL_ORIGIN_OTHER);
    }
    char longest[600] = "app://";
    memset(longest + 6, 'a', 500);
    assert_int_equal(kl_origins_find(&origins, longest), KL_ORIGIN_OTHER);
    kl_origins_release(&origins);
}

static void test_refused(void **state)
{
    (void)state;
    static const char *const wrong[] = {"*",
                                        "null",
                                        "chat.example",
                                        "https://chat.example/",
                                        "https://chat.example/path",
                                        "https://*.example",
                                        "http://",
                                        "",
                                        "app",
                                        "https://user@chat.example",
                                        "https://chat.example:port"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct kl_origins origins;
        struct kl_error err;
        const char *const names[] = {"https://good.example", wrong[i]};
        assert_int_equal(kl_origins_init(&origins, names, 2, &err), KL_ERR_INVALID);
        assert_non_null(strstr(err.text, wrong[i]));
        assert_non_null(strstr(err.text, "https://chat.example"));
        kl_origins_release(&origins);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_none),
        cmocka_unit_test(test_exact),
        cmocka_unit_test(test_apps),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
