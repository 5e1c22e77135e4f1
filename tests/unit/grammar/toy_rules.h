/*
 * Rules for the tests of the matcher, written to be obvious: a list of JSON strings, a set of
 * texts, and a word of letters. The list checks that no state is used that _release forgot. Include
 * after <cmocka.h>.
 */
#ifndef KL_TESTS_TOY_RULES_H
#define KL_TESTS_TOY_RULES_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "grammar/rule.h"

/* ---- a list of strings ----------------------------------------------------------------------- */

/* `[` and strings; behind each the texts of `toy_tails`, ']' not after a line break. */
struct toy_list {
    struct kl_rule rule;
    uint32_t least, most;
    bool must_try; /* which tails may follow depends on whether the 'a's of a string are even */
    bool is_told;  /* that strings are free */
};

static const struct toy_tail {
    const char *text;
    bool odd, even; /* with must_try */
    bool goes_on;   /* with a string */
} toy_tails[] = {{"]", true, true, false},         {", \"", true, true, true},
                 {",\n\"", true, false, true},     {" ]", false, true, false},
                 {": 12}", true, false, false},    {"}\n", false, true, false},
                 {"\xC3\xA9\"", true, true, false}};
#define TOY_TAILS (sizeof toy_tails / sizeof *toy_tails)

enum { TOY_OPEN, TOY_STRING, TOY_TAIL };

/* words: phase, frame, then of TOY_STRING: characters, whether the 'a's are odd + 2 * the bytes
 * of one that is not complete, these bytes; of TOY_TAIL: tails that are possible, bytes read. */
struct toy_list_machine {
    struct kl_machine machine;
    const struct toy_list *rule;
    struct toy_frame {
        uint32_t parent, tail;
    } frames[4096]; /* one for each string before this one, and the tail behind it */
    size_t n_frames;
};

static void toy_list_begin(struct kl_machine *machine, struct kl_rule_state *state)
{
    (void)machine;
    *state = (struct kl_rule_state){{TOY_OPEN}};
}

static uint32_t toy_push(struct toy_list_machine *m, uint32_t parent, uint32_t tail)
{
    for (size_t i = 1; i < m->n_frames; i++) {
        if (m->frames[i].parent == parent && m->frames[i].tail == tail)
            return (uint32_t)i;
    }
    assert_true(m->n_frames < 4096);
    m->frames[m->n_frames] = (struct toy_frame){parent, tail};
    return (uint32_t)m->n_frames++;
}

static int toy_hex(const char *digits, size_t n, unsigned *low, unsigned *high)
{
    char first[5] = "0000", last[5] = "FFFF";
    for (size_t i = 0; i < n; i++) {
        if (strchr("0123456789abcdefABCDEF", digits[i]) == NULL || digits[i] == '\0')
            return -1;
        first[i] = last[i] = digits[i];
    }
    *low = (unsigned)strtoul(first, NULL, 16);
    *high = (unsigned)strtoul(last, NULL, 16);
    return 0;
}

/* -1: not the beginning of a character of a string, 0: of one, 1: a whole one. */
static int toy_character(const char *b, size_t n)
{
    unsigned low, high;
    if ((unsigned char)b[0] < 0x20 || b[0] == '"')
        return -1;
    if (b[0] != '\\')
        return kl_utf8_valid(b, n) ? 1 : kl_utf8_incomplete_tail(b, n) == n ? 0 : -1;
    if (n == 1)
        return 0;
    if (b[1] != 'u')
        return n == 2 && b[1] != '\0' && strchr("\"\\/bfnrt", b[1]) != NULL ? 1 : -1;
    if (toy_hex(b + 2, n < 6 ? n - 2 : 4, &low, &high) < 0 || (low >= 0xDC00 && high <= 0xDFFF))
        return -1;
    if (n < 6)
        return 0;
    if (low < 0xD800 || low > 0xDBFF)
        return n == 6 ? 1 : -1;
    if ((n > 6 && b[6] != '\\') || (n > 7 && b[7] != 'u'))
        return -1;
    if (n > 8 && (toy_hex(b + 8, n - 8, &low, &high) < 0 || high < 0xDC00 || low > 0xDFFF))
        return -1;
    return n == 12;
}

