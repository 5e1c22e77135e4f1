#include <stdlib.h>
#include <string.h>

#include "schema/schema_machine.h"

/* ---- memory ---------------------------------------------------------------------------------- */

bool kl_schema_machine_fail(struct kl_schema_machine *m)
{
    if (m->base.failure.status != KL_OK)
        return false;
    if (m->plans.failure.status != KL_OK)
        m->base.failure = m->plans.failure;
    else if (m->store.failure == KL_ERR_LIMIT)
        kl_fail(&m->base.failure, KL_ERR_LIMIT,
                "following the schema through this answer needs more than %zu bytes",
                m->store.max_bytes);
    else
        kl_fail_memory(&m->base.failure, "following a schema", m->store.room);
    return false;
}

static bool grow(void **memory, size_t *room, size_t need, size_t size)
{
    if (need <= *room)
        return true;
    void *grown = realloc(*memory, need * size);
    if (grown == NULL)
        return false;
    *memory = grown;
    *room = need;
    return true;
}

bool kl_machine_reserve(struct kl_schema_machine *m, const struct kl_plan *plan)
{
    size_t n = plan->n_nodes;
    if (n <= m->n_judged)
        return true;
    n = n < 64 ? 64 : 2 * n;
    uint8_t **parts[] = {&m->bad, &m->next, &m->own};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        size_t room = m->n_judged;
        if (!grow((void **)parts[i], &room, n, 1))
            return kl_schema_machine_fail(m);
    }
    m->n_judged = n;
    return true;
}

uint32_t *kl_frame_copy(struct kl_schema_machine *m, uint32_t frame, size_t *n)
{
    const uint32_t *words = kl_word_store_get(&m->store, frame, n);
    if (!grow((void **)&m->frame, &m->frame_room, *n, sizeof *m->frame)) {
        kl_schema_machine_fail(m);
        return NULL;
    }
    return memcpy(m->frame, words, *n * sizeof *words);
}

uint32_t kl_frame_store(struct kl_schema_machine *m, size_t n)
{
    uint32_t frame = kl_word_store_put(&m->store, m->frame, n);
    if (frame == 0)
        kl_schema_machine_fail(m);
    return frame;
}

/* ---- lists of hashes ------------------------------------------------------------------------- */

bool kl_hashes_contain(const struct kl_schema_machine *m, uint32_t list, uint64_t hash)
{
    while (list != 0) {
        size_t n;
        const uint32_t *entry = kl_word_store_get(&m->store, list, &n);
        if (entry[1] == (uint32_t)hash && entry[2] == (uint32_t)(hash >> 32))
            return true;
        list = entry[0];
    }
    return false;
}

uint32_t kl_hashes_add(struct kl_schema_machine *m, uint32_t list, uint64_t hash)
{
    uint32_t entry[] = {list, (uint32_t)hash, (uint32_t)(hash >> 32)};
    return kl_word_store_put(&m->store, entry, 3);
}

/* ---- death ----------------------------------------------------------------------------------- */

/* Sets m->bad of the nodes of the parent's plan for which a demanded node of the child is dead; is
 * false if there is none. is_dead: by demanded node. */
static bool blame_parent(struct kl_schema_machine *m, const struct kl_plan *parent,
                         const struct kl_link *link, const uint8_t *is_dead)
{
    bool any = false;
    memset(m->bad, 0, parent->n_nodes);
    for (uint32_t i = 0; i < link->n_pairs; i++) {
        const struct kl_link_pair *pair = &link->pairs[i];
        if (!pair->is_contains && is_dead[pair->child])
            m->bad[pair->parent] = any = true;
    }
    return any;
}

/* Sets m->next[i] to whether the i-th demanded node is dead; false: none is. */
static bool list_dead(struct kl_schema_machine *m, const struct kl_plan *plan)
{
    bool any = false;
    for (uint32_t i = 0; i < plan->n_demanded; i++) {
        m->next[i] = m->bad[plan->demanded[i]];
        any = any || m->next[i];
    }
    return any;
}

bool kl_frame_dies(struct kl_schema_machine *m, uint32_t frame)
{
    for (;;) {
        const uint32_t *f = kl_frame(m, frame);
        const struct kl_link *link = kl_machine_link(m, f[F_LINK]);
        const struct kl_plan *plan = link->plan;
        for (uint32_t i = 0; i < plan->n_nodes; i++)
            m->bad[i] = m->bad[i] || kl_has_bit(f + F_WORDS, i);
        kl_plan_dead(plan, m->bad, m->bad);
        if (!list_dead(m, plan))
            return false;
        frame = f[F_PARENT];
        if (frame == 0)
            return m->next[0];
        if (!blame_parent(m, kl_frame_plan(m, frame), link, m->next))
            return false;
    }
}

