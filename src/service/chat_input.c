#include "service/chat_input.h"

#include <stdlib.h>
#include <string.h>

#include "base/today.h"

void kl_chat_input_release(struct kl_chat_input *input)
{
    free(input->messages);
    free(input->late);
    free(input->calls);
    free(input->tools);
    *input = (struct kl_chat_input){0};
}

enum kl_status kl_chat_input_check(const struct kl_chat_input *input,
                                   const struct kl_served *served, struct kl_api_error *error)
{
    const struct kl_chat_template *chat_template = served->chat_template;
    const char *name = kl_chat_template_name(chat_template);
    if (input->n_tools + input->n_calls > 0 && !kl_chat_template_has(chat_template, KL_CHAT_TOOLS))
        return kl_api_fail(error, 400, "unsupported",
                           input->n_tools > 0 ? "tools" : kl_chat_input_field(input),
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
    if (input->thinking == KL_THINKING_OFF && always && input->thinking_name != NULL)
        return kl_api_fail(error, 400, "unsupported", input->thinking_name,
                           "this model always thinks before it answers: its chat template (%s) "
                           "has no way to switch that off; leave %s out, or switch it on",
                           name, input->thinking_name);
    if (input->template_argument != NULL && served->chat_template_by == KL_CHAT_BY_FALLBACK)
        return kl_api_fail(error, 400, "unsupported", "chat_template_kwargs",
                           "chat_template_kwargs.%.60s might change the prompt, but this model's "
                           "own chat template is not known to this server, which uses %s; leave "
                           "it out",
                           input->template_argument, name);
    if (input->template_argument != NULL && kl_chat_template_has(chat_template, KL_CHAT_ARGUMENTS))
        return kl_api_fail(error, 400, "unsupported", "chat_template_kwargs",
                           "chat_template_kwargs.%.60s might change the prompt: this model's chat "
                           "template (%s) reads arguments, which this server does not offer; leave "
                           "it out",
                           input->template_argument, name);
    return KL_OK;
}

enum kl_status kl_chat_input_render(const struct kl_chat_input *input,
                                    const struct kl_message *messages, size_t n_messages,
                                    const struct kl_chat_template *chat_template,
                                    struct kl_prompt *prompt, struct kl_api_error *error)
{
    const struct kl_message *last = &messages[n_messages - 1];
    /* A message that is continued is a prefill: its text follows the opening of the turn, which is
     * all that the template writes for a turn to be generated. */
    bool continues = input->continues && n_messages > 1;
    char today[KL_DATE_SIZE];
    kl_today(today);
    const struct kl_chat chat = {
        .messages = messages,
        .n_messages = n_messages - (continues ? 1 : 0),
        .tools = input->tools,
        .n_tools = input->n_tools,
        .date = today,
        .add_generation_prompt = true,
        .skip_thinking = input->thinking == KL_THINKING_OFF &&
                         kl_chat_template_has(chat_template, KL_CHAT_THINKING),
        .begun = continues ? last->content : NULL,
        .begun_len = continues ? last->content_len : 0,
    };
    struct kl_error err;
    enum kl_status status = kl_chat_render(chat_template, &chat, prompt, &err);
    if (status == KL_ERR_INVALID)
        return kl_api_fail(error, 400, "invalid_value", kl_chat_input_field(input), "%s", err.text);
    return status == KL_OK ? KL_OK : kl_api_fail_internal(error, &err);
}
