/*
 * A JSON schema as a graph of nodes: the result of parsing it, and the input of the machine.
 * Internal to schema/.
 *
 * Each subschema is a node. A node holds what it asserts of a value itself, by type, and the nodes
 * that apply to the same value (allOf, anyOf, ...; $ref is one of allOf). Immutable after parsing.
 * Lists are ranges [first, first + n) of the arrays of the graph; indexes of nodes are int32_t,
 * KL_NO_NODE where there is none.
 *
 * Everything that drafts write in different ways is one thing here: const and enum are sets of
 * strings and numbers, types, and (for arrays and objects) anyOf of nodes; dependencies are anyOf;
 * an array of items is a prefix; draft 4's exclusiveMinimum is a flag of the bound.
 */
#ifndef KL_SCHEMA_SCHEMA_NODES_H
#define KL_SCHEMA_SCHEMA_NODES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "grammar/regex.h"
#include "schema/number.h"
#include "schema/string_set.h"

#define KL_NO_NODE (-1)

/* Bits of the types that a node allows. An integer is a number without a fraction, however it is
 * written (1.0), but in draft 4, where it has no '.' and no exponent. */
enum kl_json_type {
    KL_JSON_NULL = 1,
    KL_JSON_FALSE = 2,
    KL_JSON_TRUE = 4,
    KL_JSON_INTEGER = 8,
    KL_JSON_FRACTION = 16, /* all other numbers */
    KL_JSON_STRING = 32,
    KL_JSON_ARRAY = 64,
    KL_JSON_OBJECT = 128,
    KL_JSON_NUMBER = KL_JSON_INTEGER | KL_JSON_FRACTION,
    KL_JSON_ANY = 255
};

struct kl_range {
    uint32_t first, n;
};

struct kl_schema_property {
    uint32_t key; /* of graph.keys */
    int32_t node;
};

struct kl_schema_pattern {
    uint32_t regex; /* of graph.regexes */
    int32_t node;
    /* For answers: how many names match that the node does not list, UINT32_MAX: many, or the node
     * has no minProperties; whether, behind some beginning of a name, all may be used up. */
    uint32_t n_names;
    bool runs_out;
};

struct kl_schema_node {
    uint8_t types;  /* bits of enum kl_json_type; 0: nothing is valid */
    bool is_draft4; /* an integer has neither '.' nor exponent */
    bool unique_items;
    /* For answers: it lists properties and is silent about others; it says explicitly that
     * there may be any others. */
    bool is_closed, is_open;

    /* strings: length in code points; the regexes (of pattern and format) must all match */
    uint32_t min_length, max_length; /* max UINT32_MAX: none */
    struct kl_range regexes;         /* of graph.regex_lists, indexes of graph.regexes */
    int32_t strings;                 /* the set (of graph.sets) that a string must be in, or -1 */

    /* numbers */
    int32_t bounds;          /* of graph.bounds, or -1 */
    struct kl_range numbers; /* of graph.numbers: a number must equal one of them; */
    bool has_numbers;        /* ... only where this is set */

    /* objects */
    struct kl_range properties; /* of graph.properties, in the order of the schema */
    struct kl_range patterns;   /* of graph.patterns */
    int32_t additional;         /* for other properties, or KL_NO_NODE: anything */
    int32_t property_names;
    struct kl_range required;                /* of graph.key_lists, indexes of graph.keys */
    uint32_t min_properties, max_properties; /* max UINT32_MAX: none */

    /* arrays */
    struct kl_range prefix; /* of graph.node_lists: schemas of the first items */
    int32_t items;          /* for the others, or KL_NO_NODE: anything */
    int32_t contains;
    uint32_t min_contains, max_contains;
    uint32_t min_items, max_items;

    /* the same value; of graph.node_lists. In draft 4 to 7 a $ref has no siblings. */
    struct kl_range all_of, any_of, one_of; /* any_of and one_of: not asserted if n is 0 */
    int32_t not_node;
    int32_t if_node, then_node, else_node; /* then, else: KL_NO_NODE: anything */

    const char *path; /* where it stands, for messages: "#/properties/a" */
};

/* Memory of texts. */
struct kl_schema_chunk {
    struct kl_schema_chunk *next;
    size_t used, room;
    char bytes[];
};

/* Made by kl_schema_parse, or built with schema_graph.h. */
struct kl_schema_graph {
    struct kl_schema_node *nodes;
    size_t n_nodes;
    int32_t root;
    struct kl_schema_text *keys; /* names of properties, each once */
    size_t n_keys;
    struct kl_schema_property *properties;
    size_t n_properties;
    struct kl_schema_pattern *patterns;
    size_t n_patterns;
    uint32_t *key_lists, *regex_lists;
    size_t n_key_lists, n_regex_lists;
    int32_t *node_lists;
    size_t n_node_lists;
    struct kl_regex **regexes; /* patternProperties, pattern and format; each pattern once */
    size_t n_regexes;
    struct kl_string_set *sets;
    size_t n_sets;
    struct kl_number_bounds *bounds;
    size_t n_bounds;
    struct kl_decimal *numbers;
    size_t n_numbers;
    /* It was rewritten for answers: no node has allOf, oneOf, not or if, and patterns are for names
     * that the node does not list in its properties. */
    bool is_for_answers;
    struct kl_schema_chunk *chunks; /* hold the bytes of keys, strings and paths */
    size_t bytes;                   /* of all this */
};

#endif
