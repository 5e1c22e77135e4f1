#include "service/chat_input.h"

#include <stdlib.h>
#include <string.h>

void kl_chat_input_release(struct kl_chat_input *input)
{
    free(input->messages);
    free(input->calls);
    free(input->tools);
    *input = (struct kl_chat_input){0};
}

enum kl_status kl_chat_input_check(const struct kl_chat_input *input,
                                   const struct kl_chat_template *chat_template,
                                   struct kl_api_error *error)
{
    const char *name = kl_chat_template_name(chat_template);
    if (input->n_tools + input->n_calls > 0 && !kl_chat_template_has(chat_template, KL_CHAT_TOOLS))
        return kl_api_fail(error, 400, "unsupported", input->n_tools > 0 ? "tools" : "messages",
                           "this model cannot be given %s: its chat template (%s) has no place "
                           "for them; leave them out, or serve a model that has",
                           input->n_tools > 0 ? "tools" : "tool_calls", name);
    bool always = kl_chat_template_has(chat_template, KL_CHAT_ONLY_THINKING);
    if (input->thinking == KL_THINKING_ON && !always &&
        !kl_chat_template_has(chat_template, KL_CHAT_THINKING))
        return kl_api_fail(error, 400, "unsupported", input->thinking_name,
                           "this model does not think before it answers: its chat template (%s) "
                           "has no enable_thinking; leave %s out, or switch it off",
                           name, input->thinking_name);
    if (input->thinking == KL_THINKING_OFF && always)
        return kl_api_fail(error, 400, "unsupported", input->thinking_name,
                           "this model always thinks before it answers: its chat template (%s) "
                           "has no way to switch that off; leave %s out, or switch it on",
                           name, input->thinking_name);
    return KL_OK;
}

enum kl_status kl_chat_input_render(const struct kl_chat_input *input,
                                    const struct kl_message *messages, size_t n_messages,
                                    const struct kl_chat_template *chat_template,
                                    struct kl_prompt *prompt, struct kl_api_error *error)
{
    const struct kl_message *last = &messages[n_messages - 1];
    /* A final assistant message is a prefill: its text follows the opening of the turn, which is
     * all that the template writes for a turn to be generated. */
    bool continues =
        n_messages > 1 && strcmp(last->role, "assistant") == 0 && last->n_tool_calls == 0;
    const struct kl_chat chat = {
        .messages = messages,
        .n_messages = n_messages - (continues ? 1 : 0),
        .tools = input->tools,
        .n_tools = input->n_tools,
        .add_generation_prompt = true,
        .skip_thinking = input->thinking == KL_THINKING_OFF &&
                         kl_chat_template_has(chat_template, KL_CHAT_THINKING),
        .begun = continues ? last->content : NULL,
        .begun_len = continues ? last->content_len : 0,
    };
    struct kl_error err;
    enum kl_status status = kl_chat_render(chat_template, &chat, prompt, &err);
    if (status == KL_ERR_INVALID)
        return kl_api_fail(error, 400, "invalid_value", "messages", "%s", err.text);
    return status == KL_OK ? KL_OK : kl_api_fail_internal(error, &err);
}
