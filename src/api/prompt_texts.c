#include "api/prompt_texts.h"

#include <stdlib.h>
#include <string.h>

#include "api/reply_json.h"
#include "json/json_memory.h"
#include "json/json_numbers.h"
#include "json/json_text.h"

json_t *kl_token_text_json(const struct kl_tokenizer *tokenizer, const struct kl_tokens *tokens)
{
    struct kl_buffer text;
    enum kl_status status = KL_OK;
    kl_buffer_init(&text, SIZE_MAX / 2);
    for (size_t i = 0; i < tokens->len && status == KL_OK; i++) {
        size_t len;
        const char *piece = kl_tokenizer_piece(tokenizer, tokens->ids[i], &len);
        if (piece != NULL)
            status = kl_buffer_append(&text, piece, len);
    }
    json_t *json = status == KL_OK ? kl_json_text(text.len > 0 ? text.data : "", text.len) : NULL;
    kl_buffer_release(&text);
    return json;
}

json_t *kl_prompt_texts_json(const struct kl_computation *c, bool *complete)
{
    json_t *texts = json_array();
    size_t used = 0;
    *complete = true;
    for (size_t i = 0; i < c->n_prompts && texts != NULL; i++) {
        json_t *text = kl_token_text_json(c->served->tokenizer, &c->prompts[i]);
        used += json_string_length(text);
        if (text != NULL && used > KL_MAX_PROMPT_TEXTS) {
            json_decref(text);
            text = json_string("");
            *complete = false;
        }
        if (json_array_append_new(texts, text) != 0) {
            json_decref(texts);
            texts = NULL;
        }
    }
    return texts;
}

enum kl_status kl_prompt_texts_describe(const struct kl_computation *c, struct kl_buffer *out,
                                        struct kl_api_error *error)
{
    bool complete;
    json_t *texts = kl_prompt_texts_json(c, &complete);
    if (complete)
        return kl_write_json(out, texts, error);
    json_decref(texts);
    return kl_api_fail(error, 400, "invalid_value", NULL,
                       "echo and verbose repeat prompts of up to %zu bytes in all; these have "
                       "more",
                       KL_MAX_PROMPT_TEXTS);
}

json_t *kl_prompt_texts_of(const struct kl_generation *g)
{
    return g->kept != NULL ? kl_json_read(g->kept, strlen(g->kept), NULL) : NULL;
}
