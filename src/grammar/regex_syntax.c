#include "grammar/regex_syntax.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "grammar/regex.h"

enum { LAST_CODE = 0x10FFFF, MAX_RANGES = 1 << 20 };

struct parser {
    const char *pattern;
    size_t len, at;
    int depth;
    struct kl_regex_tree *tree;
    struct kl_error *err;
    enum kl_status status; /* sticks */
};

static uint32_t fail(struct parser *p, enum kl_status status, const char *what)
{
    if (p->status == KL_OK)
        p->status = kl_fail(p->err, status, "pattern: at character %zu: %s", p->at, what);
    return 0;
}

static uint32_t no_memory(struct parser *p)
{
    if (p->status == KL_OK)
        p->status = kl_fail_memory(p->err, "a pattern", p->len);
    return 0;
}

static bool grow(struct parser *p, void **list, size_t n, size_t *room, size_t size)
{
    if (n < *room)
        return true;
    size_t more = *room == 0 ? 32 : 2 * *room;
    void *grown = realloc(*list, more * size);
    if (grown == NULL) {
        no_memory(p);
        return false;
    }
    *list = grown;
    *room = more;
    return true;
}

static uint32_t add(struct parser *p, struct kl_regex_node node)
{
    struct kl_regex_tree *t = p->tree;
    if (!grow(p, (void **)&t->nodes, t->n_nodes, &t->nodes_room, sizeof *t->nodes))
        return 0;
    t->nodes[t->n_nodes] = node;
    return (uint32_t)t->n_nodes++;
}

static void add_range(struct parser *p, uint32_t first, uint32_t last)
{
    struct kl_regex_tree *t = p->tree;
    if (t->n_ranges >= MAX_RANGES)
        fail(p, KL_ERR_LIMIT, "too many ranges of characters");
    else if (grow(p, (void **)&t->ranges, t->n_ranges, &t->ranges_room, sizeof *t->ranges))
        t->ranges[t->n_ranges++] = (struct kl_code_range){first, last};
}

static int peek(const struct parser *p)
{
    return p->at < p->len ? (unsigned char)p->pattern[p->at] : -1;
}

static bool take(struct parser *p, const char *text)
{
    size_t n = strlen(text);
    if (p->len - p->at < n || memcmp(p->pattern + p->at, text, n) != 0)
        return false;
    p->at += n;
    return true;
}

/* ---- classes --------------------------------------------------------------------------------- */

static int compare_ranges(const void *a, const void *b)
{
    const struct kl_code_range *x = a, *y = b;
    return x->first < y->first ? -1 : x->first > y->first;
}

/* Sorts and unites the ranges from `first` on. */
static void normalize(struct parser *p, uint32_t first)
{
    struct kl_regex_tree *t = p->tree;
    size_t kept = first;
    if (t->n_ranges - first > 1)
        qsort(t->ranges + first, t->n_ranges - first, sizeof *t->ranges, compare_ranges);
    for (size_t i = first; i < t->n_ranges; i++) {
        struct kl_code_range r = t->ranges[i];
        if (kept > first && r.first <= t->ranges[kept - 1].last + 1) {
            if (r.last > t->ranges[kept - 1].last)
                t->ranges[kept - 1].last = r.last;
        } else {
            t->ranges[kept++] = r;
        }
    }
    t->n_ranges = kept;
}

/* Replaces the ranges from `first` on by all other characters. */
static void complement(struct parser *p, uint32_t first)
{
    struct kl_regex_tree *t = p->tree;
    normalize(p, first);
    size_t n = t->n_ranges - first;
    uint32_t next = 0;
    for (size_t i = 0; i < n && p->status == KL_OK; i++) {
        struct kl_code_range r = t->ranges[first + i];
        if (r.first > next)
            add_range(p, next, r.first - 1);
        next = r.last + 1;
    }
    if (next <= LAST_CODE)
        add_range(p, next, LAST_CODE);
    if (p->status != KL_OK)
        return;
    memmove(t->ranges + first, t->ranges + first + n,
            (t->n_ranges - first - n) * sizeof *t->ranges);
    t->n_ranges -= n;
}

