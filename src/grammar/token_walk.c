#include "grammar/token_walk.h"

#include <stdlib.h>
#include <string.h>

/* Steps of the machine after which a walk counts as large, and steps are remembered. */
#define LARGE_WALK 32

static void set_bit(uint64_t *mask, uint32_t id)
{
    mask[id / 64] |= (uint64_t)1 << id % 64;
}

/* The token that ends at a node, if there is one: without a branch, which no processor foresees. */
static size_t allow(struct kl_token_node node, uint64_t *mask)
{
    bool is_token = node.value != 0;
    uint32_t id = node.value - (uint32_t)is_token;
    mask[id / 64] |= (uint64_t)is_token << id % 64;
    return is_token;
}

/* ---- in a free string ------------------------------------------------------------------------ */

/* The walk begins with the children of a node, in a state at this depth. */
static void descend(struct kl_token_walk *w, size_t depth, uint32_t first, uint32_t n)
{
    w->places[depth].at = first;
    w->places[depth].end = first + n;
}

/* The tokens of a group whose characters before the quote are neither too few nor too many. */
static size_t close_group(const struct kl_token_sets *sets, const struct kl_free_string *string,
                          size_t group, uint64_t *mask)
{
    size_t n = 0;
    for (uint32_t i = sets->groups[group]; i < sets->groups[group + 1]; i++) {
        struct kl_string_token token = sets->closing[i];
        if (token.chars < string->least || token.chars > string->most)
            continue;
        set_bit(mask, token.id);
        n++;
    }
    return n;
}

/* Tokens that close the string: those whose bytes behind the quote may follow. */
static size_t close_string(struct kl_token_walk *w, const struct kl_free_string *string,
                           uint64_t *mask)
{
    const struct kl_token_sets *sets = &w->trie->sets;
    size_t n = close_group(sets, string, 0, mask), depth = 1;
    w->states[0] = string->after;
    descend(w, 1, 0, (uint32_t)sets->after.n_roots);
    while (depth > 0) {
        struct kl_token_place *place = &w->places[depth];
        if (place->at == place->end) {
            depth--;
            continue;
        }
        struct kl_token_node node = sets->after.nodes[place->at++];
        if (!kl_machine_step(w->machine, &w->states[depth - 1], (uint8_t)node.byte,
                             &w->states[depth]))
            continue;
        if (node.value != 0)
            n += close_group(sets, string, node.value - 1, mask);
        if (node.n > 0)
            descend(w, ++depth, node.first, node.n);
    }
    return n;
}

/* The same where the tokens must be tried. They are in the order of their bytes, so each one goes
 * on where it differs from the one before. */
static size_t try_closing(struct kl_token_walk *w, const struct kl_rule_state *state,
                          const struct kl_free_string *string, uint64_t *mask)
{
    const struct kl_token_sets *sets = &w->trie->sets;
    bool follows[256] = {false};
    for (size_t i = 0; i < sets->after.n_roots; i++) {
        uint8_t byte = (uint8_t)sets->after.nodes[i].byte;
        follows[byte] =
            string->is_vague || kl_machine_step(w->machine, &string->after, byte, &w->states[0]);
    }
    w->states[0] = *state;
    const char *last = "";
    size_t last_len = 0, accepted = 0; /* bytes of the last one */
    size_t n = string->may_close ? close_group(sets, string, 0, mask) : 0;
    for (size_t i = 0; i < sets->n_closing; i++) {
        struct kl_closing_token token = sets->to_try[i];
        if (token.chars < string->least || token.chars > string->most ||
            (token.behind >= 0 ? !follows[token.behind] : string->may_close))
            continue;
        size_t len, at = 0;
        const char *bytes = kl_tokenizer_piece(w->trie->tokenizer, (int32_t)token.id, &len);
        while (at < len && at < last_len && bytes[at] == last[at])
            at++;
        if (at > accepted) /* they share the byte that was refused */
            continue;
        bool asks = token.behind < 0 && w->machine->kind->closes != NULL;
        size_t end = asks ? len - 1 : len;
        while (at < end &&
               kl_machine_step(w->machine, &w->states[at], (uint8_t)bytes[at], &w->states[at + 1]))
            at++;
        bool may = at == end && (!asks || w->machine->kind->closes(w->machine, &w->states[at]));
        last = bytes;
        last_len = may ? end : len; /* the state behind the quote is not known if it only asked */
        accepted = at;
        if (may) {
            set_bit(mask, token.id);
            n++;
        }
    }
    return n;
}

