#include <stdlib.h>
#include <string.h>

#include "grammar/regex_run.h"

/* Memory of the sets, and of the steps, of one run; and threads of one set. */
#define MAX_BYTES      ((size_t)8 << 20)
#define MAX_LOOK_BYTES ((size_t)1 << 20)
#define MAX_THREADS    ((size_t)1 << 20)

static uint32_t fail(struct kl_regex_run *run, enum kl_status status)
{
    if (run->failure == KL_OK)
        run->failure = status;
    return KL_REGEX_DEAD;
}

static size_t max_bytes(const struct kl_regex *regex)
{
    return regex->is_look ? MAX_LOOK_BYTES : MAX_BYTES;
}

/* ---- sets ------------------------------------------------------------------------------------ */

static bool room_for(struct kl_regex_run *run, uint64_t **list, size_t n, size_t *room)
{
    if (n < *room)
        return true;
    size_t more = *room == 0 ? 64 : 2 * *room;
    if (more > MAX_THREADS)
        return fail(run, KL_ERR_LIMIT);
    uint64_t *grown = realloc(*list, more * sizeof *grown);
    if (grown == NULL)
        return fail(run, KL_ERR_MEMORY);
    *list = grown;
    *room = more;
    return true;
}

/* Whether this closure reaches the thread for the first time. */
static bool is_new(struct kl_regex_run *run, uint32_t state, uint32_t condition)
{
    if (condition == 0) {
        bool marked = run->marks[state] == run->mark;
        run->marks[state] = run->mark;
        return !marked;
    }
    uint32_t thread[] = {state, condition};
    uint32_t entry = kl_word_store_put(&run->conditional, thread, 2);
    if (entry == 0)
        return fail(run, run->conditional.failure);
    uint32_t *value = kl_word_store_value(&run->conditional, entry);
    return (*value)++ == 0;
}

static void push(struct kl_regex_run *run, uint32_t state, uint32_t condition, size_t *depth)
{
    if (condition != KL_REGEX_FALSE && is_new(run, state, condition) &&
        room_for(run, &run->stack, *depth, &run->stack_room))
        run->stack[(*depth)++] = (uint64_t)condition << 32 | state;
}

