#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "schema/number.h"

static struct kl_decimal decimal(const char *text)
{
    struct kl_decimal d;
    struct kl_error err = {0};
    if (kl_decimal_parse(text, strlen(text), &d, &err) != KL_OK)
        fail_msg("%s: %s", text, err.text);
    return d;
}

/* "[min,max]*multiple": '(' and ')' for bounds that are exclusive; each number may be missing. */
static struct kl_number_bounds bounds_of(const char *text)
{
    struct kl_number_bounds b = {0};
    char low[64] = "", high[64] = "", multiple[64] = "", begin = 0, end = 0;
    const char *comma = strchr(text, ',');
    begin = text[0];
    sscanf(text + 1, "%63[^,]", low);
    end = ']';
    if (sscanf(comma + 1, "%63[^])]", high) != 1)
        high[0] = '\0';
    end = comma[1 + strlen(high)];
    sscanf(comma + 2 + strlen(high), "*%63s", multiple);
    b.has_min = low[0] != '\0';
    b.has_max = high[0] != '\0';
    b.has_multiple = multiple[0] != '\0';
    b.min_exclusive = b.has_min && begin == '(';
    b.max_exclusive = b.has_max && end == ')';
    if (b.has_min)
        b.min = decimal(low);
    if (b.has_max)
        b.max = decimal(high);
    if (b.has_multiple)
        b.multiple_of = decimal(multiple);
    return b;
}

static bool in_bounds(const char *text, const char *bounds)
{
    struct kl_number_bounds b = bounds_of(bounds);
    return kl_number_in_bounds(text, strlen(text), &b);
}

static bool equals(const char *a, const char *b)
{
    struct kl_decimal d = decimal(b);
    bool equal = kl_number_equals(a, strlen(a), &d);
    if (equal)
        assert_true(kl_number_hash(a, strlen(a)) == kl_number_hash(b, strlen(b)));
    else
        assert_true(kl_number_hash(a, strlen(a)) != kl_number_hash(b, strlen(b)));
    return equal;
}

static bool can_begin(const char *text, const char *bounds, bool is_integer)
{
    struct kl_number_bounds b = bounds_of(bounds);
    return kl_number_can_begin(text, strlen(text), &b, is_integer);
}

static void test_decimals_are_read(void **state)
{
    (void)state;
    struct kl_decimal d = decimal("-120.0500e3");
    assert_true(d.negative);
    assert_int_equal(d.n, 5);
    assert_memory_equal(d.digits, ((const uint8_t[]){1, 2, 0, 0, 5}), 5);
    assert_int_equal(d.exponent, 1);
    d = decimal("-0.00e77");
    assert_false(d.negative);
    assert_int_equal(d.n, 0);
    d = decimal("1000000000000000000000000000000000000000000000000");
    assert_int_equal(d.n, 1);
    assert_int_equal(d.exponent, 48);
    assert_int_equal(decimal("1e-1000000000").exponent, -1000000000);
}

static void test_text_that_is_no_number_is_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",     "-",   "01",   "-01",   "1.",  ".5", "1.e5", "1e", "1e+", "+1",   "1 ",      " 1",
        "0x10", "NaN", "1e5.", "1.2.3", "--1", "1-", "1e-",  "e5", "-e5", "1e5 ", "Infinity"};
    struct kl_decimal d;
    struct kl_error err;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        size_t len = strlen(texts[i]);
        const struct kl_number_bounds any = {0};
        assert_int_equal(kl_decimal_parse(texts[i], len, &d, &err), KL_ERR_INVALID);
        assert_false(kl_number_is_integer(texts[i], len));
        assert_false(kl_number_in_bounds(texts[i], len, &any));
    }
    assert_int_equal(kl_decimal_parse("1234567890123456789012345678901234567", 37, &d, &err),
                     KL_ERR_LIMIT);
    assert_non_null(strstr(err.text, "37 digits"));
    assert_int_equal(kl_decimal_parse("1e1000000001", 12, &d, &err), KL_ERR_LIMIT);
    assert_int_equal(kl_decimal_parse("1e-99999999999999999999999", 26, &d, &err), KL_ERR_LIMIT);
    assert_int_equal(kl_decimal_parse("0e99999999999999999999999", 25, &d, &err), KL_OK);
}

