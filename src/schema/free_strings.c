#include "schema/string_atoms.h"

/* Tokens are shorter. */
enum { LONGEST_TOKEN = 1024 };

/* How many code points may follow so that no node dies of its maxLength. */
static uint32_t room_of(const struct kl_plan *plan, uint32_t length)
{
    uint32_t room = UINT32_MAX;
    for (uint32_t i = 0; i < plan->n_nodes; i++) {
        uint32_t most = plan->nodes[i].node->max_length;
        uint32_t left = most == UINT32_MAX ? most : most > length ? most - length : 0;
        room = left < room ? left : room;
    }
    return room;
}

/* Whether each name that begins like this may be there; there are no patterns. */
static bool all_may_end(const struct kl_schema_machine *m, const struct kl_rule_state *s,
                        const struct kl_name_gate *gate)
{
    const struct kl_plan *plan = kl_frame_plan(m, s->words[S_FRAME]);
    uint32_t word = kl_string_words(m, &plan->key_strings, s)[0];
    if (plan->n_patterns > 0 || kl_frame(m, s->words[S_FRAME])[F_SEEN] != 0)
        return false;
    if (word == KL_STRING_SET_DEAD)
        return true;
    const struct kl_string_set_node *node = &plan->key_set.nodes[word];
    return gate->before[node->first + node->n] - gate->before[node->first] == node->n;
}

/* A name that may be any, or is limited by patterns: the byte behind its quote is the same for all.
 */
static bool is_free_key(struct kl_schema_machine *m, const struct kl_rule_state *s,
                        struct kl_free_string *string)
{
    uint32_t frame = s->words[S_FRAME];
    const struct kl_name_gate *gate = kl_name_gate(m, frame);
    const struct kl_plan *plan = kl_frame_plan(m, frame), *names = plan->names;
    if (gate == NULL || kl_string_is_limited(m, s))
        return false;
    *string = (struct kl_free_string){.most = UINT32_MAX, .must_try = true};
    string->after.words[S_FRAME] = frame;
    string->after.words[S_PHASE] = KL_PHASE_COLON;
    if (gate->other && names == NULL) {
        string->may_close = all_may_end(m, s, gate);
        return true;
    }
    if (kl_string_atoms_of(m, s)->n == 1 && names == NULL)
        return false; /* only few names: they are tried */
    if (names != NULL)
        string->most = room_of(names, s->words[S_LENGTH]);
    bool is_strict = (kl_frame(m, frame)[F_FLAGS] & KL_FRAME_STRICT) != 0;
    if (names != NULL && (names->n_nodes > 1 || !is_strict) && string->most < LONGEST_TOKEN)
        return false;
    string->is_filtered = true;
    string->filter.words[S_FRAME] = frame;
    string->filter.words[S_LINK] = KL_NO_LIST;
    string->filter.words[S_PHASE] = s->words[S_PHASE];
    string->filter.words[S_ATOMS] = s->words[S_ATOMS];
    string->filter.words[S_LENGTH] = KL_UNCOUNTED;
    /* frames of one plan in which the same names may follow are alike, unless a node that is bad
     * may be forgiven */
    string->key = string->filter;
    string->key.words[S_FRAME] = is_strict ? 0 : frame;
    string->key.words[S_LINK] = plan->id;
    string->key.words[S_HASH_LOW] = (uint32_t)gate->signature;
    string->key.words[S_HASH_HIGH] = (uint32_t)(gate->signature >> 32);
    return true;
}

/* The frame behind one more item, whatever it is; false: that depends on the item. */
static bool count_item(struct kl_schema_machine *m, uint32_t frame, uint32_t *after)
{
    size_t n;
    *after = frame;
    if (frame == 0 || (kl_frame(m, frame)[F_FLAGS] & KL_FRAME_OBJECT) != 0)
        return true;
    const struct kl_plan *plan = kl_frame_plan(m, frame);
    uint32_t *f = plan->n_contains == 0 && !plan->has_unique ? kl_frame_copy(m, frame, &n) : NULL;
    if (f == NULL)
        return false;
    f[F_COUNT]++;
    *after = kl_frame_store(m, n);
    return *after != 0;
}

/* The automata of the filter. All states of a search that cannot die are followed by the same
 * characters. */
static uint32_t filter_word(const struct kl_schema_machine *m, const struct kl_string_atoms *atoms,
                            const struct kl_rule_state *s)
{
    uint32_t word = s->words[S_ATOMS];
    if (atoms->n == 1 && atoms->atoms[0].kind == KL_ATOM_REGEX &&
        kl_regex_run_stays(m->runs[atoms->atoms[0].index], word))
        return KL_REGEX_ALL;
    return word;
}

/* Whether the document dies if the string is bad. *known: it does not depend on the way in which
 * it is bad. */
static bool is_binding(struct kl_schema_machine *m, const struct kl_rule_state *s, bool *known)
{
    uint32_t frame = s->words[S_FRAME];
    const struct kl_link *link = kl_machine_link(m, s->words[S_LINK]);
    static const uint8_t dead[] = {1};
    *known = true;
    if (kl_value_is_strict(m, frame, link))
        return true;
    *known = link->plan->n_nodes == 1 && link->plan->n_demanded == 1;
    return *known && kl_value_dies(m, frame, link, dead);
}

