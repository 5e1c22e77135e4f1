#include "engine/draft_memory.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"

/* An answer takes whole blocks, each of which has its scope. */
enum { BLOCK = 64, N_BLOCKS = 6200, N_TOKENS = N_BLOCKS * BLOCK };
enum { TABLE_BITS = 19, CONTEXT = 16 };

_Static_assert((size_t)N_TOKENS * sizeof(int32_t) + N_BLOCKS * sizeof(uint64_t) +
                       ((size_t)1 << TABLE_BITS) * sizeof(uint32_t) <=
                   KL_DRAFT_MEMORY_BYTES,
               "it keeps to its size");

struct kl_draft_memory {
    uint64_t end;                    /* tokens ever written; the ring has the last N_TOKENS */
    uint64_t scopes[N_BLOCKS];       /* of the answer that a block belongs to */
    uint32_t table[1 << TABLE_BITS]; /* by hash: the low bits of a position */
    int32_t tokens[N_TOKENS];        /* answers, each followed by at least one -1 */
};

enum kl_status kl_draft_memory_open(struct kl_draft_memory **out, struct kl_error *err)
{
    *out = calloc(1, sizeof **out);
    if (*out == NULL)
        return kl_fail_memory(err, "the answers given before", sizeof **out);
    (*out)->end = BLOCK; /* no answer begins at 0, which a table without entries has */
    return KL_OK;
}

void kl_draft_memory_close(struct kl_draft_memory *m)
{
    free(m);
}

static size_t slot_of(uint64_t scope, const int32_t *tokens)
{
    uint64_t hash = kl_hash64(tokens, KL_DRAFT_MEMORY_MATCH * sizeof *tokens, scope);
    return (size_t)(hash >> (64 - TABLE_BITS));
}

static bool is_kept(const struct kl_draft_memory *m, uint64_t at)
{
    return at < m->end && m->end - at <= N_TOKENS;
}

int32_t kl_draft_memory_token(const struct kl_draft_memory *m, uint64_t at)
{
    return is_kept(m, at) ? m->tokens[at % N_TOKENS] : -1;
}

/* Begins a new block when the last one is full. */
static void append(struct kl_draft_memory *m, uint64_t scope, int32_t token)
{
    m->scopes[m->end % N_TOKENS / BLOCK] = scope;
    m->tokens[m->end++ % N_TOKENS] = token;
}

void kl_draft_memory_add(struct kl_draft_memory *m, uint64_t scope, const int32_t *tokens,
                         size_t n_prompt, size_t n)
{
    size_t first = n_prompt > CONTEXT ? n_prompt - CONTEXT : 0;
    if (n - first > N_TOKENS / 2)
        first = n - N_TOKENS / 2;
    for (size_t i = first; i < n; i++) {
        append(m, scope, tokens[i]);
        if (i + 1 >= first + KL_DRAFT_MEMORY_MATCH && i + 1 >= n_prompt)
            m->table[slot_of(scope, tokens + i + 1 - KL_DRAFT_MEMORY_MATCH)] = (uint32_t)m->end;
    }
    do
        append(m, scope, -1);
    while (m->end % BLOCK != 0);
}

/* The latest position below the end with these low bits. */
static uint64_t whole_position(const struct kl_draft_memory *m, uint32_t low)
{
    uint64_t at = (m->end & ~(uint64_t)UINT32_MAX) | low;
    return at < m->end || at <= UINT32_MAX ? at : at - UINT32_MAX - 1;
}

uint64_t kl_draft_memory_find(const struct kl_draft_memory *m, uint64_t scope,
                              const int32_t *tokens, size_t n)
{
    if (n < KL_DRAFT_MEMORY_MATCH)
        return KL_DRAFT_NOWHERE;
    tokens += n - KL_DRAFT_MEMORY_MATCH;
    uint64_t at = whole_position(m, m->table[slot_of(scope, tokens)]);
    if (at < KL_DRAFT_MEMORY_MATCH || !is_kept(m, at) || !is_kept(m, at - KL_DRAFT_MEMORY_MATCH) ||
        m->scopes[at % N_TOKENS / BLOCK] != scope)
        return KL_DRAFT_NOWHERE;
    for (size_t i = 0; i < KL_DRAFT_MEMORY_MATCH; i++)
        if (m->tokens[(at - KL_DRAFT_MEMORY_MATCH + i) % N_TOKENS] != tokens[i])
            return KL_DRAFT_NOWHERE;
    return at;
}
