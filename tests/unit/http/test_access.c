#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "http/access.h"

static struct sockaddr_storage address(const char *text)
{
    struct sockaddr_storage out = {0};
    struct sockaddr_in *v4 = (struct sockaddr_in *)&out;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&out;
    if (inet_pton(AF_INET, text, &v4->sin_addr) == 1)
        out.ss_family = AF_INET;
    else if (inet_pton(AF_INET6, text, &v6->sin6_addr) == 1)
        out.ss_family = AF_INET6;
    assert_int_not_equal(out.ss_family, 0);
    return out;
}

static enum kl_status open_access(struct kl_access *access, const char *bound_host,
                                  const char *const *hosts, size_t n_hosts,
                                  const struct kl_api_key *keys, size_t n_keys,
                                  struct kl_error *err)
{
    const struct kl_access_options options = {.own_hosts = &bound_host,
                                              .n_own_hosts = 1,
                                              .hosts = hosts,
                                              .n_hosts = n_hosts,
                                              .api_keys = keys,
                                              .n_api_keys = n_keys};
    return kl_access_init(access, &options, err);
}

static void test_split_authority(void **state)
{
    (void)state;
    const struct {
        const char *text, *host, *port; /* host NULL: not an authority */
    } cases[] = {
        {"localhost", "localhost", ""},
        {"LocalHost:80", "localhost", "80"},
        {"box.lan.", "box.lan", ""},
        {"1.2.3.4:65535", "1.2.3.4", "65535"},
        {"[::1]", "::1", ""},
        {"[FE80::1]:7860", "fe80::1", "7860"},
        {"a:", "a", ""},
        {"", NULL, NULL},
        {":80", NULL, NULL},
        {"[::1", NULL, NULL},
        {"[::1]x", NULL, NULL},
        {"[]", NULL, NULL},
        {"a:b", NULL, NULL},
        {"a:123456", NULL, NULL},
        {"a b", NULL, NULL},
        {"a@b", NULL, NULL},
        {"a/b", NULL, NULL},
        {"a\\b", NULL, NULL},
        {"a?b", NULL, NULL},
        {"a#b", NULL, NULL},
        {"a\x7f", NULL, NULL},
        {"\xe4\xbd\xa0", NULL, NULL},
        {"a:1:2", NULL, NULL},
        {"::1", NULL, NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char host[32], port[6];
        bool ok = kl_split_authority(cases[i].text, host, sizeof host, port);
        assert_int_equal(ok, cases[i].host != NULL);
        if (ok) {
            assert_string_equal(host, cases[i].host);
            assert_string_equal(port, cases[i].port);
        }
    }
    char small[4], port[6];
    assert_true(kl_split_authority("abc", small, sizeof small, port));
    assert_false(kl_split_authority("abcd", small, sizeof small, port));
}

static void test_hosts(void **state)
{
    (void)state;
    const char *const names[] = {"Box.lan", "fd00::7"};
    struct kl_access access;
    struct kl_error err;
    assert_int_equal(open_access(&access, "192.168.1.5", names, 2, NULL, 0, &err), KL_OK);
    struct sockaddr_storage local = address("10.0.0.7");
    const struct sockaddr *own = (const struct sockaddr *)&local;
    const char *const good[] = {"localhost",   "LOCALHOST:1",   "127.0.0.1",         "127.9.9.9",
                                "[::1]:80",    "10.0.0.7:7860", "[::ffff:10.0.0.7]", "box.LAN.:80",
                                "192.168.1.5", "[fd00::7]",     "[fd00:0::7]:1"};
    const char *const bad[] = {"evil",           "box.lan.evil", "xbox.lan",  "10.0.0.8",
                               "[::2]",          "0.0.0.0",      "[::]",      "",
                               "localhost@evil", "8.8.8.8",      "2130706433"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        /* a literal in another spelling than the configured one does not match */
        bool other_form = strcmp(good[i], "[fd00:0::7]:1") == 0;
        assert_int_equal(kl_host_allowed(&access, good[i], own), !other_form);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(kl_host_allowed(&access, bad[i], own));

    /* the same IPv4 address, on a socket of both families */
    local = address("::ffff:10.0.0.7");
    assert_true(kl_host_allowed(&access, "10.0.0.7", own));
    assert_false(kl_host_allowed(&access, "10.0.0.8", own));
    kl_access_release(&access);
}

static void test_origins(void **state)
{
    (void)state;
    assert_true(kl_origin_is_own("http://localhost:7860", "localhost:7860"));
    assert_true(kl_origin_is_own("HTTP://LocalHost:7860", "localhost:7860"));
    assert_true(kl_origin_is_own("http://box.lan", "box.lan"));
    assert_true(kl_origin_is_own("http://box.lan", "box.lan:80"));
    assert_true(kl_origin_is_own("https://box.lan", "box.lan"));
    assert_true(kl_origin_is_own("https://box.lan:443", "box.lan"));
    assert_true(kl_origin_is_own("http://[::1]:7860", "[::1]:7860"));
    assert_false(kl_origin_is_own("http://localhost", "localhost:7860"));
    assert_false(kl_origin_is_own("http://localhost:7861", "localhost:7860"));
    assert_false(kl_origin_is_own("http://127.0.0.1:7860", "localhost:7860"));
    assert_false(kl_origin_is_own("http://localhost.evil:7860", "localhost:7860"));
    assert_false(kl_origin_is_own("http://localhost:7860.evil", "localhost:7860"));
    assert_false(kl_origin_is_own("null", "null"));
    assert_false(kl_origin_is_own("", ""));
    assert_false(kl_origin_is_own("file://", "localhost"));
    assert_false(kl_origin_is_own("localhost:7860", "localhost:7860"));
}

/* The status with which a request with these lines is refused; 200: accepted. */
static int judge_with(const struct kl_access *access, const char *first, const char *lines,
                      bool works)
{
    char text[2048];
    struct kl_http_head head;
    struct kl_api_error error;
    int len =
        snprintf(text, sizeof text, "%s HTTP/1.1\r\nHost: box.lan:7860\r\n%s\r\n", first, lines);
    assert_int_equal(kl_http_head_parse(&head, text, (size_t)len, &error), KL_OK);
    int status = kl_site_check(access, &head, works, &error) == KL_OK ? 200 : error.status;
    kl_http_head_release(&head);
    if (status != 200)
        assert_string_equal(error.code, "origin_not_allowed");
    return status;
}

static int judge(const char *first, const char *lines, bool works)
{
    static const struct kl_access access;
    return judge_with(&access, first, lines, works);
}

#define BROWSER "User-Agent: Mozilla/5.0 (X11)\r\nAccept-Language: en\r\n"

static void test_sites(void **state)
{
    (void)state;
    const struct {
        const char *lines;
        int get, form, json, reads; /* a GET and POSTs that begin work, and a GET that does not */
    } cases[] = {
        /* not a browser */
        {"", 200, 200, 200, 200},
        {"User-Agent: curl/8.5.0\r\nAccept: */*\r\n", 200, 200, 200, 200},
        {"User-Agent: node\r\nSec-Fetch-Mode: cors\r\nAccept-Language: *\r\n", 403, 403, 200, 200},
        {"User-Agent: Mozilla/5.0 PowerShell/7\r\n", 403, 403, 200, 200},
        {"User-Agent: bot (like Mozilla/5.0)\r\n", 403, 403, 200, 200},
        {"Accept-Language: de\r\n", 403, 403, 200, 200},
        {"Accept-Language:\r\n", 403, 403, 200, 200},
        {"sec-fetch-dest: image\r\n", 403, 403, 200, 200},
        /* a browser, at an address that does not count as secure: no Sec-Fetch-* */
        {BROWSER, 403, 403, 200, 200},
        {BROWSER "Referer: http://evil.lan/\r\n", 403, 403, 200, 200},
        {BROWSER "Referer: http://box.lan:8080/\r\n", 403, 403, 200, 200},
        {BROWSER "Referer: http://box.lan/\r\n", 403, 403, 200, 200},
        {BROWSER "Referer: http://box.lan:7860.evil/\r\n", 403, 403, 200, 200},
        {BROWSER "Referer: http://evil.lan/?http://box.lan:7860/\r\n", 403, 403, 200, 200},
        {BROWSER "Referer: http://evil.lan#://box.lan:7860/\r\n", 403, 403, 200, 200},
        {BROWSER "Referer: http://box.lan:7860@evil.lan/\r\n", 403, 403, 200, 200},
        {BROWSER "Referer: box.lan:7860\r\n", 403, 403, 200, 200},
        {BROWSER "Referer:\r\n", 403, 403, 200, 200},
        {BROWSER "Referer: http://box.lan:7860/\r\n", 200, 200, 200, 200},
        {BROWSER "Referer: HTTP://Box.LAN:7860?x\r\n", 200, 200, 200, 200},
        {BROWSER "Referer: http://box.lan:7860/page/#part\r\n", 200, 200, 200, 200},
        {BROWSER "Origin: http://box.lan:7860\r\n", 200, 200, 200, 200},
        {BROWSER "Origin: http://evil.lan\r\n", 403, 403, 403, 403},
        {BROWSER "Origin: null\r\n", 403, 403, 403, 403},
        {BROWSER "Origin: null\r\nReferer: http://box.lan:7860/\r\n", 403, 403, 403, 403},
        {"Referer: http://evil.lan/\r\n", 403, 403, 200, 200},
        {"Origin:\r\n", 403, 403, 403, 403},
        /* and at one that does */
        {BROWSER "Sec-Fetch-Site: same-origin\r\n", 200, 200, 200, 200},
        {BROWSER "Sec-Fetch-Site: none\r\nSec-Fetch-User: ?1\r\n", 200, 200, 200, 200},
        {BROWSER "Sec-Fetch-Site: same-site\r\n", 403, 403, 403, 403},
        {BROWSER "Sec-Fetch-Site: cross-site\r\n", 403, 403, 403, 403},
        {BROWSER "Sec-Fetch-Site: cross-site\r\nReferer: http://box.lan:7860/\r\n", 403, 403, 403,
         403},
        {"Sec-Fetch-Site:\r\n", 403, 403, 403, 403},
        {"Sec-Fetch-Site: Same-Origin\r\n", 403, 403, 403, 403},
    };
    /* a page may send the first to other sites directly, the second after a preflight */
    static const char *const simple[] = {"",
                                         "Content-Type: text/plain\r\n",
                                         "Content-Type:\r\n",
                                         "Content-Type: application/jsonx\r\n",
                                         "Content-Type: application/x-www-form-urlencoded\r\n",
                                         "Content-Type: multipart/form-data; boundary=x\r\n",
                                         "Content-Type: text/plain; application/json\r\n"};
    static const char *const json[] = {"Content-Type: application/json\r\n",
                                       "content-type: Application/JSON;charset=utf-8\r\n"};
    char lines[1024];
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        print_message("%s\n", cases[i].lines);
        assert_int_equal(judge("GET /chat?prompt=x", cases[i].lines, true), cases[i].get);
        assert_int_equal(judge("HEAD /chat?prompt=x", cases[i].lines, true), cases[i].get);
        assert_int_equal(judge("GET /health", cases[i].lines, false), cases[i].reads);
        for (size_t k = 0; k < sizeof simple / sizeof simple[0]; k++) {
            snprintf(lines, sizeof lines, "%s%s", cases[i].lines, simple[k]);
            assert_int_equal(judge("POST /chat", lines, true), cases[i].form);
        }
        for (size_t k = 0; k < sizeof json / sizeof json[0]; k++) {
            snprintf(lines, sizeof lines, "%s%s", cases[i].lines, json[k]);
            assert_int_equal(judge("POST /chat", lines, true), cases[i].json);
        }
        /* a GET has no body: its type is ignored */
        snprintf(lines, sizeof lines, "%s%s", cases[i].lines, json[0]);
        assert_int_equal(judge("GET /chat?prompt=x", lines, true), cases[i].get);
    }
}

/* A Referer may have any length; only its origin is compared. */
static void test_long_referers(void **state)
{
    (void)state;
    for (size_t len = 1; len < 600; len++) {
        char lines[1024], name[600];
        memset(name, 'a', len);
        name[len] = '\0';
        snprintf(lines, sizeof lines, "Accept-Language: de\r\nReferer: http://%s\r\n", name);
        assert_int_equal(judge("GET /chat?prompt=x", lines, true), 403);
        snprintf(lines, sizeof lines, "Accept-Language: de\r\nReferer: http://box.lan:7860/%s\r\n",
                 name);
        assert_int_equal(judge("GET /chat?prompt=x", lines, true), 200);
    }
}

/* HTTP/1.0 may lack a Host: then no page can be the server's own. */
static void test_site_without_host(void **state)
{
    (void)state;
    static const char *const lines[] = {"Origin: http://box.lan\r\n",
                                        "Referer: http://box.lan/\r\n"};
    for (size_t i = 0; i < 2; i++) {
        char text[256];
        struct kl_http_head head;
        struct kl_api_error error;
        int len = snprintf(text, sizeof text, "GET /chat HTTP/1.0\r\n%s\r\n", lines[i]);
        assert_int_equal(kl_http_head_parse(&head, text, (size_t)len, &error), KL_OK);
        static const struct kl_access access;
        assert_int_not_equal(kl_site_check(&access, &head, true, &error), KL_OK);
        assert_int_equal(error.status, 403);
        kl_http_head_release(&head);
    }
}

/* An allowed origin may do what the server's own page may. */
static void test_allowed_origins(void **state)
{
    (void)state;
    static const char *const names[] = {"https://chat.example", "apps"};
    const struct kl_access_options options = {.origins = names, .n_origins = 2};
    struct kl_access access;
    struct kl_error err;
    assert_int_equal(kl_access_init(&access, &options, &err), KL_OK);
    const struct {
        const char *lines;
        int status;
    } cases[] = {
        {BROWSER "Origin: https://chat.example\r\nSec-Fetch-Site: cross-site\r\n", 200},
        {BROWSER "Origin: app://obsidian.md\r\nSec-Fetch-Site: cross-site\r\n", 200},
        {BROWSER "Origin: http://localhost:5173\r\nSec-Fetch-Site: same-site\r\n", 200},
        {BROWSER "Origin: http://localhost.evil.com\r\n", 403},
        {BROWSER "Origin: null\r\n", 403},
        /* without an Origin (an image, a link) its pages count as all others */
        {BROWSER "Referer: https://chat.example/\r\n", 403},
        {BROWSER "Sec-Fetch-Site: cross-site\r\n", 403},
        {BROWSER "Origin: http://box.lan:7860\r\n", 200},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        print_message("%s\n", cases[i].lines);
        assert_int_equal(judge_with(&access, "POST /chat", cases[i].lines, true), cases[i].status);
        assert_int_equal(judge_with(&access, "GET /chat", cases[i].lines, true), cases[i].status);
    }
    kl_access_release(&access);
}

static void test_host_patterns(void **state)
{
    (void)state;
    const char *const names[] = {"*.LAN", "*.box.example."};
    struct kl_access access;
    struct kl_error err;
    struct sockaddr_storage local = address("10.0.0.7");
    const struct sockaddr *own = (const struct sockaddr *)&local;
    assert_int_equal(open_access(&access, "127.0.0.1", names, 2, NULL, 0, &err), KL_OK);
    const char *const good[] = {"a.lan", "A.b.Lan:7860", "x.lan.", "pi.box.example"};
    const char *const bad[] = {"lan",    ".lan",          "alan",    "a.lan.evil", "box.example",
                               "*.evil", "a.boxxexample", "a.lan:x", "lan.a"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        assert_true(kl_host_allowed(&access, good[i], own));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(kl_host_allowed(&access, bad[i], own));
    kl_access_release(&access);

    const struct {
        const char *name, *said;
    } wrong[] = {{"*", "DNS rebinding"}, {"*.", "as in"},     {"*.*", "as in"},
                 {"*lan", "as in"},      {"a.*", "as in"},    {"a*b.lan", "as in"},
                 {"*.a*.lan", "as in"},  {"*..lan", "as in"}, {"**.lan", "as in"}};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        const char *const one[] = {wrong[i].name};
        assert_int_equal(open_access(&access, "::1", one, 1, NULL, 0, &err), KL_ERR_INVALID);
        assert_non_null(strstr(err.text, wrong[i].name));
        assert_non_null(strstr(err.text, wrong[i].said));
        assert_non_null(strstr(err.text, "*.lan"));
    }
}

static void test_keys(void **state)
{
    (void)state;
    const struct kl_api_key keys[] = {{"first", ""}, {"second key", "a"}, {"third", "second"}};
    struct kl_access access;
    struct kl_error err;
    assert_int_equal(open_access(&access, "127.0.0.1", NULL, 0, keys, 3, &err), KL_OK);
    for (size_t i = 0; i < 3; i++)
        assert_true(kl_key_allowed(&access, keys[i].key));
    const char *const wrong[] = {NULL, "", "firs", "first ", "FIRST", "second", "firstsecond key"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_false(kl_key_allowed(&access, wrong[i]));
    kl_access_release(&access);

    /* without keys all are allowed */
    assert_int_equal(open_access(&access, "::1", NULL, 0, NULL, 0, &err), KL_OK);
    assert_true(kl_key_allowed(&access, NULL));
    assert_true(kl_key_allowed(&access, "anything"));
    kl_access_release(&access);

    const struct kl_api_key empty[] = {{"good", ""}, {"", ""}};
    assert_int_equal(open_access(&access, "::1", NULL, 0, empty, 2, &err), KL_ERR_INVALID);
    const char *const host[] = {"not a name"};
    assert_int_equal(open_access(&access, "::1", host, 1, NULL, 0, &err), KL_ERR_INVALID);
    assert_non_null(strstr(err.text, "not a name"));
}

static void test_other_keys(void **state)
{
    (void)state;
    struct kl_access access;
    struct kl_error err;
    const struct kl_api_key before[] = {{"one-key", ""}, {"two-keys", ""}},
                            after[] = {{"new-key", ""}}, bad[] = {{"good", ""}, {"", ""}};
    assert_int_equal(open_access(&access, "127.0.0.1", NULL, 0, before, 2, &err), KL_OK);
    assert_int_equal(kl_access_set_keys(&access, bad, 2, &err), KL_ERR_INVALID);
    assert_true(kl_key_allowed(&access, "one-key"));
    assert_false(kl_key_allowed(&access, "good"));
    assert_int_equal(kl_access_set_keys(&access, after, 1, &err), KL_OK);
    assert_true(kl_key_allowed(&access, "new-key"));
    assert_false(kl_key_allowed(&access, "one-key"));
    assert_false(kl_key_allowed(&access, "two-keys"));
    kl_access_release(&access);
}

static void test_key_scope(void **state)
{
    (void)state;
    struct kl_access access, again;
    struct kl_error err;
    const struct kl_api_key keys[] = {{"first-key", ""}, {"second-key", ""}};
    assert_int_equal(open_access(&access, "::1", NULL, 0, NULL, 0, &err), KL_OK);
    assert_int_equal(kl_key_scope(&access, NULL), 0);
    assert_int_equal(kl_key_scope(&access, "first-key"), 0);
    kl_access_release(&access);

    assert_int_equal(open_access(&access, "::1", NULL, 0, keys, 2, &err), KL_OK);
    assert_int_equal(open_access(&again, "::1", NULL, 0, keys, 1, &err), KL_OK);
    uint64_t first = kl_key_scope(&access, "first-key");
    assert_true(first != 0 && first != kl_key_scope(&access, "second-key"));
    assert_true(first == kl_key_scope(&again, "first-key")); /* after a restart, with other keys */
    /* the pages on disk are found by it: printf 'kinglet prefix cache\0first-key' | sha256sum */
    assert_true(first == 0xf26db7338c4d9058u);
    assert_true(kl_key_scope(&access, "third-key") == 0 && kl_key_scope(&access, NULL) == 0);
    kl_access_release(&access);
    kl_access_release(&again);
}

static void test_scope_of_a_name(void **state)
{
    (void)state;
    struct kl_access access;
    struct kl_error err;
    const struct kl_api_key before[] = {{"annas-old-key", "anna"}, {"bobs-key", "bob"}};
    const struct kl_api_key after[] = {{"annas-new-key", "anna"},
                                       {"annas-phone", "anna"},
                                       {"annas-old-key", ""},
                                       {"anna", ""},
                                       {"bobs-key", "bob"}};
    assert_int_equal(open_access(&access, "::1", NULL, 0, before, 2, &err), KL_OK);
    uint64_t anna = kl_key_scope(&access, "annas-old-key"), bob = kl_key_scope(&access, "bobs-key");
    /* what is kept on disk is found by it: printf 'kinglet name of a key\0anna' | sha256sum */
    assert_true(anna == 0x0661fb147ac88222u);
    assert_true(bob != 0 && bob != anna);
    assert_int_equal(kl_access_set_keys(&access, after, 5, &err), KL_OK);
    assert_true(kl_key_scope(&access, "annas-new-key") == anna);
    assert_true(kl_key_scope(&access, "annas-phone") == anna);
    assert_true(kl_key_scope(&access, "bobs-key") == bob);
    /* neither a key that lost its name nor one that reads like a name */
    assert_true(kl_key_scope(&access, "annas-old-key") != anna);
    assert_true(kl_key_scope(&access, "anna") != anna);
    kl_access_release(&access);
}

static void test_bearer(void **state)
{
    (void)state;
    assert_string_equal(kl_bearer_key("Bearer abc"), "abc");
    assert_string_equal(kl_bearer_key("bearer  abc"), "abc");
    assert_string_equal(kl_bearer_key("Bearer "), "");
    assert_null(kl_bearer_key("Basic abc"));
    assert_null(kl_bearer_key("Bearerabc"));
    assert_null(kl_bearer_key(""));
    assert_null(kl_bearer_key(NULL));
}

static void test_loopback(void **state)
{
    (void)state;
    const char *const loopback[] = {"127.0.0.1", "127.255.255.254", "::1", "::ffff:127.0.0.1"};
    const char *const other[] = {"0.0.0.0",   "::",      "10.0.0.1",
                                 "128.0.0.1", "fe80::1", "::ffff:10.0.0.1"};
    for (size_t i = 0; i < sizeof loopback / sizeof loopback[0]; i++) {
        struct sockaddr_storage a = address(loopback[i]);
        assert_true(kl_is_loopback((const struct sockaddr *)&a));
    }
    for (size_t i = 0; i < sizeof other / sizeof other[0]; i++) {
        struct sockaddr_storage a = address(other[i]);
        assert_false(kl_is_loopback((const struct sockaddr *)&a));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_split_authority),
        cmocka_unit_test(test_hosts),
        cmocka_unit_test(test_origins),
        cmocka_unit_test(test_sites),
        cmocka_unit_test(test_long_referers),
        cmocka_unit_test(test_site_without_host),
        cmocka_unit_test(test_allowed_origins),
        cmocka_unit_test(test_host_patterns),
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_other_keys),
        cmocka_unit_test(test_key_scope),
        cmocka_unit_test(test_scope_of_a_name),
        cmocka_unit_test(test_bearer),
        cmocka_unit_test(test_loopback),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
