/*
 * A set of raw nodes to its alternatives: disjunctive normal form, depth first.
 *
 * Conditions that must hold are applied first; each choice (anyOf, oneOf, if, not) then goes on
 * with a copy. An alternative ends as soon as two of its nodes exclude each other, so that
 * conditions on one property ("kind is a, and then ...") do not multiply. Negations come last: most
 * are satisfied by then.
 */
#include <stdlib.h>
#include <string.h>

#include "schema/answer_parts.h"

enum { MAX_BRANCHES = 256, CLASH_DEPTH = 4 };

enum choice { ANY_OF, ONE_OF, IF, NOT, NOT_OTHER };

struct branch {
    enum choice choice;
    int32_t node; /* that has the choice; NOT, NOT_OTHER (branch of oneOf): that must not hold */
};

struct partial {
    struct kl_alternative alt;
    struct branch branches[MAX_BRANCHES];
    size_t n_branches;
};

struct expansion {
    struct kl_answers *a;
    bool is_brief;
    kl_alternative_emit emit;
    void *context;
    size_t n; /* alternatives so far */
};

static enum kl_status too_many(struct kl_answers *a, const struct partial *p)
{
    const struct kl_schema_node *node = kl_raw(a, p->alt.n > 0 ? p->alt.applied[0] : 0);
    return kl_answers_refuse(a, node, KL_ERR_LIMIT, "",
                             "has too many alternatives (anyOf, oneOf, if, not, dependencies) that "
                             "combine");
}

static bool add_branch(struct partial *p, enum choice choice, int32_t node)
{
    if (p->n_branches == MAX_BRANCHES)
        return false;
    p->branches[p->n_branches++] = (struct branch){choice, node};
    return true;
}

/* Applies what one node asserts itself. *is_dead: it excludes what was applied before. */
static enum kl_status apply_own(struct kl_answers *a, struct partial *p, int32_t index,
                                bool *is_dead)
{
    const struct kl_schema_node *node = kl_raw(a, index);
    bool fits = p->alt.n < KL_ANSWER_MAX_APPLIED && a->steps < KL_ANSWER_MAX_STEPS;
    a->steps++;
    p->alt.types &= node->types;
    for (size_t i = 0; i < p->alt.n && p->alt.types != 0 && !*is_dead; i++)
        *is_dead = kl_answers_clash(a, p->alt.applied[i], index, CLASH_DEPTH);
    *is_dead = *is_dead || p->alt.types == 0;
    if (*is_dead)
        return KL_OK;
    if (fits)
        p->alt.applied[p->alt.n++] = index;
    node = kl_raw(a, index);
    if (node->any_of.n != 0)
        fits = fits && add_branch(p, ANY_OF, index);
    if (node->one_of.n != 0)
        fits = fits && add_branch(p, ONE_OF, index);
    if (node->if_node != KL_NO_NODE)
        fits = fits && add_branch(p, IF, index);
    if (node->not_node != KL_NO_NODE && kl_raw_is_primitive(kl_raw(a, node->not_node)))
        p->alt.types &= KL_JSON_STRING;
    else if (node->not_node != KL_NO_NODE)
        fits = fits && add_branch(p, NOT, node->not_node);
    *is_dead = p->alt.types == 0;
    return fits ? KL_OK : too_many(a, p);
}

static bool is_applied(const struct partial *p, int32_t node)
{
    for (size_t i = 0; i < p->alt.n; i++)
        if (p->alt.applied[i] == node)
            return true;
    return false;
}

/* Applies a node and those that must hold with it. Recursive by the chains of nodes for the same
 * value, which are at most KL_SCHEMA_MAX_CHAIN and a few of negations. */
