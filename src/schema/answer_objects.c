/*
 * Objects of an alternative: named properties, and names by patterns that exclude each other.
 *
 * A named property is what all sides say of its name, also by patterns and additionalProperties;
 * the patterns of the new node are for other names only.
 */
#include <stdlib.h>
#include <string.h>

#include "schema/answer_parts.h"

enum { MAX_PATTERNS = 32, MAX_OVERLAPPING = 4, MAX_NAME_KINDS = 16 };

struct object {
    struct kl_answers *a;
    const struct kl_alternative *alt;
    struct kl_schema_node *node;
    enum kl_status status;
    /* named properties in their order */
    struct kl_schema_property *properties;
    uint32_t *keys;
    size_t n_keys, room_keys;
    struct kl_hash_index by_key; /* index of keys */
    int32_t *nodes;              /* scratch */
    size_t room_nodes;
    bool is_closed;
    uint32_t regexes[MAX_PATTERNS]; /* of patternProperties, each once */
    bool is_listed[MAX_PATTERNS];   /* its names are named properties */
    size_t n_regexes, n_listed;
    /* propertyNames: raw nodes, and the strings they allow */
    int32_t *name_nodes;
    size_t n_name_nodes;
    struct kl_schema_node names[MAX_NAME_KINDS];
    size_t n_names;
    bool too_many_names;
};

static uint64_t hash_key(uint32_t key)
{
    return (key + 1) * 0x9E3779B97F4A7C15u;
}

static void add_key(struct object *o, uint32_t key)
{
    uint32_t index;
    if (o->status != KL_OK)
        return;
    for (size_t at = 0; kl_hash_index_next(&o->by_key, hash_key(key), &at, &index);)
        if (o->keys[index] == key)
            return;
    if (o->n_keys == o->room_keys) {
        size_t wider = o->room_keys == 0 ? 32 : 2 * o->room_keys;
        uint32_t *grown = realloc(o->keys, wider * sizeof(*grown));
        if (grown == NULL) {
            o->status = kl_fail_memory(o->a->err, "a schema", wider * sizeof(*grown));
            return;
        }
        o->keys = grown;
        o->room_keys = wider;
    }
    o->status = kl_hash_index_add(&o->by_key, hash_key(key), (uint32_t)o->n_keys, o->a->err);
    o->keys[o->n_keys++] = key;
}

/* ---- what is collected ----------------------------------------------------------------------- */

static void collect_patterns(struct object *o, const struct kl_schema_node *raw)
{
    for (uint32_t i = 0; i < raw->patterns.n && o->status == KL_OK; i++) {
        uint32_t regex = o->a->graph->patterns[raw->patterns.first + i].regex;
        size_t k = 0;
        while (k < o->n_regexes && o->regexes[k] != regex)
            k++;
        if (k == MAX_PATTERNS)
            o->status = kl_answers_refuse(o->a, raw, KL_ERR_UNSUPPORTED, "patternProperties",
                                          "has too many patterns for answers");
        else if (k == o->n_regexes)
            o->regexes[o->n_regexes++] = regex;
    }
}

static void collect(struct object *o)
{
    const struct kl_schema_graph *graph = o->a->graph;
    struct kl_schema_node *node = o->node;
    bool is_explicit = false;
    size_t n_nodes = 0;
    for (size_t i = 0; i < o->alt->n; i++) {
        const struct kl_schema_node *raw = kl_raw(o->a, o->alt->applied[i]);
        for (uint32_t k = 0; k < raw->properties.n; k++)
            add_key(o, graph->properties[raw->properties.first + k].key);
        o->is_closed = o->is_closed || raw->is_closed;
        is_explicit = is_explicit || raw->is_open || raw->additional != KL_NO_NODE;
        collect_patterns(o, raw);
        n_nodes += raw->patterns.n + 2;
        if (raw->min_properties > node->min_properties)
            node->min_properties = raw->min_properties;
        if (raw->max_properties < node->max_properties)
            node->max_properties = raw->max_properties;
        if (raw->property_names != KL_NO_NODE)
            o->name_nodes[o->n_name_nodes++] = raw->property_names;
    }
    o->is_closed = o->is_closed && !is_explicit;
    o->nodes = malloc((n_nodes + 1) * sizeof(*o->nodes));
    o->room_nodes = n_nodes + 1;
    if (o->nodes == NULL)
        o->status = kl_fail_memory(o->a->err, "a schema", o->room_nodes * sizeof(*o->nodes));
}

