#include "schema/formats.h"

#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

#include "grammar/regex.h"

static bool matches(const char *name, const char *text)
{
    const char *pattern = kl_format_pattern(name);
    struct kl_regex *regex;
    struct kl_regex_run *run;
    struct kl_error err = {0};
    if (pattern == NULL)
        fail_msg("format %s is unknown", name);
    if (kl_regex_compile(pattern, strlen(pattern), KL_REGEX_WHOLE, &regex, &err) != KL_OK)
        fail_msg("format %s: %s", name, err.text);
    assert_int_equal(kl_regex_run_open(regex, &run, NULL), KL_OK);
    uint32_t state = kl_regex_run_start(run);
    for (size_t i = 0; text[i] != '\0'; i++)
        state = kl_regex_run_step(run, state, (uint8_t)text[i]);
    bool result = kl_regex_run_accepts(run, state);
    kl_regex_run_close(run);
    kl_regex_free(regex);
    return result;
}

static void formats_judge_texts(void **state)
{
    (void)state;
    static const struct {
        const char *name, *yes[6], *no[9];
    } rows[] = {
        {"date",
         {"2024-02-29", "2000-02-29", "1999-12-31", "0001-01-01", "2023-04-30"},
         {"2023-02-29", "1900-02-29", "2023-04-31", "2023-13-01", "2023-00-10", "2023-01-00",
          "23-01-01", "2023-1-1", "2023-01-01T"}},
        {"time",
         {"00:00:00Z", "23:59:59.123z", "12:00:00+05:30", "12:00:00-23:59"},
         {"24:00:00Z", "12:60:00Z", "12:00:00", "12:00Z", "12:00:00+24:00", "12:00:00.Z"}},
        {"date-time",
         {"2024-02-29T23:59:59Z", "1990-12-31t15:59:50.1-08:00"},
         {"2023-02-29T00:00:00Z", "2023-02-28", "2023-02-28 00:00:00Z", "2023-02-28T00:00:00"}},
        {"duration",
         {"P1Y2M3DT4H5M6S", "P4W", "PT1H", "P1M", "PT36H", "P1YT1S"},
         {"P", "PT", "P1D2H", "1D", "P1W1D", "P2D1Y", "P1YT", "PT1D", "P1H"}},
        {"email",
         {"a@b", "joe.bloggs+x@example.com", "\"joe bloggs\"@x.org", "a@[127.0.0.1]",
          "a@[IPv6:::1]"},
         {"a", "@b", "a@", ".a@b", "a.@b", "a..b@c", "a b@c", "a@[127.0.0.300]", "a@-b"}},
        {"idn-email", {"실례@실례.테스트", "a@b"}, {"2962", "@실례"}},
        {"hostname",
         {"a", "www.example.com", "xn--4gbwdl.xn--wgbh1c", "1host",
          "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijk.com"},
         {"", "-a", "a-", "a_b", "a..b", ".a", "é.com",
          "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijkl.com"}},
        {"ipv4",
         {"0.0.0.0", "255.255.255.255", "192.168.1.9"},
         {"256.0.0.1", "1.2.3", "1.2.3.4.5", "01.2.3.4", "1.2.3.4/24", "0x7f.0.0.1"}},
        {"ipv6",
         {"::", "::1", "1::", "1:2:3:4:5:6:7:8", "::ffff:192.168.0.1", "1:2::7:8"},
         {":", "1:2:3:4:5:6:7", "1::2::3", "12345::", "::g", "1:2:3:4:5:6:7:8:9", "fe80::a%eth1",
          "::256.1.1.1", "1:2:3:4:5:6:7::8:9"}},
        {"uri",
         {"http://example.com/a?b=c#d", "urn:a:b", "mailto:a@b.c", "http://u:p@[::1]:80/",
          "a:", "file:///x"},
         {"", "//a/b", "/a", "a", "http://a b", "1a:b", "http://x/%zz", "http://[1::2::3]/",
          "http://é/"}},
        {"uri-reference",
         {"", "//a/b", "/a?b#c", "a/b:c", "#x", "http://a"},
         {"\\a", "a b", "#a\\b", "1a:b", "%"}},
        {"iri", {"http://ƒøø.ßår/?∂éœ=πîx#πîüx"}, {"/abc", "http://a b"}},
        {"iri-reference", {"/âππ", "#ƒrägmênt", ""}, {"\\\\filëßåré"}},
        {"uri-template",
         {"http://a/{b}", "{+x,y*}", "{?q:30}", "a"},
         {"{", "}", "{a", "{}", "a b", "{a:0}"}},
        {"uuid",
         {"2EB8AA08-aa98-11ea-b4aa-73b441d16380"},
         {"2eb8aa08aa9811eab4aa73b441d16380", "2eb8aa08-aa98-11ea-b4aa-73b441d1638",
          "2eb8aa08-aa98-11ea-b4aa-73b441d1638g"}},
        {"json-pointer", {"", "/", "/a~0b/~1", "/é"}, {"a", "/~", "/~2", "#/a"}},
        {"relative-json-pointer", {"0", "1/a", "0#", "12"}, {"", "/a", "01", "-1", "0##", "1#/a"}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        for (size_t k = 0; k < 6 && rows[i].yes[k] != NULL; k++)
            if (!matches(rows[i].name, rows[i].yes[k]))
                fail_msg("%s does not allow \"%s\"", rows[i].name, rows[i].yes[k]);
        for (size_t k = 0; k < 9 && rows[i].no[k] != NULL; k++)
            if (matches(rows[i].name, rows[i].no[k]))
                fail_msg("%s allows \"%s\"", rows[i].name, rows[i].no[k]);
    }
}

static void unknown_formats_assert_nothing(void **state)
{
    (void)state;
    static const char *const unknown[] = {"int32", "color", "text", "", "Date"};
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) {
        assert_null(kl_format_pattern(unknown[i]));
        assert_false(kl_format_is_refused(unknown[i]));
    }
    assert_null(kl_format_pattern("regex"));
    assert_true(kl_format_is_refused("regex"));
    assert_true(kl_format_is_refused("idn-hostname"));
    assert_false(kl_format_is_refused("date"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(formats_judge_texts),
        cmocka_unit_test(unknown_formats_assert_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
