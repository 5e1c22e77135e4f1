/*
 * POST /api/embed and its older form /api/embeddings, as in Ollama's API. Texts that are too long
 * are cut, unless `truncate` is false.
 */
#include <inttypes.h>
#include <string.h>

#include "api/answer_fields.h"
#include "api/embedding_fields.h"
#include "api/embedding_json.h"
#include "api/fields.h"
#include "api/json_print.h"
#include "api/ollama_fields.h"
#include "base/clock.h"
#include "service/generation.h"
#include "service/intake.h"

/* ---- documents ------------------------------------------------------------------------------- */

/* {"model", and a comma */
static enum kl_status begin_object(const char *model, struct kl_buffer *out)
{
    struct kl_printer p = {.text = *out};
    kl_print(&p, "{\"model\":");
    kl_print_json_text(&p, model, strlen(model));
    kl_print(&p, ",");
    *out = p.text;
    return p.status;
}

static enum kl_status list_begin(const struct kl_generation *g, struct kl_buffer *out)
{
    enum kl_status status = begin_object(g->kept, out);
    return status == KL_OK ? kl_buffer_append_string(out, "\"embeddings\":[") : status;
}

static enum kl_status list_vector(const struct kl_generation *g, size_t index, const float *vector,
                                  size_t n, struct kl_buffer *out)
{
    (void)g;
    enum kl_status status = index > 0 ? kl_buffer_append(out, ",", 1) : KL_OK;
    return status == KL_OK ? kl_vector_numbers(vector, n, out) : status;
}

static enum kl_status list_end(const struct kl_generation *g, struct kl_buffer *out)
{
    return kl_buffer_append_format(
        out,
        "],\"total_duration\":%" PRId64 ",\"load_duration\":0,\"prompt_eval_count\":%" PRIu64 "}\n",
        (int64_t)(kl_seconds_since(g->exchange->start_ns) * 1e9), kl_generation_prompt_tokens(g));
}

static enum kl_status one_begin(const struct kl_generation *g, struct kl_buffer *out)
{
    (void)g;
    return kl_buffer_append_string(out, "{\"embedding\":");
}

static enum kl_status one_end(const struct kl_generation *g, struct kl_buffer *out)
{
    (void)g;
    return kl_buffer_append_string(out, "}\n");
}

static const struct kl_embedding_format list_format = {list_begin, list_vector, list_end},
                                        one_format = {one_begin, list_vector, one_end};

/* ---- requests -------------------------------------------------------------------------------- */

/* `compute` of requests without a text, which only load the model. */
static enum kl_status write_no_list(const struct kl_computation *c, struct kl_buffer *out,
                                    struct kl_api_error *error)
{
    enum kl_status status = begin_object(c->request->model, out);
    if (status == KL_OK)
        status = kl_buffer_append_string(out, "\"embeddings\":[]}\n");
    return status == KL_OK ? KL_OK : kl_api_fail_memory(error, "the answer");
}

static enum kl_status write_none(const struct kl_computation *c, struct kl_buffer *out,
                                 struct kl_api_error *error)
{
    (void)c;
    if (kl_buffer_append_string(out, "{\"embedding\":[]}\n") == KL_OK)
        return KL_OK;
    return kl_api_fail_memory(error, "the answer");
}

/* Checks `options`, none of which changes an embedding. */
static enum kl_status parse_options(const json_t *body, struct kl_generation_request *r,
                                    struct kl_api_error *error)
{
    const json_t *options = NULL;
    if (kl_field_object(body, "options", &options, error) != KL_OK)
        return KL_ERR_INVALID;
    r->embedding.truncates = true;
    return kl_embedding_option_fields(body, r, error);
}

static enum kl_status parse_embed(const char *text, size_t len, bool is_query,
                                  struct kl_generation_request *r, struct kl_api_error *error)
{
    (void)is_query;
    const json_t *body = NULL;
    if (kl_ollama_body(text, len, r, &body, error) != KL_OK ||
        parse_options(body, r, error) != KL_OK)
        return KL_ERR_INVALID;
    const json_t *input = json_object_get(body, "input");
    bool is_empty = json_is_array(input)
                        ? json_array_size(input) == 0
                        : input == NULL || json_is_null(input) ||
                              (json_is_string(input) && json_string_length(input) == 0);
    if (is_empty) {
        r->compute = write_no_list;
        return KL_OK;
    }
    r->embedding.format = &list_format;
    return kl_embedding_input_field(body, "input", r, error);
}

static enum kl_status parse_embeddings(const char *text, size_t len, bool is_query,
                                       struct kl_generation_request *r, struct kl_api_error *error)
{
    (void)is_query;
    const json_t *body = NULL;
    const char *prompt = "";
    if (kl_ollama_body(text, len, r, &body, error) != KL_OK ||
        parse_options(body, r, error) != KL_OK ||
        kl_field_string(body, "prompt", &prompt, error) != KL_OK)
        return KL_ERR_INVALID;
    if (prompt[0] == '\0') {
        r->compute = write_none;
        return KL_OK;
    }
    r->embedding.format = &one_format;
    return kl_embedding_input_field(body, "prompt", r, error);
}

static const struct kl_dialect embed = {kl_answer_headers, parse_embed, &kl_embedding_document,
                                        &kl_embedding_document};
static const struct kl_dialect embeddings = {kl_answer_headers, parse_embeddings,
                                             &kl_embedding_document, &kl_embedding_document};

KL_HANDLER(kl_handle_ollama_embed)
{
    kl_generation_start(x, &embed);
}

KL_HANDLER(kl_handle_ollama_embeddings)
{
    kl_generation_start(x, &embeddings);
}