static enum kl_status apply(struct kl_answers *a, struct partial *p, int32_t node, bool *is_dead)
{
    if (*is_dead || is_applied(p, node) || kl_raw_is_trivial(kl_raw(a, node)))
        return KL_OK;
    enum kl_status status = apply_own(a, p, node, is_dead);
    struct kl_range all_of = kl_raw(a, node)->all_of;
    for (uint32_t i = 0; i < all_of.n && status == KL_OK && !*is_dead; i++)
        status = apply(a, p, a->graph->node_lists[all_of.first + i], is_dead);
    return status;
}

static enum kl_status expand(struct expansion *e, struct partial *p);

/* Goes on with a copy for which these nodes hold, and nots do not. */
static enum kl_status go_on(struct expansion *e, const struct partial *p, const int32_t *nodes,
                            size_t n, enum choice choice, const int32_t *nots, size_t n_nots)
{
    struct partial *next = malloc(sizeof(*next));
    if (next == NULL)
        return kl_fail_memory(e->a->err, "a schema", sizeof(*next));
    *next = *p;
    bool is_dead = false, fits = true;
    enum kl_status status = KL_OK;
    for (size_t i = 0; i < n && status == KL_OK && !is_dead; i++)
        if (nodes[i] != KL_NO_NODE)
            status = apply(e->a, next, nodes[i], &is_dead);
    for (size_t i = 0; i < n_nots; i++)
        fits = fits && add_branch(next, choice, nots[i]);
    if (status == KL_OK && !fits)
        status = too_many(e->a, p);
    if (status == KL_OK && !is_dead)
        status = expand(e, next);
    free(next);
    return status;
}

static enum kl_status choose_any(struct expansion *e, const struct partial *p,
                                 struct kl_range options)
{
    enum kl_status status = KL_OK;
    for (uint32_t i = 0; i < options.n && status == KL_OK; i++) {
        int32_t option = e->a->graph->node_lists[options.first + i];
        status = go_on(e, p, &option, 1, NOT, NULL, 0);
    }
    return status;
}

/* One branch holds; those that do not exclude it do not. */
static enum kl_status choose_one(struct expansion *e, const struct partial *p,
                                 struct kl_range options)
{
    int32_t *nots = malloc((options.n + 1) * sizeof(*nots));
    enum kl_status status = KL_OK;
    if (nots == NULL)
        return kl_fail_memory(e->a->err, "a schema", options.n * sizeof(*nots));
    for (uint32_t i = 0; i < options.n && status == KL_OK; i++) {
        int32_t option = e->a->graph->node_lists[options.first + i];
        size_t n_nots = 0;
        for (uint32_t j = 0; j < options.n; j++) {
            int32_t other = e->a->graph->node_lists[options.first + j];
            if (j != i && !kl_answers_clash(e->a, option, other, CLASH_DEPTH))
                nots[n_nots++] = other;
        }
        status = go_on(e, p, &option, 1, NOT_OTHER, nots, n_nots);
    }
    free(nots);
    return status;
}

static enum kl_status choose_if(struct expansion *e, const struct partial *p, int32_t index)
{
    struct kl_schema_node node = *kl_raw(e->a, index);
    int32_t then[] = {node.if_node, node.then_node};
    enum kl_status status = go_on(e, p, then, 2, NOT, NULL, 0);
    return status == KL_OK ? go_on(e, p, &node.else_node, 1, NOT, &node.if_node, 1) : status;
}

/* Goes on without a property. */
static enum kl_status choose_without(struct expansion *e, const struct partial *p, int32_t node,
                                     uint32_t key)
{
    int32_t without;
    enum kl_status status = kl_answers_without(e->a, kl_raw(e->a, node)->path, key, &without);
    return status == KL_OK ? go_on(e, p, &without, 1, NOT, NULL, 0) : status;
}

