/*
 * A rule: the texts that an answer may be, as an automaton over bytes.
 *
 * A rule is compiled once, by a worker, and never changes; it is shared by the answers that follow
 * it and lives until the last owner gives it up (any thread). It may be made of a regular
 * expression (regex_rule.h), a GBNF grammar (gbnf.h), a choice of strings, calls of tools in free
 * text (calls_rule.h), or a JSON schema (schema/).
 *
 * A machine runs a rule: its states are small values that can be copied, stored and compared, so
 * that drafts and several choices cost nothing. A machine owns what is built lazily while it runs
 * (states of automata, stack frames), so it belongs to one answer and one thread.
 */
#ifndef KL_GRAMMAR_RULE_H
#define KL_GRAMMAR_RULE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* A state of a machine. Equal states have equal words; words without a use are 0. The last word is
 * for machines that contain another one (calls_rule.h), all others leave it 0. */
#define KL_RULE_STATE_WORDS 8
struct kl_rule_state {
    uint32_t words[KL_RULE_STATE_WORDS];
};

struct kl_machine;
struct kl_rule;

/* A state inside a JSON string, between two characters, in which every character is allowed as
 * string_bytes.h says, so that the tokens need not be tried one by one. */
struct kl_free_string {
    uint32_t least; /* code points that must follow before the closing quote */
    uint32_t most;  /* that may follow; UINT32_MAX: no limit */
    /* The state behind the closing quote, if the string is long enough. */
    struct kl_rule_state after;
    /* The state behind the quote depends on the characters: for a token that closes the string,
     * `after` only says which byte may follow first; its bytes must be tried. is_vague: `after`
     * does not even say that. */
    bool must_try, is_vague;
    /* All the same, the quote may follow any characters. */
    bool may_close;
    /* Not every character is allowed (a pattern): the tokens that stay inside the string are those
     * that may follow `filter`, a state without a limit of the length. They are the same for equal
     * `key`s, which many strings share. */
    bool is_filtered;
    struct kl_rule_state filter, key;
};

struct kl_machine_kind {
    void (*close)(struct kl_machine *machine);
    /* The state before the first byte. */
    void (*begin)(struct kl_machine *machine, struct kl_rule_state *state);
    /* Sets *to (which may be *from) to the state after one more byte. false: no text that the rule
     * allows continues like this, or the machine has failed. Never leads to a state without a
     * continuation, except where the maker of the rule says so. */
    bool (*step)(struct kl_machine *machine, const struct kl_rule_state *from, uint8_t byte,
                 struct kl_rule_state *to);
    /* Whether the text so far is a whole answer. */
    bool (*is_complete)(struct kl_machine *machine, const struct kl_rule_state *state);
    /* Whether the state is inside a free string; then all of *string is set. NULL: never. */
    bool (*free_string)(struct kl_machine *machine, const struct kl_rule_state *state,
                        struct kl_free_string *string);
    /* States that are reached between _mark and _release are forgotten by _release: trying all
     * tokens reaches many states that no answer takes. Equal marks: nothing was kept between them.
     * NULL: nothing is kept for a state. */
    size_t (*mark)(struct kl_machine *machine);
    void (*release)(struct kl_machine *machine, size_t mark);
    /* Memory that the machine holds now. */
    size_t (*bytes)(const struct kl_machine *machine);
    /* In a string: sets *plain to the state without what only matters behind the closing quote (a
     * hash of the characters). States with equal plain ones are followed by the same bytes, but for
     * the quote, which may be refused (the name was there before); a plain state never refuses the
     * quote for that. In a free string must_try is set. false: there is nothing to leave out; NULL:
     * never. */
    bool (*plain)(struct kl_machine *machine, const struct kl_rule_state *state,
                  struct kl_rule_state *plain);
    /* Whether a free string that must be tried may be closed in this state of it: a step without
     * its result, which costs more. NULL: it is stepped. */
    bool (*closes)(struct kl_machine *machine, const struct kl_rule_state *state);
};

/* The first member of each machine. */
struct kl_machine {
    const struct kl_machine_kind *kind;
    /* Sticks once it is not KL_OK: KL_ERR_LIMIT or KL_ERR_MEMORY; no byte is accepted any more. */
    struct kl_error failure;
};

struct kl_rule_kind {
    const char *name; /* "schema", "grammar", "regex", ...: for messages */
    enum kl_status (*open)(const struct kl_rule *rule, struct kl_machine **machine,
                           struct kl_error *err);
    void (*free)(struct kl_rule *rule);
};

/* The first member of each rule. */
struct kl_rule {
    const struct kl_rule_kind *kind;
    _Atomic(int) owners;
    size_t n_states; /* a measure of its size: positions, nodes */
    size_t bytes;    /* that it holds, for the budget */
};

static inline void kl_rule_init(struct kl_rule *rule, const struct kl_rule_kind *kind)
{
    rule->kind = kind;
    atomic_init(&rule->owners, 1);
    rule->n_states = 0;
    rule->bytes = 0;
}

static inline struct kl_rule *kl_rule_hold(struct kl_rule *rule)
{
    atomic_fetch_add_explicit(&rule->owners, 1, memory_order_relaxed);
    return rule;
}

/* Gives up one share; the last one frees it. NULL is allowed. */
static inline void kl_rule_disown(struct kl_rule *rule)
{
    if (rule != NULL && atomic_fetch_sub_explicit(&rule->owners, 1, memory_order_acq_rel) == 1)
        rule->kind->free(rule);
}

#endif
