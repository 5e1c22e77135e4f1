/* src/base/log.c, src/base/log_writer.c */
#include <ctype.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"
#include "base/utf8.h"

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

/* Receives the lines of a test instead of stderr. */
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

static void lines_cannot_be_forged(void **state)
{
    (void)state;
    char text[8000];
    capture();
    kl_warning("a\nb\r\x1b[31mc\x7f\td 中文 \xc2\x9b\x9b\xe2\x80\xae \\x1b");
    captured_text(text, sizeof text);
    assert_non_null(strstr(text, "a\\x0ab\\x0d\\x1b[31mc\\x7f\\x09d 中文 "
                                 "\\u009b\\x9b\\u202e \\\\x1b\n"));
    assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
}

static void a_long_message_stays_one_line(void **state)
{
    (void)state;
    char message[5000], text[8000];
    static const char bytes[] = {'x', '\n'}; /* a plain byte, and the one with the longest escape */
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

/* ---- as JSON --------------------------------------------------------------------------------- */

static void json_has_a_line_for_each_message(void **state)
{
    (void)state;
    char text[8000];
    const struct kl_log_field fields[] = {
        {"id", "a\"b", 0}, {"tokens", NULL, 12}, {"seconds", NULL, 0.125}, {"none", NULL, NAN}};
    kl_log_set_format(KL_LOG_JSON);
    capture();
    kl_log_with(KL_LOG_INFO, fields, 4, "done \\ %d\n%s", 7,
                "\xe4\xb8\xad\xff\x7f\xc2\x9b\xe2\x80\xae");
    kl_log_with(KL_LOG_DEBUG, fields, 4, "below the level");
    kl_warning("plain");
    captured_text(text, sizeof text);
    kl_log_set_format(KL_LOG_TEXT);
    const char *rest = strstr(text, "Z\",");
    assert_memory_equal(text, "{\"time\":\"2", 10);
    assert_non_null(rest);
    static const char first[] =
        "Z\",\"level\":\"info\",\"message\":\"done \\\\ 7\\u000a"
        "\xe4\xb8\xad\xef\xbf\xbd\\u007f\\u009b\\u202e\",\"id\":\"a\\\"b\",\"tokens\":12,"
        "\"seconds\":0.125,\"none\":0}\n";
    assert_memory_equal(rest, first, sizeof first - 1);
    rest = strstr(rest + sizeof first - 1, "Z\",");
    assert_string_equal(rest, "Z\",\"level\":\"warning\",\"message\":\"plain\"}\n");
}

static void long_json_stays_whole(void **state)
{
    (void)state;
    char message[3000], text[8000];
    const struct kl_log_field fields[] = {{"text", message, 0}, {"n", NULL, 3}};
    for (int i = 0; i < 3; i++) {
        /* characters of one byte, of six in JSON, and of two that truncation could split */
        for (size_t at = 0; at < sizeof message - 1; at++)
            message[at] = i == 0 ? 'x' : i == 1 ? '\x01' : "\xc3\xa4"[at % 2];
        message[sizeof message - 1] = '\0';
        kl_log_set_format(KL_LOG_JSON);
        capture();
        kl_log_with(KL_LOG_INFO, fields, 2, "%s", message);
        size_t len = captured_text(text, sizeof text);
        kl_log_set_format(KL_LOG_TEXT);
        assert_in_range(len, 1000, 2048);
        assert_ptr_equal(strchr(text, '\n'), text + len - 1);
        assert_memory_equal(text + len - 2, "}\n", 2);
        assert_true(text[len - 3] == '"' || text[len - 3] == '3');
        assert_true(kl_utf8_valid(text, len));
    }
}

static void parses_formats(void **state)
{
    (void)state;
    enum kl_log_format format = KL_LOG_TEXT;
    assert_true(kl_log_parse_format("JSON", &format));
    assert_int_equal(format, KL_LOG_JSON);
    assert_true(kl_log_parse_format("text", &format));
    assert_int_equal(format, KL_LOG_TEXT);
    assert_false(kl_log_parse_format("xml", &format));
}

/* ---- by its own thread ----------------------------------------------------------------------- */

static void *read_all(void *argument)
{
    int fd = *(int *)argument;
    size_t size = 1 << 20, len = 0;
    char *text = calloc(1, size);
    ssize_t n;
    while (len + 1 < size && (n = read(fd, text + len, size - 1 - len)) > 0)
        len += (size_t)n;
    return text;
}

/* stderr is a pipe without a reader: if one of these lines waits, this test hangs. */
static void a_stopped_reader_does_not_block_callers(void **state)
{
    (void)state;
    enum { N = 5000 };
    struct kl_error err;
    int fds[2], saved = dup(STDERR_FILENO);
    uint64_t dropped_before = kl_log_dropped();
    assert_int_equal(pipe(fds), 0);
    dup2(fds[1], STDERR_FILENO);
    close(fds[1]);
    assert_int_equal(kl_log_start(&err), KL_OK);
    for (int i = 0; i < N; i++)
        kl_info("line %d %0100d", i, 0);
    uint64_t dropped = kl_log_dropped() - dropped_before;

    pthread_t reader;
    assert_int_equal(pthread_create(&reader, NULL, read_all, &fds[0]), 0);
    kl_log_stop();
    dup2(saved, STDERR_FILENO); /* closes the last writer of the pipe, so that its reader ends */
    close(saved);
    void *text;
    pthread_join(reader, &text);
    close(fds[0]);

    assert_in_range(dropped, 1, N - 1);
    size_t lines = 0;
    for (char *line = text; *line != '\0'; line = strchr(line, '\n') + 1) {
        assert_non_null(strchr(line, '\n')); /* no line is cut */
        assert_non_null(strstr(line, "Z info    line "));
        lines++;
    }
    assert_int_equal(lines, N - dropped);
    free(text);
}

static void dropped_lines_are_reported(void **state)
{
    (void)state;
    struct kl_error err;
    char text[400];
    uint64_t dropped_before = kl_log_dropped();
    int full = open("/dev/full", O_WRONLY | O_CLOEXEC), saved = dup(STDERR_FILENO);
    assert_true(full >= 0);
    dup2(full, STDERR_FILENO); /* a disk that has no room */
    close(full);
    assert_int_equal(kl_log_start(&err), KL_OK);
    kl_info("lost");
    while (kl_log_dropped() == dropped_before)
        sched_yield();
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    dup2(fds[1], STDERR_FILENO); /* room again */
    close(fds[1]);
    kl_info("kept");
    size_t len = 0;
    memset(text, 0, sizeof text);
    while (strstr(text, "dropped") == NULL) {
        ssize_t n = read(fds[0], text + len, sizeof text - 1 - len);
        assert_true(n > 0);
        len += (size_t)n;
    }
    kl_log_stop();
    dup2(saved, STDERR_FILENO);
    close(saved);
    close(fds[0]);
    assert_int_equal(kl_log_dropped() - dropped_before, 1);
    assert_non_null(strstr(text, "info    kept\n"));
    assert_non_null(strstr(text, " lines of the log were dropped"));
}

/* In a child process: the log thread stays blocked in write(2) there. */
static void stopping_does_not_wait_for_a_dead_reader(void **state)
{
    (void)state;
    int fds[2], code;
    assert_int_equal(pipe(fds), 0);
    pid_t child = fork();
    if (child == 0) {
        struct kl_error err;
        dup2(fds[1], STDERR_FILENO);
        if (kl_log_start(&err) != KL_OK)
            _exit(2);
        for (int i = 0; i < 5000; i++)
            kl_info("line %d %0100d", i, 0);
        kl_log_stop();
        uint64_t dropped = kl_log_dropped();
        kl_info("no caller waits for this");
        _exit(kl_log_dropped() == dropped + 1 ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &code, 0), child);
    close(fds[0]);
    close(fds[1]);
    assert_true(WIFEXITED(code));
    assert_int_equal(WEXITSTATUS(code), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parses_levels),
        cmocka_unit_test(writes_only_from_the_level_up),
        cmocka_unit_test(lines_cannot_be_forged),
        cmocka_unit_test(a_long_message_stays_one_line),
        cmocka_unit_test(json_has_a_line_for_each_message),
        cmocka_unit_test(long_json_stays_whole),
        cmocka_unit_test(parses_formats),
        cmocka_unit_test(a_stopped_reader_does_not_block_callers),
        cmocka_unit_test(dropped_lines_are_reported),
        cmocka_unit_test(stopping_does_not_wait_for_a_dead_reader),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
