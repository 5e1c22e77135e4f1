/*
 * POST /v1/embeddings, as in OpenAI's API reference (Embeddings), and llama-server's own
 * POST /embedding and /embeddings.
 *
 * Fields in addition to OpenAI's: pooling, truncate, embd_normalize (embedding_fields.h). Any
 * loaded model has embeddings; a document says which model made them, whatever name was asked for.
 * Tasks of a model made for embeddings ("Instruct: ...\nQuery: ...") are up to the client: they are
 * part of its text.
 */
#include <string.h>

#include "api/answer_fields.h"
#include "api/answer_json.h"
#include "api/embedding_fields.h"
#include "api/embedding_json.h"
#include "api/fields.h"
#include "api/json_print.h"
#include "service/generation.h"
#include "service/intake.h"
#include "json/json_memory.h"

/* ---- documents ------------------------------------------------------------------------------- */

static enum kl_status openai_begin(const struct kl_generation *g, struct kl_buffer *out)
{
    (void)g;
    return kl_buffer_append_string(out, "{\"object\":\"list\",\"data\":[");
}

static enum kl_status openai_vector(const struct kl_generation *g, size_t index,
                                    const float *vector, size_t n, struct kl_buffer *out)
{
    enum kl_status status = kl_buffer_append_format(
        out, "%s{\"object\":\"embedding\",\"index\":%zu,\"embedding\":", index > 0 ? "," : "",
        index);
    if (status == KL_OK)
        status = kl_embedding_work_fields(g->embedding)->is_base64
                     ? kl_vector_base64(vector, n, out)
                     : kl_vector_numbers(vector, n, out);
    return status == KL_OK ? kl_buffer_append(out, "}", 1) : status;
}

static enum kl_status openai_end(const struct kl_generation *g, struct kl_buffer *out)
{
    unsigned long long n = kl_generation_prompt_tokens(g);
    const char *model = g->model->served.model_name;
    struct kl_printer p = {.text = *out};
    kl_print(&p, "],\"model\":");
    kl_print_json_text(&p, model, strlen(model));
    kl_print(&p, ",\"usage\":{\"prompt_tokens\":%llu,\"total_tokens\":%llu}}\n", n, n);
    *out = p.text;
    return p.status;
}

static const struct kl_embedding_format openai_format = {openai_begin, openai_vector, openai_end};

static enum kl_status llama_begin(const struct kl_generation *g, struct kl_buffer *out)
{
    (void)g;
    return kl_buffer_append(out, "[", 1);
}

static enum kl_status llama_vector(const struct kl_generation *g, size_t index, const float *vector,
                                   size_t n, struct kl_buffer *out)
{
    (void)g;
    enum kl_status status = kl_buffer_append_format(out, "%s{\"index\":%zu,\"embedding\":[",
                                                    index > 0 ? "," : "", index);
    if (status == KL_OK)
        status = kl_vector_numbers(vector, n, out);
    return status == KL_OK ? kl_buffer_append(out, "]}", 2) : status;
}

static enum kl_status llama_end(const struct kl_generation *g, struct kl_buffer *out)
{
    (void)g;
    return kl_buffer_append(out, "]\n", 2);
}

static const struct kl_embedding_format llama_format = {llama_begin, llama_vector, llama_end};

/* ---- requests -------------------------------------------------------------------------------- */

static enum kl_status parse_fields(const json_t *body, const char *input,
                                   const struct kl_embedding_format *format,
                                   struct kl_generation_request *r, struct kl_api_error *error)
{
    const char *user = NULL;
    r->embedding.format = format;
    if (kl_field_string(body, "model", &r->model, error) != KL_OK ||
        kl_field_string(body, "user", &user, error) != KL_OK ||
        kl_embedding_option_fields(body, r, error) != KL_OK)
        return KL_ERR_INVALID;
    return kl_embedding_input_field(body, input, r, error);
}

static enum kl_status parse_body(const char *text, size_t len, struct kl_generation_request *r,
                                 json_t **body, struct kl_api_error *error)
{
    kl_json_was_short(); /* clears the flag of earlier requests */
    enum kl_status status = kl_parse_object_of_numbers(text, len, body, error);
    return status == KL_OK ? kl_keep_json(r, *body, error) : status;
}

static enum kl_status parse_openai(const char *text, size_t len, bool is_query,
                                   struct kl_generation_request *r, struct kl_api_error *error)
{
    (void)is_query;
    json_t *body;
    enum kl_status status = parse_body(text, len, r, &body, error);
    return status == KL_OK ? parse_fields(body, "input", &openai_format, r, error) : status;
}

static enum kl_status parse_llama(const char *text, size_t len, bool is_query,
                                  struct kl_generation_request *r, struct kl_api_error *error)
{
    (void)is_query;
    json_t *body;
    enum kl_status status = parse_body(text, len, r, &body, error);
    if (status != KL_OK)
        return status;
    bool is_content =
        json_object_get(body, "input") == NULL && json_object_get(body, "content") != NULL;
    return parse_fields(body, is_content ? "content" : "input", &llama_format, r, error);
}

static const struct kl_dialect openai = {kl_answer_headers, parse_openai, &kl_embedding_document,
                                         &kl_embedding_document};
static const struct kl_dialect llama = {kl_answer_headers, parse_llama, &kl_embedding_document,
                                        &kl_embedding_document};

KL_HANDLER(kl_handle_embeddings)
{
    kl_generation_start(x, &openai);
}

KL_HANDLER(kl_handle_llama_embeddings)
{
    kl_generation_start(x, &llama);
}
