#include "text/chat_template.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "text/template_form.h"
#include "text/template_writer.h"

/* Several times the longest context. */
#define MAX_PROMPT ((size_t)64 << 20)

/* --- ChatML with the tools of Qwen2.5 (Hermes style) --- */

static void render_tools(const struct kl_chat_template *t, const struct kl_chat *chat,
                         struct kl_prompt *p)
{
    bool doubled = (t->differences & KL_DOUBLED_BRACES) != 0;
    kl_scaffold(
        p, "# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
           "You are provided with function signatures within <tools></tools> XML tags:\n<tools>");
    for (size_t i = 0; i < chat->n_tools; i++) {
        kl_scaffold(p, "\n");
        kl_content(p, chat->tools[i], strlen(chat->tools[i]));
    }
    kl_scaffold(p,
                "\n</tools>\n\nFor each function call, return a json object with function name and "
                "arguments within <tool_call></tool_call> XML tags:\n<tool_call>\n");
    kl_scaffold(p, doubled ? "{{" : "{");
    kl_scaffold(p, "\"name\": <function-name>, \"arguments\": <args-json-object>");
    kl_scaffold(p, doubled ? "}}\n</tool_call>" : "}\n</tool_call>");
}

/* The first turn: a system message, or the default one, and the tools. */
static void render_system(const struct kl_chat_template *t, const struct kl_chat *chat,
                          struct kl_prompt *p)
{
    const struct kl_message *first = &chat->messages[0];
    bool given = kl_has_role(first, "system");
    bool text = given || t->default_system != NULL;
    if (!text && chat->n_tools == 0)
        return;
    kl_scaffold(p, "<|im_start|>system\n");
    if (given)
        kl_content(p, first->content, first->content_len);
    else if (text)
        kl_scaffold(p, t->default_system);
    if (chat->n_tools > 0) {
        kl_scaffold(p, text ? "\n\n" : "");
        render_tools(t, chat, p);
    }
    kl_scaffold(p, "<|im_end|>\n");
}

static void render_call(const struct kl_tool_call *call, struct kl_prompt *p)
{
    kl_scaffold(p, "<tool_call>\n{\"name\": \"");
    kl_content(p, call->name, strlen(call->name));
    kl_scaffold(p, "\", \"arguments\": ");
    kl_content(p, call->arguments, strlen(call->arguments));
    kl_scaffold(p, "}\n</tool_call>");
}

static void render_calls(const struct kl_message *m, struct kl_prompt *p)
{
    kl_scaffold(p, "<|im_start|>assistant");
    if (m->content != NULL && m->content_len > 0) {
        kl_scaffold(p, "\n");
        kl_content(p, m->content, m->content_len);
    }
    for (size_t i = 0; i < m->n_tool_calls; i++) {
        kl_scaffold(p, "\n");
        render_call(&m->tool_calls[i], p);
    }
    kl_scaffold(p, "<|im_end|>\n");
}

static void render_turn(const struct kl_message *m, struct kl_prompt *p)
{
    kl_scaffold(p, "<|im_start|>");
    kl_scaffold(p, m->role);
    kl_scaffold(p, "\n");
    kl_content(p, m->content, m->content_len);
    kl_scaffold(p, "<|im_end|>\n");
}

/* Consecutive answers of tools share one turn of the user. */
static void render_tool_answer(const struct kl_chat *chat, size_t i, struct kl_prompt *p)
{
    const struct kl_message *m = &chat->messages[i];
    bool first = i == 0 || !kl_has_role(m - 1, "tool");
    bool last = i + 1 == chat->n_messages || !kl_has_role(m + 1, "tool");
    kl_scaffold(p, first ? "<|im_start|>user" : "");
    kl_scaffold(p, "\n<tool_response>\n");
    kl_content(p, m->content, m->content_len);
    kl_scaffold(p, "\n</tool_response>");
    kl_scaffold(p, last ? "<|im_end|>\n" : "");
}

