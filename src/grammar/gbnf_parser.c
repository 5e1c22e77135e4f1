#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/utf8.h"
#include "grammar/gbnf.h"
#include "grammar/gbnf_classes.h"
#include "grammar/gbnf_grammar.h"
#include "grammar/gbnf_reader.h"

enum { NAME_SLOTS = 32768, MAX_TIMES = 1000000000 };
static_assert(NAME_SLOTS > 2 * KL_GBNF_MAX_RULES, "names are found by probing");

struct parser {
    struct kl_gbnf_reader r;
    struct kl_gbnf_grammar *g;
    uint32_t rule; /* that is being read */
    int depth;
    uint32_t *names;              /* [NAME_SLOTS] rule + 1, 0: free */
    struct kl_char_range *ranges; /* of the class that is being read */
    size_t n_ranges, range_room;
};

/* ---- parts and rules ---- */

static enum kl_status new_part(struct parser *p, enum kl_gbnf_kind kind, uint32_t first,
                               uint32_t second, uint32_t *part)
{
    struct kl_gbnf_grammar *g = p->g;
    if (g->n_parts == KL_GBNF_MAX_PARTS)
        return kl_gbnf_fail_at(g->text, p->r.at, KL_ERR_LIMIT, p->r.err,
                               "the grammar has more than %d parts (texts, classes, references, "
                               "groups); make it shorter",
                               KL_GBNF_MAX_PARTS);
    if (g->n_parts == g->room) {
        size_t room = g->room == 0 ? 256 : 2 * g->room;
        struct kl_gbnf_part *parts = realloc(g->parts, room * sizeof *parts);
        if (parts == NULL)
            return kl_fail_memory(p->r.err, "a grammar", room * sizeof *parts);
        g->parts = parts;
        g->room = room;
    }
    *part = (uint32_t)g->n_parts++;
    g->parts[*part] = (struct kl_gbnf_part){.kind = (uint8_t)kind,
                                            .first = first,
                                            .second = second,
                                            .child = KL_GBNF_NONE,
                                            .next = KL_GBNF_NONE,
                                            .parent = KL_GBNF_NONE,
                                            .rule = p->rule,
                                            .routine = KL_GBNF_NONE};
    return KL_OK;
}

/* Finds the rule with the name at this place, or makes one that is not defined yet. */
static enum kl_status find_rule(struct parser *p, uint32_t *rule)
{
    struct kl_gbnf_grammar *g = p->g;
    size_t begin = p->r.at;
    while (kl_gbnf_is_name_char(kl_gbnf_peek(&p->r, 0)))
        p->r.at++;
    size_t len = p->r.at - begin;
    size_t slot = kl_hash64(g->text + begin, len, 0) % NAME_SLOTS;
    for (; p->names[slot] != 0; slot = (slot + 1) % NAME_SLOTS) {
        *rule = p->names[slot] - 1;
        const struct kl_gbnf_rule *r = &g->rules[*rule];
        if (r->name_len == len && memcmp(g->text + r->name, g->text + begin, len) == 0)
            return KL_OK;
    }
    if (g->n_rules == KL_GBNF_MAX_RULES)
        return kl_gbnf_fail_at(g->text, begin, KL_ERR_LIMIT, p->r.err,
                               "the grammar has more than %d rules; write some of them where they "
                               "are used",
                               KL_GBNF_MAX_RULES);
    *rule = (uint32_t)g->n_rules++;
    g->rules[*rule] = (struct kl_gbnf_rule){.name = (uint32_t)begin,
                                            .name_len = (uint32_t)len,
                                            .body = KL_GBNF_NONE,
                                            .references = KL_GBNF_NONE};
    p->names[slot] = *rule + 1;
    return KL_OK;
}

/* ---- items ---- */

