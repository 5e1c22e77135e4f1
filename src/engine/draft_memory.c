#include "engine/draft_memory.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"

/* An answer takes whole blocks, each of which has its scope. Tokens of its prompt are kept, too, so
 * that its first tokens are found. */
enum { BLOCK = 64, CONTEXT = 16 };

struct kl_draft_memory {
    size_t n_tokens, table_bits;
    uint64_t end;     /* tokens ever written; the ring has the last n_tokens */
    uint64_t *scopes; /* [n_tokens / BLOCK] of the answer that a block belongs to */
    uint32_t *table;  /* [1 << table_bits] by hash: the low bits of a place */
    int32_t *tokens;  /* [n_tokens] answers, each followed by at least one -1 */
    uint64_t memory[];
};

enum kl_status kl_draft_memory_open(size_t bytes, struct kl_draft_memory **out,
                                    struct kl_error *err)
{
    struct kl_draft_memory *m = calloc(1, bytes);
    *out = m;
    if (m == NULL)
        return kl_fail_memory(err, "the answers given before", bytes);
    size_t left = bytes - sizeof *m;
    while (((size_t)sizeof *m->table << (m->table_bits + 1)) <= bytes / 2)
        m->table_bits++;
    left -= sizeof *m->table << m->table_bits;
    size_t n_blocks = left / (sizeof *m->scopes + BLOCK * sizeof *m->tokens);
    m->n_tokens = n_blocks * BLOCK;
    m->scopes = m->memory;
    m->table = (uint32_t *)(m->scopes + n_blocks);
    m->tokens = (int32_t *)(m->table + ((size_t)1 << m->table_bits));
    m->end = BLOCK; /* no answer begins at 0, which a table without entries has */
    return KL_OK;
}

void kl_draft_memory_close(struct kl_draft_memory *m)
{
    free(m);
}

static size_t slot_of(const struct kl_draft_memory *m, uint64_t scope, const int32_t *tokens)
{
    uint64_t hash = kl_hash64(tokens, KL_DRAFT_MEMORY_MATCH * sizeof *tokens, scope);
    return (size_t)(hash >> (64 - m->table_bits));
}

static bool is_kept(const struct kl_draft_memory *m, uint64_t at)
{
    return at < m->end && m->end - at <= m->n_tokens;
}

int32_t kl_draft_memory_token(const struct kl_draft_memory *m, uint64_t at)
{
    return is_kept(m, at) ? m->tokens[at % m->n_tokens] : -1;
}

/* Begins a new block when the last one is full. */
static void append(struct kl_draft_memory *m, uint64_t scope, int32_t token)
{
    m->scopes[m->end % m->n_tokens / BLOCK] = scope;
    m->tokens[m->end++ % m->n_tokens] = token;
}

void kl_draft_memory_add(struct kl_draft_memory *m, uint64_t scope, const int32_t *tokens,
                         size_t n_prompt, size_t n)
{
    size_t first = n_prompt > CONTEXT ? n_prompt - CONTEXT : 0;
    if (n - first > m->n_tokens / 2)
        first = n - m->n_tokens / 2;
    for (size_t i = first; i < n; i++) {
        append(m, scope, tokens[i]);
        if (i + 1 >= first + KL_DRAFT_MEMORY_MATCH && i + 1 >= n_prompt)
            m->table[slot_of(m, scope, tokens + i + 1 - KL_DRAFT_MEMORY_MATCH)] = (uint32_t)m->end;
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
    uint64_t at = whole_position(m, m->table[slot_of(m, scope, tokens)]);
    if (at < KL_DRAFT_MEMORY_MATCH || !is_kept(m, at) || !is_kept(m, at - KL_DRAFT_MEMORY_MATCH) ||
        m->scopes[at % m->n_tokens / BLOCK] != scope)
        return KL_DRAFT_NOWHERE;
    for (size_t i = 0; i < KL_DRAFT_MEMORY_MATCH; i++)
        if (m->tokens[(at - KL_DRAFT_MEMORY_MATCH + i) % m->n_tokens] != tokens[i])
            return KL_DRAFT_NOWHERE;
    return at;
}
