#include "schema/string_atoms.h"

struct kl_regex_run *kl_machine_run(struct kl_schema_machine *m, uint32_t regex)
{
    if (m->runs[regex] == NULL &&
        kl_regex_run_open(m->graph->regexes[regex], &m->runs[regex], &m->base.failure) == KL_OK)
        kl_regex_run_count(m->runs[regex], &m->work_left);
    return m->runs[regex];
}

const struct kl_string_atoms *kl_string_atoms_of(const struct kl_schema_machine *m,
                                                 const struct kl_rule_state *s)
{
    return kl_in_key(s) ? &kl_frame_plan(m, s->words[S_FRAME])->key_strings
                        : &kl_machine_link(m, s->words[S_LINK])->plan->strings;
}

const struct kl_string_set *kl_string_set_of(const struct kl_schema_machine *m,
                                             const struct kl_rule_state *s,
                                             const struct kl_string_atom *atom)
{
    return atom->kind == KL_ATOM_KEYS ? &kl_frame_plan(m, s->words[S_FRAME])->key_set
                                      : &m->graph->sets[atom->index];
}

const uint32_t *kl_string_words(const struct kl_schema_machine *m,
                                const struct kl_string_atoms *atoms,
                                const struct kl_rule_state *state)
{
    size_t n;
    return atoms->n < 2 ? &state->words[S_ATOMS]
                        : kl_word_store_get(&m->store, state->words[S_ATOMS], &n);
}

bool kl_atom_is_dead(const struct kl_string_atom *atom, uint32_t word)
{
    return atom->kind == KL_ATOM_REGEX ? word == KL_REGEX_DEAD : word == KL_STRING_SET_DEAD;
}

bool kl_atom_accepts(struct kl_schema_machine *m, const struct kl_string_atom *atom, uint32_t word)
{
    if (kl_atom_is_dead(atom, word))
        return false;
    return atom->kind == KL_ATOM_REGEX ? kl_regex_run_accepts(m->runs[atom->index], word)
                                       : m->graph->sets[atom->index].nodes[word].ends;
}

bool kl_string_hashes(const struct kl_schema_machine *m, const struct kl_rule_state *s)
{
    uint32_t frame = s->words[S_FRAME];
    return kl_in_key(s) || (frame != 0 && (kl_frame(m, frame)[F_FLAGS] & KL_FRAME_HASHES) != 0);
}

/* Whether a string of an answer can still match before it is too long. */
static bool has_room(struct kl_schema_machine *m, const struct kl_schema_node *node, uint32_t regex,
                     uint32_t word, uint32_t length)
{
    enum kl_status status = KL_OK;
    if (node->max_length == UINT32_MAX || length == KL_UNCOUNTED)
        return true;
    uint32_t least = kl_regex_least(&m->least[regex], m->runs[regex], word, &status);
    if (status != KL_OK)
        kl_fail(&m->base.failure, status,
                "following a pattern of the schema needs too much memory");
    return status == KL_OK && least <= node->max_length - length;
}

void kl_string_judge(struct kl_schema_machine *m, const struct kl_plan *plan, const uint32_t *words,
                     uint32_t length, bool whole)
{
    for (uint32_t i = 0; i < plan->n_nodes; i++) {
        const struct kl_plan_node *n = &plan->nodes[i];
        bool bad = (n->node->types & KL_JSON_STRING) == 0 ||
                   (length > n->node->max_length && length != KL_UNCOUNTED) ||
                   (whole && length < n->node->min_length);
        for (uint32_t k = 0; k < n->n_atoms && !bad; k++) {
            const struct kl_string_atom *atom = &plan->strings.atoms[n->atoms[k]];
            uint32_t word = words[n->atoms[k]];
            bad = whole ? !kl_atom_accepts(m, atom, word) : kl_atom_is_dead(atom, word);
            if (!bad && !whole && m->answers && atom->kind == KL_ATOM_REGEX)
                bad = !has_room(m, n->node, atom->index, word, length);
        }
        m->bad[i] = bad;
    }
}

struct kl_item_order kl_item_order(const struct kl_schema_machine *m, const struct kl_rule_state *s)
{
    struct kl_item_order order = {0};
    uint32_t frame = s->words[S_FRAME], needed = 0;
    if (!m->answers || kl_in_key(s) || frame == 0)
        return order;
    const struct kl_plan *plan = kl_frame_plan(m, frame);
    const struct kl_string_atoms *atoms = kl_string_atoms_of(m, s);
    const uint32_t *f = kl_frame(m, frame);
    if ((f[F_FLAGS] & KL_FRAME_OBJECT) != 0 || !plan->has_unique || atoms->n != 1 ||
        atoms->atoms[0].kind != KL_ATOM_SET)
        return order;
    for (uint32_t i = 0; i < plan->n_arrays; i++) {
        uint32_t min = plan->nodes[plan->arrays[i]].node->min_items;
        if (min > f[F_COUNT] + 1 && min - f[F_COUNT] - 1 > needed)
            needed = min - f[F_COUNT] - 1;
    }
    size_t n = m->graph->sets[atoms->atoms[0].index].n;
    order.applies = true;
    order.least = f[F_NEXT_ITEM];
    order.most = needed < n ? (uint32_t)n - 1 - needed : 0;
    if (needed >= n)
        order.least = UINT32_MAX;
    return order;
}
