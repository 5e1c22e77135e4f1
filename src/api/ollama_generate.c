/*
 * POST /api/generate, as in Ollama's API: an answer to one prompt, the continuation of a text
 * (raw), or the text of a gap (suffix).
 *
 * `template` is ignored: the prompt is that of the model's own chat template. `context`, by which
 * Ollama's clients of old carried a conversation on, is answered with [], and refused unless empty:
 * conversations are for /api/chat.
 */
#include <string.h>

#include "api/answer_fields.h"
#include "api/answer_json.h"
#include "api/fields.h"
#include "api/message_fields.h"
#include "api/ollama_fields.h"
#include "api/ollama_format.h"
#include "service/intake.h"

struct fields {
    const char *prompt, *suffix, *system, *template_text;
    bool raw;
};

static enum kl_status check_context(const json_t *body, const struct fields *f,
                                    struct kl_api_error *error)
{
    const json_t *context = NULL;
    if (kl_field_array(body, "context", &context, error) != KL_OK)
        return KL_ERR_INVALID;
    bool has_context = json_array_size(context) > 0;
    if (f->raw && (has_context || f->template_text[0] != '\0' || f->system[0] != '\0'))
        return kl_api_fail(error, 400, "invalid_value", "raw",
                           "raw mode does not support template, system, or context");
    if (has_context)
        return kl_api_fail(error, 400, "unsupported", "context",
                           "context is not offered by this server, which has given none; send the "
                           "conversation as messages to /api/chat");
    return KL_OK;
}

static enum kl_status read_fields(const json_t *body, struct fields *f, struct kl_api_error *error)
{
    *f = (struct fields){"", "", "", "", false};
    if (kl_field_string(body, "prompt", &f->prompt, error) != KL_OK ||
        kl_field_string(body, "suffix", &f->suffix, error) != KL_OK ||
        kl_field_string(body, "system", &f->system, error) != KL_OK ||
        kl_field_string(body, "template", &f->template_text, error) != KL_OK ||
        kl_field_bool(body, "raw", &f->raw, error) != KL_OK)
        return KL_ERR_INVALID;
    if (kl_ollama_check_images(json_object_get(body, "images"), "images", error) != KL_OK)
        return KL_ERR_INVALID;
    return check_context(body, f, error);
}

static enum kl_status set_gap(const struct fields *f, struct kl_generation_request *r)
{
    const struct kl_raw_gap gap = {.prefix = f->prompt,
                                   .prefix_len = strlen(f->prompt),
                                   .suffix = f->suffix,
                                   .suffix_len = strlen(f->suffix)};
    r->raw.field = "suffix";
    return kl_raw_input_gap(&r->raw, &gap);
}

/* The text as it is; special tokens in it are recognised, since it has nothing else to mark turns
 * with. */
static enum kl_status set_raw(const struct fields *f, struct kl_generation_request *r)
{
    r->raw.adds_bos = true;
    enum kl_status status = kl_raw_input_begin(&r->raw);
    return status == KL_OK ? kl_raw_input_text(&r->raw, f->prompt, strlen(f->prompt), true)
                           : status;
}

/* Appends a message whose content is a field of the body. */
static bool add_message(json_t *messages, const char *role, const json_t *body, const char *field)
{
    json_t *message =
        json_pack("{s:s, s:O}", "role", role, "content", json_object_get(body, field));
    return json_array_append_new(messages, message) == 0;
}

static enum kl_status set_conversation(const json_t *body, const struct fields *f,
                                       struct kl_generation_request *r, struct kl_api_error *error)
{
    json_t *messages = json_array();
    if (kl_keep_json(r, messages, error) != KL_OK)
        return KL_ERR_INVALID;
    if ((f->system[0] != '\0' && !add_message(messages, "system", body, "system")) ||
        !add_message(messages, "user", body, "prompt"))
        return kl_api_fail_memory(error, "the conversation");
    return kl_chat_input_parse(messages, r->source, &r->input, error);
}

static enum kl_status set_prompt(const json_t *body, const struct fields *f,
                                 struct kl_generation_request *r, struct kl_api_error *error)
{
    enum kl_status status = KL_OK;
    if (f->suffix[0] != '\0')
        status = set_gap(f, r);
    else if (f->prompt[0] == '\0')
        r->compute = kl_ollama_generate_loaded;
    else if (f->raw)
        status = set_raw(f, r);
    else
        return set_conversation(body, f, r, error);
    r->closed_suffices = r->compute != NULL && kl_ollama_unloads(r);
    return status == KL_OK ? KL_OK : kl_api_fail_memory(error, "the prompt");
}

static enum kl_status parse(const char *text, size_t len, bool is_query,
                            struct kl_generation_request *r, struct kl_api_error *error)
{
    (void)is_query;
    const json_t *body = NULL;
    struct fields f;
    if (kl_ollama_body(text, len, r, &body, error) != KL_OK ||
        read_fields(body, &f, error) != KL_OK || set_prompt(body, &f, r, error) != KL_OK)
        return KL_ERR_INVALID;
    return kl_ollama_answer_fields(body, r, error);
}

static const struct kl_dialect dialect = {kl_answer_headers, parse, &kl_ollama_generate_stream,
                                          &kl_ollama_generate_document};

KL_HANDLER(kl_handle_ollama_generate)
{
    kl_generation_start(x, &dialect);
}
