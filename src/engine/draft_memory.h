/*
 * Answers given before, as a source of drafts: a ring of tokens in which the oldest answers are
 * overwritten, and the last position of each sequence of a few tokens in it.
 *
 * An answer is only found in the scope in which it was given: otherwise the speed of an answer
 * would tell one client what another one was told. Nothing of it leaves the process.
 *
 * The engine thread's. Its size is fixed.
 */
#ifndef KL_ENGINE_DRAFT_MEMORY_H
#define KL_ENGINE_DRAFT_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define KL_DRAFT_MEMORY_BYTES ((size_t)4 << 20) /* some thousand answers */

/* Tokens that are compared to find a place. */
#define KL_DRAFT_MEMORY_MATCH 3

struct kl_draft_memory;

/* bytes: at least 64 KB. */
enum kl_status kl_draft_memory_open(size_t bytes, struct kl_draft_memory **memory,
                                    struct kl_error *err);
void kl_draft_memory_close(struct kl_draft_memory *memory);

/* Keeps an answer, and the last tokens of its prompt: tokens[0..n_prompt) and [n_prompt..n). */
void kl_draft_memory_add(struct kl_draft_memory *memory, uint64_t scope, const int32_t *tokens,
                         size_t n_prompt, size_t n);

/* A place: the number of tokens that were written before it. Later answers overwrite it. */
#define KL_DRAFT_NOWHERE UINT64_MAX

/* Finds the latest place of the scope behind the last KL_DRAFT_MEMORY_MATCH of tokens[0..n), or
 * KL_DRAFT_NOWHERE. */
uint64_t kl_draft_memory_find(const struct kl_draft_memory *memory, uint64_t scope,
                              const int32_t *tokens, size_t n);

/* The token at a place that _find returned, or behind it, up to the first -1: the answer ends
 * there, or was overwritten. */
int32_t kl_draft_memory_token(const struct kl_draft_memory *memory, uint64_t place);

#endif
