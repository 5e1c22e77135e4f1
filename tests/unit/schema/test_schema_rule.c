/* Rules of JSON schemas: what they accept, and the byte at which they refuse. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "schema/schema.h"
#include "json/json_numbers.h"

#define WHOLE (-1) /* accepted */
#define SHORT (-2) /* all bytes are accepted, but more must follow */

struct sample {
    const char *schema;
    const char *text;
    int stops; /* at this byte, or WHOLE or SHORT */
};

static struct kl_rule *compile(const char *text, enum kl_schema_reading reading)
{
    struct kl_error err = {0};
    struct kl_rule *rule = NULL;
    json_t *schema = kl_json_read(text, strlen(text), NULL);
    if (schema == NULL)
        fail_msg("not JSON: %s", text);
    if (kl_schema_compile(schema, reading, &rule, NULL, &err) != KL_OK)
        fail_msg("%s: %s", text, err.text);
    json_decref(schema);
    return rule;
}

static int run(struct kl_rule *rule, const char *text)
{
    struct kl_error err = {0};
    struct kl_machine *machine;
    assert_int_equal(rule->kind->open(rule, &machine, &err), KL_OK);
    struct kl_rule_state state;
    machine->kind->begin(machine, &state);
    int result = SHORT;
    for (size_t i = 0; text[i] != '\0' && result == SHORT; i++) {
        size_t mark = machine->kind->mark(machine);
        struct kl_rule_state trial, before = state;
        bool alive = machine->kind->step(machine, &state, (uint8_t)text[i], &trial);
        machine->kind->release(machine, mark);
        assert_memory_equal(&state, &before, sizeof state);
        if (machine->kind->step(machine, &state, (uint8_t)text[i], &state) != alive)
            fail_msg("a trial differs at byte %zu of %s", i, text);
        if (!alive)
            result = (int)i;
    }
    if (result == SHORT && machine->kind->is_complete(machine, &state))
        result = WHOLE;
    machine->kind->close(machine);
    return result;
}

static void check(const struct sample *samples, size_t n, enum kl_schema_reading reading)
{
    size_t failed = 0;
    for (size_t i = 0; i < n; i++) {
        struct kl_rule *rule = compile(samples[i].schema, reading);
        int stops = run(rule, samples[i].text);
        kl_rule_disown(rule);
        if (stops != samples[i].stops) {
            print_message("%s: %s: stops at %d, expected %d\n", samples[i].schema, samples[i].text,
                          stops, samples[i].stops);
            failed++;
        }
    }
    assert_int_equal(failed, 0);
}

#define JUDGE(samples)  check(samples, sizeof(samples) / sizeof *(samples), KL_SCHEMA_JUDGE)
#define ANSWER(samples) check(samples, sizeof(samples) / sizeof *(samples), KL_SCHEMA_ANSWER)

static void syntax(void **state)
{
    (void)state;
    static const struct sample samples[] = {
        {"true", "null", WHOLE},
        {"true", " [1, -0.5e+3 ,{\"a\" :\ttrue}\n] ", WHOLE},
        {"true", "[1,]", 3},
        {"true", "[,", 1},
        {"true", "{\"a\":1,}", 7},
        {"true", "{\"a\":1,\"a\":2}", 9}, /* the same name again */
        {"true", "{\"a\":1,\"\\u0061\":2}", 14},
        {"true", "01", 1},
        {"true", "-", SHORT},
        {"true", "1.", SHORT},
        {"true", "1.e", 2},
        {"true", "1e", SHORT},
        {"true", "+1", 0},
        {"true", "nul", SHORT},
        {"true", "nulL", 3},
        {"true", "\"\x01", 1},
        {"true", "\"\\x", 2},
        {"true", "\"\\u12g", 5},
        {"true", "\"\\ud83d\\ude00\"", WHOLE},
        {"true", "\"\\ud83d\"", 7},
        {"true", "\"\\ud83d\\ud83d", 10},
        {"true", "\"\\ude00", 4},
        {"true", "\"\xc3\xa9\xe6\xbc\xa2\xf0\x9f\x98\x80\"", WHOLE},
        {"true", "\"\xc0", 1},
        {"true", "\"\xed\xa0", 2},
        {"true", "\"\xf4\x90", 2},
        {"true", "[[]]]", 4},
        {"true", "{} x", 3},
        {"false", "1", 0},
    };
    JUDGE(samples);
}

