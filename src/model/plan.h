/*
 * The memory plan: what a process will hold at most, line by line, made before it holds it.
 *
 * Whoever knows a size adds a line; the KV cache comes last and gets what is left of the budget.
 * Mapped weights count like any other memory: they are read for every token, so they are resident
 * or the model crawls. Plain values; nothing here allocates but the text.
 */
#ifndef KL_MODEL_PLAN_H
#define KL_MODEL_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"

#define KL_PLAN_MAX_LINES 16

struct kl_plan_line {
    const char *what; /* static */
    uint64_t bytes;
    const char *lowered_by; /* the option that makes it smaller, static; or NULL */
};

struct kl_plan {
    uint64_t budget; /* bytes; 0: none */
    bool of_group;   /* the budget is the limit of our control group: nobody asked for one */
    struct kl_plan_line lines[KL_PLAN_MAX_LINES];
    size_t n_lines;
    /* of the KV cache; its bytes are a line, too */
    size_t kv_tokens, kv_token_bytes;
};

/* What was asked for (0: nothing) is the budget, else the smallest limit of our control groups, if
 * there is one. root: "" for this computer, or a directory with copies of proc/ and sys/.
 *
 * Such a limit counts as --memory does, mapped weights included. The system could take their pages
 * back, but all of them are read for each token: where they do not fit beside the rest, each token
 * waits for the disk. What other files have in the page cache goes first and does not count. */
void kl_plan_set_budget(struct kl_plan *plan, uint64_t asked, const char *root);

void kl_plan_add(struct kl_plan *plan, const char *what, uint64_t bytes, const char *lowered_by);
uint64_t kl_plan_total(const struct kl_plan *plan);

/* What a KV cache is asked for: tokens of a conversation (a multiple of a page), how many of them
 * at the same time, tokens that are kept beside them for those who will come (a multiple of a
 * page), and bytes a token. */
struct kl_plan_kv {
    size_t conversation, parallel, kept, page_tokens, token_bytes;
};

/* Adds the KV cache: room for all of that, or less as the budget wants it, but for one in any
 * case. KL_ERR_MEMORY when that does not fit (the line is added all the same): the text says what
 * would. */
enum kl_status kl_plan_kv(struct kl_plan *plan, const struct kl_plan_kv *kv, struct kl_error *err);

/* The lines as text, one below the other, with their sum and the budget. */
enum kl_status kl_plan_text(const struct kl_plan *plan, struct kl_buffer *out);

#endif