static enum kl_status parse_text(struct parser *p, uint32_t *part)
{
    struct kl_buffer *bytes = &p->g->bytes;
    size_t begin = bytes->len;
    p->r.at++;
    while (kl_gbnf_peek(&p->r, 0) != '"') {
        uint32_t c;
        char utf8[4];
        size_t place = p->r.at;
        enum kl_status status = kl_gbnf_read_char(&p->r, &c);
        if (status == KL_OK && c >= 0xD800 && c <= 0xDFFF)
            return kl_gbnf_fail_at(p->r.text, place, KL_ERR_INVALID, p->r.err,
                                   "expected a character, found half of a surrogate pair; write "
                                   "the whole character as \\UNNNNNNNN");
        if (status == KL_OK)
            status = kl_buffer_append(bytes, utf8, kl_utf8_encode(c, utf8));
        if (status == KL_ERR_MEMORY)
            return kl_fail_memory(p->r.err, "the texts of a grammar", bytes->len);
        if (status != KL_OK)
            return status;
    }
    p->r.at++;
    return new_part(p, KL_GBNF_TEXT, (uint32_t)begin, (uint32_t)(bytes->len - begin), part);
}

static enum kl_status add_range(struct parser *p, uint32_t first, uint32_t last)
{
    if (p->n_ranges == p->range_room) {
        size_t room = p->range_room == 0 ? 64 : 2 * p->range_room;
        struct kl_char_range *ranges = realloc(p->ranges, room * sizeof *ranges);
        if (ranges == NULL)
            return kl_fail_memory(p->r.err, "a class of a grammar", room * sizeof *ranges);
        p->ranges = ranges;
        p->range_room = room;
    }
    p->ranges[p->n_ranges++] = (struct kl_char_range){first, last};
    return KL_OK;
}

/* Makes the part of a class of p->ranges. */
static enum kl_status class_part(struct parser *p, bool negated, uint32_t *part)
{
    struct kl_word_store *classes = &p->g->classes;
    uint32_t entry = kl_class_make(classes, p->ranges, p->n_ranges, negated);
    if (classes->failure == KL_ERR_LIMIT)
        return kl_gbnf_fail_at(p->r.text, p->r.at, KL_ERR_LIMIT, p->r.err,
                               "the classes of characters need more than %zu bytes; use fewer or "
                               "simpler ones",
                               KL_GBNF_MAX_CLASS_BYTES);
    if (classes->failure != KL_OK)
        return kl_fail_memory(p->r.err, "the classes of a grammar", kl_word_store_bytes(classes));
    return new_part(p, KL_GBNF_CLASS, entry, 0, part);
}

static enum kl_status parse_class(struct parser *p, uint32_t *part)
{
    p->r.at++;
    bool negated = kl_gbnf_peek(&p->r, 0) == '^';
    p->r.at += negated;
    p->n_ranges = 0;
    while (kl_gbnf_peek(&p->r, 0) != ']') {
        size_t place = p->r.at;
        uint32_t first, last;
        enum kl_status status = kl_gbnf_read_char(&p->r, &first);
        last = first;
        if (status == KL_OK && kl_gbnf_peek(&p->r, 0) == '-' && kl_gbnf_peek(&p->r, 1) != ']') {
            p->r.at++;
            status = kl_gbnf_read_char(&p->r, &last);
        }
        if (status == KL_OK && last < first)
            return kl_gbnf_fail_at(p->r.text, place, KL_ERR_INVALID, p->r.err,
                                   "expected a range from a lower to a higher character, found one "
                                   "from U+%04X to U+%04X; write '-' itself as \\-",
                                   first, last);
        if (status == KL_OK)
            status = add_range(p, first, last);
        if (status != KL_OK)
            return status;
    }
    if (p->n_ranges == 0 && !negated)
        return kl_gbnf_expected(&p->r, "a character or a range in the class",
                                "write ']' itself as \\]");
    p->r.at++;
    return class_part(p, negated, part);
}

static enum kl_status parse_reference(struct parser *p, uint32_t *part)
{
    uint32_t rule;
    enum kl_status status = find_rule(p, &rule);
    if (status == KL_OK)
        status = new_part(p, KL_GBNF_REFERENCE, rule, p->g->rules[rule].references, part);
    if (status == KL_OK)
        p->g->rules[rule].references = *part;
    return status;
}

static enum kl_status parse_choice(struct parser *p, bool nested, uint32_t *part);

