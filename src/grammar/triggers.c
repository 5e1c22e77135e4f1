#include "grammar/triggers.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "grammar/trigger_search.h"

/* The last word of a state. In free text: the state of the search, and the other words are 0. In a
 * ruled part: RULED, the trigger, and how many bytes of the end text are there; the other words
 * are the state of the part's machine, or 0 once that is EXCLUDED by the end text. */
#define WORD          (KL_RULE_STATE_WORDS - 1)
#define RULED         (UINT32_C(1) << 31)
#define EXCLUDED      (UINT32_C(1) << 30)
#define TRIGGER_SHIFT 20
#define END_MASK      ((UINT32_C(1) << TRIGGER_SHIFT) - 1)

static_assert(KL_TRIGGERS_MAX <= 1 << (30 - TRIGGER_SHIFT), "a trigger fits into the word");

struct part {
    char *begin, *end;
    bool begin_is_ruled;
    struct kl_rule *rule;
};

struct triggers_rule {
    struct kl_rule rule;
    struct kl_trigger_search search;
    struct part parts[KL_TRIGGERS_MAX];
    size_t n;
};

/* A growth of a machine, to be undone by _release. */
struct growth {
    struct kl_machine *machine;
    size_t mark; /* before it */
};

struct triggers_machine {
    struct kl_machine machine;
    const struct triggers_rule *rule;
    struct kl_machine *machines[KL_TRIGGERS_MAX]; /* of each part; the same for the same rule */
    struct kl_rule_state begins[KL_TRIGGERS_MAX]; /* states before the first byte of the parts */
    struct growth *growths;
    size_t n_growths, room;
};

static struct triggers_machine *of(struct kl_machine *machine)
{
    return (struct triggers_machine *)machine;
}

/* ---- steps of a part ---- */

static size_t mark_of(struct kl_machine *machine)
{
    return machine->kind->mark == NULL ? 0 : machine->kind->mark(machine);
}

static bool add_growth(struct triggers_machine *m, struct kl_machine *machine, size_t mark)
{
    if (m->n_growths == m->room) {
        size_t room = m->room == 0 ? 64 : 2 * m->room;
        struct growth *growths = realloc(m->growths, room * sizeof *growths);
        if (growths == NULL) {
            kl_fail_memory(&m->machine.failure, "a machine with triggers", room * sizeof *growths);
            return false;
        }
        m->growths = growths;
        m->room = room;
    }
    m->growths[m->n_growths++] = (struct growth){machine, mark};
    return true;
}

/* After a call of a machine: takes its failure over, and remembers its growth. Growths are bounded
 * by the limits of the machines, since each one is memory of a machine. */
static bool keep_growth(struct triggers_machine *m, struct kl_machine *machine, size_t mark)
{
    if (machine->failure.status != KL_OK) {
        m->machine.failure = machine->failure;
        return false;
    }
    return mark_of(machine) == mark || add_growth(m, machine, mark);
}

static bool step_part(struct triggers_machine *m, size_t part, const struct kl_rule_state *from,
                      uint8_t byte, struct kl_rule_state *to)
{
    struct kl_machine *machine = m->machines[part];
    size_t mark = mark_of(machine);
    bool moved = machine->kind->step(machine, from, byte, to);
    return keep_growth(m, machine, mark) && moved;
}

static bool step_free(struct triggers_machine *m, uint32_t search, uint8_t byte,
                      struct kl_rule_state *to)
{
    int found;
    search = kl_trigger_search_step(&m->rule->search, search, byte, &found);
    if (found == KL_TRIGGER_NONE) {
        *to = (struct kl_rule_state){.words = {[WORD] = search}};
    } else {
        *to = m->begins[found];
        to->words[WORD] = RULED | (uint32_t)found << TRIGGER_SHIFT;
    }
    return true;
}

/* ---- the machine ---- */

