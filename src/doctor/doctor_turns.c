/* How a conversation is written for the model, and how an answer of it ends. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "doctor/doctor.h"

#define AREA "template"

static void check_template(struct kl_findings *findings, const struct kl_loaded *l)
{
    bool fallback = l->chat_template_by == KL_CHAT_BY_FALLBACK;
    struct kl_finding *found =
        kl_found(findings, fallback ? KL_WARNING : KL_GOOD, AREA, "chat template %s, by %s%s%s",
                 kl_chat_template_name(l->chat_template), kl_chat_by_name(l->chat_template_by),
                 kl_chat_template_has(l->chat_template, KL_CHAT_TOOLS) ? ", with tools" : "",
                 kl_chat_template_has(l->chat_template, KL_CHAT_THINKING) ? ", with thinking" : "");
    if (!fallback)
        return;
    bool has_one = kl_gguf_has(l->gguf, "tokenizer.chat_template");
    kl_found_cost(found,
                  "%s: conversations are not written the way the model was trained on, and "
                  "answers may be worse",
                  has_one ? "the chat template in the model file is not known"
                          : "the model file has no chat template");
    kl_found_remedy(found, "use --chat-template NAME if you know the family of the model%s",
                    has_one ? ""
                            : "; a base model (not \"Instruct\" or \"Chat\") has none: use it by "
                              "/v1/completions");
}

/* Appends the text of a token, "<|im_end|>", to a list. */
static void list_token(char *list, size_t size, const struct kl_tokenizer *tokenizer, int32_t id)
{
    size_t used = strlen(list), len;
    const char *piece = kl_tokenizer_piece(tokenizer, id, &len);
    snprintf(list + used, size - used, "%s%.*s (%" PRId32 ")", used > 0 ? ", " : "",
             (int)(len < 40 ? len : 40), piece != NULL ? piece : "", id);
}

/* Says which keys of the file name an end that the vocabulary does not have. */
static void check_end_keys(struct kl_findings *findings, const struct kl_loaded *l)
{
    static const char *const keys[] = {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                                       "tokenizer.ggml.eom_token_id"};
    struct kl_error err = {0};
    uint64_t id;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        if (!kl_gguf_has(l->gguf, keys[i]) ||
            kl_gguf_u64(l->gguf, keys[i], 0, kl_tokenizer_size(l->tokenizer) - 1, &id, &err) ==
                KL_OK)
            continue;
        kl_found(findings, KL_NOTE, AREA, "%s; it is ignored, other tokens end an answer",
                 err.text);
    }
}

static void check_ends(struct kl_findings *findings, const struct kl_loaded *l)
{
    char good[200] = "", bad[200] = "";
    size_t n;
    const int32_t *ends = kl_tokenizer_ends(l->tokenizer, &n);
    for (size_t i = 0; i < n; i++) {
        bool control = kl_tokenizer_is_control(l->tokenizer, ends[i]);
        list_token(control ? good : bad, control ? sizeof good : sizeof bad, l->tokenizer, ends[i]);
    }
    check_end_keys(findings, l);
    if (bad[0] != '\0') {
        struct kl_finding *found =
            kl_found(findings, KL_WARNING, AREA,
                     "the file says that an answer ends with %s, which is text and no control "
                     "token",
                     bad);
        kl_found_cost(found, "answers end in the middle where the model writes it");
        kl_found_remedy(found, "get another conversion of this model");
    }
    if (n == 0) {
        struct kl_finding *found =
            kl_found(findings, KL_WARNING, AREA, "the file names no token that ends an answer");
        kl_found_cost(found, "answers go on until --max-tokens or the end of the context");
        kl_found_remedy(found, "get another conversion of this model, or give \"stop\" and "
                               "\"max_tokens\" in requests");
    } else if (good[0] != '\0') {
        kl_found(findings, KL_GOOD, AREA, "an answer ends with %s", good);
    }
}

/* Whether the turn of the assistant in a rendered conversation ends with a token that ends an
 * answer: the last control token of it. Writes that token's id, or -1 if there is none. */
static bool find_turn_end(const struct kl_loaded *l, int32_t *id)
{
    const struct kl_message messages[] = {
        {.role = "user", .content = "Hello", .content_len = 5},
        {.role = "assistant", .content = "Hello", .content_len = 5},
    };
    const struct kl_chat chat = {.messages = messages, .n_messages = 2};
    struct kl_prompt prompt;
    struct kl_tokens tokens = {0};
    struct kl_error err = {0};
    *id = -1;
    enum kl_status status = kl_chat_render(l->chat_template, &chat, &prompt, &err);
    if (status == KL_OK)
        status = kl_tokenizer_encode(l->tokenizer, prompt.spans, prompt.n_spans, &tokens, &err);
    for (size_t i = 0; i < tokens.len; i++)
        if (kl_tokenizer_is_control(l->tokenizer, tokens.ids[i]))
            *id = tokens.ids[i];
    kl_prompt_release(&prompt);
    kl_tokens_release(&tokens);
    return status == KL_OK;
}

static void check_turn_end(struct kl_findings *findings, const struct kl_loaded *l)
{
    int32_t id;
    char text[80] = "";
    if (!find_turn_end(l, &id))
        return;
    if (id < 0) {
        struct kl_finding *found = kl_found(
            findings, KL_WARNING, AREA,
            "the vocabulary has none of the control tokens of chat template %s: its marks are read "
            "as text",
            kl_chat_template_name(l->chat_template));
        kl_found_cost(found, "answers may not end where they should");
        kl_found_remedy(found, "this is no chat model, or one of a family that is not known: use "
                               "it by /v1/completions");
        return;
    }
    if (kl_tokenizer_is_end(l->tokenizer, id))
        return;
    list_token(text, sizeof text, l->tokenizer, id);
    struct kl_finding *found =
        kl_found(findings, KL_WARNING, AREA,
                 "chat template %s ends a turn with %s, which does not end an answer",
                 kl_chat_template_name(l->chat_template), text);
    kl_found_cost(found, "the model goes on and answers itself");
    kl_found_remedy(found, "get another conversion of this model, or give --chat-template NAME of "
                           "its family");
}

void kl_doctor_turns(struct kl_findings *findings, const struct kl_loaded *loaded)
{
    if (kl_load_only_embeds(loaded)) {
        kl_found(findings, KL_GOOD, AREA,
                 "the model is for embeddings only: it is asked for no answers");
        return;
    }
    check_template(findings, loaded);
    check_ends(findings, loaded);
    check_turn_end(findings, loaded);
}
