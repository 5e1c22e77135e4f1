/*
 * Schemas that are rewritten for answers: what they still allow is valid, what they should allow is
 * there, and a text that is written at random, byte by byte, never gets stuck.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../engine/failing_memory.h"
#include "graph_judge.h"
#include "random_schema.h"
#include "schema/answer_schema.h"
#include "schema/schema_parser.h"
#include "json/json_numbers.h"

/* schema; a list of values that an answer may be; a list of those it may not */
static const char *const answers[][3] = {
    {"{}", "[1,{'a':1}]", "[]"},
    {"{'type':'object'}", "[{},{'a':1}]", "[1]"},
    /* properties that are not named */
    {"{'type':'object','properties':{'a':{}}}", "[{},{'a':1}]", "[{'b':1}]"},
    {"{'type':'object','properties':{'a':{}},'additionalProperties':true}", "[{'b':1}]", "[1]"},
    {"{'type':'object','properties':{'a':{}},'required':['b']}", "[{'a':1,'b':1}]", "[{'a':1}]"},
    {"{'type':'object','allOf':[{'properties':{'a':{}}},{'properties':{'b':{}}}]}",
     "[{'a':1,'b':2}]", "[{'c':1}]"},
    {"{'properties':{'a':{}},'anyOf':[{'required':['a']},{'properties':{'b':{}},"
     "'required':['b'],'type':'object'}]}",
     "[{'a':1},{'b':1},{'a':1,'b':1}]", "[{'c':1},{'a':1,'c':1}]"},
    {"{'type':'object','properties':{'a':false,'b':{}},'additionalProperties':{'type':'null'}}",
     "[{'b':1,'c':null}]", "[{'a':null},{'c':1}]"},
    /* merged assertions */
    {"{'allOf':[{'type':['string','null']},{'type':['null','number']}]}", "[null]", "['',1]"},
    {"{'type':'integer','allOf':[{'minimum':2},{'exclusiveMinimum':2},{'maximum':5}]}", "[3,5]",
     "[2,6,2.5]"},
    {"{'allOf':[{'multipleOf':2},{'multipleOf':6}],'type':'number'}", "[12]", "[8]"},
    {"{'enum':['a','bb','c'],'maxLength':1,'pattern':'[ab]'}", "['a']", "['bb','c']"},
    {"{'enum':[1,2,2.5,3],'type':'integer','minimum':2}", "[2,3]", "[1,2.5]"},
    /* control characters with a short escape, and one without */
    {"{'enum':['a\\tb','\\u0001','\\r']}", "['a\\tb','\\u0001','\\r']", "['ab','\\t']"},
    {"{'const':'a\\tb'}", "['a\\tb']", "['a']"},
    {"{'type':'string','allOf':[{'pattern':'^a'},{'pattern':'z$'}],'minLength':3,'maxLength':4}",
     "['abz','abcz']", "['az','abcdz','abc']"},
    {"{'type':'array','items':{'type':'integer'},'allOf':[{'items':{'minimum':1}},"
     "{'prefixItems':[{'maximum':3}]}],'maxItems':2}",
     "[[1,9],[]]", "[[4],[0],[1,1,1]]"},
    {"{'type':'array','items':{'type':'number'},'contains':{'const':1}}", "[[1],[1,2]]",
     "[[],[2],['']]"},
    {"{'properties':{'a':{'type':'string'}},'patternProperties':{'a':{'maxLength':1}},"
     "'type':'object'}",
     "[{'a':'x','ba':5}]", "[{'a':'xx'},{'ba':'xx'},{'c':1}]"},
    {"{'type':'object','patternProperties':{'^a':{'type':'null'},'b$':{'enum':[null,1]}}}",
     "[{'a':null},{'b':1},{'ab':null}]", "[{'a':1},{'ab':1},{'c':1}]"},
    {"{'type':'object','patternProperties':{'^(x|y)$':{'type':'null'}},'minProperties':1}",
     "[{'x':null},{'x':null,'y':null}]", "[{},{'z':null}]"},
    {"{'type':'object','propertyNames':{'enum':['a','b']},'additionalProperties':{'type':'null'}}",
     "[{'a':null,'b':null}]", "[{'c':null},{'a':1}]"},
    {"{'type':'object','propertyNames':{'pattern':'^[a-z]+$','maxLength':3}}", "[{'abc':1}]",
     "[{'A':1},{'abcd':1}]"},
    /* one of several */
    {"{'oneOf':[{'type':'string'},{'type':'null'}]}", "['',null]", "[1]"},
    {"{'oneOf':[{'type':'integer','minimum':0},{'type':'integer','maximum':10}]}", "[-1,11]",
     "[0,10,5]"},
    {"{'type':'object','properties':{'k':{'enum':['a','b']}},'required':['k'],'oneOf':["
     "{'properties':{'k':{'const':'a'},'x':{'type':'null'}},'required':['x']},"
     "{'properties':{'k':{'const':'b'},'y':{'type':'null'}}}]}",
     "[{'k':'a','x':null},{'k':'b'},{'k':'b','y':null}]", "[{'k':'a'},{'k':'b','y':1}]"},
    {"{'type':'object','properties':{'a':{},'b':{}},'oneOf':[{'required':['a']},"
     "{'required':['b']}]}",
     "[{'a':1},{'b':1}]", "[{},{'a':1,'b':1}]"},
    {"{'oneOf':[{'type':'object','properties':{'a':{}}},{'type':'object','properties':{'b':{}},"
     "'required':['b']}]}",
     "[{'a':1},{}]", "[{'b':1,'a':1},{'c':1}]"},
    {"{'type':'object','oneOf':[{'properties':{'a':{}},'additionalProperties':false},"
     "{'properties':{'b':{}},'additionalProperties':false}]}",
     "[{'a':1},{'b':1}]", "[{},{'a':1,'b':1},{'c':1}]"},
    /* not */
    {"{'type':'string','not':{'enum':['a','b']}}", "['c','','ab']", "['a','b',1]"},
    {"{'type':'string','not':{'pattern':'x'}}", "['c','']", "['axb']"},
    {"{'type':'integer','not':{'enum':[1,3]}}", "[0,2,4]", "[1,3]"},
    {"{'not':{'type':['string','object']}}", "[1,null,[]]", "['',{}]"},
    {"{'type':'object','properties':{'a':{'type':'integer'}},'not':{'properties':{'a':{'minimum':"
     "5}}}}",
     "[{'a':4}]", "[{'a':5},{}]"},
    {"{'type':'object','properties':{'a':{},'b':{}},'not':{'required':['a','b']}}",
     "[{'a':1},{'b':1},{}]", "[{'a':1,'b':1}]"},
    {"{'type':['integer','string'],'not':{'anyOf':[{'type':'string'},{'minimum':3}]}}", "[2]",
     "['',3]"},
    {"{'type':'array','not':{'items':{'type':'null'}}}", "[[1]]", "[[],[null]]"},
    /* conditions */
    {"{'type':'object','properties':{'k':{'enum':['a','b']},'x':{'type':'integer'}},'required':"
     "['k'],'if':{'properties':{'k':{'const':'a'}}},'then':{'required':['x']},'else':{'not':"
     "{'required':['x']}}}",
     "[{'k':'a','x':1},{'k':'b'}]", "[{'k':'a'},{'k':'b','x':1}]"},
    {"{'type':'object','properties':{'a':{},'b':{}},'dependencies':{'a':['b']}}",
     "[{},{'b':1},{'a':1,'b':1}]", "[{'a':1}]"},
    /* what can have no value */
    {"{'type':'object','properties':{'a':{'type':'string','minLength':2,'maxLength':1},'b':{}}}",
     "[{},{'b':1}]", "[{'a':''}]"},
    {"{'anyOf':[{'type':'integer','minimum':2,'maximum':1},{'type':'null'}]}", "[null]", "[1,2]"},
    {"{'$ref':'#/$defs/t','$defs':{'t':{'type':'object','properties':{'v':{'type':'integer'},"
     "'n':{'anyOf':[{'type':'null'},{'$ref':'#/$defs/t'}]}},'required':['v','n']}}}",
     "[{'v':1,'n':{'v':2,'n':null}}]", "[{'v':1}]"},
    {"{'type':'array','items':{'$ref':'#'},'maxItems':2}", "[[],[[],[]]]", "[[[],[],[]]]"},
    {"{'type':'array','prefixItems':[{'type':'null'},false]}", "[[],[null]]", "[[null,1]]"},
    {"{'type':'object','properties':{'a':{},'b':{},'c':{}},'minProperties':2}",
     "[{'a':1,'c':1},{'b':1,'c':1}]", "[{'a':1}]"},
    {"{'type':'object','properties':{'a':{},'b':{}},'required':['b'],'maxProperties':1}",
     "[{'b':1}]", "[{'a':1}]"},
    {"{'type':'array','items':{'enum':['a','b']},'uniqueItems':true,'minItems':1}", "[['a','b']]",
     "[['a','a'],[]]"},
    /* names that run out: all of one pattern, of the longest length, behind a beginning */
    {"{'type':'object','patternProperties':{'^[a-c][a-z]$':{'type':'null'}},"
     "'additionalProperties':false,'minProperties':70}",
     "[]", "[{}]"},
    {"{'type':'object','patternProperties':{'^(x|[ab]|y.*)$':{'type':'null'},'^[bc]$':{}},"
     "'additionalProperties':false,'minProperties':6}",
     "[{'x':null,'a':null,'b':null,'c':null,'y':null,'yy':null}]", "[{'x':null}]"},
    {"{'type':'object','propertyNames':{'maxLength':1},'additionalProperties':{'type':'null'},"
     "'minProperties':40}",
     "[]", "[{},{'':1}]"},
    {"{'type':'object','propertyNames':{'maxLength':0},'additionalProperties':{'type':'null'}}",
     "[{},{'':null}]", "[{'a':null}]"},
    {"{'type':'object','properties':{'aa':{},'ab':{},'b':{}},'patternProperties':{'^a.?$':"
     "{'type':'null'}},'additionalProperties':false,'minProperties':60}",
     "[]", "[{'aa':null}]"},
    {"{'type':'object','propertyNames':{'pattern':'^[a-z0-9]{2}$'},'minProperties':200,"
     "'additionalProperties':{'type':'null'}}",
     "[]", "[{'aa':null}]"},
    {"{'anyOf':[{'type':'object','propertyNames':{'maxLength':1},'minProperties':9},"
     "{'type':'object','patternProperties':{'^abc$':{'type':'null'}},"
     "'additionalProperties':false}]}",
     "[{'abc':null},{}]", "[{'ab':null}]"},
};
enum { N_ANSWERS = sizeof(answers) / sizeof(*answers) };

