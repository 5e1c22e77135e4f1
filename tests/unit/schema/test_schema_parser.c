/*
 * The graph of a schema: the values it allows (by graph_judge.h, a plain reading of the graph), and
 * what is refused, with path and keyword.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "graph_judge.h"
#include "schema/schema_parser.h"
#include "json/json_numbers.h"

#define DRAFT_4  "'$schema':'http://json-schema.org/draft-04/schema#'"
#define DRAFT_6  "'$schema':'http://json-schema.org/draft-06/schema#'"
#define DRAFT_7  "'$schema':'http://json-schema.org/draft-07/schema#'"
#define NEW_2019 "'$schema':'https://json-schema.org/draft/2019-09/schema'"
#define NEW_2020 "'$schema':'https://json-schema.org/draft/2020-12/schema'"

/* schema; a list of values it allows; a list of those it does not */
static const char *const readings[][3] = {
    {"true", "[1,'a',null]", "[]"},
    {"false", "[]", "[1,'a',null,{}]"},
    {"{}", "[1]", "[]"},
    {"{'type':'integer'}", "[1,1.0,-3,1e3]", "[1.5,'1',true]"},
    {"{'type':['string','null']}", "['',null]", "[0,false]"},
    {"{'type':'string','nullable':true}", "['',null]", "[0]"},
    {"{" DRAFT_7 ",'type':'string','nullable':true}", "['']", "[null]"},
    {"{" DRAFT_4 ",'type':'integer'}", "[1]", "[1.0,1.5]"},
    {"{'const':1}", "[1,1.0]", "[2,true,'1']"},
    {"{'const':{'a':[1,{'b':null}]}}", "[{'a':[1.0,{'b':null}]}]",
     "[{'a':[1]},{'a':[1,{'b':null}],'c':1},{},[],{'a':[1,{'b':null},2]}]"},
    {"{'enum':['a','b','a',1.5,true,null,[],{}]}", "['a','b',1.5,true,null,[],{}]",
     "['c',1,false,[1],{'a':1},'']"},
    {"{'enum':[]}", "[]", "[1,null]"},
    {"{'const':'a','enum':['a','b']}", "['a']", "['b']"},
    {"{'type':'string','enum':[1,'a']}", "['a']", "[1]"},
    {"{'minLength':2,'maxLength':3}", "['ab','\u00e4\u00f6\u00fc',1]", "['a','abcd']"},
    {"{'pattern':'b+'}", "['abc',1]", "['ac','']"},
    {"{'format':'date'}", "['2024-02-29',1]", "['2024-02-30']"},
    {"{'format':'unheard of'}", "['x']", "[]"},
    {"{'minimum':1.5,'exclusiveMaximum':3}", "[1.5,2.9,'']", "[1.4,3]"},
    {"{'minimum':2,'exclusiveMinimum':1}", "[2]", "[1.5]"},
    {"{'minimum':1,'exclusiveMinimum':2}", "[2.5]", "[2,1]"},
    {"{'minimum':2,'exclusiveMinimum':true}", "[2.1]", "[2]"},
    {"{" DRAFT_4 ",'maximum':2,'exclusiveMaximum':true}", "[1.9]", "[2]"},
    {"{'multipleOf':0.1}", "[0.3,1]", "[0.35]"},
    {"{'properties':{'a':{'type':'string'}},'required':['b']}", "[{'b':1},{'a':'','b':1},1]",
     "[{},{'a':1,'b':1}]"},
    {"{'patternProperties':{'^x':{'type':'null'}},'properties':{'xa':{}},"
     "'additionalProperties':{'type':'boolean'}}",
     "[{'xb':null,'xa':null,'y':true}]", "[{'xa':1},{'xb':1},{'y':1}]"},
    {"{'propertyNames':{'maxLength':1}}", "[{'a':1}]", "[{'ab':1}]"},
    {"{'minProperties':1,'maxProperties':2}", "[{'a':1},{'a':1,'b':1}]",
     "[{},{'a':1,'b':1,'c':1}]"},
    {"{'items':{'type':'null'}}", "[[],[null],1]", "[[1]]"},
    {"{'prefixItems':[{'type':'null'}],'items':false}", "[[],[null]]", "[[1],[null,1]]"},
    {"{'items':[{'type':'null'}],'additionalItems':{'type':'string'}}", "[[null,'a']]",
     "[['a'],[null,1]]"},
    {"{'items':{},'additionalItems':false}", "[[1,2]]", "[]"},
    {"{'minItems':1,'maxItems':2,'uniqueItems':true}", "[[1],[1,2]]", "[[],[1,1.0],[1,2,3]]"},
    {"{'contains':{'const':1}}", "[[2,1]]", "[[],[2]]"},
    {"{'contains':{'const':1},'minContains':0,'maxContains':1}", "[[],[1]]", "[[1,1]]"},
    {"{" DRAFT_7 ",'contains':{'const':1},'minContains':2}", "[[1]]", "[[]]"},
    {"{" DRAFT_4 ",'contains':{'const':1},'const':3,'propertyNames':false}", "[[],1,{'a':1}]",
     "[]"},
    {"{'allOf':[{'minimum':1},{'maximum':2}]}", "[1,2]", "[0,3]"},
    {"{'anyOf':[{'type':'null'},{'const':1}]}", "[null,1]", "[2]"},
    {"{'oneOf':[{'minimum':1},{'maximum':2}]}", "[0,3]", "[1,2]"},
    {"{'not':{'type':'null'}}", "[1]", "[null]"},
    {"{'not':{}}", "[]", "[1]"},
    {"{'if':{'type':'null'},'then':false,'else':{'type':'string'}}", "['']", "[null,1]"},
    {"{'then':false}", "[1]", "[]"},
    {"{" DRAFT_6 ",'if':true,'then':false}", "[1]", "[]"},
    {"{'dependencies':{'a':['b'],'c':{'required':['d']},'e':[]}}",
     "[{},{'a':1,'b':1},{'c':1,'d':1},{'e':1},1]", "[{'a':1},{'c':1}]"},
    {"{'dependentRequired':{'a':['b']},'dependentSchemas':{'c':false}}", "[{'b':1},{'a':1,'b':1}]",
     "[{'a':1},{'c':1}]"},
    {"{" NEW_2019 ",'dependencies':{'a':['b']}}", "[{'a':1}]", "[]"},
    {"{'properties':{'a':{}},'unevaluatedProperties':false}", "[{'a':1}]", "[{'b':1}]"},
    {"{'prefixItems':[{}],'unevaluatedItems':{'type':'null'}}", "[[1,null]]", "[[1,1]]"},
    {"{'additionalProperties':{},'allOf':[{}],'unevaluatedProperties':false}", "[{'a':1}]", "[]"},
};

