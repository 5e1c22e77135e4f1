/*
 * Plans: the nodes of a schema that judge one value together.
 *
 * A value is judged by a set of nodes, the demanded ones: those that the containers around it ask
 * of it. A plan is made for each such set when it first occurs, and holds these nodes and all that
 * apply to the same value (allOf, anyOf, ...), children first, with what is needed to judge a
 * string, a number, an object or an array by all of them at once. A link says to which nodes of the
 * container the results for a member or an item belong.
 *
 * A node is bad when an assertion of its own failed, dead when it cannot become true any more, true
 * or not at the end of the value. Internal to schema/; one machine's, one thread.
 */
#ifndef KL_SCHEMA_VALUE_PLAN_H
#define KL_SCHEMA_VALUE_PLAN_H

#include "grammar/word_store.h"
#include "schema/schema_nodes.h"

/* Kinds of values, by their first byte. */
enum kl_value_kind {
    KL_VALUE_NULL,
    KL_VALUE_FALSE,
    KL_VALUE_TRUE,
    KL_VALUE_NUMBER,
    KL_VALUE_STRING,
    KL_VALUE_ARRAY,
    KL_VALUE_OBJECT,
    KL_N_VALUE_KINDS
};

struct kl_plan_node {
    const struct kl_schema_node *node;
    const uint32_t *all_of, *any_of, *one_of; /* indexes in the plan */
    uint32_t n_all_of, n_any_of, n_one_of;
    int32_t not_at, if_at, then_at, else_at; /* indexes in the plan, or -1 */
    /* its automata of a string: indexes of the atoms of plan->strings */
    const uint32_t *atoms;
    uint32_t n_atoms;
    /* indexes of plan->keys, made by kl_plan_objects: of its properties, and of required names */
    const uint32_t *properties; /* [node->properties.n] */
    const uint32_t *required;   /* [node->required.n] */
};

/* An automaton that reads the characters of a string. */
struct kl_string_atom {
    enum kl_atom_kind { KL_ATOM_REGEX, KL_ATOM_SET, KL_ATOM_KEYS } kind;
    uint32_t index; /* of the graph's regexes or sets; KL_ATOM_KEYS: none */
};

/* The automata of a string: each has one word of state. */
struct kl_string_atoms {
    struct kl_string_atom *atoms;
    uint32_t n;
    bool counts;          /* the length matters */
    uint32_t cap;         /* lengths above it are alike */
    uint32_t longest_min; /* the largest minLength */
};

struct kl_plan {
    uint32_t id;
    uint32_t n_nodes, n_demanded;
    struct kl_plan_node *nodes; /* [n_nodes] children first */
    uint32_t *demanded;         /* [n_demanded] indexes in the plan */
    bool is_conjunction;        /* the death of any node is the death of a demanded one */
    uint8_t *dead_kinds[KL_N_VALUE_KINDS]; /* [n_demanded] whether values of the kind are dead */
    bool some_dead[KL_N_VALUE_KINDS];      /* for any demanded node */

    struct kl_string_atoms strings;
    bool judges_numbers; /* the text of a number is needed */

    /* of objects: made by kl_plan_objects */
    bool has_objects;
    uint32_t *objects; /* [n_objects] nodes that assert something of an object */
    uint32_t n_objects;
    uint32_t *keys; /* [n_keys] named properties, of graph.keys, in the order of the schema */
    uint32_t n_keys;
    struct kl_string_set key_set;     /* of these; its place is an index of keys */
    const struct kl_link **key_links; /* [n_keys] NULL: not made yet */
    uint32_t *patterns;               /* [n_patterns] of graph.regexes */
    uint32_t n_patterns;
    struct kl_plan *names;              /* for names of properties; NULL: none are asserted */
    struct kl_string_atoms key_strings; /* KL_ATOM_KEYS, the patterns, then those of names */
    bool names_run_out; /* answers: names that begin in one way may be used up (unused_names.c) */

    uint32_t *arrays; /* [n_arrays] nodes that assert something of an array */
    uint32_t n_arrays;
    uint32_t longest_prefix;
    uint32_t *contains; /* [n_contains] nodes with contains */
    uint32_t n_contains;
    bool has_unique;
};

struct kl_link_pair {
    uint32_t parent;  /* node of the container's plan */
    uint32_t child;   /* demanded node of the member's plan */
    bool is_contains; /* the parent counts true results; otherwise a false one makes it bad */
};

struct kl_link {
    uint32_t id;
    bool is_possible;     /* some kind of value leaves all demanded nodes alive */
    struct kl_plan *plan; /* of the member or item */
    struct kl_link_pair *pairs;
    uint32_t n_pairs;
};

struct kl_plans {
    const struct kl_schema_graph *graph;
    struct kl_plan **plans;
    struct kl_link **links;
    size_t n_plans, n_links, plans_room, links_room;
    struct kl_word_store sets;    /* sets of nodes to plans */
    struct kl_word_store members; /* members and items of plans to links */
    int32_t *index_of;            /* [graph.n_nodes] in the plan that is being made, or -1 */
    size_t bytes, max_bytes;
    struct kl_error failure; /* sticks */
};

enum kl_status kl_plans_open(struct kl_plans *plans, const struct kl_schema_graph *graph,
                             size_t max_bytes, struct kl_error *err);
void kl_plans_release(struct kl_plans *plans);

/* The plan of a set of nodes; nodes: [n], is sorted and made unique. NULL: plans->failure. */
struct kl_plan *kl_plan_of(struct kl_plans *plans, int32_t *nodes, size_t n);

/* Makes the part of a plan that judges objects, when the first one begins; false: plans->failure.
 */
bool kl_plan_objects(struct kl_plans *plans, struct kl_plan *plan);

/* The link of the whole document, and of a member: by the index of its name in plan->keys, or
 * KL_NO_KEY, and matched: [n_patterns] which patterns its name matches; and of an item. NULL:
 * plans->failure. */
#define KL_NO_KEY UINT32_MAX
const struct kl_link *kl_link_root(struct kl_plans *plans);
const struct kl_link *kl_link_member(struct kl_plans *plans, const struct kl_plan *plan,
                                     uint32_t key, const bool *matched);
const struct kl_link *kl_link_item(struct kl_plans *plans, const struct kl_plan *plan,
                                   uint32_t index);

/* Which nodes are dead, [n_nodes], if these are bad. dead may be bad. */
void kl_plan_dead(const struct kl_plan *plan, const uint8_t *bad, uint8_t *dead);
/* Which nodes are true of a whole value, if these are bad. */
void kl_plan_truth(const struct kl_plan *plan, const uint8_t *bad, uint8_t *is_true);

/* Bits of enum kl_json_type that a kind of value may turn out to be. */
uint8_t kl_value_kind_types(enum kl_value_kind kind);

#endif