static void types(void **state)
{
    (void)state;
    static const struct sample samples[] = {
        {"{\"type\":\"integer\"}", "1", WHOLE},
        {"{\"type\":\"integer\"}", "1.0", WHOLE},
        {"{\"type\":\"integer\"}", "10e-1", WHOLE},
        {"{\"type\":\"integer\"}", "1.5", SHORT},
        {"{\"type\":\"integer\"}", "\"", 0},
        {"{\"type\":[\"null\",\"boolean\"]}", "fals", SHORT},
        {"{\"type\":[\"null\",\"boolean\"]}", "1", 0},
        {"{\"$schema\":\"http://json-schema.org/draft-04/schema#\",\"type\":\"integer\"}", "1.0",
         SHORT},
        {"{\"enum\":[1,\"a\",null,[2],{\"b\":[]}]}", "1.0", WHOLE},
        {"{\"enum\":[1,\"a\",null,[2],{\"b\":[]}]}", "\"a\"", WHOLE},
        {"{\"enum\":[1,\"a\",null,[2],{\"b\":[]}]}", "\"b", 1},
        {"{\"enum\":[1,\"a\",null,[2],{\"b\":[]}]}", "[2]", WHOLE},
        {"{\"enum\":[1,\"a\",null,[2],{\"b\":[]}]}", "[3]", 2},
        {"{\"enum\":[1,\"a\",null,[2],{\"b\":[]}]}", "{\"b\": []}", WHOLE},
        {"{\"enum\":[1,\"a\",null,[2],{\"b\":[]}]}", "{\"b\": [1", 7},
        {"{\"enum\":[1,\"a\",null,[2],{\"b\":[]}]}", "{}", 1},
        {"{\"enum\":[1,\"a\",null,[2],{\"b\":[]}]}", "true", 0},
        {"{\"const\":\"x\\\"y\"}", "\"x\\\"y\"", WHOLE},
        {"{\"const\":\"x\\\"y\"}", "\"x\\u0022y\"", WHOLE},
    };
    JUDGE(samples);
}

static void numbers(void **state)
{
    (void)state;
    static const struct sample samples[] = {
        {"{\"minimum\":3}", "2", SHORT},
        {"{\"minimum\":3}", "3", WHOLE},
        {"{\"minimum\":3}", "[", SHORT},
        {"{\"items\":{\"minimum\":3}}", "[2]", 2},
        {"{\"items\":{\"exclusiveMaximum\":1e2}}", "[99.99, 100]", 11},
        {"{\"multipleOf\":0.01}", "0.07", WHOLE},
        {"{\"multipleOf\":0.01}", "0.075", SHORT},
        {"{\"maximum\":18446744073709551615}", "18446744073709551615", WHOLE},
    };
    JUDGE(samples);
}