static void test_equal_numbers_have_many_texts(void **state)
{
    (void)state;
    assert_true(equals("1", "1.0"));
    assert_true(equals("10e-1", "1"));
    assert_true(equals("0.1E+1", "1"));
    assert_true(equals("-0", "0"));
    assert_true(equals("0e500", "-0.0"));
    assert_true(equals("1200", "1.2e3"));
    assert_true(equals("100000000000000000000000000000000000000000000000000", "1e50"));
    assert_true(equals("0.00000000000000000000000000000000000000000000000001", "1e-50"));
    assert_true(equals("12.34", "1234e-2"));
    assert_false(equals("1", "-1"));
    assert_false(equals("1", "10"));
    assert_false(equals("1", "1.00000000000000000000000001"));
    assert_false(equals("1e99999999999999999999", "1"));
    assert_false(equals("9007199254740993", "9007199254740992"));
    assert_false(equals("1e1000000000", "1e999999999"));
}

static void test_hashes_do_not_depend_on_the_point(void **state)
{
    (void)state;
    char a[200], b[210];
    memset(a, '7', 199);
    a[199] = '\0';
    for (size_t at = 1; at < 199; at++) {
        snprintf(b, sizeof b, "%.*s.%se%zu", (int)at, a, a + at, 199 - at);
        assert_true(kl_number_hash(b, strlen(b)) == kl_number_hash(a, 199));
    }
    const char *x = "1e99999999999999999999", *y = "1e99999999999999999998",
               *z = "0.1e100000000000000000000";
    assert_true(kl_number_hash(x, strlen(x)) == kl_number_hash(z, strlen(z)));
    assert_true(kl_number_hash(x, strlen(x)) != kl_number_hash(y, strlen(y)));
}

static void test_integers_are_numbers_without_a_fraction(void **state)
{
    (void)state;
    static const char *const yes[] = {"0",     "-0.0",  "1.0",        "10e-1",
                                      "1e400", "1.5e1", "-120.00e-1", "0e-5"};
    static const char *const no[] = {"0.5", "1e-1", "-1.5", "1.25e1", "1e-99999999999999999999"};
    for (size_t i = 0; i < sizeof yes / sizeof yes[0]; i++)
        assert_true(kl_number_is_integer(yes[i], strlen(yes[i])));
    for (size_t i = 0; i < sizeof no / sizeof no[0]; i++)
        assert_false(kl_number_is_integer(no[i], strlen(no[i])));
}

static void test_bounds_are_exact(void **state)
{
    (void)state;
    assert_true(in_bounds("10", "[,10]"));
    assert_false(in_bounds("10.00000000000000000000000000000000000000000000000001", "[,10]"));
    assert_false(in_bounds("10", "[,10)"));
    assert_true(in_bounds("9.999999999999999999999999999999999999999999999999999", "[,10)"));
    assert_true(in_bounds("-10", "[-10,]"));
    assert_false(in_bounds("-10.0", "(-10,]"));
    assert_false(in_bounds("-10.1", "[-10,]"));
    assert_true(in_bounds("-0", "[0,0]"));
    assert_false(in_bounds("0.0", "(0,]"));
    assert_true(in_bounds("1e-999999999999", "(0,]"));
    assert_false(in_bounds("1e999999999999", "[,1e1000000000]"));
    assert_true(in_bounds("-1e999999999999", "[,-1e1000000000]"));
    assert_true(in_bounds("12345", "[1.2345e4,12345.0]"));
    assert_true(in_bounds("12344.9", "[12344,12345]"));
}