static void check_all(const struct kl_schema_graph *graph, const char *schema, const char *list,
                      bool allowed)
{
    json_t *values = json_of(list), *value;
    size_t i;
    json_array_foreach(values, i, value)
    {
        if (graph_allows(graph, value) != allowed)
            fail_msg("%s: value %zu of %s is %s", schema, i, list,
                     allowed ? "not allowed" : "allowed");
    }
    json_decref(values);
}

static void test_answers_are_a_subset(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_ANSWERS; i++) {
        struct kl_schema_graph graph;
        struct kl_error err = {0};
        json_t *schema = json_of(answers[i][0]);
        assert_int_equal(kl_schema_parse(schema, &graph, NULL, &err), KL_OK);
        check_all(&graph, answers[i][0], answers[i][1], true);
        if (kl_schema_for_answers(&graph, NULL, &err) != KL_OK)
            fail_msg("%s: %s", answers[i][0], err.text);
        check_all(&graph, answers[i][0], answers[i][1], true);
        check_all(&graph, answers[i][0], answers[i][2], false);
        for (size_t k = 0; k < graph.n_nodes; k++) {
            const struct kl_schema_node *node = &graph.nodes[k];
            assert_int_equal(node->all_of.n + node->one_of.n, 0);
            assert_int_equal(node->not_node, KL_NO_NODE);
            assert_int_equal(node->if_node, KL_NO_NODE);
            assert_int_equal(node->contains, KL_NO_NODE);
        }
        kl_schema_graph_release(&graph);
        json_decref(schema);
    }
}