/* The same for references. */
static const char *const references[][3] = {
    {"{'$ref':'#/$defs/a','$defs':{'a':{'type':'null'}}}", "[null]", "[1]"},
    {"{'$ref':'#/$defs/a','minLength':2,'$defs':{'a':{'type':'string'}}}", "['ab']", "['a',1]"},
    {"{" DRAFT_7 ",'properties':{'x':{'$ref':'#/definitions/a','minLength':2}},"
     "'definitions':{'a':{'type':'string'}}}",
     "[{'x':'a'}]", "[{'x':1}]"},
    {"{'properties':{'a':{'$ref':'#'},'b':{'type':'null'}},'additionalProperties':false}",
     "[{'a':{'a':{'b':null}}}]", "[{'a':{'a':{'b':1}}},{'c':1}]"},
    {"{'$ref':'#/$defs/a~1b~0c%25','$defs':{'a/b~c%':{'type':'null'}}}", "[null]", "[1]"},
    {"{'$ref':'#/allOf/1/not','allOf':[{},{'not':{'type':'null'}}]}", "[]", "[1,null]"},
    {"{'$ref':'#here','$defs':{'x':{'$anchor':'here','type':'null'}}}", "[null]", "[1]"},
    {"{" DRAFT_7 ",'allOf':[{'$ref':'#here'}],'definitions':{'x':{'$id':'#here','type':'null'}}}",
     "[null]", "[1]"},
    {"{" DRAFT_4 ",'id':'http://a.b/c/d','allOf':[{'$ref':'../e#/definitions/f'}],"
     "'definitions':{'x':{'id':'/e','definitions':{'f':{'type':'null'}}}}}",
     "[null]", "[1]"},
    {"{'$id':'http://a.b/c','$ref':'http://a.b/c#/$defs/x','$defs':{'x':{'type':'null'}}}",
     "[null]", "[1]"},
    {"{'$id':'http://a.b/c','$ref':'d','$defs':{'x':{'$id':'d','$ref':'#/$defs/y',"
     "'$defs':{'y':{'type':'null'}}}}}",
     "[null]", "[1]"},
    {"{'$ref':'urn:x:y#/$defs/z','$defs':{'a':{'$id':'urn:x:y','$defs':{'z':{'type':'null'}}}}}",
     "[null]", "[1]"},
    {"{'$dynamicRef':'#n','$defs':{'a':{'$dynamicAnchor':'n','type':'null'}}}", "[null]", "[1]"},
    {"{" NEW_2019 ",'properties':{'a':{'$recursiveRef':'#'}},'additionalProperties':false}",
     "[{'a':{'a':{}}}]", "[{'a':{'b':1}}]"},
    {"{'properties':{'$ref':{'type':'null'},'id':{'type':'null'}}}", "[{'$ref':null,'id':null}]",
     "[{'$ref':1},{'id':1}]"},
    {"{'enum':[{'$ref':'#/nowhere'}]}", "[{'$ref':'#/nowhere'}]", "[1]"},
};