static void test_multiples_are_divided_exactly(void **state)
{
    (void)state;
    assert_true(in_bounds("0.3", "[,]*0.1"));
    assert_true(in_bounds("19.99", "[,]*0.01"));
    assert_false(in_bounds("19.999", "[,]*0.01"));
    assert_true(in_bounds("4.35", "[,]*0.05"));
    assert_true(in_bounds("1e308", "[,]*0.123456789e-20") == false);
    assert_true(in_bounds("-9", "[,]*3"));
    assert_false(in_bounds("-10", "[,]*3"));
    assert_true(in_bounds("0", "[,]*3"));
    assert_true(in_bounds("-0.0e7", "[,]*7e99"));
    assert_true(in_bounds("1e400", "[,]*16"));
    assert_false(in_bounds("1e400", "[,]*3"));
    assert_true(in_bounds("7.5", "[,]*2.5"));
    assert_true(in_bounds("1e1000000000", "[,]*1e-1000000000"));
    assert_false(in_bounds("1e-1000000000", "[,]*1e1000000000"));
    assert_true(in_bounds("3e999999999", "[,]*3e-999999999"));
    assert_false(in_bounds("5e999999999", "[,]*3e-999999999"));
    /* 2^119: zeros count up to its power */
    assert_true(in_bounds("1e119", "[,]*664613997892457936451903530140172288"));
    assert_false(in_bounds("1e118", "[,]*664613997892457936451903530140172288"));
    assert_true(in_bounds("1e99999", "[,]*664613997892457936451903530140172288"));
    /* 2^60, above what 64-bit remainders take */
    assert_true(in_bounds("1329227995784915872903807060280344576", "[,]*1152921504606846976"));
    assert_false(in_bounds("1329227995784915872903807060280344577", "[,]*1152921504606846976"));
}

static void test_long_numbers_are_judged_by_all_digits(void **state)
{
    (void)state;
    enum { N = 5000 };
    char *text = malloc(N + 10);
    assert_non_null(text);
    memset(text, '1', N); /* 111...1: the sum of its digits is 5000 */
    text[N] = '\0';
    assert_false(in_bounds(text, "[,]*3"));
    text[N - 1] = '2';
    assert_true(in_bounds(text, "[,]*3"));
    assert_false(in_bounds(text, "[,]*9"));
    text[N / 2] = '.';
    assert_false(kl_number_is_integer(text, N));
    assert_false(in_bounds(text, "[,]*3"));
    memcpy(text + N, "e2500", 6);
    assert_true(kl_number_is_integer(text, N + 5));
    free(text);
}

/* ---- against a slow reference ---------------------------------------------------------------- */

static const char *const BOUNDS[] = {"[,]",
                                     "[0,]",
                                     "(0,]",
                                     "[,0]",
                                     "[,0)",
                                     "[0,0]",
                                     "(-1,1)",
                                     "[-1,1]",
                                     "[1,1]",
                                     "[1,1)",
                                     "[5,3]",
                                     "[-12,-3]",
                                     "[3,12]",
                                     "(3,12)",
                                     "(9.5,10.5)",
                                     "[99,101]",
                                     "[0.05,0.06]",
                                     "(0.05,0.06)",
                                     "[-0.5,0.3]",
                                     "[1e2,1e3]",
                                     "[1e5,]",
                                     "[,-1e5]",
                                     "[1e-5,1e-4]",
                                     "[-100,100]",
                                     "[,]*1",
                                     "[,]*7",
                                     "[1,6]*7",
                                     "[-6,6]*7",
                                     "(0,7)*7",
                                     "[0,100]*25",
                                     "[,]*0.5",
                                     "[0.1,0.2]*0.1",
                                     "[1,]*100",
                                     "[1,99]*100",
                                     "(0,1)*0.25",
                                     "[10,19]*3",
                                     "[,]*1e3",
                                     "(0,1e3)*1e3",
                                     "[,]*0.125",
                                     "(0,0.125)*0.05",
                                     "[0.01,9.99]*0.01"};
enum { N_BOUNDS = sizeof BOUNDS / sizeof BOUNDS[0] };

