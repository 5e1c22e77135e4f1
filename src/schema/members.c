#include <stdlib.h>
#include <string.h>

#include "base/hash.h"

#include "schema/string_atoms.h"

/* ---- what a name does to the nodes of its object --------------------------------------------- */

/* The place of a name in the order of a node's properties; their number: it is none of them. */
static uint32_t order_of(const struct kl_plan_node *n, uint32_t key)
{
    uint32_t i = 0;
    while (i < n->node->properties.n && n->properties[i] != key)
        i++;
    return i;
}

/* For answers: whether the name comes out of the order of the schema, or leaves out a required one:
 * properties in their order, then required names that are not among them, then others. */
static bool breaks_order(const struct kl_plan_node *n, const uint32_t *seen, bool has_others,
                         uint32_t key)
{
    uint32_t order = order_of(n, key), n_properties = n->node->properties.n;
    if (order < n_properties && has_others)
        return true;
    for (uint32_t i = order; i < n_properties; i++)
        if (kl_has_bit(seen, n->properties[i]))
            return true;
    for (uint32_t i = 0; i < n->node->required.n; i++) {
        uint32_t required = n->required[i];
        if (required != key && !kl_has_bit(seen, required) && order_of(n, required) < order)
            return true;
        if (key == KL_NO_KEY && !kl_has_bit(seen, required))
            return true;
    }
    return false;
}

/* How many names that are not listed a node has; UINT32_MAX: many. */
static uint32_t others_of(const struct kl_schema_machine *m, const struct kl_schema_node *node)
{
    uint32_t n = 0;
    if (node->additional == KL_NO_NODE || m->graph->nodes[node->additional].types != 0)
        return UINT32_MAX;
    for (uint32_t i = 0; i < node->patterns.n; i++) {
        uint32_t more = m->graph->patterns[node->patterns.first + i].n_names;
        n = more > UINT32_MAX - n ? UINT32_MAX : n + more;
    }
    return n;
}

/* For answers: whether this name leaves too few others for minProperties, or too little room for
 * those that are required. count: members before it; n_others: those that are not listed. */
static bool breaks_count(const struct kl_schema_machine *m, const struct kl_plan_node *n,
                         const uint32_t *seen, uint32_t count, uint32_t n_others, uint32_t key)
{
    const struct kl_schema_node *node = n->node;
    uint32_t missing = 0;
    for (uint32_t i = 0; i < node->required.n && node->max_properties != UINT32_MAX; i++)
        missing += n->required[i] != key && !kl_has_bit(seen, n->required[i]);
    if (missing >= node->max_properties - count) /* count is below it */
        return true;
    if (count + 1 >= node->min_properties)
        return false;
    uint32_t needed = node->min_properties - count - 1, left = others_of(m, node);
    if (left == UINT32_MAX)
        return false;
    n_others += key == KL_NO_KEY;
    left = left > n_others ? left - n_others : 0;
    for (uint32_t i = order_of(n, key) + 1; i < node->properties.n && left < needed; i++)
        left += m->graph->nodes[m->graph->properties[node->properties.first + i].node].types != 0;
    return left < needed;
}

static uint32_t count_bits(const uint32_t *bits, uint32_t n)
{
    uint32_t found = 0;
    for (uint32_t i = 0; i < n; i++)
        found += kl_has_bit(bits, i);
    return found;
}

/* Sets m->bad of the nodes of a frame for which this name may not come now. */
static bool judge_name(struct kl_schema_machine *m, const uint32_t *f, const struct kl_plan *plan,
                       uint32_t key)
{
    const uint32_t *seen = f + F_WORDS + kl_bit_words(plan->n_nodes);
    uint32_t n_others = m->answers ? f[F_COUNT] - count_bits(seen, plan->n_keys) : 0;
    bool any = false;
    memset(m->bad, 0, plan->n_nodes);
    for (uint32_t i = 0; i < plan->n_objects; i++) {
        const struct kl_plan_node *n = &plan->nodes[plan->objects[i]];
        bool bad = f[F_COUNT] >= n->node->max_properties ||
                   (m->answers && (breaks_order(n, seen, n_others > 0, key) ||
                                   breaks_count(m, n, seen, f[F_COUNT], n_others, key)));
        m->bad[plan->objects[i]] = bad;
        any = any || bad;
    }
    return any;
}

