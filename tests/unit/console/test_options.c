#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "console/options.h"

struct values {
    bool flag, guard;
    const char *text;
    size_t size;
    uint64_t seed;
    float ratio;
    struct kl_size_list list;
    struct kl_string_list names;
};

#define ROWS(v)                                                                                    \
    {                                                                                              \
        {"verbose", 'v', KL_OPTION_FLAG, NULL, "say more", &(v).flag, 0, 0},                       \
            {"model", 'm', KL_OPTION_STRING, "NAME", "which one", &(v).text, 0, 0},                \
            {"port", 'p', KL_OPTION_SIZE, "N", "where", &(v).size, 1, 65535},                      \
            {"guard", 0, KL_OPTION_SWITCH, "on|off", "watch", &(v).guard, 0, 0},                   \
            {"seed", 0, KL_OPTION_U64, "N", "draws", &(v).seed, 0, 0},                             \
            {"top-p", 0, KL_OPTION_FLOAT, "P", "cut", &(v).ratio, 0, 1},                           \
            {"prompt", 0, KL_OPTION_LIST, "N,N", "how long", &(v).list, 1, 1000},                  \
            {"allow-host", 0, KL_OPTION_STRINGS, "NAME", "a host", &(v).names, 0, 0},              \
    }

/* Parses up to 8 words, the last one NULL. */
static enum kl_status parse(struct values *v, char **argv, size_t *n, struct kl_error *err)
{
    const struct kl_option rows[] = ROWS(*v);
    const struct kl_command_line line = {.command = "try",
                                         .arguments = "[A] [B]",
                                         .max_arguments = 2,
                                         .about = "Tries.",
                                         .options = rows,
                                         .n_options = sizeof rows / sizeof rows[0]};
    int argc = 0;
    while (argv[argc] != NULL)
        argc++;
    return kl_options_parse(&line, argc, argv, n, err);
}

#define WORDS(...) ((char **)(const char *[]){"try", __VA_ARGS__, NULL})

static void test_forms(void **state)
{
    (void)state;
    size_t n;
    struct kl_error err;
    struct values v = {0};
    char **argv = WORDS("one", "--model=a=b", "-p", "80", "-v", "two");
    assert_int_equal(parse(&v, argv, &n, &err), KL_OK);
    assert_string_equal(v.text, "a=b");
    assert_int_equal(v.size, 80);
    assert_true(v.flag);
    assert_int_equal(n, 2);
    assert_string_equal(argv[1], "one");
    assert_string_equal(argv[2], "two");

    v = (struct values){0};
    argv = WORDS("--model", "x", "-p81", "--", "--verbose", "-");
    assert_int_equal(parse(&v, argv, &n, &err), KL_OK);
    assert_string_equal(v.text, "x");
    assert_int_equal(v.size, 81);
    assert_false(v.flag);
    assert_int_equal(n, 2);
    assert_string_equal(argv[1], "--verbose");
    assert_string_equal(argv[2], "-");
}

static void test_values(void **state)
{
    (void)state;
    size_t n;
    struct kl_error err;
    struct values v = {0};
    assert_int_equal(parse(&v,
                           WORDS("--seed", "18446744073709551615", "--top-p", "0.25", "--prompt",
                                 "1,32,1000", "--allow-host", "a", "--allow-host=b"),
                           &n, &err),
                     KL_OK);
    assert_true(v.seed == UINT64_MAX);
    assert_true(fabsf(v.ratio - 0.25f) < 1e-9f);
    assert_int_equal(v.list.len, 3);
    assert_int_equal(v.list.values[0], 1);
    assert_int_equal(v.list.values[2], 1000);
    assert_int_equal(v.names.len, 2);
    assert_string_equal(v.names.values[1], "b");
    assert_int_equal(parse(&v, WORDS("--guard", "on"), &n, &err), KL_OK);
    assert_true(v.guard);
    assert_int_equal(parse(&v, WORDS("--guard=on", "--guard=off"), &n, &err), KL_OK);
    assert_false(v.guard);
}