static void close_machine(struct kl_machine *machine)
{
    struct triggers_machine *m = of(machine);
    for (size_t i = 0; i < m->rule->n; i++) {
        bool is_shared = false;
        for (size_t k = 0; k < i; k++)
            is_shared = is_shared || m->machines[k] == m->machines[i];
        if (!is_shared && m->machines[i] != NULL)
            m->machines[i]->kind->close(m->machines[i]);
    }
    free(m->growths);
    free(m);
}

static void begin(struct kl_machine *machine, struct kl_rule_state *state)
{
    uint32_t search = kl_trigger_search_start(&of(machine)->rule->search);
    *state = (struct kl_rule_state){.words = {[WORD] = search}};
}

static bool step(struct kl_machine *machine, const struct kl_rule_state *from, uint8_t byte,
                 struct kl_rule_state *to)
{
    struct triggers_machine *m = of(machine);
    uint32_t word = from->words[WORD];
    if (machine->failure.status != KL_OK)
        return false;
    if ((word & RULED) == 0)
        return step_free(m, word, byte, to);

    size_t trigger = (word & ~(RULED | EXCLUDED)) >> TRIGGER_SHIFT;
    uint32_t at_end = word & END_MASK, ended = 0;
    const char *end = m->rule->parts[trigger].end;
    struct kl_machine *part = m->machines[trigger];
    struct kl_rule_state inner = *from;
    inner.words[WORD] = 0;
    bool goes_on = (word & EXCLUDED) == 0;
    bool complete = goes_on && part->kind->is_complete(part, &inner);
    if (at_end > 0 && (uint8_t)end[at_end] == byte)
        ended = at_end + 1;
    else if (complete && end[0] != '\0' && (uint8_t)end[0] == byte)
        ended = 1;
    if (ended > 0 && end[ended] == '\0') {
        *to = (struct kl_rule_state){.words = {[WORD] = KL_TRIGGER_RESTART}};
        return true;
    }
    goes_on = goes_on && step_part(m, trigger, &inner, byte, &inner);
    if (machine->failure.status != KL_OK)
        return false;
    if (!goes_on && ended == 0)
        return complete && end[0] == '\0' && step_free(m, KL_TRIGGER_RESTART, byte, to);
    *to = goes_on ? inner : (struct kl_rule_state){.words = {0}};
    to->words[WORD] = RULED | (goes_on ? 0 : EXCLUDED) | (uint32_t)trigger << TRIGGER_SHIFT | ended;
    return true;
}

/* The machine of the part that a state is in, and the state of that; NULL: in free text, or only
 * the end text may follow. */
static struct kl_machine *part_of(struct triggers_machine *m, const struct kl_rule_state *state,
                                  size_t *trigger, struct kl_rule_state *inner)
{
    uint32_t word = state->words[WORD];
    if ((word & RULED) == 0 || (word & EXCLUDED) != 0)
        return NULL;
    *trigger = (word & ~RULED) >> TRIGGER_SHIFT;
    *inner = *state;
    inner->words[WORD] = 0;
    return m->machines[*trigger];
}

static bool is_complete(struct kl_machine *machine, const struct kl_rule_state *state)
{
    struct triggers_machine *m = of(machine);
    struct kl_rule_state inner;
    size_t trigger;
    if ((state->words[WORD] & RULED) == 0)
        return true;
    struct kl_machine *part = part_of(m, state, &trigger, &inner);
    return part != NULL && m->rule->parts[trigger].end[0] == '\0' &&
           part->kind->is_complete(part, &inner);
}

/* A string of the part, unless the end text may have begun. Its machine may make a state for what
 * follows the string. */
static bool free_string(struct kl_machine *machine, const struct kl_rule_state *state,
                        struct kl_free_string *string)
{
    struct triggers_machine *m = of(machine);
    struct kl_rule_state inner;
    size_t trigger;
    struct kl_machine *part = part_of(m, state, &trigger, &inner);
    if (part == NULL || part->kind->free_string == NULL || (state->words[WORD] & END_MASK) != 0 ||
        part->kind->is_complete(part, &inner))
        return false;
    size_t mark = mark_of(part);
    bool is_free = part->kind->free_string(part, &inner, string);
    string->after.words[WORD] = state->words[WORD];
    if (is_free && string->is_filtered)
        string->filter.words[WORD] = string->key.words[WORD] = state->words[WORD];
    return keep_growth(m, part, mark) && is_free;
}