static void render_chatml(const struct kl_chat_template *t, const struct kl_chat *chat,
                          struct kl_prompt *p)
{
    render_system(t, chat, p);
    for (size_t i = 0; i < chat->n_messages; i++) {
        const struct kl_message *m = &chat->messages[i];
        if (i == 0 && kl_has_role(m, "system"))
            continue;
        if (kl_has_role(m, "tool"))
            render_tool_answer(chat, i, p);
        else if (kl_has_role(m, "assistant") && m->n_tool_calls > 0)
            render_calls(m, p);
        else
            render_turn(m, p);
    }
    if (chat->add_generation_prompt)
        kl_scaffold(p, "<|im_start|>assistant\n");
}

/* --- Qwen2, SmolLM2: plain turns for every role, without tools --- */

static void render_turns(const struct kl_chat_template *t, const struct kl_chat *chat,
                         struct kl_prompt *p)
{
    if (!kl_has_role(&chat->messages[0], "system")) {
        kl_scaffold(p, "<|im_start|>system\n");
        kl_scaffold(p, t->default_system);
        kl_scaffold(p, "<|im_end|>\n");
    }
    for (size_t i = 0; i < chat->n_messages; i++)
        render_turn(&chat->messages[i], p);
    if (chat->add_generation_prompt)
        kl_scaffold(p, "<|im_start|>assistant\n");
}

/* --- Qwen3: thoughts of the assistant are kept after the last question only --- */

static struct kl_slice strip_newlines(struct kl_slice s, bool left, bool right)
{
    for (; left && s.len > 0 && s.text[0] == '\n'; s.len--)
        s.text++;
    for (; right && s.len > 0 && s.text[s.len - 1] == '\n'; s.len--)
        continue;
    return s;
}

/* Splits "<think>...</think>" off an answer, unless its thought was given apart: returns the rest
 * and sets *thoughts. */
static struct kl_slice split_thoughts(const struct kl_message *m, struct kl_slice *thoughts)
{
    struct kl_slice all = kl_slice_of(m), answer = all;
    *thoughts = (struct kl_slice){0};
    if (m->thought != NULL) {
        *thoughts = strip_newlines((struct kl_slice){m->thought, m->thought_len}, true, true);
        return all;
    }
    const char *end = kl_find_mark(all, "</think>", true);
    if (end == NULL)
        return all;
    answer.text = end + strlen("</think>");
    answer.len = all.len - (size_t)(answer.text - all.text);
    *thoughts = all;
    thoughts->len = (size_t)(kl_find_mark(all, "</think>", false) - all.text);
    *thoughts = strip_newlines(*thoughts, false, true);
    const char *begin = kl_find_mark(*thoughts, "<think>", true);
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
    struct kl_slice all = kl_slice_of(m);
    if (anywhere)
        return kl_find_mark(all, begin, false) != NULL && kl_find_mark(all, end, false) != NULL;
    return all.len >= end_len && memcmp(all.text, begin, begin_len) == 0 &&
           memcmp(all.text + all.len - end_len, end, end_len) == 0;
}

/* The index of the last message of a user that holds no tool's answer, else of the last one. */
static size_t last_question(const struct kl_chat_template *t, const struct kl_chat *chat)
{
    bool anywhere = (t->differences & KL_ANY_TOOL_RESPONSE) != 0;
    for (size_t i = chat->n_messages; i-- > 0;) {
        const struct kl_message *m = &chat->messages[i];
        if (kl_has_role(m, "user") && !is_tool_response(m, anywhere))
            return i;
    }
    return chat->n_messages - 1;
}