static void check_all(const struct kl_schema_graph *graph, const char *schema, const char *list,
                      bool allowed)
{
    json_t *values = json_of(list), *value;
    size_t i;
    json_array_foreach(values, i, value)
    {
        if (graph_allows(graph, value) != allowed)
            fail_msg("%s: value %zu of %s is judged as %s", schema, i, list,
                     allowed ? "invalid" : "valid");
    }
    json_decref(values);
}

static void check_reading(const char *const row[3])
{
    struct kl_schema_graph graph;
    struct kl_error err = {0};
    json_t *schema = json_of(row[0]);
    if (kl_schema_parse(schema, &graph, NULL, &err) != KL_OK)
        fail_msg("%s: %s", row[0], err.text);
    json_decref(schema); /* not used after the call */
    check_all(&graph, row[0], row[1], true);
    check_all(&graph, row[0], row[2], false);
    kl_schema_graph_release(&graph);
}

static void test_keywords_mean_what_the_specification_says(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(readings) / sizeof(*readings); i++)
        check_reading(readings[i]);
}

static void test_references_lead_to_their_targets(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(references) / sizeof(*references); i++)
        check_reading(references[i]);
}

static const struct {
    const char *schema;
    enum kl_status status;
    const char *path, *keyword;
} refusals[] = {
    {"1", KL_ERR_INVALID, "#", ""},
    {"{'properties':{'a':1}}", KL_ERR_INVALID, "#/properties/a", ""},
    {"{'properties':[]}", KL_ERR_INVALID, "#", "properties"},
    {"{'properties':{'a/b':{'type':'strin'}}}", KL_ERR_INVALID, "#/properties/a~1b", "type"},
    {"{'type':[]}", KL_ERR_INVALID, "#", "type"},
    {"{'type':1}", KL_ERR_INVALID, "#", "type"},
    {"{'items':{'minLength':-1}}", KL_ERR_INVALID, "#/items", "minLength"},
    {"{'maxItems':1.5}", KL_ERR_INVALID, "#", "maxItems"},
    {"{'multipleOf':0}", KL_ERR_INVALID, "#", "multipleOf"},
    {"{'minimum':'1'}", KL_ERR_INVALID, "#", "minimum"},
    {"{" DRAFT_4 ",'exclusiveMinimum':1}", KL_ERR_INVALID, "#", "exclusiveMinimum"},
    {"{" DRAFT_7 ",'exclusiveMinimum':true}", KL_ERR_INVALID, "#", "exclusiveMinimum"},
    {"{'required':true}", KL_ERR_INVALID, "#", "required"},
    {"{'required':[1]}", KL_ERR_INVALID, "#", "required"},
    {"{'enum':1}", KL_ERR_INVALID, "#", "enum"},
    {"{'anyOf':[]}", KL_ERR_INVALID, "#", "anyOf"},
    {"{'anyOf':[{},{'allOf':{}}]}", KL_ERR_INVALID, "#/anyOf/1", "allOf"},
    {"{'pattern':'('}", KL_ERR_INVALID, "#", "pattern"},
    {"{'patternProperties':{'(':{}}}", KL_ERR_INVALID, "#", "patternProperties"},
    {"{'uniqueItems':1}", KL_ERR_INVALID, "#", "uniqueItems"},
    {"{" NEW_2020 ",'items':[]}", KL_ERR_INVALID, "#", "items"},
    {"{'dependencies':{'a':1}}", KL_ERR_INVALID, "#/dependencies/a", ""},
    {"{'$ref':1}", KL_ERR_INVALID, "#", "$ref"},
    {"{'$ref':'#/nowhere'}", KL_ERR_INVALID, "#", "$ref"},
    {"{'$ref':'#/required','required':['a']}", KL_ERR_INVALID, "#", "$ref"},
    {"{'$ref':'http://a.b/c'}", KL_ERR_UNSUPPORTED, "#", "$ref"},
    {"{'$ref':'#'}", KL_ERR_INVALID, "#", "$ref"},
    {"{'anyOf':[{'$ref':'#/$defs/a'}],'$defs':{'a':{'not':{'$ref':'#'}}}}", KL_ERR_INVALID, "#",
     "$ref"},
    {"{'unevaluatedProperties':false,'anyOf':[{}]}", KL_ERR_UNSUPPORTED, "#",
     "unevaluatedProperties"},
    {"{'unevaluatedItems':false,'contains':{}}", KL_ERR_UNSUPPORTED, "#", "unevaluatedItems"},
    {"{'$dynamicRef':'#n','$defs':{'a':{'$dynamicAnchor':'n'},'b':{'$id':'b','$dynamicAnchor':"
     "'n'}}}",
     KL_ERR_UNSUPPORTED, "#", "$dynamicRef"},
    {"{'$schema':'http://json-schema.org/draft-03/schema#'}", KL_ERR_UNSUPPORTED, "#", "$schema"},
};

