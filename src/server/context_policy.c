#include "server/context_policy.h"

#include <stdlib.h>
#include <string.h>

#include "server/server.h"

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

/* Encodes the system messages and everything from message `from` on. */
static enum kl_status encode_from(const struct kl_chat_input *input, size_t from,
                                  struct kl_message *kept,
                                  const struct kl_chat_template *chat_template,
                                  const struct kl_tokenizer *tokenizer, struct kl_tokens *tokens,
                                  struct kl_api_error *error)
{
    struct kl_chat_input shorter = *input;
    shorter.messages = kept;
    shorter.n_messages = 0;
    for (size_t i = 0; i < input->n_messages; i++) {
        if (i >= from || has_role(&input->messages[i], "system"))
            kept[shorter.n_messages++] = input->messages[i];
    }
    kl_tokens_release(tokens);
    return kl_chat_input_encode(&shorter, chat_template, tokenizer, tokens, error);
}

static size_t messages_before(const struct kl_chat_input *input, size_t from)
{
    size_t n = 0;
    for (size_t i = 0; i < from; i++)
        n += !has_role(&input->messages[i], "system");
    return n;
}

enum kl_status kl_context_trim(const struct kl_chat_input *input,
                               const struct kl_chat_template *chat_template,
                               const struct kl_tokenizer *tokenizer, size_t room,
                               struct kl_tokens *tokens, size_t *left_out,
                               struct kl_api_error *error)
{
    size_t *turns = calloc(input->n_messages, sizeof *turns); /* where each begins */
    struct kl_message *kept = calloc(input->n_messages, sizeof *kept);
    size_t n_turns = 0, low = 1, best = 0;
    enum kl_status status;
    *left_out = 0;
    if (turns == NULL || kept == NULL) {
        status = kl_api_fail_memory(error, "the conversation");
        goto done;
    }
    status = kl_chat_input_encode(input, chat_template, tokenizer, tokens, error);
    if (status != KL_OK || tokens->len <= room)
        goto done;

    /* An assistant's greeting before the first question belongs to the first turn. */
    for (size_t i = 0; i < input->n_messages; i++) {
        if (has_role(&input->messages[i], "user"))
            turns[n_turns++] = i;
    }
    /* The prompt gets shorter with each turn that goes: the first that fits is found by halving. */
    size_t high = n_turns; /* all that can go: the last one stays */
    while (low < high && status == KL_OK) {
        size_t middle = low + (high - low) / 2;
        status = encode_from(input, turns[middle], kept, chat_template, tokenizer, tokens, error);
        if (status == KL_OK && tokens->len <= room)
            high = best = middle;
        else
            low = middle + 1;
    }
    if (status != KL_OK)
        goto done;
    if (best == 0 && n_turns > 1)
        best = n_turns - 1;
    status = encode_from(input, best > 0 ? turns[best] : 0, kept, chat_template, tokenizer, tokens,
                         error);
    *left_out = best > 0 ? messages_before(input, turns[best]) : 0;

done:
    free(turns);
    free(kept);
    return status;
}
