#include "grammar/calls_rule.h"

#include <stdlib.h>
#include <string.h>

#include "grammar/calls_parts.h"

/* Begins with what separates a call from the next one. */
static const char opening[] = "\n<tool_call>\n";
#define FIRST_OPENING 1 /* without the separator */
#define BEHIND_TAG    ((uint32_t)sizeof opening - 2)
static const char *const closings[] = {"\n</tool_call>", "\n```", ""};

/* ---- states ---------------------------------------------------------------------------------- */

static enum kl_calls_form form_of(const struct kl_rule_state *state)
{
    return (enum kl_calls_form)(state->words[KL_CALLS_WORD] >> KL_CALLS_FORM_SHIFT & 3);
}

static uint32_t number_of(const struct kl_rule_state *state)
{
    return state->words[KL_CALLS_WORD] & KL_CALLS_NUMBER;
}

static struct kl_rule_state plain_state(enum kl_calls_phase phase, enum kl_calls_form form,
                                        uint32_t number)
{
    return (struct kl_rule_state){.words = {[KL_CALLS_WORD] = kl_calls_word(phase, form, number)}};
}

static struct kl_rule_state free_state(const struct kl_call_opening *o)
{
    struct kl_rule_state state = plain_state(KL_CALLS_FREE, KL_CALLS_TAGGED, 0);
    state.words[0] = (uint32_t)o->step << 8 | (uint32_t)o->is_spread << 3 |
                     (uint32_t)o->is_first << 2 | (uint32_t)o->at_line_begin << 1 |
                     (uint32_t)o->is_fenced;
    state.words[1] = (uint32_t)o->place.at << 16 | o->place.len;
    return state;
}

static struct kl_call_opening opening_of(const struct kl_rule_state *state)
{
    uint32_t bits = state->words[0], place = state->words[1];
    return (struct kl_call_opening){.step = (uint8_t)(bits >> 8),
                                    .is_first = (bits & 4) != 0,
                                    .at_line_begin = (bits & 2) != 0,
                                    .is_fenced = (bits & 1) != 0,
                                    .is_spread = (bits & 8) != 0,
                                    .place = {(uint16_t)(place >> 16), (uint16_t)place}};
}

static struct kl_calls_machine *of(struct kl_machine *machine)
{
    return (struct kl_calls_machine *)machine;
}

/* ---- the machine ----------------------------------------------------------------------------- */

static void begin(struct kl_machine *machine, struct kl_rule_state *state)
{
    struct kl_calls_machine *m = of(machine);
    const struct kl_calls_of_rule *r = m->rule;
    struct kl_call_opening o;
    kl_call_opening_begin(&o);
    if (r->is_demanded && r->is_bare)
        kl_call_begin(m, KL_CALLS_BARE, state);
    else if (r->is_demanded)
        *state = plain_state(KL_CALLS_OPENING, KL_CALLS_TAGGED, FIRST_OPENING);
    else if (r->otherwise != NULL)
        *state = plain_state(KL_CALLS_EITHER, KL_CALLS_TAGGED, 0);
    else
        *state = free_state(&o);
}

static bool step_free(struct kl_calls_machine *m, const struct kl_rule_state *from, uint8_t byte,
                      struct kl_rule_state *to)
{
    const struct kl_texts *names = &m->rule->names;
    struct kl_call_opening o = opening_of(from);
    bool begins = o.is_first && (byte == '{' || byte == '`');
    enum kl_call_opened opened = kl_call_opening_step(names, &o, byte);
    if (m->rule->is_over) {
        *to = free_state(&o);
        return opened != KL_OPENED_TAG && !begins;
    }
    switch (opened) {
    case KL_OPENED_NOT:
        *to = free_state(&o);
        return true;
    case KL_OPENED_TAG:
        *to = plain_state(KL_CALLS_OPENING, KL_CALLS_TAGGED, BEHIND_TAG);
        return !m->rule->has_none;
    case KL_OPENED_FENCED:
        return kl_call_begin_named(m, KL_CALLS_FENCED, names->texts[o.place.at], o.is_spread, to);
    case KL_OPENED_BARE:
        return kl_call_begin_named(m, KL_CALLS_BARE, names->texts[o.place.at], o.is_spread, to);
    case KL_OPENED_WRONG:
        return false;
    }
    return false;
}

