/*
 * llama-server's routes for tokens: POST /tokenize, /detokenize, /apply-template,
 * /v1/chat/completions/input_tokens. They are computed on the worker's thread, without the model.
 */
#include <string.h>

#include "api/answer_fields.h"
#include "api/answer_json.h"
#include "api/fields.h"
#include "api/input_tokens.h"
#include "api/json_print.h"
#include "api/openai_chat.h"
#include "api/prompt_fields.h"
#include "api/prompt_texts.h"
#include "api/reply_json.h"
#include "base/printer.h"
#include "base/utf8.h"
#include "service/intake.h"
#include "json/json_text.h"

/* ---- /tokenize ------------------------------------------------------------------------------- */

/* Prints a token as text or, where it is not UTF-8 alone, as an array of bytes. */
static void print_piece(struct kl_printer *p, const struct kl_tokenizer *tokenizer, int32_t id)
{
    size_t len = 0;
    const char *piece = kl_tokenizer_piece(tokenizer, id, &len);
    if (piece == NULL || kl_utf8_valid(piece, len)) {
        kl_print_json_text(p, piece, piece != NULL ? len : 0);
        return;
    }
    for (size_t i = 0; i < len; i++)
        kl_print(p, "%c%u", i == 0 ? '[' : ',', (unsigned char)piece[i]);
    kl_print(p, "]");
}

/* Prints them one by one: as JSON values, a million tokens would take hundreds of megabytes. */
static enum kl_status write_tokens(const struct kl_computation *c, struct kl_buffer *out,
                                   struct kl_api_error *error)
{
    const json_t *body = json_array_get(c->request->source, 0);
    bool with_pieces = json_is_true(json_object_get(body, "with_pieces"));
    size_t n = c->n_prompts > 0 ? c->prompts[0].len : 0;
    struct kl_printer p = {.text = *out};
    kl_print(&p, "{\"tokens\":[");
    for (size_t i = 0; i < n && p.status == KL_OK; i++) {
        int32_t id = c->prompts[0].ids[i];
        kl_print(&p, with_pieces ? "%s{\"id\":%d,\"piece\":" : "%s%d", i > 0 ? "," : "", (int)id);
        if (with_pieces) {
            print_piece(&p, c->served->tokenizer, id);
            kl_print(&p, "}");
        }
    }
    kl_print(&p, "]}");
    *out = p.text;
    if (p.status == KL_ERR_LIMIT)
        return kl_api_fail(error, 400, "answer_too_large", "content",
                           "the %zu tokens of content take more than %zu bytes to write: send it "
                           "in parts%s",
                           n, out->cap, with_pieces ? ", or leave with_pieces out" : "");
    return p.status == KL_OK ? KL_OK : kl_api_fail_memory(error, "the answer");
}

static enum kl_status parse_tokenize(const char *text, size_t len, bool is_query,
                                     struct kl_generation_request *r, struct kl_api_error *error)
{
    (void)is_query;
    json_t *body;
    bool parse_special = true, with_pieces = false;
    r->compute = write_tokens;
    r->raw.may_be_empty = true;
    if (kl_read_body(text, len, r, &body, error) != KL_OK ||
        kl_field_string(body, "model", &r->model, error) != KL_OK ||
        kl_field_bool(body, "add_special", &r->raw.adds_bos, error) != KL_OK ||
        kl_field_bool(body, "parse_special", &parse_special, error) != KL_OK ||
        kl_field_bool(body, "with_pieces", &with_pieces, error) != KL_OK)
        return KL_ERR_INVALID;
    const json_t *content = json_object_get(body, "content");
    if (content == NULL || json_is_null(content))
        return KL_OK;
    return kl_prompt_value(content, "content", parse_special, &r->raw, error);
}

/* ---- /detokenize ----------------------------------------------------------------------------- */