/* Adds the class of an escape ('d', 'w', 's'; upper case: all others); false: it is none. */
static bool add_named(struct parser *p, int name)
{
    static const struct kl_code_range digits[] = {{'0', '9'}};
    static const struct kl_code_range word[] = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
    static const struct kl_code_range space[] = {
        {'\t', '\r'},     {' ', ' '},       {0xA0, 0xA0},     {0x1680, 0x1680}, {0x2000, 0x200A},
        {0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F}, {0x3000, 0x3000}, {0xFEFF, 0xFEFF}};
    const struct kl_code_range *ranges;
    size_t n;
    switch (name | 0x20) {
    case 'd':
        ranges = digits, n = sizeof digits / sizeof *digits;
        break;
    case 'w':
        ranges = word, n = sizeof word / sizeof *word;
        break;
    case 's':
        ranges = space, n = sizeof space / sizeof *space;
        break;
    default:
        return false;
    }
    uint32_t first = (uint32_t)p->tree->n_ranges;
    for (size_t i = 0; i < n; i++)
        add_range(p, ranges[i].first, ranges[i].last);
    if (name < 'a')
        complement(p, first);
    return true;
}

static uint32_t class_node(struct parser *p, uint32_t first)
{
    normalize(p, first);
    return add(p, (struct kl_regex_node){.kind = KL_REGEX_CLASS,
                                         .first = first,
                                         .n = (uint32_t)(p->tree->n_ranges - first)});
}

/* ---- characters ------------------------------------------------------------------------------ */

static uint32_t take_code(struct parser *p)
{
    uint32_t code = 0;
    bool valid;
    if (p->at >= p->len)
        return fail(p, KL_ERR_INVALID, "expected a character");
    size_t n = kl_utf8_decode(p->pattern + p->at, p->len - p->at, &code, &valid);
    if (!valid)
        return fail(p, KL_ERR_INVALID, "not UTF-8");
    p->at += n;
    return code;
}

static uint32_t take_hex(struct parser *p, int digits)
{
    uint32_t value = 0;
    for (int i = 0; i < digits; i++) {
        int c = peek(p), low = c | 0x20;
        if (c >= '0' && c <= '9')
            value = value << 4 | (uint32_t)(c - '0');
        else if (low >= 'a' && low <= 'f')
            value = value << 4 | (uint32_t)(low - 'a' + 10);
        else
            return fail(p, KL_ERR_INVALID, "expected a hex digit");
        p->at++;
    }
    return value;
}

static uint32_t take_unicode_escape(struct parser *p)
{
    if (!take(p, "{")) {
        uint32_t code = take_hex(p, 4);
        if (code >= 0xD800 && code < 0xDC00 && take(p, "\\u")) {
            uint32_t low = take_hex(p, 4);
            if (low < 0xDC00 || low > 0xDFFF)
                return fail(p, KL_ERR_INVALID, "expected the second half of a surrogate pair");
            code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
        }
        return code;
    }
    uint32_t code = 0;
    while (p->status == KL_OK && !take(p, "}")) {
        code = code << 4 | take_hex(p, 1);
        if (code > LAST_CODE)
            return fail(p, KL_ERR_INVALID, "expected a code point up to 10FFFF");
    }
    return code;
}

/* The character of an escape, behind the backslash. */
static uint32_t take_escape(struct parser *p)
{
    static const char names[] = "tnrfv0", codes[] = "\t\n\r\f\v";
    int c = peek(p);
    if (c < 0)
        return fail(p, KL_ERR_INVALID, "expected a character behind the backslash");
    const char *name = strchr(names, c);
    if (c >= '1' && c <= '9')
        return fail(p, KL_ERR_UNSUPPORTED, "back references are not supported");
    if (c == 'p' || c == 'P')
        return fail(p, KL_ERR_UNSUPPORTED, "Unicode properties (\\p) are not supported");
    if (c == 'k')
        return fail(p, KL_ERR_UNSUPPORTED, "back references (\\k) are not supported");
    if (name != NULL) {
        p->at++;
        return c == '0' ? 0 : (uint32_t)codes[name - names];
    }
    if (take(p, "x"))
        return take_hex(p, 2);
    if (take(p, "u"))
        return take_unicode_escape(p);
    if (take(p, "c")) {
        uint32_t letter = take_code(p) | 0x20;
        if (letter < 'a' || letter > 'z')
            return fail(p, KL_ERR_INVALID, "expected a letter behind \\c");
        return letter & 31;
    }
    return take_code(p); /* any other character stands for itself */
}