static bool step_otherwise(struct kl_calls_machine *m, const struct kl_rule_state *from,
                           uint8_t byte, struct kl_rule_state *to)
{
    struct kl_rule_state inner = kl_calls_inner(from);
    if (kl_calls_phase_of(from) == KL_CALLS_EITHER) {
        *to = plain_state(KL_CALLS_OPENING, KL_CALLS_TAGGED, FIRST_OPENING + 1);
        if (byte == (uint8_t)opening[FIRST_OPENING])
            return !m->rule->has_none && !m->rule->is_over;
        m->otherwise->kind->begin(m->otherwise, &inner);
    }
    bool moved = m->otherwise->kind->step(m->otherwise, &inner, byte, to);
    if (m->otherwise->failure.status != KL_OK)
        m->machine.failure = m->otherwise->failure;
    to->words[KL_CALLS_WORD] = kl_calls_word(KL_CALLS_OTHERWISE, KL_CALLS_TAGGED, 0);
    return moved;
}

static bool step_opening(struct kl_calls_machine *m, uint32_t read, uint8_t byte,
                         struct kl_rule_state *to)
{
    if ((uint8_t)opening[read] != byte)
        return false;
    *to = plain_state(KL_CALLS_OPENING, KL_CALLS_TAGGED, read + 1);
    if (opening[read + 1] == '\0')
        kl_call_begin(m, KL_CALLS_TAGGED, to);
    return true;
}

/* Behind a call: its closing text, or another call. A call between tags is followed by one, in
 * tags; in a fence, or bare, another object may begin in the next line. */
static bool step_closing(struct kl_calls_machine *m, const struct kl_rule_state *from,
                         uint32_t read, uint8_t byte, struct kl_rule_state *to)
{
    enum kl_calls_form form = form_of(from);
    uint32_t spread = from->words[KL_CALLS_WORD] & KL_CALLS_SPREAD;
    const char *closing = closings[form];
    *to = plain_state(KL_CALLS_CLOSING, form, spread | (read + 1));
    if (read < strlen(closing) && (uint8_t)closing[read] == byte)
        return true;
    if (m->rule->is_single)
        return false;
    if (form == KL_CALLS_TAGGED)
        return read == strlen(closing) && step_opening(m, 0, byte, to);
    if (form == KL_CALLS_BARE && read == 0)
        return byte == '\n';
    if (read != 1)
        return false;
    kl_call_begin(m, form, to);
    to->words[KL_CALLS_WORD] |= spread;
    return kl_call_step(m, to, byte, to);
}

static bool step_phase(struct kl_calls_machine *m, const struct kl_rule_state *from, uint8_t byte,
                       struct kl_rule_state *to)
{
    switch (kl_calls_phase_of(from)) {
    case KL_CALLS_FREE:
        return step_free(m, from, byte, to);
    case KL_CALLS_EITHER:
    case KL_CALLS_OTHERWISE:
        return step_otherwise(m, from, byte, to);
    case KL_CALLS_OPENING:
        return step_opening(m, number_of(from), byte, to);
    case KL_CALLS_IN_CALL:
        if (!kl_call_is_complete(m, from))
            return kl_call_step(m, from, byte, to);
        return step_closing(m, from, 0, byte, to);
    case KL_CALLS_CLOSING:
        return step_closing(m, from, number_of(from) & ~KL_CALLS_SPREAD, byte, to);
    }
    return false;
}

/* A byte that is refused leaves the state as it was. */
static bool step(struct kl_machine *machine, const struct kl_rule_state *from, uint8_t byte,
                 struct kl_rule_state *to)
{
    const struct kl_rule_state now = *from;
    bool moved = machine->failure.status == KL_OK && step_phase(of(machine), &now, byte, to) &&
                 machine->failure.status == KL_OK;
    if (!moved)
        *to = now;
    return moved;
}

static bool is_complete(struct kl_machine *machine, const struct kl_rule_state *state)
{
    struct kl_calls_machine *m = of(machine);
    struct kl_rule_state inner = kl_calls_inner(state);
    switch (kl_calls_phase_of(state)) {
    case KL_CALLS_FREE:
        return true;
    case KL_CALLS_EITHER:
        m->otherwise->kind->begin(m->otherwise, &inner);
        return m->otherwise->kind->is_complete(m->otherwise, &inner);
    case KL_CALLS_OTHERWISE:
        return m->otherwise->kind->is_complete(m->otherwise, &inner);
    case KL_CALLS_OPENING:
        return false;
    case KL_CALLS_IN_CALL:
        return form_of(state) == KL_CALLS_BARE && kl_call_is_complete(m, state);
    case KL_CALLS_CLOSING:
        return (number_of(state) & ~KL_CALLS_SPREAD) == strlen(closings[form_of(state)]);
    }
    return false;
}

/* The machine whose string may be free in a state; NULL: none. */
static struct kl_machine *string_machine(struct kl_calls_machine *m,
                                         const struct kl_rule_state *state)
{
    if (kl_calls_phase_of(state) == KL_CALLS_IN_CALL &&
        (state->words[KL_CALLS_WORD] & KL_CALLS_PLACE) == KL_CALLS_NOT_EXCLUDED)
        return m->call;
    return kl_calls_phase_of(state) == KL_CALLS_OTHERWISE ? m->otherwise : NULL;
}

