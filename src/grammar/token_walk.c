#include "grammar/token_walk.h"

#include <stdlib.h>
#include <string.h>

/* A subtree of fewer nodes is walked by the machine, also in a free string. */
#define SMALL_SUBTREE 8

/* Steps of the machine after which a walk counts as large, and steps are remembered. */
#define LARGE_WALK 400

static void set_bit(uint64_t *mask, uint32_t id)
{
    mask[id / 64] |= (uint64_t)1 << id % 64;
}

/* The token that ends at a node, if there is one. */
static size_t allow(struct kl_token_node node, uint64_t *mask)
{
    if (node.value == 0)
        return 0;
    set_bit(mask, node.value - 1);
    return 1;
}

static bool try_bytes(struct kl_token_walk *w, const struct kl_rule_state *from, const char *bytes,
                      size_t n)
{
    struct kl_rule_state state = *from;
    size_t i = 0, mark = kl_machine_mark(w->machine);
    while (i < n && kl_machine_step(w->machine, &state, (uint8_t)bytes[i], &state))
        i++;
    kl_machine_release(w->machine, mark);
    return i == n;
}

/* ---- in a free string ------------------------------------------------------------------------ */

/* The tokens of groups [first, end) whose characters before the quote are neither too few nor too
 * many. */
static size_t close_groups(struct kl_token_walk *w, const struct kl_rule_state *state,
                           const struct kl_free_string *string, size_t first, size_t end,
                           uint64_t *mask)
{
    const struct kl_token_sets *sets = &w->trie->sets;
    size_t n = 0;
    for (uint32_t i = sets->groups[first]; i < sets->groups[end]; i++) {
        struct kl_string_token token = sets->closing[i];
        if (token.chars < string->least || token.chars > string->most)
            continue;
        if (string->must_try) {
            size_t len;
            const char *bytes = kl_tokenizer_piece(w->trie->tokenizer, (int32_t)token.id, &len);
            if (!try_bytes(w, state, bytes, len))
                continue;
        }
        set_bit(mask, token.id);
        n++;
    }
    return n;
}

/* The number of groups in the subtree at node i, the first of them in *first. */
static size_t groups_below(const struct kl_token_nodes *trie, size_t i, size_t *first)
{
    size_t n = 0;
    for (size_t end = i + trie->nodes[i].size; i < end; i++) {
        if (trie->nodes[i].value != 0 && n++ == 0)
            *first = trie->nodes[i].value - 1;
    }
    return n;
}

/* Tokens that close the string. */
static size_t close_string(struct kl_token_walk *w, const struct kl_rule_state *state,
                           const struct kl_free_string *string, uint64_t *mask)
{
    const struct kl_token_nodes *after = &w->trie->sets.after;
    size_t n = close_groups(w, state, string, 0, 1, mask);
    w->states[0] = string->after;
    for (size_t i = 0; i < after->n;) {
        struct kl_token_node node = after->nodes[i];
        if (!kl_machine_step(w->machine, &w->states[node.depth - 1], (uint8_t)node.byte,
                             &w->states[node.depth])) {
            i += node.size;
        } else if (string->must_try) {
            size_t first = 0, n_groups = groups_below(after, i, &first);
            n += close_groups(w, state, string, first, first + n_groups, mask);
            i += node.size;
        } else {
            if (node.value != 0)
                n += close_groups(w, state, string, node.value - 1, node.value, mask);
            i++;
        }
    }
    return n;
}

size_t kl_token_walk_free(struct kl_token_walk *w, const struct kl_rule_state *state,
                          const struct kl_free_string *string, uint64_t *mask)
{
    size_t n = kl_token_sets_inside(&w->trie->sets, string->most, mask);
    return n + close_string(w, state, string, mask);
}

/* ---- elsewhere ------------------------------------------------------------------------------- */

