#include "api/embedding_fields.h"

#include <string.h>

#include "api/answer_json.h"
#include "api/fields.h"
#include "api/prompt_fields.h"

/* More than any model has. */
#define MOST_DIMENSIONS 65536

/* ---- texts ----------------------------------------------------------------------------------- */

static enum kl_status wrong_content(const char *name, struct kl_api_error *error)
{
    return kl_api_fail(error, 400, "invalid_value", name,
                       "%s: content must be an array of {\"type\": \"text\", \"text\": ...}; this "
                       "model reads text only",
                       name);
}

/* Returns the parts of OpenAI's content as one text, a JSON string that the request keeps. */
static enum kl_status join_content(const json_t *content, const char *name,
                                   struct kl_generation_request *r, json_t **joined,
                                   struct kl_api_error *error)
{
    struct kl_buffer text;
    size_t i;
    json_t *part;
    enum kl_status status = KL_OK;
    if (!json_is_array(content))
        return wrong_content(name, error);
    json_array_foreach(content, i, part)
    {
        const char *type = json_string_value(json_object_get(part, "type"));
        if (type == NULL || strcmp(type, "text") != 0 ||
            !json_is_string(json_object_get(part, "text")))
            return wrong_content(name, error);
    }
    kl_buffer_init(&text, SIZE_MAX);
    json_array_foreach(content, i, part)
    {
        const json_t *piece = json_object_get(part, "text");
        if (status == KL_OK)
            status = kl_buffer_append(&text, json_string_value(piece), json_string_length(piece));
    }
    *joined = status == KL_OK ? json_stringn(text.len > 0 ? text.data : "", text.len) : NULL;
    kl_buffer_release(&text);
    if (*joined == NULL)
        return kl_api_fail_memory(error, "the input");
    return kl_keep_json(r, *joined, error);
}

/* Adds one text. */
static enum kl_status add_text(const json_t *value, const char *name,
                               struct kl_generation_request *r, struct kl_api_error *error)
{
    const json_t *content = json_object_get(value, "content");
    json_t *joined = NULL;
    if (r->raw.n_prompts == KL_MAX_EMBEDDINGS)
        return kl_api_fail(error, 400, "invalid_value", name,
                           "%s has more than %d texts; send several requests", name,
                           KL_MAX_EMBEDDINGS);
    if (content != NULL && join_content(content, name, r, &joined, error) != KL_OK)
        return KL_ERR_INVALID;
    return kl_prompt_value(joined != NULL ? joined : value, name, true, &r->raw, error);
}

enum kl_status kl_embedding_input_field(const json_t *body, const char *name,
                                        struct kl_generation_request *r, struct kl_api_error *error)
{
    const json_t *input = json_object_get(body, name);
    size_t i;
    json_t *value;
    r->raw.field = name;
    r->raw.may_be_empty = true; /* kl_embedding_work_fit refuses it */
    if (input == NULL || json_is_null(input))
        return kl_api_fail(error, 400, "invalid_value", name,
                           "%s is missing; it must be a string, an array of token ids, or an "
                           "array of these",
                           name);
    if (kl_is_one_prompt(input))
        return add_text(input, name, r, error);
    if (json_array_size(input) == 0)
        return kl_api_fail(error, 400, "invalid_value", name,
                           "%s is empty; it must have at least one text", name);
    json_array_foreach(input, i, value)
    {
        enum kl_status status = add_text(value, name, r, error);
        if (status != KL_OK)
            return status;
    }
    return KL_OK;
}

/* ---- options --------------------------------------------------------------------------------- */

static enum kl_status read_pooling(const json_t *body, struct kl_embedding_fields *e,
                                   struct kl_api_error *error)
{
    const char *name = NULL;
    if (kl_field_string(body, "pooling", &name, error) != KL_OK)
        return KL_ERR_INVALID;
    if (name == NULL)
        return KL_OK;
    e->has_pooling = kl_pooling_find(name, &e->pooling);
    if (e->has_pooling)
        return KL_OK;
    return kl_api_fail(error, 400, "invalid_value", "pooling",
                       "pooling is \"%.40s\"; it must be last, mean or cls", name);
}

static enum kl_status read_encoding(const json_t *body, struct kl_embedding_fields *e,
                                    struct kl_api_error *error)
{
    const char *name = NULL;
    if (kl_field_string(body, "encoding_format", &name, error) != KL_OK)
        return KL_ERR_INVALID;
    if (name != NULL && strcmp(name, "float") != 0 && strcmp(name, "base64") != 0)
        return kl_api_fail(error, 400, "invalid_value", "encoding_format",
                           "encoding_format is \"%.40s\"; it must be float or base64", name);
    e->is_base64 = name != NULL ? strcmp(name, "base64") == 0 : e->is_base64;
    return KL_OK;
}

enum kl_status kl_embedding_option_fields(const json_t *body, struct kl_generation_request *r,
                                          struct kl_api_error *error)
{
    struct kl_embedding_fields *e = &r->embedding;
    int64_t dimensions = (int64_t)e->dimensions, normalize = e->is_raw ? -1 : 2;
    if (kl_field_int(body, "dimensions", 1, MOST_DIMENSIONS, &dimensions, error) != KL_OK ||
        kl_field_bool(body, "truncate", &e->truncates, error) != KL_OK ||
        read_pooling(body, e, error) != KL_OK || read_encoding(body, e, error) != KL_OK ||
        kl_field_int(body, "embd_normalize", INT32_MIN, INT32_MAX, &normalize, error) != KL_OK)
        return KL_ERR_INVALID;
    if (normalize != 2 && normalize != -1)
        return kl_api_fail(error, 400, "unsupported", "embd_normalize",
                           "embd_normalize is %d; it must be 2 (the length is 1) or -1 (as the "
                           "model computes it)",
                           (int)normalize);
    e->dimensions = (size_t)dimensions;
    e->is_raw = normalize == -1;
    if (!r->has_priority)
        r->priority = KL_PRIORITY_BACKGROUND;
    return KL_OK;
}
