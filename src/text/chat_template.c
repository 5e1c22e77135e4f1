#include "text/chat_template.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"

/* Several times what the longest context holds. */
#define MAX_PROMPT ((size_t)64 << 20)

struct kl_chat_template {
    const char *sha256; /* of tokenizer.chat_template; NULL: what an unknown template is taken as */
    const char *name;
    unsigned features; /* of kl_chat_feature */
    enum kl_status (*render)(const struct kl_chat *chat, struct kl_prompt *out);
};

/* Appends text as part of the span before it, if that is of the same kind. The spans cover the
 * text from end to end; their pointers are set when it does not move any more. */
static enum kl_status append(struct kl_prompt *p, const char *text, size_t len, bool special)
{
    if (len == 0)
        return KL_OK;
    enum kl_status status = kl_buffer_append(&p->text, text, len);
    if (status != KL_OK)
        return status;
    if (p->n_spans > 0 && p->spans[p->n_spans - 1].special == special) {
        p->spans[p->n_spans - 1].len += len;
        return KL_OK;
    }
    /* The array is full when its length is a power of two (or 0). */
    if ((p->n_spans & (p->n_spans - 1)) == 0) {
        size_t size = p->n_spans == 0 ? 1 : 2 * p->n_spans;
        struct kl_span *spans = realloc(p->spans, size * sizeof *spans);
        if (spans == NULL)
            return KL_ERR_MEMORY;
        p->spans = spans;
    }
    p->spans[p->n_spans++] = (struct kl_span){.len = len, .special = special};
    return KL_OK;
}

/* What the template itself says: special tokens are recognised in it. */
static enum kl_status scaffold(struct kl_prompt *p, const char *text)
{
    return append(p, text, strlen(text), true);
}

/* What a person, a program or a model wrote. */
static enum kl_status content(struct kl_prompt *p, const char *text, size_t len)
{
    return append(p, text, text == NULL ? 0 : len, false);
}

static bool has_role(const struct kl_message *m, const char *role)
{
    return strcmp(m->role, role) == 0;
}

/* --- ChatML with the tools of Qwen2.5 (Hermes style) --- */

static enum kl_status render_tools(const struct kl_chat *chat, struct kl_prompt *p)
{
    enum kl_status status = scaffold(
        p, "# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
           "You are provided with function signatures within <tools></tools> XML tags:\n<tools>");
    for (size_t i = 0; i < chat->n_tools && status == KL_OK; i++) {
        status = scaffold(p, "\n");
        if (status == KL_OK)
            status = content(p, chat->tools[i], strlen(chat->tools[i]));
    }
    if (status == KL_OK)
        status = scaffold(
            p, "\n</tools>\n\nFor each function call, return a json object with function name and "
               "arguments within <tool_call></tool_call> XML tags:\n<tool_call>\n"
               "{\"name\": <function-name>, \"arguments\": <args-json-object>}\n</tool_call>");
    return status;
}

/* The first turn: a system message, or default_text (NULL: none), and the tools. */
static enum kl_status render_system(const struct kl_chat *chat, const char *default_text,
                                    struct kl_prompt *p)
{
    const struct kl_message *first = &chat->messages[0];
    bool given = has_role(first, "system");
    bool text = given || default_text != NULL;
    if (!text && chat->n_tools == 0)
        return KL_OK;
    enum kl_status status = scaffold(p, "<|im_start|>system\n");
    if (status == KL_OK && given)
        status = content(p, first->content, first->content_len);
    else if (status == KL_OK && default_text != NULL)
        status = scaffold(p, default_text);
    if (status == KL_OK && chat->n_tools > 0) {
        status = scaffold(p, text ? "\n\n" : "");
        if (status == KL_OK)
            status = render_tools(chat, p);
    }
    return status == KL_OK ? scaffold(p, "<|im_end|>\n") : status;
}

static enum kl_status render_call(const struct kl_tool_call *call, struct kl_prompt *p)
{
    enum kl_status status = scaffold(p, "<tool_call>\n{\"name\": \"");
    if (status == KL_OK)
        status = content(p, call->name, strlen(call->name));
    if (status == KL_OK)
        status = scaffold(p, "\", \"arguments\": ");
    if (status == KL_OK)
        status = content(p, call->arguments, strlen(call->arguments));
    return status == KL_OK ? scaffold(p, "}\n</tool_call>") : status;
}

