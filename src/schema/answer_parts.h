/*
 * The rewriting of a graph for answers, as its files share it. Internal to schema/.
 *
 * The nodes of the parser are sets of conditions ("raw"). A value that must satisfy a set of raw
 * nodes is written by one new node, which is an anyOf of alternatives that assert everything
 * themselves: no allOf, oneOf, not or if. Each set is rewritten once, so recursion ends.
 *
 *   answer_schema.c    the queue of sets, the document
 *   answer_expand.c    a set of raw nodes to alternatives: those whose own assertions must all hold
 *   answer_negate.c    not: alternatives, one of which must hold
 *   answer_clash.c     whether two raw nodes exclude each other
 *   answer_merge.c     the assertions of an alternative to one node; its objects, arrays, ...
 *   answer_prune.c     removes what no value can satisfy
 */
#ifndef KL_SCHEMA_ANSWER_PARTS_H
#define KL_SCHEMA_ANSWER_PARTS_H

#include "grammar/regex_count.h"
#include "grammar/word_store.h"
#include "schema/schema.h"
#include "schema/schema_graph.h"

/* Alternatives of one value; raw nodes of one alternative. */
#define KL_ANSWER_MAX_ALTERNATIVES 256
#define KL_ANSWER_MAX_APPLIED      256
/* Comparisons and choices while alternatives are expanded: a bound of time. */
#define KL_ANSWER_MAX_STEPS 300000

struct kl_answers {
    struct kl_schema_builder builder;
    struct kl_schema_graph *graph;
    struct kl_schema_refusal *refusal;
    struct kl_error *err;
    struct kl_word_store sets;     /* sets of raw nodes; value: the new node, plus 1 */
    struct kl_word_store atoms;    /* raw nodes of an alternative; value: the new node, plus 1 */
    struct kl_word_store products; /* terms and lengths; value: regex, plus 1; UINT32_MAX: empty */
    struct kl_answer_job {
        uint32_t set; /* entry */
        int32_t node;
    } * jobs;
    size_t n_jobs, room_jobs;
    struct kl_answer_run { /* [n_runs] of the graph's regexes, NULL: not open */
        struct kl_regex_run *run;
        struct kl_regex_count count;
        bool is_counted, is_endless;
    } * runs;
    size_t n_runs;
    struct kl_answer_negation { /* [n_negations] what was negated already */
        int32_t node;
        struct kl_range options; /* of graph->node_lists */
    } * negations;
    size_t n_negations, room_negations;
    size_t n_raw; /* nodes of the parser; those behind them are new, or made by a negation */
    size_t steps;
    bool is_negating; /* a node is not excluded because a `not` says so: it is being looked at */
    /* The first negation that is not supported, and was left out; NULL: there is none. */
    const char *left_out_path, *left_out_keyword;
};

/* An alternative: raw nodes whose own assertions, and those not_node that are primitive, must all
 * hold. */
struct kl_alternative {
    int32_t applied[KL_ANSWER_MAX_APPLIED];
    size_t n;
    unsigned types;
};

/* Refuses for a raw node. */
enum kl_status kl_answers_refuse(struct kl_answers *a, const struct kl_schema_node *node,
                                 enum kl_status status, const char *keyword, const char *text);

/* ---- answer_sets.c: what all others use ------------------------------------------------------ */

/* The new node of a value that must satisfy these raw nodes. Sorts nodes. */
enum kl_status kl_answers_node(struct kl_answers *a, int32_t *nodes, size_t n, int32_t *node);
/* The same; KL_NO_NODE if the value is free. */
enum kl_status kl_answers_free_node(struct kl_answers *a, int32_t *nodes, size_t n, int32_t *node);
static inline const struct kl_schema_node *kl_raw(const struct kl_answers *a, int32_t node)
{
    return &a->graph->nodes[node];
}
/* It asserts nothing. */
bool kl_raw_is_trivial(const struct kl_schema_node *node);
/* It asserts one thing of strings only: a set, or a regex. */
bool kl_raw_is_primitive(const struct kl_schema_node *node);
/* It refers to other nodes for the same value. */
bool kl_raw_has_logic(const struct kl_schema_node *node);

/* ---- answer_strings.c ------------------------------------------------------------------------ */

/* Whether a text matches; *status: KL_ERR_MEMORY, KL_ERR_LIMIT. */
bool kl_answers_match(struct kl_answers *a, uint32_t regex, const struct kl_schema_text *text,
                      enum kl_status *status);
bool kl_answers_set_has(const struct kl_string_set *set, const struct kl_schema_text *text);
/* Whether a string satisfies a raw node, with all that the node refers to. */
bool kl_answers_allow_string(struct kl_answers *a, int32_t node, const struct kl_schema_text *text,
                             enum kl_status *status);
