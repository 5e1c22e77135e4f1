/* src/engine/loop_guard.c: against an exhaustive search, and on texts that must not be ended. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/loop_guard.h"

enum { MOST = 20000 };

static int32_t symbols[MOST];
static uint32_t random_state = 12345;

static uint32_t random_below(uint32_t n)
{
    random_state = random_state * 1664525u + 1013904223u;
    return (uint32_t)(((uint64_t)random_state * n) >> 32);
}

/* Returns after how many tokens a repetition is found; 0: none. Tokens are words. */
static size_t found_at(const int32_t *tokens, size_t n)
{
    struct kl_loop_guard guard;
    kl_loop_guard_init(&guard, symbols);
    for (size_t i = 0; i < n; i++)
        if (kl_loop_guard_push(&guard, tokens[i], " word", 5))
            return i + 1;
    return 0;
}

/* The same by the definition: the first position that ends a text repeated 8 times, 256 tokens in
 * all. */
static size_t searched(const int32_t *tokens, size_t n)
{
    static size_t runs[MOST];
    memset(runs, 0, sizeof runs);
    for (size_t i = 0; i < n; i++) {
        for (size_t p = 1; p <= i; p++) {
            runs[p] = tokens[i] == tokens[i - p] ? runs[p] + 1 : 0;
            size_t run = runs[p] + p;
            if (runs[p] > 0 && run >= 8 * p && run >= 256)
                return i + 1;
        }
    }
    return 0;
}

/* Texts over few tokens, with stretches that repeat something, exactly or nearly. */
static void test_against_exhaustive_search(void **state)
{
    (void)state;
    static int32_t text[3000];
    size_t n_found = 0;
    for (int round = 0; round < 600; round++) {
        uint32_t alphabet = 1 + random_below(4);
        size_t n = 0, most = 300 + random_below(1500);
        while (n < most) {
            size_t copied = 1 + random_below(round % 3 == 0 ? 8 : 120);
            size_t period = 1 + random_below(round % 3 == 0 ? 8 : 120);
            for (size_t i = 0; i < copied && n < most; i++)
                text[n++] = (int32_t)random_below(alphabet);
            if (period > n)
                continue;
            size_t length = random_below(12) * period + random_below(300);
            for (size_t i = 0; i < length && n < most; i++, n++)
                text[n] = text[n - period];
        }
        size_t expected = searched(text, n);
        assert_int_equal(found_at(text, n), expected);
        n_found += expected != 0;
    }
    assert_in_range(n_found, 100, 500); /* both cases occurred */
}

/* Every period, at its first moment; and not when one token in each copy differs. */
static void test_every_period(void **state)
{
    (void)state;
    static int32_t text[MOST];
    for (size_t p = 1; p <= 2000; p += 1 + p / 16) {
        size_t before = random_below(300), need = 8 * p > 256 ? 8 * p : 256;
        for (size_t i = 0; i < before; i++)
            text[i] = (int32_t)(1000 + i);
        for (size_t i = 0; i < need; i++)
            text[before + i] = i < p ? (int32_t)(5000 + i) : text[before + i - p];
        assert_int_equal(found_at(text, before + need), before + need);
        text[before + need - p] = 4999;
        assert_int_equal(found_at(text, before + need), 0);
        for (size_t i = 0; i < need; i += p)
            text[before + i] = (int32_t)(100000 + i);
        assert_int_equal(found_at(text, before + need), 0);
    }
}

/* ---- texts ----------------------------------------------------------------------------------- */

/* Cut as tokenizers do, nearly: words with a space before them, digits and other characters one by
 * one, newlines. Returns after how many tokens a repetition was found, or 0; *n_tokens: all tokens.
 */
static size_t read_text(const char *text, size_t *n_tokens)
{
    struct kl_loop_guard guard;
    kl_loop_guard_init(&guard, symbols);
    size_t found = 0;
    *n_tokens = 0;
    for (const char *at = text; *at != '\0';) {
        size_t len = 1;
        bool word = (at[0] >= 'a' && at[0] <= 'z') || (at[0] >= 'A' && at[0] <= 'Z') ||
                    (at[0] == ' ' && at[1] >= 'a' && at[1] <= 'z');
        while (word && at[len] >= 'a' && at[len] <= 'z')
            len++;
        while ((unsigned char)at[0] >= 0xC0 && ((unsigned char)at[len] & 0xC0) == 0x80)
            len++;
        int32_t token = 0;
        for (size_t i = 0; i < len; i++)
            token = (token * 31 + (unsigned char)at[i]) & 0xFFFFFF;
        ++*n_tokens;
        if (kl_loop_guard_push(&guard, token, at, len) && found == 0)
            found = *n_tokens;
        at += len;
    }
    return found;
}

struct text {
    char data[60000];
    size_t len;
};

