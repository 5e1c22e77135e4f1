#include "grammar/regex_count.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_SEARCH = 256 };

void kl_regex_count_release(struct kl_regex_count *memo)
{
    free(memo->known);
    *memo = (struct kl_regex_count){0};
}

static bool grow(struct kl_regex_count *memo, uint32_t state)
{
    if (state < memo->n)
        return true;
    size_t wider = 2 * (size_t)state + 64;
    uint32_t *grown = realloc(memo->known, wider * sizeof *grown);
    if (grown == NULL)
        return false;
    memset(grown + memo->n, 0, (wider - memo->n) * sizeof *grown);
    memo->known = grown;
    memo->n = wider;
    return true;
}

/* A state that is being counted counts as many: it is reached again, and every state has a way to a
 * match, so there is no end of texts. Recursion: KL_REGEX_MAX_COUNTED. */
static uint32_t count(struct kl_regex_count *memo, struct kl_regex_run *run, uint32_t state,
                      int depth, enum kl_status *status)
{
    if (state == KL_REGEX_DEAD)
        return 0;
    if (depth == KL_REGEX_MAX_COUNTED || kl_regex_run_accepts_all(run, state))
        return KL_REGEX_MANY;
    if (!grow(memo, state))
        *status = KL_ERR_MEMORY;
    if (*status != KL_OK)
        return KL_REGEX_MANY;
    if (memo->known[state] != 0)
        return memo->known[state] - 1;
    memo->known[state] = KL_REGEX_MANY + 1;
    uint32_t n = kl_regex_run_accepts(run, state);
    for (int byte = 0; byte < 256 && n < KL_REGEX_MANY; byte++)
        n += count(memo, run, kl_regex_run_step(run, state, (uint8_t)byte), depth + 1, status);
    if (n > KL_REGEX_MANY)
        n = KL_REGEX_MANY;
    if (*status == KL_OK)
        *status = kl_regex_run_failure(run);
    memo->known[state] = n + 1;
    return n;
}

uint32_t kl_regex_count(struct kl_regex_count *memo, struct kl_regex_run *run, uint32_t state,
                        enum kl_status *status)
{
    return count(memo, run, state, 0, status);
}

bool kl_regex_is_endless(struct kl_regex_count *memo, struct kl_regex_run *run, size_t *n_states,
                         enum kl_status *status)
{
    uint32_t states[MAX_SEARCH] = {kl_regex_run_start(run)};
    size_t n = 1;
    for (size_t i = 0; i < n; i++, ++*n_states) {
        uint32_t last = KL_REGEX_DEAD;
        if (kl_regex_count(memo, run, states[i], status) < KL_REGEX_MANY || *status != KL_OK)
            return false;
        for (int byte = 0; byte < 256; byte++) {
            uint32_t next = kl_regex_run_step(run, states[i], (uint8_t)byte);
            size_t k = 0;
            if (next == last || next == KL_REGEX_DEAD)
                continue;
            last = next;
            while (k < n && states[k] != next)
                k++;
            if (k < n)
                continue;
            if (n == MAX_SEARCH)
                return false;
            states[n++] = next;
        }
    }
    return true;
}