size_t kl_token_walk_closing(struct kl_token_walk *w, const struct kl_rule_state *state,
                             const struct kl_free_string *string, uint64_t *mask)
{
    return string->must_try ? try_closing(w, state, string, mask) : close_string(w, string, mask);
}

size_t kl_token_walk_free(struct kl_token_walk *w, const struct kl_rule_state *state,
                          const struct kl_free_string *string, uint64_t *mask)
{
    size_t n = kl_token_sets_inside(&w->trie->sets, string->most, mask);
    return n + kl_token_walk_closing(w, state, string, mask);
}

/* ---- elsewhere ------------------------------------------------------------------------------- */

static size_t walk_string(struct kl_token_walk *w, size_t base, struct kl_token_node from,
                          const struct kl_free_string *string, uint64_t *mask);

/* From here on steps are remembered; without memory for it they are made again and again. */
static void begin_large(struct kl_token_walk *w)
{
    if (w->memo == NULL)
        w->memo = malloc(sizeof *w->memo);
    if (w->memo == NULL)
        w->n_steps = 0;
    else if (!w->is_kept || w->memo->n == KL_STEP_MEMO_STATES)
        kl_step_memo_clear(w->memo);
}

/* The state at a depth of the path. */
static const struct kl_rule_state *state_at(const struct kl_token_walk *w, size_t depth)
{
    uint16_t number = w->places[depth].number;
    return number != 0 ? &w->memo->states[number] : &w->states[depth];
}

/* The number of a state in the memo, or of its plain state; 0: there is no room. */
static uint16_t number_of(struct kl_token_walk *w, const struct kl_rule_state *state)
{
    struct kl_rule_state plain;
    bool is_plain = kl_machine_plain(w->machine, state, &plain);
    return kl_step_memo_number(w->memo, is_plain ? &plain : state, is_plain);
}

/* The number of the state behind a byte, KL_STEP_REFUSED or _CLOSES, or 0: there was no room for
 * it. */
static uint16_t step_from(struct kl_token_walk *w, uint16_t from, uint8_t byte)
{
    uint16_t *next = &w->memo->next[from][byte];
    struct kl_rule_state to, plain;
    if (*next != KL_STEP_UNKNOWN)
        return *next;
    if (!kl_machine_step(w->machine, &w->memo->states[from], byte, &to))
        *next = KL_STEP_REFUSED;
    else if (w->memo->is_plain[from] && !kl_machine_plain(w->machine, &to, &plain))
        *next = KL_STEP_CLOSES;
    else
        *next = number_of(w, &to);
    return *next;
}

/* Makes sure that the true state at a depth is in `states`: from the last one that is known on. */
static void know_state(struct kl_token_walk *w, size_t depth)
{
    size_t known = depth;
    while (!w->places[known].is_known)
        known--;
    for (; known < depth; known++) {
        (void)kl_machine_step(w->machine, &w->states[known], w->places[known + 1].byte,
                              &w->states[known + 1]);
        w->places[known + 1].is_known = true;
    }
}

/* A step of the machine from the true state. */
static bool step_known(struct kl_token_walk *w, size_t depth, uint8_t byte)
{
    know_state(w, depth - 1);
    w->places[depth].number = 0;
    w->places[depth].is_known = true;
    return kl_machine_step(w->machine, &w->states[depth - 1], byte, &w->states[depth]);
}

/* One more byte, from depth - 1 to depth, in a walk that is large. */
static bool step_large(struct kl_token_walk *w, size_t depth, uint8_t byte)
{
    struct kl_token_place *place = &w->places[depth], *parent = place - 1;
    if (parent->number == 0)
        parent->number = number_of(w, &w->states[depth - 1]);
    uint16_t next = parent->number != 0 ? step_from(w, parent->number, byte) : 0;
    if (next == 0 || next == KL_STEP_CLOSES)
        return step_known(w, depth, byte);
    place->number = next;
    return next != KL_STEP_REFUSED;
}

/* The number of the state behind each byte of a class, or KL_STEP_REFUSED. */
static uint16_t step_class(struct kl_token_walk *w, uint16_t from, unsigned class)
{
    uint16_t found = w->memo->next_of_class[from][class];
    if (found != KL_STEP_UNKNOWN)
        return found;
    for (unsigned byte = 0; byte < 256 && found != KL_STEP_REFUSED; byte++) {
        if (w->trie->sets.classes.of[byte] != class)
            continue;
        uint16_t next = step_from(w, from, (uint8_t)byte);
        found = next != 0 && next < KL_STEP_CLOSES && (found == 0 || found == next)
                    ? next
                    : KL_STEP_REFUSED;
    }
    w->memo->next_of_class[from][class] = found;
    return found;
}