static void toy_tail_begin(struct kl_rule_state *to, uint32_t frame, uint32_t tails)
{
    *to = (struct kl_rule_state){{TOY_TAIL, frame, tails}};
}

static uint32_t toy_tails_of(const struct toy_list_machine *m, uint32_t frame, bool odd, bool any)
{
    const struct toy_list *rule = m->rule;
    uint32_t tails = 0;
    for (uint32_t i = m->frames[frame].tail == 2; i < TOY_TAILS; i++) {
        bool may = odd ? toy_tails[i].odd : toy_tails[i].even;
        if (any || may || !rule->must_try)
            tails |= 1u << i;
    }
    return tails;
}

static bool toy_step_string(const struct toy_list_machine *m, const struct kl_rule_state *from,
                            uint8_t byte, struct kl_rule_state *to)
{
    const struct toy_list *rule = m->rule;
    struct kl_rule_state next = *from;
    char pending[16] = {0};
    uint32_t n = from->words[3] / 2;
    memcpy(pending, &from->words[4], 12);
    if (n == 0 && byte == '"') {
        if (from->words[2] < rule->least)
            return false;
        toy_tail_begin(to, from->words[1],
                       toy_tails_of(m, from->words[1], from->words[3] & 1, false));
        return true;
    }
    if (n == 0 && from->words[2] >= rule->most)
        return false;
    pending[n++] = (char)byte;
    int whole = toy_character(pending, n);
    if (whole < 0)
        return false;
    next.words[2] += n == 1;
    bool odd = (from->words[3] & 1) ^ (n == 1 && byte == 'a');
    if (whole)
        memset(pending, (int)(n = 0), 12);
    next.words[3] = odd + 2 * n;
    memcpy(&next.words[4], pending, 12);
    *to = next;
    return true;
}

static bool toy_list_step(struct kl_machine *machine, const struct kl_rule_state *from,
                          uint8_t byte, struct kl_rule_state *to)
{
    struct toy_list_machine *m = (struct toy_list_machine *)machine;
    uint32_t frame = from->words[1];
    if (frame >= m->n_frames)
        fail_msg("a state is used that was forgotten");
    if (from->words[0] == TOY_STRING)
        return toy_step_string(m, from, byte, to);
    if (from->words[0] == TOY_OPEN) {
        if (byte != (from->words[2] == 0 ? '[' : '"'))
            return false;
        *to = from->words[2] == 0 ? (struct kl_rule_state){{TOY_OPEN, frame, 1}}
                                  : (struct kl_rule_state){{TOY_STRING, frame}};
        return true;
    }
    uint32_t at = from->words[3], tails = 0;
    for (uint32_t i = 0; i < TOY_TAILS; i++) {
        const char *text = toy_tails[i].text;
        if ((from->words[2] >> i & 1) == 0 || strlen(text) <= at || (uint8_t)text[at] != byte)
            continue;
        tails |= 1u << i;
        if (toy_tails[i].goes_on && text[at + 1] == '\0') {
            *to = (struct kl_rule_state){{TOY_STRING, toy_push(m, frame, i)}};
            return true;
        }
    }
    if (tails != 0)
        *to = (struct kl_rule_state){{TOY_TAIL, frame, tails, at + 1}};
    return tails != 0;
}

static bool toy_list_is_complete(struct kl_machine *machine, const struct kl_rule_state *state)
{
    (void)machine;
    bool complete = false;
    for (uint32_t i = 0; i < TOY_TAILS && state->words[0] == TOY_TAIL; i++)
        complete = complete || ((state->words[2] >> i & 1) != 0 &&
                                strlen(toy_tails[i].text) == state->words[3]);
    return complete;
}

