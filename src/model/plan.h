/*
 * The memory plan: the most that the process will use, line by line, known before it is allocated.
 *
 * Each part of the program adds a line; the KV cache comes last and gets what the budget leaves.
 * Mapped weights count like any other memory: every token reads them, so they are resident or the
 * model is slow. Plain values; only the text is allocated. Does not measure and does not enforce.
 */
#ifndef KL_MODEL_PLAN_H
#define KL_MODEL_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"

#define KL_PLAN_MAX_LINES 24

struct kl_plan_line {
    const char *what; /* static */
    uint64_t bytes;
    const char *lowered_by; /* the option that makes it smaller, static; or NULL */
};

struct kl_plan {
    uint64_t budget; /* bytes; 0: none */
    bool of_group;   /* the budget is the limit of our control group, not an option */
    struct kl_plan_line lines[KL_PLAN_MAX_LINES];
    size_t n_lines;
    /* of the KV cache; its bytes are a line, too */
    size_t kv_tokens, kv_token_bytes;
};

/* Sets the budget: `asked` bytes or, if that is 0 or more than can be had, the smallest limit of
 * our control groups, if any. root: "" for this computer, or a directory with copies of proc/ and
 * sys/.
 *
 * The limit of a control group is treated like --memory and includes mapped weights: the kernel can
 * evict their pages, but each token reads all of them and would wait for the disk. Page cache of
 * other files is evicted first and does not count. */
void kl_plan_set_budget(struct kl_plan *plan, uint64_t asked, const char *root);

void kl_plan_add(struct kl_plan *plan, const char *what, uint64_t bytes, const char *lowered_by);
uint64_t kl_plan_total(const struct kl_plan *plan);

/* KL_ERR_MEMORY if what is in the plan already exceeds the budget, whatever follows. */
enum kl_status kl_plan_check(const struct kl_plan *plan, struct kl_error *err);

/* The wanted KV cache: tokens per conversation (a multiple of a page), number of conversations,
 * tokens for the prefix cache (a multiple of a page), tokens per page, bytes per token. */
struct kl_plan_kv {
    size_t conversation, parallel, kept, page_tokens, token_bytes;
};

/* Adds the line of the KV cache: all that is wanted, or as much as the budget leaves, but room for
 * at least one conversation. KL_ERR_MEMORY if that does not fit (the line is added even so): the
 * text says what would. */
enum kl_status kl_plan_kv(struct kl_plan *plan, const struct kl_plan_kv *kv, struct kl_error *err);

/* Writes the lines as text, with their sum and the budget. */
enum kl_status kl_plan_text(const struct kl_plan *plan, struct kl_buffer *out);

#endif