/* Whether everything below a node is allowed, since the classes of bytes that occur there lead from
 * one state to one state, as deep as it goes. */
static bool is_allowed_below(struct kl_token_walk *w, size_t depth,
                             const struct kl_token_span *span)
{
    uint16_t now = w->places[depth].number;
    for (unsigned i = 0; i < span->height; i++) {
        uint16_t next = 0;
        for (unsigned rest = span->classes; rest != 0; rest &= rest - 1) {
            uint16_t to = step_class(w, now, (unsigned)__builtin_ctz(rest));
            if (to == KL_STEP_REFUSED || (next != 0 && to != next))
                return false;
            next = to;
        }
        if (next == now)
            break;
        now = next;
    }
    return true;
}

/* One more byte, from depth - 1 to depth, that the memo does not know. */
static bool step_unknown(struct kl_token_walk *w, size_t depth, uint8_t byte)
{
    if (w->n_steps >= LARGE_WALK)
        return step_large(w, depth, byte);
    if (!step_known(w, depth, byte))
        return false;
    if (++w->n_steps == LARGE_WALK)
        begin_large(w);
    return true;
}

static inline bool step(struct kl_token_walk *w, size_t depth, uint8_t byte)
{
    struct kl_token_place *place = &w->places[depth];
    uint16_t from = place[-1].number;
    uint16_t next = from != 0 ? w->memo->next[from][byte] : KL_STEP_UNKNOWN;
    place->byte = byte;
    place->is_known = false;
    if (next == KL_STEP_UNKNOWN || next == KL_STEP_CLOSES)
        return step_unknown(w, depth, byte);
    place->number = next;
    return next != KL_STEP_REFUSED;
}

static bool is_free(struct kl_token_walk *w, size_t depth, struct kl_free_string *string)
{
    uint16_t number = w->places[depth].number;
    if (number != 0 && w->memo->not_free[number])
        return false;
    if (kl_machine_free_string(w->machine, state_at(w, depth), string) && !string->is_filtered)
        return true;
    if (number != 0)
        w->memo->not_free[number] = true;
    return false;
}

/* A large subtree below a node that is allowed, if more is known about it than a walk finds out:
 * adds its tokens to *n. strings: whether free strings are looked for. */
static bool take_large(struct kl_token_walk *w, size_t depth, const struct kl_token_node *node,
                       bool strings, uint64_t *mask, size_t *n)
{
    const struct kl_token_nodes *tokens = &w->trie->tokens;
    struct kl_free_string string;
    if (strings && is_free(w, depth, &string)) {
        *n += walk_string(w, depth, *node, &string, mask);
        return true;
    }
    if (w->places[depth].number == 0)
        return false;
    const struct kl_token_span *span =
        kl_token_spans_get(&tokens->spans, (size_t)(node - tokens->nodes));
    if (!is_allowed_below(w, depth, span))
        return false;
    *n += kl_token_spans_allow(&tokens->spans, span, mask);
    return true;
}

/* The subtrees of n nodes from `first` on, in a state that is known, at depth `base`. */
static size_t walk(struct kl_token_walk *w, size_t base, uint32_t first, uint32_t n_nodes,
                   bool strings, uint64_t *mask)
{
    const struct kl_token_node *nodes = w->trie->tokens.nodes;
    size_t n = 0, depth = base + 1;
    descend(w, depth, first, n_nodes);
    while (depth > base) {
        struct kl_token_place *place = &w->places[depth];
        if (place->at == place->end) {
            depth--;
            continue;
        }
        const struct kl_token_node *node = &nodes[place->at++];
        if (!step(w, depth, (uint8_t)node->byte))
            continue;
        n += allow(*node, mask);
        if (node->n > 0 && !(node->is_large && take_large(w, depth, node, strings, mask, &n)))
            descend(w, ++depth, node->first, node->n);
    }
    return n;
}

/* The subtree of a node in the state that is at depth 1. */
static size_t enter(struct kl_token_walk *w, const struct kl_token_node *node, uint64_t *mask)
{
    size_t n = allow(*node, mask);
    if (node->n > 0 && !(node->is_large && take_large(w, 1, node, true, mask, &n)))
        n += walk(w, 1, node->first, node->n, true, mask);
    return n;
}

