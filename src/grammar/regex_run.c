#include <stdlib.h>
#include <string.h>

#include "grammar/regex_program.h"
#include "grammar/word_store.h"

/* Memory of the sets and of the steps of one run. */
#define MAX_SET_BYTES  ((size_t)8 << 20)
#define MAX_STEP_BYTES ((size_t)8 << 20)

enum { UNKNOWN = 0xFFFFFFFF - 1, ACCEPTS_ALL = 1 };

/* A deterministic state is a set of states of the program: bytes that can follow, and the ends that
 * are reached. 0 is dead, 1 accepts every continuation. */
struct kl_regex_run {
    const struct kl_regex *regex;
    struct kl_word_store sets; /* their value: the number of the state, 0: none yet */
    uint32_t *entries;         /* [n] entries of the store */
    bool *accepts;             /* [n] */
    uint32_t *steps;           /* [n][n_classes] */
    size_t n, room;
    uint32_t start;
    uint32_t *marks;           /* [regex->n] of the last closure that reached the state */
    uint32_t *stack, *members; /* [regex->n] */
    size_t n_members;
    uint32_t mark;
    enum kl_status failure;
};

/* ---- sets ------------------------------------------------------------------------------------ */

static void push(struct kl_regex_run *run, uint32_t state, size_t *depth)
{
    if (run->marks[state] == run->mark)
        return;
    run->marks[state] = run->mark;
    run->stack[(*depth)++] = state;
}

/* Adds the states that are reached from one without a byte. */
static void close_over(struct kl_regex_run *run, uint32_t from, bool at_begin)
{
    const struct kl_regex *r = run->regex;
    size_t depth = 0;
    push(run, from, &depth);
    while (depth > 0) {
        uint32_t at = run->stack[--depth];
        const struct kl_regex_state *s = &r->states[at];
        switch (s->op) {
        case KL_OP_SPLIT:
            push(run, s->next, &depth);
            push(run, s->other, &depth);
            break;
        case KL_OP_BEGIN:
            if (at_begin)
                push(run, s->next, &depth);
            break;
        default:
            if (s->can_match)
                run->members[run->n_members++] = at;
            break;
        }
    }
}