static bool toy_list_free_string(struct kl_machine *machine, const struct kl_rule_state *state,
                                 struct kl_free_string *string)
{
    const struct toy_list_machine *m = (const struct toy_list_machine *)machine;
    const struct toy_list *rule = m->rule;
    if (state->words[0] != TOY_STRING || state->words[3] / 2 != 0 || !rule->is_told)
        return false;
    uint32_t chars = state->words[2];
    *string = (struct kl_free_string){
        .least = rule->least > chars ? rule->least - chars : 0,
        .most = rule->most == UINT32_MAX ? UINT32_MAX : rule->most - chars,
        .must_try = rule->must_try,
    };
    toy_tail_begin(&string->after, state->words[1],
                   toy_tails_of(m, state->words[1], false, rule->must_try));
    return true;
}

static bool toy_list_plain(struct kl_machine *machine, const struct kl_rule_state *state,
                           struct kl_rule_state *plain)
{
    if (state->words[0] != TOY_STRING || !((struct toy_list_machine *)machine)->rule->must_try)
        return false;
    *plain = *state;
    plain->words[3] &= ~1u;
    return true;
}

static bool toy_list_closes(struct kl_machine *machine, const struct kl_rule_state *state)
{
    return state->words[0] == TOY_STRING && state->words[3] / 2 == 0 &&
           state->words[2] >= ((struct toy_list_machine *)machine)->rule->least;
}

static size_t toy_list_mark(struct kl_machine *machine)
{
    return ((struct toy_list_machine *)machine)->n_frames;
}

static void toy_list_release(struct kl_machine *machine, size_t mark)
{
    ((struct toy_list_machine *)machine)->n_frames = mark;
}

static size_t toy_list_bytes(const struct kl_machine *machine)
{
    (void)machine;
    return sizeof(struct toy_list_machine);
}

static void toy_list_close(struct kl_machine *machine)
{
    free(machine);
}

static const struct kl_machine_kind toy_list_machine_kind = {
    toy_list_close, toy_list_begin,   toy_list_step,  toy_list_is_complete, toy_list_free_string,
    toy_list_mark,  toy_list_release, toy_list_bytes, toy_list_plain,       toy_list_closes};

static enum kl_status toy_list_open(const struct kl_rule *rule, struct kl_machine **machine,
                                    struct kl_error *err)
{
    struct toy_list_machine *m = calloc(1, sizeof *m);
    if (m == NULL)
        return kl_fail_memory(err, "a machine", sizeof *m);
    m->machine.kind = &toy_list_machine_kind;
    m->rule = (const struct toy_list *)rule;
    m->n_frames = 1;
    *machine = &m->machine;
    return KL_OK;
}

static void toy_rule_free(struct kl_rule *rule)
{
    (void)rule;
}

static const struct kl_rule_kind toy_list_kind = {"list", toy_list_open, toy_rule_free};

/* ---- a set of texts -------------------------------------------------------------------------- */

struct toy_set {
    struct kl_rule rule;
    const char *const *texts; /* in the order of their bytes */
    uint32_t n;
};

/* words: first text that is possible, the one behind the last, bytes read */
struct toy_set_machine {
    struct kl_machine machine;
    const struct toy_set *rule;
    size_t steps_left; /* then it fails */
};

static void toy_set_begin(struct kl_machine *machine, struct kl_rule_state *state)
{
    *state = (struct kl_rule_state){{0, ((struct toy_set_machine *)machine)->rule->n, 0}};
}

static bool toy_set_step(struct kl_machine *machine, const struct kl_rule_state *from, uint8_t byte,
                         struct kl_rule_state *to)
{
    struct toy_set_machine *m = (struct toy_set_machine *)machine;
    if (m->steps_left == 0) {
        kl_fail(&m->machine.failure, KL_ERR_LIMIT, "the test's limit of steps");
        return false;
    }
    m->steps_left--;
    uint32_t first = from->words[0], end = from->words[1], at = from->words[2];
    while (first < end && (uint8_t)m->rule->texts[first][at] != byte)
        first++;
    uint32_t last = first;
    while (last < end && byte != 0 && (uint8_t)m->rule->texts[last][at] == byte)
        last++;
    if (first == last)
        return false;
    *to = (struct kl_rule_state){{first, last, at + 1}};
    return true;
}

