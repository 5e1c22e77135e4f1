/*
 * The states of a run, shared by regex_run.c and regex_looks.c. Internal to grammar/.
 */
#ifndef KL_GRAMMAR_REGEX_RUN_H
#define KL_GRAMMAR_REGEX_RUN_H

#include "grammar/regex_program.h"
#include "grammar/word_store.h"

/* A deterministic state is a set of threads: states of the program whose bytes can follow, or ends
 * that are reached, each under a condition: what the look-aheads that it passed still ask for.
 * State 0 is dead, 1 accepts every continuation. */
struct kl_regex_run {
    const struct kl_regex *regex;
    /* sets: the states of the program under no condition, then for each condition its number with
     * KL_REGEX_CONDITION, and the states under it. Their value: the number of the state, 0: none
     * yet. */
    struct kl_word_store sets;
    uint32_t *entries; /* [n] entries of the store */
    uint8_t *flags;    /* [n] */
    uint32_t *steps;   /* [n][n_classes] with KL_REGEX_UNSETTLED: it may be dead */
    size_t n, room;
    uint32_t start, inner_start;      /* at the begin of the text; of look-aheads: behind it */
    uint32_t *marks;                  /* [regex->n] of the last closure that reached the state */
    struct kl_word_store conditional; /* threads under a condition that a closure reached */
    uint64_t *stack, *members;        /* threads: condition << 32 | state */
    size_t stack_room, members_room, n_members;
    uint32_t *words; /* [words_room] a set, while it is made */
    size_t words_room;
    uint32_t mark;
    enum kl_status failure;
    struct kl_regex_run *looks[KL_REGEX_MAX_LOOKS];
    struct kl_word_store conditions; /* pairs: number of the look-ahead * 2 + negative, its state */
};

#define KL_REGEX_UNKNOWN   0xFFFFFFFFu
#define KL_REGEX_UNSETTLED 0x80000000u
#define KL_REGEX_CONDITION 0x80000000u

enum { KL_REGEX_ACCEPTS_ALL = 1 };

/* Flags of states. */
enum { KL_REGEX_ACCEPTS = 1, KL_REGEX_ALIVE = 2, KL_REGEX_IS_DEAD = 4, KL_REGEX_VISITED = 8 };

/* Conditions: 0 asks for nothing, KL_REGEX_FALSE fails whatever follows. Failures stick in the
 * run. */
#define KL_REGEX_FALSE 0xFFFFFFFFu

uint32_t kl_regex_condition_add(struct kl_regex_run *run, uint32_t condition, uint32_t look,
                                bool negative, bool at_begin);
uint32_t kl_regex_condition_step(struct kl_regex_run *run, uint32_t condition, uint8_t byte);
/* Whether it is met by a text that ends here. */
bool kl_regex_condition_holds(const struct kl_regex_run *run, uint32_t condition);

/* The state behind a byte, which may be dead (flags). */
uint32_t kl_regex_raw_step(struct kl_regex_run *run, uint32_t state, uint8_t byte);
/* Finds out whether a state is dead: searches for a state that is known not to be. */
void kl_regex_settle(struct kl_regex_run *run, uint32_t state);

#endif