/* Whether the document stays alive with some kind of value, before kind n_kinds, for a member or
 * item, with the nodes m->bad of its container bad in addition. any_bad: there are some. */
static bool kind_can_follow(struct kl_schema_machine *m, uint32_t frame, const struct kl_link *link,
                            int n_kinds, bool any_bad)
{
    const uint32_t *f = kl_frame(m, frame);
    bool is_strict = (f[F_FLAGS] & KL_FRAME_STRICT) != 0;
    if (any_bad && is_strict)
        return false;
    size_t n = kl_frame_plan(m, frame)->n_nodes;
    uint8_t *own = malloc(n + 1);
    if (own == NULL) {
        kl_fail_memory(&m->base.failure, "following a schema", n);
        return false;
    }
    memcpy(own, m->bad, n);
    bool lives = false;
    for (int kind = 0; kind < n_kinds && !lives; kind++) {
        bool any = any_bad;
        memcpy(m->bad, own, n);
        for (uint32_t i = 0; i < link->n_pairs; i++) {
            const struct kl_link_pair *pair = &link->pairs[i];
            if (!pair->is_contains && link->plan->dead_kinds[kind][pair->child])
                m->bad[pair->parent] = any = true;
        }
        lives = !any || (!is_strict && !kl_frame_dies(m, frame));
    }
    free(own);
    return lives;
}

static bool is_deep(const struct kl_schema_machine *m, uint32_t frame)
{
    return m->answers && frame != 0 && kl_frame(m, frame)[F_DEPTH] >= KL_ANSWER_DEPTH;
}

/* The same of any kind; of one that is no container if that is a matter of choice. */
static bool can_follow(struct kl_schema_machine *m, uint32_t frame, const struct kl_link *link,
                       bool any_bad, bool by_choice)
{
    if (by_choice && is_deep(m, frame))
        return kind_can_follow(m, frame, link, KL_VALUE_ARRAY, any_bad);
    return (link->is_possible && !any_bad) ||
           kind_can_follow(m, frame, link, KL_N_VALUE_KINDS, any_bad);
}

bool kl_value_avoids_depth(struct kl_schema_machine *m, uint32_t frame, const struct kl_link *link)
{
    if (!is_deep(m, frame))
        return false;
    memset(m->bad, 0, kl_frame_plan(m, frame)->n_nodes);
    return kind_can_follow(m, frame, link, KL_VALUE_ARRAY, false);
}

/* Whether no node asks for this name, or for the number of names. */
static bool is_choice(const uint32_t *f, const struct kl_plan *plan, uint32_t key)
{
    for (uint32_t i = 0; i < plan->n_objects; i++) {
        const struct kl_plan_node *n = &plan->nodes[plan->objects[i]];
        if (f[F_COUNT] < n->node->min_properties)
            return false;
        for (uint32_t k = 0; k < n->node->required.n; k++)
            if (n->required[k] == key)
                return false;
    }
    return true;
}

/* ---- the gate -------------------------------------------------------------------------------- */

static bool match_text(struct kl_schema_machine *m, const struct kl_plan *plan,
                       const struct kl_schema_text *text)
{
    for (uint32_t i = 0; i < plan->n_patterns; i++) {
        struct kl_regex_run *run = kl_machine_run(m, plan->patterns[i]);
        if (run == NULL)
            return false;
        uint32_t state = kl_regex_run_start(run);
        for (uint32_t k = 0; k < text->len; k++)
            state = kl_regex_run_step(run, state, (uint8_t)text->bytes[k]);
        m->matched[i] = kl_regex_run_accepts(run, state);
        if (kl_regex_run_failure(run) != KL_OK)
            return false;
    }
    return true;
}

static const struct kl_link *member_link(struct kl_schema_machine *m, const struct kl_plan *plan,
                                         uint32_t key)
{
    const struct kl_link *link = kl_link_member(&m->plans, plan, key, m->matched);
    if (link == NULL || !kl_machine_reserve(m, link->plan)) {
        kl_schema_machine_fail(m);
        return NULL;
    }
    return link;
}