/* Whether white space may follow, any number of it, and always leads to one state: *behind. */
static bool skips_blanks(struct kl_token_walk *w, const struct kl_rule_state *state,
                         struct kl_rule_state *behind)
{
    static const char blanks[] = " \n\r\t";
    struct kl_rule_state to;
    if (!kl_machine_step(w->machine, state, ' ', behind))
        return false;
    for (size_t i = 0; i < 2 * (sizeof blanks - 1); i++) {
        const struct kl_rule_state *from = i % 2 == 0 ? behind : state;
        if (!kl_machine_step(w->machine, from, (uint8_t)blanks[i / 2], &to) ||
            memcmp(&to, behind, sizeof to) != 0)
            return false;
    }
    return true;
}

/* Tokens that begin with white space, behind which there is one state. refused: bytes that are
 * known not to follow. */
static size_t walk_blanks(struct kl_token_walk *w, const struct kl_rule_state *behind,
                          const bool refused[256], uint64_t *mask)
{
    const struct kl_token_blanks *blanks = &w->trie->blanks;
    size_t n = blanks->n_values;
    for (size_t i = 0; i < n; i++)
        set_bit(mask, blanks->values[i]);
    for (unsigned byte = 0; byte < 256; byte++) {
        if (blanks->from[byte] == blanks->from[byte + 1] || refused[byte] ||
            !kl_machine_step(w->machine, behind, (uint8_t)byte, &w->states[1]))
            continue;
        for (uint32_t i = blanks->from[byte]; i < blanks->from[byte + 1]; i++) {
            const struct kl_token_node *node = &w->trie->tokens.nodes[blanks->nodes[i]];
            w->places[1].number = 0;
            w->places[1].is_known = true;
            n += enter(w, node, mask);
        }
    }
    return n;
}

/* All tokens. */
static size_t walk_roots(struct kl_token_walk *w, uint64_t *mask)
{
    struct kl_rule_state behind;
    bool blanks = skips_blanks(w, &w->states[0], &behind);
    bool stays = blanks && memcmp(&behind, &w->states[0], sizeof behind) == 0;
    bool refused[256] = {false};
    size_t n = 0;
    for (uint32_t i = 0; i < w->trie->tokens.n_roots; i++) {
        const struct kl_token_node *node = &w->trie->tokens.nodes[i];
        uint8_t byte = (uint8_t)node->byte;
        if (blanks && kl_is_blank(byte))
            continue;
        if (step(w, 1, byte))
            n += enter(w, node, mask);
        else
            refused[byte] = stays;
    }
    return blanks ? n + walk_blanks(w, &behind, refused, mask) : n;
}

/* Sets the state behind the closing quote, which led to `depth`, of a string that became free at
 * depth `base`. */
static bool close_at(struct kl_token_walk *w, const struct kl_free_string *string, size_t base,
                     size_t depth)
{
    struct kl_rule_state *state = &w->states[depth];
    know_state(w, base);
    *state = string->must_try ? w->states[base] : string->after;
    w->places[depth].number = 0;
    w->places[depth].is_known = true;
    for (size_t d = base + 1; string->must_try && d <= depth; d++) {
        if (!kl_machine_step(w->machine, state, w->places[d].byte, state))
            return false;
    }
    return true;
}

/* Whether all bytes below a large node are characters, and not too many. */
static bool is_plain_below(const struct kl_token_walk *w, const struct kl_token_span *span,
                           struct kl_token_place place, uint32_t most)
{
    return place.state == KL_STRING_BETWEEN &&
           (span->classes & ~w->trie->sets.classes.plain) == 0 &&
           span->height <= most - place.chars;
}