/* Adds the threads that are reached from one without a byte. */
static void close_over(struct kl_regex_run *run, uint32_t from, uint32_t under, bool at_begin)
{
    const struct kl_regex *r = run->regex;
    size_t depth = 0;
    push(run, from, under, &depth);
    while (depth > 0) {
        uint64_t thread = run->stack[--depth];
        uint32_t at = (uint32_t)thread, condition = (uint32_t)(thread >> 32);
        const struct kl_regex_state *s = &r->states[at];
        switch (s->op) {
        case KL_OP_SPLIT:
            push(run, s->next, condition, &depth);
            push(run, s->other, condition, &depth);
            break;
        case KL_OP_BEGIN:
            if (at_begin)
                push(run, s->next, condition, &depth);
            break;
        case KL_OP_LOOK:
            condition = kl_regex_condition_add(run, condition, s->other, s->first != 0, at_begin);
            push(run, s->next, condition, &depth);
            break;
        case KL_OP_END:
            if (at_begin ? s->empty : s->ends)
                push(run, 0, condition, &depth);
            break;
        default:
            if (s->can_match && room_for(run, &run->members, run->n_members, &run->members_room))
                run->members[run->n_members++] = thread;
            break;
        }
    }
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static bool grow(struct kl_regex_run *run)
{
    size_t room = run->room == 0 ? 16 : 2 * run->room, row = run->regex->n_classes;
    if (room * row * sizeof *run->steps > max_bytes(run->regex))
        return fail(run, KL_ERR_LIMIT);
    uint32_t *entries = realloc(run->entries, room * sizeof *entries);
    if (entries != NULL)
        run->entries = entries;
    uint8_t *flags = realloc(run->flags, room * sizeof *flags);
    if (flags != NULL)
        run->flags = flags;
    uint32_t *steps = realloc(run->steps, room * row * sizeof *steps);
    if (steps != NULL)
        run->steps = steps;
    if (entries == NULL || flags == NULL || steps == NULL)
        return fail(run, KL_ERR_MEMORY);
    run->room = room;
    return true;
}

static uint32_t add_state(struct kl_regex_run *run, uint32_t entry, int flags, uint32_t step)
{
    if (run->n == run->room && !grow(run))
        return KL_REGEX_DEAD;
    uint32_t *row = run->steps + run->n * run->regex->n_classes;
    for (size_t i = 0; i < run->regex->n_classes; i++)
        row[i] = step;
    run->entries[run->n] = entry;
    run->flags[run->n] = (uint8_t)flags;
    return (uint32_t)run->n++;
}

/* Writes the sorted members as words of a set. */
static bool write_words(struct kl_regex_run *run, size_t *n)
{
    uint32_t condition = 0;
    if (run->words_room < 2 * run->n_members) {
        free(run->words);
        run->words_room = 2 * run->members_room;
        run->words = malloc(run->words_room * sizeof *run->words);
    }
    if (run->words == NULL) {
        run->words_room = 0;
        return fail(run, KL_ERR_MEMORY);
    }
    *n = 0;
    for (size_t i = 0; i < run->n_members; i++) {
        if (run->members[i] >> 32 != condition) {
            condition = (uint32_t)(run->members[i] >> 32);
            run->words[(*n)++] = condition | KL_REGEX_CONDITION;
        }
        run->words[(*n)++] = (uint32_t)run->members[i];
    }
    return true;
}

/* The state of the members. One with a thread under no condition is alive. */
static uint32_t find_state(struct kl_regex_run *run)
{
    int flags = 0;
    size_t n;
    if (run->failure != KL_OK || run->n_members == 0)
        return KL_REGEX_DEAD;
    if (run->n_members > 1)
        qsort(run->members, run->n_members, sizeof *run->members, compare);
    if (run->members[0] >> 32 == 0)
        flags |= KL_REGEX_ALIVE;
    for (size_t i = 0; i < run->n_members; i++) {
        uint32_t condition = (uint32_t)(run->members[i] >> 32);
        const struct kl_regex_state *s = &run->regex->states[(uint32_t)run->members[i]];
        if (condition == 0 && s->op == KL_OP_MATCH && s->first != 0)
            return KL_REGEX_ACCEPTS_ALL;
        if (s->ends && (flags & KL_REGEX_ACCEPTS) == 0 && kl_regex_condition_holds(run, condition))
            flags |= KL_REGEX_ACCEPTS | KL_REGEX_ALIVE;
    }
    if (!write_words(run, &n))
        return KL_REGEX_DEAD;
    uint32_t entry = kl_word_store_put(&run->sets, run->words, n);
    if (entry == 0)
        return fail(run, run->sets.failure);
    uint32_t known = *kl_word_store_value(&run->sets, entry);
    if (known != 0)
        return known;
    uint32_t state = add_state(run, entry, flags, KL_REGEX_UNKNOWN);
    *kl_word_store_value(&run->sets, entry) = state;
    return state;
}

static void begin_set(struct kl_regex_run *run)
{
    run->n_members = 0;
    kl_word_store_release(&run->conditional, 0);
    if (++run->mark == 0) {
        memset(run->marks, 0, run->regex->n * sizeof *run->marks);
        run->mark = 1;
    }
}

/* ---- steps ----------------------------------------------------------------------------------- */

static bool is_settled(const struct kl_regex_run *run, uint32_t state)
{
    return (run->flags[state] & (KL_REGEX_ALIVE | KL_REGEX_IS_DEAD)) != 0;
}

uint32_t kl_regex_raw_step(struct kl_regex_run *run, uint32_t state, uint8_t byte)
{
    size_t n, cell = state * run->regex->n_classes + run->regex->classes[byte];
    uint32_t condition = 0;
    if (run->failure != KL_OK)
        return KL_REGEX_DEAD;
    if (run->steps[cell] != KL_REGEX_UNKNOWN)
        return run->steps[cell] & ~KL_REGEX_UNSETTLED;
    const uint32_t *set = kl_word_store_get(&run->sets, run->entries[state], &n);
    begin_set(run);
    for (size_t i = 0; i < n; i++) {
        if (set[i] & KL_REGEX_CONDITION) {
            condition = kl_regex_condition_step(run, set[i] & ~KL_REGEX_CONDITION, byte);
            continue;
        }
        const struct kl_regex_state *s = &run->regex->states[set[i]];
        if (s->op == KL_OP_BYTE && byte >= s->first && byte <= s->last)
            close_over(run, s->next, condition, false);
    }
    uint32_t next = find_state(run);
    if (run->failure == KL_OK)
        run->steps[cell] = is_settled(run, next) ? next : next | KL_REGEX_UNSETTLED;
    return next;
}

/* A state that is known to be alive or dead, for one that may be either. */
static uint32_t settled(struct kl_regex_run *run, uint32_t state)
{
    if (run->failure == KL_OK && !is_settled(run, state))
        kl_regex_settle(run, state);
    if (run->failure != KL_OK || run->flags[state] & KL_REGEX_IS_DEAD)
        return KL_REGEX_DEAD;
    return state;
}

static uint32_t make_step(struct kl_regex_run *run, uint32_t state, uint8_t byte)
{
    uint32_t next = settled(run, kl_regex_raw_step(run, state, byte));
    if (run->failure == KL_OK)
        run->steps[state * run->regex->n_classes + run->regex->classes[byte]] = next;
    return next;
}

uint32_t kl_regex_run_step(struct kl_regex_run *run, uint32_t state, uint8_t byte)
{
    uint32_t next = run->steps[state * run->regex->n_classes + run->regex->classes[byte]];
    return next < KL_REGEX_UNSETTLED ? next : make_step(run, state, byte);
}

uint32_t kl_regex_run_start(struct kl_regex_run *run)
{
    return run->start;
}

bool kl_regex_run_accepts(const struct kl_regex_run *run, uint32_t state)
{
    return (run->flags[state] & KL_REGEX_ACCEPTS) != 0;
}

bool kl_regex_run_accepts_all(const struct kl_regex_run *run, uint32_t state)
{
    (void)run;
    return state == KL_REGEX_ACCEPTS_ALL;
}

enum kl_status kl_regex_run_failure(const struct kl_regex_run *run)
{
    return run->failure;
}

/* ---- the run --------------------------------------------------------------------------------- */

static uint32_t find_start(struct kl_regex_run *run, bool at_begin)
{
    begin_set(run);
    close_over(run, run->regex->start, 0, at_begin);
    return settled(run, find_state(run));
}

/* Look-aheads nest as deep as groups. */
static enum kl_status open_run(struct kl_regex_run *run)
{
    const struct kl_regex *r = run->regex;
    kl_word_store_init(&run->sets, max_bytes(r));
    kl_word_store_init(&run->conditional, max_bytes(r));
    kl_word_store_init(&run->conditions, max_bytes(r));
    run->marks = calloc(r->n, sizeof *run->marks);
    if (run->marks == NULL || !grow(run))
        return KL_ERR_MEMORY;
    for (size_t i = 0; i < KL_REGEX_MAX_LOOKS; i++) {
        enum kl_status status =
            r->looks[i] != NULL ? kl_regex_run_open(r->looks[i], &run->looks[i], NULL) : KL_OK;
        if (status != KL_OK)
            return status;
    }
    add_state(run, 0, KL_REGEX_IS_DEAD, KL_REGEX_DEAD);
    add_state(run, 0, KL_REGEX_ALIVE | KL_REGEX_ACCEPTS, KL_REGEX_ACCEPTS_ALL);
    if (r->is_look)
        run->inner_start = find_start(run, false);
    run->start = find_start(run, true);
    return run->failure;
}

enum kl_status kl_regex_run_open(const struct kl_regex *regex, struct kl_regex_run **out,
                                 struct kl_error *err)
{
    struct kl_regex_run *run = calloc(1, sizeof *run);
    *out = NULL;
    if (run == NULL)
        return kl_fail_memory(err, "a pattern", sizeof *run);
    run->regex = regex;
    enum kl_status status = open_run(run);
    if (status == KL_OK) {
        *out = run;
        return KL_OK;
    }
    kl_regex_run_close(run);
    return status == KL_ERR_MEMORY
               ? kl_fail_memory(err, "a pattern", regex->n * sizeof *run->marks)
               : kl_fail(err, status, "pattern: its look-aheads have too many states");
}

void kl_regex_run_close(struct kl_regex_run *run)
{
    if (run == NULL)
        return;
    for (size_t i = 0; i < KL_REGEX_MAX_LOOKS; i++)
        kl_regex_run_close(run->looks[i]);
    kl_word_store_free(&run->sets);
    kl_word_store_free(&run->conditional);
    kl_word_store_free(&run->conditions);
    free(run->entries);
    free(run->flags);
    free(run->steps);
    free(run->marks);
    free(run->stack);
    free(run->members);
    free(run->words);
    free(run);
}

size_t kl_regex_run_bytes(const struct kl_regex_run *run)
{
    size_t bytes = sizeof *run + kl_word_store_bytes(&run->sets) +
                   kl_word_store_bytes(&run->conditional) + kl_word_store_bytes(&run->conditions);
    for (size_t i = 0; i < KL_REGEX_MAX_LOOKS; i++)
        if (run->looks[i] != NULL)
            bytes += kl_regex_run_bytes(run->looks[i]);
    return bytes +
           run->room * (sizeof *run->entries + sizeof *run->flags +
                        run->regex->n_classes * sizeof *run->steps) +
           run->regex->n * sizeof *run->marks + run->words_room * sizeof *run->words +
           (run->stack_room + run->members_room) * sizeof *run->stack;
}