static size_t mark(struct kl_machine *machine)
{
    return of(machine)->n_growths;
}

static void release(struct kl_machine *machine, size_t mark)
{
    struct triggers_machine *m = of(machine);
    while (m->n_growths > mark) {
        const struct growth *growth = &m->growths[--m->n_growths];
        growth->machine->kind->release(growth->machine, growth->mark);
    }
    for (size_t i = 0; i < m->rule->n; i++) /* of a trial without growth: it has ended, too */
        if (m->machines[i]->kind->release != NULL)
            m->machines[i]->kind->release(m->machines[i], mark_of(m->machines[i]));
}

static size_t bytes(const struct kl_machine *machine)
{
    const struct triggers_machine *m = (const struct triggers_machine *)machine;
    size_t sum = sizeof *m + m->room * sizeof *m->growths;
    for (size_t i = 0; i < m->rule->n; i++) {
        bool is_shared = false;
        for (size_t k = 0; k < i; k++)
            is_shared = is_shared || m->machines[k] == m->machines[i];
        sum += is_shared ? 0 : m->machines[i]->kind->bytes(m->machines[i]);
    }
    return sum;
}

static const struct kl_machine_kind machine_kind = {.close = close_machine,
                                                    .begin = begin,
                                                    .step = step,
                                                    .is_complete = is_complete,
                                                    .free_string = free_string,
                                                    .mark = mark,
                                                    .release = release,
                                                    .bytes = bytes};

/* Opens the machine of a part, and takes it to the state behind the trigger. */
static enum kl_status open_part(struct triggers_machine *m, size_t i, struct kl_error *err)
{
    const struct part *part = &m->rule->parts[i];
    enum kl_status status = KL_OK;
    for (size_t k = 0; k < i && m->machines[i] == NULL; k++)
        if (m->rule->parts[k].rule == part->rule)
            m->machines[i] = m->machines[k];
    if (m->machines[i] == NULL)
        status = part->rule->kind->open(part->rule, &m->machines[i], err);
    if (status != KL_OK) {
        m->machines[i] = NULL;
        return status;
    }
    struct kl_machine *machine = m->machines[i];
    machine->kind->begin(machine, &m->begins[i]);
    for (const char *c = part->begin; part->begin_is_ruled && *c != '\0'; c++) {
        if (machine->kind->step(machine, &m->begins[i], (uint8_t)*c, &m->begins[i]))
            continue;
        if (machine->failure.status != KL_OK)
            return kl_fail(err, machine->failure.status, "%s", machine->failure.text);
        return kl_fail(err, KL_ERR_INVALID,
                       "trigger '%s': expected its rule to begin with it, found one (%s) that does "
                       "not; take another trigger, or one that does not belong to the ruled part",
                       part->begin, part->rule->kind->name);
    }
    return KL_OK;
}

static enum kl_status open_machine(const struct kl_rule *rule, struct kl_machine **machine,
                                   struct kl_error *err)
{
    struct triggers_machine *m = calloc(1, sizeof *m);
    *machine = NULL;
    if (m == NULL)
        return kl_fail_memory(err, "a machine with triggers", sizeof *m);
    m->machine.kind = &machine_kind;
    m->rule = (const struct triggers_rule *)rule;
    for (size_t i = 0; i < m->rule->n; i++) {
        enum kl_status status = open_part(m, i, err);
        if (status != KL_OK) {
            close_machine(&m->machine);
            return status;
        }
    }
    *machine = &m->machine;
    return KL_OK;
}

/* ---- the rule ---- */

static void free_rule(struct kl_rule *rule)
{
    struct triggers_rule *r = (struct triggers_rule *)rule;
    for (size_t i = 0; i < r->n; i++) {
        free(r->parts[i].begin);
        free(r->parts[i].end);
        kl_rule_disown(r->parts[i].rule);
    }
    kl_trigger_search_free(&r->search);
    free(r);
}