/* The subtrees of the children of a node, in a free string at depth `base`. */
static size_t walk_string(struct kl_token_walk *w, size_t base, struct kl_token_node from,
                          const struct kl_free_string *string, uint64_t *mask)
{
    const struct kl_token_nodes *tokens = &w->trie->tokens;
    const struct kl_string_table *table = &w->trie->sets.table;
    size_t n = 0, depth = base + 1;
    w->places[base].state = KL_STRING_BETWEEN;
    w->places[base].chars = 0;
    descend(w, depth, from.first, from.n);
    while (depth > base) {
        struct kl_token_place *place = &w->places[depth], *parent = place - 1;
        if (place->at == place->end) {
            depth--;
            continue;
        }
        uint32_t i = place->at++;
        struct kl_token_node node = tokens->nodes[i];
        place->byte = (uint8_t)node.byte;
        place->state = table->next[parent->state][node.byte];
        place->chars = parent->chars + (parent->state == KL_STRING_BETWEEN);
        if (place->state == KL_STRING_CLOSED) {
            if (parent->chars >= string->least && close_at(w, string, base, depth))
                n += allow(node, mask) + walk(w, depth, node.first, node.n, false, mask);

            continue;
        }
        if (place->state == KL_STRING_DEAD || place->chars > string->most)
            continue;
        n += allow(node, mask);
        const struct kl_token_span *span =
            node.is_large ? kl_token_spans_get(&tokens->spans, i) : NULL;
        if (span != NULL && is_plain_below(w, span, *place, string->most))
            n += kl_token_spans_allow(&tokens->spans, span, mask);
        else if (node.n > 0)
            descend(w, ++depth, node.first, node.n);
    }
    return n;
}

size_t kl_token_walk_all(struct kl_token_walk *w, const struct kl_rule_state *state, uint64_t *mask)
{
    memset(mask, 0, w->trie->sets.n_words * sizeof *mask);
    w->states[0] = *state;
    w->places[0].number = 0;
    w->places[0].is_known = true;
    w->n_steps = 0;
    size_t mark = kl_machine_mark(w->machine);
    size_t n = walk_roots(w, mask);
    /* where the machine has kept nothing, no state of the memo will be forgotten */
    if (w->n_steps == LARGE_WALK)
        w->is_kept = kl_machine_mark(w->machine) == mark;
    return n;
}

/* The node of the trie to which these bytes lead; NULL: none. */
static const struct kl_token_node *find_node(const struct kl_token_nodes *trie, const char *bytes,
                                             size_t n)
{
    const struct kl_token_node *node = NULL;
    for (size_t depth = 0; depth < n; depth++) {
        size_t at = node != NULL ? node->first : 0;
        size_t end = at + (node != NULL ? node->n : trie->n_roots);
        while (at < end && trie->nodes[at].byte < (uint8_t)bytes[depth])
            at++;
        if (at == end || trie->nodes[at].byte != (uint8_t)bytes[depth])
            return NULL;
        node = &trie->nodes[at];
    }
    return node;
}

bool kl_token_walk_goes_on(struct kl_token_walk *w, const struct kl_rule_state *state,
                           const char *bytes, size_t n)
{
    const struct kl_token_nodes *trie = &w->trie->tokens;
    const struct kl_token_node *node = n <= trie->max_depth ? find_node(trie, bytes, n) : NULL;
    size_t depth = 1;
    if (node == NULL)
        return false;
    w->states[0] = *state;
    descend(w, 1, node->first, node->n);
    while (depth > 0) {
        struct kl_token_place *place = &w->places[depth];
        if (place->at == place->end) {
            depth--;
            continue;
        }
        node = &trie->nodes[place->at++];
        if (!kl_machine_step(w->machine, &w->states[depth - 1], (uint8_t)node->byte,
                             &w->states[depth]))
            continue;
        if (node->value != 0)
            return true;
        if (node->n > 0)
            descend(w, ++depth, node->first, node->n);
    }
    return false;
}

/* ---- life ------------------------------------------------------------------------------------ */

enum kl_status kl_token_walk_init(struct kl_token_walk *w, struct kl_machine *machine,
                                  const struct kl_token_trie *trie, struct kl_error *err)
{
    size_t n = trie->tokens.max_depth + 2;
    *w = (struct kl_token_walk){.machine = machine, .trie = trie};
    w->states = malloc(n * sizeof *w->states);
    w->places = malloc(n * sizeof *w->places);
    if (w->states != NULL && w->places != NULL)
        return KL_OK;
    kl_token_walk_release(w);
    return kl_fail_memory(err, "a matcher", n * sizeof *w->states);
}

void kl_token_walk_release(struct kl_token_walk *w)
{
    free(w->states);
    free(w->places);
    free(w->memo);
    *w = (struct kl_token_walk){0};
}

size_t kl_token_walk_bytes(const struct kl_token_walk *w)
{
    return (w->trie->tokens.max_depth + 2) * (sizeof *w->states + sizeof *w->places) +
           (w->memo != NULL ? sizeof *w->memo : 0);
}