/* The link of a named property. */
static const struct kl_link *named_link(struct kl_schema_machine *m, struct kl_plan *plan,
                                        uint32_t place)
{
    uint32_t key = plan->key_set.place[place];
    if (plan->key_links[key] != NULL)
        return plan->key_links[key];
    if (!match_text(m, plan, &plan->key_set.sorted[place]))
        return NULL;
    return plan->key_links[key] = member_link(m, plan, key);
}

static bool name_can_follow(struct kl_schema_machine *m, uint32_t frame, const struct kl_plan *plan,
                            uint32_t key, const struct kl_link *link)
{
    bool any_bad = judge_name(m, kl_frame(m, frame), plan, key);
    bool by_choice = is_deep(m, frame) && is_choice(kl_frame(m, frame), plan, key);
    return can_follow(m, frame, link, any_bad, by_choice);
}

static bool other_can_follow(struct kl_schema_machine *m, uint32_t frame,
                             const struct kl_plan *plan)
{
    const struct kl_link *link = member_link(m, plan, KL_NO_KEY);
    return link != NULL && name_can_follow(m, frame, plan, KL_NO_KEY, link);
}

static bool reserve_gate(struct kl_schema_machine *m, const struct kl_plan *plan)
{
    struct kl_name_gate *g = &m->gate;
    if (g->before == NULL || g->n_before < plan->key_set.n + 1) {
        uint32_t *before = realloc(g->before, (plan->key_set.n + 1) * sizeof *before);
        if (before == NULL)
            return false;
        g->before = before;
        g->n_before = plan->key_set.n + 1;
    }
    size_t n = (size_t)plan->n_patterns + 1;
    if (g->patterns == NULL || g->n_patterns < n) {
        bool *patterns = realloc(g->patterns, n * sizeof *patterns);
        if (patterns != NULL)
            g->patterns = patterns;
        bool *matched = realloc(m->matched, n * sizeof *matched);
        if (matched != NULL)
            m->matched = matched;
        if (patterns == NULL || matched == NULL)
            return false;
        g->n_patterns = n;
    }
    return true;
}

/* Whether names are left that match a pattern. */
static bool has_unused(struct kl_schema_machine *m, uint32_t regex)
{
    struct kl_regex_run *run = kl_machine_run(m, regex);
    return run != NULL && kl_pattern_has_unused(m, regex, kl_regex_run_start(run), 0);
}

static bool fill_gate(struct kl_schema_machine *m, uint32_t frame, struct kl_plan *plan)
{
    struct kl_name_gate *g = &m->gate;
    uint32_t n = 0;
    for (uint32_t i = 0; i < plan->key_set.n; i++) {
        uint32_t key = plan->key_set.place[i];
        g->before[i] = n;
        if (kl_has_bit(kl_frame(m, frame) + F_WORDS + kl_bit_words(plan->n_nodes), key))
            continue;
        const struct kl_link *link = named_link(m, plan, i);
        if (link == NULL)
            return false;
        n += name_can_follow(m, frame, plan, key, link);
    }
    g->before[plan->key_set.n] = n;
    memset(m->matched, 0, plan->n_patterns);
    g->other = other_can_follow(m, frame, plan);
    g->any = n > 0 || g->other;
    if (plan->names_run_out && !kl_names_collect(m, frame))
        return false;
    for (uint32_t i = 0; i < plan->n_patterns; i++) {
        m->matched[i] = true;
        g->patterns[i] = other_can_follow(m, frame, plan) &&
                         (!plan->names_run_out || has_unused(m, plan->patterns[i]));
        g->any = g->any || g->patterns[i];
        m->matched[i] = false;
    }
    g->signature = kl_hash64(g->before, (plan->key_set.n + 1) * sizeof *g->before, g->other);
    g->signature = kl_hash64(g->patterns, plan->n_patterns * sizeof *g->patterns, g->signature);
    return m->base.failure.status == KL_OK;
}

