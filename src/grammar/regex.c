#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "grammar/regex_program.h"

/* ---- building -------------------------------------------------------------------------------- */

/* The mode of a look-ahead: a match that begins at the begin of the text. */
enum { FROM_HERE = KL_REGEX_WHOLE + 1 };

static enum kl_status compile_tree(const struct kl_regex_tree *tree, uint32_t root, int mode,
                                   struct kl_regex **regex, struct kl_error *err);

struct builder {
    struct kl_regex *regex;
    const struct kl_regex_tree *tree;
    struct kl_error *err;
    enum kl_status status; /* sticks */
};

static uint32_t too_large(struct builder *b)
{
    b->status = kl_fail(b->err, KL_ERR_LIMIT,
                        "pattern: its repetitions make more than %d characters or %d states",
                        KL_REGEX_MAX_POSITIONS, KL_REGEX_MAX_STATES);
    return 0;
}

static uint32_t add(struct builder *b, struct kl_regex_state state)
{
    struct kl_regex *r = b->regex;
    if (b->status != KL_OK)
        return 0;
    if (r->n == KL_REGEX_MAX_STATES)
        return too_large(b);
    if (r->n == r->room) {
        size_t room = r->room == 0 ? 64 : 2 * r->room;
        struct kl_regex_state *states = realloc(r->states, room * sizeof *states);
        if (states == NULL) {
            b->status = kl_fail_memory(b->err, "a pattern", room * sizeof *states);
            return 0;
        }
        r->states = states;
        r->room = room;
    }
    r->states[r->n] = state;
    return (uint32_t)r->n++;
}

/* A state for a byte; those of one character, from `begin` on, are shared. The first and the last
 * ones are looked at: tails are among the first, and neighbours among the last. */
static uint32_t add_byte(struct builder *b, size_t begin, uint8_t first, uint8_t last,
                         uint32_t next)
{
    enum { NEAR = 24 };
    for (size_t i = begin; i < b->regex->n; i++) {
        const struct kl_regex_state *s = &b->regex->states[i];
        if (s->op == KL_OP_BYTE && s->first == first && s->last == last && s->next == next)
            return (uint32_t)i;
        if (i == begin + NEAR && b->regex->n > i + NEAR)
            i = b->regex->n - NEAR;
    }
    return add(
        b, (struct kl_regex_state){.op = KL_OP_BYTE, .first = first, .last = last, .next = next});
}

static uint32_t add_split(struct builder *b, uint32_t one, uint32_t other)
{
    return add(b, (struct kl_regex_state){.op = KL_OP_SPLIT, .next = one, .other = other});
}

/* Adds code points whose encodings have the same length and differ in the last bytes only, all of
 * whose values occur: one state a byte. */
static uint32_t add_sequence(struct builder *b, size_t begin, uint32_t first, uint32_t last,
                             uint32_t next)
{
    char low[4], high[4];
    size_t n = kl_utf8_encode(first, low);
    kl_utf8_encode(last, high);
    while (n-- > 0)
        next = add_byte(b, begin, (uint8_t)low[n], (uint8_t)high[n], next);
    return next;
}

/* Splits code points into such sequences. */
static uint32_t add_codes(struct builder *b, size_t begin, uint32_t first, uint32_t last,
                          uint32_t next, uint32_t others)
{
    static const uint32_t lengths[] = {0x7F, 0x7FF, 0xD7FF, 0xDFFF, 0xFFFF, 0x10FFFF};
    while (first <= last && b->status == KL_OK) {
        uint32_t end = last;
        for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
            if (first <= lengths[i] && end > lengths[i])
                end = lengths[i];
        bool surrogates = first >= 0xD800 && end <= 0xDFFF;
        for (uint32_t shift = 6; shift < 24 && first > 0x7F && !surrogates; shift += 6) {
            uint32_t low = (1u << shift) - 1;
            if ((first & ~low) == (end & ~low))
                break;
            if ((first & low) != 0)
                end = first | low;
            else if ((end & low) != low)
                end = (end & ~low) - 1;
            else
                continue;
            if ((first & low) != 0)
                break;
        }
        if (!surrogates) {
            uint32_t sequence = add_sequence(b, begin, first, end, next);
            others = others == UINT32_MAX ? sequence : add_split(b, sequence, others);
        }
        first = end + 1;
    }
    return others;
}

