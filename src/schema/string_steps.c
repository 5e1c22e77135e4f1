#include <stdlib.h>
#include <string.h>

#include "schema/string_atoms.h"

/* Behind the phase and KL_IN_KEY, S_PHASE holds for escapes: how many hex digits were read, their
 * value, and the first half of a surrogate pair, less 0xD800 (0: none; so halves are stored plus
 * 1).
 */
enum { DIGITS_SHIFT = 7, VALUE_SHIFT = 9, PAIR_SHIFT = 21 };

static void set_phase(struct kl_rule_state *s, uint32_t phase)
{
    s->words[S_PHASE] = phase | (s->words[S_PHASE] & KL_IN_KEY);
}

/* ---- automata -------------------------------------------------------------------------------- */

static bool reserve_tuple(struct kl_schema_machine *m, size_t n)
{
    if (n <= m->tuple_room)
        return true;
    uint32_t *tuple = realloc(m->tuple, n * sizeof *tuple);
    if (tuple == NULL)
        return false;
    m->tuple = tuple;
    m->tuple_room = n;
    return true;
}

/* Makes m->tuple, [atoms->n], the word of a state. */
static bool store_tuple(struct kl_schema_machine *m, const struct kl_string_atoms *atoms,
                        struct kl_rule_state *s)
{
    s->words[S_ATOMS] = atoms->n == 0   ? 0
                        : atoms->n == 1 ? m->tuple[0]
                                        : kl_word_store_put(&m->store, m->tuple, atoms->n);
    return atoms->n < 2 || s->words[S_ATOMS] != 0 || kl_schema_machine_fail(m);
}

bool kl_string_begin(struct kl_schema_machine *m, struct kl_rule_state *s)
{
    const struct kl_string_atoms *atoms = kl_string_atoms_of(m, s);
    if (!reserve_tuple(m, atoms->n))
        return kl_schema_machine_fail(m);
    for (uint32_t i = 0; i < atoms->n; i++) {
        const struct kl_string_atom *atom = &atoms->atoms[i];
        m->tuple[i] = 0; /* the root of a set */
        if (atom->kind != KL_ATOM_REGEX)
            continue;
        struct kl_regex_run *run = kl_machine_run(m, atom->index);
        if (run == NULL)
            return false;
        m->tuple[i] = kl_regex_run_start(run);
    }
    return store_tuple(m, atoms, s);
}

static bool keeps_order(const struct kl_item_order *order, const struct kl_string_set_node *node)
{
    return node->n > 0 && node->first <= order->most && node->first + node->n > order->least;
}

/* Steps all automata by the bytes of (a part of) a character; *died: one of them died now. The
 * names of properties do not die: another name may be there. */
static bool feed(struct kl_schema_machine *m, struct kl_rule_state *s, const uint8_t *bytes,
                 size_t n, bool *died)
{
    const struct kl_string_atoms *atoms = kl_string_atoms_of(m, s);
    if (atoms->n == 0)
        return true;
    const uint32_t *words = kl_string_words(m, atoms, s);
    struct kl_item_order order = kl_item_order(m, s);
    for (uint32_t i = 0; i < atoms->n; i++) {
        const struct kl_string_atom *atom = &atoms->atoms[i];
        uint32_t word = words[i];
        for (size_t k = 0; k < n; k++)
            word = atom->kind == KL_ATOM_REGEX
                       ? kl_regex_run_step(m->runs[atom->index], word, bytes[k])
                       : kl_string_set_step(kl_string_set_of(m, s, atom), word, bytes[k]);
        if (order.applies && word != KL_STRING_SET_DEAD &&
            !keeps_order(&order, &kl_string_set_of(m, s, atom)->nodes[word]))
            word = KL_STRING_SET_DEAD;
        *died = *died || (atom->kind != KL_ATOM_KEYS && kl_atom_is_dead(atom, word) &&
                          !kl_atom_is_dead(atom, words[i]));
        m->tuple[i] = word;
        if (atom->kind == KL_ATOM_REGEX && word == KL_REGEX_DEAD &&
            kl_regex_run_failure(m->runs[atom->index]) != KL_OK) {
            kl_fail(&m->base.failure, kl_regex_run_failure(m->runs[atom->index]),
                    "a pattern of the schema needs too many states or too much time for this text; "
                    "use fewer counted repetitions");
            return false;
        }
    }
    return store_tuple(m, atoms, s);
}

