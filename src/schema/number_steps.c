#include <stdlib.h>
#include <string.h>

#include "schema/schema_machine.h"

/* Longest text of a number whose value matters. For answers, the longest number: a sign, a point
 * and KL_NUMBER_MAX_DIGITS digits fit, so that a number which kl_number_can_begin lets begin can
 * also end. */
enum { MAX_NUMBER_BYTES = 1 << 20, MAX_ANSWER_BYTES = KL_NUMBER_MAX_DIGITS + 4 };

/* Reads the text of a number, which is a list of its bytes from the last one on. */
static const char *text_of(struct kl_schema_machine *m, uint32_t list, size_t len)
{
    if (len + 1 > m->number_room) {
        size_t room = len + 1 < 64 ? 64 : 2 * len;
        char *number = realloc(m->number, room);
        if (number == NULL) {
            kl_fail_memory(&m->base.failure, "a number", room);
            return NULL;
        }
        m->number = number;
        m->number_room = room;
    }
    m->number[len] = '\0';
    while (len > 0) {
        size_t n;
        const uint32_t *entry = kl_word_store_get(&m->store, list, &n);
        m->number[--len] = (char)entry[1];
        list = entry[0];
    }
    return m->number;
}

static bool matters(const struct kl_schema_machine *m, const struct kl_rule_state *s)
{
    uint32_t frame = s->words[S_FRAME];
    return kl_machine_link(m, s->words[S_LINK])->plan->judges_numbers ||
           (frame != 0 && (kl_frame(m, frame)[F_FLAGS] & KL_FRAME_HASHES) != 0);
}

static bool is_integer(const struct kl_schema_node *node, const char *text, size_t len)
{
    if (node->is_draft4)
        return strpbrk(text, ".eE") == NULL;
    return kl_number_is_integer(text, len);
}

static bool is_bad(const struct kl_schema_machine *m, const struct kl_schema_node *node,
                   const char *text, size_t len)
{
    if ((node->types & KL_JSON_NUMBER) != KL_JSON_NUMBER &&
        (node->types & (is_integer(node, text, len) ? KL_JSON_INTEGER : KL_JSON_FRACTION)) == 0)
        return true;
    if (node->bounds >= 0 && !kl_number_in_bounds(text, len, &m->graph->bounds[node->bounds]))
        return true;
    if (!node->has_numbers)
        return false;
    for (uint32_t i = 0; i < node->numbers.n; i++)
        if (kl_number_equals(text, len, &m->graph->numbers[node->numbers.first + i]))
            return false;
    return true;
}

/* The one text that an answer has for a number of a list: plain decimal. 0: it has none. */
static size_t decimal_text(const struct kl_decimal *d, char text[MAX_ANSWER_BYTES])
{
    int zeros = d->exponent > 0 ? d->exponent : 0;
    int point = d->exponent < 0 ? d->n + d->exponent : d->n + zeros; /* digits before the point */
    int leading = point < 1 ? 1 - point : 0, n = 0;
    if (d->n == 0)
        return (size_t)(text[0] = '0', 1);
    if (d->exponent > MAX_ANSWER_BYTES || d->exponent < -MAX_ANSWER_BYTES ||
        d->n + zeros + leading + 2 > MAX_ANSWER_BYTES)
        return 0;
    if (d->negative)
        text[n++] = '-';
    for (int i = -leading; i < d->n + zeros; i++) {
        if (i == (point < 1 ? -leading + 1 : point) && d->exponent < 0)
            text[n++] = '.';
        text[n++] = (char)('0' + (i >= 0 && i < d->n ? d->digits[i] : 0));
    }
    return (size_t)n;
}

/* Whether a number that begins like this cannot become one that the node allows. */
static bool cannot_become(const struct kl_schema_machine *m, const struct kl_schema_node *node,
                          const char *text, size_t len)
{
    static const struct kl_number_bounds none = {0};
    uint8_t types = node->types & KL_JSON_NUMBER;
    if (node->has_numbers) {
        for (uint32_t i = 0; i < node->numbers.n; i++) {
            char all[MAX_ANSWER_BYTES];
            size_t n = decimal_text(&m->graph->numbers[node->numbers.first + i], all);
            if (len <= n && memcmp(all, text, len) == 0)
                return false;
        }
        return true;
    }
    return types == 0 || !kl_number_can_begin(
                             text, len, node->bounds < 0 ? &none : &m->graph->bounds[node->bounds],
                             types == KL_JSON_INTEGER);
}