static void test_refusals_name_path_and_keyword(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(refusals) / sizeof(*refusals); i++) {
        struct kl_schema_graph graph;
        struct kl_schema_refusal refusal;
        struct kl_error err = {0};
        json_t *schema = json_of(refusals[i].schema);
        enum kl_status status = kl_schema_parse(schema, &graph, &refusal, &err);
        if (status != refusals[i].status || strcmp(refusal.path, refusals[i].path) != 0 ||
            strcmp(refusal.keyword, refusals[i].keyword) != 0)
            fail_msg("%s: %s at \"%s\", \"%s\": %s", refusals[i].schema, kl_status_name(status),
                     refusal.path, refusal.keyword, err.text);
        assert_non_null(strstr(err.text, refusals[i].path));
        assert_non_null(strstr(err.text, refusals[i].keyword));
        assert_int_equal(graph.n_nodes, 0);
        assert_int_equal(kl_schema_parse(schema, &graph, NULL, NULL), status);
        json_decref(schema);
    }
}

/* Nested in `depth` arrays of allOf, or of a constant. */
static enum kl_status parse_nested(size_t depth, const char *open, const char *inner,
                                   const char *close, struct kl_error *err)
{
    char text[16384] = "";
    size_t n = 0;
    for (size_t i = 0; i < depth; i++)
        n += (size_t)snprintf(text + n, sizeof(text) - n, "%s", open);
    n += (size_t)snprintf(text + n, sizeof(text) - n, "%s", inner);
    for (size_t i = 0; i < depth; i++)
        n += (size_t)snprintf(text + n, sizeof(text) - n, "%s", close);
    json_t *schema = kl_json_read(text, n, NULL);
    assert_non_null(schema);
    struct kl_schema_graph graph;
    enum kl_status status = kl_schema_parse(schema, &graph, NULL, err);
    kl_schema_graph_release(&graph);
    json_decref(schema);
    return status;
}

