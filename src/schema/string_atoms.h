/*
 * Strings in the machine of a schema: the parts of a state in a string, and the automata that read
 * its characters (value_plan.h). Internal to schema/.
 */
#ifndef KL_SCHEMA_STRING_ATOMS_H
#define KL_SCHEMA_STRING_ATOMS_H

#include "schema/schema_machine.h"

/* The length of a string that is tried (kl_free_string.filter): neither its length nor its hash
 * matters, so that it has few states. */
#define KL_UNCOUNTED UINT32_MAX

static inline uint32_t kl_string_phase(const struct kl_rule_state *s)
{
    return s->words[S_PHASE] & KL_PHASE_BITS;
}

static inline bool kl_in_key(const struct kl_rule_state *s)
{
    return (s->words[S_PHASE] & KL_IN_KEY) != 0;
}

/* The hash of the characters so far. */
static inline uint64_t kl_string_hash(const struct kl_rule_state *s)
{
    return s->words[S_HASH_LOW] | (uint64_t)s->words[S_HASH_HIGH] << 32;
}

/* Whether the hash of the string matters: it is a name, or part of an item that must be unique. */
bool kl_string_hashes(const struct kl_schema_machine *m, const struct kl_rule_state *s);

/* The automata of the string, and their states: valid until the store grows. */
const struct kl_string_atoms *kl_string_atoms_of(const struct kl_schema_machine *m,
                                                 const struct kl_rule_state *s);
const uint32_t *kl_string_words(const struct kl_schema_machine *m,
                                const struct kl_string_atoms *atoms,
                                const struct kl_rule_state *state);
struct kl_regex_run *kl_machine_run(struct kl_schema_machine *m, uint32_t regex);
const struct kl_string_set *kl_string_set_of(const struct kl_schema_machine *m,
                                             const struct kl_rule_state *s,
                                             const struct kl_string_atom *atom);
bool kl_atom_is_dead(const struct kl_string_atom *atom, uint32_t word);
bool kl_atom_accepts(struct kl_schema_machine *m, const struct kl_string_atom *atom, uint32_t word);

/* Sets m->bad of the nodes of a plan for a string: words of its automata, length; whole: it ends
 * here. */
void kl_string_judge(struct kl_schema_machine *m, const struct kl_plan *plan, const uint32_t *words,
                     uint32_t length, bool whole);

/* In an answer, items of a set of strings that must differ are written in the order of their bytes,
 * so that the array never runs into an item that it has already: the next one must be among
 * sorted[least] to sorted[most], which leaves enough for minItems. */
struct kl_item_order {
    bool applies;
    uint32_t least, most;
};

struct kl_item_order kl_item_order(const struct kl_schema_machine *m,
                                   const struct kl_rule_state *s);

#endif