static bool free_string(struct kl_machine *machine, const struct kl_rule_state *state,
                        struct kl_free_string *string)
{
    struct kl_machine *part = string_machine(of(machine), state);
    struct kl_rule_state inner = kl_calls_inner(state);
    if (part == NULL || part->kind->free_string == NULL ||
        !part->kind->free_string(part, &inner, string))
        return false;
    string->after.words[KL_CALLS_WORD] = state->words[KL_CALLS_WORD] & ~(7u << KL_CALLS_LAST_SHIFT);
    if (string->is_filtered)
        string->filter.words[KL_CALLS_WORD] = string->key.words[KL_CALLS_WORD] =
            state->words[KL_CALLS_WORD];
    return true;
}

static bool plain(struct kl_machine *machine, const struct kl_rule_state *state,
                  struct kl_rule_state *to)
{
    struct kl_machine *part = string_machine(of(machine), state);
    struct kl_rule_state inner = kl_calls_inner(state);
    if (part == NULL || part->kind->plain == NULL || !part->kind->plain(part, &inner, to))
        return false;
    to->words[KL_CALLS_WORD] = state->words[KL_CALLS_WORD];
    return true;
}

/* Of states in a free string, so a part's machine says whether. */
static bool closes(struct kl_machine *machine, const struct kl_rule_state *state)
{
    struct kl_machine *part = string_machine(of(machine), state);
    struct kl_rule_state inner = kl_calls_inner(state), behind;
    if (part->kind->closes != NULL)
        return part->kind->closes(part, &inner);
    return part->kind->step(part, &inner, '"', &behind);
}

/* Both machines grow; a mark has one half for each. Their memory is bounded far below that. */
#define HALF (sizeof(size_t) * 4)

static size_t mark_of(struct kl_machine *machine)
{
    return machine == NULL || machine->kind->mark == NULL ? 0 : machine->kind->mark(machine);
}

static void release_to(struct kl_machine *machine, size_t mark)
{
    if (machine != NULL && machine->kind->release != NULL)
        machine->kind->release(machine, mark);
}

static size_t mark(struct kl_machine *machine)
{
    return mark_of(of(machine)->otherwise) << HALF | mark_of(of(machine)->call);
}

static void release(struct kl_machine *machine, size_t mark)
{
    release_to(of(machine)->otherwise, mark >> HALF);
    release_to(of(machine)->call, mark & (((size_t)1 << HALF) - 1));
}

static size_t bytes(const struct kl_machine *machine)
{
    const struct kl_calls_machine *m = (const struct kl_calls_machine *)machine;
    return sizeof *m + m->call->kind->bytes(m->call) +
           (m->otherwise != NULL ? m->otherwise->kind->bytes(m->otherwise) : 0);
}

static void close_machine(struct kl_machine *machine)
{
    struct kl_calls_machine *m = of(machine);
    if (m->call != NULL)
        m->call->kind->close(m->call);
    if (m->otherwise != NULL)
        m->otherwise->kind->close(m->otherwise);
    free(m);
}

static const struct kl_machine_kind machine_kind = {.close = close_machine,
                                                    .begin = begin,
                                                    .step = step,
                                                    .is_complete = is_complete,
                                                    .free_string = free_string,
                                                    .mark = mark,
                                                    .release = release,
                                                    .bytes = bytes,
                                                    .plain = plain,
                                                    .closes = closes};

static enum kl_status open_machine(const struct kl_rule *rule, struct kl_machine **machine,
                                   struct kl_error *err)
{
    const struct kl_calls_of_rule *r = (const struct kl_calls_of_rule *)rule;
    struct kl_calls_machine *m = calloc(1, sizeof *m);
    *machine = NULL;
    if (m == NULL)
        return kl_fail_memory(err, "a machine of calls", sizeof *m);
    m->machine.kind = &machine_kind;
    m->rule = r;
    enum kl_status status = r->call->kind->open(r->call, &m->call, err);
    if (status == KL_OK && r->otherwise != NULL)
        status = r->otherwise->kind->open(r->otherwise, &m->otherwise, err);
    if (status == KL_OK)
        *machine = &m->machine;
    else
        close_machine(&m->machine);
    return status;
}

/* ---- the rule -------------------------------------------------------------------------------- */

static void free_texts(struct kl_texts *texts)
{
    for (size_t i = 0; i < texts->n; i++)
        free((char *)texts->texts[i]);
    free(texts->texts);
}

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static enum kl_status copy_texts(struct kl_texts *to, const char *const *texts, size_t n,
                                 size_t *bytes, struct kl_error *err)
{
    to->texts = calloc(n + 1, sizeof *to->texts);
    for (size_t i = 0; i < n && to->texts != NULL; i++) {
        to->texts[i] = strdup(texts[i]);
        if (to->texts[i] == NULL)
            break;
        *bytes += sizeof *to->texts + strlen(texts[i]) + 1;
        to->n++;
    }
    if (to->texts == NULL || to->n < n)
        return kl_fail_memory(err, "calls", n * sizeof *to->texts);
    qsort(to->texts, n, sizeof *to->texts, compare_texts);
    return KL_OK;
}

