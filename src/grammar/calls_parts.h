/*
 * The parts of the rule of calls, as its files share them. Internal to calls_rule.c.
 *
 *   calls_rule.c      the machine: free text, openings, closings; the rule
 *   call_opening.c    where a call begins in free text
 *   call_text.c       one call, also over several lines, and the ways that are excluded
 *   calls_excluded.c  which byte of an excluded call is refused
 */
#ifndef KL_GRAMMAR_CALLS_PARTS_H
#define KL_GRAMMAR_CALLS_PARTS_H

#include <assert.h>

#include "grammar/call_opening.h"
#include "grammar/calls_rule.h"

/* Where an answer is. The last word of a state has it, with a number that only it knows. */
enum kl_calls_phase {
    KL_CALLS_FREE,      /* text without a rule; the other words: struct kl_call_opening */
    KL_CALLS_EITHER,    /* at the start: a tag, or what follows `otherwise` */
    KL_CALLS_OTHERWISE, /* the other words: of the machine of `otherwise` */
    KL_CALLS_OPENING,   /* number: bytes of `opening` that were read */
    KL_CALLS_IN_CALL,   /* the other words: of the machine of calls; number: see below */
    KL_CALLS_CLOSING,   /* number: bytes of the form's closing text that were read */
};
enum kl_calls_form { KL_CALLS_TAGGED, KL_CALLS_FENCED, KL_CALLS_BARE };

#define KL_CALLS_WORD        (KL_RULE_STATE_WORDS - 1)
#define KL_CALLS_PHASE_SHIFT 29
#define KL_CALLS_FORM_SHIFT  27
#define KL_CALLS_NUMBER      ((UINT32_C(1) << KL_CALLS_FORM_SHIFT) - 1)

/* The number of a call: its place in the excluded ones; and where an object is written over several
 * lines, what came last, and the length of whitespace there. */
#define KL_CALLS_AT_SHIFT     12
#define KL_CALLS_PLACE        ((UINT32_C(1) << KL_CALLS_SPACES_SHIFT) - 1)
#define KL_CALLS_NOT_EXCLUDED KL_CALLS_PLACE /* the call is unlike all that are excluded */
#define KL_CALLS_SPACES_SHIFT 17
#define KL_CALLS_SPACES_MAX   63u
#define KL_CALLS_LAST_SHIFT   23
#define KL_CALLS_SPREAD       (UINT32_C(1) << 26)
static_assert(KL_CALLS_MAX_EXCLUDED < 1 << (KL_CALLS_SPACES_SHIFT - KL_CALLS_AT_SHIFT),
              "a place is a number");
static_assert(KL_CALLS_MAX_TEXT < 1 << KL_CALLS_AT_SHIFT, "a place is a number");

struct kl_calls_of_rule {
    struct kl_rule rule;
    struct kl_rule *call, *otherwise;
    struct kl_texts names, excluded;
    uint16_t *last; /* [excluded.n] the byte of each excluded text that is refused */
    bool is_demanded, is_single, is_bare, is_over;
    bool has_none; /* all calls are excluded */
};

struct kl_calls_machine {
    struct kl_machine machine;
    const struct kl_calls_of_rule *rule;
    struct kl_machine *call, *otherwise; /* otherwise: NULL: none */
};

static inline enum kl_calls_phase kl_calls_phase_of(const struct kl_rule_state *state)
{
    return (enum kl_calls_phase)(state->words[KL_CALLS_WORD] >> KL_CALLS_PHASE_SHIFT);
}

static inline uint32_t kl_calls_word(enum kl_calls_phase phase, enum kl_calls_form form,
                                     uint32_t number)
{
    return (uint32_t)phase << KL_CALLS_PHASE_SHIFT | (uint32_t)form << KL_CALLS_FORM_SHIFT | number;
}

/* The state of the machine of calls, or of `otherwise`, in one of ours. */
static inline struct kl_rule_state kl_calls_inner(const struct kl_rule_state *state)
{
    struct kl_rule_state inner = *state;
    inner.words[KL_CALLS_WORD] = 0;
    return inner;
}

/* ---- call_text.c ----------------------------------------------------------------------------- */

/* Before the first byte of a call. Keeps nothing of *to. */
void kl_call_begin(struct kl_calls_machine *m, enum kl_calls_form form, struct kl_rule_state *to);

/* Behind the name, which has its quotes. false: this tool may not be called. */
bool kl_call_begin_named(struct kl_calls_machine *m, enum kl_calls_form form, const char *name,
                         bool is_spread, struct kl_rule_state *to);

/* A further byte, in a state of KL_CALLS_IN_CALL. */
bool kl_call_step(struct kl_calls_machine *m, const struct kl_rule_state *from, uint8_t byte,
                  struct kl_rule_state *to);
bool kl_call_is_complete(struct kl_calls_machine *m, const struct kl_rule_state *state);

/* ---- calls_excluded.c ------------------------------------------------------------------------ */

/* Fills `last` and has_none. KL_ERR_MEMORY, KL_ERR_LIMIT: of the machine. */
enum kl_status kl_calls_exclude(struct kl_calls_of_rule *rule, struct kl_error *err);

#endif