/* A regex for what all terms allow, of such lengths; *regex UINT32_MAX: nothing. terms: indexes of
 * graph->regexes, doubled, plus 1 if it is negated; sorted by this. */
enum kl_status kl_answers_product(struct kl_answers *a, uint32_t *terms, size_t n,
                                  uint32_t min_length, uint32_t max_length, uint32_t *regex);
/* The keys that a pattern matches, if they are few and short; *n SIZE_MAX: they are not. */
#define KL_ANSWER_MAX_LISTED 64
enum kl_status kl_answers_list(struct kl_answers *a, uint32_t regex,
                               uint32_t keys[KL_ANSWER_MAX_LISTED], size_t *n);
/* How many texts a regex matches, at most KL_REGEX_MANY; *is_endless: many are left behind every
 * beginning of one (grammar/regex_count.h). */
enum kl_status kl_answers_count(struct kl_answers *a, uint32_t regex, uint32_t *n,
                                bool *is_endless);
/* A regex of just these strings. */
enum kl_status kl_answers_regex_of_set(struct kl_answers *a, const struct kl_string_set *set,
                                       uint32_t *regex);
/* Merges the assertions of strings into *node; clears the type if there is no string. */
enum kl_status kl_answers_merge_strings(struct kl_answers *a, const struct kl_alternative *alt,
                                        struct kl_schema_node *node);

/* ---- answer_numbers.c ------------------------------------------------------------------------ */

enum kl_status kl_answers_merge_numbers(struct kl_answers *a, const struct kl_alternative *alt,
                                        struct kl_schema_node *node);
/* Below 0, 0 or above 0. */
int kl_answers_compare(const struct kl_decimal *x, const struct kl_decimal *y);
/* Whether no number satisfies both. */
bool kl_answers_numbers_clash(const struct kl_answers *a, const struct kl_schema_node *x,
                              const struct kl_schema_node *y);

/* ---- answer_clash.c -------------------------------------------------------------------------- */

/* Whether no value can satisfy both raw nodes; false: not known. */
bool kl_answers_clash(struct kl_answers *a, int32_t x, int32_t y, int depth);
/* Whether an object of the alternative has no property *key, which the node requires. */
bool kl_answers_lacks(const struct kl_answers *a, const struct kl_alternative *alt, int32_t node,
                      int depth, uint32_t *key);
/* The same for a property that it may leave out. */
bool kl_answers_can_lack(const struct kl_answers *a, const struct kl_alternative *alt, int32_t node,
                         uint32_t *key);
/* Whether a raw node lists or requires a property. */
bool kl_raw_names(const struct kl_answers *a, const struct kl_schema_node *node, uint32_t key);

/* ---- answer_negate.c ------------------------------------------------------------------------- */

/* The raw nodes one of which a value satisfies that does not satisfy this one. Some may be missing
 * (a->left_out_path). */
enum kl_status kl_answers_negate(struct kl_answers *a, int32_t node, struct kl_range *options);

/* A raw node that allows everything but objects with this property. */
enum kl_status kl_answers_without(struct kl_answers *a, const char *path, uint32_t key,
                                  int32_t *node);

/* A raw node that allows just objects with this property. */
enum kl_status kl_answers_with(struct kl_answers *a, const char *path, uint32_t key, int32_t *node);

/* ---- answer_expand.c ------------------------------------------------------------------------- */

/* Calls emit for each alternative of a set of raw nodes. is_brief: other branches of oneOf do not
 * hold because a property is left out that they require, if that is possible; otherwise, all ways
 * are alternatives. KL_ERR_LIMIT: there are too many. */
typedef enum kl_status (*kl_alternative_emit)(struct kl_answers *a,
                                              const struct kl_alternative *alt, void *context);
enum kl_status kl_answers_expand(struct kl_answers *a, const int32_t *nodes, size_t n,
                                 bool is_brief, kl_alternative_emit emit, void *context);

/* ---- answer_merge.c and answer_objects.c ----------------------------------------------------- */

/* Fills *node with the assertions of the alternative; types 0: there is no such value. */
enum kl_status kl_answers_merge(struct kl_answers *a, const struct kl_alternative *alt,
                                struct kl_schema_node *node);
enum kl_status kl_answers_merge_object(struct kl_answers *a, const struct kl_alternative *alt,
                                       struct kl_schema_node *node);

/* ---- answer_prune.c -------------------------------------------------------------------------- */

/* Removes what cannot be satisfied, and the nodes that are not reached from graph->root. */
enum kl_status kl_answers_prune(struct kl_answers *a);

#endif