static enum kl_status parse_group(struct parser *p, uint32_t *part)
{
    size_t begin = p->r.at;
    if (p->depth == KL_GBNF_MAX_DEPTH)
        return kl_gbnf_fail_at(p->r.text, p->r.at, KL_ERR_LIMIT, p->r.err,
                               "more than %d parentheses within each other; make some of them a "
                               "rule",
                               KL_GBNF_MAX_DEPTH);
    p->depth++;
    p->r.at++;
    kl_gbnf_skip_space(&p->r, true);
    enum kl_status status = parse_choice(p, true, part);
    p->depth--;
    if (status != KL_OK)
        return status;
    if (p->r.at == p->r.len)
        return kl_gbnf_fail_at(p->r.text, begin, KL_ERR_INVALID, p->r.err,
                               "expected a ')' that belongs to this '(', found the end of the "
                               "grammar");
    if (kl_gbnf_peek(&p->r, 0) != ')')
        return kl_gbnf_expected(&p->r, "an item, '|' or ')'", "");
    p->r.at++;
    return KL_OK;
}

static enum kl_status parse_item(struct parser *p, uint32_t *part)
{
    switch (kl_gbnf_peek(&p->r, 0)) {
    case '"':
        return parse_text(p, part);
    case '[':
        return parse_class(p, part);
    case '(':
        return parse_group(p, part);
    case '.':
        p->r.at++;
        p->n_ranges = 0;
        return class_part(p, true, part);
    case '<':
    case '!':
        return kl_gbnf_fail_at(p->r.text, p->r.at, KL_ERR_UNSUPPORTED, p->r.err,
                               "tokens (<name>, <[id]>, !<name>) are not supported; write the text "
                               "of the token in quotes");
    default:
        return parse_reference(p, part);
    }
}

static bool begins_item(char c)
{
    return c == '"' || c == '[' || c == '(' || c == '.' || c == '<' || c == '!' ||
           kl_gbnf_is_name_char(c);
}

/* ---- repetitions ---- */

static enum kl_status parse_number(struct parser *p, uint32_t *number)
{
    if (!kl_gbnf_is_digit(kl_gbnf_peek(&p->r, 0)))
        return kl_gbnf_expected(&p->r, "a number of repetitions", "write {2}, {2,} or {2,5}");
    *number = 0;
    for (; kl_gbnf_is_digit(kl_gbnf_peek(&p->r, 0)); p->r.at++) {
        *number = *number * 10 + (uint32_t)(kl_gbnf_peek(&p->r, 0) - '0');
        if (*number > MAX_TIMES)
            return kl_gbnf_expected(&p->r, "fewer than 1000000000 repetitions",
                                    "use {2,} for no limit");
    }
    return KL_OK;
}

static enum kl_status parse_times(struct parser *p, bool lines, uint32_t *least, uint32_t *most)
{
    p->r.at++;
    kl_gbnf_skip_space(&p->r, lines);
    size_t place = p->r.at;
    enum kl_status status = parse_number(p, least);
    if (status != KL_OK)
        return status;
    kl_gbnf_skip_space(&p->r, lines);
    *most = *least;
    if (kl_gbnf_peek(&p->r, 0) == ',') {
        p->r.at++;
        kl_gbnf_skip_space(&p->r, lines);
        *most = KL_GBNF_NONE;
        if (kl_gbnf_is_digit(kl_gbnf_peek(&p->r, 0)) && (status = parse_number(p, most)) != KL_OK)
            return status;
        kl_gbnf_skip_space(&p->r, lines);
    }
    if (kl_gbnf_peek(&p->r, 0) != '}')
        return kl_gbnf_expected(&p->r, "'}' or ','", "write {2}, {2,} or {2,5}");
    p->r.at++;
    if (*most < *least)
        return kl_gbnf_fail_at(p->r.text, place, KL_ERR_INVALID, p->r.err,
                               "expected at least as many repetitions as %u at most, found %u",
                               *least, *most);
    return KL_OK;
}

