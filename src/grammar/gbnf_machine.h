/*
 * A machine (rule.h) that follows a grammar's program. Internal to gbnf.
 *
 * A place is an instruction and a stack: where the answer may be in the grammar. A stack is a set
 * of places to return to, so that all ways to reach the same routine at the same byte share one
 * stack; a state is the set of places whose next step is a byte. Both are entries of one word store
 * (two words for each place, in order), so equal stacks and states are equal numbers. This is
 * Earley's algorithm with persistent sets: polynomial for every grammar, and for a deterministic
 * one, one place and one stack.
 */
#ifndef KL_GRAMMAR_GBNF_MACHINE_H
#define KL_GRAMMAR_GBNF_MACHINE_H

#include "base/error.h"
#include "grammar/gbnf_program.h"
#include "grammar/rule.h"

/* program must outlive the machine. */
enum kl_status kl_gbnf_machine_open(const struct kl_gbnf_program *program,
                                    struct kl_machine **machine, struct kl_error *err);

#endif