static int compare(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static uint32_t fail(struct kl_regex_run *run, enum kl_status status)
{
    run->failure = status;
    return KL_REGEX_DEAD;
}

static bool grow(struct kl_regex_run *run)
{
    size_t room = run->room == 0 ? 16 : 2 * run->room, row = run->regex->n_classes;
    if (room * row * sizeof *run->steps > MAX_STEP_BYTES)
        return fail(run, KL_ERR_LIMIT);
    uint32_t *entries = realloc(run->entries, room * sizeof *entries);
    if (entries != NULL)
        run->entries = entries;
    bool *accepts = realloc(run->accepts, room * sizeof *accepts);
    if (accepts != NULL)
        run->accepts = accepts;
    uint32_t *steps = realloc(run->steps, room * row * sizeof *steps);
    if (steps != NULL)
        run->steps = steps;
    if (entries == NULL || accepts == NULL || steps == NULL)
        return fail(run, KL_ERR_MEMORY);
    run->room = room;
    return true;
}

static uint32_t add_state(struct kl_regex_run *run, uint32_t entry, bool accepts, uint32_t step)
{
    if (run->n == run->room && !grow(run))
        return KL_REGEX_DEAD;
    uint32_t *row = run->steps + run->n * run->regex->n_classes;
    for (size_t i = 0; i < run->regex->n_classes; i++)
        row[i] = step;
    run->entries[run->n] = entry;
    run->accepts[run->n] = accepts;
    return (uint32_t)run->n++;
}

/* The state of the members. */
static uint32_t find_state(struct kl_regex_run *run)
{
    bool accepts = false;
    if (run->n_members > 1)
        qsort(run->members, run->n_members, sizeof *run->members, compare);
    for (size_t i = 0; i < run->n_members; i++) {
        const struct kl_regex_state *s = &run->regex->states[run->members[i]];
        if (s->op == KL_OP_MATCH && s->first != 0)
            return ACCEPTS_ALL;
        accepts = accepts || s->ends;
    }
    if (run->n_members == 0)
        return KL_REGEX_DEAD;
    uint32_t entry = kl_word_store_put(&run->sets, run->members, run->n_members);
    if (entry == 0)
        return fail(run, run->sets.failure);
    uint32_t known = *kl_word_store_value(&run->sets, entry);
    if (known != 0)
        return known;
    uint32_t state = add_state(run, entry, accepts, UNKNOWN);
    *kl_word_store_value(&run->sets, entry) = state;
    return state;
}

static void begin_set(struct kl_regex_run *run)
{
    run->n_members = 0;
    if (++run->mark == 0) {
        memset(run->marks, 0, run->regex->n * sizeof *run->marks);
        run->mark = 1;
    }
}

/* ---- steps ----------------------------------------------------------------------------------- */

static uint32_t make_step(struct kl_regex_run *run, uint32_t state, uint8_t byte)
{
    size_t n;
    if (run->failure != KL_OK)
        return KL_REGEX_DEAD;
    const uint32_t *set = kl_word_store_get(&run->sets, run->entries[state], &n);
    begin_set(run);
    for (size_t i = 0; i < n; i++) {
        const struct kl_regex_state *s = &run->regex->states[set[i]];
        if (s->op == KL_OP_BYTE && byte >= s->first && byte <= s->last)
            close_over(run, s->next, false);
    }
    uint32_t next = find_state(run);
    if (run->failure == KL_OK)
        run->steps[state * run->regex->n_classes + run->regex->classes[byte]] = next;
    return next;
}

uint32_t kl_regex_run_step(struct kl_regex_run *run, uint32_t state, uint8_t byte)
{
    uint32_t next = run->steps[state * run->regex->n_classes + run->regex->classes[byte]];
    return next != UNKNOWN ? next : make_step(run, state, byte);
}

uint32_t kl_regex_run_start(struct kl_regex_run *run)
{
    return run->start;
}

bool kl_regex_run_accepts(const struct kl_regex_run *run, uint32_t state)
{
    return run->accepts[state];
}

bool kl_regex_run_accepts_all(const struct kl_regex_run *run, uint32_t state)
{
    (void)run;
    return state == ACCEPTS_ALL;
}

enum kl_status kl_regex_run_failure(const struct kl_regex_run *run)
{
    return run->failure;
}

/* ---- the run --------------------------------------------------------------------------------- */

enum kl_status kl_regex_run_open(const struct kl_regex *regex, struct kl_regex_run **out,
                                 struct kl_error *err)
{
    struct kl_regex_run *run = calloc(1, sizeof *run);
    *out = NULL;
    if (run == NULL)
        return kl_fail_memory(err, "a pattern", sizeof *run);
    run->regex = regex;
    kl_word_store_init(&run->sets, MAX_SET_BYTES);
    run->marks = calloc(regex->n, sizeof *run->marks);
    run->stack = malloc(regex->n * sizeof *run->stack);
    run->members = malloc(regex->n * sizeof *run->members);
    if (run->marks == NULL || run->stack == NULL || run->members == NULL || !grow(run)) {
        kl_regex_run_close(run);
        return kl_fail_memory(err, "a pattern", regex->n * sizeof *run->marks);
    }
    add_state(run, 0, false, KL_REGEX_DEAD);
    add_state(run, 0, true, ACCEPTS_ALL);
    begin_set(run);
    close_over(run, regex->start, true);
    run->start = find_state(run);
    if (run->failure != KL_OK) {
        kl_regex_run_close(run);
        return kl_fail_memory(err, "a pattern", regex->n * sizeof *run->marks);
    }
    *out = run;
    return KL_OK;
}

void kl_regex_run_close(struct kl_regex_run *run)
{
    if (run == NULL)
        return;
    kl_word_store_free(&run->sets);
    free(run->entries);
    free(run->accepts);
    free(run->steps);
    free(run->marks);
    free(run->stack);
    free(run->members);
    free(run);
}

size_t kl_regex_run_bytes(const struct kl_regex_run *run)
{
    return sizeof *run + kl_word_store_bytes(&run->sets) +
           run->room * (sizeof *run->entries + sizeof *run->accepts +
                        run->regex->n_classes * sizeof *run->steps) +
           3 * run->regex->n * sizeof *run->marks;
}