static enum kl_status render_calls(const struct kl_message *m, struct kl_prompt *p)
{
    enum kl_status status = scaffold(p, "<|im_start|>assistant");
    if (status == KL_OK && m->content != NULL && m->content_len > 0) {
        status = scaffold(p, "\n");
        if (status == KL_OK)
            status = content(p, m->content, m->content_len);
    }
    for (size_t i = 0; i < m->n_tool_calls && status == KL_OK; i++) {
        status = scaffold(p, "\n");
        if (status == KL_OK)
            status = render_call(&m->tool_calls[i], p);
    }
    return status == KL_OK ? scaffold(p, "<|im_end|>\n") : status;
}

static enum kl_status render_turn(const struct kl_message *m, struct kl_prompt *p)
{
    enum kl_status status = scaffold(p, "<|im_start|>");
    if (status == KL_OK)
        status = scaffold(p, m->role);
    if (status == KL_OK)
        status = scaffold(p, "\n");
    if (status == KL_OK)
        status = content(p, m->content, m->content_len);
    return status == KL_OK ? scaffold(p, "<|im_end|>\n") : status;
}

/* Answers of tools that follow each other share one turn of the user. */
static enum kl_status render_tool_answer(const struct kl_chat *chat, size_t i, struct kl_prompt *p)
{
    const struct kl_message *m = &chat->messages[i];
    bool first = i == 0 || !has_role(m - 1, "tool");
    bool last = i + 1 == chat->n_messages || !has_role(m + 1, "tool");
    enum kl_status status = scaffold(p, first ? "<|im_start|>user" : "");
    if (status == KL_OK)
        status = scaffold(p, "\n<tool_response>\n");
    if (status == KL_OK)
        status = content(p, m->content, m->content_len);
    if (status == KL_OK)
        status = scaffold(p, "\n</tool_response>");
    return status == KL_OK ? scaffold(p, last ? "<|im_end|>\n" : "") : status;
}

static enum kl_status render_chatml(const struct kl_chat *chat, const char *default_system,
                                    struct kl_prompt *p)
{
    enum kl_status status = render_system(chat, default_system, p);
    for (size_t i = 0; i < chat->n_messages && status == KL_OK; i++) {
        const struct kl_message *m = &chat->messages[i];
        if (i == 0 && has_role(m, "system"))
            continue;
        if (has_role(m, "tool"))
            status = render_tool_answer(chat, i, p);
        else if (has_role(m, "assistant") && m->n_tool_calls > 0)
            status = render_calls(m, p);
        else
            status = render_turn(m, p);
    }
    if (status == KL_OK && chat->add_generation_prompt)
        status = scaffold(p, "<|im_start|>assistant\n");
    return status;
}

static enum kl_status render_qwen2_5(const struct kl_chat *chat, struct kl_prompt *p)
{
    return render_chatml(chat,
                         "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.", p);
}

static enum kl_status render_plain(const struct kl_chat *chat, struct kl_prompt *p)
{
    return render_chatml(chat, NULL, p);
}

/* --- SmolLM2: plain turns, whatever the role; tools are not in it --- */

static enum kl_status render_smollm2(const struct kl_chat *chat, struct kl_prompt *p)
{
    enum kl_status status = KL_OK;
    if (!has_role(&chat->messages[0], "system"))
        status = scaffold(p, "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, "
                             "trained by Hugging Face<|im_end|>\n");
    for (size_t i = 0; i < chat->n_messages && status == KL_OK; i++)
        status = render_turn(&chat->messages[i], p);
    if (status == KL_OK && chat->add_generation_prompt)
        status = scaffold(p, "<|im_start|>assistant\n");
    return status;
}

/* --- Qwen3: what an assistant thought is kept after the last question only --- */

struct slice {
    const char *text;
    size_t len;
};

static struct slice strip_newlines(struct slice s, bool left, bool right)
{
    for (; left && s.len > 0 && s.text[0] == '\n'; s.len--)
        s.text++;
    for (; right && s.len > 0 && s.text[s.len - 1] == '\n'; s.len--)
        continue;
    return s;
}

