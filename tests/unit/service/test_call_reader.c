/* src/service/call_reader.c: calls in every form, in pieces of every size. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "grammar/calls_rule.h"
#include "grammar/gbnf.h"
#include "service/call_reader.h"

static const char *const names[] = {"get_weather", "lamp", "caf\xc3\xa9 \"1\""};

/* Output of the sink: content as it is, calls as "[index name|arguments]", "[...~" without END. */
struct seen {
    char text[16384];
    size_t len, n_pieces;
    bool is_open;
};

static void put(struct seen *s, const char *text, size_t len)
{
    assert_true(s->len + len < sizeof s->text);
    memcpy(s->text + s->len, text, len);
    s->len += len;
    s->text[s->len] = '\0';
}

static enum kl_status see_text(void *context, const char *text, size_t len)
{
    struct seen *s = context;
    assert_false(s->is_open);
    assert_true(len > 0);
    put(s, text, len);
    s->n_pieces++;
    return KL_OK;
}

static enum kl_status see_call(void *context, const struct kl_call_piece *piece)
{
    struct seen *s = context;
    char index[32];
    s->n_pieces++;
    assert_int_equal(s->is_open, piece->part != KL_CALL_BEGIN);
    if (piece->part == KL_CALL_BEGIN) {
        put(s, index, (size_t)snprintf(index, sizeof index, "[%zu ", piece->index));
        put(s, piece->text, piece->len);
        put(s, "|", 1);
        s->is_open = true;
    } else if (piece->part == KL_CALL_ARGUMENTS) {
        assert_true(piece->len > 0);
        put(s, piece->text, piece->len);
    } else {
        put(s, "]", 1);
        s->is_open = false;
    }
    return KL_OK;
}

/* Reads a text in pieces of that many bytes at most; returns the output of the sink. */
static const char *read_in_pieces(const char *text, size_t size)
{
    static struct seen seen;
    struct kl_call_reader reader;
    struct kl_call_names *copy = kl_call_names_new(names, sizeof names / sizeof names[0]);
    const struct kl_call_sink sink = {see_text, see_call, &seen};
    assert_non_null(copy);
    seen = (struct seen){0};
    kl_call_reader_init(&reader, copy);
    for (size_t at = 0, len = strlen(text), n; at < len; at += n) {
        n = len - at < size ? len - at : size;
        while (at + n < len && (text[at + n] & 0xc0) == 0x80)
            n++; /* whole code points */
        assert_int_equal(kl_call_reader_feed(&reader, text + at, n, &sink), KL_OK);
    }
    assert_int_equal(kl_call_reader_end(&reader, &sink), KL_OK);
    if (seen.is_open)
        put(&seen, "~", 1);
    free(copy);
    return seen.text;
}

static void reads(const char *text, const char *expected)
{
    for (size_t size = 1; size <= strlen(text) + 1; size++)
        assert_string_equal(read_in_pieces(text, size), expected);
}

#define WEATHER  "{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Paris\"}}"
#define LAMP     "{\"name\": \"lamp\", \"arguments\": {}}"
#define WEATHER0 "[0 get_weather|{\"city\": \"Paris\"}]"
#define LAMP0    "[0 lamp|{}]"
#define LAMP1    "[1 lamp|{}]"