/* Reads the operators after *part and puts a repetition around it for each. */
static enum kl_status parse_operators(struct parser *p, bool lines, uint32_t *part)
{
    for (int n = 0;; n++) {
        kl_gbnf_skip_space(&p->r, lines);
        char c = kl_gbnf_peek(&p->r, 0);
        uint32_t least = c == '+', most = c == '?' ? 1 : KL_GBNF_NONE, around;
        enum kl_status status = KL_OK;
        if (c != '*' && c != '+' && c != '?' && c != '{')
            return KL_OK;
        if (n == KL_GBNF_MAX_OPERATORS)
            return kl_gbnf_fail_at(p->r.text, p->r.at, KL_ERR_LIMIT, p->r.err,
                                   "more than %d operators after one item; one is enough",
                                   KL_GBNF_MAX_OPERATORS);
        if (c == '{')
            status = parse_times(p, lines, &least, &most);
        else
            p->r.at++;
        if (status == KL_OK)
            status = new_part(p, KL_GBNF_REPETITION, least, most, &around);
        if (status != KL_OK)
            return status;
        p->g->parts[around].child = *part;
        p->g->parts[*part].parent = around;
        *part = around;
    }
}

/* ---- sequences, alternatives, rules ---- */

/* Appends a part to the parts in another one; *last: the last of these. */
static void append(struct parser *p, uint32_t parent, uint32_t *last, uint32_t part)
{
    struct kl_gbnf_part *parts = p->g->parts;
    parts[part].parent = parent;
    if (*last == KL_GBNF_NONE)
        parts[parent].child = part;
    else
        parts[*last].next = part;
    *last = part;
}

static enum kl_status parse_sequence(struct parser *p, bool nested, uint32_t *sequence)
{
    uint32_t last = KL_GBNF_NONE, part;
    enum kl_status status = new_part(p, KL_GBNF_SEQUENCE, 0, 0, sequence);
    while (status == KL_OK && begins_item(kl_gbnf_peek(&p->r, 0))) {
        status = parse_item(p, &part);
        if (status == KL_OK)
            status = parse_operators(p, nested, &part);
        if (status == KL_OK)
            append(p, *sequence, &last, part);
    }
    if (status != KL_OK)
        return status;
    char c = kl_gbnf_peek(&p->r, 0);
    if (c == '*' || c == '+' || c == '?' || c == '{')
        return kl_gbnf_expected(&p->r, "an item before the operator", "");
    return KL_OK;
}

static enum kl_status parse_choice(struct parser *p, bool nested, uint32_t *choice)
{
    uint32_t last = KL_GBNF_NONE, part;
    enum kl_status status = new_part(p, KL_GBNF_CHOICE, 0, 0, choice);
    for (;;) {
        if (status == KL_OK)
            status = parse_sequence(p, nested, &part);
        if (status != KL_OK)
            return status;
        append(p, *choice, &last, part);
        if (kl_gbnf_peek(&p->r, 0) != '|')
            return KL_OK;
        p->r.at++;
        kl_gbnf_skip_space(&p->r, true);
    }
}

static enum kl_status parse_rule(struct parser *p)
{
    size_t place = p->r.at;
    if (!kl_gbnf_is_name_char(kl_gbnf_peek(&p->r, 0)))
        return kl_gbnf_expected(
            &p->r, "the name of a rule",
            kl_gbnf_peek(&p->r, 0) == '|'
                ? "a rule ends with its line: put '|' at the end of the line before"
                : "write name ::= ...");
    enum kl_status status = find_rule(p, &p->rule);
    if (status != KL_OK)
        return status;
    struct kl_gbnf_rule *rule = &p->g->rules[p->rule];
    kl_gbnf_skip_space(&p->r, false);
    if (kl_gbnf_peek(&p->r, 0) != ':' || kl_gbnf_peek(&p->r, 1) != ':' ||
        kl_gbnf_peek(&p->r, 2) != '=')
        return kl_gbnf_expected(&p->r, "'::=' after the name of a rule",
                                "a rule is written name ::= ...");
    if (rule->body != KL_GBNF_NONE)
        return kl_gbnf_fail_at(p->r.text, place, KL_ERR_INVALID, p->r.err,
                               "expected each rule once, found '%.*s' a second time; join both "
                               "with '|'",
                               (int)rule->name_len, p->r.text + rule->name);
    rule->name = (uint32_t)place; /* of messages about it */
    p->r.at += 3;
    kl_gbnf_skip_space(&p->r, true);
    status = parse_choice(p, false, &rule->body);
    if (status != KL_OK)
        return status;
    if (p->r.at < p->r.len && kl_gbnf_peek(&p->r, 0) != '\n' && kl_gbnf_peek(&p->r, 0) != '\r')
        return kl_gbnf_expected(&p->r, "an item, '|' or the end of the line", "");
    kl_gbnf_skip_space(&p->r, true);
    return KL_OK;
}

