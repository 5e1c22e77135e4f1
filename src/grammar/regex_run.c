#include <stdlib.h>
#include <string.h>

#include "grammar/regex_program.h"
#include "grammar/word_store.h"

/* A deterministic state is a set of threads: states of the program whose bytes can follow, or ends
 * that are reached, each under a condition: what the look-aheads that it passed still ask for.
 * State 0 is dead, 1 accepts every continuation. */
struct kl_regex_run {
    const struct kl_regex *regex;
    /* sets: the states of the program under no condition, then for each condition its number with
     * CONDITION_BIT, and the states under it. Their value: the number of the state, 0: none
     * yet. */
    struct kl_word_store sets;
    uint32_t *entries; /* [n] entries of the store */
    uint8_t *flags;    /* [n] */
    uint32_t *steps;   /* [n][n_classes] with UNSETTLED: it may be dead */
    size_t n, room;
    uint32_t start, inner_start;      /* at the begin of the text; of look-aheads: behind it */
    uint32_t *marks;                  /* [regex->n] of the last closure that reached the state */
    struct kl_word_store conditional; /* threads under a condition that a closure reached */
    uint64_t *stack, *members;        /* threads: condition << 32 | state */
    size_t stack_room, members_room, n_members;
    uint32_t *words; /* [words_room] a set, while it is made */
    size_t words_room;
    uint32_t mark;
    uint64_t *work_left; /* NULL: any */
    enum kl_status failure;
    struct kl_regex_run *looks[KL_REGEX_MAX_LOOKS];
    struct kl_word_store conditions; /* pairs: number of the look-ahead * 2 + negative, its state */
};

#define UNKNOWN       0xFFFFFFFFu
#define UNSETTLED     0x80000000u
#define CONDITION_BIT 0x80000000u

/* Flags of states. */
enum { ACCEPTS = 1, ALIVE = 2, IS_DEAD = 4, VISITED = 8, STAYS = 16 };

#define NEVER 0xFFFFFFFFu

/* Memory of the sets, and of the steps, of one run; and threads of one set. */
#define MAX_BYTES      ((size_t)8 << 20)
#define MAX_LOOK_BYTES ((size_t)1 << 20)
#define MAX_THREADS    ((size_t)1 << 20)

#define SORTING 4 /* work of sorting the threads of a set, for each */

static uint32_t fail(struct kl_regex_run *run, enum kl_status status)
{
    if (run->failure == KL_OK)
        run->failure = status;
    return KL_REGEX_DEAD;
}

/* Takes note of work: about n times what one thread takes. */
static void work(struct kl_regex_run *run, size_t n)
{
    if (run->work_left == NULL)
        return;
    if (n > *run->work_left)
        fail(run, KL_ERR_LIMIT);
    else
        *run->work_left -= n;
}

static size_t max_bytes(const struct kl_regex *regex)
{
    return regex->is_look ? MAX_LOOK_BYTES : MAX_BYTES;
}

/* ---- look-aheads -------------------------------------------------------------------------------
 * Each one that a thread passes runs next to it, over the same bytes, until it is decided. A
 * condition is the set of those that are not. 0 asks for nothing, NEVER fails whatever
 * follows. */

/* Undecided look-aheads of one thread; states that are searched for one that accepts. */
enum { MAX_PAIRS = 64, MAX_SEARCHED = 8192 };

struct pairs {
    uint32_t words[2 * MAX_PAIRS]; /* sorted */
    size_t n;                      /* pairs */
    bool never;
};

static void insert(struct kl_regex_run *run, struct pairs *pairs, uint32_t look, uint32_t state)
{
    const struct kl_regex_run *sub = run->looks[look / 2];
    bool negative = look & 1, yes = state == KL_REGEX_ALL, no = state == KL_REGEX_DEAD;
    size_t at = 0;
    if (sub->failure != KL_OK)
        fail(run, sub->failure);
    if (negative ? yes : no)
        pairs->never = true;
    if (yes || no)
        return;
    while (at < pairs->n && (pairs->words[2 * at] < look ||
                             (pairs->words[2 * at] == look && pairs->words[2 * at + 1] < state)))
        at++;
    if (at < pairs->n && pairs->words[2 * at] == look && pairs->words[2 * at + 1] == state)
        return;
    if (pairs->n == MAX_PAIRS) {
        fail(run, KL_ERR_LIMIT);
        return;
    }
    for (size_t i = pairs->n++; i > at; i--) {
        pairs->words[2 * i] = pairs->words[2 * i - 2];
        pairs->words[2 * i + 1] = pairs->words[2 * i - 1];
    }
    pairs->words[2 * at] = look;
    pairs->words[2 * at + 1] = state;
}