/* The number times 10^12, for texts of at most 5 characters. false: not a number. */
static bool reference(const char *text, __int128 *value)
{
    int digits = 0, behind = -1, exponent = 0;
    const char *p = text + (*text == '-');
    *value = 0;
    if (*p == '0' && p[1] >= '0' && p[1] <= '9')
        return false;
    for (; (*p >= '0' && *p <= '9') || *p == '.'; p++) {
        if (*p == '.') {
            if (behind >= 0 || digits == 0)
                return false;
            behind = 0;
            continue;
        }
        *value = *value * 10 + (*p - '0');
        digits++;
        behind += behind >= 0;
    }
    if (digits == 0 || behind == 0)
        return false;
    if (*p == 'e') {
        char *end;
        if (p[1] == '\0' || (p[1] != '+' && p[1] != '-' && (p[1] < '0' || p[1] > '9')))
            return false;
        if ((p[1] == '+' || p[1] == '-') && (p[2] < '0' || p[2] > '9'))
            return false;
        exponent = (int)strtol(p + 1, &end, 10);
        p = end;
    }
    if (*p != '\0')
        return false;
    for (int i = 12 + exponent - (behind > 0 ? behind : 0); i > 0; i--)
        *value *= 10;
    if (*text == '-')
        *value = -*value;
    return true;
}

static __int128 reference_bound(const struct kl_decimal *d)
{
    __int128 value = 0;
    for (int i = 0; i < d->n; i++)
        value = value * 10 + d->digits[i];
    for (int i = 0; i < 12 + d->exponent; i++)
        value *= 10;
    return d->negative ? -value : value;
}

static bool reference_in_bounds(__int128 value, const struct kl_number_bounds *b)
{
    if (b->has_min && (value < reference_bound(&b->min) ||
                       (b->min_exclusive && value == reference_bound(&b->min))))
        return false;
    if (b->has_max && (value > reference_bound(&b->max) ||
                       (b->max_exclusive && value == reference_bound(&b->max))))
        return false;
    return !b->has_multiple || value % reference_bound(&b->multiple_of) == 0;
}

/* Calls `visit` with each text of 1 to 5 of these characters. */
static void for_each_text(void (*visit)(const char *text))
{
    static const char characters[] = "-0123456789.e";
    const unsigned n = sizeof characters - 1;
    for (unsigned len = 1, all = n; len <= 5; len++, all *= n)
        for (unsigned i = 0; i < all; i++) {
            char text[6] = {0};
            for (unsigned j = 0, rest = i; j < len; j++, rest /= n)
                text[j] = characters[rest % n];
            const char *e = strchr(text, 'e');
            if (e == NULL || strlen(e) <= (e[1] == '-' ? 3 : 2)) /* exponents of one digit */
                visit(text);
        }
}

static struct kl_number_bounds bounds[N_BOUNDS];

static void visit_number(const char *text)
{
    __int128 value = 0;
    size_t len = strlen(text);
    bool valid = reference(text, &value);
    if (!valid && kl_number_in_bounds(text, len, &bounds[0]))
        fail_msg("%s is no number", text);
    if (!valid)
        return;
    if (kl_number_is_integer(text, len) != (value % 1000000000000 == 0))
        fail_msg("%s: is_integer", text);
    for (size_t b = 0; b < N_BOUNDS; b++) {
        if (kl_number_in_bounds(text, len, &bounds[b]) != reference_in_bounds(value, &bounds[b]))
            fail_msg("%s in %s", text, BOUNDS[b]);
        if (strchr(text, 'e') != NULL || !reference_in_bounds(value, &bounds[b]))
            continue;
        for (size_t n = 0; n <= len; n++)
            if (!kl_number_can_begin(text, n, &bounds[b], false) ||
                (strchr(text, '.') == NULL && !kl_number_can_begin(text, n, &bounds[b], true)))
                fail_msg("%.*s begins %s in %s", (int)n, text, text, BOUNDS[b]);
    }
}

static void read_bounds(void)
{
    for (size_t i = 0; i < N_BOUNDS; i++)
        bounds[i] = bounds_of(BOUNDS[i]);
}

static void test_all_short_numbers_are_judged_as_by_a_slow_reference(void **state)
{
    (void)state;
    read_bounds();
    for_each_text(visit_number);
}

/* Extends a beginning by characters that are allowed, at random, until it is a number within the
 * bounds. */