static void free_rule(struct kl_rule *rule)
{
    struct kl_calls_of_rule *r = (struct kl_calls_of_rule *)rule;
    kl_rule_disown(r->call);
    kl_rule_disown(r->otherwise);
    free_texts(&r->names);
    free_texts(&r->excluded);
    free(r->last);
    free(r);
}

static const struct kl_rule_kind calls_kind = {"calls", open_machine, free_rule};

static enum kl_status check(const struct kl_calls *calls, struct kl_error *err)
{
    if (calls->n_names == 0)
        return kl_fail(err, KL_ERR_INVALID, "calls: expected the name of a tool, found none");
    if (calls->n_names > KL_CALLS_MAX_NAMES)
        return kl_fail(err, KL_ERR_LIMIT, "calls: expected at most %d tools, found %zu",
                       KL_CALLS_MAX_NAMES, calls->n_names);
    for (size_t i = 0; i < calls->n_names; i++)
        if (strlen(calls->names[i]) > KL_CALLS_MAX_NAME)
            return kl_fail(err, KL_ERR_LIMIT,
                           "calls: expected a name of at most %d bytes, found one of %zu",
                           KL_CALLS_MAX_NAME, strlen(calls->names[i]));
    return KL_OK;
}

/* `otherwise` must not begin like a tag. */
static enum kl_status check_otherwise(const struct kl_calls_of_rule *r, struct kl_error *err)
{
    struct kl_machine *machine;
    struct kl_rule_state state;
    enum kl_status status = r->otherwise->kind->open(r->otherwise, &machine, err);
    if (status != KL_OK)
        return status;
    machine->kind->begin(machine, &state);
    if (machine->kind->step(machine, &state, '<', &state))
        status = kl_fail(err, KL_ERR_INVALID,
                         "the rule of the answer (%s) allows it to begin with '<', as a call does; "
                         "expected a rule that tells them apart",
                         r->otherwise->kind->name);
    machine->kind->close(machine);
    return status;
}

static enum kl_status fill(struct kl_calls_of_rule *r, const struct kl_calls *calls,
                           struct kl_error *err)
{
    const char *excluded[KL_CALLS_MAX_EXCLUDED];
    size_t n = 0, bytes = sizeof *r + r->call->bytes;
    for (size_t i = calls->n_excluded; i > 0 && n < KL_CALLS_MAX_EXCLUDED; i--) /* latest first */
        if (strlen(calls->excluded[i - 1]) <= KL_CALLS_MAX_TEXT)
            excluded[n++] = calls->excluded[i - 1];
    enum kl_status status = copy_texts(&r->names, calls->names, calls->n_names, &bytes, err);
    if (status == KL_OK)
        status = copy_texts(&r->excluded, excluded, n, &bytes, err);
    if (status != KL_OK)
        return status;
    r->last = calloc(n + 1, sizeof *r->last);
    if (r->last == NULL)
        return kl_fail_memory(err, "calls", n * sizeof *r->last);
    r->rule.bytes = bytes + n * sizeof *r->last + (r->otherwise ? r->otherwise->bytes : 0);
    r->rule.n_states = r->call->n_states + (r->otherwise ? r->otherwise->n_states : 0);
    if (r->otherwise != NULL)
        status = check_otherwise(r, err);
    return status == KL_OK && n > 0 ? kl_calls_exclude(r, err) : status;
}

enum kl_status kl_calls_rule(const struct kl_calls *calls, struct kl_rule **rule,
                             struct kl_error *err)
{
    *rule = NULL;
    enum kl_status status = check(calls, err);
    if (status != KL_OK)
        return status;
    struct kl_calls_of_rule *r = calloc(1, sizeof *r);
    if (r == NULL)
        return kl_fail_memory(err, "calls", sizeof *r);
    kl_rule_init(&r->rule, &calls_kind);
    r->call = kl_rule_hold(calls->call);
    r->otherwise =
        calls->otherwise != NULL && !calls->is_demanded ? kl_rule_hold(calls->otherwise) : NULL;
    r->is_demanded = calls->is_demanded;
    r->is_single = calls->is_single;
    r->is_bare = calls->is_bare;
    r->is_over = calls->is_over;
    status = fill(r, calls, err);
    if (status == KL_OK)
        *rule = &r->rule;
    else
        free_rule(&r->rule);
    return status;
}