static uint32_t number_of(struct kl_regex_run *run, const struct pairs *pairs)
{
    if (pairs->never || run->failure != KL_OK)
        return NEVER;
    if (pairs->n == 0)
        return 0;
    uint32_t number = kl_word_store_put(&run->conditions, pairs->words, 2 * pairs->n);
    if (number == 0)
        fail(run, run->conditions.failure);
    return number == 0 ? NEVER : number;
}

static void load(const struct kl_regex_run *run, uint32_t condition, const uint32_t **words,
                 size_t *n)
{
    *n = 0;
    if (condition != 0)
        *words = kl_word_store_get(&run->conditions, condition, n);
}

static uint32_t condition_add(struct kl_regex_run *run, uint32_t condition, uint32_t look,
                              bool negative, bool at_begin)
{
    const struct kl_regex_run *sub = run->looks[look];
    const uint32_t *words = NULL;
    struct pairs pairs = {.n = 0};
    size_t n;
    load(run, condition, &words, &n);
    for (size_t i = 0; i < n; i += 2)
        insert(run, &pairs, words[i], words[i + 1]);
    insert(run, &pairs, 2 * look + negative, at_begin ? sub->start : sub->inner_start);
    return number_of(run, &pairs);
}

static uint32_t condition_step(struct kl_regex_run *run, uint32_t condition, uint8_t byte)
{
    const uint32_t *words = NULL;
    struct pairs pairs = {.n = 0};
    size_t n;
    load(run, condition, &words, &n);
    for (size_t i = 0; i < n && !pairs.never; i += 2)
        insert(run, &pairs, words[i],
               kl_regex_run_step(run->looks[words[i] / 2], words[i + 1], byte));
    return number_of(run, &pairs);
}

static bool condition_holds(const struct kl_regex_run *run, uint32_t condition)
{
    const uint32_t *words = NULL;
    size_t n;
    load(run, condition, &words, &n);
    for (size_t i = 0; i < n; i += 2) {
        bool negative = words[i] & 1;
        if (kl_regex_run_accepts(run->looks[words[i] / 2], words[i + 1]) == negative)
            return false;
    }
    return true;
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
    if (condition != NEVER && is_new(run, state, condition) &&
        room_for(run, &run->stack, *depth, &run->stack_room))
        run->stack[(*depth)++] = (uint64_t)condition << 32 | state;
}

