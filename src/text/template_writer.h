/*
 * The writer of prompts for the templates of chat_template.c, and the templates that have a file of
 * their own. Internal to text/.
 *
 * A failure stays in prompt->status, and all that follows is dropped: a template need not look at
 * it.
 */
#ifndef KL_TEXT_TEMPLATE_WRITER_H
#define KL_TEXT_TEMPLATE_WRITER_H

#include <stdbool.h>
#include <stddef.h>

#include "text/chat_template.h"

/* The differences between the templates of a family. */
enum {
    KL_DOUBLED_BRACES = 1,     /* {{"name": ...}} in the text on tools */
    KL_ANY_TOOL_RESPONSE = 2,  /* a message with a <tool_response> anywhere is no question */
    KL_NO_EMPTY_THOUGHT = 4,   /* also not in the last answer */
    KL_BEGINS_WITH_THOUGHT = 8 /* the answer's opening includes <think> */
};

struct kl_chat_template {
    const char *name;
    unsigned features;          /* of kl_chat_feature */
    const char *default_system; /* NULL: without a system message there is none */
    unsigned differences;
    void (*render)(const struct kl_chat_template *t, const struct kl_chat *chat,
                   struct kl_prompt *out); /* a failure stays in out->status */
};

/* Writes the template's own text: special tokens are recognised in it. */
void kl_scaffold(struct kl_prompt *p, const char *text);
/* Writes text of a user, a program or a model; NULL counts as empty. */
void kl_content(struct kl_prompt *p, const char *text, size_t len);

bool kl_has_role(const struct kl_message *m, const char *role);

/* A part of a text that is somewhere else. */
struct kl_slice {
    const char *text;
    size_t len;
};

/* The content of a message; NULL counts as empty. */
struct kl_slice kl_slice_of(const struct kl_message *m);
/* The first (or last) occurrence of the mark in s, or NULL. */
const char *kl_find_mark(struct kl_slice s, const char *mark, bool last);

/* llama_template.c: Llama 3.1 and 3.2 without tools of Meta's own; the functions are in the turn of
 * the user, and a call is {"name": ..., "parameters": ...}. */
void kl_render_llama3(const struct kl_chat_template *t, const struct kl_chat *chat,
                      struct kl_prompt *p);

#endif