static void test_refusals(void **state)
{
    (void)state;
    static const struct {
        const char *words[2];
        const char *said;
    } cases[] = {
        {{"--port=0", NULL}, "--port takes a whole number from 1 to 65535, not \"0\""},
        {{"--port=65536", NULL}, "from 1 to 65535"},
        {{"--port=-1", NULL}, "not \"-1\""},
        {{"--port=8o", NULL}, "not \"8o\""},
        {{"--port=", NULL}, "not \"\""},
        {{"--port=99999999999999999999", NULL}, "from 1 to 65535"},
        {{"--port", NULL}, "--port needs a value: --port N"},
        {{"-p", NULL}, "--port needs a value"},
        {{"--seed=18446744073709551616", NULL}, "--seed takes a whole number"},
        {{"--top-p=1.01", NULL}, "--top-p takes a number from 0 to 1"},
        {{"--top-p=nan", NULL}, "not \"nan\""},
        {{"--top-p=0.5x", NULL}, "not \"0.5x\""},
        {{"--prompt=1,,2", NULL}, "separated by commas"},
        {{"--prompt=1,1001", NULL}, "from 1 to 1000"},
        {{"--prompt=", NULL}, "separated by commas"},
        {{"--prompt=1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1", NULL}, "at most 16"},
        {{"--verbose=1", NULL}, "--verbose takes no value"},
        {{"--guard=yes", NULL}, "--guard takes on or off, not \"yes\""},
        {{"--guard=", NULL}, "--guard takes on or off, not \"\""},
        {{"--guard", NULL}, "--guard needs a value: --guard on|off"},
        {{"--prot", "1"}, "unknown option --prot; did you mean --port?"},
        {{"--modle=x", NULL}, "unknown option --modle=x; did you mean --model?"},
        {{"--verb", NULL}, "did you mean --verbose?"},
        {{"--quantum", NULL}, "unknown option --quantum"},
        {{"-x", NULL}, "unknown option -x"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        size_t n;
        struct kl_error err = {0};
        struct values v = {0};
        char *argv[] = {(char *)"try", (char *)cases[i].words[0], (char *)cases[i].words[1], NULL};
        assert_int_equal(parse(&v, argv, &n, &err), KL_ERR_INVALID);
        if (strstr(err.text, cases[i].said) == NULL)
            fail_msg("%s: said \"%s\"", cases[i].words[0], err.text);
        if (strcmp(cases[i].words[0], "--quantum") == 0)
            assert_null(strstr(err.text, "did you mean"));
    }
    size_t n;
    struct kl_error err;
    struct values v = {0};
    assert_int_equal(parse(&v, WORDS("a", "b", "c"), &n, &err), KL_ERR_INVALID);
    assert_string_equal(err.text, "unexpected argument \"c\"");
}

static void test_help(void **state)
{
    (void)state;
    struct values v = {.text = "m1", .size = 7860, .list = {.values = {32, 128}, .len = 2}};
    const struct kl_option rows[] = ROWS(v);
    const struct kl_command_line line = {
        .command = "try",
        .arguments = "[A]",
        .max_arguments = 1,
        .about = "Tries a sentence that is long enough to go over the width of a terminal, which "
                 "is eighty columns.",
        .options = rows,
        .n_options = sizeof rows / sizeof rows[0]};
    struct kl_printer out;
    kl_printer_init(&out, 65536);
    kl_options_help(&line, &out);
    assert_int_equal(out.status, KL_OK);
    assert_non_null(strstr(out.text.data, "Usage: kinglet try [OPTIONS] [A]\n"));
    assert_non_null(strstr(out.text.data, "  -v, --verbose             say more\n"));
    assert_non_null(strstr(out.text.data, "--model NAME          which one (default m1)\n"));
    assert_non_null(strstr(out.text.data, "(default 7860)"));
    assert_non_null(strstr(out.text.data, "--guard on|off        watch (default off)\n"));
    assert_non_null(strstr(out.text.data, "(default 32,128)"));
    assert_non_null(strstr(out.text.data, "Exit codes:"));
    for (const char *at = out.text.data; *at != '\0';) {
        size_t len = strcspn(at, "\n");
        assert_true(len <= 80);
        at += len + 1;
    }
    kl_printer_release(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forms),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_help),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