/* Adds the threads that are reached from one without a byte. */
static void close_over(struct kl_regex_run *run, uint32_t from, uint32_t under, bool at_begin)
{
    const struct kl_regex *r = run->regex;
    size_t depth = 0;
    push(run, from, under, &depth);
    while (depth > 0 && run->failure == KL_OK) {
        work(run, 1);
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
            condition = condition_add(run, condition, s->other, s->first != 0, at_begin);
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
            run->words[(*n)++] = condition | CONDITION_BIT;
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
    if (run->n_members > 1) {
        work(run, SORTING * run->n_members);
        qsort(run->members, run->n_members, sizeof *run->members, compare);
    }
    if (run->members[0] >> 32 == 0)
        flags |= ALIVE;
    for (size_t i = 0; i < run->n_members; i++) {
        uint32_t condition = (uint32_t)(run->members[i] >> 32);
        const struct kl_regex_state *s = &run->regex->states[(uint32_t)run->members[i]];
        if (condition == 0 && s->op == KL_OP_MATCH && s->first != 0)
            return KL_REGEX_ALL;
        if (condition == 0 && run->regex->loop != 0 && s == &run->regex->states[run->regex->loop])
            flags |= STAYS;
        if (s->ends && (flags & ACCEPTS) == 0 && condition_holds(run, condition))
            flags |= ACCEPTS | ALIVE;
    }
    if (!write_words(run, &n))
        return KL_REGEX_DEAD;
    uint32_t entry = kl_word_store_put(&run->sets, run->words, n);
    if (entry == 0)
        return fail(run, run->sets.failure);
    uint32_t known = *kl_word_store_value(&run->sets, entry);
    if (known != 0)
        return known;
    uint32_t state = add_state(run, entry, flags, UNKNOWN);
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
    return (run->flags[state] & (ALIVE | IS_DEAD)) != 0;
}

/* The state behind a byte, which may be dead. */
static uint32_t raw_step(struct kl_regex_run *run, uint32_t state, uint8_t byte)
{
    size_t n, cell = state * run->regex->n_classes + run->regex->classes[byte];
    uint32_t condition = 0;
    if (run->failure != KL_OK)
        return KL_REGEX_DEAD;
    if (run->steps[cell] != UNKNOWN)
        return run->steps[cell] & ~UNSETTLED;
    const uint32_t *set = kl_word_store_get(&run->sets, run->entries[state], &n);
    begin_set(run);
    work(run, n);
    for (size_t i = 0; i < n && run->failure == KL_OK; i++) {
        if (set[i] & CONDITION_BIT) {
            condition = condition_step(run, set[i] & ~CONDITION_BIT, byte);
            continue;
        }
        const struct kl_regex_state *s = &run->regex->states[set[i]];
        if (s->op == KL_OP_BYTE && byte >= s->first && byte <= s->last)
            close_over(run, s->next, condition, false);
    }
    uint32_t next = find_state(run);
    if (run->failure == KL_OK)
        run->steps[cell] = is_settled(run, next) ? next : next | UNSETTLED;
    return next;
}

/* ---- dead states ----------------------------------------------------------------------------- */

struct search {
    struct {
        uint32_t state, parent;
    } items[MAX_SEARCHED];
    size_t n;
};

/* Breadth first. Returns whether a state that is alive was reached, from item *from. */
static bool search_alive(struct kl_regex_run *run, struct search *s, size_t *from)
{
    for (size_t i = 0; i < s->n; i++) {
        work(run, run->regex->n_classes);
        for (size_t c = 0; c < run->regex->n_classes; c++) {
            uint32_t next = raw_step(run, s->items[i].state, run->regex->samples[c]);
            if (run->failure != KL_OK)
                return false;
            if (run->flags[next] & ALIVE) {
                *from = i;
                return true;
            }
            if (run->flags[next] & (IS_DEAD | VISITED))
                continue;
            if (s->n == MAX_SEARCHED) {
                fail(run, KL_ERR_LIMIT);
                return false;
            }
            run->flags[next] |= VISITED;
            s->items[s->n].state = next;
            s->items[s->n++].parent = (uint32_t)i;
        }
    }
    return false;
}

/* Finds out whether a state is dead: searches for one that is known not to be. */
static void settle(struct kl_regex_run *run, uint32_t state)
{
    struct search *s = malloc(sizeof *s);
    size_t at = 0;
    if (s == NULL) {
        fail(run, KL_ERR_MEMORY);
        return;
    }
    run->flags[state] |= VISITED;
    s->items[0].state = state;
    s->items[0].parent = 0;
    s->n = 1;
    bool alive = search_alive(run, s, &at);
    for (size_t i = 0; i < s->n; i++) {
        uint8_t *flags = &run->flags[s->items[i].state];
        *flags = (uint8_t)(*flags & ~VISITED);
        if (!alive && run->failure == KL_OK)
            *flags |= IS_DEAD;
    }
    for (; alive; at = s->items[at].parent) {
        run->flags[s->items[at].state] |= ALIVE;
        if (at == 0)
            break;
    }
    free(s);
}

/* A state that is known to be alive or dead, for one that may be either. */
static uint32_t settled(struct kl_regex_run *run, uint32_t state)
{
    if (run->failure == KL_OK && !is_settled(run, state))
        settle(run, state);
    if (run->failure != KL_OK || run->flags[state] & IS_DEAD)
        return KL_REGEX_DEAD;
    return state;
}

static uint32_t make_step(struct kl_regex_run *run, uint32_t state, uint8_t byte)
{
    uint32_t next = settled(run, raw_step(run, state, byte));
    if (run->failure == KL_OK)
        run->steps[state * run->regex->n_classes + run->regex->classes[byte]] = next;
    return next;
}

uint32_t kl_regex_run_step(struct kl_regex_run *run, uint32_t state, uint8_t byte)
{
    uint32_t next = run->steps[state * run->regex->n_classes + run->regex->classes[byte]];
    return next < UNSETTLED ? next : make_step(run, state, byte);
}

uint32_t kl_regex_run_start(struct kl_regex_run *run)
{
    return run->start;
}

bool kl_regex_run_accepts(const struct kl_regex_run *run, uint32_t state)
{
    return (run->flags[state] & ACCEPTS) != 0;
}

bool kl_regex_run_accepts_all(const struct kl_regex_run *run, uint32_t state)
{
    (void)run;
    return state == KL_REGEX_ALL;
}

bool kl_regex_run_stays(const struct kl_regex_run *run, uint32_t state)
{
    return (run->flags[state] & STAYS) != 0;
}

void kl_regex_run_count(struct kl_regex_run *run, uint64_t *work_left)
{
    run->work_left = work_left;
    for (size_t i = 0; i < KL_REGEX_MAX_LOOKS; i++)
        if (run->looks[i] != NULL)
            kl_regex_run_count(run->looks[i], work_left);
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
    add_state(run, 0, IS_DEAD, KL_REGEX_DEAD);
    add_state(run, 0, ALIVE | ACCEPTS | STAYS, KL_REGEX_ALL);
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