bool kl_string_lives(struct kl_schema_machine *m, const struct kl_rule_state *s, bool died)
{
    const struct kl_string_atoms *atoms = kl_string_atoms_of(m, s);
    if (kl_in_key(s))
        return kl_name_lives(m, s);
    if (!died && !atoms->counts)
        return true;
    const struct kl_link *link = kl_machine_link(m, s->words[S_LINK]);
    const struct kl_plan *plan = link->plan;
    kl_string_judge(m, plan, kl_string_words(m, atoms, s), s->words[S_LENGTH], false);
    kl_plan_dead(plan, m->bad, m->bad);
    bool any = false;
    for (uint32_t i = 0; i < plan->n_demanded; i++) {
        m->next[i] = m->bad[plan->demanded[i]];
        any = any || m->next[i];
    }
    return !any || !kl_value_dies(m, s->words[S_FRAME], link, m->next);
}

/* Appends bytes to the string: part of a character, the first part if begins. */
static bool append(struct kl_schema_machine *m, struct kl_rule_state *s, const uint8_t *bytes,
                   size_t n, bool begins)
{
    const struct kl_string_atoms *atoms = kl_string_atoms_of(m, s);
    bool died = false;
    if (begins && atoms->counts && s->words[S_LENGTH] < atoms->cap)
        s->words[S_LENGTH]++; /* not if it is KL_UNCOUNTED */
    if (kl_string_hashes(m, s) && s->words[S_LENGTH] != KL_UNCOUNTED) {
        uint64_t hash = kl_string_hash(s);
        bool keeps_list = kl_in_key(s) && s->words[S_LINK] != KL_NO_LIST &&
                          kl_frame_plan(m, s->words[S_FRAME])->names_run_out;
        for (size_t i = 0; i < n; i++) {
            hash = kl_string_hash_add(hash, bytes[i]);
            if (keeps_list && (s->words[S_LINK] = kl_hashes_add(m, s->words[S_LINK], hash)) == 0)
                return kl_schema_machine_fail(m);
        }
        s->words[S_HASH_LOW] = (uint32_t)hash;
        s->words[S_HASH_HIGH] = (uint32_t)(hash >> 32);
    }
    return feed(m, s, bytes, n, &died) && kl_string_lives(m, s, died);
}

/* ---- characters ------------------------------------------------------------------------------ */

static bool append_code(struct kl_schema_machine *m, struct kl_rule_state *s, uint32_t code)
{
    uint8_t utf8[4];
    size_t n = 0;
    if (code < 0x80) {
        utf8[n++] = (uint8_t)code;
    } else if (code < 0x800) {
        utf8[n++] = (uint8_t)(0xC0 | code >> 6);
    } else if (code < 0x10000) {
        utf8[n++] = (uint8_t)(0xE0 | code >> 12);
        utf8[n++] = (uint8_t)(0x80 | (code >> 6 & 0x3F));
    } else {
        utf8[n++] = (uint8_t)(0xF0 | code >> 18);
        utf8[n++] = (uint8_t)(0x80 | (code >> 12 & 0x3F));
        utf8[n++] = (uint8_t)(0x80 | (code >> 6 & 0x3F));
    }
    if (code >= 0x80)
        utf8[n++] = (uint8_t)(0x80 | (code & 0x3F));
    set_phase(s, KL_PHASE_STRING);
    return append(m, s, utf8, n, true);
}

static bool step_utf8(struct kl_schema_machine *m, struct kl_rule_state *s, uint8_t byte)
{
    uint32_t phase = kl_string_phase(s), next = KL_PHASE_STRING;
    uint8_t low = 0x80, high = 0xBF;
    switch (phase) {
    case KL_PHASE_UTF8_2:
        next = KL_PHASE_UTF8_1;
        break;
    case KL_PHASE_UTF8_3:
        next = KL_PHASE_UTF8_2;
        break;
    case KL_PHASE_UTF8_E0:
        low = 0xA0;
        next = KL_PHASE_UTF8_1;
        break;
    case KL_PHASE_UTF8_ED:
        high = 0x9F;
        next = KL_PHASE_UTF8_1;
        break;
    case KL_PHASE_UTF8_F0:
        low = 0x90;
        next = KL_PHASE_UTF8_2;
        break;
    case KL_PHASE_UTF8_F4:
        high = 0x8F;
        next = KL_PHASE_UTF8_2;
        break;
    default:
        break;
    }
    if (byte < low || byte > high)
        return false;
    set_phase(s, next);
    return append(m, s, &byte, 1, false);
}

