#include "schema/value_plan.h"

#include <stdlib.h>
#include <string.h>

#include "schema/value_plan_memory.h"

/* ---- judging --------------------------------------------------------------------------------- */

uint8_t kl_value_kind_types(enum kl_value_kind kind)
{
    static const uint8_t types[KL_N_VALUE_KINDS] = {
        [KL_VALUE_NULL] = KL_JSON_NULL,     [KL_VALUE_FALSE] = KL_JSON_FALSE,
        [KL_VALUE_TRUE] = KL_JSON_TRUE,     [KL_VALUE_NUMBER] = KL_JSON_NUMBER,
        [KL_VALUE_STRING] = KL_JSON_STRING, [KL_VALUE_ARRAY] = KL_JSON_ARRAY,
        [KL_VALUE_OBJECT] = KL_JSON_OBJECT};
    return types[kind];
}

static uint32_t count(const uint8_t *set, const uint32_t *members, uint32_t n)
{
    uint32_t found = 0;
    for (uint32_t i = 0; i < n; i++)
        found += set[members[i]] != 0;
    return found;
}

void kl_plan_dead(const struct kl_plan *p, const uint8_t *bad, uint8_t *dead)
{
    for (uint32_t i = 0; i < p->n_nodes; i++) {
        const struct kl_plan_node *n = &p->nodes[i];
        dead[i] = bad[i] || count(dead, n->all_of, n->n_all_of) > 0 ||
                  (n->n_any_of > 0 && count(dead, n->any_of, n->n_any_of) == n->n_any_of) ||
                  (n->n_one_of > 0 && count(dead, n->one_of, n->n_one_of) == n->n_one_of) ||
                  (n->then_at >= 0 && n->else_at >= 0 && dead[n->then_at] && dead[n->else_at]);
    }
}

void kl_plan_truth(const struct kl_plan *p, const uint8_t *bad, uint8_t *is_true)
{
    for (uint32_t i = 0; i < p->n_nodes; i++) {
        const struct kl_plan_node *n = &p->nodes[i];
        int32_t branch = n->if_at < 0 ? -1 : is_true[n->if_at] ? n->then_at : n->else_at;
        is_true[i] = !bad[i] && count(is_true, n->all_of, n->n_all_of) == n->n_all_of &&
                     (n->n_any_of == 0 || count(is_true, n->any_of, n->n_any_of) > 0) &&
                     (n->n_one_of == 0 || count(is_true, n->one_of, n->n_one_of) == 1) &&
                     (n->not_at < 0 || !is_true[n->not_at]) && (branch < 0 || is_true[branch]);
    }
}

/* ---- memory ---------------------------------------------------------------------------------- */

enum kl_status kl_plans_open(struct kl_plans *p, const struct kl_schema_graph *graph,
                             size_t max_bytes, struct kl_error *err)
{
    *p = (struct kl_plans){.graph = graph, .max_bytes = max_bytes};
    kl_word_store_init(&p->sets, max_bytes);
    kl_word_store_init(&p->members, max_bytes);
    size_t bytes = (graph->n_nodes + 1) * sizeof *p->index_of;
    p->index_of = malloc(bytes);
    if (p->index_of == NULL)
        return kl_fail_memory(err, "the plans of a schema", bytes);
    memset(p->index_of, 0xFF, bytes);
    p->bytes = bytes;
    return KL_OK;
}

static void free_plan(struct kl_plan *p)
{
    if (p == NULL)
        return;
    for (uint32_t i = 0; p->nodes != NULL && i < p->n_nodes; i++) {
        free((void *)p->nodes[i].all_of); /* the first of the lists of the node */
        free((void *)p->nodes[i].atoms);
        free((void *)p->nodes[i].properties);
    }
    free(p->nodes);
    free(p->demanded);
    free(p->dead_kinds[0]);
    free(p->strings.atoms);
    free(p->objects);
    free(p->keys);
    free(p->key_links);
    kl_string_set_release(&p->key_set);
    free(p->patterns);
    free(p->key_strings.atoms);
    free(p->arrays);
    free(p->contains);
    free(p);
}

