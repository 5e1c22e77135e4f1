#include "text/chat_template.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "text/template_form.h"

/* Several times the longest context. */
#define MAX_PROMPT ((size_t)64 << 20)

/* The differences between the templates of a family. */
enum {
    DOUBLED_BRACES = 1,     /* {{"name": ...}} in the text on tools */
    ANY_TOOL_RESPONSE = 2,  /* a message with a <tool_response> anywhere is no question */
    NO_EMPTY_THOUGHT = 4,   /* also not in the last answer */
    BEGINS_WITH_THOUGHT = 8 /* the answer's opening includes <think> */
};

struct kl_chat_template {
    const char *name;
    unsigned features;          /* of kl_chat_feature */
    const char *default_system; /* NULL: without a system message there is none */
    unsigned differences;
    void (*render)(const struct kl_chat_template *t, const struct kl_chat *chat,
                   struct kl_prompt *out); /* a failure stays in out->status */
};

/* Appends text to the last span if that is of the same kind, else as a new span. The spans cover
 * the text from end to end; their pointers are set when the text does not move any more. */
static enum kl_status append(struct kl_prompt *p, const char *text, size_t len, bool special)
{
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

/* Writes the template's own text: special tokens are recognised in it. */
static void scaffold(struct kl_prompt *p, const char *text)
{
    if (p->status == KL_OK && text[0] != '\0')
        p->status = append(p, text, strlen(text), true);
}

/* Writes text of a user, a program or a model. */
static void content(struct kl_prompt *p, const char *text, size_t len)
{
    if (p->status == KL_OK && text != NULL && len > 0)
        p->status = append(p, text, len, false);
}

static bool has_role(const struct kl_message *m, const char *role)
{
    return strcmp(m->role, role) == 0;
}

/* --- ChatML with the tools of Qwen2.5 (Hermes style) --- */

static void render_tools(const struct kl_chat_template *t, const struct kl_chat *chat,
                         struct kl_prompt *p)
{
    bool doubled = (t->differences & DOUBLED_BRACES) != 0;
    scaffold(p,
             "# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
             "You are provided with function signatures within <tools></tools> XML tags:\n<tools>");
    for (size_t i = 0; i < chat->n_tools; i++) {
        scaffold(p, "\n");
        content(p, chat->tools[i], strlen(chat->tools[i]));
    }
    scaffold(p, "\n</tools>\n\nFor each function call, return a json object with function name and "
                "arguments within <tool_call></tool_call> XML tags:\n<tool_call>\n");
    scaffold(p, doubled ? "{{" : "{");
    scaffold(p, "\"name\": <function-name>, \"arguments\": <args-json-object>");
    scaffold(p, doubled ? "}}\n</tool_call>" : "}\n</tool_call>");
}

/* The first turn: a system message, or the default one, and the tools. */
static void render_system(const struct kl_chat_template *t, const struct kl_chat *chat,
                          struct kl_prompt *p)
{
    const struct kl_message *first = &chat->messages[0];
    bool given = has_role(first, "system");
    bool text = given || t->default_system != NULL;
    if (!text && chat->n_tools == 0)
        return;
    scaffold(p, "<|im_start|>system\n");
    if (given)
        content(p, first->content, first->content_len);
    else if (text)
        scaffold(p, t->default_system);
    if (chat->n_tools > 0) {
        scaffold(p, text ? "\n\n" : "");
        render_tools(t, chat, p);
    }
    scaffold(p, "<|im_end|>\n");
}

static void render_call(const struct kl_tool_call *call, struct kl_prompt *p)
{
    scaffold(p, "<tool_call>\n{\"name\": \"");
    content(p, call->name, strlen(call->name));
    scaffold(p, "\", \"arguments\": ");
    content(p, call->arguments, strlen(call->arguments));
    scaffold(p, "}\n</tool_call>");
}

static void render_calls(const struct kl_message *m, struct kl_prompt *p)
{
    scaffold(p, "<|im_start|>assistant");
    if (m->content != NULL && m->content_len > 0) {
        scaffold(p, "\n");
        content(p, m->content, m->content_len);
    }
    for (size_t i = 0; i < m->n_tool_calls; i++) {
        scaffold(p, "\n");
        render_call(&m->tool_calls[i], p);
    }
    scaffold(p, "<|im_end|>\n");
}

static void render_turn(const struct kl_message *m, struct kl_prompt *p)
{
    scaffold(p, "<|im_start|>");
    scaffold(p, m->role);
    scaffold(p, "\n");
    content(p, m->content, m->content_len);
    scaffold(p, "<|im_end|>\n");
}

/* Consecutive answers of tools share one turn of the user. */
static void render_tool_answer(const struct kl_chat *chat, size_t i, struct kl_prompt *p)
{
    const struct kl_message *m = &chat->messages[i];
    bool first = i == 0 || !has_role(m - 1, "tool");
    bool last = i + 1 == chat->n_messages || !has_role(m + 1, "tool");
    scaffold(p, first ? "<|im_start|>user" : "");
    scaffold(p, "\n<tool_response>\n");
    content(p, m->content, m->content_len);
    scaffold(p, "\n</tool_response>");
    scaffold(p, last ? "<|im_end|>\n" : "");
}

static void render_chatml(const struct kl_chat_template *t, const struct kl_chat *chat,
                          struct kl_prompt *p)
{
    render_system(t, chat, p);
    for (size_t i = 0; i < chat->n_messages; i++) {
        const struct kl_message *m = &chat->messages[i];
        if (i == 0 && has_role(m, "system"))
            continue;
        if (has_role(m, "tool"))
            render_tool_answer(chat, i, p);
        else if (has_role(m, "assistant") && m->n_tool_calls > 0)
            render_calls(m, p);
        else
            render_turn(m, p);
    }
    if (chat->add_generation_prompt)
        scaffold(p, "<|im_start|>assistant\n");
}

/* --- Qwen2, SmolLM2: plain turns for every role, without tools --- */

static void render_turns(const struct kl_chat_template *t, const struct kl_chat *chat,
                         struct kl_prompt *p)
{
    if (!has_role(&chat->messages[0], "system")) {
        scaffold(p, "<|im_start|>system\n");
        scaffold(p, t->default_system);
        scaffold(p, "<|im_end|>\n");
    }
    for (size_t i = 0; i < chat->n_messages; i++)
        render_turn(&chat->messages[i], p);
    if (chat->add_generation_prompt)
        scaffold(p, "<|im_start|>assistant\n");
}

/* --- Qwen3: thoughts of the assistant are kept after the last question only --- */

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

/* The first (or last) occurrence of the mark in s, or NULL. */
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

/* Splits "<think>...</think>" off an answer: returns the rest and sets *thoughts. */
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

/* Whether a message holds a tool's answer: it begins and ends with the marks or, in the first
 * templates of the family (anywhere), contains both. */
static bool is_tool_response(const struct kl_message *m, bool anywhere)
{
    static const char begin[] = "<tool_response>", end[] = "</tool_response>";
    size_t begin_len = strlen(begin), end_len = strlen(end);
    struct slice all = {m->content, m->content == NULL ? 0 : m->content_len};
    if (anywhere)
        return find_mark(all, begin, false) != NULL && find_mark(all, end, false) != NULL;
    return all.len >= end_len && memcmp(all.text, begin, begin_len) == 0 &&
           memcmp(all.text + all.len - end_len, end, end_len) == 0;
}

/* The index of the last message of a user that holds no tool's answer, else of the last one. */
static size_t last_question(const struct kl_chat_template *t, const struct kl_chat *chat)
{
    bool anywhere = (t->differences & ANY_TOOL_RESPONSE) != 0;
    for (size_t i = chat->n_messages; i-- > 0;) {
        const struct kl_message *m = &chat->messages[i];
        if (has_role(m, "user") && !is_tool_response(m, anywhere))
            return i;
    }
    return chat->n_messages - 1;
}

/* show_empty: the tags are written even without a thought. */
static void render_thinker(const struct kl_message *m, bool with_thoughts, bool show_empty,
                           struct kl_prompt *p)
{
    struct slice thoughts, answer = split_thoughts(m, &thoughts), shown = answer;
    scaffold(p, "<|im_start|>assistant\n");
    if (with_thoughts && (show_empty || thoughts.len > 0)) {
        scaffold(p, "<think>\n");
        content(p, thoughts.text, thoughts.len);
        scaffold(p, "\n</think>\n\n");
        shown = strip_newlines(answer, true, false);
    }
    content(p, shown.text, shown.len);
    for (size_t i = 0; i < m->n_tool_calls; i++) {
        scaffold(p, i > 0 || answer.len > 0 ? "\n" : "");
        render_call(&m->tool_calls[i], p);
    }
    scaffold(p, "<|im_end|>\n");
}

static void render_qwen3(const struct kl_chat_template *t, const struct kl_chat *chat,
                         struct kl_prompt *p)
{
    size_t question = last_question(t, chat);
    render_system(t, chat, p);
    for (size_t i = 0; i < chat->n_messages; i++) {
        const struct kl_message *m = &chat->messages[i];
        bool last = i + 1 == chat->n_messages;
        if (i == 0 && has_role(m, "system"))
            continue;
        if (has_role(m, "tool"))
            render_tool_answer(chat, i, p);
        else if (has_role(m, "assistant"))
            render_thinker(m, i > question, last && !(t->differences & NO_EMPTY_THOUGHT), p);
        else
            render_turn(m, p);
    }
    if (!chat->add_generation_prompt)
        return;
    scaffold(p, "<|im_start|>assistant\n");
    if (t->differences & BEGINS_WITH_THOUGHT)
        scaffold(p, "<think>\n");
    else if (chat->skip_thinking)
        scaffold(p, "<think>\n\n</think>\n\n");
}

#define QWEN_SYSTEM   "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
#define SMOLLM_SYSTEM "You are a helpful AI assistant named SmolLM, trained by Hugging Face"

enum {
    QWEN2,
    QWEN2_5,
    QWEN2_5_GGUF,
    QWEN3,
    QWEN3_GGUF,
    QWEN3_INSTRUCT,
    QWEN3_INSTRUCT_UNSLOTH,
    QWEN3_THINKING,
    SMOLLM2,
    CHATML
};

/* -2507: the revisions of July 2025, which always or never think; -gguf: what Qwen's own GGUF files
 * have, from before two corrections. */
static const struct kl_chat_template templates[] = {
    [QWEN2] = {"qwen2", 0, "You are a helpful assistant.", 0, render_turns},
    [QWEN2_5] = {"qwen2.5", KL_CHAT_TOOLS, QWEN_SYSTEM, 0, render_chatml},
    [QWEN2_5_GGUF] = {"qwen2.5-gguf", KL_CHAT_TOOLS, QWEN_SYSTEM, DOUBLED_BRACES, render_chatml},
    [QWEN3] = {"qwen3", KL_CHAT_TOOLS | KL_CHAT_THINKING, NULL, 0, render_qwen3},
    [QWEN3_GGUF] = {"qwen3-gguf", KL_CHAT_TOOLS | KL_CHAT_THINKING, NULL, ANY_TOOL_RESPONSE,
                    render_qwen3},
    [QWEN3_INSTRUCT] = {"qwen3-instruct-2507", KL_CHAT_TOOLS, NULL, 0, render_chatml},
    [QWEN3_INSTRUCT_UNSLOTH] = {"qwen3-instruct-unsloth", KL_CHAT_TOOLS, NULL, NO_EMPTY_THOUGHT,
                                render_qwen3},
    [QWEN3_THINKING] = {"qwen3-thinking-2507", KL_CHAT_TOOLS | KL_CHAT_ONLY_THINKING, NULL,
                        BEGINS_WITH_THOUGHT, render_qwen3},
    [SMOLLM2] = {"smollm2", 0, SMOLLM_SYSTEM, 0, render_turns},
    [CHATML] = {"chatml", KL_CHAT_TOOLS, NULL, 0, render_chatml},
};

#define N_TEMPLATES (sizeof templates / sizeof *templates)

/* Templates of model files. form: SHA-256 of the normal form; text: of a usual way to write it. */
static const struct {
    const char *text, *form;
    size_t index;
} known[] = {
    {"793202280c0910ab26bc6eb57c8212c2417324c6d8c4efd0d10d59092ab3e3eb",
     "9ced468595d9fe21952d347c06952c6158f659e3278ea04c0f29d09a5a635837", QWEN2},
    {"cd8e9439f0570856fd70470bf8889ebd8b5d1107207f67a5efb46e342330527f",
     "908fdbb21562ba78e1159f3ef35518d748d6bbed6e3041809cc5862ae28e5458", QWEN2_5},
    {"d5495a1e5db0611132a97e46a65dbb64a642a499421228b9c8b93229097fa9a4",
     "09218c99d9f91aa5826097bb251ac180f714e8d5f9bf55beb6c3450f59c916f4", QWEN2_5_GGUF},
    {"87a2728cb8dc9fe424d624542f6060ec05a1d285ebbec578bb078900e33396b5",
     "f07f86ca515fb7768f764f4598c37c7102b936c22958627289fd1bd7d511cb3d", QWEN3},
    {"a55ee1b1660128b7098723e0abcd92caa0788061051c62d51cbe87d9cf1974d8",
     "932a477cc72a4f184add65acd1159118b18cab0de6af7e8434d10bd1dbdcab3c",
     QWEN3}, /* of 2507, for content in parts */
    {"f2e03cfdf930fb26e7c88ca83abc3a0c1e7c5b1fe68ee43ba81d0c47c8460ceb",
     "01b688b25ae06202112c4969d2bcebd1e6131be67c3f684489a4718ee517253d", QWEN3}, /* Unsloth's */
    {"57f1fd00f0013a2be96aa79b857391f27e23df5b5f847072b524c897e24d0361",
     "15b17d0c66f09c66c3b1ee6c4969b4e260c53b34170f94f7cf227945c60f3cc3", QWEN3_GGUF},
    {"64f85b198065d0fba2a81f37e10ed68161ce2c19a754c7100e67e0ca2ee9c326",
     "ec7686521872a6bb3d7cc3bdf9a992a36f5990fdd101d6ad99f8e82d91f973d2", QWEN3_INSTRUCT},
    {"db733d157125e57af0ab7b0529d50bd2abd61315b431c53213221930db441edb",
     "0eadefc47c1dee7a17b509321cc52280f99ff490657a58e665278678ce68691a", QWEN3_INSTRUCT_UNSLOTH},
    {"3802169b2a02b81e6adb7ab4f64f91ff02db753c8c3a64a01c35192d3a61d8d7",
     "ba22f2ca3426c499aacae312a83408db328ceac5e9d6724bdaf5804ceddb4bdd", QWEN3_THINKING},
    {"872be49dbb638044ad01b60388f48d469ff2980e5f0dccdc22ec907db54d0788",
     "5ffb14b35a4a2efd877369900b4d2a7a25fa04ff029b1d43c7ec4d1d6d30426e", SMOLLM2},
    {"fcf7a096fe99a48fd9ad2b250bf9237e96e8f48bffec1c7ea4d3f225176cd40e",
     "aa675ff96298993f93dd3d2e7a8640d080864e1c260ec8ca7d723be4b909208d", CHATML},
};

#define N_KNOWN (sizeof known / sizeof *known)

static void hash_of(const void *data, size_t len, char hex[65])
{
    struct kl_sha256 hash;
    kl_sha256_init(&hash);
    kl_sha256_update(&hash, data, len);
    kl_sha256_finish_hex(&hash, hex);
}

/* The row of `known` with this text or, if there is none, with its form; N_KNOWN: none. */
static enum kl_status find_known(const char *text, size_t len, size_t *row, enum kl_chat_by *by)
{
    char hash[65];
    hash_of(text, len, hash);
    *by = KL_CHAT_BY_TEXT;
    for (*row = 0; *row < N_KNOWN; ++*row) {
        if (strcmp(known[*row].text, hash) == 0)
            return KL_OK;
    }
    struct kl_buffer form;
    kl_buffer_init(&form, KL_TEMPLATE_MAX_FORM);
    enum kl_status status = kl_template_form(text, len, &form);
    if (status == KL_OK) {
        hash_of(form.data, form.len, hash);
        *by = KL_CHAT_BY_FORM;
        for (*row = 0; *row < N_KNOWN && strcmp(known[*row].form, hash) != 0;)
            ++*row;
    }
    kl_buffer_release(&form);
    return status;
}

const struct kl_chat_template *kl_chat_template_recognise(const char *text, size_t len,
                                                          enum kl_chat_by *by)
{
    size_t row;
    enum kl_chat_by how;
    if (find_known(text, len, &row, &how) == KL_ERR_MEMORY)
        return NULL;
    if (by != NULL)
        *by = row < N_KNOWN ? how : KL_CHAT_BY_FALLBACK;
    return &templates[row < N_KNOWN ? known[row].index : CHATML];
}

const struct kl_chat_template *kl_chat_template_for(const struct kl_gguf *gguf, enum kl_chat_by *by)
{
    struct kl_gguf_string source = {"", 0};
    kl_gguf_string(gguf, "tokenizer.chat_template", &source, NULL);
    return kl_chat_template_recognise(source.data, source.len, by);
}

const struct kl_chat_template *kl_chat_template_named(const char *name, struct kl_error *err)
{
    char names[256] = "";
    for (size_t i = 0; i < N_TEMPLATES; i++) {
        if (strcmp(templates[i].name, name) == 0)
            return &templates[i];
        size_t len = strlen(names);
        snprintf(names + len, sizeof names - len, "%s%s", i == 0 ? "" : ", ", templates[i].name);
    }
    kl_fail(err, KL_ERR_INVALID, "there is no chat template '%.60s'; there are %s", name, names);
    return NULL;
}

const char *kl_chat_by_name(enum kl_chat_by by)
{
    static const char *const names[] = {
        [KL_CHAT_BY_TEXT] = "exact text",
        [KL_CHAT_BY_FORM] = "normal form",
        [KL_CHAT_BY_OPTION] = "option",
        [KL_CHAT_BY_FALLBACK] = "fallback",
    };
    return names[by];
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
    t->render(t, chat, out);
    content(out, chat->begun, chat->begun_len);
    status = out->status;
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