static void strings(void **state)
{
    (void)state;
    static const struct sample samples[] = {
        {"{\"minLength\":2}", "\"\xc3\xa9\"", 3},
        {"{\"minLength\":2}", "\"\xc3\xa9x\"", WHOLE},
        {"{\"maxLength\":2}", "\"abc", 3},
        {"{\"maxLength\":1}", "\"\\ud83d\\ude00\"", WHOLE},
        {"{\"pattern\":\"^a+$\"}", "\"aab", 3},
        {"{\"pattern\":\"^a+$\"}", "\"\\u0061\"", WHOLE},
        {"{\"pattern\":\"b\"}", "\"aa\"", 3},
        {"{\"pattern\":\"b\"}", "\"aba\"", WHOLE},
        {"{\"pattern\":\"b\"}", "7", WHOLE},
        {"{\"pattern\":\"b\",\"maxLength\":3}", "\"aba\"", WHOLE},
        {"{\"anyOf\":[{\"pattern\":\"^a\"},{\"pattern\":\"^b\"}]}", "\"bc\"", WHOLE},
        {"{\"anyOf\":[{\"pattern\":\"^a\"},{\"pattern\":\"^b\"}]}", "\"c", 1},
        {"{\"not\":{\"pattern\":\"^a\"}}", "\"a\"", 2},
        {"{\"not\":{\"pattern\":\"^a\"}}", "\"ba\"", WHOLE},
    };
    JUDGE(samples);
}

#define OBJECT "{\"properties\":{\"a\":{\"type\":\"integer\"},\"ab\":{\"type\":\"string\"}}"

static void objects(void **state)
{
    (void)state;
    static const struct sample samples[] = {
        {OBJECT "}", "{\"ab\": \"\", \"a\": 1, \"x\": [], \"y\": 1}", WHOLE},
        {OBJECT "}", "{\"a\": \"", 6},
        {OBJECT "}", "{\"ab\": 1", 7},
        {OBJECT "}", "{\"a\": 1, \"a\"", 11},
        {OBJECT ",\"required\":[\"ab\",\"z\"]}", "{\"ab\": \"\"}", 9},
        {OBJECT ",\"required\":[\"ab\",\"z\"]}", "{\"z\": 1, \"ab\": \"\"}", WHOLE},
        {OBJECT ",\"additionalProperties\":false}", "{\"b", 2},
        {OBJECT ",\"additionalProperties\":false}", "{\"abc", 4},
        {OBJECT ",\"additionalProperties\":false}", "{\"a\": 1, \"ab\": \"\",", 17},
        {OBJECT ",\"additionalProperties\":{\"type\":\"null\"}}", "{\"abc\": null, \"a\": 3}",
         WHOLE},
        {OBJECT ",\"additionalProperties\":{\"type\":\"null\"}}", "{\"abc\": 1", 8},
        {"{\"patternProperties\":{\"^x\":{\"type\":\"null\"},\"y$\":{}},\"additionalProperties\":"
         "false}",
         "{\"xy\": null, \"ay\": 1}", WHOLE},
        {"{\"patternProperties\":{\"^x\":{\"type\":\"null\"},\"y$\":{}},\"additionalProperties\":"
         "false}",
         "{\"xy\": 1", 7},
        {"{\"patternProperties\":{\"^x\":{\"type\":\"null\"},\"y$\":{}},\"additionalProperties\":"
         "false}",
         "{\"a\"", 3},
        {"{\"propertyNames\":{\"pattern\":\"^[a-c]+$\"}}", "{\"abd", 4},
        {"{\"propertyNames\":{\"maxLength\":2}}", "{\"ab\": 1}", WHOLE},
        {"{\"propertyNames\":{\"maxLength\":2}}", "{\"abc", 4},
        {"{\"propertyNames\":{\"enum\":[\"p\",\"q\"]}}", "{\"q\": 1, \"r", 10},
        {"{\"minProperties\":1}", "{}", 1},
        {"{\"maxProperties\":1}", "{\"a\": 1,", 7},
        {"{\"dependentRequired\":{\"a\":[\"b\"]}}", "{\"a\": 1}", 7},
        {"{\"dependentRequired\":{\"a\":[\"b\"]}}", "{\"a\": 1, \"b\": 2}", WHOLE},
        {"{\"dependentRequired\":{\"a\":[\"b\"]}}", "{\"c\": 1}", WHOLE},
        {"{\"dependentSchemas\":{\"a\":{\"properties\":{\"b\":{\"type\":\"null\"}}}}}",
         "{\"b\": 1, \"a\"", 11},
    };
    JUDGE(samples);
}