static void free_link(struct kl_link *link)
{
    if (link != NULL)
        free(link->pairs);
    free(link);
}

void kl_plans_release(struct kl_plans *p)
{
    for (size_t i = 0; i < p->n_plans; i++)
        free_plan(p->plans[i]);
    for (size_t i = 0; i < p->n_links; i++)
        free_link(p->links[i]);
    free(p->plans);
    free(p->links);
    free(p->index_of);
    kl_word_store_free(&p->sets);
    kl_word_store_free(&p->members);
}

void *kl_plans_take(struct kl_plans *p, size_t n, size_t size)
{
    if (p->failure.status != KL_OK)
        return NULL;
    if (p->bytes + n * size > p->max_bytes) {
        kl_fail(&p->failure, KL_ERR_LIMIT,
                "the schema needs more than %zu bytes for the combinations of its parts that occur "
                "in this answer: make its alternatives fewer or simpler",
                p->max_bytes);
        return NULL;
    }
    void *memory = calloc(n == 0 ? 1 : n, size);
    if (memory == NULL)
        kl_fail_memory(&p->failure, "the plans of a schema", n * size);
    p->bytes += n * size;
    return memory;
}

static bool add(void ***list, size_t *n, size_t *room, void *element, struct kl_plans *p)
{
    if (*n == *room) {
        size_t more = *room == 0 ? 16 : 2 * *room;
        void **grown = realloc(*list, more * sizeof *grown);
        if (grown == NULL) {
            kl_fail_memory(&p->failure, "the plans of a schema", more * sizeof *grown);
            return false;
        }
        *list = grown;
        *room = more;
    }
    (*list)[(*n)++] = element;
    return true;
}

uint32_t kl_plans_put(struct kl_plans *p, struct kl_word_store *store, const uint32_t *words,
                      size_t n)
{
    uint32_t entry = p->failure.status == KL_OK ? kl_word_store_put(store, words, n) : 0;
    if (entry == 0 && p->failure.status == KL_OK)
        kl_fail(&p->failure, store->failure, "the plans of a schema need more than %zu bytes",
                store->max_bytes);
    return entry;
}

bool kl_plans_add_link(struct kl_plans *p, struct kl_link *link)
{
    link->id = (uint32_t)p->n_links;
    return add((void ***)&p->links, &p->n_links, &p->links_room, link, p);
}

/* ---- the nodes of a plan --------------------------------------------------------------------- */

/* Deeper nesting of nodes at the same value than any schema has that is not made to cost. */
enum { MAX_NESTING = 500, MAX_PLAN_NODES = 20000 };

struct closure {
    struct kl_plans *plans;
    int32_t *nodes; /* children first */
    size_t n, room;
};

static void visit(struct closure *c, int32_t node, int depth);

static void visit_range(struct closure *c, struct kl_range range, int depth)
{
    for (uint32_t i = 0; i < range.n; i++)
        visit(c, c->plans->graph->node_lists[range.first + i], depth);
}

static void append(struct closure *c, int32_t node)
{
    struct kl_error *err = &c->plans->failure;
    if (c->n == c->room) {
        size_t room = c->room == 0 ? 32 : 2 * c->room;
        int32_t *nodes = realloc(c->nodes, room * sizeof *nodes);
        if (nodes == NULL) {
            kl_fail_memory(err, "the plans of a schema", room * sizeof *nodes);
            return;
        }
        c->nodes = nodes;
        c->room = room;
    }
    c->plans->index_of[node] = (int32_t)c->n;
    c->nodes[c->n++] = node;
}

