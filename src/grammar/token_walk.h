/*
 * The tokens that a machine allows in a state: walks of the token trie. Internal to grammar/.
 *
 * In a free string (rule.h) most of the answer is known: the tokens inside a string are a set that
 * is there already, and those that close it are allowed by what is behind the quote. Elsewhere the
 * bytes are tried one by one, depth first, and what can be known without trying is not tried:
 * - a walk that comes into a free string goes on with the table of string_bytes.h;
 * - where any white space may follow, tokens that begin with it are looked up by the byte behind it
 *   (token_blanks.h);
 * - after some tens of steps the machine's steps are remembered (step_memo.h), those in strings by
 *   plain states (rule.h), so that a pattern is a table;
 * - a large subtree whose bytes all lead from one state to one is allowed as a whole
 *   (token_spans.h).
 *
 * Belongs to one matcher.
 */
#ifndef KL_GRAMMAR_TOKEN_WALK_H
#define KL_GRAMMAR_TOKEN_WALK_H

#include "grammar/rule.h"
#include "grammar/step_memo.h"
#include "grammar/token_trie_state.h"

/* Where a walk is, by depth: a node and those next to it that are still to be tried. */
struct kl_token_place {
    uint32_t at, end; /* of nodes: the next one, and behind the last */
    uint16_t number;  /* of the state in the memo, or 0: it is in `states` */
    bool is_known;    /* the true state is in `states`, not only its plain one in the memo */
    uint8_t byte;     /* that led here */
    /* in a free string: */
    uint8_t state;  /* enum kl_string_state */
    uint32_t chars; /* that have begun since the string became free */
};

struct kl_token_walk {
    struct kl_machine *machine;
    const struct kl_token_trie *trie;
    /* [max_depth + 2] by depth, 0: the state that tokens follow */
    struct kl_rule_state *states;
    struct kl_token_place *places;
    struct kl_step_memo *memo; /* NULL: not needed so far, or no memory */
    bool is_kept;              /* the memo is that of the last walk, and still valid */
    size_t n_steps;            /* of this walk that the machine made */
};

/* machine and trie must outlive the walk. */
enum kl_status kl_token_walk_init(struct kl_token_walk *walk, struct kl_machine *machine,
                                  const struct kl_token_trie *trie, struct kl_error *err);
void kl_token_walk_release(struct kl_token_walk *walk);
size_t kl_token_walk_bytes(const struct kl_token_walk *walk);

/* Write the mask of the tokens with bytes that are allowed in *state, and return their number.
 * Undefined when the machine fails. _free: in a free string. States that the machine keeps for them
 * are of no use then: mark and release are the caller's. */
size_t kl_token_walk_free(struct kl_token_walk *walk, const struct kl_rule_state *state,
                          const struct kl_free_string *string, uint64_t *mask);
/* Adds the tokens that close a free string. */
size_t kl_token_walk_closing(struct kl_token_walk *walk, const struct kl_rule_state *state,
                             const struct kl_free_string *string, uint64_t *mask);
size_t kl_token_walk_all(struct kl_token_walk *walk, const struct kl_rule_state *state,
                         uint64_t *mask);

/* Whether a token that begins with bytes[0..n), n > 0, and is longer is allowed, *state being that
 * behind the bytes. States: as above. */
bool kl_token_walk_goes_on(struct kl_token_walk *walk, const struct kl_rule_state *state,
                           const char *bytes, size_t n);

/* The machine's functions, with those that may be missing. */
static inline bool kl_machine_step(struct kl_machine *machine, const struct kl_rule_state *from,
                                   uint8_t byte, struct kl_rule_state *to)
{
    return machine->kind->step(machine, from, byte, to);
}

static inline bool kl_machine_free_string(struct kl_machine *machine,
                                          const struct kl_rule_state *state,
                                          struct kl_free_string *string)
{
    return machine->kind->free_string != NULL && machine->kind->free_string(machine, state, string);
}

static inline bool kl_machine_plain(struct kl_machine *machine, const struct kl_rule_state *state,
                                    struct kl_rule_state *plain)
{
    return machine->kind->plain != NULL && machine->kind->plain(machine, state, plain);
}

static inline size_t kl_machine_mark(struct kl_machine *machine)
{
    return machine->kind->mark != NULL ? machine->kind->mark(machine) : 0;
}

static inline void kl_machine_release(struct kl_machine *machine, size_t mark)
{
    if (machine->kind->release != NULL)
        machine->kind->release(machine, mark);
}

#endif