/* A pattern of a few names names them. */
static void list_patterns(struct object *o)
{
    for (size_t i = 0; i < o->n_regexes && o->status == KL_OK; i++) {
        uint32_t keys[KL_ANSWER_MAX_LISTED];
        size_t n;
        o->status = kl_answers_list(o->a, o->regexes[i], keys, &n);
        if (o->status != KL_OK || n == SIZE_MAX)
            continue;
        o->is_listed[i] = true;
        o->n_listed++;
        for (size_t k = 0; k < n; k++)
            add_key(o, keys[k]);
    }
}

/* The names that are required, each once. */
static void collect_required(struct object *o)
{
    size_t n = 0, room = 0;
    for (size_t i = 0; i < o->alt->n; i++)
        room += kl_raw(o->a, o->alt->applied[i])->required.n;
    uint32_t *required = malloc((room + 1) * sizeof(*required));
    if (required == NULL) {
        o->status = kl_fail_memory(o->a->err, "a schema", room * sizeof(*required));
        return;
    }
    struct kl_hash_index seen = {0};
    for (size_t i = 0; i < o->alt->n; i++) {
        struct kl_range range = kl_raw(o->a, o->alt->applied[i])->required;
        for (uint32_t k = 0; k < range.n && o->status == KL_OK; k++) {
            uint32_t key = o->a->graph->key_lists[range.first + k], found;
            size_t at = 0;
            add_key(o, key);
            if (kl_hash_index_next(&seen, hash_key(key), &at, &found)) /* a bijection */
                continue;
            required[n++] = key;
            if (o->status == KL_OK)
                o->status = kl_hash_index_add(&seen, hash_key(key), key, o->a->err);
        }
    }
    if (o->status == KL_OK)
        o->status = kl_schema_add_key_list(&o->a->builder, required, n, &o->node->required);
    free(required);
    kl_hash_index_release(&seen);
}

/* ---- propertyNames --------------------------------------------------------------------------- */

static enum kl_status add_name_kind(struct kl_answers *a, const struct kl_alternative *alt,
                                    void *context)
{
    struct object *o = context;
    struct kl_schema_node names;
    if ((alt->types & KL_JSON_STRING) == 0)
        return KL_OK;
    kl_schema_node_init(&names);
    names.types = KL_JSON_STRING;
    names.path = o->node->path;
    enum kl_status status = kl_answers_merge_strings(a, alt, &names);
    if (status != KL_OK || names.types == 0)
        return status;
    if (o->n_names == MAX_NAME_KINDS)
        o->too_many_names = true;
    else
        o->names[o->n_names++] = names;
    return KL_OK;
}

/* Whether names are a few that their pattern allows: they become named properties. */
static bool list_names(struct object *o, const struct kl_schema_node *names)
{
    uint32_t keys[KL_ANSWER_MAX_LISTED];
    size_t n = SIZE_MAX;
    if (names->max_length == 0 && names->regexes.n == 0) {
        o->status = kl_schema_add_key(&o->a->builder, "", 0, keys);
        n = 1;
    } else if (names->strings < 0 && names->regexes.n == 1 && names->max_length == UINT32_MAX)
        o->status = kl_answers_list(o->a, o->a->graph->regex_lists[names->regexes.first], keys, &n);
    for (size_t i = 0; o->status == KL_OK && i < n && n != SIZE_MAX && !o->is_closed; i++)
        add_key(o, keys[i]);
    return o->status == KL_OK && n != SIZE_MAX;
}

/* Finds which names may be there. If they are a set, they are named properties. false: there are no
 * others. */