static size_t walk_string(struct kl_token_walk *w, size_t i, size_t end,
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

/* One more byte, from depth - 1 to depth, in a walk that is large. */
static bool step_large(struct kl_token_walk *w, size_t depth, uint8_t byte)
{
    struct kl_token_place *place = &w->places[depth], *parent = place - 1;
    if (parent->number == 0)
        parent->number = kl_step_memo_number(w->memo, &w->states[depth - 1]);
    if (parent->number == 0)
        return kl_machine_step(w->machine, &w->states[depth - 1], byte, &w->states[depth]);
    uint16_t *next = &w->memo->next[parent->number][byte];
    if (*next == KL_STEP_UNKNOWN) {
        bool may = kl_machine_step(w->machine, state_at(w, depth - 1), byte, &w->states[depth]);
        *next = may ? kl_step_memo_number(w->memo, &w->states[depth]) : KL_STEP_REFUSED;
    }
    place->number = *next;
    return *next != KL_STEP_REFUSED;
}

static bool step(struct kl_token_walk *w, size_t depth, uint8_t byte)
{
    w->places[depth].number = 0;
    if (w->n_steps >= LARGE_WALK)
        return step_large(w, depth, byte);
    if (!kl_machine_step(w->machine, &w->states[depth - 1], byte, &w->states[depth]))
        return false;
    if (++w->n_steps == LARGE_WALK)
        begin_large(w);
    return true;
}

static bool is_free(struct kl_token_walk *w, size_t depth, struct kl_free_string *string)
{
    uint16_t number = w->places[depth].number;
    if (number != 0 && w->memo->not_free[number])
        return false;
    if (kl_machine_free_string(w->machine, state_at(w, depth), string))
        return true;
    if (number != 0)
        w->memo->not_free[number] = true;
    return false;
}

/* The subtrees of nodes [i, end), which have one parent; the state there is known. strings: whether
 * free strings are looked for. */
static size_t walk(struct kl_token_walk *w, size_t i, size_t end, bool strings, uint64_t *mask)
{
    const struct kl_token_node *nodes = w->trie->tokens.nodes;
    struct kl_free_string string;
    size_t n = 0;
    while (i < end) {
        struct kl_token_node node = nodes[i];
        if (!step(w, node.depth, (uint8_t)node.byte)) {
            i += node.size;
            continue;
        }
        n += allow(node, mask);
        if (strings && node.size > SMALL_SUBTREE && is_free(w, node.depth, &string)) {
            n += walk_string(w, i + 1, i + node.size, &string, mask);
            i += node.size;
        } else {
            i++;
        }
    }
    return n;
}

/* Sets the state behind the closing quote, which led to `depth`, of a string that became free at
 * depth `base`. */
static bool close_at(struct kl_token_walk *w, const struct kl_free_string *string, size_t base,
                     size_t depth)
{
    struct kl_rule_state *state = &w->states[depth];
    *state = string->must_try ? *state_at(w, base) : string->after;
    w->places[depth].number = 0;
    for (size_t d = base + 1; string->must_try && d <= depth; d++) {
        if (!kl_machine_step(w->machine, state, w->places[d].byte, state))
            return false;
    }
    return true;
}

/* The subtrees of nodes [i, end), whose parent is in a free string. */
static size_t walk_string(struct kl_token_walk *w, size_t i, size_t end,
                          const struct kl_free_string *string, uint64_t *mask)
{
    const struct kl_token_node *nodes = w->trie->tokens.nodes;
    const struct kl_string_table *table = &w->trie->sets.table;
    size_t n = 0, base = nodes[i].depth - 1u;
    w->places[base].state = KL_STRING_BETWEEN;
    w->places[base].chars = 0;
    while (i < end) {
        struct kl_token_node node = nodes[i];
        struct kl_token_place *place = &w->places[node.depth], *parent = place - 1;
        place->byte = (uint8_t)node.byte;
        place->state = table->next[parent->state][node.byte];
        place->chars = parent->chars + (parent->state == KL_STRING_BETWEEN);
        if (place->state == KL_STRING_CLOSED) {
            if (parent->chars >= string->least && close_at(w, string, base, node.depth))
                n += allow(node, mask) + walk(w, i + 1, i + node.size, false, mask);
            i += node.size;
        } else if (place->state == KL_STRING_DEAD || place->chars > string->most) {
            i += node.size;
        } else {
            n += allow(node, mask);
            i++;
        }
    }
    return n;
}

size_t kl_token_walk_all(struct kl_token_walk *w, const struct kl_rule_state *state, uint64_t *mask)
{
    memset(mask, 0, w->trie->sets.n_words * sizeof *mask);
    w->states[0] = *state;
    w->places[0].number = 0;
    w->n_steps = 0;
    size_t mark = kl_machine_mark(w->machine);
    size_t n = walk(w, 0, w->trie->tokens.n, true, mask);
    /* where the machine has kept nothing, no state of the memo will be forgotten */
    if (w->n_steps == LARGE_WALK)
        w->is_kept = kl_machine_mark(w->machine) == mark;
    return n;
}

/* ---- life ------------------------------------------------------------------------------------ */

enum kl_status kl_token_walk_init(struct kl_token_walk *w, struct kl_machine *machine,
                                  const struct kl_token_trie *trie, struct kl_error *err)
{
    size_t n = trie->tokens.max_depth + 1;
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
    return (w->trie->tokens.max_depth + 1) * (sizeof *w->states + sizeof *w->places) +
           (w->memo != NULL ? sizeof *w->memo : 0);
}
