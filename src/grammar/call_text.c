#include <string.h>

#include "grammar/calls_parts.h"

/* The last part of a call over several lines. END: of a scalar, by whitespace. */
enum last { SIGN, SCALAR, STRING, ESCAPE, END };

/* Whether the byte is the one of an excluded call that is refused. */
static bool is_refused(const struct kl_calls_of_rule *r, struct kl_texts_place place, uint8_t byte)
{
    const char *first = r->excluded.texts[place.at];
    for (size_t i = place.at; i < r->excluded.n; i++) {
        const char *text = r->excluded.texts[i];
        if (strncmp(text, first, place.len) != 0)
            break;
        if (r->last[i] == place.len && (uint8_t)text[place.len] == byte)
            return true;
    }
    return false;
}

/* A byte of a call as its rule writes it. */
static bool step_call(struct kl_calls_machine *m, const struct kl_rule_state *from, uint8_t byte,
                      struct kl_rule_state *to)
{
    struct kl_rule_state inner = kl_calls_inner(from);
    uint32_t word = from->words[KL_CALLS_WORD], number = word & KL_CALLS_PLACE;
    if (number != KL_CALLS_NOT_EXCLUDED) {
        struct kl_texts_place place = {(uint16_t)(number >> KL_CALLS_AT_SHIFT),
                                       (uint16_t)(number & ((1u << KL_CALLS_AT_SHIFT) - 1))};
        if (is_refused(m->rule, place, byte))
            return false;
        number = kl_texts_step(&m->rule->excluded, &place, byte)
                     ? (uint32_t)place.at << KL_CALLS_AT_SHIFT | place.len
                     : KL_CALLS_NOT_EXCLUDED;
    }
    bool moved = m->call->kind->step(m->call, &inner, byte, to);
    if (m->call->failure.status != KL_OK)
        m->machine.failure = m->call->failure;
    to->words[KL_CALLS_WORD] = (word & ~KL_CALLS_PLACE) | number;
    return moved;
}

/* Returns the last part after one more byte, which is no whitespace. */
static enum last last_with(enum last last, uint8_t byte)
{
    if (last == ESCAPE)
        return STRING;
    if (last == STRING)
        return byte == '\\' ? ESCAPE : byte == '"' ? SIGN : STRING;
    if (byte == '"')
        return STRING;
    return strchr(",:{}[]", byte) != NULL ? SIGN : SCALAR;
}

/* Whether a scalar is whole: what follows one may follow. */
static bool may_end(struct kl_calls_machine *m, const struct kl_rule_state *state)
{
    struct kl_rule_state to;
    return step_call(m, state, ',', &to) || step_call(m, state, '}', &to) ||
           step_call(m, state, ']', &to);
}

/* A byte of a call that is written over several lines: whitespace may be a line break and spaces,
 * and the rule gets its own instead. */
static bool step_spread(struct kl_calls_machine *m, const struct kl_rule_state *from, uint8_t byte,
                        struct kl_rule_state *to)
{
    uint32_t word = from->words[KL_CALLS_WORD],
             spaces = word >> KL_CALLS_SPACES_SHIFT & KL_CALLS_SPACES_MAX;
    enum last last = (enum last)(word >> KL_CALLS_LAST_SHIFT & 7);
    bool in_string = last == STRING || last == ESCAPE;
    uint32_t others =
        word & ~(KL_CALLS_SPACES_MAX << KL_CALLS_SPACES_SHIFT | 7u << KL_CALLS_LAST_SHIFT);
    if (!in_string && (byte == ' ' || byte == '\n')) {
        if (last == SCALAR && !may_end(m, from))
            return false;
        last = last == SCALAR ? END : last;
        *to = *from;
        to->words[KL_CALLS_WORD] =
            others | (spaces + 1) << KL_CALLS_SPACES_SHIFT | (uint32_t)last << KL_CALLS_LAST_SHIFT;
        return spaces < KL_CALLS_SPACES_MAX && (byte == ' ' || spaces == 0);
    }
    enum last next = last_with(last, byte);
    if (byte == '\0' || (last == END && next != SIGN) || !step_call(m, from, byte, to))
        return false;
    struct kl_rule_state spaced;
    if (!in_string && (byte == ',' || byte == ':') && step_call(m, to, ' ', &spaced))
        *to = spaced;
    uint32_t place = to->words[KL_CALLS_WORD] & KL_CALLS_PLACE;
    to->words[KL_CALLS_WORD] =
        (others & ~KL_CALLS_PLACE) | place | (uint32_t)next << KL_CALLS_LAST_SHIFT;
    return true;
}

bool kl_call_step(struct kl_calls_machine *m, const struct kl_rule_state *from, uint8_t byte,
                  struct kl_rule_state *to)
{
    return (from->words[KL_CALLS_WORD] & KL_CALLS_SPREAD) != 0 ? step_spread(m, from, byte, to)
                                                               : step_call(m, from, byte, to);
}

void kl_call_begin(struct kl_calls_machine *m, enum kl_calls_form form, struct kl_rule_state *to)
{
    m->call->kind->begin(m->call, to);
    to->words[KL_CALLS_WORD] =
        kl_calls_word(KL_CALLS_IN_CALL, form, m->rule->excluded.n == 0 ? KL_CALLS_NOT_EXCLUDED : 0);
}

/* Begins a call, and takes it past its name. */
bool kl_call_begin_named(struct kl_calls_machine *m, enum kl_calls_form form, const char *name,
                         bool is_spread, struct kl_rule_state *to)
{
    static const char before[] = "{\"name\": ";
    bool moved = true;
    kl_call_begin(m, form, to);
    for (const char *c = before; *c != '\0' && moved; c++)
        moved = step_call(m, to, (uint8_t)*c, to);
    for (const char *c = name; *c != '\0' && moved; c++)
        moved = step_call(m, to, (uint8_t)*c, to);
    to->words[KL_CALLS_WORD] |=
        is_spread ? KL_CALLS_SPREAD | (uint32_t)SIGN << KL_CALLS_LAST_SHIFT : 0;
    return moved;
}

bool kl_call_is_complete(struct kl_calls_machine *m, const struct kl_rule_state *state)
{
    struct kl_rule_state inner = kl_calls_inner(state);
    return kl_calls_phase_of(state) == KL_CALLS_IN_CALL &&
           m->call->kind->is_complete(m->call, &inner);
}