static bool find_names(struct object *o)
{
    if (o->n_name_nodes == 0)
        return true;
    o->status = kl_answers_expand(o->a, o->name_nodes, o->n_name_nodes, false, add_name_kind, o);
    bool all_sets = true;
    for (size_t i = 0; i < o->n_names; i++)
        all_sets = all_sets && o->names[i].strings >= 0;
    if (o->status == KL_OK && (o->too_many_names || (!all_sets && o->n_names > 1)))
        o->status = kl_answers_refuse(o->a, o->node, KL_ERR_UNSUPPORTED, "propertyNames",
                                      "has alternatives, which is not supported in answers");
    for (size_t i = 0; i < o->n_names && all_sets; i++) {
        const struct kl_string_set *set = &o->a->graph->sets[o->names[i].strings];
        for (size_t k = 0; k < set->n && o->status == KL_OK && !o->is_closed; k++) {
            uint32_t key;
            o->status =
                kl_schema_add_key(&o->a->builder, set->sorted[k].bytes, set->sorted[k].len, &key);
            add_key(o, key);
        }
    }
    if (o->status == KL_OK && o->n_names == 1 && !all_sets && list_names(o, &o->names[0]))
        all_sets = true;
    return !all_sets;
}

/* ---- named properties ------------------------------------------------------------------------ */

static bool matches(struct object *o, uint32_t regex, const bool *matched)
{
    for (size_t i = 0; i < o->n_regexes; i++)
        if (o->regexes[i] == regex)
            return matched[i];
    return false;
}

/* The raw nodes for a name: key, or KL_NO_KEY for another one, which matches these patterns. */
#define NO_KEY UINT32_MAX
static size_t nodes_of(struct object *o, uint32_t key, const bool *matched)
{
    const struct kl_schema_graph *graph = o->a->graph;
    size_t n = 0;
    for (size_t i = 0; i < o->alt->n; i++) {
        const struct kl_schema_node *raw = kl_raw(o->a, o->alt->applied[i]);
        bool is_named = false;
        for (uint32_t k = 0; k < raw->properties.n && key != NO_KEY && !is_named; k++)
            if (graph->properties[raw->properties.first + k].key == key) {
                o->nodes[n++] = graph->properties[raw->properties.first + k].node;
                is_named = true;
            }
        for (uint32_t k = 0; k < raw->patterns.n; k++) {
            struct kl_schema_pattern pattern = graph->patterns[raw->patterns.first + k];
            if (!matches(o, pattern.regex, matched))
                continue;
            o->nodes[n++] = pattern.node;
            is_named = true;
        }
        if (!is_named && raw->additional != KL_NO_NODE)
            o->nodes[n++] = raw->additional;
    }
    return n;
}

static bool has_never(const struct object *o, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (kl_raw(o->a, o->nodes[i])->types == 0)
            return true;
    return false;
}

static bool is_required(const struct object *o, uint32_t key)
{
    for (uint32_t i = 0; i < o->node->required.n; i++)
        if (o->a->graph->key_lists[o->node->required.first + i] == key)
            return true;
    return false;
}

static enum kl_status add_never(struct object *o, int32_t *node)
{
    struct kl_schema_node never;
    kl_schema_node_init(&never);
    never.types = 0;
    return o->status == KL_OK ? kl_schema_add_node(&o->a->builder, &never, node) : o->status;
}

static void name_properties(struct object *o)
{
    size_t n = 0;
    o->properties = malloc((o->n_keys + 1) * sizeof(*o->properties));
    if (o->properties == NULL) {
        o->status = kl_fail_memory(o->a->err, "a schema", o->n_keys * sizeof(*o->properties));
        return;
    }
    for (size_t i = 0; i < o->n_keys && o->status == KL_OK; i++) {
        uint32_t key = o->keys[i];
        struct kl_schema_text name = o->a->graph->keys[key];
        bool matched[MAX_PATTERNS] = {false}, is_allowed = true;
        for (size_t k = 0; k < o->n_regexes; k++)
            matched[k] = kl_answers_match(o->a, o->regexes[k], &name, &o->status);
        for (size_t k = 0; k < o->n_name_nodes && is_allowed; k++)
            is_allowed = kl_answers_allow_string(o->a, o->name_nodes[k], &name, &o->status);
        size_t n_nodes = nodes_of(o, key, matched);
        if (o->status != KL_OK)
            return;
        bool is_never = !is_allowed || has_never(o, n_nodes);
        if (is_never && is_required(o, key))
            o->node->types &= (uint8_t)~KL_JSON_OBJECT;
        o->properties[n].key = key;
        o->status = is_never ? add_never(o, &o->properties[n].node)
                             : kl_answers_node(o->a, o->nodes, n_nodes, &o->properties[n].node);
        n++;
    }
    if (o->status == KL_OK)
        o->status =
            kl_schema_add_properties(&o->a->builder, o->properties, n, &o->node->properties);
}