/* The first (or last) place of the mark in s, or NULL. */
static const char *find_mark(struct slice s, const char *mark, bool last)
{
    size_t len = strlen(mark);
    const char *found = NULL;
    for (size_t i = 0; i + len <= s.len && (found == NULL || last); i++) {
        const char *at = memchr(s.text + i, mark[0], s.len - len + 1 - i);
        if (at == NULL)
            break;
        i = (size_t)(at - s.text);
        if (memcmp(at, mark, len) == 0)
            found = at;
    }
    return found;
}

/* Takes "<think>...</think>" off an answer: what is left, and what was thought. */
static struct slice split_thoughts(const struct kl_message *m, struct slice *thoughts)
{
    struct slice all = {m->content, m->content == NULL ? 0 : m->content_len}, answer = all;
    *thoughts = (struct slice){0};
    const char *end = find_mark(all, "</think>", true);
    if (end == NULL)
        return all;
    answer.text = end + strlen("</think>");
    answer.len = all.len - (size_t)(answer.text - all.text);
    *thoughts = all;
    thoughts->len = (size_t)(find_mark(all, "</think>", false) - all.text);
    *thoughts = strip_newlines(*thoughts, false, true);
    const char *begin = find_mark(*thoughts, "<think>", true);
    if (begin != NULL) {
        begin += strlen("<think>");
        thoughts->len -= (size_t)(begin - thoughts->text);
        thoughts->text = begin;
    }
    *thoughts = strip_newlines(*thoughts, true, true);
    return strip_newlines(answer, true, false);
}

static bool begins_and_ends(const struct kl_message *m, const char *begin, const char *end)
{
    size_t begin_len = strlen(begin), end_len = strlen(end);
    return m->content != NULL && m->content_len >= begin_len && m->content_len >= end_len &&
           memcmp(m->content, begin, begin_len) == 0 &&
           memcmp(m->content + m->content_len - end_len, end, end_len) == 0;
}

/* The last message of a user that is no answer of a tool; without any, the last message. */
static size_t last_question(const struct kl_chat *chat)
{
    for (size_t i = chat->n_messages; i-- > 0;) {
        const struct kl_message *m = &chat->messages[i];
        if (has_role(m, "user") && !begins_and_ends(m, "<tool_response>", "</tool_response>"))
            return i;
    }
    return chat->n_messages - 1;
}

static enum kl_status render_thinker(const struct kl_message *m, bool with_thoughts, bool is_last,
                                     struct kl_prompt *p)
{
    struct slice thoughts, answer = split_thoughts(m, &thoughts), shown = answer;
    enum kl_status status = scaffold(p, "<|im_start|>assistant\n");
    if (status == KL_OK && with_thoughts && (is_last || thoughts.len > 0)) {
        status = scaffold(p, "<think>\n");
        if (status == KL_OK)
            status = content(p, thoughts.text, thoughts.len);
        if (status == KL_OK)
            status = scaffold(p, "\n</think>\n\n");
        shown = strip_newlines(answer, true, false);
    }
    if (status == KL_OK)
        status = content(p, shown.text, shown.len);
    for (size_t i = 0; i < m->n_tool_calls && status == KL_OK; i++) {
        status = scaffold(p, i > 0 || answer.len > 0 ? "\n" : "");
        if (status == KL_OK)
            status = render_call(&m->tool_calls[i], p);
    }
    return status == KL_OK ? scaffold(p, "<|im_end|>\n") : status;
}

static enum kl_status render_qwen3(const struct kl_chat *chat, struct kl_prompt *p)
{
    size_t question = last_question(chat);
    enum kl_status status = render_system(chat, NULL, p);
    for (size_t i = 0; i < chat->n_messages && status == KL_OK; i++) {
        const struct kl_message *m = &chat->messages[i];
        if (i == 0 && has_role(m, "system"))
            continue;
        if (has_role(m, "tool"))
            status = render_tool_answer(chat, i, p);
        else if (has_role(m, "assistant"))
            status = render_thinker(m, i > question, i + 1 == chat->n_messages, p);
        else
            status = render_turn(m, p);
    }
    if (status == KL_OK && chat->add_generation_prompt)
        status = scaffold(p, "<|im_start|>assistant\n");
    if (status == KL_OK && chat->add_generation_prompt && chat->skip_thinking)
        status = scaffold(p, "<think>\n\n</think>\n\n");
    return status;
}