/* ---- texts at random ------------------------------------------------------------------------- */

/* The bytes that may follow. */
static unsigned follow(struct kl_machine *machine, const struct kl_rule_state *from,
                       uint8_t bytes[256])
{
    unsigned n = 0;
    struct kl_rule_state to;
    size_t mark = machine->kind->mark(machine);
    for (int byte = 0; byte < 256; byte++)
        if (machine->kind->step(machine, from, (uint8_t)byte, &to))
            bytes[n++] = (uint8_t)byte;
    machine->kind->release(machine, mark);
    return n;
}

/* Writes a text; closing characters are preferred, the more so the longer it is. */
static size_t write_text(struct kl_machine *machine, const char *schema, char *text, size_t room)
{
    struct kl_rule_state state;
    uint8_t bytes[256];
    size_t len = 0;
    machine->kind->begin(machine, &state);
    while (len < room) {
        bool is_complete = machine->kind->is_complete(machine, &state);
        unsigned n = follow(machine, &state, bytes);
        if (machine->failure.status != KL_OK)
            fail_msg("%s: %s", schema, machine->failure.text);
        if (n == 0 && !is_complete)
            fail_msg("%s: stuck behind %.*s", schema, (int)len, text);
        if (n == 0 || (is_complete && draw(4) == 0))
            return len;
        unsigned at = draw(n);
        if (draw(3) == 0 || (len > 200 && draw(8) > 0))
            for (unsigned i = 0; i < n; i++)
                if (bytes[i] == '"' || bytes[i] == '}' || bytes[i] == ']')
                    at = i;
        text[len++] = (char)bytes[at];
        assert_true(machine->kind->step(machine, &state, bytes[at], &state));
    }
    return 0;
}