/* One character of a class, or a named class (*named). */
static uint32_t take_class_item(struct parser *p, bool *named)
{
    *named = false;
    if (!take(p, "\\"))
        return take_code(p);
    int c = peek(p);
    if (c == 'b') {
        p->at++;
        return '\b';
    }
    if (c > 0 && strchr("dDwWsS", c) != NULL) {
        p->at++;
        *named = add_named(p, c);
        return 0;
    }
    return take_escape(p);
}

static uint32_t parse_class(struct parser *p)
{
    uint32_t first = (uint32_t)p->tree->n_ranges;
    bool negated = take(p, "^");
    while (p->status == KL_OK && peek(p) != ']') {
        bool named, last_named;
        if (peek(p) < 0)
            return fail(p, KL_ERR_INVALID, "expected ']'");
        uint32_t from = take_class_item(p, &named), to = from;
        if (!named && peek(p) == '-' && p->at + 1 < p->len && p->pattern[p->at + 1] != ']') {
            p->at++;
            to = take_class_item(p, &last_named);
            if (last_named) {
                add_range(p, '-', '-');
                to = from;
            } else if (to < from) {
                return fail(p, KL_ERR_INVALID, "the range of characters is out of order");
            }
        }
        if (!named)
            add_range(p, from, to);
    }
    take(p, "]");
    if (negated)
        complement(p, first);
    return class_node(p, first);
}

/* ---- expressions ----------------------------------------------------------------------------- */

static uint32_t parse_either(struct parser *p);

static uint32_t parse_group(struct parser *p)
{
    bool is_look = take(p, "?="), negative = !is_look && take(p, "?!");
    if (is_look || negative) {
        uint32_t number = p->tree->n_looks++;
        if (number == KL_REGEX_MAX_LOOKS)
            return fail(p, KL_ERR_LIMIT, "too many look-aheads");
        uint32_t inner = parse_either(p);
        if (p->status == KL_OK && !take(p, ")"))
            return fail(p, KL_ERR_INVALID, "expected ')'");
        return add(
            p, (struct kl_regex_node){
                   .kind = KL_REGEX_LOOK, .left = inner, .first = number, .negative = negative});
    }
    if (take(p, "?:") || !take(p, "?")) {
        /* a plain group */
    } else if (take(p, "<=") || take(p, "<!")) {
        return fail(p, KL_ERR_UNSUPPORTED, "look-behind is not supported");
    } else if (take(p, "<") || take(p, "P<")) {
        while (peek(p) >= 0 && peek(p) != '>')
            p->at++;
        if (!take(p, ">"))
            return fail(p, KL_ERR_INVALID, "expected '>' behind the name of a group");
    } else {
        return fail(p, KL_ERR_UNSUPPORTED, "this kind of group is not supported");
    }
    uint32_t node = parse_either(p);
    if (p->status == KL_OK && !take(p, ")"))
        return fail(p, KL_ERR_INVALID, "expected ')'");
    return node;
}

static uint32_t parse_atom(struct parser *p)
{
    uint32_t first = (uint32_t)p->tree->n_ranges;
    int c = peek(p);
    if (take(p, "("))
        return parse_group(p);
    if (take(p, "["))
        return parse_class(p);
    if (take(p, "^"))
        return add(p, (struct kl_regex_node){.kind = KL_REGEX_BEGIN});
    if (take(p, "$"))
        return add(p, (struct kl_regex_node){.kind = KL_REGEX_END});
    if (take(p, ".")) {
        add_range(p, '\n', '\n');
        add_range(p, '\r', '\r');
        add_range(p, 0x2028, 0x2029);
        complement(p, first);
        return class_node(p, first);
    }
    if (!take(p, "\\")) {
        uint32_t code = take_code(p);
        add_range(p, code, code);
        return class_node(p, first);
    }
    c = peek(p);
    if (c == 'b' || c == 'B')
        return fail(p, KL_ERR_UNSUPPORTED, "word boundaries (\\b) are not supported");
    if (c > 0 && strchr("dDwWsS", c) != NULL) {
        p->at++;
        add_named(p, c);
        return class_node(p, first);
    }
    if (c == 'A' || c == 'z' || c == 'Z') { /* not ECMAScript, but common */
        p->at++;
        return add(p, (struct kl_regex_node){.kind = c == 'A' ? KL_REGEX_BEGIN : KL_REGEX_END});
    }
    uint32_t code = take_escape(p);
    add_range(p, code, code);
    return class_node(p, first);
}

