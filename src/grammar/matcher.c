#include "grammar/matcher.h"

#include <stdlib.h>
#include <string.h>

#include "grammar/token_nodes.h"

struct kl_matcher {
    struct kl_rule *rule;
    struct kl_machine *machine;
    const struct kl_token_trie *trie;
    struct kl_rule_state *states; /* [max_depth + 1] of the walk, by depth */
    uint64_t masks, masks_cached;
};

/* ---- the machine ----------------------------------------------------------------------------- */

static bool step(struct kl_matcher *m, const struct kl_rule_state *from, uint8_t byte,
                 struct kl_rule_state *to)
{
    return m->machine->kind->step(m->machine, from, byte, to);
}

static size_t mark(struct kl_matcher *m)
{
    return m->machine->kind->mark != NULL ? m->machine->kind->mark(m->machine) : 0;
}

static void release(struct kl_matcher *m, size_t marked)
{
    if (m->machine->kind->release != NULL)
        m->machine->kind->release(m->machine, marked);
}

/* ---- masks ----------------------------------------------------------------------------------- */

static void set_bit(uint64_t *allowed, size_t id)
{
    allowed[id / 64] |= (uint64_t)1 << id % 64;
}

/* Tries the tokens by depth-first walk. Returns how many are allowed. */
static size_t walk(struct kl_matcher *m, const struct kl_rule_state *state, uint64_t *allowed)
{
    const struct kl_token_node *nodes = m->trie->nodes;
    struct kl_rule_state *states = m->states;
    size_t n = 0;
    states[0] = *state;
    for (size_t i = 0; i < m->trie->n_nodes;) {
        struct kl_token_node node = nodes[i];
        if (!step(m, &states[node.depth - 1], (uint8_t)node.byte, &states[node.depth])) {
            i += node.size;
            continue;
        }
        if (node.token != 0) {
            set_bit(allowed, node.token - 1);
            n++;
        }
        i++;
    }
    return n;
}

enum kl_status kl_matcher_allowed(struct kl_matcher *m, const struct kl_rule_state *state,
                                  uint64_t *allowed, size_t *n_allowed, struct kl_error *err)
{
    memset(allowed, 0, (m->trie->n_vocab / 64 + 1) * sizeof *allowed);
    size_t marked = mark(m);
    size_t n = walk(m, state, allowed);
    release(m, marked);
    if (m->machine->kind->is_complete(m->machine, state)) {
        for (size_t i = 0; i < m->trie->n_ends; i++)
            set_bit(allowed, (size_t)m->trie->ends[i]);
        n += m->trie->n_ends;
    }
    m->masks++;
    *n_allowed = n;
    if (m->machine->failure.status == KL_OK)
        return KL_OK;
    if (err != NULL)
        *err = m->machine->failure;
    return m->machine->failure.status;
}

/* ---- one token, and bytes -------------------------------------------------------------------- */

size_t kl_matcher_accept_bytes(struct kl_matcher *m, struct kl_rule_state *state, const char *bytes,
                               size_t n)
{
    size_t done = 0;
    while (done < n && step(m, state, (uint8_t)bytes[done], state))
        done++;
    return done;
}

bool kl_matcher_accept(struct kl_matcher *m, struct kl_rule_state *state, int32_t token)
{
    const struct kl_tokenizer *tokenizer = m->trie->tokenizer;
    if (kl_tokenizer_is_end(tokenizer, token))
        return kl_matcher_is_complete(m, state);
    size_t len;
    const char *bytes = kl_tokenizer_piece(tokenizer, token, &len);
    if (len == 0 || kl_tokenizer_is_control(tokenizer, token))
        return false;
    struct kl_rule_state next = *state;
    size_t marked = mark(m);
    if (kl_matcher_accept_bytes(m, &next, bytes, len) < len) {
        release(m, marked);
        return false;
    }
    *state = next;
    return true;
}

bool kl_matcher_is_complete(struct kl_matcher *m, const struct kl_rule_state *state)
{
    return m->machine->failure.status == KL_OK && m->machine->kind->is_complete(m->machine, state);
}

/* The only byte that may follow, or -1. Two of them are enough to know that there is none. */
static int only_byte(struct kl_matcher *m, const struct kl_rule_state *state,
                     struct kl_rule_state *next)
{
    int only = -1;
    struct kl_rule_state to;
    for (int byte = 0; byte < 256; byte++) {
        if (!step(m, state, (uint8_t)byte, &to))
            continue;
        if (only >= 0)
            return -1;
        only = byte;
        *next = to;
    }
    return only;
}

size_t kl_matcher_forced(struct kl_matcher *m, const struct kl_rule_state *state, char *bytes,
                         size_t room)
{
    struct kl_rule_state now = *state, next;
    size_t n = 0, marked = mark(m);
    for (; n < room && !kl_matcher_is_complete(m, &now); now = next) {
        int byte = only_byte(m, &now, &next);
        if (byte < 0)
            break;
        bytes[n++] = (char)byte;
    }
    release(m, marked);
    return n;
}

/* ---- life ------------------------------------------------------------------------------------ */

enum kl_status kl_matcher_open(struct kl_rule *rule, const struct kl_token_trie *trie,
                               struct kl_matcher **matcher, struct kl_error *err)
{
    *matcher = NULL;
    struct kl_matcher *m = calloc(1, sizeof *m);
    struct kl_rule_state *states = malloc((trie->max_depth + 1) * sizeof *states);
    if (m == NULL || states == NULL) {
        free(states);
        free(m);
        return kl_fail_memory(err, "a matcher", (trie->max_depth + 1) * sizeof *states);
    }
    m->rule = kl_rule_hold(rule);
    m->trie = trie;
    m->states = states;
    enum kl_status status = rule->kind->open(rule, &m->machine, err);
    if (status != KL_OK) {
        kl_matcher_close(m);
        return status;
    }
    *matcher = m;
    return KL_OK;
}

void kl_matcher_close(struct kl_matcher *m)
{
    if (m == NULL)
        return;
    if (m->machine != NULL)
        m->machine->kind->close(m->machine);
    kl_rule_disown(m->rule);
    free(m->states);
    free(m);
}

void kl_matcher_begin(struct kl_matcher *m, struct kl_rule_state *state)
{
    m->machine->kind->begin(m->machine, state);
}

void kl_matcher_stats(const struct kl_matcher *m, struct kl_matcher_stats *stats)
{
    *stats = (struct kl_matcher_stats){.masks = m->masks,
                                       .masks_cached = m->masks_cached,
                                       .bytes = sizeof *m +
                                                (m->trie->max_depth + 1) * sizeof *m->states +
                                                m->machine->kind->bytes(m->machine)};
}