/* Numbers that a double does not hold would be judged as other ones. */
static bool has_long_number(const char *text, size_t len)
{
    size_t n = 0;
    for (size_t i = 0; i < len && n < 15; i++)
        n = (text[i] >= '0' && text[i] <= '9') || text[i] == '.' ? n + 1 : 0;
    return n == 15;
}

/* Fewer texts of the same under sanitizers. */
static int rounds(int n)
{
    return getenv("KINGLET_TEST_BRIEF") != NULL ? n / 4 : n;
}

/* false: the schema is refused. */
static bool check_texts(const char *text_of_schema, int n, size_t room)
{
    struct kl_schema_graph graph;
    struct kl_error err = {0};
    struct kl_rule *rule;
    json_t *schema = json_of(text_of_schema);
    assert_non_null(schema);
    if (kl_schema_compile(schema, KL_SCHEMA_ANSWER, &rule, NULL, &err) != KL_OK) {
        json_decref(schema);
        return false;
    }
    assert_int_equal(kl_schema_parse(schema, &graph, NULL, &err), KL_OK);
    for (int i = 0; i < n; i++) {
        char text[4096];
        struct kl_machine *machine;
        assert_int_equal(rule->kind->open(rule, &machine, &err), KL_OK);
        size_t len = write_text(machine, text_of_schema, text, room);
        machine->kind->close(machine);
        text[len] = '\0';
        /* names with NUL are not read by the library either */
        if (len == 0 || has_long_number(text, len) || strstr(text, "\\u0000") != NULL)
            continue;
        json_t *value = kl_json_read(text, len, NULL);
        if (value == NULL || !graph_allows(&graph, value))
            fail_msg("%s: not valid: %.*s", text_of_schema, (int)len, text);
        json_decref(value);
    }
    kl_schema_graph_release(&graph);
    kl_rule_disown(rule);
    json_decref(schema);
    return true;
}

static void test_no_text_gets_stuck(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_ANSWERS; i++)
        assert_true(check_texts(answers[i][0], rounds(12), 4000));
}

/* The same with schemas at random; objects with names that run out are among them. */
static void test_no_text_of_a_random_schema_gets_stuck(void **state)
{
    (void)state;
    const int n_random = rounds(400);
    int n = 0;
    for (random_seed = 1; random_seed <= (uint64_t)n_random;) {
        static struct schema_text t;
        uint64_t seed = random_seed;
        t.len = 0;
        if (draw(2) == 0)
            add_names(&t);
        else
            add_schema(&t, 2);
        n += check_texts(t.bytes, 4, 400);
        random_seed = seed + 1;
    }
    assert_in_range(n, n_random / 2, n_random);
}