static bool take_number(struct parser *p, uint32_t *value)
{
    size_t begin = p->at;
    uint64_t n = 0;
    while (peek(p) >= '0' && peek(p) <= '9') {
        n = n * 10 + (uint64_t)(peek(p) - '0');
        n = n > UINT32_MAX - 1 ? UINT32_MAX - 1 : n;
        p->at++;
    }
    *value = (uint32_t)n;
    return p->at > begin;
}

/* Reads a quantifier, if there is one: a brace that begins none is a character. */
static bool take_quantifier(struct parser *p, uint32_t *least, uint32_t *most)
{
    size_t begin = p->at;
    *most = UINT32_MAX;
    *least = peek(p) == '+';
    if (take(p, "*") || take(p, "+")) {
        /* without a limit */
    } else if (take(p, "?")) {
        *most = 1;
    } else if (take(p, "{")) {
        bool has_least = take_number(p, least), has_most = true;
        if (take(p, ",")) {
            has_most = take_number(p, most);
            if (!has_most)
                *most = UINT32_MAX;
        } else {
            *most = *least;
        }
        if (!has_least || !take(p, "}")) {
            p->at = begin;
            return false;
        }
    } else {
        return false;
    }
    take(p, "?"); /* lazy: the same language */
    return true;
}

static uint32_t parse_repeat(struct parser *p)
{
    uint32_t least, most;
    if (take_quantifier(p, &least, &most))
        return fail(p, KL_ERR_INVALID, "there is nothing to repeat");
    uint32_t node = parse_atom(p);
    if (p->status != KL_OK || !take_quantifier(p, &least, &most))
        return node;
    if (most < least)
        return fail(p, KL_ERR_INVALID, "the limits of the repetition are out of order");
    return add(p, (struct kl_regex_node){
                      .kind = KL_REGEX_REPEAT, .left = node, .least = least, .most = most});
}

static uint32_t parse_concat(struct parser *p)
{
    uint32_t node = add(p, (struct kl_regex_node){.kind = KL_REGEX_EMPTY});
    while (p->status == KL_OK && peek(p) >= 0 && peek(p) != '|' && peek(p) != ')') {
        uint32_t next = parse_repeat(p);
        node = add(p, (struct kl_regex_node){.kind = KL_REGEX_CONCAT, .left = node, .right = next});
    }
    return node;
}

static uint32_t parse_either(struct parser *p)
{
    if (++p->depth > KL_REGEX_MAX_DEPTH)
        return fail(p, KL_ERR_LIMIT, "groups are nested too deeply");
    uint32_t node = parse_concat(p);
    while (p->status == KL_OK && take(p, "|")) {
        uint32_t next = parse_concat(p);
        node = add(p, (struct kl_regex_node){.kind = KL_REGEX_EITHER, .left = node, .right = next});
    }
    p->depth--;
    return node;
}

enum kl_status kl_regex_parse(const char *pattern, size_t len, struct kl_regex_tree *tree,
                              struct kl_error *err)
{
    *tree = (struct kl_regex_tree){0};
    if (len > KL_REGEX_MAX_PATTERN)
        return kl_fail(err, KL_ERR_LIMIT, "pattern: %zu bytes; at most %d are allowed", len,
                       KL_REGEX_MAX_PATTERN);
    struct parser p = {.pattern = pattern, .len = len, .tree = tree, .err = err};
    tree->root = parse_either(&p);
    if (p.status == KL_OK && p.at < p.len)
        fail(&p, KL_ERR_INVALID, "')' without '('");
    return p.status;
}

void kl_regex_tree_release(struct kl_regex_tree *tree)
{
    free(tree->nodes);
    free(tree->ranges);
    *tree = (struct kl_regex_tree){0};
}