static bool step_character(struct kl_schema_machine *m, struct kl_rule_state *s, uint8_t byte)
{
    uint32_t next = KL_PHASE_STRING;
    if (byte < 0x20)
        return false;
    if (byte >= 0x80) {
        if (byte < 0xC2 || byte > 0xF4)
            return false;
        next = byte < 0xE0    ? KL_PHASE_UTF8_1
               : byte == 0xE0 ? KL_PHASE_UTF8_E0
               : byte == 0xED ? KL_PHASE_UTF8_ED
               : byte < 0xF0  ? KL_PHASE_UTF8_2
               : byte == 0xF0 ? KL_PHASE_UTF8_F0
               : byte == 0xF4 ? KL_PHASE_UTF8_F4
                              : KL_PHASE_UTF8_3;
    }
    set_phase(s, next);
    return append(m, s, &byte, 1, true);
}

/* ---- escapes --------------------------------------------------------------------------------- */

/* The character that a backslash and this one stand for; 0: none. */
static uint8_t short_escape(uint8_t byte)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    const char *at = byte == 0 ? NULL : strchr(from, byte);
    return at == NULL ? 0 : (uint8_t)to[at - from];
}

/* Whether an answer writes this character as an escape where the characters of the string are
 * limited: only those that cannot be written otherwise, so that the text of a name or of an enum is
 * a single one. */
static bool needs_escape(uint32_t code)
{
    return code < 0x20 || code == '"' || code == '\\';
}

bool kl_string_is_limited(struct kl_schema_machine *m, const struct kl_rule_state *s)
{
    if (!m->answers)
        return false;
    if (!kl_in_key(s))
        return kl_string_atoms_of(m, s)->n > 0;
    const struct kl_name_gate *gate = kl_name_gate(m, s->words[S_FRAME]);
    return gate == NULL || !gate->other || kl_name_is_doubtful(m, s);
}

static bool escape_lives(struct kl_schema_machine *m, const struct kl_rule_state *s, uint32_t code)
{
    struct kl_rule_state trial = *s;
    size_t mark = kl_word_store_mark(&m->store);
    bool alive = needs_escape(code) && append_code(m, &trial, code);
    kl_word_store_release(&m->store, mark);
    return alive;
}

/* Whether a backslash may come: some character that needs an escape may. */
static bool some_escape_lives(struct kl_schema_machine *m, const struct kl_rule_state *s)
{
    for (uint32_t code = 0; code <= '\\'; code++)
        if (escape_lives(m, s, code))
            return true;
    return false;
}

/* Whether the string may have one more character, whichever it is. */
static bool is_not_full(struct kl_schema_machine *m, const struct kl_rule_state *s)
{
    const struct kl_string_atoms *atoms = kl_string_atoms_of(m, s);
    struct kl_rule_state longer = *s;
    if (!atoms->counts || s->words[S_LENGTH] >= atoms->cap)
        return true;
    longer.words[S_LENGTH]++;
    return kl_string_lives(m, &longer, false);
}

/* Where characters are limited, \u is only for control characters without a short escape. */
static bool hex_lives(struct kl_schema_machine *m, const struct kl_rule_state *s, uint32_t value,
                      uint32_t n_digits)
{
    uint32_t shift = 4 * (4 - n_digits);
    for (uint32_t code = 0; code < 0x20; code++) {
        bool has_short = code != 0 && strchr("\b\f\n\r\t", (int)code) != NULL;
        if (code >> shift == value && !has_short && escape_lives(m, s, code))
            return true;
    }
    return false;
}

static bool step_escape(struct kl_schema_machine *m, struct kl_rule_state *s, uint8_t byte)
{
    if (byte == 'u') {
        set_phase(s, KL_PHASE_HEX);
        return !kl_string_is_limited(m, s) || hex_lives(m, s, 0, 0);
    }
    uint8_t code = short_escape(byte);
    if (code == 0 || (kl_string_is_limited(m, s) && !needs_escape(code)))
        return false;
    return append_code(m, s, code);
}

static int hex_digit(uint8_t byte)
{
    return byte >= '0' && byte <= '9'   ? byte - '0'
           : byte >= 'a' && byte <= 'f' ? byte - 'a' + 10
           : byte >= 'A' && byte <= 'F' ? byte - 'A' + 10
                                        : -1;
}