/* One row for each template we know; the last is for all others. */
static const struct kl_chat_template templates[] = {
    {"cd8e9439f0570856fd70470bf8889ebd8b5d1107207f67a5efb46e342330527f", "qwen2.5", KL_CHAT_TOOLS,
     render_qwen2_5},
    {"87a2728cb8dc9fe424d624542f6060ec05a1d285ebbec578bb078900e33396b5", "qwen3",
     KL_CHAT_TOOLS | KL_CHAT_THINKING, render_qwen3},
    {"872be49dbb638044ad01b60388f48d469ff2980e5f0dccdc22ec907db54d0788", "smollm2", 0,
     render_smollm2},
    {NULL, "chatml", KL_CHAT_TOOLS, render_plain},
};

#define N_TEMPLATES (sizeof templates / sizeof *templates)

const struct kl_chat_template *kl_chat_template_for(const struct kl_gguf *gguf, bool *known)
{
    const struct kl_chat_template *found = &templates[N_TEMPLATES - 1];
    struct kl_gguf_string source;
    if (kl_gguf_string(gguf, "tokenizer.chat_template", &source, NULL) == KL_OK) {
        struct kl_sha256 hash;
        char hex[65];
        kl_sha256_init(&hash);
        kl_sha256_update(&hash, source.data, source.len);
        kl_sha256_finish_hex(&hash, hex);
        for (size_t i = 0; templates[i].sha256 != NULL; i++) {
            if (strcmp(templates[i].sha256, hex) == 0)
                found = &templates[i];
        }
    }
    if (known != NULL)
        *known = found->sha256 != NULL;
    return found;
}

const char *kl_chat_template_name(const struct kl_chat_template *t)
{
    return t->name;
}

bool kl_chat_template_has(const struct kl_chat_template *t, enum kl_chat_feature feature)
{
    return (t->features & (unsigned)feature) != 0;
}

static enum kl_status check_roles(const struct kl_chat *chat, struct kl_error *err)
{
    static const char *const roles[] = {"system", "user", "assistant", "tool"};
    if (chat->n_messages == 0)
        return kl_fail(err, KL_ERR_INVALID, "a conversation needs at least one message");
    for (size_t i = 0; i < chat->n_messages; i++) {
        bool found = false;
        for (size_t r = 0; r < sizeof roles / sizeof *roles; r++)
            found = found || has_role(&chat->messages[i], roles[r]);
        if (!found)
            return kl_fail(err, KL_ERR_INVALID,
                           "messages[%zu] has the role \"%.40s\"; expected system, user, assistant "
                           "or tool",
                           i, chat->messages[i].role);
    }
    return KL_OK;
}

enum kl_status kl_chat_render(const struct kl_chat_template *t, const struct kl_chat *chat,
                              struct kl_prompt *out, struct kl_error *err)
{
    *out = (struct kl_prompt){0};
    kl_buffer_init(&out->text, MAX_PROMPT);
    enum kl_status status = check_roles(chat, err);
    if (status != KL_OK)
        return status;
    status = t->render(chat, out);
    if (status == KL_OK)
        status = content(out, chat->begun, chat->begun_len);
    if (status != KL_OK) {
        kl_prompt_release(out);
        if (status == KL_ERR_LIMIT)
            return kl_fail(err, status, "the conversation is longer than %zu bytes", MAX_PROMPT);
        return kl_fail(err, status, "out of memory while putting the conversation together");
    }
    const char *text = out->text.data;
    for (size_t i = 0; i < out->n_spans; i++) {
        out->spans[i].text = text;
        text += out->spans[i].len;
    }
    return KL_OK;
}

void kl_prompt_release(struct kl_prompt *prompt)
{
    kl_buffer_release(&prompt->text);
    free(prompt->spans);
    prompt->spans = NULL;
    prompt->n_spans = 0;
}
