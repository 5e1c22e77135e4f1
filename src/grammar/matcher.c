#include "grammar/matcher.h"

#include <stdlib.h>

#include "grammar/mask_cache.h"
#include "grammar/token_walk.h"

struct kl_matcher {
    struct kl_rule *rule;
    struct kl_machine *machine;
    const struct kl_token_trie *trie;
    struct kl_token_walk walk;
    struct kl_mask_cache cache;
    uint64_t masks, masks_cached;
};

/* ---- masks ----------------------------------------------------------------------------------- */

static size_t allow_ends(const struct kl_token_trie *trie, uint64_t *allowed)
{
    for (size_t i = 0; i < trie->n_ends; i++)
        allowed[trie->ends[i] / 64] |= (uint64_t)1 << trie->ends[i] % 64;
    return trie->n_ends;
}

/* In a string whose characters are limited: what may follow its filter, as far as it stays inside
 * the string and is short enough, and tokens that close it. */
static size_t find_filtered(struct kl_matcher *m, const struct kl_rule_state *state,
                            const struct kl_free_string *string, uint64_t *allowed)
{
    size_t n;
    if (kl_mask_cache_get(&m->cache, &string->key, allowed, &n)) {
        m->masks_cached++;
    } else {
        n = kl_token_walk_all(&m->walk, &string->filter, allowed);
        if (m->machine->failure.status == KL_OK)
            kl_mask_cache_put(&m->cache, &string->key, allowed, n);
    }
    n = kl_token_sets_keep_inside(&m->trie->sets, string->most, allowed);
    return n + kl_token_walk_closing(&m->walk, state, string, allowed);
}

/* A mask in a free string is there almost at once, and the next one is in another state; walks are
 * worth keeping. */
static size_t find_mask(struct kl_matcher *m, const struct kl_rule_state *state, uint64_t *allowed)
{
    struct kl_free_string string;
    size_t n;
    m->masks++;
    if (kl_machine_free_string(m->machine, state, &string))
        return string.is_filtered ? find_filtered(m, state, &string, allowed)
                                  : kl_token_walk_free(&m->walk, state, &string, allowed);
    if (kl_mask_cache_get(&m->cache, state, allowed, &n)) {
        m->masks_cached++;
        return n;
    }
    n = kl_token_walk_all(&m->walk, state, allowed);
    if (m->machine->failure.status == KL_OK)
        kl_mask_cache_put(&m->cache, state, allowed, n);
    return n;
}

enum kl_status kl_matcher_allowed(struct kl_matcher *m, const struct kl_rule_state *state,
                                  uint64_t *allowed, size_t *n_allowed, struct kl_error *err)
{
    size_t mark = kl_machine_mark(m->machine);
    *n_allowed = find_mask(m, state, allowed);
    kl_machine_release(m->machine, mark);
    if (kl_matcher_is_complete(m, state))
        *n_allowed += allow_ends(m->trie, allowed);
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
    while (done < n && kl_machine_step(m->machine, state, (uint8_t)bytes[done], state))
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
    size_t mark = kl_machine_mark(m->machine);
    if (kl_matcher_accept_bytes(m, &next, bytes, len) < len) {
        kl_machine_release(m->machine, mark);
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
        if (!kl_machine_step(m->machine, state, (uint8_t)byte, &to))
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
    size_t n = 0, mark = kl_machine_mark(m->machine);
    for (; n < room && !kl_matcher_is_complete(m, &now); now = next) {
        int byte = only_byte(m, &now, &next);
        if (byte < 0)
            break;
        bytes[n++] = (char)byte;
    }
    kl_machine_release(m->machine, mark);
    return n;
}

bool kl_matcher_goes_on(struct kl_matcher *m, const struct kl_rule_state *state, const char *bytes,
                        size_t n)
{
    size_t mark = kl_machine_mark(m->machine);
    bool goes_on = kl_token_walk_goes_on(&m->walk, state, bytes, n);
    kl_machine_release(m->machine, mark);
    return goes_on;
}

/* ---- life ------------------------------------------------------------------------------------ */

enum kl_status kl_matcher_open(struct kl_rule *rule, const struct kl_token_trie *trie,
                               struct kl_matcher **matcher, struct kl_error *err)
{
    *matcher = NULL;
    struct kl_matcher *m = calloc(1, sizeof *m);
    if (m == NULL)
        return kl_fail_memory(err, "a matcher", sizeof *m);
    m->rule = kl_rule_hold(rule);
    m->trie = trie;
    kl_mask_cache_init(&m->cache, trie->n_vocab / 64 + 1);
    enum kl_status status = rule->kind->open(rule, &m->machine, err);
    if (status == KL_OK)
        status = kl_token_walk_init(&m->walk, m->machine, trie, err);
    if (status == KL_OK)
        *matcher = m;
    else
        kl_matcher_close(m);
    return status;
}

void kl_matcher_close(struct kl_matcher *m)
{
    if (m == NULL)
        return;
    if (m->machine != NULL)
        m->machine->kind->close(m->machine);
    kl_rule_disown(m->rule);
    kl_token_walk_release(&m->walk);
    kl_mask_cache_release(&m->cache);
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
                                       .bytes = sizeof *m + kl_token_walk_bytes(&m->walk) +
                                                kl_mask_cache_bytes(&m->cache) +
                                                m->machine->kind->bytes(m->machine)};
}