static void reads_tagged_calls(void **state)
{
    (void)state;
    reads("<tool_call>\n" WEATHER "\n</tool_call>", WEATHER0);
    reads("<tool_call>" LAMP "</tool_call>", LAMP0);
    reads("<tool_call>\n" WEATHER "\n</tool_call>\n<tool_call>\n" LAMP "\n</tool_call>\n",
          WEATHER0 LAMP1);
    reads("\n Let me see.\n\n<tool_call>\n" WEATHER "\n</tool_call>", "\n Let me see." WEATHER0);
    reads("<tool_call>\n" LAMP "\n</tool_call>\n\nDone, 3 < 4.", LAMP0 "Done, 3 < 4.");
    reads("<tool_call>{ \"name\" :\n\"lamp\" , \"arguments\":\t{ } , \"id\": \"}\" }</tool_call>",
          "[0 lamp|{ }]");
    reads("{\"name\": \"lamp\", \"parameters\": {\"a\": 1}}", "[0 lamp|{\"a\": 1}]");
    reads("<tool_call>\n{\"name\": \"caf\\u00e9 \\\"1\\\"\", \"arguments\": {}}\n</tool_call>",
          "[0 caf\xc3\xa9 \"1\"|{}]");
    reads("<tool_call>\n{\"name\": \"lamp\", \"arguments\": "
          "{\"a\": \"}\\\"]</tool_call>\\\\\", \"b\": [{\"c\": {}}], \"\xe4\xbd\xa0\": 1}}\n"
          "</tool_call>",
          "[0 lamp|{\"a\": \"}\\\"]</tool_call>\\\\\", \"b\": [{\"c\": {}}], \"\xe4\xbd\xa0\": "
          "1}]");
    reads("<tool_call>\n" LAMP "\n<tool_call>\n" LAMP "\n</tool_call>", LAMP0 LAMP1);
}

static void reads_bare_and_fenced_calls(void **state)
{
    (void)state;
    reads(WEATHER, WEATHER0);
    reads("\n  " WEATHER "\n" LAMP, WEATHER0 LAMP1);
    reads("```json\n" WEATHER "\n```", WEATHER0);
    reads("Sure:\n```json\n" WEATHER "\n" LAMP "\n```\nDone.", "Sure:" WEATHER0 LAMP1 "Done.");
    reads("```json\n" WEATHER "\n```\n```json\n" LAMP "\n```", WEATHER0 LAMP1);
    reads("```xml\n<tool_call>\n" LAMP "\n</tool_call>\n```", LAMP0 "```");
    reads("```json\n{\n  \"name\": \"lamp\",\n  \"arguments\": {\n    \"a\": 1\n  }\n}\n```",
          "[0 lamp|{\n    \"a\": 1\n  }]");
}

static void leaves_everything_else(void **state)
{
    (void)state;
    static const char *const texts[] = {"",
                                        " ",
                                        "Hello.\n",
                                        "a <b> c </tool",
                                        "<tool",
                                        "{\"name\": \"John\", \"arguments\": {}}",
                                        "{\"name\": \"lamp\", \"colour\": 1}",
                                        "{\"name\": \"lamp\"}",
                                        "{\"a\": 1}",
                                        "{\"name\": \"lamp\", \"arguments\": 1}",
                                        "Use " LAMP,
                                        "```json\n{\"name\": 1}\n```",
                                        "```python\n" LAMP "\n```",
                                        "`" LAMP "`",
                                        "x ```json\n" LAMP "\n```",
                                        "[1, 2]",
                                        "{\"name\": \"lamps\", \"arguments\": {}}",
                                        "{\"name\": \"lam",
                                        "```json\n{\"name\": \"l",
                                        "\xe4\xbd\xa0 <\xe5\xa5\xbd>",
                                        "{\"name\": \"\\ud83d\\ude00\", \"arguments\": {}}",
                                        "\n\n",
                                        "{",
                                        "```",
                                        "```js\n1\n```\n"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        reads(texts[i], texts[i]);
}

static void drops_tags_without_a_call(void **state)
{
    (void)state;
    reads("a<tool_call>\nb</tool_call>c", "a\nbc");
    reads("<tool_call>\n{\"name\": \"other\", \"arguments\": {}}\n</tool_call>",
          "\n{\"name\": \"other\", \"arguments\": {}}");
    reads("</tool_call><tool_call><tool_call>" LAMP, LAMP0);
}

/* A call that is cut anywhere: the name once it is complete, then what there is. */
static void reads_cut_calls(void **state)
{
    (void)state;
    static const char all[] = "Hm.\n<tool_call>\n" WEATHER "\n</tool_call>";
    const char *name_end = strstr(all, "\", \"arg"), *arguments = strstr(all, "{\"city");
    const char *behind = strstr(all, "}\n<");
    for (size_t n = strlen("Hm.\n<tool_call>"); n < sizeof all; n++) {
        char text[sizeof all], expected[sizeof all + 64];
        const char *end = all + n;
        snprintf(text, n + 1, "%s", all);
        if (end <= name_end)
            snprintf(expected, sizeof expected, "Hm.");
        else if (end <= arguments)
            snprintf(expected, sizeof expected, "Hm.[0 get_weather|~");
        else if (end <= behind)
            snprintf(expected, sizeof expected, "Hm.[0 get_weather|%.*s~", (int)(end - arguments),
                     arguments);
        else
            snprintf(expected, sizeof expected, "Hm." WEATHER0);
        reads(text, expected);
    }
    reads("{\"name\": \"lamp\"", "[0 lamp|~");
    reads("```json\n{\"name\": \"lamp\", \"argu", "[0 lamp|~");
}

/* Text is passed on at once where it cannot be the beginning of a call. */
static void holds_back_no_more_than_it_must(void **state)
{
    (void)state;
    struct seen seen = {0};
    struct kl_call_reader reader;
    struct kl_call_names *copy = kl_call_names_new(names, 2);
    const struct kl_call_sink sink = {see_text, see_call, &seen};
    static const struct {
        const char *fed, *seen;
    } steps[] = {{"He", "He"},
                 {"llo {\"name\": \"la", "Hello {\"name\": \"la"},
                 {" <", "Hello {\"name\": \"la"},
                 {"b", "Hello {\"name\": \"la <b"},
                 {"<tool_", "Hello {\"name\": \"la <b"},
                 {"call>", "Hello {\"name\": \"la <b"},
                 {"{\"name\": \"lamp\", \"arguments\": {", "Hello {\"name\": \"la <b[0 lamp|{"},
                 {"\"a\"", "Hello {\"name\": \"la <b[0 lamp|{\"a\""},
                 {": 1}", "Hello {\"name\": \"la <b[0 lamp|{\"a\": 1}"},
                 {"}", "Hello {\"name\": \"la <b[0 lamp|{\"a\": 1}]"}};
    kl_call_reader_init(&reader, copy);
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        assert_int_equal(kl_call_reader_feed(&reader, steps[i].fed, strlen(steps[i].fed), &sink),
                         KL_OK);
        assert_string_equal(seen.text, steps[i].seen);
    }
    free(copy);
}