/* show_empty: the tags are written even without a thought. */
static void render_thinker(const struct kl_message *m, bool with_thoughts, bool show_empty,
                           struct kl_prompt *p)
{
    struct kl_slice thoughts, answer = split_thoughts(m, &thoughts), shown = answer;
    kl_scaffold(p, "<|im_start|>assistant\n");
    if (with_thoughts && (show_empty || thoughts.len > 0)) {
        kl_scaffold(p, "<think>\n");
        kl_content(p, thoughts.text, thoughts.len);
        kl_scaffold(p, "\n</think>\n\n");
        shown = strip_newlines(answer, true, false);
    }
    kl_content(p, shown.text, shown.len);
    for (size_t i = 0; i < m->n_tool_calls; i++) {
        kl_scaffold(p, i > 0 || answer.len > 0 ? "\n" : "");
        render_call(&m->tool_calls[i], p);
    }
    kl_scaffold(p, "<|im_end|>\n");
}

static void render_qwen3(const struct kl_chat_template *t, const struct kl_chat *chat,
                         struct kl_prompt *p)
{
    size_t question = last_question(t, chat);
    render_system(t, chat, p);
    for (size_t i = 0; i < chat->n_messages; i++) {
        const struct kl_message *m = &chat->messages[i];
        bool last = i + 1 == chat->n_messages;
        if (i == 0 && kl_has_role(m, "system"))
            continue;
        if (kl_has_role(m, "tool"))
            render_tool_answer(chat, i, p);
        else if (kl_has_role(m, "assistant"))
            render_thinker(m, i > question, last && !(t->differences & KL_NO_EMPTY_THOUGHT), p);
        else
            render_turn(m, p);
    }
    if (!chat->add_generation_prompt)
        return;
    kl_scaffold(p, "<|im_start|>assistant\n");
    if (t->differences & KL_BEGINS_WITH_THOUGHT)
        kl_scaffold(p, "<think>\n");
    else if (chat->skip_thinking)
        kl_scaffold(p, "<think>\n\n</think>\n\n");
}

/* --- DeepSeek-R1's distilled models: the last system message is the beginning of the prompt;
 * earlier answers have no thoughts; there is no text for tools --- */

static void render_deepseek(const struct kl_chat_template *t, const struct kl_chat *chat,
                            struct kl_prompt *p)
{
    const struct kl_message *system = NULL;
    for (size_t i = 0; i < chat->n_messages; i++)
        system = kl_has_role(&chat->messages[i], "system") ? &chat->messages[i] : system;
    kl_scaffold(p, "<｜begin▁of▁sentence｜>");
    if (system != NULL)
        kl_content(p, system->content, system->content_len);
    for (size_t i = 0; i < chat->n_messages; i++) {
        const struct kl_message *m = &chat->messages[i];
        struct kl_slice text = kl_slice_of(m);
        const char *end = kl_find_mark(text, "</think>", true);
        if (kl_has_role(m, "user")) {
            kl_scaffold(p, "<｜User｜>");
            kl_content(p, text.text, text.len);
        } else if (kl_has_role(m, "assistant")) {
            const char *begin = end != NULL ? end + strlen("</think>") : text.text;
            kl_scaffold(p, "<｜Assistant｜>");
            kl_content(p, begin, text.len - (size_t)(begin - text.text));
            kl_scaffold(p, "<｜end▁of▁sentence｜>");
        }
    }
    if (!chat->add_generation_prompt)
        return;
    kl_scaffold(p, "<｜Assistant｜>");
    if (t->differences & KL_BEGINS_WITH_THOUGHT)
        kl_scaffold(p, "<think>\n");
    else if (chat->skip_thinking)
        kl_scaffold(p, "<think>\n\n</think>\n\n");
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
    LLAMA3_2,
    R1_DISTILL,
    R1_DISTILL_FIRST,
    CHATML
};

/* -2507: the revisions of July 2025, which always or never think; -gguf: what Qwen's own GGUF files
 * have, from before two corrections; -first: of the first weeks, whose answers begin <think>
 * themselves. */