static enum kl_status write_content(const struct kl_computation *c, struct kl_buffer *out,
                                    struct kl_api_error *error)
{
    json_t *text = c->n_prompts > 0 ? kl_token_text_json(c->served->tokenizer, &c->prompts[0])
                                    : json_string("");
    return kl_write_json(out, json_pack("{s:o}", "content", text), error);
}

static enum kl_status parse_detokenize(const char *text, size_t len, bool is_query,
                                       struct kl_generation_request *r, struct kl_api_error *error)
{
    (void)is_query;
    json_t *body;
    const json_t *tokens = NULL, *token;
    size_t i;
    r->compute = write_content;
    r->raw.may_be_empty = true;
    if (kl_read_body(text, len, r, &body, error) != KL_OK ||
        kl_field_string(body, "model", &r->model, error) != KL_OK ||
        kl_field_array(body, "tokens", &tokens, error) != KL_OK)
        return KL_ERR_INVALID;
    json_array_foreach(tokens, i, token)
    {
        if (!json_is_number(token))
            return kl_api_fail(error, 400, "invalid_type", "tokens",
                               "tokens must be an array of token ids; it contains %s",
                               kl_json_type_name(token));
    }
    return tokens != NULL ? kl_prompt_value(tokens, "tokens", false, &r->raw, error) : KL_OK;
}

/* ---- conversations --------------------------------------------------------------------------- */

static enum kl_status write_prompt(const struct kl_computation *c, struct kl_buffer *out,
                                   struct kl_api_error *error)
{
    const struct kl_chat_input *input = &c->request->input;
    struct kl_prompt prompt;
    enum kl_status status = kl_chat_input_render(input, input->messages, input->n_messages,
                                                 c->served->chat_template, &prompt, error);
    if (status != KL_OK)
        return status;
    json_t *text = kl_json_text(prompt.text.data, prompt.text.len);
    kl_prompt_release(&prompt);
    return kl_write_json(out, json_pack("{s:o}", "prompt", text), error);
}

enum kl_status kl_input_tokens_write(const struct kl_computation *c, struct kl_buffer *out,
                                     struct kl_api_error *error)
{
    json_int_t n = c->n_prompts > 0 ? (json_int_t)c->prompts[0].len : 0;
    return kl_write_json(
        out, json_pack("{s:s, s:I}", "object", "response.input_tokens", "input_tokens", n), error);
}

static enum kl_status parse_chat(const char *text, size_t len, struct kl_generation_request *r,
                                 struct kl_api_error *error)
{
    enum kl_status status = kl_chat_completions_parse(text, len, false, r, error);
    r->stream = false;
    return status;
}

static enum kl_status parse_apply_template(const char *text, size_t len, bool is_query,
                                           struct kl_generation_request *r,
                                           struct kl_api_error *error)
{
    (void)is_query;
    r->compute = write_prompt;
    return parse_chat(text, len, r, error);
}

static enum kl_status parse_input_tokens(const char *text, size_t len, bool is_query,
                                         struct kl_generation_request *r,
                                         struct kl_api_error *error)
{
    (void)is_query;
    r->compute = kl_input_tokens_write;
    return parse_chat(text, len, r, error);
}

/* ---- routes ---------------------------------------------------------------------------------- */

/* The document is what was computed; only errors are left to write. */
static const struct kl_answer_format computed = {.error = kl_document_error};

#define COMPUTED(handler, parse)                                                                   \
    static const struct kl_dialect handler##_dialect = {kl_answer_headers, parse, &computed,       \
                                                        &computed};                                \
    KL_HANDLER(handler)                                                                            \
    {                                                                                              \
        kl_generation_start(x, &handler##_dialect);                                                \
    }

COMPUTED(kl_handle_tokenize, parse_tokenize)
COMPUTED(kl_handle_detokenize, parse_detokenize)
COMPUTED(kl_handle_apply_template, parse_apply_template)
COMPUTED(kl_handle_chat_input_tokens, parse_input_tokens)