static void test_depth_is_limited(void **state)
{
    (void)state;
    struct kl_error err = {0};
    assert_int_equal(parse_nested(128, "{\"items\":", "{}", "}", &err), KL_OK);
    assert_int_equal(parse_nested(130, "{\"items\":", "{}", "}", &err), KL_ERR_LIMIT);
    assert_non_null(strstr(err.text, "128"));
    char constant[1024] = "{\"const\":";
    for (size_t i = 0; i < 200; i++)
        strcat(constant, "[");
    for (size_t i = 0; i < 200; i++)
        strcat(constant, "]");
    strcat(constant, "}");
    assert_int_equal(parse_nested(0, "", constant, "", &err), KL_ERR_LIMIT);
}

static void test_a_chain_of_references_is_limited(void **state)
{
    (void)state;
    struct kl_error err = {0};
    for (size_t n = 200; n <= 300; n += 100) {
        json_t *schema = json_pack("{s:s,s:{}}", "$ref", "#/$defs/0", "$defs");
        for (size_t i = 0; i < n; i++) {
            char key[32], to[48];
            snprintf(key, sizeof(key), "%zu", i);
            snprintf(to, sizeof(to), "#/$defs/%zu", i + 1);
            json_t *next = i + 1 < n ? json_pack("{s:s}", "$ref", to) : json_object();
            json_object_set_new(json_object_get(schema, "$defs"), key, next);
        }
        struct kl_schema_graph graph;
        enum kl_status status = kl_schema_parse(schema, &graph, NULL, &err);
        assert_int_equal(status, n == 200 ? KL_OK : KL_ERR_LIMIT);
        kl_schema_graph_release(&graph);
        json_decref(schema);
    }
}

static void test_a_subschema_is_one_node(void **state)
{
    (void)state;
    struct kl_schema_graph graph;
    json_t *schema = json_of("{'properties':{'a':{'$ref':'#/$defs/x'},'b':{'$ref':'#/$defs/x'},"
                             "'c':{'$ref':'#/properties/a'}},'$defs':{'x':{'type':'null'}}}");
    assert_int_equal(kl_schema_parse(schema, &graph, NULL, NULL), KL_OK);
    assert_int_equal(graph.n_nodes, 5); /* the root, a, b, c, x */
    const struct kl_schema_node *root = &graph.nodes[graph.root];
    assert_true(root->is_closed);
    assert_string_equal(graph.keys[graph.properties[root->properties.first + 1].key].bytes, "b");
    int32_t b = graph.properties[root->properties.first + 1].node;
    assert_string_equal(graph.nodes[b].path, "#/properties/b");
    kl_schema_graph_release(&graph);
    json_decref(schema);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keywords_mean_what_the_specification_says),
        cmocka_unit_test(test_references_lead_to_their_targets),
        cmocka_unit_test(test_refusals_name_path_and_keyword),
        cmocka_unit_test(test_depth_is_limited),
        cmocka_unit_test(test_a_chain_of_references_is_limited),
        cmocka_unit_test(test_a_subschema_is_one_node),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