bool kl_value_dies(struct kl_schema_machine *m, uint32_t frame, const struct kl_link *link,
                   const uint8_t *dead_demanded)
{
    for (uint32_t i = 0; i < link->n_pairs && frame == 0; i++)
        if (!link->pairs[i].is_contains && dead_demanded[link->pairs[i].child])
            return true;
    if (frame == 0)
        return false;
    return blame_parent(m, kl_frame_plan(m, frame), link, dead_demanded) &&
           ((kl_frame(m, frame)[F_FLAGS] & KL_FRAME_STRICT) != 0 || kl_frame_dies(m, frame));
}

/* ---- containers ------------------------------------------------------------------------------ */

bool kl_value_is_strict(const struct kl_schema_machine *m, uint32_t parent,
                        const struct kl_link *link)
{
    if (!link->plan->is_conjunction ||
        (parent != 0 && (kl_frame(m, parent)[F_FLAGS] & KL_FRAME_STRICT) == 0))
        return false;
    for (uint32_t i = 0; i < link->n_pairs; i++)
        if (link->pairs[i].is_contains)
            return false;
    return true;
}

uint32_t kl_frame_open(struct kl_schema_machine *m, uint32_t parent, const struct kl_link *link,
                       bool is_object)
{
    struct kl_plan *plan = link->plan;
    uint32_t depth = parent == 0 ? 1 : kl_frame(m, parent)[F_DEPTH] + 1;
    bool hashes = (parent != 0 && (kl_frame(m, parent)[F_FLAGS] & KL_FRAME_HASHES) != 0) ||
                  (!is_object && plan->has_unique);
    if (depth > KL_MAX_JSON_DEPTH)
        return 0;
    if ((is_object && !kl_plan_objects(&m->plans, plan)) || !kl_machine_reserve(m, plan)) {
        kl_schema_machine_fail(m);
        return 0;
    }
    size_t bits = kl_bit_words(plan->n_nodes);
    size_t n = F_WORDS + bits + (is_object ? kl_bit_words(plan->n_keys) : plan->n_contains);
    if (!grow((void **)&m->frame, &m->frame_room, n, sizeof *m->frame)) {
        kl_schema_machine_fail(m);
        return 0;
    }
    memset(m->frame, 0, n * sizeof *m->frame);
    m->frame[F_PARENT] = parent;
    m->frame[F_LINK] = link->id;
    m->frame[F_DEPTH] = depth;
    m->frame[F_FLAGS] = (is_object ? KL_FRAME_OBJECT : 0) |
                        (kl_value_is_strict(m, parent, link) ? KL_FRAME_STRICT : 0) |
                        (hashes ? KL_FRAME_HASHES : 0);
    uint8_t type = is_object ? KL_JSON_OBJECT : KL_JSON_ARRAY;
    for (uint32_t i = 0; i < plan->n_nodes; i++)
        if ((plan->nodes[i].node->types & type) == 0)
            kl_set_bit(m->frame + F_WORDS, i);
    return kl_frame_store(m, n);
}

/* Adds the results of an item or member, by demanded node in m->next, to m->frame; whether a node
 * became bad. */
static bool add_results(struct kl_schema_machine *m, const struct kl_plan *plan,
                        const struct kl_link *link, uint64_t hash)
{
    uint32_t *f = m->frame, *bad = f + F_WORDS;
    bool is_object = (f[F_FLAGS] & KL_FRAME_OBJECT) != 0, any = false;
    memset(m->bad, 0, plan->n_nodes);
    for (uint32_t i = 0; i < link->n_pairs; i++) {
        const struct kl_link_pair *pair = &link->pairs[i];
        if (!pair->is_contains)
            m->bad[pair->parent] = m->bad[pair->parent] || !m->next[pair->child];
        else if (m->next[pair->child])
            for (uint32_t c = 0; c < plan->n_contains; c++)
                if (plan->contains[c] == pair->parent &&
                    ++f[F_WORDS + kl_bit_words(plan->n_nodes) + c] >
                        plan->nodes[pair->parent].node->max_contains)
                    m->bad[pair->parent] = true;
    }
    if (!is_object) {
        bool repeats = plan->has_unique && kl_hashes_contain(m, f[F_SEEN], hash);
        f[F_COUNT]++;
        for (uint32_t i = 0; i < plan->n_arrays; i++) {
            const struct kl_schema_node *node = plan->nodes[plan->arrays[i]].node;
            if (f[F_COUNT] > node->max_items || (repeats && node->unique_items))
                m->bad[plan->arrays[i]] = true;
        }
    }
    for (uint32_t i = 0; i < plan->n_nodes; i++) {
        if (m->bad[i] && !kl_has_bit(bad, i)) {
            kl_set_bit(bad, i);
            any = true;
        }
    }
    return any;
}