/* A string with automata: if its death is that of the document, they filter what may follow. */
static bool is_filtered(struct kl_schema_machine *m, const struct kl_rule_state *s,
                        struct kl_free_string *string)
{
    uint32_t frame = s->words[S_FRAME];
    const struct kl_link *link = kl_machine_link(m, s->words[S_LINK]);
    const struct kl_plan *plan = link->plan;
    bool known, strict_frame = frame == 0 || (kl_frame(m, frame)[F_FLAGS] & KL_FRAME_STRICT) != 0;
    bool binds = is_binding(m, s, &known);
    if (kl_item_order(m, s).applies)
        return false;
    string->must_try = true;
    if (known && !binds && !m->answers)
        return string->is_vague = true; /* it may be anything */
    if (!strict_frame && !binds)
        return false;
    string->is_filtered = true;
    string->filter.words[S_PHASE] = KL_PHASE_STRING;
    string->filter.words[S_LINK] = s->words[S_LINK];
    string->filter.words[S_ATOMS] = filter_word(m, &plan->strings, s);
    string->filter.words[S_LENGTH] = KL_UNCOUNTED;
    string->key = string->filter;
    string->most = room_of(plan, s->words[S_LENGTH]);
    if (plan->n_nodes > 1 && string->most < LONGEST_TOKEN && !kl_value_is_strict(m, frame, link))
        return false;
    /* near its longest length, an answer must end in time for the pattern: see has_room */
    if (m->answers && string->most < 2 * LONGEST_TOKEN)
        return false;
    string->after.words[S_PHASE] = KL_PHASE_AFTER;
    return count_item(m, frame, &string->after.words[S_FRAME]);
}

/* How many code points may follow before the document dies of the length. */
static uint32_t room_before_death(struct kl_schema_machine *m, const struct kl_rule_state *s)
{
    const struct kl_plan *plan = kl_machine_link(m, s->words[S_LINK])->plan;
    uint32_t length = s->words[S_LENGTH], room = UINT32_MAX, last = UINT32_MAX;
    for (uint32_t i = 0; i < plan->n_nodes; i++) {
        struct kl_rule_state longer = *s;
        uint32_t most = plan->nodes[i].node->max_length, left = most > length ? most - length : 0;
        if (most == last || most == UINT32_MAX || left >= room)
            continue;
        last = longer.words[S_LENGTH] = most;
        longer.words[S_LENGTH]++;
        if (!kl_string_lives(m, &longer, false))
            room = left;
    }
    return room;
}

/* The same for a string with lengths only. */
static bool is_counted(struct kl_schema_machine *m, const struct kl_rule_state *s,
                       struct kl_free_string *string)
{
    uint32_t length = s->words[S_LENGTH], least;
    const struct kl_link *link = kl_machine_link(m, s->words[S_LINK]);
    struct kl_rule_state longer = *s;
    bool known;
    least = link->plan->strings.longest_min > length ? link->plan->strings.longest_min - length : 0;
    longer.words[S_LENGTH] = length + least;
    string->most = room_before_death(m, s);
    if (is_binding(m, s, &known)) {
        string->least = least;
        return kl_string_end(m, &longer, &string->after);
    }
    /* a length that one node forbids may be right for another one */
    string->must_try = string->is_vague = true;
    return true;
}

bool kl_string_is_free(struct kl_schema_machine *m, const struct kl_rule_state *s,
                       struct kl_free_string *string)
{
    if (kl_string_phase(s) != KL_PHASE_STRING)
        return false;
    if (kl_in_key(s))
        return is_free_key(m, s, string);
    const struct kl_plan *plan = kl_machine_link(m, s->words[S_LINK])->plan;
    *string = (struct kl_free_string){.most = UINT32_MAX, .must_try = kl_string_hashes(m, s)};
    if (plan->strings.n > 0)
        return is_filtered(m, s, string);
    return plan->strings.counts ? is_counted(m, s, string) : kl_string_end(m, s, &string->after);
}

bool kl_string_plain(struct kl_schema_machine *m, const struct kl_rule_state *s,
                     struct kl_rule_state *plain)
{
    uint32_t link = s->words[S_LINK];
    if (kl_string_phase(s) < KL_PHASE_STRING || !kl_string_hashes(m, s))
        return false;
    if (kl_in_key(s) && m->answers) {
        const struct kl_name_gate *gate = kl_name_gate(m, s->words[S_FRAME]);
        if (gate == NULL || kl_name_is_doubtful(m, s))
            return false; /* the hash decides which bytes may follow */
        link = KL_NO_LIST;
    }
    *plain = *s;
    plain->words[S_LINK] = link;
    plain->words[S_HASH_LOW] = plain->words[S_HASH_HIGH] = UINT32_MAX; /* of no name so far */
    return true;
}

bool kl_string_closes(struct kl_schema_machine *m, const struct kl_rule_state *s)
{
    if (kl_string_phase(s) != KL_PHASE_STRING)
        return false;
    if (kl_in_key(s))
        return kl_name_may_end(m, s);
    struct kl_rule_state to;
    size_t mark = kl_word_store_mark(&m->store);
    bool closes = kl_string_end(m, s, &to);
    kl_word_store_release(&m->store, mark);
    return closes;
}