static void visit(struct closure *c, int32_t node, int depth)
{
    struct kl_plans *p = c->plans;
    if (node == KL_NO_NODE || p->index_of[node] >= 0 || p->failure.status != KL_OK)
        return;
    const struct kl_schema_node *n = &p->graph->nodes[node];
    if (depth > MAX_NESTING || c->n >= MAX_PLAN_NODES) {
        kl_fail(&p->failure, KL_ERR_LIMIT,
                "%s: more than %d schemas apply to one value, or they are nested deeper than %d",
                n->path, MAX_PLAN_NODES, MAX_NESTING);
        return;
    }
    visit_range(c, n->all_of, depth + 1);
    visit_range(c, n->any_of, depth + 1);
    visit_range(c, n->one_of, depth + 1);
    visit(c, n->not_node, depth + 1);
    visit(c, n->if_node, depth + 1);
    visit(c, n->then_node, depth + 1);
    visit(c, n->else_node, depth + 1);
    if (p->failure.status == KL_OK)
        append(c, node);
}

static int32_t index_of(const struct kl_plans *p, int32_t node)
{
    return node == KL_NO_NODE ? -1 : p->index_of[node];
}

static uint32_t *copy_range(const struct kl_plans *p, struct kl_range range, uint32_t *to)
{
    for (uint32_t i = 0; i < range.n; i++)
        *to++ = (uint32_t)p->index_of[p->graph->node_lists[range.first + i]];
    return to;
}

static bool fill_node(struct kl_plans *p, struct kl_plan_node *n, const struct kl_schema_node *node)
{
    uint32_t *lists =
        kl_plans_take(p, (size_t)node->all_of.n + node->any_of.n + node->one_of.n, sizeof *lists);
    *n = (struct kl_plan_node){.node = node,
                               .all_of = lists,
                               .n_all_of = node->all_of.n,
                               .n_any_of = node->any_of.n,
                               .n_one_of = node->one_of.n,
                               .not_at = index_of(p, node->not_node),
                               .if_at = index_of(p, node->if_node),
                               .then_at = index_of(p, node->then_node),
                               .else_at = index_of(p, node->else_node)};
    if (lists == NULL)
        return false;
    n->any_of = copy_range(p, node->all_of, lists);
    n->one_of = copy_range(p, node->any_of, (uint32_t *)n->any_of);
    copy_range(p, node->one_of, (uint32_t *)n->one_of);
    return true;
}

static bool is_conjunction(const struct kl_plan *p)
{
    for (uint32_t i = 0; i < p->n_nodes; i++) {
        const struct kl_plan_node *n = &p->nodes[i];
        if (n->n_any_of > 0 || n->n_one_of > 0 || n->not_at >= 0 || n->if_at >= 0)
            return false;
    }
    return true;
}

/* Kinds of values that no node allows at its own. */
static bool find_dead_kinds(struct kl_plans *plans, struct kl_plan *p)
{
    uint8_t *dead = kl_plans_take(plans, p->n_nodes + (size_t)KL_N_VALUE_KINDS * p->n_demanded, 1);
    if (dead == NULL)
        return false;
    p->dead_kinds[0] = dead;
    dead += (size_t)KL_N_VALUE_KINDS * p->n_demanded;
    for (int kind = 0; kind < KL_N_VALUE_KINDS; kind++) {
        p->dead_kinds[kind] = p->dead_kinds[0] + (size_t)kind * p->n_demanded;
        uint8_t types = kl_value_kind_types((enum kl_value_kind)kind);
        for (uint32_t i = 0; i < p->n_nodes; i++)
            dead[i] = (p->nodes[i].node->types & types) == 0;
        kl_plan_dead(p, dead, dead);
        for (uint32_t i = 0; i < p->n_demanded; i++) {
            p->dead_kinds[kind][i] = dead[p->demanded[i]];
            p->some_dead[kind] = p->some_dead[kind] || dead[p->demanded[i]];
        }
    }
    return true;
}

/* ---- strings, numbers ------------------------------------------------------------------------ */

static uint32_t find_atom(struct kl_string_atoms *s, enum kl_atom_kind kind, uint32_t index)
{
    for (uint32_t i = 0; i < s->n; i++)
        if (s->atoms[i].kind == kind && s->atoms[i].index == index)
            return i;
    s->atoms[s->n] = (struct kl_string_atom){.kind = kind, .index = index};
    return s->n++;
}