/* A rule that is used must be defined, and there must be a root. */
static enum kl_status check_rules(struct parser *p)
{
    struct kl_gbnf_grammar *g = p->g;
    g->root = KL_GBNF_NONE;
    for (uint32_t i = 0; i < g->n_rules; i++) {
        const struct kl_gbnf_rule *rule = &g->rules[i];
        if (rule->body == KL_GBNF_NONE)
            return kl_gbnf_fail_at(
                g->text, rule->name, KL_ERR_INVALID, p->r.err,
                "the rule '%.*s' is used, but not defined; add a line %.*s ::= "
                "...",
                (int)(rule->name_len < 100 ? rule->name_len : 100), g->text + rule->name,
                (int)(rule->name_len < 100 ? rule->name_len : 100), g->text + rule->name);
        if (rule->name_len == 4 && memcmp(g->text + rule->name, "root", 4) == 0)
            g->root = i;
    }
    if (g->root == KL_GBNF_NONE)
        return kl_fail(p->r.err, KL_ERR_INVALID,
                       "grammar: expected a rule 'root', with which every answer begins, found "
                       "none among %zu rules",
                       g->n_rules);
    return KL_OK;
}

static enum kl_status parse_rules(struct parser *p)
{
    struct kl_gbnf_grammar *g = p->g;
    for (size_t i = 0; i < g->len;) {
        uint32_t c;
        bool valid;
        size_t n = kl_utf8_decode(g->text + i, g->len - i, &c, &valid);
        if (!valid)
            return kl_gbnf_fail_at(g->text, i, KL_ERR_INVALID, p->r.err,
                                   "expected UTF-8, found the byte 0x%02X",
                                   (unsigned)(unsigned char)g->text[i]);
        i += n;
    }
    kl_gbnf_skip_space(&p->r, true);
    while (p->r.at < g->len) {
        enum kl_status status = parse_rule(p);
        if (status != KL_OK)
            return status;
    }
    return check_rules(p);
}

enum kl_status kl_gbnf_parse(const char *text, size_t len, struct kl_gbnf_grammar *g,
                             struct kl_error *err)
{
    *g = (struct kl_gbnf_grammar){.text = text, .len = len};
    kl_buffer_init(&g->bytes, KL_GBNF_MAX_TEXT);
    kl_word_store_init(&g->classes, KL_GBNF_MAX_CLASS_BYTES);
    if (len > KL_GBNF_MAX_TEXT)
        return kl_fail(err, KL_ERR_LIMIT,
                       "grammar: its text may have %zu bytes, it has %zu; make it shorter",
                       KL_GBNF_MAX_TEXT, len);
    struct parser p = {.r = {text, len, 0, err}, .g = g};
    g->rules = malloc(KL_GBNF_MAX_RULES * sizeof *g->rules);
    p.names = calloc(NAME_SLOTS, sizeof *p.names);
    enum kl_status status = g->rules == NULL || p.names == NULL
                                ? kl_fail_memory(err, "a grammar", NAME_SLOTS * sizeof *p.names)
                                : parse_rules(&p);
    free(p.names);
    free(p.ranges);
    return status;
}

void kl_gbnf_grammar_free(struct kl_gbnf_grammar *g)
{
    free(g->parts);
    free(g->rules);
    kl_buffer_release(&g->bytes);
    kl_word_store_free(&g->classes);
}