const struct kl_name_gate *kl_name_gate(struct kl_schema_machine *m, uint32_t frame)
{
    struct kl_plan *plan = kl_frame_plan(m, frame);
    if (m->gate.frame == frame)
        return &m->gate;
    m->gate.frame = 0;
    if (!reserve_gate(m, plan)) {
        kl_fail_memory(&m->base.failure, "following a schema", plan->n_keys);
        return NULL;
    }
    if (!fill_gate(m, frame, plan)) {
        kl_schema_machine_fail(m);
        return NULL;
    }
    m->gate.frame = frame;
    return &m->gate;
}

/* ---- names ----------------------------------------------------------------------------------- */

/* Adds the nodes whose propertyNames is dead (whole: not true) for the name to m->bad, in words of
 * its automata; whether there are any. m->bad is cleared first. */
static bool blame_names(struct kl_schema_machine *m, const struct kl_plan *plan,
                        const uint32_t *words, uint32_t length, bool whole)
{
    const struct kl_plan *names = plan->names;
    bool any = false;
    if (!kl_machine_reserve(m, names))
        return true;
    kl_string_judge(m, names, words + 1 + plan->n_patterns, length, whole);
    if (whole) {
        kl_plan_truth(names, m->bad, m->bad);
        for (uint32_t i = 0; i < names->n_nodes; i++)
            m->bad[i] = !m->bad[i];
    } else {
        kl_plan_dead(names, m->bad, m->bad);
    }
    for (uint32_t i = 0; i < names->n_demanded; i++)
        m->next[i] = m->bad[names->demanded[i]];
    memset(m->bad, 0, plan->n_nodes);
    for (uint32_t i = 0; i < plan->n_objects; i++) {
        int32_t node = plan->nodes[plan->objects[i]].node->property_names;
        for (uint32_t k = 0; k < names->n_demanded && node != KL_NO_NODE; k++)
            if (names->nodes[names->demanded[k]].node == &m->graph->nodes[node] && m->next[k])
                m->bad[plan->objects[i]] = any = true;
    }
    return any;
}

static bool dies(struct kl_schema_machine *m, uint32_t frame)
{
    return (kl_frame(m, frame)[F_FLAGS] & KL_FRAME_STRICT) != 0 || kl_frame_dies(m, frame);
}

/* Whether the document stays alive with a name of this length that is not listed and matches just
 * this pattern; plan->n_patterns: none. */
static bool other_lives(struct kl_schema_machine *m, const struct kl_rule_state *state,
                        uint32_t pattern, uint32_t length)
{
    uint32_t frame = state->words[S_FRAME];
    const struct kl_plan *plan = kl_frame_plan(m, frame);
    if (plan->names == NULL)
        return true;
    memset(m->matched, 0, plan->n_patterns);
    m->matched[pattern] = true; /* it has room for one more */
    const struct kl_link *link = member_link(m, plan, KL_NO_KEY);
    if (link == NULL)
        return false;
    const uint32_t *words = kl_string_words(m, &plan->key_strings, state);
    bool any = blame_names(m, plan, words, length, false);
    memcpy(m->own, m->bad, plan->n_nodes);
    any = judge_name(m, kl_frame(m, frame), plan, KL_NO_KEY) || any;
    for (uint32_t i = 0; i < plan->n_nodes; i++)
        m->bad[i] = m->bad[i] || m->own[i];
    return can_follow(m, frame, link, any, false);
}

/* For answers: whether a name that is not listed, and matches just this pattern, is left behind
 * this beginning. */
static bool other_is_left(struct kl_schema_machine *m, const struct kl_rule_state *state,
                          uint32_t pattern, bool is_blamed)
{
    const struct kl_plan *plan = kl_frame_plan(m, state->words[S_FRAME]);
    uint32_t length = state->words[S_LENGTH];
    if (is_blamed && !other_lives(m, state, pattern, length))
        return false;
    if (!kl_name_is_doubtful(m, state))
        return true;
    if (pattern == plan->n_patterns)
        return other_lives(m, state, pattern, length + 1) || kl_longest_is_unused(m, state);
    return kl_pattern_has_unused(m, plan->patterns[pattern],
                                 kl_string_words(m, &plan->key_strings, state)[1 + pattern],
                                 kl_string_hash(state));
}