static bool finish(char *text, size_t len, const struct kl_number_bounds *b, bool is_integer)
{
    for (;;) {
        text[len] = '\0';
        if (kl_number_in_bounds(text, len, b) && rand() % 4 != 0)
            return true;
        static const char characters[] = "-0123456789.";
        char allowed[16];
        int n = 0;
        for (size_t i = 0; i < sizeof characters - 1; i++) {
            text[len] = characters[i];
            if (kl_number_can_begin(text, len + 1, b, is_integer))
                allowed[n++] = characters[i];
        }
        if (n == 0 || len >= KL_NUMBER_MAX_DIGITS + 2) {
            text[len] = '\0';
            return kl_number_in_bounds(text, len, b);
        }
        text[len++] = allowed[rand() % n];
    }
}

static void visit_beginning(const char *text)
{
    size_t len = strlen(text);
    for (size_t b = 0; b < N_BOUNDS; b++)
        for (int is_integer = 0; is_integer < 2; is_integer++) {
            char all[64];
            memcpy(all, text, len);
            if (kl_number_can_begin(text, len, &bounds[b], is_integer) &&
                !finish(all, len, &bounds[b], is_integer))
                fail_msg("%s can begin a number of %s, but %s is stuck", text, BOUNDS[b], all);
        }
}

static void test_no_beginning_is_stuck(void **state)
{
    (void)state;
    read_bounds();
    srand(1);
    visit_beginning("");
    static const char characters[] = "-0123456789.e";
    const unsigned n = sizeof characters - 1;
    for (unsigned len = 1, all = n; len <= 3; len++, all *= n)
        for (unsigned i = 0; i < all; i++) {
            char text[6] = {0};
            for (unsigned j = 0, rest = i; j < len; j++, rest /= n)
                text[j] = characters[rest % n];
            visit_beginning(text);
        }
}

static void test_beginnings_at_the_limit_of_digits(void **state)
{
    (void)state;
    char ones[40];
    memset(ones, '1', 36);
    strcpy(ones + 36, ".");
    assert_true(can_begin("111111111111111111111111111111111111", "[,]", false));
    assert_true(can_begin("111111111111111111111111111111111111", "[,]", true));
    assert_false(can_begin(ones, "[,]", false));
    assert_false(can_begin("1111111111111111111111111111111111111", "[,]", true));
    assert_true(can_begin("11111111111111111111111111111111111.", "[,]", false));
    assert_false(can_begin("11111111111111111111111111111111111.", "[,]", true));
    assert_false(can_begin("", "[1e36,]", false));
    assert_true(can_begin("9", "[999999999999999999999999999999999999,]", false));
    assert_false(can_begin("8", "[999999999999999999999999999999999999,]", false));
    assert_false(can_begin("", "(999999999999999999999999999999999999,]", false));
    assert_true(can_begin("0.", "(0,1e-35]", false));
    assert_false(can_begin("0.", "(0,1e-35)", false));
    assert_false(can_begin("", "(0,1e-1000000000)", false));
    assert_true(can_begin("-", "[-1e1000000000,1e1000000000]", true));
    assert_false(can_begin("1", "[,]*1e36", true));
    assert_true(can_begin("0", "[,]*1e1000000000", true));
    assert_true(can_begin("-0", "[,]*1e36", true));
    assert_true(can_begin("0", "[,]*1e-1000000000", false));
    assert_false(can_begin("1e", "[,]", false));
    assert_true(can_begin("3", "[,]*3", true));
    assert_true(can_begin("6", "[10,69]*3", true));
    assert_false(can_begin("7", "[7,69]*3", true));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_decimals_are_read),
        cmocka_unit_test(test_text_that_is_no_number_is_refused),
        cmocka_unit_test(test_equal_numbers_have_many_texts),
        cmocka_unit_test(test_hashes_do_not_depend_on_the_point),
        cmocka_unit_test(test_integers_are_numbers_without_a_fraction),
        cmocka_unit_test(test_bounds_are_exact),
        cmocka_unit_test(test_multiples_are_divided_exactly),
        cmocka_unit_test(test_long_numbers_are_judged_by_all_digits),
        cmocka_unit_test(test_all_short_numbers_are_judged_as_by_a_slow_reference),
        cmocka_unit_test(test_no_beginning_is_stuck),
        cmocka_unit_test(test_beginnings_at_the_limit_of_digits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
