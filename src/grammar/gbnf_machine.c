#include "grammar/gbnf_machine.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "grammar/gbnf.h"
#include "grammar/gbnf_classes.h"

/* Two words in the store. at: an instruction, or IN_CLASS and an entry of the classes: inside a
 * character. */
struct place {
    uint32_t at, stack;
};
#define IN_CLASS (UINT32_C(1) << 31)

/* A growing list of places. */
struct places {
    struct place *items;
    size_t n, room;
};

struct gbnf_machine {
    struct kl_machine machine;
    const struct kl_gbnf_program *program;
    struct kl_word_store store;
    uint32_t start; /* the state before the first byte */

    /* Of the step that is being made. */
    struct places todo;    /* all places reached, in the order of their visit */
    struct places next;    /* those that wait for a byte: the new state */
    struct places calls;   /* at: a routine that is to be entered; stack: 0 */
    struct places returns; /* [calls.n] the place that each of these calls returns to */
    struct places stack;   /* that is being made */
    struct seen {
        struct place place;
        uint32_t step; /* in which it was seen */
    } * seen;          /* [n_seen] by probing */
    size_t n_seen;
    uint32_t step;

    uint64_t work; /* places visited since the last _release */
};

static bool fail_memory(struct gbnf_machine *m)
{
    kl_fail_memory(&m->machine.failure, "the machine of a grammar", kl_word_store_bytes(&m->store));
    return false;
}

static bool fail_limit(struct gbnf_machine *m, const char *what, unsigned long long limit)
{
    kl_fail(&m->machine.failure, KL_ERR_LIMIT,
            "grammar: it is too ambiguous or too large: it needs more than %llu %s; let fewer "
            "alternatives begin alike",
            limit, what);
    return false;
}

static bool add(struct gbnf_machine *m, struct places *list, struct place place)
{
    if (list->n == list->room) {
        if (list->n >= KL_GBNF_MAX_PLACES)
            return fail_limit(m, "places at one byte", KL_GBNF_MAX_PLACES);
        size_t room = list->room == 0 ? 64 : 2 * list->room;
        struct place *items = realloc(list->items, room * sizeof *items);
        if (items == NULL)
            return fail_memory(m);
        list->items = items;
        list->room = room;
    }
    list->items[list->n++] = place;
    return true;
}

static int compare(const void *a, const void *b)
{
    const struct place *x = a, *y = b;
    if (x->at != y->at)
        return x->at < y->at ? -1 : 1;
    return (x->stack > y->stack) - (x->stack < y->stack);
}

/* Sorts the places, drops equal ones and returns their entry of the store; 0: failed. */
static uint32_t intern(struct gbnf_machine *m, struct places *list)
{
    size_t n = 0;
    if (list->n > 1)
        qsort(list->items, list->n, sizeof *list->items, compare);
    for (size_t i = 0; i < list->n; i++)
        if (n == 0 || compare(&list->items[n - 1], &list->items[i]) != 0)
            list->items[n++] = list->items[i];
    list->n = n;
    uint32_t entry = kl_word_store_put(&m->store, &list->items[0].at, 2 * n);
    if (entry == 0 && m->store.failure == KL_ERR_LIMIT)
        fail_limit(m, "bytes for its states", KL_GBNF_MAX_MACHINE_BYTES);
    else if (entry == 0)
        fail_memory(m);
    return entry;
}

static size_t places_in(const struct gbnf_machine *m, uint32_t entry)
{
    size_t n;
    kl_word_store_get(&m->store, entry, &n);
    return n / 2;
}

static struct place place_of(const struct gbnf_machine *m, uint32_t entry, size_t i)
{
    size_t n;
    const uint32_t *words = kl_word_store_get(&m->store, entry, &n);
    return (struct place){words[2 * i], words[2 * i + 1]};
}

/* ---- the places that are reached without a byte ---- */

static bool grow_seen(struct gbnf_machine *m)
{
    size_t n_seen = m->n_seen == 0 ? 256 : 2 * m->n_seen;
    struct seen *seen = calloc(n_seen, sizeof *seen);
    if (seen == NULL)
        return fail_memory(m);
    free(m->seen);
    m->seen = seen;
    m->n_seen = n_seen;
    m->step = 1;
    for (size_t i = 0; i < m->todo.n; i++) {
        uint64_t hash = kl_hash64(&m->todo.items[i], sizeof m->todo.items[i], 0);
        size_t slot = hash & (n_seen - 1);
        while (seen[slot].step == m->step)
            slot = (slot + 1) & (n_seen - 1);
        seen[slot] = (struct seen){m->todo.items[i], m->step};
    }
    return true;
}

