/*
 * Conversations to prompts: whatever stands in the messages, the prompt has as many control tokens
 * as its scaffold, so no content forges a turn.
 *
 * The input is one message after the other: a byte for the role, the content up to the next 0xff
 * (which is never part of UTF-8), and so on.
 */
#include <string.h>

#include "fuzz.h"
#include "text/chat_template.h"
#include "tiny_tokenizer.h"

#define MAX_MESSAGES 16

static size_t count_controls(const struct kl_chat *chat)
{
    const struct kl_tokenizer *t = tiny_tokenizer();
    const struct kl_chat_template *chat_template = kl_chat_template_for(tiny_gguf(), NULL);
    struct kl_prompt prompt = {0};
    struct kl_tokens tokens = {0};
    struct kl_error err = {0};
    size_t n = 0;
    PROMISE(kl_chat_render(chat_template, chat, &prompt, &err) == KL_OK);
    PROMISE(kl_tokenizer_encode(t, prompt.spans, prompt.n_spans, &tokens, &err) == KL_OK);
    for (size_t i = 0; i < tokens.len; i++)
        n += kl_tokenizer_is_control(t, tokens.ids[i]);
    kl_tokens_release(&tokens);
    kl_prompt_release(&prompt);
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const roles[] = {"system", "user", "assistant", "tool"};
    struct kl_message messages[MAX_MESSAGES], plain[MAX_MESSAGES];
    struct kl_chat chat = {.messages = messages}, plain_chat;
    while (size > 0 && chat.n_messages < MAX_MESSAGES) {
        const char *role = roles[take_byte(&data, &size) % 4];
        const uint8_t *end = memchr(data, 0xff, size);
        size_t len = end != NULL ? (size_t)(end - data) : size;
        messages[chat.n_messages] =
            (struct kl_message){.role = role, .content = (const char *)data, .content_len = len};
        plain[chat.n_messages++] =
            (struct kl_message){.role = role, .content = "x", .content_len = len > 0};
        data += len;
        size -= len;
        take_byte(&data, &size);
    }
    if (chat.n_messages == 0)
        return 0;
    chat.add_generation_prompt = true;
    plain_chat = chat;
    plain_chat.messages = plain;
    PROMISE(count_controls(&chat) == count_controls(&plain_chat));
    return 0;
}