static bool plan_strings(struct kl_plans *plans, struct kl_plan *p)
{
    struct kl_string_atoms *s = &p->strings;
    size_t most = 0;
    for (uint32_t i = 0; i < p->n_nodes; i++)
        most += p->nodes[i].node->regexes.n + (p->nodes[i].node->strings >= 0);
    s->atoms = kl_plans_take(plans, most, sizeof *s->atoms);
    if (s->atoms == NULL)
        return false;
    for (uint32_t i = 0; i < p->n_nodes; i++) {
        struct kl_plan_node *n = &p->nodes[i];
        const struct kl_schema_node *node = n->node;
        uint32_t *atoms = kl_plans_take(plans, (size_t)node->regexes.n + 1, sizeof *atoms);
        n->atoms = atoms;
        if (atoms == NULL)
            return false;
        for (uint32_t r = 0; r < node->regexes.n; r++)
            atoms[n->n_atoms++] =
                find_atom(s, KL_ATOM_REGEX, plans->graph->regex_lists[node->regexes.first + r]);
        if (node->strings >= 0)
            atoms[n->n_atoms++] = find_atom(s, KL_ATOM_SET, (uint32_t)node->strings);
        uint32_t cap = node->max_length == UINT32_MAX ? node->min_length : node->max_length + 1;
        s->counts = s->counts || cap > 0;
        s->cap = cap > s->cap ? cap : s->cap;
        if (node->min_length > s->longest_min)
            s->longest_min = node->min_length;
        p->judges_numbers = p->judges_numbers || node->bounds >= 0 || node->has_numbers ||
                            ((node->types & KL_JSON_NUMBER) != 0 &&
                             (node->types & KL_JSON_NUMBER) != KL_JSON_NUMBER);
    }
    return true;
}

/* ---- objects, arrays ------------------------------------------------------------------------- */

static bool asserts_of_objects(const struct kl_schema_node *n)
{
    return n->properties.n > 0 || n->patterns.n > 0 || n->additional != KL_NO_NODE ||
           n->property_names != KL_NO_NODE || n->required.n > 0 || n->min_properties > 0 ||
           n->max_properties != UINT32_MAX;
}

static bool asserts_of_arrays(const struct kl_schema_node *n)
{
    return n->prefix.n > 0 || n->items != KL_NO_NODE || n->contains != KL_NO_NODE ||
           n->min_items > 0 || n->max_items != UINT32_MAX || n->unique_items;
}

static void add_once(uint32_t *list, uint32_t *n, uint32_t value)
{
    for (uint32_t i = 0; i < *n; i++)
        if (list[i] == value)
            return;
    list[(*n)++] = value;
}

/* Names of properties can be many: the index of the plan's first node marks them in a set. */
static bool plan_keys(struct kl_plans *plans, struct kl_plan *p)
{
    const struct kl_schema_graph *g = plans->graph;
    size_t most = 0;
    for (uint32_t i = 0; i < p->n_nodes; i++)
        most += (size_t)p->nodes[i].node->properties.n + p->nodes[i].node->required.n;
    p->keys = kl_plans_take(plans, most, sizeof *p->keys);
    struct kl_schema_text *texts = kl_plans_take(plans, most, sizeof *texts);
    if (p->keys == NULL || texts == NULL) {
        free(texts);
        return false;
    }
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->n_nodes; i++) {
        const struct kl_schema_node *node = p->nodes[i].node;
        for (uint32_t k = 0; k < node->properties.n; k++)
            p->keys[n++] = g->properties[node->properties.first + k].key;
        for (uint32_t k = 0; k < node->required.n; k++)
            p->keys[n++] = g->key_lists[node->required.first + k];
    }
    for (uint32_t i = 0; i < n; i++)
        texts[i] = g->keys[p->keys[i]];
    enum kl_status status = kl_string_set_build(&p->key_set, texts, n, &plans->failure);
    free(texts);
    if (status != KL_OK)
        return false;
    /* each key once, in the order of its first place */
    uint8_t *first = kl_plans_take(plans, n, 1);
    uint32_t *places = kl_plans_take(plans, n, sizeof *places);
    if (first != NULL && places != NULL) {
        for (size_t i = 0; i < p->key_set.n; i++)
            first[p->key_set.place[i]] = 1;
        for (uint32_t i = 0; i < n; i++) {
            places[i] = p->n_keys;
            if (first[i])
                p->keys[p->n_keys++] = p->keys[i];
        }
        for (size_t i = 0; i < p->key_set.n; i++)
            p->key_set.place[i] = places[p->key_set.place[i]];
    }
    free(first);
    free(places);
    plans->bytes += kl_string_set_bytes(&p->key_set);
    p->key_links = kl_plans_take(plans, p->n_keys, sizeof *p->key_links);
    return plans->failure.status == KL_OK;
}

