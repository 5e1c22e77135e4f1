/*
 * Renders and encodes conversations: with any content, the prompt has exactly the control tokens of
 * its scaffold, so content cannot forge a turn; and encoding in steps of any size gives the same
 * tokens as encoding at once.
 *
 * The input is a size of steps, then one message after the other: a byte for the role, the content
 * up to the next 0xff (which is never part of UTF-8), and so on.
 */
#include <string.h>

#include "fuzz.h"
#include "text/prompt_encoder.h"
#include "tiny_tokenizer.h"

#define MAX_MESSAGES 16

/* Encodes in steps and compares the tokens. */
static void check_steps(const struct kl_prompt *prompt, const struct kl_tokens *expected,
                        size_t step)
{
    struct kl_prompt_encoder e = {.encoder.tokenizer = tiny_tokenizer()};
    struct kl_tokens tokens = {0};
    bool done = false;
    PROMISE(kl_prompt_encoder_begin(&e, prompt, SIZE_MAX / 2) == KL_OK);
    while (!done) {
        size_t effort = step;
        PROMISE(kl_prompt_encoder_step(&e, &effort, &done) == KL_OK);
    }
    PROMISE(kl_prompt_encoder_copy(&e, &tokens) == KL_OK && tokens.len == expected->len);
    PROMISE(tokens.len == 0 ||
            memcmp(tokens.ids, expected->ids, tokens.len * sizeof *tokens.ids) == 0);
    kl_tokens_release(&tokens);
    kl_prompt_encoder_release(&e);
}

static size_t count_controls(const struct kl_chat *chat, size_t step)
{
    const struct kl_tokenizer *t = tiny_tokenizer();
    const struct kl_chat_template *chat_template = kl_chat_template_for(tiny_gguf(), NULL);
    struct kl_prompt prompt = {0};
    struct kl_tokens tokens = {0};
    struct kl_error err = {0};
    size_t n = 0;
    PROMISE(kl_chat_render(chat_template, chat, &prompt, &err) == KL_OK);
    PROMISE(kl_tokenizer_encode(t, prompt.spans, prompt.n_spans, &tokens, &err) == KL_OK);
    check_steps(&prompt, &tokens, step);
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
    size_t step = (size_t)take_byte(&data, &size) + 1;
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
    PROMISE(count_controls(&chat, step) == count_controls(&plain_chat, step));
    return 0;
}