static void arrays(void **state)
{
    (void)state;
    static const struct sample samples[] = {
        {"{\"items\":{\"type\":\"integer\"},\"minItems\":1,\"maxItems\":2}", "[]", 1},
        {"{\"items\":{\"type\":\"integer\"},\"minItems\":1,\"maxItems\":2}", "[1, 2]", WHOLE},
        {"{\"items\":{\"type\":\"integer\"},\"minItems\":1,\"maxItems\":2}", "[1, 2,", 5},
        {"{\"items\":{\"type\":\"integer\"}}", "[1, \"", 4},
        {"{\"prefixItems\":[{\"type\":\"null\"},true],\"items\":false}", "[null, 1]", WHOLE},
        {"{\"prefixItems\":[{\"type\":\"null\"},true],\"items\":false}", "[null, 1,", 8},
        {"{\"contains\":{\"type\":\"null\"}}", "[1, 2]", 5},
        {"{\"contains\":{\"type\":\"null\"}}", "[1, null]", WHOLE},
        {"{\"contains\":{\"type\":\"null\"},\"maxContains\":1}", "[null, null", 10},
        {"{\"contains\":{\"type\":\"null\"},\"minContains\":0}", "[]", WHOLE},
        {"{\"uniqueItems\":true}", "[1, 1.0]", 7},
        {"{\"uniqueItems\":true}", "[1, true, \"1\", [1], {\"a\": 1}, []]", WHOLE},
        {"{\"uniqueItems\":true}", "[{\"a\": 1, \"b\": 2}, {\"b\": 2, \"a\": 1}", 34},
        {"{\"uniqueItems\":true}", "[[1, 2], [2, 1], {\"a\": [3]}, {\"a\": [4]}]", WHOLE},
        {"{\"uniqueItems\":true}", "[\"\\u0061\", \"a\"", 13},
    };
    JUDGE(samples);
}

static void alternatives(void **state)
{
    (void)state;
    static const struct sample samples[] = {
        {"{\"oneOf\":[{\"type\":\"integer\"},{\"minimum\":2}]}", "1", WHOLE},
        {"{\"oneOf\":[{\"type\":\"integer\"},{\"minimum\":2}]}", "3", SHORT},
        {"{\"oneOf\":[{\"type\":\"integer\"},{\"minimum\":2}]}", "2.5", WHOLE},
        {"{\"oneOf\":[{\"required\":[\"a\"]},{\"required\":[\"b\"]}]}", "{\"a\": 1, \"b\": 2}", 15},
        {"{\"oneOf\":[{\"required\":[\"a\"]},{\"required\":[\"b\"]}]}", "{\"b\": 2}", WHOLE},
        {"{\"anyOf\":[{\"properties\":{\"a\":{\"const\":1}}},{\"properties\":{\"a\":{\"const\":"
         "\"x\"}}}]}",
         "{\"a\": true", 6},
        {"{\"anyOf\":[{\"properties\":{\"a\":{\"const\":1},\"b\":{\"type\":\"null\"}}},"
         "{\"properties\":{\"a\":{\"const\":\"x\"}}}]}",
         "{\"a\": 1, \"b\": 2", 14},
        {"{\"anyOf\":[{\"properties\":{\"a\":{\"const\":1},\"b\":{\"type\":\"null\"}}},"
         "{\"properties\":{\"a\":{\"const\":\"x\"}}}]}",
         "{\"b\": 2, \"a\": 1}", 14},
        {"{\"allOf\":[{\"required\":[\"a\"]},{\"properties\":{\"a\":{\"type\":\"null\"}}}]}",
         "{\"a\": n", SHORT},
        {"{\"not\":{\"required\":[\"a\"]}}", "{\"a\": 1}", 7},
        {"{\"not\":{\"type\":\"object\"}}", "{}", 1},
        {"{\"if\":{\"properties\":{\"k\":{\"const\":1}}},\"then\":{\"required\":[\"x\"]},"
         "\"else\":{\"required\":[\"y\"]}}",
         "{\"k\": 1, \"x\": 0}", WHOLE},
        {"{\"if\":{\"properties\":{\"k\":{\"const\":1}}},\"then\":{\"required\":[\"x\"]},"
         "\"else\":{\"required\":[\"y\"]}}",
         "{\"k\": 2, \"x\": 0}", 15},
        {"{\"$defs\":{\"t\":{\"properties\":{\"l\":{\"$ref\":\"#/$defs/"
         "t\"},\"v\":{\"type\":\"integer\"}},"
         "\"additionalProperties\":false}},\"$ref\":\"#/$defs/t\"}",
         "{\"l\": {\"l\": {\"v\": 1}, \"v\": \"", 27},
    };
    JUDGE(samples);
}