/* An answer that opens containers wherever it may ends all the same. */
static void test_depth_comes_to_an_end(void **state)
{
    static const char *const schemas[] = {
        "{'type':'object','properties':{'next':{'$ref':'#'}}}",
        "{'type':'object','properties':{'v':{'type':'array','prefixItems':[{'type':'object',"
        "'properties':{'w':{'type':'array','items':{'type':'null'}}},'required':['w']}],"
        "'minItems':1},'next':{'anyOf':[{'$ref':'#'},{'type':'null'}]}},'required':['v','next']}",
        "{'type':'array','items':{'$ref':'#'}}",
        "{'type':'object','patternProperties':{'^a+$':{'$ref':'#'}},'additionalProperties':false}",
        "{'type':['object','null'],'additionalProperties':{'$ref':'#'}}",
    };
    (void)state;
    for (size_t i = 0; i < sizeof schemas / sizeof *schemas; i++) {
        struct kl_error err = {0};
        struct kl_rule *rule;
        struct kl_machine *machine;
        struct kl_rule_state now;
        json_t *schema = json_of(schemas[i]);
        uint8_t bytes[256];
        unsigned n, depth = 0, deepest = 0;
        assert_int_equal(kl_schema_compile(schema, KL_SCHEMA_ANSWER, &rule, NULL, &err), KL_OK);
        assert_int_equal(rule->kind->open(rule, &machine, &err), KL_OK);
        machine->kind->begin(machine, &now);
        for (size_t len = 0; len < 20000 && (n = follow(machine, &now, bytes)) > 0; len++) {
            static const char wanted[] = "\"{[}]"; /* the first one that may follow, or any */
            uint8_t byte = bytes[0];
            for (size_t k = sizeof wanted - 1; k-- > 0;)
                byte = memchr(bytes, wanted[k], n) != NULL ? (uint8_t)wanted[k] : byte;
            depth += byte == '{' || byte == '[';
            deepest = depth > deepest ? depth : deepest;
            depth -= byte == '}' || byte == ']';
            assert_true(machine->kind->step(machine, &now, byte, &now));
        }
        if (deepest < 400 || !machine->kind->is_complete(machine, &now))
            fail_msg("%s: stuck at a depth of %u of %u", schemas[i], depth, deepest);
        machine->kind->close(machine);
        kl_rule_disown(rule);
        json_decref(schema);
    }
}

/* ---- refusals -------------------------------------------------------------------------------- */

static const struct {
    const char *schema;
    enum kl_status status;
    const char *path, *keyword;
} refusals[] = {
    {"false", KL_ERR_UNSUPPORTED, "#", ""},
    {"{'type':'string','const':1}", KL_ERR_UNSUPPORTED, "#", ""},
    {"{'type':'object','properties':{'a':{'$ref':'#'}},'required':['a']}", KL_ERR_UNSUPPORTED, "#",
     ""},
    {"{'oneOf':[{'type':'null'},{'type':'null'}]}", KL_ERR_UNSUPPORTED, "#", ""},
    {"{'type':'array','items':{'const':'a'},'uniqueItems':true,'minItems':2}", KL_ERR_UNSUPPORTED,
     "#", ""},
    {"{'required':['x'],'type':'object','properties':{'x':{'type':'array','items':{'enum':['a','b']"
     "},'uniqueItems':true,'minItems':3}}}",
     KL_ERR_UNSUPPORTED, "#", ""},
    {"{'properties':{'a':{'type':'array','items':{'type':'boolean'},'uniqueItems':true}}}",
     KL_ERR_UNSUPPORTED, "#/properties/a", "uniqueItems"},
    {"{'type':'object','patternProperties':{'^[a-z]{2}$':{}},'minProperties':677,"
     "'additionalProperties':false}",
     KL_ERR_UNSUPPORTED, "#", ""},
    {"{'type':'integer','not':{'multipleOf':2}}", KL_ERR_UNSUPPORTED, "#/not", "multipleOf"},
    {"{'type':'integer','allOf':[{'multipleOf':4},{'multipleOf':6}]}", KL_ERR_UNSUPPORTED,
     "#/allOf/1", "multipleOf"},
};