static uint32_t key_index(const struct kl_plan *p, struct kl_schema_text text)
{
    return p->key_set.place[kl_string_set_find(&p->key_set, text)];
}

/* Names in the lists of a node become indexes of the plan's names. */
static bool index_keys(struct kl_plans *plans, struct kl_plan *p)
{
    const struct kl_schema_graph *g = plans->graph;
    for (uint32_t i = 0; i < p->n_objects; i++) {
        struct kl_plan_node *n = &p->nodes[p->objects[i]];
        struct kl_range properties = n->node->properties, required = n->node->required;
        uint32_t *keys = kl_plans_take(plans, (size_t)properties.n + required.n, sizeof *keys);
        n->properties = keys;
        if (keys == NULL)
            return false;
        n->required = keys + properties.n;
        for (uint32_t k = 0; k < properties.n; k++)
            *keys++ = key_index(p, g->keys[g->properties[properties.first + k].key]);
        for (uint32_t k = 0; k < required.n; k++)
            *keys++ = key_index(p, g->keys[g->key_lists[required.first + k]]);
    }
    return true;
}

static bool plan_names(struct kl_plans *plans, struct kl_plan *p)
{
    int32_t *nodes = kl_plans_take(plans, p->n_objects, sizeof *nodes);
    size_t n = 0;
    for (uint32_t i = 0; nodes != NULL && i < p->n_objects; i++)
        if (p->nodes[p->objects[i]].node->property_names != KL_NO_NODE)
            nodes[n++] = p->nodes[p->objects[i]].node->property_names;
    if (n > 0)
        p->names = kl_plan_of(plans, nodes, n);
    free(nodes);
    return plans->failure.status == KL_OK;
}

bool kl_plan_objects(struct kl_plans *plans, struct kl_plan *p)
{
    size_t patterns = 0;
    if (p->has_objects)
        return true;
    p->has_objects = true;
    p->objects = kl_plans_take(plans, p->n_nodes, sizeof *p->objects);
    for (uint32_t i = 0; i < p->n_nodes && p->objects != NULL; i++) {
        patterns += p->nodes[i].node->patterns.n;
        if (asserts_of_objects(p->nodes[i].node))
            p->objects[p->n_objects++] = i;
    }
    p->patterns = kl_plans_take(plans, patterns, sizeof *p->patterns);
    if (p->patterns == NULL || !plan_keys(plans, p) || !index_keys(plans, p) ||
        !plan_names(plans, p))
        return false;
    for (uint32_t i = 0; i < p->n_objects; i++) {
        const struct kl_schema_node *node = p->nodes[p->objects[i]].node;
        if (node->property_names != KL_NO_NODE && plans->graph->is_for_answers)
            p->names_run_out = true; /* a longest length */
        for (uint32_t k = 0; k < node->patterns.n; k++) {
            const struct kl_schema_pattern *pattern =
                &plans->graph->patterns[node->patterns.first + k];
            add_once(p->patterns, &p->n_patterns, pattern->regex);
            if (plans->graph->is_for_answers && pattern->runs_out)
                p->names_run_out = true;
        }
    }
    const struct kl_string_atoms *names = p->names == NULL ? NULL : &p->names->strings;
    struct kl_string_atoms *s = &p->key_strings;
    s->atoms = kl_plans_take(plans, 1 + (size_t)p->n_patterns + (names == NULL ? 0 : names->n),
                             sizeof *s->atoms);
    if (s->atoms == NULL)
        return false;
    s->atoms[s->n++] = (struct kl_string_atom){.kind = KL_ATOM_KEYS};
    for (uint32_t i = 0; i < p->n_patterns; i++)
        s->atoms[s->n++] = (struct kl_string_atom){.kind = KL_ATOM_REGEX, .index = p->patterns[i]};
    if (names != NULL) {
        for (uint32_t i = 0; i < names->n; i++)
            s->atoms[s->n++] = names->atoms[i];
        s->counts = names->counts;
        s->cap = names->cap;
    }
    return true;
}