static bool step_hex(struct kl_schema_machine *m, struct kl_rule_state *s, uint8_t byte)
{
    int digit = hex_digit(byte);
    uint32_t n = (s->words[S_PHASE] >> DIGITS_SHIFT & 3) + 1;
    uint32_t value = s->words[S_PHASE] >> VALUE_SHIFT & 0xFFF,
             pair = s->words[S_PHASE] >> PAIR_SHIFT;
    if (digit < 0)
        return false;
    value = value << 4 | (uint32_t)digit;
    /* the second half of a pair is dc00 to dfff, and stands behind a first one only */
    bool is_low = value >> (n < 2 ? 0 : 4 * n - 6) == (n < 2 ? 0xDu : 0x37u);
    if (pair != 0 ? !is_low : n >= 2 && is_low)
        return false;
    if (kl_string_is_limited(m, s) && !hex_lives(m, s, value, n))
        return false;
    if (n < 4) {
        set_phase(s, KL_PHASE_HEX);
        s->words[S_PHASE] |= n << DIGITS_SHIFT | value << VALUE_SHIFT | pair << PAIR_SHIFT;
        return true;
    }
    if (pair != 0)
        return append_code(m, s, 0x10000 + ((pair - 1) << 10) + (value - 0xDC00));
    if (value >= 0xD800 && value < 0xDC00) {
        set_phase(s, KL_PHASE_PAIR);
        s->words[S_PHASE] |= (value - 0xD800 + 1) << PAIR_SHIFT;
        return true;
    }
    return append_code(m, s, value);
}

/* ---- the string ------------------------------------------------------------------------------ */

static bool step_plain(struct kl_schema_machine *m, struct kl_rule_state *s, uint8_t byte)
{
    if (byte == '"') {
        struct kl_rule_state from = *s;
        return kl_string_end(m, &from, s);
    }
    if (byte != '\\')
        return step_character(m, s, byte);
    set_phase(s, KL_PHASE_ESCAPE);
    return kl_string_is_limited(m, s) ? some_escape_lives(m, s) : is_not_full(m, s);
}

bool kl_string_step(struct kl_schema_machine *m, const struct kl_rule_state *from, uint8_t byte,
                    struct kl_rule_state *to)
{
    uint32_t pair = from->words[S_PHASE] >> PAIR_SHIFT << PAIR_SHIFT;
    *to = *from;
    switch (kl_string_phase(from)) {
    case KL_PHASE_STRING:
        return step_plain(m, to, byte);
    case KL_PHASE_ESCAPE:
        return step_escape(m, to, byte);
    case KL_PHASE_HEX:
        return step_hex(m, to, byte);
    case KL_PHASE_PAIR:
        set_phase(to, KL_PHASE_PAIR_ESCAPE);
        to->words[S_PHASE] |= pair;
        return byte == '\\';
    case KL_PHASE_PAIR_ESCAPE:
        set_phase(to, KL_PHASE_HEX);
        to->words[S_PHASE] |= pair;
        return byte == 'u';
    default:
        return step_utf8(m, to, byte);
    }
}

/* The next item must come behind the one that ends. */
static bool note_item(struct kl_schema_machine *m, uint32_t item, struct kl_rule_state *to)
{
    size_t n;
    uint32_t *f = kl_frame_copy(m, to->words[S_FRAME], &n);
    if (f == NULL)
        return false;
    f[F_NEXT_ITEM] = item + 1;
    to->words[S_FRAME] = kl_frame_store(m, n);
    return to->words[S_FRAME] != 0;
}

bool kl_string_end(struct kl_schema_machine *m, const struct kl_rule_state *from,
                   struct kl_rule_state *to)
{
    if (kl_in_key(from))
        return kl_name_ends(m, from, to);
    const struct kl_link *link = kl_machine_link(m, from->words[S_LINK]);
    const struct kl_string_atoms *atoms = &link->plan->strings;
    struct kl_item_order order = kl_item_order(m, from);
    uint32_t word = kl_string_words(m, atoms, from)[0];
    if (order.applies && (word == KL_STRING_SET_DEAD ||
                          m->graph->sets[atoms->atoms[0].index].nodes[word].first < order.least ||
                          m->graph->sets[atoms->atoms[0].index].nodes[word].first > order.most))
        return false;
    kl_string_judge(m, link->plan, kl_string_words(m, atoms, from), from->words[S_LENGTH], true);
    return kl_value_end(m, from->words[S_FRAME], link, kl_hash_mix(kl_string_hash(from), 3), to) &&
           (!order.applies ||
            note_item(m, m->graph->sets[atoms->atoms[0].index].nodes[word].first, to));
}
