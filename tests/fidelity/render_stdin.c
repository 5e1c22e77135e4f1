/*
 * usage: render_stdin MODEL.gguf [TEMPLATE] < CONVERSATIONS > ANSWERS
 *
 * Renders with the template of the model file, or with the one recognised for the text in the file
 * TEMPLATE. The first line on standard error is its name and how it was chosen.
 *
 * A conversation is a byte (1: add_generation_prompt, 2: and skip_thinking), a list of tools
 * (texts) and a list of messages (role, content, list of calls (name, arguments)). A text is its
 * length as u32 and its bytes; a list is its length as u32 and its items. The answer is the
 * rendered text, the list of its spans (length as u32, special as u32) and the list of its ids
 * (i32). All little-endian.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text/chat_template.h"

#define MAX_ITEMS 16

static uint32_t read_u32(void)
{
    uint32_t value;
    if (fread(&value, sizeof value, 1, stdin) != 1) {
        fputs("render_stdin: the input ends inside a conversation\n", stderr);
        exit(1);
    }
    return value;
}

/* Reads a text and returns it with a NUL appended; the caller frees it. */
static char *read_text(size_t *len)
{
    *len = read_u32();
    char *text = malloc(*len + 1);
    if (text == NULL || fread(text, 1, *len, stdin) != *len)
        exit(1);
    text[*len] = '\0';
    return text;
}

static uint32_t read_count(void)
{
    uint32_t n = read_u32();
    if (n > MAX_ITEMS) {
        fprintf(stderr, "render_stdin: a list has %u items; at most %d\n", n, MAX_ITEMS);
        exit(1);
    }
    return n;
}

static void write_u32(uint32_t value)
{
    fwrite(&value, sizeof value, 1, stdout);
}

struct conversation {
    struct kl_chat chat;
    const char *tools[MAX_ITEMS];
    struct kl_message messages[MAX_ITEMS];
    struct kl_tool_call calls[MAX_ITEMS][MAX_ITEMS];
};

static void read_conversation(struct conversation *c)
{
    size_t len;
    c->chat.tools = c->tools;
    c->chat.messages = c->messages;
    c->chat.n_tools = read_count();
    for (size_t i = 0; i < c->chat.n_tools; i++)
        c->tools[i] = read_text(&len);
    c->chat.n_messages = read_count();
    for (size_t i = 0; i < c->chat.n_messages; i++) {
        struct kl_message *m = &c->messages[i];
        m->role = read_text(&len);
        m->content = read_text(&m->content_len);
        m->tool_calls = c->calls[i];
        m->n_tool_calls = read_count();
        for (size_t j = 0; j < m->n_tool_calls; j++) {
            c->calls[i][j].name = read_text(&len);
            c->calls[i][j].arguments = read_text(&len);
        }
    }
}

static void release_conversation(struct conversation *c)
{
    for (size_t i = 0; i < c->chat.n_tools; i++)
        free((void *)c->tools[i]);
    for (size_t i = 0; i < c->chat.n_messages; i++) {
        free((void *)c->messages[i].role);
        free((void *)c->messages[i].content);
        for (size_t j = 0; j < c->messages[i].n_tool_calls; j++) {
            free((void *)c->calls[i][j].name);
            free((void *)c->calls[i][j].arguments);
        }
    }
}

static enum kl_status answer(const struct kl_chat_template *t, const struct kl_tokenizer *tokenizer,
                             const struct kl_chat *chat, struct kl_error *err)
{
    struct kl_prompt prompt;
    struct kl_tokens ids = {0};
    enum kl_status status = kl_chat_render(t, chat, &prompt, err);
    if (status == KL_OK)
        status = kl_tokenizer_encode(tokenizer, prompt.spans, prompt.n_spans, &ids, err);
    if (status == KL_OK) {
        write_u32((uint32_t)prompt.text.len);
        fwrite(prompt.text.data, 1, prompt.text.len, stdout);
        write_u32((uint32_t)prompt.n_spans);
        for (size_t i = 0; i < prompt.n_spans; i++) {
            write_u32((uint32_t)prompt.spans[i].len);
            write_u32(prompt.spans[i].special);
        }
        write_u32((uint32_t)ids.len);
        fwrite(ids.ids, sizeof *ids.ids, ids.len, stdout);
    }
    kl_tokens_release(&ids);
    kl_prompt_release(&prompt);
    return status;
}

static const struct kl_chat_template *recognise_file(const char *path, enum kl_chat_by *by)
{
    static char text[1 << 20];
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        perror(path);
        exit(1);
    }
    size_t len = fread(text, 1, sizeof text, file);
    fclose(file);
    return kl_chat_template_recognise(text, len, by);
}

int main(int argc, char **argv)
{
    struct kl_error err = {0};
    struct kl_gguf *gguf = NULL;
    struct kl_tokenizer *tokenizer = NULL;
    if (argc < 2 || kl_gguf_open(argv[1], &gguf, &err) != KL_OK ||
        kl_tokenizer_open(gguf, &tokenizer, &err) != KL_OK) {
        fprintf(stderr, "render_stdin: %s\n", err.text);
        kl_gguf_close(gguf);
        return 1;
    }
    enum kl_chat_by by;
    const struct kl_chat_template *t =
        argc > 2 ? recognise_file(argv[2], &by) : kl_chat_template_for(gguf, &by);
    kl_gguf_close(gguf);
    fprintf(stderr, "%s: %s\n", kl_chat_template_name(t), kl_chat_by_name(by));

    enum kl_status status = KL_OK;
    for (int prompt; status == KL_OK && (prompt = getchar()) != EOF;) {
        struct conversation c;
        memset(&c, 0, sizeof c);
        c.chat.add_generation_prompt = prompt > 0;
        c.chat.skip_thinking = prompt == 2;
        read_conversation(&c);
        status = answer(t, tokenizer, &c.chat, &err);
        release_conversation(&c);
    }
    if (status != KL_OK)
        fprintf(stderr, "render_stdin: %s\n", err.text);
    kl_tokenizer_close(tokenizer);
    return status == KL_OK ? 0 : 1;
}