/* A class without a character: a byte that does not occur in UTF-8 stands for it. */
static uint32_t add_class(struct builder *b, const struct kl_regex_node *node, uint32_t next)
{
    size_t begin = b->regex->n;
    uint32_t all = UINT32_MAX;
    if (b->regex->positions >= KL_REGEX_MAX_POSITIONS)
        return too_large(b);
    b->regex->positions++;
    for (uint32_t i = 0; i < node->n; i++) {
        struct kl_code_range range = b->tree->ranges[node->first + i];
        all = add_codes(b, begin, range.first, range.last, next, all);
    }
    return all != UINT32_MAX ? all : add_byte(b, begin, 0xFF, 0xFF, next);
}

/* One character, whichever it is. */
static uint32_t add_any(struct builder *b, uint32_t next)
{
    return add_codes(b, b->regex->n, 0, 0x10FFFF, next, UINT32_MAX);
}

/* A look-ahead is a program of its own. */
static uint32_t add_look(struct builder *b, const struct kl_regex_node *node, uint32_t next)
{
    struct kl_regex **look = &b->regex->looks[node->first];
    if (*look == NULL && b->status == KL_OK) {
        b->status = compile_tree(b->tree, node->left, FROM_HERE, look, b->err);
        if (b->status != KL_OK)
            return 0;
        b->regex->positions += (*look)->positions;
    }
    return add(b,
               (struct kl_regex_state){
                   .op = KL_OP_LOOK, .first = node->negative, .next = next, .other = node->first});
}

/* Builds the states of a node that lead to `next`. */
static uint32_t build(struct builder *b, uint32_t at, uint32_t next);

static uint32_t build_repeat(struct builder *b, const struct kl_regex_node *node, uint32_t next)
{
    uint32_t end = next, before;
    if (node->most == UINT32_MAX) {
        next = add_split(b, end, end);
        before = build(b, node->left, next);
        if (b->status == KL_OK)
            b->regex->states[next].next = before;
    } else {
        for (uint32_t i = node->least; i < node->most && b->status == KL_OK; i++) {
            before = build(b, node->left, next);
            if (before == next) /* empty */
                break;
            next = add_split(b, before, end);
        }
    }
    for (uint32_t i = 0; i < node->least && b->status == KL_OK; i++) {
        before = build(b, node->left, next);
        if (before == next)
            break;
        next = before;
    }
    return next;
}

static uint32_t build(struct builder *b, uint32_t at, uint32_t next)
{
    const struct kl_regex_node *node = &b->tree->nodes[at];
    uint32_t others = UINT32_MAX, after = next;
    while (b->status == KL_OK) {
        switch (node->kind) {
        case KL_REGEX_CONCAT: /* chains of them lean to the left */
            next = build(b, node->right, next);
            node = &b->tree->nodes[node->left];
            continue;
        case KL_REGEX_EITHER: {
            uint32_t right = build(b, node->right, after);
            others = others == UINT32_MAX ? right : add_split(b, right, others);
            node = &b->tree->nodes[node->left];
            next = after;
            continue;
        }
        case KL_REGEX_EMPTY:
            break;
        case KL_REGEX_CLASS:
            next = add_class(b, node, next);
            break;
        case KL_REGEX_BEGIN:
            next = add(b, (struct kl_regex_state){.op = KL_OP_BEGIN, .next = next});
            break;
        case KL_REGEX_END:
            next = add(b, (struct kl_regex_state){.op = KL_OP_END, .next = next});
            break;
        case KL_REGEX_REPEAT:
            next = build_repeat(b, node, next);
            break;
        case KL_REGEX_LOOK:
            next = add_look(b, node, next);
            break;
        }
        break;
    }
    return others == UINT32_MAX ? next : add_split(b, next, others);
}

/* ---- what can match -------------------------------------------------------------------------- */

/* Sets `ends`, `empty` and `can_match` of all states: a least fixpoint, reached after few rounds
 * since states are built from the end on. */
static void find_matches(struct kl_regex *r)
{
    bool changed = true;
    while (changed) {
        changed = false;
        for (size_t i = 0; i < r->n; i++) {
            struct kl_regex_state *s = &r->states[i], old = *s;
            const struct kl_regex_state *next = &r->states[s->next];
            switch (s->op) {
            case KL_OP_MATCH:
                s->ends = s->empty = s->can_match = true;
                break;
            case KL_OP_BYTE:
                s->can_match = next->can_match && s->first != 0xFF;
                break;
            case KL_OP_SPLIT:
                s->ends = next->ends || r->states[s->other].ends;
                s->empty = next->empty || r->states[s->other].empty;
                s->can_match = next->can_match || r->states[s->other].can_match;
                break;
            case KL_OP_END:
                s->ends = s->can_match = next->ends;
                s->empty = next->empty;
                break;
            case KL_OP_LOOK: {
                const struct kl_regex *look = r->looks[s->other];
                bool never = s->first != 0;
                s->ends = next->ends && look->states[look->start].ends != never;
                s->empty = next->empty && look->states[look->start].empty != never;
                s->can_match = next->can_match; /* or not: see settle() of the run */
                break;
            }
            default: /* KL_OP_BEGIN: not behind the begin */
                s->empty = next->empty;
                break;
            }
            changed = changed || old.ends != s->ends || old.empty != s->empty ||
                      old.can_match != s->can_match;
        }
    }
}