static void add(struct text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void add(struct text *t, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    int n = vsnprintf(t->data + t->len, sizeof t->data - t->len, format, ap);
    va_end(ap);
    assert_true(n >= 0 && t->len + (size_t)n < sizeof t->data);
    t->len += (size_t)n;
}

static void expect_nothing(const struct text *t)
{
    size_t n;
    size_t found = read_text(t->data, &n);
    if (found != 0)
        fail_msg("found after %zu of %zu tokens of:\n%s", found, n, t->data);
    assert_true(n > 256);
}

/* A list item repeated with other numbers: for 256 tokens, or 8 times. */
static void test_lists_of_equal_items(void **state)
{
    (void)state;
    static const char *const formats[] = {
        "%d. one bird in the hand\n",
        "%d) one bird in the hand\n",
        "  %d. **one bird** in the hand, and two of them there\n",
        "%d、一箭双雕\n",
        "%d． 一箭双雕\n\n",
        "- %d. one bird\n",
        "### %d. one bird\n\nThat is one of a few which are in the hand, and not there. And so "
        "it is with those that you have; a long item with more than one line.\n- it has 1.5 of "
        "them\n",
    };
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
        static struct text t, one;
        size_t n_tokens, n_one;
        t.len = one.len = 0;
        add(&t, "Sure, a hundred of them:\n\n");
        assert_int_equal(read_text(t.data, &n_tokens), 0);
        size_t before = n_tokens;
        for (int n = 1; n <= 120; n++) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
            add(&t, formats[i], n);
            if (n == 100)
                add(&one, formats[i], n);
#pragma GCC diagnostic pop
        }
        assert_int_equal(read_text(one.data, &n_one), 0);
        size_t found = read_text(t.data, &n_tokens);
        size_t most = before + (8 * n_one > 256 ? 8 * n_one : 256);
        assert_in_range(found, 200, most);
    }
}

/* Numbers are content if they do not begin an item, or if the item has no text. */
static void test_numbers_are_content(void **state)
{
    (void)state;
    static struct text t;
    t.len = 0;
    for (int i = 1; i <= 400; i++)
        add(&t, "%d\n", i);
    expect_nothing(&t);
    t.len = 0;
    for (int i = 1; i <= 400; i++)
        add(&t, "%d, ", i);
    expect_nothing(&t);
    t.len = 0;
    for (int i = 1; i <= 400; i++)
        add(&t, "%d.\n", i);
    expect_nothing(&t);
    t.len = 0;
    for (int i = 0; i < 200; i++)
        add(&t, "%d.5 km\n", i);
    expect_nothing(&t);
    t.len = 0;
    for (int i = 0; i < 200; i++)
        add(&t, "| %d | open |  |\n", i);
    expect_nothing(&t);
    t.len = 0;
    for (int i = 1; i <= 9; i++)
        for (int j = 1; j <= 9; j++)
            add(&t, "%d x %d = %d\n", i, j, i * j);
    expect_nothing(&t);
    t.len = 0;
    for (int i = 0; i < 60; i++)
        add(&t, "    case %d: return %d;\n", i, i);
    expect_nothing(&t);
    t.len = 0;
    for (int i = 0; i < 60; i++)
        add(&t, "user%d,user%d@example.org,active\n", i, i);
    expect_nothing(&t);
    t.len = 0;
    for (int i = 0; i < 60; i++)
        add(&t, "<li>Item %d</li>\n", i);
    expect_nothing(&t);
    t.len = 0;
    for (int i = 0; i < 40; i++)
        add(&t, "%d. the number %d is one of them\n", i, 3 * i);
    expect_nothing(&t);
}

static void add_zeros(struct text *t, int size)
{
    for (int i = 0; i < size; i++) {
        add(t, "[");
        for (int j = 0; j < size; j++)
            add(t, "%s0", j > 0 ? ", " : "");
        add(t, "],\n");
    }
}

/* Repetitive on purpose. */
static void test_tables_and_pictures(void **state)
{
    (void)state;
    static struct text t;
    t.len = 0; /* the identity */
    for (int i = 0; i < 16; i++) {
        for (int j = 0; j < 16; j++)
            add(&t, "%d, ", i == j);
        add(&t, "\n");
    }
    expect_nothing(&t);
    t.len = 0; /* a week with 7 equal rows of a table */
    add(&t, "| hour |");
    for (int i = 0; i < 24; i++)
        add(&t, " %d |", i);
    for (int i = 0; i < 7; i++)
        add(&t, "\n| day | free | free | free | free | free | free | free | free | free | free | "
                "free | free | free | free | free | free | free | free | free | free | free |");
    expect_nothing(&t);
    t.len = 0;
    for (int i = 1; i < 30; i++)
        add(&t, "%*s%.*s\n", 30 - i, "", 2 * i - 1,
            "************************************************************");
    expect_nothing(&t);
    t.len = 0; /* chess boards */
    for (int board = 0; board < 3; board++) {
        for (int i = 0; i < 8; i++)
            add(&t, "%s\n", i % 2 == 0 ? "# . # . # . # ." : ". # . # . # . #");
        add(&t, "\n");
    }
    expect_nothing(&t);
    t.len = 0; /* zeros, up to 8 x 8 */
    for (int size = 4; size <= 8; size++)
        add_zeros(&t, size);
    expect_nothing(&t);
    t.len = 0; /* more of them must be ended */
    add_zeros(&t, 16);
    size_t n_tokens, found = read_text(t.data, &n_tokens);
    assert_in_range(found, 256, n_tokens - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_exhaustive_search),
        cmocka_unit_test(test_every_period),
        cmocka_unit_test(test_lists_of_equal_items),
        cmocka_unit_test(test_numbers_are_content),
        cmocka_unit_test(test_tables_and_pictures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
