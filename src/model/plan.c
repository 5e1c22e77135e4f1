#include "model/plan.h"

#include <assert.h>

#include "base/memory.h"

#define MB 1e6

void kl_plan_set_budget(struct kl_plan *plan, uint64_t asked, const char *root)
{
    uint64_t limit = kl_memory_limit(root, "self");
    plan->of_group = limit != 0 && (asked == 0 || limit < asked);
    plan->budget = plan->of_group ? limit : asked;
}

void kl_plan_add(struct kl_plan *plan, const char *what, uint64_t bytes, const char *lowered_by)
{
    assert(plan->n_lines < KL_PLAN_MAX_LINES);
    plan->lines[plan->n_lines++] = (struct kl_plan_line){what, bytes, lowered_by};
}

uint64_t kl_plan_total(const struct kl_plan *plan)
{
    uint64_t total = 0;
    for (size_t i = 0; i < plan->n_lines; i++)
        total += plan->lines[i].bytes;
    return total;
}

static const char *budget_name(const struct kl_plan *plan)
{
    return plan->of_group ? "the control group's limit (memory.max)" : "the memory budget";
}

/* How it is raised. */
static const char *budget_option(const struct kl_plan *plan)
{
    return plan->of_group ? "it" : "--memory";
}

enum kl_status kl_plan_check(const struct kl_plan *plan, struct kl_error *err)
{
    uint64_t total = kl_plan_total(plan);
    if (plan->budget == 0 || total <= plan->budget)
        return KL_OK;
    return kl_fail(err, KL_ERR_MEMORY,
                   "%s of %.1f MB is too small: the weights and the program alone take %.1f MB. "
                   "Take a smaller file of this model or a smaller model ('kinglet pull --list'), "
                   "or raise %s ('kinglet doctor --model NAME' says how much is needed)",
                   budget_name(plan), (double)plan->budget / MB, (double)total / MB,
                   budget_option(plan));
}

/* The bytes that no option lowers. */
static uint64_t fixed_bytes(const struct kl_plan *plan)
{
    uint64_t fixed = 0;
    for (size_t i = 0; i < plan->n_lines; i++)
        if (plan->lines[i].lowered_by == NULL)
            fixed += plan->lines[i].bytes;
    return fixed;
}

/* tokens: of the conversation for which there is room. */
static enum kl_status fail_too_small(const struct kl_plan *plan, const struct kl_plan_kv *kv,
                                     uint64_t others, size_t tokens, struct kl_error *err)
{
    const char *name = budget_name(plan), *option = budget_option(plan);
    /* the options take whole MiB, so rounded up */
    uint64_t enough = (others + (uint64_t)kv->conversation * kv->token_bytes + (1 << 20) - 1) >> 20;
    if (tokens > 0)
        return kl_fail(err, KL_ERR_MEMORY,
                       "%s of %.1f MB leaves room for a conversation of %zu tokens, not %zu: lower "
                       "--ctx-size to %zu, or raise %s to %lluM",
                       name, (double)plan->budget / MB, tokens, kv->conversation, tokens, option,
                       (unsigned long long)enough);
    uint64_t fixed = fixed_bytes(plan);
    if (fixed >= plan->budget)
        return kl_fail(err, KL_ERR_MEMORY,
                       "%s of %.1f MB is too small: no option lowers %.1f MB of what is needed. "
                       "Raise %s to %lluM, or take a smaller file of this model or a smaller model "
                       "('kinglet pull --list')",
                       name, (double)plan->budget / MB, (double)fixed / MB, option,
                       (unsigned long long)enough);
    return kl_fail(err, KL_ERR_MEMORY,
                   "%s of %.1f MB is too small: %.1f MB are needed before the first token of a "
                   "conversation. Raise %s to %lluM, or lower --ctx-size, --parallel and --queue "
                   "('kinglet doctor --model NAME' proposes a command)",
                   name, (double)plan->budget / MB, (double)others / MB, option,
                   (unsigned long long)enough);
}

enum kl_status kl_plan_kv(struct kl_plan *plan, const struct kl_plan_kv *kv, struct kl_error *err)
{
    uint64_t others = kl_plan_total(plan);
    size_t tokens = kv->conversation * kv->parallel + kv->kept, room = tokens;
    if (plan->budget != 0) {
        uint64_t left = plan->budget > others ? plan->budget - others : 0;
        uint64_t pages = left / ((uint64_t)kv->page_tokens * kv->token_bytes);
        if (pages < tokens / kv->page_tokens)
            room = (size_t)pages * kv->page_tokens;
    }
    plan->kv_tokens = room < kv->conversation ? kv->conversation : room;
    plan->kv_token_bytes = kv->token_bytes;
    kl_plan_add(plan, "KV cache", (uint64_t)plan->kv_tokens * kv->token_bytes,
                kv->kept > 0 ? "--ctx-size, --parallel, --cache-ram" : "--ctx-size, --parallel");
    return room < kv->conversation ? fail_too_small(plan, kv, others, room, err) : KL_OK;
}

enum kl_status kl_plan_text(const struct kl_plan *plan, struct kl_buffer *out)
{
    enum kl_status status = KL_OK;
    for (size_t i = 0; i < plan->n_lines && status == KL_OK; i++) {
        const struct kl_plan_line *line = &plan->lines[i];
        status = kl_buffer_append_format(out, "%8.1f MB  %s", (double)line->bytes / MB, line->what);
        if (status == KL_OK && line->lowered_by != NULL)
            status = kl_buffer_append_format(out, " (%s)", line->lowered_by);
        if (status == KL_OK)
            status = kl_buffer_append_string(out, "\n");
    }
    if (status == KL_OK)
        status = kl_buffer_append_format(out, "%8.1f MB  in all", (double)kl_plan_total(plan) / MB);
    if (status == KL_OK && plan->budget != 0)
        status = kl_buffer_append_format(out, ", of %.1f MB%s", (double)plan->budget / MB,
                                         plan->of_group ? " that the control group may have" : "");
    return status == KL_OK ? kl_buffer_append_string(out, "\n") : status;
}