static void find_begins(const struct kl_regex *r, bool begins[257])
{
    for (size_t i = 0; i < r->n; i++) {
        if (r->states[i].op == KL_OP_BYTE)
            begins[r->states[i].first] = begins[r->states[i].last + 1] = true;
    }
    for (size_t i = 0; i < KL_REGEX_MAX_LOOKS; i++)
        if (r->looks[i] != NULL)
            find_begins(r->looks[i], begins);
}

static void find_classes(struct kl_regex *r)
{
    bool begins[257] = {true};
    find_begins(r, begins);
    for (int byte = 0; byte < 256; byte++) {
        if (begins[byte])
            r->samples[r->n_classes++] = (uint8_t)byte;
        r->classes[byte] = (uint8_t)(r->n_classes - 1);
    }
}

/* A search is a loop over anything before the match, and behind it. With look-aheads the text is
 * read by characters, so that one that does not match does not pass for an incomplete character. */
static void build_program(struct builder *b, uint32_t root, int mode)
{
    struct kl_regex *r = b->regex;
    bool characters = b->tree->n_looks > 0;
    uint32_t end = add(b, (struct kl_regex_state){.op = KL_OP_MATCH});
    if (mode != KL_REGEX_WHOLE) {
        end = add(b, (struct kl_regex_state){.op = KL_OP_MATCH, .first = 1});
        if (characters) {
            uint32_t loop = add_split(b, end, 0), any = add_any(b, loop);
            if (b->status == KL_OK)
                r->states[loop].other = any;
            r->loop = characters ? 0 : any;
            end = loop;
        }
    }
    r->start = build(b, root, end);
    if (mode == KL_REGEX_SEARCH) {
        uint32_t loop = add_split(b, r->start, 0);
        uint32_t any = characters
                           ? add_any(b, loop)
                           : add(b, (struct kl_regex_state){
                                        .op = KL_OP_BYTE, .first = 0, .last = 0xFE, .next = loop});
        if (b->status == KL_OK)
            r->states[loop].other = any;
        r->loop = characters ? 0 : any;
        r->start = loop;
    }
}

static enum kl_status compile_tree(const struct kl_regex_tree *tree, uint32_t root, int mode,
                                   struct kl_regex **regex, struct kl_error *err)
{
    struct kl_regex *r = calloc(1, sizeof *r);
    if (r == NULL)
        return kl_fail_memory(err, "a pattern", sizeof *r);
    struct builder b = {.regex = r, .tree = tree, .err = err};
    r->is_look = mode == FROM_HERE;
    build_program(&b, root, mode);
    if (b.status != KL_OK) {
        kl_regex_free(r);
        return b.status;
    }
    find_matches(r);
    find_classes(r);
    *regex = r;
    return KL_OK;
}

enum kl_status kl_regex_compile(const char *pattern, size_t len, enum kl_regex_mode mode,
                                struct kl_regex **regex, struct kl_error *err)
{
    struct kl_regex_tree tree;
    *regex = NULL;
    enum kl_status status = kl_regex_parse(pattern, len, &tree, err);
    if (status == KL_OK)
        status = compile_tree(&tree, tree.root, (int)mode, regex, err);
    kl_regex_tree_release(&tree);
    return status;
}

void kl_regex_free(struct kl_regex *r)
{
    if (r == NULL)
        return;
    for (size_t i = 0; i < KL_REGEX_MAX_LOOKS; i++)
        kl_regex_free(r->looks[i]);
    free(r->states);
    free(r);
}

size_t kl_regex_positions(const struct kl_regex *r)
{
    return r->positions;
}

size_t kl_regex_bytes(const struct kl_regex *r)
{
    size_t bytes = sizeof *r + r->room * sizeof *r->states;
    for (size_t i = 0; i < KL_REGEX_MAX_LOOKS; i++)
        if (r->looks[i] != NULL)
            bytes += kl_regex_bytes(r->looks[i]);
    return bytes;
}