static const struct kl_chat_template templates[] = {
    [QWEN2] = {"qwen2", 0, "You are a helpful assistant.", 0, render_turns},
    [QWEN2_5] = {"qwen2.5", KL_CHAT_TOOLS, QWEN_SYSTEM, 0, render_chatml},
    [QWEN2_5_GGUF] = {"qwen2.5-gguf", KL_CHAT_TOOLS, QWEN_SYSTEM, KL_DOUBLED_BRACES, render_chatml},
    [QWEN3] = {"qwen3", KL_CHAT_TOOLS | KL_CHAT_THINKING, NULL, 0, render_qwen3},
    [QWEN3_GGUF] = {"qwen3-gguf", KL_CHAT_TOOLS | KL_CHAT_THINKING, NULL, KL_ANY_TOOL_RESPONSE,
                    render_qwen3},
    [QWEN3_INSTRUCT] = {"qwen3-instruct-2507", KL_CHAT_TOOLS, NULL, 0, render_chatml},
    [QWEN3_INSTRUCT_UNSLOTH] = {"qwen3-instruct-unsloth", KL_CHAT_TOOLS, NULL, KL_NO_EMPTY_THOUGHT,
                                render_qwen3},
    [QWEN3_THINKING] = {"qwen3-thinking-2507", KL_CHAT_TOOLS | KL_CHAT_ONLY_THINKING, NULL,
                        KL_BEGINS_WITH_THOUGHT, render_qwen3},
    [SMOLLM2] = {"smollm2", 0, SMOLLM_SYSTEM, 0, render_turns},
    [LLAMA3_2] = {"llama3.2", KL_CHAT_TOOLS | KL_CHAT_BARE_CALLS | KL_CHAT_ARGUMENTS, NULL, 0,
                  kl_render_llama3},
    [R1_DISTILL] = {"deepseek-r1-distill", KL_CHAT_ONLY_THINKING | KL_CHAT_ONE_SYSTEM, NULL,
                    KL_BEGINS_WITH_THOUGHT, render_deepseek},
    [R1_DISTILL_FIRST] = {"deepseek-r1-distill-first", KL_CHAT_THINKING | KL_CHAT_ONE_SYSTEM, NULL,
                          0, render_deepseek},
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
    {"5816fce10444e03c2e9ee1ef8a4a1ea61ae7e69e438613f3b17b69d0426223a4",
     "6c298ba887007420230e766c3e886488e8349b2abf9136254f355f6a4415e141", LLAMA3_2},
    {"56a1447ad31926fdc21fb07e56e5642bd9c850c4f52d8c8af7bbe5f079a84f5f",
     "326b43e0e1091000a25bb1e8e5a9236f2e33deaa78ff6b6f199818049c2a7fb5", R1_DISTILL},
    {"b6835114b7303ddd78919a82e4d9f7d8c26ed0d7dfc36beeb12d524f6144eab1",
     "5e42925b64e1ba15961644f8f8f6c899433c5e345e43f4e4d7960cd637928e00", R1_DISTILL_FIRST},
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

/* The template of a text that is not known: by a token of a family that turns cannot be without. */
static size_t find_family(const char *text, size_t len)
{
    static const struct {
        const char *mark;
        size_t index;
    } families[] = {{"<|im_start|>", CHATML},
                    {"<|start_header_id|>", LLAMA3_2},
                    {"<｜Assistant｜><think>", R1_DISTILL},
                    {"<｜Assistant｜>", R1_DISTILL_FIRST}};
    for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
        if (kl_find_mark((struct kl_slice){text, len}, families[i].mark, false) != NULL)
            return families[i].index;
    }
    return CHATML;
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
    return &templates[row < N_KNOWN ? known[row].index : find_family(text, len)];
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
            found = found || kl_has_role(&chat->messages[i], roles[r]);
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
    kl_content(out, chat->begun, chat->begun_len);
    status = out->status;
    if (status != KL_OK) {
        kl_prompt_release(out);
        if (status == KL_ERR_INVALID)
            return kl_fail(
                err, status,
                "the tools are nested so deeply that they would take several times their "
                "length in this model's prompt, which has them indented; make them "
                "flatter");
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