/* Adds a place to those of this step, unless it is there. */
static bool visit(struct gbnf_machine *m, uint32_t at, uint32_t stack)
{
    const struct kl_gbnf_instruction *code = m->program->code;
    while (at < IN_CLASS && code[at].op == KL_GBNF_JUMP)
        at = code[at].argument;
    struct place place = {at, stack};
    if (2 * m->todo.n >= m->n_seen && !grow_seen(m))
        return false;
    size_t slot = kl_hash64(&place, sizeof place, 0) & (m->n_seen - 1);
    for (; m->seen[slot].step == m->step; slot = (slot + 1) & (m->n_seen - 1))
        if (compare(&m->seen[slot].place, &place) == 0)
            return true;
    m->seen[slot] = (struct seen){place, m->step};
    if (++m->work > KL_GBNF_MAX_WORK)
        return fail_limit(m, "steps for one mask", KL_GBNF_MAX_WORK);
    return add(m, &m->todo, place);
}

static bool begin_step(struct gbnf_machine *m)
{
    m->todo.n = m->next.n = m->calls.n = m->returns.n = 0;
    if (++m->step == 0) {
        memset(m->seen, 0, m->n_seen * sizeof *m->seen);
        m->step = 1;
    }
    return m->machine.failure.status == KL_OK;
}

static bool visit_stack(struct gbnf_machine *m, uint32_t stack)
{
    size_t n = places_in(m, stack);
    for (size_t i = 0; i < n; i++) {
        struct place back = place_of(m, stack, i);
        if (!visit(m, back.at, back.stack))
            return false;
    }
    return true;
}

static bool add_call(struct gbnf_machine *m, uint32_t routine, uint32_t at, uint32_t stack)
{
    const struct kl_gbnf_instruction *code = m->program->code;
    while (code[at].op == KL_GBNF_JUMP)
        at = code[at].argument;
    return add(m, &m->calls, (struct place){routine, 0}) &&
           add(m, &m->returns, (struct place){at, stack});
}

static bool expand_call(struct gbnf_machine *m, struct place place)
{
    const struct kl_gbnf_instruction *call = &m->program->code[place.at];
    if (m->program->routines[call->argument].empty && !visit(m, place.at + 1, place.stack))
        return false;
    if (!call->last)
        return add_call(m, call->argument, place.at + 1, place.stack);
    size_t n = places_in(m, place.stack); /* it returns to where its caller returns */
    for (size_t i = 0; i < n; i++) {
        struct place back = place_of(m, place.stack, i);
        if (!add_call(m, call->argument, back.at, back.stack))
            return false;
    }
    return true;
}

static bool expand(struct gbnf_machine *m, struct place place)
{
    if (place.at >= IN_CLASS)
        return add(m, &m->next, place);
    const struct kl_gbnf_instruction *i = &m->program->code[place.at];
    switch ((enum kl_gbnf_op)i->op) {
    case KL_GBNF_END:
    case KL_GBNF_BYTE:
    case KL_GBNF_IN:
        return add(m, &m->next, place);
    case KL_GBNF_SPLIT:
        return visit(m, place.at + 1, place.stack) && visit(m, i->argument, place.stack);
    case KL_GBNF_CALL:
        return expand_call(m, place);
    case KL_GBNF_RETURN:
        return visit_stack(m, place.stack);
    case KL_GBNF_JUMP:
        break;
    }
    return true;
}

/* Enters the routine of the highest rank that was called: all its callers at this byte are known
 * then, so they become one stack. */
static bool enter_routine(struct gbnf_machine *m)
{
    const struct kl_gbnf_routine *routines = m->program->routines;
    uint32_t routine = m->calls.items[0].at;
    for (size_t i = 1; i < m->calls.n; i++)
        if (routines[m->calls.items[i].at].rank > routines[routine].rank)
            routine = m->calls.items[i].at;
    size_t kept = 0;
    m->stack.n = 0;
    for (size_t i = 0; i < m->calls.n; i++) {
        if (m->calls.items[i].at == routine) {
            if (!add(m, &m->stack, m->returns.items[i]))
                return false;
        } else {
            m->calls.items[kept] = m->calls.items[i];
            m->returns.items[kept++] = m->returns.items[i];
        }
    }
    m->work += m->calls.n;
    m->calls.n = m->returns.n = kept;
    uint32_t stack = intern(m, &m->stack);
    return stack != 0 && visit(m, routines[routine].start, stack);
}

/* Expands the places of this step, and returns the entry of the new state; 0: failed. */
static uint32_t finish_step(struct gbnf_machine *m)
{
    for (size_t done = 0; done < m->todo.n || m->calls.n > 0;) {
        if (!(done < m->todo.n ? expand(m, m->todo.items[done++]) : enter_routine(m)))
            return 0;
    }
    return intern(m, &m->next);
}