/* An object has a property that the node does not allow: one of those that are named. */
static enum kl_status choose_extra(struct expansion *e, const struct partial *p, int32_t index)
{
    struct kl_schema_node node = *kl_raw(e->a, index);
    enum kl_status status = KL_OK;
    if ((p->alt.types & node.types & KL_JSON_OBJECT) == 0 || node.patterns.n != 0 ||
        node.additional == KL_NO_NODE || kl_raw(e->a, node.additional)->types != 0)
        return KL_OK;
    for (size_t i = 0; i < p->alt.n && status == KL_OK; i++) {
        struct kl_range named = kl_raw(e->a, p->alt.applied[i])->properties;
        for (uint32_t k = 0; k < named.n && status == KL_OK; k++) {
            uint32_t key = e->a->graph->properties[named.first + k].key;
            int32_t with;
            if (kl_raw_names(e->a, &node, key))
                continue;
            status = kl_answers_with(e->a, node.path, key, &with);
            if (status == KL_OK)
                status = go_on(e, p, &with, 1, NOT, NULL, 0);
        }
    }
    return status;
}

static enum kl_status choose_not(struct expansion *e, struct partial *p, struct branch branch)
{
    bool is_excluded = false;
    if (is_applied(p, branch.node))
        return KL_OK; /* it holds */
    e->a->is_negating = true;
    for (size_t i = 0; i < p->alt.n && !is_excluded; i++)
        is_excluded = kl_answers_clash(e->a, p->alt.applied[i], branch.node, CLASH_DEPTH);
    e->a->is_negating = false;
    if (is_excluded)
        return expand(e, p);
    uint32_t key;
    enum kl_status status = KL_OK;
    if (kl_answers_lacks(e->a, &p->alt, branch.node, CLASH_DEPTH,
                         &key)) /* and it stays like this */
        return choose_without(e, p, branch.node, key);
    if (e->is_brief && branch.choice == NOT_OTHER &&
        kl_answers_can_lack(e->a, &p->alt, branch.node, &key)) {
        size_t before = e->n;
        status = choose_without(e, p, branch.node, key);
        if (status != KL_OK || e->n > before)
            return status;
    }
    struct kl_range options;
    status = kl_answers_negate(e->a, branch.node, &options);
    if (status == KL_OK)
        status = choose_any(e, p, options);
    return status == KL_OK ? choose_extra(e, p, branch.node) : status;
}

/* The next choice: the first one, but negations last. */
static struct branch take_branch(struct partial *p)
{
    size_t at = 0;
    while (at + 1 < p->n_branches && p->branches[at].choice >= NOT)
        at++;
    if (p->branches[at].choice >= NOT)
        at = 0;
    struct branch branch = p->branches[at];
    p->n_branches--;
    memmove(p->branches + at, p->branches + at + 1, (p->n_branches - at) * sizeof(branch));
    return branch;
}

/* Recursive by the choices, at most MAX_BRANCHES at a time. */
static enum kl_status expand(struct expansion *e, struct partial *p)
{
    if (e->a->steps++ > KL_ANSWER_MAX_STEPS || e->n > KL_ANSWER_MAX_ALTERNATIVES)
        return too_many(e->a, p);
    if (p->n_branches == 0) {
        e->n++;
        return e->emit(e->a, &p->alt, e->context);
    }
    struct branch branch = take_branch(p);
    switch (branch.choice) {
    case ANY_OF:
        return choose_any(e, p, kl_raw(e->a, branch.node)->any_of);
    case ONE_OF:
        return choose_one(e, p, kl_raw(e->a, branch.node)->one_of);
    case IF:
        return choose_if(e, p, branch.node);
    default:
        return choose_not(e, p, branch);
    }
}

enum kl_status kl_answers_expand(struct kl_answers *a, const int32_t *nodes, size_t n,
                                 bool is_brief, kl_alternative_emit emit, void *context)
{
    struct expansion e = {.a = a, .is_brief = is_brief, .emit = emit, .context = context};
    struct partial *p = calloc(1, sizeof(*p));
    if (p == NULL)
        return kl_fail_memory(a->err, "a schema", sizeof(*p));
    p->alt.types = KL_JSON_ANY;
    enum kl_status status = go_on(&e, p, nodes, n, NOT, NULL, 0);
    free(p);
    return status;
}
