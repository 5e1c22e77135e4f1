#include "grammar/wrapped_rule.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define MAX_TEXT 64

/* The last word of a state is the number of bytes of the texts that were read; with all of
 * `before`, the other words are the state of the inner machine. */
#define READ (KL_RULE_STATE_WORDS - 1)

struct wrapped {
    struct kl_rule rule;
    struct kl_rule *inner;
    uint32_t n_before, n_all;
    char texts[2 * MAX_TEXT]; /* one behind the other */
};

struct wrapped_machine {
    struct kl_machine machine;
    const struct wrapped *rule;
    struct kl_machine *inner;
};

static bool is_inside(const struct wrapped_machine *m, const struct kl_rule_state *state)
{
    return state->words[READ] == m->rule->n_before;
}

/* The state of the inner machine in one of ours. */
static struct kl_rule_state inner_state(const struct kl_rule_state *state)
{
    struct kl_rule_state inner = *state;
    inner.words[READ] = 0;
    return inner;
}

static void enter(struct wrapped_machine *m, struct kl_rule_state *state)
{
    m->inner->kind->begin(m->inner, state);
    state->words[READ] = m->rule->n_before;
}

static void wrapped_begin(struct kl_machine *machine, struct kl_rule_state *state)
{
    struct wrapped_machine *m = (struct wrapped_machine *)machine;
    *state = (struct kl_rule_state){0};
    if (m->rule->n_before == 0)
        enter(m, state);
}

static bool wrapped_step(struct kl_machine *machine, const struct kl_rule_state *from, uint8_t byte,
                         struct kl_rule_state *to)
{
    struct wrapped_machine *m = (struct wrapped_machine *)machine;
    const struct wrapped *rule = m->rule;
    uint32_t read = from->words[READ];
    if (is_inside(m, from)) {
        struct kl_rule_state inner = inner_state(from);
        if (m->inner->kind->step(m->inner, &inner, byte, to)) {
            to->words[READ] = read;
            return true;
        }
        machine->failure = m->inner->failure;
        if (!m->inner->kind->is_complete(m->inner, &inner))
            return false;
    }
    if (read == rule->n_all || (uint8_t)rule->texts[read] != byte)
        return false;
    *to = (struct kl_rule_state){{[READ] = read + 1}};
    if (is_inside(m, to))
        enter(m, to);
    return machine->failure.status == KL_OK;
}

static bool wrapped_is_complete(struct kl_machine *machine, const struct kl_rule_state *state)
{
    struct wrapped_machine *m = (struct wrapped_machine *)machine;
    struct kl_rule_state inner = inner_state(state);
    if (state->words[READ] != m->rule->n_all)
        return false;
    return !is_inside(m, state) || m->inner->kind->is_complete(m->inner, &inner);
}

static bool wrapped_free_string(struct kl_machine *machine, const struct kl_rule_state *state,
                                struct kl_free_string *string)
{
    struct wrapped_machine *m = (struct wrapped_machine *)machine;
    struct kl_rule_state inner = inner_state(state);
    if (!is_inside(m, state) || m->inner->kind->free_string == NULL ||
        !m->inner->kind->free_string(m->inner, &inner, string))
        return false;
    string->after.words[READ] = m->rule->n_before;
    if (string->is_filtered)
        string->filter.words[READ] = string->key.words[READ] = m->rule->n_before;
    return true;
}

static bool wrapped_plain(struct kl_machine *machine, const struct kl_rule_state *state,
                          struct kl_rule_state *plain)
{
    struct wrapped_machine *m = (struct wrapped_machine *)machine;
    struct kl_rule_state inner = inner_state(state);
    if (!is_inside(m, state) || m->inner->kind->plain == NULL ||
        !m->inner->kind->plain(m->inner, &inner, plain))
        return false;
    plain->words[READ] = m->rule->n_before;
    return true;
}

/* Of states in a free string, so the inner machine says whether. */
static bool wrapped_closes(struct kl_machine *machine, const struct kl_rule_state *state)
{
    struct wrapped_machine *m = (struct wrapped_machine *)machine;
    struct kl_rule_state inner = inner_state(state), behind;
    if (m->inner->kind->closes != NULL)
        return m->inner->kind->closes(m->inner, &inner);
    return m->inner->kind->step(m->inner, &inner, '"', &behind);
}

static size_t wrapped_mark(struct kl_machine *machine)
{
    struct kl_machine *inner = ((struct wrapped_machine *)machine)->inner;
    return inner->kind->mark != NULL ? inner->kind->mark(inner) : 0;
}

static void wrapped_release(struct kl_machine *machine, size_t mark)
{
    struct kl_machine *inner = ((struct wrapped_machine *)machine)->inner;
    if (inner->kind->release != NULL)
        inner->kind->release(inner, mark);
}

static size_t wrapped_bytes(const struct kl_machine *machine)
{
    const struct wrapped_machine *m = (const struct wrapped_machine *)machine;
    return sizeof *m + m->inner->kind->bytes(m->inner);
}

static void wrapped_close(struct kl_machine *machine)
{
    struct wrapped_machine *m = (struct wrapped_machine *)machine;
    m->inner->kind->close(m->inner);
    free(m);
}

static const struct kl_machine_kind machine_kind = {.close = wrapped_close,
                                                    .begin = wrapped_begin,
                                                    .step = wrapped_step,
                                                    .is_complete = wrapped_is_complete,
                                                    .free_string = wrapped_free_string,
                                                    .mark = wrapped_mark,
                                                    .release = wrapped_release,
                                                    .bytes = wrapped_bytes,
                                                    .plain = wrapped_plain,
                                                    .closes = wrapped_closes};

static enum kl_status wrapped_open(const struct kl_rule *rule, struct kl_machine **machine,
                                   struct kl_error *err)
{
    const struct wrapped *wrapped = (const struct wrapped *)rule;
    struct wrapped_machine *m = calloc(1, sizeof *m);
    if (m == NULL)
        return kl_fail_memory(err, "a machine", sizeof *m);
    m->machine.kind = &machine_kind;
    m->rule = wrapped;
    enum kl_status status = wrapped->inner->kind->open(wrapped->inner, &m->inner, err);
    if (status == KL_OK)
        *machine = &m->machine;
    else
        free(m);
    return status;
}

static void wrapped_free(struct kl_rule *rule)
{
    struct wrapped *wrapped = (struct wrapped *)rule;
    kl_rule_disown(wrapped->inner);
    free(wrapped);
}

static const struct kl_rule_kind rule_kind = {"wrapped", wrapped_open, wrapped_free};

enum kl_status kl_wrapped_rule(const char *before, struct kl_rule *inner, const char *behind,
                               struct kl_rule **rule, struct kl_error *err)
{
    size_t n_before = strlen(before), n_behind = strlen(behind);
    assert(n_before <= MAX_TEXT && n_behind <= MAX_TEXT);
    struct wrapped *wrapped = calloc(1, sizeof *wrapped);
    if (wrapped == NULL) {
        kl_rule_disown(inner);
        return kl_fail_memory(err, "a rule", sizeof *wrapped);
    }
    kl_rule_init(&wrapped->rule, &rule_kind);
    wrapped->rule.n_states = inner->n_states + n_before + n_behind;
    wrapped->rule.bytes = sizeof *wrapped + inner->bytes;
    wrapped->inner = inner;
    wrapped->n_before = (uint32_t)n_before;
    wrapped->n_all = (uint32_t)(n_before + n_behind);
    memcpy(wrapped->texts, before, n_before);
    memcpy(wrapped->texts + n_before, behind, n_behind);
    *rule = &wrapped->rule;
    return KL_OK;
}