bool kl_name_lives(struct kl_schema_machine *m, const struct kl_rule_state *state)
{
    uint32_t frame = state->words[S_FRAME];
    const struct kl_name_gate *gate = kl_name_gate(m, frame);
    const struct kl_plan *plan = kl_frame_plan(m, frame);
    if (gate == NULL)
        return false;
    if (gate->other && plan->names == NULL)
        return true; /* it may be any */
    const uint32_t *words = kl_string_words(m, &plan->key_strings, state);
    bool lives = false, is_blamed = plan->names != NULL &&
                                    blame_names(m, plan, words, state->words[S_LENGTH], false);
    if (is_blamed && dies(m, frame))
        return false;
    if (words[0] != KL_STRING_SET_DEAD) {
        const struct kl_string_set_node *node = &plan->key_set.nodes[words[0]];
        lives = gate->before[node->first + node->n] > gate->before[node->first];
    }
    for (uint32_t i = 0; i <= plan->n_patterns && !lives; i++) {
        words = kl_string_words(m, &plan->key_strings, state);
        lives = i == plan->n_patterns ? gate->other
                                      : gate->patterns[i] && words[1 + i] != KL_REGEX_DEAD;
        lives = lives && (!m->answers || other_is_left(m, state, i, is_blamed));
    }
    return lives;
}

/* Makes the frame behind a name in m->frame. key: KL_NO_KEY: it is another one.
 * from: in it. */
static uint32_t add_name(struct kl_schema_machine *m, uint32_t frame, const struct kl_plan *plan,
                         uint32_t key, const struct kl_rule_state *from)
{
    size_t n;
    uint32_t list = 0;
    uint64_t hash = kl_string_hash(from);
    if (key == KL_NO_KEY) {
        uint32_t entry[] = {kl_frame(m, frame)[F_SEEN], (uint32_t)hash, (uint32_t)(hash >> 32),
                            from->words[S_LINK]};
        list = kl_word_store_put(&m->store, entry, 4);
        if (list == 0) {
            kl_schema_machine_fail(m);
            return 0;
        }
    }
    uint32_t *f = kl_frame_copy(m, frame, &n);
    if (f == NULL)
        return 0;
    f[F_COUNT]++;
    if (key == KL_NO_KEY)
        f[F_SEEN] = list;
    else
        kl_set_bit(f + F_WORDS + kl_bit_words(plan->n_nodes), key);
    if ((f[F_FLAGS] & KL_FRAME_HASHES) != 0) {
        f[F_NAME_LOW] = (uint32_t)hash;
        f[F_NAME_HIGH] = (uint32_t)(hash >> 32);
    }
    for (uint32_t i = 0; i < plan->n_nodes; i++)
        if (m->bad[i])
            kl_set_bit(f + F_WORDS, i);
    return kl_frame_store(m, n);
}

bool kl_name_ends(struct kl_schema_machine *m, const struct kl_rule_state *from,
                  struct kl_rule_state *to)
{
    uint32_t frame = from->words[S_FRAME], key = KL_NO_KEY;
    const struct kl_name_gate *gate = kl_name_gate(m, frame);
    struct kl_plan *plan = kl_frame_plan(m, frame);
    if (gate == NULL)
        return false;
    const uint32_t *words = kl_string_words(m, &plan->key_strings, from);
    const struct kl_link *link;
    if (words[0] != KL_STRING_SET_DEAD && plan->key_set.nodes[words[0]].ends) {
        uint32_t place = plan->key_set.nodes[words[0]].first;
        if (gate->before[place + 1] == gate->before[place])
            return false;
        key = plan->key_set.place[place];
        link = named_link(m, plan, place);
    } else {
        if (kl_hashes_contain(m, kl_frame(m, frame)[F_SEEN], kl_string_hash(from)))
            return false;
        for (uint32_t i = 0; i < plan->n_patterns; i++)
            m->matched[i] = kl_atom_accepts(m, &plan->key_strings.atoms[1 + i], words[1 + i]);
        link = member_link(m, plan, KL_NO_KEY);
        if (link != NULL && !name_can_follow(m, frame, plan, KL_NO_KEY, link))
            return false;
    }
    if (link == NULL)
        return kl_schema_machine_fail(m);
    words = kl_string_words(m, &plan->key_strings, from);
    bool named_badly =
        plan->names != NULL && blame_names(m, plan, words, from->words[S_LENGTH], true);
    if (named_badly && dies(m, frame))
        return false;
    /* the nodes that this name makes bad, in addition */
    if (named_badly)
        blame_names(m, plan, words, from->words[S_LENGTH], true);
    else
        judge_name(m, kl_frame(m, frame), plan, key);
    *to = (struct kl_rule_state){.words = {[S_PHASE] = KL_PHASE_COLON, [S_LINK] = link->id}};
    to->words[S_FRAME] = add_name(m, frame, plan, key, from);
    return to->words[S_FRAME] != 0;
}