static const struct kl_rule_kind triggers_kind = {"triggers", open_machine, free_rule};

static enum kl_status check(const struct kl_trigger *triggers, size_t n, struct kl_error *err)
{
    size_t bytes = 0;
    if (n == 0)
        return kl_fail(err, KL_ERR_INVALID, "triggers: expected at least one, found none");
    if (n > KL_TRIGGERS_MAX)
        return kl_fail(err, KL_ERR_LIMIT, "triggers: expected at most %d, found %zu",
                       KL_TRIGGERS_MAX, n);
    for (size_t i = 0; i < n; i++) {
        bytes += strlen(triggers[i].begin) + strlen(triggers[i].end);
        if (triggers[i].begin[0] == '\0')
            return kl_fail(err, KL_ERR_INVALID, "trigger %zu: expected a text, found none", i);
        if (triggers[i].only_first && strchr(" \t\r\n", triggers[i].begin[0]) != NULL)
            return kl_fail(err, KL_ERR_INVALID,
                           "trigger %zu: expected no whitespace first, since it is skipped at the "
                           "start of the answer, found some",
                           i);
        if (triggers[i].rule->kind == &triggers_kind)
            return kl_fail(err, KL_ERR_INVALID,
                           "trigger '%s': its rule has triggers itself; name all in one list",
                           triggers[i].begin);
        for (size_t k = 0; k < i; k++)
            if (triggers[k].only_first == triggers[i].only_first &&
                strcmp(triggers[k].begin, triggers[i].begin) == 0)
                return kl_fail(err, KL_ERR_INVALID,
                               "trigger '%s': expected each text once, found it twice",
                               triggers[i].begin);
    }
    if (bytes > KL_TRIGGERS_MAX_BYTES)
        return kl_fail(err, KL_ERR_LIMIT,
                       "triggers: their texts may have %d bytes in all, they have %zu",
                       KL_TRIGGERS_MAX_BYTES, bytes);
    return KL_OK;
}

static enum kl_status fill(struct triggers_rule *r, const struct kl_trigger *triggers, size_t n,
                           struct kl_error *err)
{
    struct kl_trigger_text texts[KL_TRIGGERS_MAX];
    for (; r->n < n; r->n++) {
        const struct kl_trigger *t = &triggers[r->n];
        struct part *part = &r->parts[r->n];
        texts[r->n] = (struct kl_trigger_text){t->begin, t->only_first};
        *part = (struct part){strdup(t->begin), strdup(t->end), t->begin_is_ruled,
                              kl_rule_hold(t->rule)};
        r->rule.n_states += t->rule->n_states;
        r->rule.bytes += t->rule->bytes;
        if (part->begin == NULL || part->end == NULL) {
            r->n++;
            return kl_fail_memory(err, "a trigger", strlen(t->begin) + strlen(t->end) + 2);
        }
    }
    enum kl_status status = kl_trigger_search_make(&r->search, texts, n, err);
    r->rule.bytes += sizeof *r + kl_trigger_search_bytes(&r->search);
    return status;
}

enum kl_status kl_triggers_rule(const struct kl_trigger *triggers, size_t n, struct kl_rule **rule,
                                struct kl_error *err)
{
    enum kl_status status = check(triggers, n, err);
    *rule = NULL;
    if (status != KL_OK)
        return status;
    struct triggers_rule *r = calloc(1, sizeof *r);
    if (r == NULL)
        return kl_fail_memory(err, "triggers", sizeof *r);
    kl_rule_init(&r->rule, &triggers_kind);
    status = fill(r, triggers, n, err);

    struct kl_machine *machine; /* tells whether the parts begin with their triggers */
    if (status == KL_OK)
        status = open_machine(&r->rule, &machine, err);
    if (status != KL_OK) {
        free_rule(&r->rule);
        return status;
    }
    close_machine(machine);
    *rule = &r->rule;
    return KL_OK;
}