static bool plan_arrays(struct kl_plans *plans, struct kl_plan *p)
{
    p->arrays = kl_plans_take(plans, p->n_nodes, sizeof *p->arrays);
    p->contains = kl_plans_take(plans, p->n_nodes, sizeof *p->contains);
    if (p->arrays == NULL || p->contains == NULL)
        return false;
    for (uint32_t i = 0; i < p->n_nodes; i++) {
        const struct kl_schema_node *node = p->nodes[i].node;
        if (asserts_of_arrays(node))
            p->arrays[p->n_arrays++] = i;
        if (node->contains != KL_NO_NODE)
            p->contains[p->n_contains++] = i;
        if (node->prefix.n > p->longest_prefix)
            p->longest_prefix = node->prefix.n;
        p->has_unique = p->has_unique || node->unique_items;
    }
    return true;
}

/* ---- plans ----------------------------------------------------------------------------------- */

static bool fill_plan(struct kl_plans *plans, struct kl_plan *p, const int32_t *nodes, size_t n)
{
    struct closure c = {.plans = plans};
    for (size_t i = 0; i < n; i++)
        visit(&c, nodes[i], 0);
    p->nodes = kl_plans_take(plans, c.n, sizeof *p->nodes);
    p->demanded = kl_plans_take(plans, n, sizeof *p->demanded);
    bool ok = p->nodes != NULL && p->demanded != NULL;
    for (size_t i = 0; i < c.n && ok; i++) {
        ok = fill_node(plans, &p->nodes[i], &plans->graph->nodes[c.nodes[i]]);
        p->n_nodes++;
    }
    for (size_t i = 0; i < n && ok; i++)
        p->demanded[p->n_demanded++] = (uint32_t)plans->index_of[nodes[i]];
    for (size_t i = 0; i < c.n; i++)
        plans->index_of[c.nodes[i]] = -1;
    free(c.nodes);
    p->is_conjunction = ok && is_conjunction(p);
    return ok && find_dead_kinds(plans, p) && plan_strings(plans, p) && plan_arrays(plans, p);
}

static int compare_nodes(const void *a, const void *b)
{
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return x < y ? -1 : x > y;
}

static size_t make_unique(int32_t *nodes, size_t n)
{
    size_t kept = 0;
    if (n > 1)
        qsort(nodes, n, sizeof *nodes, compare_nodes);
    for (size_t i = 0; i < n; i++)
        if (kept == 0 || nodes[kept - 1] != nodes[i])
            nodes[kept++] = nodes[i];
    return kept;
}

struct kl_plan *kl_plan_of(struct kl_plans *plans, int32_t *nodes, size_t n)
{
    n = make_unique(nodes, n);
    uint32_t entry = kl_plans_put(plans, &plans->sets, (const uint32_t *)nodes, n);
    if (entry == 0)
        return NULL;
    uint32_t known = *kl_word_store_value(&plans->sets, entry);
    if (known != 0)
        return plans->plans[known - 1];
    struct kl_plan *p = kl_plans_take(plans, 1, sizeof *p);
    if (p == NULL || !fill_plan(plans, p, nodes, n) ||
        !add((void ***)&plans->plans, &plans->n_plans, &plans->plans_room, p, plans)) {
        free_plan(p);
        return NULL;
    }
    p->id = (uint32_t)plans->n_plans - 1;
    *kl_word_store_value(&plans->sets, entry) = p->id + 1;
    return p;
}
