/* src/service/late_lines.c: which lines go where, and its bounds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "service/late_lines.h"

#define CLOCK "Current time is 12:34:56. Today's date is 2026-11-28."

enum { MAX_MESSAGES = 8 };

/* Conversations as one text: "s:" for system, "u:", "a:" or "t:", messages separated by a '|'. */
static void read_conversation(const char *text, struct kl_chat_input *input)
{
    static const char *const roles[] = {
        ['s'] = "system", ['u'] = "user", ['a'] = "assistant", ['t'] = "tool"};
    *input = (struct kl_chat_input){.messages = calloc(MAX_MESSAGES, sizeof *input->messages)};
    while (*text != '\0') {
        size_t len = strcspn(text, "|");
        input->messages[input->n_messages++] = (struct kl_message){
            .role = roles[(size_t)text[0]], .content = text + 2, .content_len = len - 2};
        text += len + (text[len] == '|');
    }
}

static void write_conversation(const struct kl_chat_input *input, char *out)
{
    for (size_t i = 0; i < input->n_messages; i++) {
        const struct kl_message *m = &input->messages[i];
        out += sprintf(out, "%s%c:%.*s", i > 0 ? "|" : "", m->role[0], (int)m->content_len,
                       m->content);
    }
}

static struct kl_late_lines *open_lines(const char *pattern)
{
    struct kl_late_lines *late;
    struct kl_error err;
    assert_int_equal(kl_late_lines_open(pattern, &late, &err), KL_OK);
    return late;
}

static void check(struct kl_late_lines *late, const char *before, const char *after, size_t moved)
{
    struct kl_chat_input input;
    struct kl_api_error error;
    char found[4096] = "";
    size_t n;
    read_conversation(before, &input);
    assert_int_equal(kl_late_lines_move(late, &input, &n, &error), KL_OK);
    write_conversation(&input, found);
    assert_string_equal(found, after);
    assert_int_equal(n, moved);
    kl_chat_input_release(&input);
}

static void test_moves(void **state)
{
    (void)state;
    struct kl_late_lines *late = open_lines("^(Now|Today):");
    /* Home Assistant's form up to 2025, at the beginning; at the end; in between */
    check(late, "s:Now: 12\nBe brief.|u:hi", "s:Be brief.|s:Now: 12|u:hi", 1);
    check(late, "s:Be brief.\nNow: 12|u:hi", "s:Be brief.|s:Now: 12|u:hi", 1);
    check(late, "s:A\nNow: 12\nB\n\nToday: Sat\nC|u:hi", "s:A\nB\n\nC|s:Now: 12\nToday: Sat|u:hi",
          2);
    /* line ends stay as they were */
    check(late, "s:A\n\nNow: 12\n|u:hi", "s:A\n\n|s:Now: 12|u:hi", 1);
    check(late, "s:A\r\nNow: 12\r\nB\r\n|u:hi", "s:A\r\nB\r\n|s:Now: 12|u:hi", 1);
    /* before the last message of the user, also if tools have answered since */
    check(late, "s:A\nNow: 1|u:q|a:b|u:r", "s:A|u:q|a:b|s:Now: 1|u:r", 1);
    check(late, "s:A\nNow: 1|u:q|a:b|t:c", "s:A|s:Now: 1|u:q|a:b|t:c", 1);
    check(late, "s:A\nNow: 1|u:q|a:pre", "s:A|s:Now: 1|u:q|a:pre", 1);
    /* several system messages; the first stays, even if nothing is left of it */
    check(late, "s:Now: 1|u:q", "s:|s:Now: 1|u:q", 1);
    check(late, "s:A|u:q|s:Now: 1|u:r", "s:A|u:q|s:Now: 1|u:r", 1);
    check(late, "s:A\nNow: 1|s:Today: 2\nB|u:r", "s:A|s:B|s:Now: 1\nToday: 2|u:r", 2);
    check(late, "s:Now: 1|s:Now: 2|s:Now: 3|u:r", "s:|s:Now: 1\nNow: 2\nNow: 3|u:r", 3);
    /* nothing to move */
    check(late, "s:A now: 1|u:Now: 1", "s:A now: 1|u:Now: 1", 0);
    check(late, "s:A\nNow: 1|a:b", "s:A\nNow: 1|a:b", 0);
    check(late, "u:q|s:Now: 1", "u:q|s:Now: 1", 0);
    check(late, "u:q", "u:q", 0);
    check(late, "", "", 0);
    check(late, "s:|u:q", "s:|u:q", 0);
    kl_late_lines_close(late);
}

/* A pattern that is not anchored is searched for in the line. */
static void test_search(void **state)
{
    (void)state;
    struct kl_late_lines *late = open_lines("[0-9]{2}:[0-9]{2}|o'clock$");
    check(late, "s:It is 12:30 now.\nYour name is Pi.|u:q",
          "s:Your name is Pi.|s:It is 12:30 now.|u:q", 1);
    check(late, "s:It is two o'clock\nIt is two o'clock now|u:q",
          "s:It is two o'clock now|s:It is two o'clock|u:q", 1);
    kl_late_lines_close(late);
}