static uint64_t frame_hash(const uint32_t *f)
{
    return f[F_HASH_LOW] | (uint64_t)f[F_HASH_HIGH] << 32;
}

/* Adds the hash of a value to that of its container: in order for an array, in any order for an
 * object. */
static void add_hash(uint32_t *f, uint64_t hash)
{
    uint64_t all = frame_hash(f);
    if ((f[F_FLAGS] & KL_FRAME_OBJECT) != 0)
        all += kl_hash_mix(f[F_NAME_LOW] | (uint64_t)f[F_NAME_HIGH] << 32, hash);
    else
        all = kl_hash_mix(all, hash);
    f[F_HASH_LOW] = (uint32_t)all;
    f[F_HASH_HIGH] = (uint32_t)(all >> 32);
}

bool kl_value_end(struct kl_schema_machine *m, uint32_t frame, const struct kl_link *link,
                  uint64_t hash, struct kl_rule_state *state)
{
    const struct kl_plan *plan = link->plan;
    *state = (struct kl_rule_state){.words = {[S_PHASE] = KL_PHASE_AFTER}};
    kl_plan_truth(plan, m->bad, m->bad);
    for (uint32_t i = 0; i < plan->n_demanded; i++)
        m->next[i] = m->bad[plan->demanded[i]];
    if (frame == 0)
        return plan->n_demanded == 0 || m->next[0];
    const struct kl_plan *parent = kl_frame_plan(m, frame);
    size_t n;
    uint32_t *f = kl_frame_copy(m, frame, &n);
    if (f == NULL)
        return false;
    bool is_array = (f[F_FLAGS] & KL_FRAME_OBJECT) == 0;
    bool blamed = add_results(m, parent, link, hash);
    if ((f[F_FLAGS] & KL_FRAME_HASHES) != 0)
        add_hash(f, hash);
    if (is_array && parent->has_unique) {
        f[F_SEEN] = kl_hashes_add(m, f[F_SEEN], hash);
        if (f[F_SEEN] == 0)
            return kl_schema_machine_fail(m);
    }
    if (is_array || (f[F_FLAGS] & KL_FRAME_HASHES) != 0 || blamed)
        frame = kl_frame_store(m, n);
    state->words[S_FRAME] = frame;
    if (frame == 0)
        return false;
    return !blamed || ((f[F_FLAGS] & KL_FRAME_STRICT) == 0 && !kl_frame_dies(m, frame));
}

/* Sets m->bad for an object that ends. */
static void judge_object(struct kl_schema_machine *m, const uint32_t *f, const struct kl_plan *plan)
{
    const uint32_t *seen = f + F_WORDS + kl_bit_words(plan->n_nodes);
    for (uint32_t i = 0; i < plan->n_objects; i++) {
        uint32_t at = plan->objects[i];
        const struct kl_schema_node *node = plan->nodes[at].node;
        bool bad = f[F_COUNT] < node->min_properties || f[F_COUNT] > node->max_properties;
        for (uint32_t k = 0; k < node->required.n && !bad; k++)
            bad = !kl_has_bit(seen, plan->nodes[at].required[k]);
        m->bad[at] = m->bad[at] || bad;
    }
}

static void judge_array(struct kl_schema_machine *m, const uint32_t *f, const struct kl_plan *plan)
{
    const uint32_t *contained = f + F_WORDS + kl_bit_words(plan->n_nodes);
    for (uint32_t i = 0; i < plan->n_arrays; i++) {
        uint32_t at = plan->arrays[i];
        const struct kl_schema_node *node = plan->nodes[at].node;
        m->bad[at] = m->bad[at] || f[F_COUNT] < node->min_items || f[F_COUNT] > node->max_items;
    }
    for (uint32_t c = 0; c < plan->n_contains; c++) {
        uint32_t at = plan->contains[c];
        const struct kl_schema_node *node = plan->nodes[at].node;
        m->bad[at] =
            m->bad[at] || contained[c] < node->min_contains || contained[c] > node->max_contains;
    }
}

bool kl_frame_close(struct kl_schema_machine *m, uint32_t frame, struct kl_rule_state *state)
{
    const uint32_t *f = kl_frame(m, frame);
    const struct kl_link *link = kl_machine_link(m, f[F_LINK]);
    const struct kl_plan *plan = link->plan;
    bool is_object = (f[F_FLAGS] & KL_FRAME_OBJECT) != 0;
    for (uint32_t i = 0; i < plan->n_nodes; i++)
        m->bad[i] = kl_has_bit(f + F_WORDS, i);
    if (is_object)
        judge_object(m, f, plan);
    else
        judge_array(m, f, plan);
    /* an empty array is not an empty object */
    return kl_value_end(m, f[F_PARENT], link, kl_hash_mix(frame_hash(f), is_object ? 1 : 2), state);
}