bool kl_name_may_end(struct kl_schema_machine *m, const struct kl_rule_state *state)
{
    uint32_t frame = state->words[S_FRAME];
    const struct kl_plan *plan = kl_frame_plan(m, frame);
    const struct kl_name_gate *gate = kl_name_gate(m, frame);
    if (gate == NULL)
        return false;
    if (plan->n_patterns > 0 || plan->names != NULL) {
        struct kl_rule_state to;
        size_t mark = kl_word_store_mark(&m->store);
        bool ends = kl_name_ends(m, state, &to);
        kl_word_store_release(&m->store, mark);
        return ends;
    }
    uint32_t word = kl_string_words(m, &plan->key_strings, state)[0];
    if (word != KL_STRING_SET_DEAD && plan->key_set.nodes[word].ends) {
        uint32_t place = plan->key_set.nodes[word].first;
        return gate->before[place + 1] != gate->before[place];
    }
    return gate->other && !kl_hashes_contain(m, kl_frame(m, frame)[F_SEEN], kl_string_hash(state));
}

/* ---- items ----------------------------------------------------------------------------------- */

/* Sets m->bad of the nodes of an array that may have no more items; whether there are any. */
static bool judge_count(struct kl_schema_machine *m, const struct kl_plan *plan, uint32_t n)
{
    bool any = false;
    memset(m->bad, 0, plan->n_nodes);
    for (uint32_t i = 0; i < plan->n_arrays; i++)
        if (n >= plan->nodes[plan->arrays[i]].node->max_items)
            m->bad[plan->arrays[i]] = any = true;
    return any;
}

bool kl_item_begins(struct kl_schema_machine *m, uint32_t *frame, const struct kl_link **link)
{
    const struct kl_plan *plan = kl_frame_plan(m, *frame);
    uint32_t count = kl_frame(m, *frame)[F_COUNT];
    size_t n;
    *link = kl_link_item(&m->plans, plan, count);
    if (*link == NULL || !kl_machine_reserve(m, (*link)->plan))
        return kl_schema_machine_fail(m);
    const struct kl_string_atoms *atoms = &(*link)->plan->strings;
    if (m->answers && plan->has_unique && atoms->n == 1 && atoms->atoms[0].kind == KL_ATOM_SET &&
        kl_frame(m, *frame)[F_NEXT_ITEM] >= m->graph->sets[atoms->atoms[0].index].n)
        return false;
    bool any_bad = judge_count(m, plan, count), by_choice = true;
    for (uint32_t i = 0; i < plan->n_arrays; i++)
        by_choice = by_choice && count >= plan->nodes[plan->arrays[i]].node->min_items;
    if (!can_follow(m, *frame, *link, any_bad, by_choice))
        return false;
    if (!any_bad)
        return true;
    /* the item is judged by the nodes that are left */
    judge_count(m, plan, count);
    uint32_t *f = kl_frame_copy(m, *frame, &n);
    if (f == NULL)
        return false;
    for (uint32_t i = 0; i < plan->n_nodes; i++)
        if (m->bad[i])
            kl_set_bit(f + F_WORDS, i);
    *frame = kl_frame_store(m, n);
    return *frame != 0;
}
