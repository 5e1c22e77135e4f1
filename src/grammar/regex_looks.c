/*
 * Look-aheads: each one that a thread passes runs next to it, over the same bytes, until it is
 * decided. A condition is the set of those that are not.
 */
#include <stdlib.h>

#include "grammar/regex_run.h"

/* Undecided look-aheads of one thread; states that are searched for one that accepts. */
enum { MAX_PAIRS = 64, MAX_SEARCHED = 8192 };

struct pairs {
    uint32_t words[2 * MAX_PAIRS]; /* sorted */
    size_t n;                      /* pairs */
    bool never;
};

static void fail(struct kl_regex_run *run, enum kl_status status)
{
    if (run->failure == KL_OK)
        run->failure = status;
}

static void insert(struct kl_regex_run *run, struct pairs *pairs, uint32_t look, uint32_t state)
{
    const struct kl_regex_run *sub = run->looks[look / 2];
    bool negative = look & 1, yes = state == KL_REGEX_ACCEPTS_ALL, no = state == KL_REGEX_DEAD;
    size_t at = 0;
    if (sub->failure != KL_OK)
        fail(run, sub->failure);
    if (negative ? yes : no)
        pairs->never = true;
    if (yes || no)
        return;
    while (at < pairs->n && (pairs->words[2 * at] < look ||
                             (pairs->words[2 * at] == look && pairs->words[2 * at + 1] < state)))
        at++;
    if (at < pairs->n && pairs->words[2 * at] == look && pairs->words[2 * at + 1] == state)
        return;
    if (pairs->n == MAX_PAIRS) {
        fail(run, KL_ERR_LIMIT);
        return;
    }
    for (size_t i = pairs->n++; i > at; i--) {
        pairs->words[2 * i] = pairs->words[2 * i - 2];
        pairs->words[2 * i + 1] = pairs->words[2 * i - 1];
    }
    pairs->words[2 * at] = look;
    pairs->words[2 * at + 1] = state;
}

static uint32_t number_of(struct kl_regex_run *run, const struct pairs *pairs)
{
    if (pairs->never || run->failure != KL_OK)
        return KL_REGEX_FALSE;
    if (pairs->n == 0)
        return 0;
    uint32_t number = kl_word_store_put(&run->conditions, pairs->words, 2 * pairs->n);
    if (number == 0)
        fail(run, run->conditions.failure);
    return number == 0 ? KL_REGEX_FALSE : number;
}

static void load(const struct kl_regex_run *run, uint32_t condition, const uint32_t **words,
                 size_t *n)
{
    *n = 0;
    if (condition != 0)
        *words = kl_word_store_get(&run->conditions, condition, n);
}

uint32_t kl_regex_condition_add(struct kl_regex_run *run, uint32_t condition, uint32_t look,
                                bool negative, bool at_begin)
{
    const struct kl_regex_run *sub = run->looks[look];
    const uint32_t *words = NULL;
    struct pairs pairs = {.n = 0};
    size_t n;
    load(run, condition, &words, &n);
    for (size_t i = 0; i < n; i += 2)
        insert(run, &pairs, words[i], words[i + 1]);
    insert(run, &pairs, 2 * look + negative, at_begin ? sub->start : sub->inner_start);
    return number_of(run, &pairs);
}

uint32_t kl_regex_condition_step(struct kl_regex_run *run, uint32_t condition, uint8_t byte)
{
    const uint32_t *words = NULL;
    struct pairs pairs = {.n = 0};
    size_t n;
    load(run, condition, &words, &n);
    for (size_t i = 0; i < n && !pairs.never; i += 2)
        insert(run, &pairs, words[i],
               kl_regex_run_step(run->looks[words[i] / 2], words[i + 1], byte));
    return number_of(run, &pairs);
}

bool kl_regex_condition_holds(const struct kl_regex_run *run, uint32_t condition)
{
    const uint32_t *words = NULL;
    size_t n;
    load(run, condition, &words, &n);
    for (size_t i = 0; i < n; i += 2) {
        bool negative = words[i] & 1;
        if (kl_regex_run_accepts(run->looks[words[i] / 2], words[i + 1]) == negative)
            return false;
    }
    return true;
}

/* ---- dead states ----------------------------------------------------------------------------- */

struct search {
    struct {
        uint32_t state, parent;
    } items[MAX_SEARCHED];
    size_t n;
};

/* Breadth first. Returns whether a state that is alive was reached, from item *from. */
static bool search_alive(struct kl_regex_run *run, struct search *s, size_t *from)
{
    for (size_t i = 0; i < s->n; i++) {
        for (size_t c = 0; c < run->regex->n_classes; c++) {
            uint32_t next = kl_regex_raw_step(run, s->items[i].state, run->regex->samples[c]);
            if (run->failure != KL_OK)
                return false;
            if (run->flags[next] & KL_REGEX_ALIVE) {
                *from = i;
                return true;
            }
            if (run->flags[next] & (KL_REGEX_IS_DEAD | KL_REGEX_VISITED))
                continue;
            if (s->n == MAX_SEARCHED) {
                fail(run, KL_ERR_LIMIT);
                return false;
            }
            run->flags[next] |= KL_REGEX_VISITED;
            s->items[s->n].state = next;
            s->items[s->n++].parent = (uint32_t)i;
        }
    }
    return false;
}

void kl_regex_settle(struct kl_regex_run *run, uint32_t state)
{
    struct search *s = malloc(sizeof *s);
    size_t at = 0;
    if (s == NULL) {
        fail(run, KL_ERR_MEMORY);
        return;
    }
    run->flags[state] |= KL_REGEX_VISITED;
    s->items[0].state = state;
    s->items[0].parent = 0;
    s->n = 1;
    bool alive = search_alive(run, s, &at);
    for (size_t i = 0; i < s->n; i++) {
        uint8_t *flags = &run->flags[s->items[i].state];
        *flags = (uint8_t)(*flags & ~KL_REGEX_VISITED);
        if (!alive && run->failure == KL_OK)
            *flags |= KL_REGEX_IS_DEAD;
    }
    for (; alive; at = s->items[at].parent) {
        run->flags[s->items[at].state] |= KL_REGEX_ALIVE;
        if (at == 0)
            break;
    }
    free(s);
}