/* Whitespace without end, in text and in the beginning of a call, and names without end. */
static void is_bounded(void **state)
{
    (void)state;
    static char text[12000], names_text[12000];
    memset(text, ' ', 6000);
    memcpy(text, "a", 1);
    memcpy(text + 6000, "b", 2);
    for (size_t size = 1; size < 5000; size = 3 * size + 1)
        assert_string_equal(read_in_pieces(text, size), text);
    memcpy(text, "{", 1);
    memcpy(text + 6000, LAMP "\xe4\xbd\xa0", sizeof LAMP + 3);
    for (size_t size = 1; size < 5000; size = 3 * size + 1)
        assert_string_equal(read_in_pieces(text, size), text);
    memset(names_text, 'x', 6000);
    memcpy(names_text, "{\"name\": \"", 10);
    for (size_t size = 1; size < 5000; size = 3 * size + 1)
        assert_string_equal(read_in_pieces(names_text, size), names_text);
    memset(text, ' ', 6000);
    memcpy(text, "<tool_call>", 11);
    text[6000] = 'b';
    text[6001] = '\0';
    assert_null(strstr(read_in_pieces(text, 5), "<"));
    memset(text, '\n', 6000);
    memcpy(text + 6000, LAMP, sizeof LAMP);
    assert_non_null(strstr(read_in_pieces(text, 7), LAMP0));
}

static uint32_t next_random(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u; /* Knuth, TAOCP 3.3.4 */
    return *state >> 16;
}