/* ---- other names ----------------------------------------------------------------------------- */

struct others {
    struct kl_schema_pattern patterns[(1u << MAX_OVERLAPPING) + MAX_PATTERNS + 1];
    size_t n;
};

/* How many names match a pattern that are not named properties, if that matters. */
static void count_names(struct object *o, struct kl_schema_pattern *pattern)
{
    uint32_t n;
    bool is_endless;
    pattern->n_names = UINT32_MAX;
    o->status = kl_answers_count(o->a, pattern->regex, &n, &is_endless);
    pattern->runs_out = !is_endless;
    if (n == KL_REGEX_MANY || o->node->min_properties == 0 || o->status != KL_OK)
        return;
    for (size_t i = 0; i < o->n_keys; i++)
        n -= kl_answers_match(o->a, pattern->regex, &o->a->graph->keys[o->keys[i]], &o->status);
    pattern->n_names = n;
}

/* Adds a pattern for the names that match all of `matched` and, of those that may overlap with
 * them, no others. */
static void add_class(struct object *o, struct others *others, const bool *matched, bool is_apart)
{
    bool is_other = true;
    for (size_t i = 0; i < o->n_regexes; i++)
        is_other = is_other && !matched[i];
    size_t n = nodes_of(o, NO_KEY, matched), n_terms = 0;
    if (o->status != KL_OK || has_never(o, n) || (is_other && o->is_closed))
        return;
    uint32_t terms[MAX_PATTERNS + 1], min = 0, max = UINT32_MAX;
    for (size_t i = 0; i < o->n_regexes; i++)
        if (!o->is_listed[i] && (matched[i] || is_other || !is_apart))
            terms[n_terms++] = 2 * o->regexes[i] + !matched[i];
    const struct kl_schema_node *names = o->n_names != 0 ? &o->names[0] : NULL;
    if (names != NULL && names->regexes.n != 0)
        terms[n_terms++] = 2 * o->a->graph->regex_lists[names->regexes.first];
    if (names != NULL) {
        min = names->min_length;
        max = names->max_length;
    }
    struct kl_schema_pattern *pattern = &others->patterns[others->n];
    if (n_terms == 1 && terms[0] % 2 == 0 && min == 0 && max == UINT32_MAX) {
        pattern->regex = terms[0] / 2;
    } else {
        o->status = kl_answers_product(o->a, terms, n_terms, min, max, &pattern->regex);
        if (o->status == KL_ERR_LIMIT)
            o->status = kl_answers_refuse(o->a, o->node, KL_ERR_UNSUPPORTED, "patternProperties",
                                          "has patterns that overlap in too many ways");
    }
    if (o->status != KL_OK || pattern->regex == UINT32_MAX)
        return;
    o->status = kl_answers_node(o->a, o->nodes, n, &pattern->node);
    if (o->status == KL_OK)
        count_names(o, pattern);
    others->n++;
}

static bool overlap(struct object *o)
{
    for (size_t i = 0; i < o->n_regexes; i++)
        for (size_t j = i + 1; j < o->n_regexes && o->status == KL_OK; j++) {
            if (o->is_listed[i] || o->is_listed[j])
                continue;
            uint32_t x = 2 * o->regexes[i], y = 2 * o->regexes[j], both;
            uint32_t terms[] = {x < y ? x : y, x < y ? y : x};
            o->status = kl_answers_product(o->a, terms, 2, 0, UINT32_MAX, &both);
            if (o->status == KL_ERR_LIMIT)
                o->status =
                    kl_answers_refuse(o->a, o->node, KL_ERR_UNSUPPORTED, "patternProperties",
                                      "has patterns that overlap in too many ways");
            if (both != UINT32_MAX)
                return true;
        }
    return false;
}