/* For answers: whether the document stays alive with a number that begins like this. */
static bool lives(struct kl_schema_machine *m, const struct kl_rule_state *s)
{
    const struct kl_link *link = kl_machine_link(m, s->words[S_LINK]);
    const struct kl_plan *plan = link->plan;
    size_t len = s->words[S_LENGTH];
    const char *text = text_of(m, s->words[S_ATOMS], len);
    if (text == NULL)
        return false;
    for (uint32_t i = 0; i < plan->n_nodes; i++)
        m->bad[i] = cannot_become(m, plan->nodes[i].node, text, len);
    kl_plan_dead(plan, m->bad, m->bad);
    bool any = false;
    for (uint32_t i = 0; i < plan->n_demanded; i++) {
        m->next[i] = m->bad[plan->demanded[i]];
        any = any || m->next[i];
    }
    return !any || !kl_value_dies(m, s->words[S_FRAME], link, m->next);
}

/* ---- syntax ---------------------------------------------------------------------------------- */

/* The phase behind one more byte of a number; KL_PHASE_AFTER: it is not part of the number, which
 * ends before it if it may. KL_PHASE_VALUE: before the first byte. */
static enum kl_phase next_phase(uint32_t phase, uint8_t byte)
{
    bool digit = byte >= '0' && byte <= '9';
    switch (phase) {
    case KL_PHASE_VALUE:
        if (byte == '-')
            return KL_PHASE_MINUS;
        return byte == '0' ? KL_PHASE_ZERO : digit ? KL_PHASE_DIGITS : KL_PHASE_AFTER;
    case KL_PHASE_MINUS:
        return byte == '0' ? KL_PHASE_ZERO : digit ? KL_PHASE_DIGITS : KL_PHASE_AFTER;
    case KL_PHASE_DIGITS:
        if (digit)
            return KL_PHASE_DIGITS;
        /* fall through */
    case KL_PHASE_ZERO:
        return byte == '.'                  ? KL_PHASE_POINT
               : byte == 'e' || byte == 'E' ? KL_PHASE_E
                                            : KL_PHASE_AFTER;
    case KL_PHASE_POINT:
        return digit ? KL_PHASE_FRACTION : KL_PHASE_AFTER;
    case KL_PHASE_FRACTION:
        return digit ? KL_PHASE_FRACTION : byte == 'e' || byte == 'E' ? KL_PHASE_E : KL_PHASE_AFTER;
    case KL_PHASE_E:
        return byte == '+' || byte == '-' ? KL_PHASE_E_SIGN
               : digit                    ? KL_PHASE_EXPONENT
                                          : KL_PHASE_AFTER;
    default: /* KL_PHASE_E_SIGN, KL_PHASE_EXPONENT */
        return digit ? KL_PHASE_EXPONENT : KL_PHASE_AFTER;
    }
}

bool kl_number_step(struct kl_schema_machine *m, const struct kl_rule_state *from, uint8_t byte,
                    struct kl_rule_state *to)
{
    enum kl_phase phase = next_phase(from->words[S_PHASE], byte);
    *to = *from;
    to->words[S_PHASE] = phase;
    if (phase == KL_PHASE_AFTER)
        return false;
    if (m->answers && (phase == KL_PHASE_E || to->words[S_LENGTH] == MAX_ANSWER_BYTES ||
                       (phase == KL_PHASE_POINT && to->words[S_LENGTH] + 1 == MAX_ANSWER_BYTES)))
        return false;
    bool in_text = matters(m, from);
    if (!in_text && !m->answers)
        return true;
    if (++to->words[S_LENGTH] > MAX_NUMBER_BYTES)
        return false;
    if (!in_text)
        return true;
    uint32_t entry[] = {from->words[S_ATOMS], byte};
    to->words[S_ATOMS] = kl_word_store_put(&m->store, entry, 2);
    if (to->words[S_ATOMS] == 0)
        return kl_schema_machine_fail(m);
    return !m->answers || lives(m, to);
}

bool kl_number_end(struct kl_schema_machine *m, const struct kl_rule_state *from,
                   struct kl_rule_state *to)
{
    const struct kl_link *link = kl_machine_link(m, from->words[S_LINK]);
    const struct kl_plan *plan = link->plan;
    uint32_t phase = from->words[S_PHASE];
    uint64_t hash = 0;
    if (phase != KL_PHASE_ZERO && phase != KL_PHASE_DIGITS && phase != KL_PHASE_FRACTION &&
        phase != KL_PHASE_EXPONENT)
        return false;
    if (matters(m, from)) {
        size_t len = from->words[S_LENGTH];
        const char *text = text_of(m, from->words[S_ATOMS], len);
        if (text == NULL)
            return false;
        hash = kl_number_hash(text, len);
        for (uint32_t i = 0; i < plan->n_nodes; i++)
            m->bad[i] = is_bad(m, plan->nodes[i].node, text, len);
    } else {
        for (uint32_t i = 0; i < plan->n_nodes; i++)
            m->bad[i] = (plan->nodes[i].node->types & KL_JSON_NUMBER) == 0;
    }
    return kl_value_end(m, from->words[S_FRAME], link, hash, to);
}
