/*
 * Conversations to prompts: the chat templates of the models, each rendered natively into spans.
 *
 * No template language is interpreted: the template in a model file is recognised by its normal
 * form (text/template_form.h) and mapped to one of ours; an unknown one is rendered as ChatML, or
 * as the family does whose tokens it has, with a warning. The scaffold is `special`, text of users
 * and tools is not, so no content can forge a turn. Equal byte by byte to the output of Jinja2 with
 * the model's own template (tests/fidelity); plain ChatML has no text for tools: they are written
 * as in Qwen2.5.
 *
 * A further template is three edits in chat_template.c: an entry of its enum, a row of `templates`
 * and a row of `known` (two digests); a fourth is a render function where no present one fits. Its
 * text goes into the tests of tests/fidelity.
 *
 * Rendering is a pure function of its arguments, for any thread; the prompt is the caller's.
 */
#ifndef KL_TEXT_CHAT_TEMPLATE_H
#define KL_TEXT_CHAT_TEMPLATE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buffer.h"
#include "base/error.h"
#include "format/gguf.h"
#include "text/tokenizer.h"

/* A call the assistant made earlier. arguments: JSON text. It is put into the prompt as it is, so
 * the caller writes it as the model knows it from Python's json.dumps(..., ensure_ascii=False):
 * with a space after each colon and comma. */
struct kl_tool_call {
    const char *name;
    const char *arguments;
};

struct kl_message {
    const char *role;    /* "system", "user", "assistant" or "tool" */
    const char *content; /* NULL counts as empty */
    size_t content_len;
    /* The thought before the content, where a client keeps it apart; NULL: it may be in the
     * content. Templates without KL_CHAT_THINKING have no place for it. */
    const char *thought;
    size_t thought_len;
    const struct kl_tool_call *tool_calls;
    size_t n_tool_calls;
};

struct kl_chat {
    const struct kl_message *messages;
    size_t n_messages;
    const char *const *tools; /* JSON texts of the tools on offer, put in as they are too */
    size_t n_tools;
    const char
        *date; /* today, for templates that say it: "28 Nov 2026"; NULL: the template's own */
    bool add_generation_prompt; /* end with the opening of the assistant's turn */
    bool skip_thinking; /* ... and an empty thought; only where the template has KL_CHAT_THINKING */
    const char *begun;  /* ... and this text, which the answer continues; NULL: none */
    size_t begun_len;
};

struct kl_chat_template; /* one of the built-in templates */

/* How a template was chosen. */
enum kl_chat_by {
    KL_CHAT_BY_TEXT,    /* its text is one that is known */
    KL_CHAT_BY_FORM,    /* its normal form is */
    KL_CHAT_BY_OPTION,  /* the operator chose it */
    KL_CHAT_BY_FALLBACK /* it is not known, or there is none: ChatML, or that of a like one */
};
/* "exact text", "normal form", "option", "fallback" */
const char *kl_chat_by_name(enum kl_chat_by by);

/* Chooses by a template's text; without a match by the tokens in it: ChatML, Llama's or DeepSeek's.
 * NULL only without memory.
 * by may be NULL. */
const struct kl_chat_template *kl_chat_template_recognise(const char *text, size_t len,
                                                          enum kl_chat_by *by);
/* The same by tokenizer.chat_template of the file. */
const struct kl_chat_template *kl_chat_template_for(const struct kl_gguf *gguf,
                                                    enum kl_chat_by *by);
/* The template of that name; else NULL, and an error that lists the names. */
const struct kl_chat_template *kl_chat_template_named(const char *name, struct kl_error *err);
const char *kl_chat_template_name(const struct kl_chat_template *t);

/* The features of a template beyond turns of text. A template drops silently the parts of a chat
 * that it has no feature for, so callers refuse them. */
enum kl_chat_feature {
    KL_CHAT_TOOLS = 1,         /* tools on offer, calls of the assistant */
    KL_CHAT_THINKING = 2,      /* the model thinks first, unless skip_thinking */
    KL_CHAT_ONLY_THINKING = 4, /* it always does: its opening has <think> in it */
    /* a call is an object without tags, of a name and "parameters", and an answer has one of them
     */
    KL_CHAT_BARE_CALLS = 8,
    KL_CHAT_ONE_SYSTEM = 16, /* of several system messages only the last one is written */
    KL_CHAT_ARGUMENTS = 32   /* its text reads arguments of a request, such as date_string */
};
bool kl_chat_template_has(const struct kl_chat_template *t, enum kl_chat_feature feature);

/* A rendered prompt. Spans point into text; both live until _release. */
struct kl_prompt {
    struct kl_buffer text;
    struct kl_span *spans; /* [n_spans] */
    size_t n_spans;
    enum kl_status status; /* the first failure while rendering: later text is dropped */
};

enum kl_status kl_chat_render(const struct kl_chat_template *t, const struct kl_chat *chat,
                              struct kl_prompt *out, struct kl_error *err);
void kl_prompt_release(struct kl_prompt *prompt);

#endif