static void test_refusals_name_path_and_keyword(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(refusals) / sizeof(*refusals); i++) {
        struct kl_rule *rule;
        struct kl_schema_refusal refusal;
        struct kl_error err = {0};
        json_t *schema = json_of(refusals[i].schema);
        enum kl_status status = kl_schema_compile(schema, KL_SCHEMA_ANSWER, &rule, &refusal, &err);
        if (status != refusals[i].status || strcmp(refusal.path, refusals[i].path) != 0 ||
            strcmp(refusal.keyword, refusals[i].keyword) != 0)
            fail_msg("%s: %s at \"%s\", \"%s\": %s", refusals[i].schema, kl_status_name(status),
                     refusal.path, refusal.keyword, err.text);
        json_decref(schema);
    }
}

/* 2^n alternatives end with an error, and soon. */
static void test_alternatives_that_multiply_are_refused(void **state)
{
    (void)state;
    struct kl_error err = {0};
    struct kl_rule *rule;
    json_t *all = json_array();
    for (int i = 0; i < 40; i++) {
        char a[16], b[16];
        snprintf(a, sizeof(a), "a%d", i);
        snprintf(b, sizeof(b), "b%d", i);
        json_array_append_new(
            all, json_pack("{s:[{s:[s]},{s:[s]}]}", "anyOf", "required", a, "required", b));
    }
    json_t *schema = json_pack("{s:s,s:o}", "type", "object", "allOf", all);
    assert_int_equal(kl_schema_compile(schema, KL_SCHEMA_ANSWER, &rule, NULL, &err), KL_ERR_LIMIT);
    assert_non_null(strstr(err.text, "alternatives"));
    json_decref(schema);
}

/* One of 30 branches that do not exclude each other: the properties of the others are left out. */
static void test_many_branches_of_one_of(void **state)
{
    (void)state;
    struct kl_error err = {0};
    struct kl_schema_graph graph;
    json_t *one_of = json_array(), *properties = json_object();
    for (int i = 0; i < 30; i++) {
        char key[16];
        snprintf(key, sizeof(key), "k%d", i);
        json_object_set_new(properties, key, json_object());
        json_array_append_new(one_of,
                              json_pack("{s:[s],s:{s:{s:s,s:[s]}}}", "required", key, "properties",
                                        key, "type", "object", "required", "path"));
    }
    json_t *schema = json_pack("{s:s,s:o,s:b,s:o}", "type", "object", "properties", properties,
                               "additionalProperties", 0, "oneOf", one_of);
    assert_int_equal(kl_schema_parse(schema, &graph, NULL, &err), KL_OK);
    if (kl_schema_for_answers(&graph, NULL, &err) != KL_OK)
        fail_msg("%s", err.text);
    check_all(&graph, "one of 30", "[{'k7':{'path':1}}]", true);
    check_all(&graph, "one of 30", "[{'k7':{}},{},{'k7':{'path':1},'k8':{'path':1}}]", false);
    kl_schema_graph_release(&graph);
    json_decref(schema);
}

/* Each allocation fails once. */
static void test_a_failed_allocation_is_an_error(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_ANSWERS; i += 3) {
        json_t *schema = json_of(answers[i][0]);
        enum kl_status status = KL_ERR_MEMORY;
        for (long n = 0; status != KL_OK; n++) {
            struct kl_rule *rule = NULL;
            struct kl_error err = {0};
            atomic_store(&n_allocations, 0);
            atomic_store(&failing, n);
            status = kl_schema_compile(schema, KL_SCHEMA_ANSWER, &rule, NULL, &err);
            atomic_store(&failing, -1);
            if (status != KL_OK)
                assert_int_equal(status, KL_ERR_MEMORY);
            kl_rule_disown(rule);
        }
        json_decref(schema);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers_are_a_subset),
        cmocka_unit_test(test_no_text_gets_stuck),
        cmocka_unit_test(test_no_text_of_a_random_schema_gets_stuck),
        cmocka_unit_test(test_depth_comes_to_an_end),
        cmocka_unit_test(test_refusals_name_path_and_keyword),
        cmocka_unit_test(test_alternatives_that_multiply_are_refused),
        cmocka_unit_test(test_many_branches_of_one_of),
        cmocka_unit_test(test_a_failed_allocation_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