static void name_patterns(struct object *o)
{
    struct others others = {.n = 0};
    size_t open[MAX_OVERLAPPING], n_open = 0;
    bool matched[MAX_PATTERNS] = {false};
    if (o->n_regexes > 1 && overlap(o)) {
        if (o->status == KL_OK && o->n_regexes - o->n_listed > MAX_OVERLAPPING)
            o->status = kl_answers_refuse(o->a, o->node, KL_ERR_UNSUPPORTED, "patternProperties",
                                          "has more than 4 patterns that overlap");
        for (size_t i = 0; i < o->n_regexes; i++)
            if (!o->is_listed[i] && n_open < MAX_OVERLAPPING)
                open[n_open++] = i;
        for (unsigned mask = 0; mask < 1u << n_open && o->status == KL_OK; mask++) {
            for (size_t i = 0; i < n_open; i++)
                matched[open[i]] = (mask >> i & 1) != 0;
            add_class(o, &others, matched, false);
        }
    } else {
        for (size_t i = 0; i < o->n_regexes; i++) {
            if (o->is_listed[i])
                continue;
            matched[i] = true;
            add_class(o, &others, matched, true);
            matched[i] = false;
        }
        add_class(o, &others, matched, true);
    }
    if (o->status == KL_OK)
        o->status =
            kl_schema_add_patterns(&o->a->builder, others.patterns, others.n, &o->node->patterns);
}

/* Names that are not listed. */
static void name_others(struct object *o, bool has_names)
{
    const struct kl_schema_node *names = o->n_names != 0 ? &o->names[0] : NULL;
    bool by_length = names != NULL && names->regexes.n == 0;
    size_t n_patterns = o->n_regexes - o->n_listed;
    if (!has_names || (o->is_closed && n_patterns == 0)) {
        o->status = add_never(o, &o->node->additional);
    } else if (n_patterns != 0 || (names != NULL && !by_length)) {
        name_patterns(o);
        o->status = add_never(o, &o->node->additional);
    } else {
        bool matched[MAX_PATTERNS] = {false};
        size_t n = nodes_of(o, NO_KEY, matched);
        if (has_never(o, n))
            o->status = add_never(o, &o->node->additional);
        else
            o->status = kl_answers_free_node(o->a, o->nodes, n, &o->node->additional);
        if (by_length && (names->min_length != 0 || names->max_length != UINT32_MAX) &&
            o->status == KL_OK)
            o->status = kl_schema_add_node(&o->a->builder, names, &o->node->property_names);
    }
}

enum kl_status kl_answers_merge_object(struct kl_answers *a, const struct kl_alternative *alt,
                                       struct kl_schema_node *node)
{
    struct object *o = calloc(1, sizeof(*o));
    if (o == NULL)
        return kl_fail_memory(a->err, "a schema", sizeof(*o));
    *o = (struct object){.a = a, .alt = alt, .node = node};
    o->name_nodes = malloc((alt->n + 1) * sizeof(*o->name_nodes));
    if (o->name_nodes == NULL)
        o->status = kl_fail_memory(a->err, "a schema", alt->n * sizeof(*o->name_nodes));
    bool has_names = true;
    if (o->status == KL_OK)
        collect(o);
    if (o->status == KL_OK)
        list_patterns(o);
    if (o->status == KL_OK)
        collect_required(o);
    if (o->status == KL_OK)
        has_names = find_names(o);
    if (o->status == KL_OK)
        name_properties(o);
    if (o->status == KL_OK)
        name_others(o, has_names);
    enum kl_status status = o->status;
    free(o->properties);
    free(o->keys);
    free(o->nodes);
    free(o->name_nodes);
    kl_hash_index_release(&o->by_key);
    free(o);
    return status;
}
