/*
 * A GBNF grammar as instructions, for gbnf_machine. Internal to gbnf.
 *
 * Instructions run from one consumer of a byte to the next; the program branches at SPLIT, and at a
 * CALL goes into a routine (a rule, or an item that is repeated by number), which ends at RETURN.
 * Instruction 0 is END: the whole answer. Immutable once made; any thread.
 */
#ifndef KL_GRAMMAR_GBNF_PROGRAM_H
#define KL_GRAMMAR_GBNF_PROGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "grammar/gbnf_grammar.h"
#include "grammar/word_store.h"

enum kl_gbnf_op {
    KL_GBNF_END,
    KL_GBNF_BYTE,  /* argument: the byte */
    KL_GBNF_IN,    /* argument: the entry of a class */
    KL_GBNF_CALL,  /* argument: the routine */
    KL_GBNF_SPLIT, /* goes on behind it and at the argument */
    KL_GBNF_JUMP,  /* goes on at the argument */
    KL_GBNF_RETURN
};

struct kl_gbnf_instruction {
    uint8_t op;
    bool last; /* CALL: nothing but RETURN follows */
    uint32_t argument;
};

struct kl_gbnf_routine {
    uint32_t start; /* instruction */
    uint32_t part;  /* of the grammar; without a meaning afterwards */
    uint32_t rank;  /* greater than that of all routines that it enters before a byte */
    bool empty;     /* it may consume nothing */
};

struct kl_gbnf_program {
    struct kl_gbnf_instruction *code;
    size_t n_code, code_room;
    struct kl_gbnf_routine *routines; /* 0: root */
    size_t n_routines, routine_room;
    struct kl_word_store classes; /* see gbnf_classes.h */
};

/* Takes grammar->classes over. KL_ERR_INVALID: no finite text completes the root;
 * KL_ERR_UNSUPPORTED: left recursion; KL_ERR_LIMIT; KL_ERR_MEMORY. On failure, too, the program
 * must be freed. */
enum kl_status kl_gbnf_program_make(struct kl_gbnf_grammar *grammar,
                                    struct kl_gbnf_program *program, struct kl_error *err);
void kl_gbnf_program_free(struct kl_gbnf_program *program);
size_t kl_gbnf_program_bytes(const struct kl_gbnf_program *program);

/* Sets the ranks of routines; KL_ERR_UNSUPPORTED: left recursion, *routine is one of it. */
enum kl_status kl_gbnf_rank(struct kl_gbnf_program *program, uint32_t *routine,
                            struct kl_error *err);

#endif
