#include "service/context_policy.h"

#include <stdlib.h>
#include <string.h>

/* Bytes rendered and searched for special tokens in the time that encoding one byte takes. */
#define RENDERED_PER_EFFORT 16

#define NOT_FOUND SIZE_MAX

bool kl_context_policy_parse(const char *name, enum kl_context_policy *policy)
{
    if (strcmp(name, "error") == 0)
        *policy = KL_CONTEXT_ERROR;
    else if (strcmp(name, "trim") == 0)
        *policy = KL_CONTEXT_TRIM;
    else
        return false;
    return true;
}

size_t kl_context_room(size_t ctx_size, size_t max_tokens)
{
    size_t answer = max_tokens < ctx_size / 4 ? max_tokens : ctx_size / 4;
    return ctx_size - answer;
}

static bool has_role(const struct kl_message *m, const char *role)
{
    return strcmp(m->role, role) == 0;
}

static size_t less(size_t effort, size_t used)
{
    return effort > used ? effort - used : 0;
}

/* ---- candidates ------------------------------------------------------------------------------ */

/* An assistant's greeting before the first question belongs to the first turn. */
static void find_turns(struct kl_context_fit *fit)
{
    size_t n = 0;
    for (size_t i = 0; i < fit->input->n_messages; i++) {
        if (has_role(&fit->input->messages[i], "user"))
            fit->turns[n++] = i;
    }
    fit->last = n > 0 ? n - 1 : 0;
}

enum kl_status kl_context_fit_begin(struct kl_context_fit *fit, const struct kl_chat_input *input,
                                    const struct kl_served *served, size_t ctx_size,
                                    enum kl_context_policy policy, size_t room,
                                    struct kl_api_error *error)
{
    *fit = (struct kl_context_fit){.input = input,
                                   .chat_template = served->chat_template,
                                   .ctx_size = ctx_size,
                                   .room = policy == KL_CONTEXT_TRIM ? room : ctx_size,
                                   .encoder.encoder.tokenizer = served->tokenizer,
                                   .best = NOT_FOUND,
                                   .stride = 1};
    if (policy == KL_CONTEXT_TRIM) {
        fit->turns = calloc(input->n_messages, sizeof *fit->turns);
        fit->kept = calloc(input->n_messages, sizeof *fit->kept);
        if (fit->turns == NULL || fit->kept == NULL)
            return kl_api_fail_memory(error, "the conversation");
        find_turns(fit);
    }
    fit->candidate = fit->last;
    return kl_chat_input_check(input, served, error);
}

void kl_context_fit_release(struct kl_context_fit *fit)
{
    kl_tokens_release(&fit->tokens);
    kl_prompt_encoder_release(&fit->encoder);
    kl_prompt_release(&fit->prompt);
    free(fit->turns);
    free(fit->kept);
    *fit = (struct kl_context_fit){0};
}

static enum kl_status fail_encoding(const struct kl_context_fit *fit, enum kl_status status,
                                    struct kl_api_error *error)
{
    struct kl_error err;
    if (status == KL_ERR_LIMIT)
        return kl_api_fail(error, 400, "invalid_value", kl_chat_input_field(fit->input),
                           "a text of the conversation has more than %zu bytes",
                           KL_ENCODER_MAX_TEXT);
    kl_encoder_fail(fit->encoder.encoder.tokenizer, status, &err);
    return kl_api_fail_internal(error, &err);
}

static enum kl_status render_candidate(struct kl_context_fit *fit, size_t *effort,
                                       struct kl_api_error *error)
{
    const struct kl_chat_input *input = fit->input;
    const struct kl_message *messages = input->messages;
    size_t n = input->n_messages;
    if (fit->candidate > 0) {
        n = 0;
        for (size_t i = 0; i < input->n_messages; i++) {
            if (i >= fit->turns[fit->candidate] || has_role(&messages[i], "system"))
                fit->kept[n++] = messages[i];
        }
        messages = fit->kept;
    }
    kl_prompt_release(&fit->prompt);
    enum kl_status status =
        kl_chat_input_render(input, messages, n, fit->chat_template, &fit->prompt, error);
    if (status != KL_OK)
        return status;
    /* the shortest candidate may fill the context; it leaves no room for the answer if need be */
    status = kl_prompt_encoder_begin(&fit->encoder, &fit->prompt,
                                     fit->candidate == fit->last ? fit->ctx_size : fit->room);
    fit->encoding = true;
    *effort = less(*effort, fit->prompt.text.len / RENDERED_PER_EFFORT);
    return status == KL_OK ? KL_OK : fail_encoding(fit, status, error);
}

/* ---- choice ---------------------------------------------------------------------------------- */

/* Picks the candidate to encode next. Begins with the shortest prompt and adds 1, 2, 4, ... turns
 * until one does not fit; then searches between the two by bisection. Prompts get shorter with each
 * turn left out. */
static void choose_next(struct kl_context_fit *fit)
{
    bool fits = fit->encoder.n_tokens <= fit->room;
    if (fit->best == NOT_FOUND) {
        fit->best = fit->last; /* even if it is longer than fit->room */
        fit->low = fits ? 0 : fit->last;
    } else if (fits) {
        fit->best = fit->candidate;
    } else {
        fit->low = fit->candidate + 1;
    }
    if (fit->low > 0 || fit->best == 0) {
        fit->candidate = fit->low + (fit->best - fit->low) / 2;
    } else {
        fit->candidate = less(fit->best, fit->stride);
        fit->stride *= 2;
    }
}

static enum kl_status take(struct kl_context_fit *fit, struct kl_api_error *error)
{
    for (size_t i = 0; fit->best > 0 && i < fit->turns[fit->best]; i++)
        fit->n_left_out += !has_role(&fit->input->messages[i], "system");
    if (kl_prompt_encoder_copy(&fit->encoder, &fit->tokens) != KL_OK)
        return kl_api_fail_memory(error, "the conversation");
    return KL_OK;
}

enum kl_status kl_context_too_long(size_t n_tokens, size_t ctx_size, const char *field,
                                   struct kl_api_error *error)
{
    kl_api_fail(error, 400, "context_length_exceeded", field,
                /* LiteLLM knows this error, of llama-server's, by its first words */
                "the prompt exceeds the available context size: it has more than %zu tokens, the "
                "context holds %zu with the answer; shorten it or raise --ctx-size",
                n_tokens - 1, ctx_size);
    error->n_prompt_tokens = n_tokens;
    error->n_ctx = ctx_size;
    return KL_ERR_LIMIT;
}

enum kl_status kl_context_fit_step(struct kl_context_fit *fit, size_t *effort, bool *done,
                                   struct kl_api_error *error)
{
    *done = false;
    while (*effort > 0 && !*done) {
        bool encoded = false;
        enum kl_status status = fit->encoding ? KL_OK : render_candidate(fit, effort, error);
        if (status != KL_OK)
            return status;
        status = kl_prompt_encoder_step(&fit->encoder, effort, &encoded);
        if (status != KL_OK)
            return fail_encoding(fit, status, error);
        if (!encoded)
            continue;
        if (fit->candidate == fit->last && fit->encoder.n_tokens > fit->ctx_size)
            return kl_context_too_long(fit->encoder.n_tokens, fit->ctx_size,
                                       kl_chat_input_field(fit->input), error);
        size_t candidate = fit->candidate;
        choose_next(fit);
        *done = fit->low == fit->best && candidate == fit->best;
        fit->encoding = false;
    }
    return *done ? take(fit, error) : KL_OK;
}