static bool toy_set_is_complete(struct kl_machine *machine, const struct kl_rule_state *state)
{
    const struct toy_set *rule = ((struct toy_set_machine *)machine)->rule;
    return rule->texts[state->words[0]][state->words[2]] == '\0';
}

static size_t toy_set_bytes(const struct kl_machine *machine)
{
    (void)machine;
    return sizeof(struct toy_set_machine);
}

static const struct kl_machine_kind toy_set_machine_kind = {
    toy_list_close, toy_set_begin, toy_set_step, toy_set_is_complete, NULL, NULL, NULL,
    toy_set_bytes,  NULL,          NULL};

static size_t toy_set_steps = SIZE_MAX; /* of the machines that are opened */

static enum kl_status toy_set_open(const struct kl_rule *rule, struct kl_machine **machine,
                                   struct kl_error *err)
{
    struct toy_set_machine *m = calloc(1, sizeof *m);
    if (m == NULL)
        return kl_fail_memory(err, "a machine", sizeof *m);
    m->machine.kind = &toy_set_machine_kind;
    m->rule = (const struct toy_set *)rule;
    m->steps_left = toy_set_steps;
    *machine = &m->machine;
    return KL_OK;
}

static const struct kl_rule_kind toy_set_kind = {"set", toy_set_open, toy_rule_free};

/* ---- a word ---------------------------------------------------------------------------------- */

/* Words of ASCII letters, digits and '_', at most `most` of them (UINT32_MAX: any number): '-' may
 * stand between letters, and digits are the last ones of a word. White space before each word, but
 * behind '-' only a space. */
struct toy_word {
    struct kl_rule rule;
    uint32_t most;
};

enum { TOY_BEFORE, TOY_LETTER, TOY_DIGIT, TOY_HYPHEN };

/* words: one of these, letters */
struct toy_word_machine {
    struct kl_machine machine;
    const struct toy_word *rule;
};

static bool toy_word_step(struct kl_machine *machine, const struct kl_rule_state *from,
                          uint8_t byte, struct kl_rule_state *to)
{
    uint32_t most = ((struct toy_word_machine *)machine)->rule->most, letters = from->words[1];
    bool is_digit = byte >= '0' && byte <= '9';
    bool is_letter =
        (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || byte == '_' || is_digit;
    bool is_blank = byte == ' ' || byte == '\n' || byte == '\t' || byte == '\r';
    uint32_t now = from->words[0], next = TOY_LETTER;
    if (is_blank)
        next = TOY_BEFORE;
    else if (byte == '-')
        next = TOY_HYPHEN;
    else if (is_digit)
        next = TOY_DIGIT;
    bool may = is_blank          ? now != TOY_HYPHEN || byte == ' '
               : letters >= most ? false
               : byte == '-'     ? now == TOY_LETTER
                                 : is_letter && (is_digit || now != TOY_DIGIT);
    if (may)
        *to = (struct kl_rule_state){{next, most == UINT32_MAX ? 0 : letters + is_letter}};
    return may;
}

static bool toy_word_is_complete(struct kl_machine *machine, const struct kl_rule_state *state)
{
    (void)machine;
    return state->words[0] == TOY_LETTER || state->words[0] == TOY_DIGIT;
}

static const struct kl_machine_kind toy_word_machine_kind = {
    toy_list_close, toy_list_begin, toy_word_step, toy_word_is_complete, NULL, NULL, NULL,
    toy_set_bytes,  NULL,           NULL};

static enum kl_status toy_word_open(const struct kl_rule *rule, struct kl_machine **machine,
                                    struct kl_error *err)
{
    struct toy_word_machine *m = calloc(1, sizeof *m);
    if (m == NULL)
        return kl_fail_memory(err, "a machine", sizeof *m);
    m->machine.kind = &toy_word_machine_kind;
    m->rule = (const struct toy_word *)rule;
    *machine = &m->machine;
    return KL_OK;
}

static const struct kl_rule_kind toy_word_kind = {"word", toy_word_open, toy_rule_free};

#endif