/* ---- the machine ---- */

static struct gbnf_machine *of(struct kl_machine *machine)
{
    return (struct gbnf_machine *)machine;
}

static void close_machine(struct kl_machine *machine)
{
    struct gbnf_machine *m = of(machine);
    free(m->todo.items);
    free(m->next.items);
    free(m->calls.items);
    free(m->returns.items);
    free(m->stack.items);
    free(m->seen);
    kl_word_store_free(&m->store);
    free(m);
}

static void begin(struct kl_machine *machine, struct kl_rule_state *state)
{
    *state = (struct kl_rule_state){.words = {of(machine)->start}};
}

/* Moves one place over the byte. false: failed; a byte that is not allowed moves nothing. */
static bool move(struct gbnf_machine *m, struct place place, uint8_t byte)
{
    uint32_t entry = place.at & ~IN_CLASS;
    bool in_class = place.at >= IN_CLASS;
    if (!in_class) {
        const struct kl_gbnf_instruction *i = &m->program->code[place.at];
        if (i->op != KL_GBNF_IN)
            return i->op != KL_GBNF_BYTE || i->argument != byte ||
                   visit(m, place.at + 1, place.stack);
        entry = i->argument;
    }
    uint32_t to = kl_class_step(&m->program->classes, entry, byte);
    if (to == KL_CLASS_NONE)
        return true;
    if (to == KL_CLASS_DONE)
        return in_class ? visit_stack(m, place.stack) : visit(m, place.at + 1, place.stack);
    if (!in_class) {
        m->stack.n = 0;
        if (!add(m, &m->stack, (struct place){place.at + 1, place.stack}))
            return false;
        place.stack = intern(m, &m->stack);
    }
    return place.stack != 0 && visit(m, IN_CLASS | to, place.stack);
}

static bool step(struct kl_machine *machine, const struct kl_rule_state *from, uint8_t byte,
                 struct kl_rule_state *to)
{
    struct gbnf_machine *m = of(machine);
    if (!begin_step(m))
        return false;
    size_t mark = kl_word_store_mark(&m->store), n = places_in(m, from->words[0]);
    m->work += n;
    for (size_t i = 0; i < n; i++)
        if (!move(m, place_of(m, from->words[0], i), byte))
            return false;
    if (m->todo.n == 0)
        return false;
    uint32_t state = finish_step(m);
    if (state == 0)
        return false;
    if (state < mark) /* an old state needs nothing new */
        kl_word_store_release(&m->store, mark);
    *to = (struct kl_rule_state){.words = {state}};
    return true;
}

static bool is_complete(struct kl_machine *machine, const struct kl_rule_state *state)
{
    return place_of(of(machine), state->words[0], 0).at == 0; /* END is the first place */
}

static size_t mark(struct kl_machine *machine)
{
    return kl_word_store_mark(&of(machine)->store);
}

static void release(struct kl_machine *machine, size_t mark)
{
    of(machine)->work = 0;
    kl_word_store_release(&of(machine)->store, mark);
}

static size_t bytes(const struct kl_machine *machine)
{
    const struct gbnf_machine *m = (const struct gbnf_machine *)machine;
    size_t places = m->todo.room + m->next.room + m->calls.room + m->returns.room + m->stack.room;
    return sizeof *m + places * sizeof(struct place) + m->n_seen * sizeof *m->seen +
           kl_word_store_bytes(&m->store);
}

static const struct kl_machine_kind kind = {.close = close_machine,
                                            .begin = begin,
                                            .step = step,
                                            .is_complete = is_complete,
                                            .mark = mark,
                                            .release = release,
                                            .bytes = bytes};

enum kl_status kl_gbnf_machine_open(const struct kl_gbnf_program *program,
                                    struct kl_machine **machine, struct kl_error *err)
{
    struct gbnf_machine *m = calloc(1, sizeof *m);
    *machine = NULL;
    if (m == NULL)
        return kl_fail_memory(err, "the machine of a grammar", sizeof *m);
    m->machine.kind = &kind;
    m->program = program;
    kl_word_store_init(&m->store, KL_GBNF_MAX_MACHINE_BYTES);

    /* The stack of the root returns to END. */
    if (begin_step(m) && add(m, &m->stack, (struct place){0, 0})) {
        uint32_t stack = intern(m, &m->stack);
        if (stack != 0 && visit(m, program->routines[0].start, stack))
            m->start = finish_step(m);
    }
    if (m->start == 0) {
        enum kl_status status =
            kl_fail(err, m->machine.failure.status, "%s", m->machine.failure.text);
        close_machine(&m->machine);
        return status;
    }
    *machine = &m->machine;
    return KL_OK;
}
