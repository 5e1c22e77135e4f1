#include "grammar/regex_least.h"

#include <stdlib.h>
#include <string.h>

/* Most states that a search reaches. */
enum { MAX_SEARCH = 4096 };

/* Breadth first, by levels: the states of each are reached with one more character. */
struct search {
    struct kl_regex_run *run;
    uint32_t states[MAX_SEARCH];
    uint8_t *seen; /* [n_seen] by state */
    size_t n, n_seen;
    enum kl_status status;
};

void kl_regex_least_release(struct kl_regex_least *memo)
{
    free(memo->least);
    *memo = (struct kl_regex_least){0};
}

static void add(struct search *s, uint32_t state)
{
    if (state >= s->n_seen) {
        size_t wider = 2 * (size_t)state + 64;
        uint8_t *grown = realloc(s->seen, wider);
        if (grown == NULL) {
            s->status = KL_ERR_MEMORY;
            return;
        }
        memset(grown + s->n_seen, 0, wider - s->n_seen);
        s->seen = grown;
        s->n_seen = wider;
    }
    if (s->seen[state])
        return;
    s->seen[state] = 1;
    if (s->n == MAX_SEARCH)
        s->status = KL_ERR_LIMIT;
    else
        s->states[s->n++] = state;
}

/* Adds the states that one byte leads to: the first one of a character, or a later one. */
static void reach(struct search *s, uint32_t state, bool begins)
{
    for (int byte = begins ? 0 : 0x80; byte < (begins ? 0x100 : 0xC0); byte++) {
        if (begins && byte == 0x80)
            byte = 0xC2;
        uint32_t next = kl_regex_run_step(s->run, state, (uint8_t)byte);
        if (next != KL_REGEX_DEAD && s->status == KL_OK)
            add(s, next);
    }
}

static uint32_t find(struct search *s, uint32_t state)
{
    size_t begin = 0;
    add(s, state);
    for (uint32_t level = 0; begin < s->n && s->status == KL_OK; level++) {
        for (size_t i = begin; i < s->n && s->status == KL_OK; i++) {
            if (kl_regex_run_accepts(s->run, s->states[i]))
                return level;
            reach(s, s->states[i], false);
        }
        for (size_t end = s->n; begin < end && s->status == KL_OK; begin++)
            reach(s, s->states[begin], true);
    }
    return UINT32_MAX;
}

static bool grow(struct kl_regex_least *memo, uint32_t state)
{
    size_t wider = 2 * (size_t)state + 64;
    uint32_t *grown = realloc(memo->least, wider * sizeof *grown);
    if (grown == NULL)
        return false;
    memset(grown + memo->n, 0, (wider - memo->n) * sizeof *grown);
    memo->least = grown;
    memo->n = wider;
    return true;
}

uint32_t kl_regex_least(struct kl_regex_least *memo, struct kl_regex_run *run, uint32_t state,
                        enum kl_status *status)
{
    if (state == KL_REGEX_DEAD)
        return UINT32_MAX;
    if (kl_regex_run_accepts(run, state))
        return 0;
    if (state < memo->n && memo->least[state] != 0)
        return memo->least[state] - 1;
    struct search *s = malloc(sizeof *s);
    if (s == NULL || (state >= memo->n && !grow(memo, state))) {
        free(s);
        *status = KL_ERR_MEMORY;
        return UINT32_MAX;
    }
    s->run = run;
    s->seen = NULL;
    s->n = s->n_seen = 0;
    s->status = KL_OK;
    uint32_t least = find(s, state);
    if (s->status == KL_OK)
        s->status = kl_regex_run_failure(run);
    if (s->status == KL_OK)
        memo->least[state] = least + 1; /* a state that is not dead has a way */
    else
        *status = s->status;
    free(s->seen);
    free(s);
    return least;
}
