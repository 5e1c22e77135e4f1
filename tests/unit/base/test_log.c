/* src/base/log.c */
#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"

static void parses_levels(void **state)
{
    (void)state;
    static const char *const names[] = {"debug", "info", "warning", "error"};
    static const char *const capitals[] = {"DEBUG", "Info", "WarninG", "ERROR"};
    for (int i = 0; i < 4; i++) {
        enum kl_log_level level = (enum kl_log_level)((i + 1) % 4);
        assert_true(kl_log_parse_level(names[i], &level));
        assert_int_equal(level, i);
        assert_true(kl_log_parse_level(capitals[i], &level));
        assert_int_equal(level, i);
    }
    static const char *const wrong[] = {"", " info", "info ", "warn", "errors", "2", "tracing"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        enum kl_log_level level = KL_LOG_ERROR;
        assert_false(kl_log_parse_level(wrong[i], &level));
        assert_int_equal(level, KL_LOG_ERROR);
    }
}

/* Where the lines of a test go instead of to stderr. */
static int saved_stderr;
static FILE *captured;

static void capture(void)
{
    captured = tmpfile();
    assert_non_null(captured);
    saved_stderr = dup(STDERR_FILENO);
    dup2(fileno(captured), STDERR_FILENO);
}

static size_t captured_text(char *out, size_t size)
{
    dup2(saved_stderr, STDERR_FILENO);
    close(saved_stderr);
    rewind(captured);
    size_t len = fread(out, 1, size - 1, captured);
    fclose(captured);
    out[len] = '\0';
    return len;
}

static int evaluated;

static int count_evaluation(void)
{
    return ++evaluated;
}

static void writes_only_from_the_level_up(void **state)
{
    (void)state;
    char text[1000];
    kl_log_set_level(KL_LOG_WARNING);
    assert_false(kl_log_enabled(KL_LOG_INFO));
    assert_true(kl_log_enabled(KL_LOG_WARNING));
    capture();
    kl_debug("d%d", count_evaluation());
    kl_info("i%d", count_evaluation());
    kl_log(KL_LOG_INFO, "not written either");
    kl_warning("w%d", 1);
    kl_err("e%d", 2);
    captured_text(text, sizeof text);
    kl_log_set_level(KL_LOG_INFO);
    assert_int_equal(evaluated, 0);

    /* 2026-11-22T13:00:00.123Z warning w1 */
    static const char shape[] = "dddd-dd-ddTdd:dd:dd.dddZ ";
    char *line = text;
    static const char *const rest[] = {"warning w1\n", "error   e2\n"};
    for (int i = 0; i < 2; i++) {
        for (size_t k = 0; k < sizeof shape - 1; k++) {
            if (shape[k] == 'd')
                assert_true(isdigit((unsigned char)line[k]));
            else
                assert_int_equal(line[k], shape[k]);
        }
        line += sizeof shape - 1;
        assert_memory_equal(line, rest[i], strlen(rest[i]));
        line += strlen(rest[i]);
    }
    assert_string_equal(line, "");
}

static void nobody_can_forge_a_line(void **state)
{
    (void)state;
    char text[8000];
    capture();
    kl_warning("a\nb\r\x1b[31mc\x7f\td 中文");
    captured_text(text, sizeof text);
    assert_non_null(strstr(text, "a\\x0ab\\x0d\\x1b[31mc\\x7f\\x09d 中文\n"));
    assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
}

static void a_long_message_stays_one_line(void **state)
{
    (void)state;
    char message[5000], text[8000];
    static const char bytes[] = {'x', '\n'}; /* plain, and the byte that grows most */
    for (size_t i = 0; i < sizeof bytes; i++) {
        memset(message, bytes[i], sizeof message - 1);
        message[sizeof message - 1] = '\0';
        capture();
        kl_warning("%s", message);
        size_t len = captured_text(text, sizeof text);
        assert_in_range(len, 1000, 2048);
        assert_ptr_equal(strchr(text, '\n'), text + len - 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parses_levels),
        cmocka_unit_test(writes_only_from_the_level_up),
        cmocka_unit_test(nobody_can_forge_a_line),
        cmocka_unit_test(a_long_message_stays_one_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