/* Writes a text that the rule allows, of random pieces; returns whether it is complete. */
static bool write_by_rule(struct kl_machine *machine, uint32_t *random, char *text, size_t room)
{
    static const char *const pieces[] = {"<tool_call>",
                                         "\n",
                                         "{",
                                         "\"name\"",
                                         ":",
                                         " ",
                                         "\"lamp\"",
                                         ",",
                                         "\"arguments\"",
                                         "}",
                                         "```json\n",
                                         "```",
                                         "1",
                                         "</tool_call>",
                                         "\"a\"",
                                         "{\"name\": \"lamp\"",
                                         ", \"arguments\": {\"a\": 1}}",
                                         "x",
                                         "{\n  \"name\": \"lamp\"",
                                         "\n</tool_call>"};
    struct kl_rule_state now, next;
    size_t len = 0;
    machine->kind->begin(machine, &now);
    for (int tries = 0; tries < 200 && len + 64 < room; tries++) {
        const char *piece = pieces[next_random(random) % (sizeof pieces / sizeof pieces[0])];
        bool fits = true;
        next = now;
        for (const char *c = piece; *c != '\0' && fits; c++)
            fits = machine->kind->step(machine, &next, (uint8_t)*c, &next);
        if (!fits)
            continue;
        now = next;
        len = (size_t)(stpcpy(text + len, piece) - text);
    }
    text[len] = '\0';
    return machine->kind->is_complete(machine, &now);
}

/* A call that the reader begins is one that the rule has written, and so it is whole. */
static void reads_what_the_rule_writes(void **state)
{
    (void)state;
    static const char grammar[] = "root ::= \"{\\\"name\\\": \\\"lamp\\\", \\\"arguments\\\": \" "
                                  "\"{\" (\"\\\"a\\\": \" \"1\"+)? \"}}\"\n";
    static const char *const quoted[] = {"\"lamp\""};
    struct kl_calls calls = {.names = quoted, .n_names = 1};
    struct kl_rule *rule;
    struct kl_machine *machine;
    char text[2048];
    uint32_t random = 7;
    size_t n_calls = 0;
    assert_int_equal(kl_gbnf_compile(grammar, sizeof grammar - 1, &calls.call, NULL), KL_OK);
    assert_int_equal(kl_calls_rule(&calls, &rule, NULL), KL_OK);
    assert_int_equal(rule->kind->open(rule, &machine, NULL), KL_OK);
    for (int round = 0; round < 3000; round++) {
        bool is_complete = write_by_rule(machine, &random, text, sizeof text);
        const char *seen = read_in_pieces(text, 1 + next_random(&random) % 9);
        assert_null(strstr(seen, "tool_call>"));
        if (is_complete && strchr(seen, '~') != NULL)
            fail_msg("%s was read as %s", text, seen);
        for (const char *c = seen; (c = strstr(c, " lamp|")) != NULL; c++, n_calls++)
            assert_true(strncmp(c, " lamp|{", 7) == 0 || strcmp(c, " lamp|~") == 0);
    }
    assert_true(n_calls > 300);
    machine->kind->close(machine);
    kl_rule_disown(rule);
    kl_rule_disown(calls.call);
}

static enum kl_status fail_text(void *context, const char *text, size_t len)
{
    (void)context, (void)text, (void)len;
    return KL_ERR_MEMORY;
}

static void passes_errors_on(void **state)
{
    (void)state;
    struct kl_call_reader reader;
    struct kl_call_names *copy = kl_call_names_new(names, 2);
    const struct kl_call_sink sink = {fail_text, see_call, NULL};
    kl_call_reader_init(&reader, copy);
    assert_int_equal(kl_call_reader_feed(&reader, "a", 1, &sink), KL_ERR_MEMORY);
    kl_call_reader_init(&reader, copy);
    assert_int_equal(kl_call_reader_feed(&reader, "<", 1, &sink), KL_OK);
    assert_int_equal(kl_call_reader_end(&reader, &sink), KL_ERR_MEMORY);
    free(copy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_tagged_calls),
        cmocka_unit_test(reads_bare_and_fenced_calls),
        cmocka_unit_test(leaves_everything_else),
        cmocka_unit_test(drops_tags_without_a_call),
        cmocka_unit_test(reads_cut_calls),
        cmocka_unit_test(holds_back_no_more_than_it_must),
        cmocka_unit_test(is_bounded),
        cmocka_unit_test(reads_what_the_rule_writes),
        cmocka_unit_test(passes_errors_on),
    };
    return cmocka_run_group_tests_name("service/call_reader", tests, NULL, NULL);
}