static void answers(void **state)
{
    (void)state;
    static const struct sample samples[] = {
        {OBJECT "}", "{\"a\": 1, \"ab\": \"\"}", WHOLE},
        {OBJECT "}", "{\"ab\": \"\", ", 9},
        {OBJECT "}", "{\"a\":1", 5},
        {OBJECT "}", "{ ", 1},
        {OBJECT "}", "{\"x", 2},
        {OBJECT ",\"additionalProperties\":true}", "{\"x\": 1, \"a", SHORT},
        {OBJECT ",\"additionalProperties\":true}", "{\"x\": 1, \"a\"", 11},
        {OBJECT ",\"additionalProperties\":true}", "{\"x\": 1, \"ac\": 1}", WHOLE},
        {OBJECT ",\"required\":[\"a\"]}", "{\"ab", 3},
        {OBJECT ",\"required\":[\"a\"]}", "{}", 1},
        {"{\"type\":\"integer\"}", "1.", 1},
        {"{\"type\":\"number\"}", "1e", 1},
        {"{\"type\":\"integer\",\"minimum\":10,\"maximum\":19}", "2", 0},
        {"{\"type\":\"integer\",\"minimum\":10,\"maximum\":19}", "1", SHORT},
        {"{\"enum\":[\"on\",\"off\"]}", "\"\\", 1},
        {"{\"enum\":[\"a\\\"b\"]}", "\"a\\\"b\"", WHOLE},
        {"{\"enum\":[\"a\\\"b\"]}", "\"a\\u", 3},
        {"{\"items\":{\"enum\":[\"b\",\"a\",\"c\"]},\"uniqueItems\":true,\"type\":\"array\"}",
         "[\"a\", \"c\"]", WHOLE},
        {"{\"items\":{\"enum\":[\"b\",\"a\",\"c\"]},\"uniqueItems\":true,\"type\":\"array\"}",
         "[\"b\", \"a", 7},
        {"{\"items\":{\"enum\":[\"b\",\"a\",\"c\"]},\"uniqueItems\":true,\"type\":\"array\"}",
         "[\"c\",", 4},
        {"{\"items\":{\"enum\":[\"b\",\"a\",\"c\"]},\"uniqueItems\":true,\"minItems\":2,"
         "\"type\":\"array\"}",
         "[\"c", 2},
        {"{\"allOf\":[{\"properties\":{\"a\":{\"type\":\"null\"}}},{\"properties\":{\"b\":{"
         "\"type\":\"null\"}},"
         "\"required\":[\"b\"],\"type\":\"object\"}]}",
         "{\"a\": null, \"b\": null}", WHOLE},
    };
    ANSWER(samples);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(syntax),       cmocka_unit_test(types),   cmocka_unit_test(numbers),
        cmocka_unit_test(strings),      cmocka_unit_test(objects), cmocka_unit_test(arrays),
        cmocka_unit_test(alternatives), cmocka_unit_test(answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