static void test_home_assistant(void **state)
{
    (void)state;
    struct kl_late_lines *late = open_lines("home-assistant");
    check(late, "s:" CLOCK "\nYou are a voice assistant for Home Assistant.|u:q",
          "s:You are a voice assistant for Home Assistant.|s:" CLOCK "|u:q", 1);
    static const char *const moved[] = {
        CLOCK,
        "Today's date is 2026-11-28.",
        "The current time is 9:05 PM.",
        "Current time: 2026-11-28 12:00:00+01:00",
        "Current Time: 12:00",
        "The current date is 2026-11-28, and the current time is 12:00.",
        "You are in area Kitchen and all generic commands like 'turn on the lights' should target "
        "this area.",
        "You are in area Kitchen (floor Ground) and all generic commands like 'turn on the lights' "
        "should target this area.",
        "When a user asks to turn on all devices of a specific type, ask user to specify an area, "
        "unless there is only one device of that type.",
    };
    static const char *const kept[] = {
        "You are a voice assistant for Home Assistant.",
        "Answer questions about the world truthfully.",
        "The time in the message history may be outdated.",
        "When controlling an area, prefer passing just area name and domain.",
        "For reminders, use To-do list.",
        "Today",
        "Static Context: An overview of the areas and the devices in this smart home:",
        "- names: Current time",
    };
    char before[1024], after[1024];
    for (size_t i = 0; i < sizeof moved / sizeof moved[0]; i++) {
        sprintf(before, "s:A\n%s\nB|u:q", moved[i]);
        sprintf(after, "s:A\nB|s:%s|u:q", moved[i]);
        check(late, before, after, 1);
    }
    for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++) {
        sprintf(before, "s:A\n%s\nB|u:q", kept[i]);
        check(late, before, before, 0);
    }
    kl_late_lines_close(late);
}

static void test_refused(void **state)
{
    (void)state;
    const struct {
        const char *pattern, *said;
    } cases[] = {
        {"(a)\\1", "back references"}, {"(", "--late-lines \"(\""}, {"", "empty line"},
        {"x*", "empty line"},          {"^$", "empty line"},        {"a|", "empty line"},
        {"(a{100}){100}", "limit"},    {"home_assistant[", "']'"},  {"\\d(?=x)", "(?"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct kl_late_lines *late;
        struct kl_error err;
        print_message("%s\n", cases[i].pattern);
        assert_int_equal(kl_late_lines_open(cases[i].pattern, &late, &err), KL_ERR_INVALID);
        assert_null(late);
        assert_non_null(strstr(err.text, "--late-lines"));
        assert_non_null(strstr(err.text, cases[i].said));
    }
    char longest[KL_LATE_MAX_PATTERN + 2];
    struct kl_late_lines *late;
    struct kl_error err;
    memset(longest, 'a', sizeof longest);
    longest[KL_LATE_MAX_PATTERN] = '\0';
    assert_int_equal(kl_late_lines_open(longest, &late, &err), KL_OK);
    kl_late_lines_close(late);
    longest[KL_LATE_MAX_PATTERN] = 'a';
    longest[KL_LATE_MAX_PATTERN + 1] = '\0';
    assert_int_equal(kl_late_lines_open(longest, &late, &err), KL_ERR_INVALID);
}

/* A conversation with one system message of `len` bytes, whose first line matches. */
static size_t move_long(struct kl_late_lines *late, char *text, size_t len)
{
    struct kl_message *messages = calloc(2, sizeof *messages);
    messages[0] = (struct kl_message){.role = "system", .content = text, .content_len = len};
    messages[1] = (struct kl_message){.role = "user", .content = "q", .content_len = 1};
    struct kl_chat_input input = {.messages = messages, .n_messages = 2};
    struct kl_api_error error;
    size_t n;
    assert_int_equal(kl_late_lines_move(late, &input, &n, &error), KL_OK);
    assert_int_equal(input.n_messages, n > 0 ? 3 : 2);
    if (n > 0)
        assert_int_equal(input.messages[0].content_len + 1 + input.messages[1].content_len, len);
    kl_chat_input_release(&input);
    return n;
}

static void test_bounds(void **state)
{
    (void)state;
    struct kl_late_lines *late = open_lines("^Now");
    char *text = malloc(KL_LATE_MAX_TEXT + 1);
    memset(text, 'x', KL_LATE_MAX_TEXT + 1);
    memcpy(text, "Now\n", 4);
    assert_int_equal(move_long(late, text, KL_LATE_MAX_TEXT), 1);
    assert_int_equal(move_long(late, text, KL_LATE_MAX_TEXT + 1), 0);
    memset(text, 'x', KL_LATE_MAX_TEXT);
    memcpy(text, "Now", 3);
    memcpy(text + KL_LATE_MAX_LINE, "\nA", 2);
    assert_int_equal(move_long(late, text, KL_LATE_MAX_LINE + 2), 1);
    memcpy(text + KL_LATE_MAX_LINE, "x\nA", 3);
    assert_int_equal(move_long(late, text, KL_LATE_MAX_LINE + 3), 0);
    kl_late_lines_close(late);
    free(text);
}

/* A pattern with 2^n states: texts that reach ever new ones cost no more than is allowed; then
 * nothing moves, and the next request is served as always. */
static void test_hostile_text(void **state)
{
    (void)state;
    struct kl_late_lines *late = open_lines("^Now|(a|b)*a(a|b){40}c$");
    char *text = malloc(KL_LATE_MAX_TEXT);
    uint32_t random = 1;
    for (int round = 0; round < 5; round++) {
        for (size_t i = 0; i < KL_LATE_MAX_TEXT; i++) {
            random = random * 1664525u + 1013904223u; /* Knuth, TAOCP 3.3.4 */
            text[i] = i % 400 == 399 ? '\n' : "ab"[random >> 31];
        }
        memcpy(text, "Now\n", 4);
        assert_int_equal(move_long(late, text, KL_LATE_MAX_TEXT), 0);
        check(late, "s:A\nNow|u:q", "s:A|s:Now|u:q", 1);
    }
    kl_late_lines_close(late);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_moves),          cmocka_unit_test(test_search),
        cmocka_unit_test(test_home_assistant), cmocka_unit_test(test_refused),
        cmocka_unit_test(test_bounds),         cmocka_unit_test(test_hostile_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
