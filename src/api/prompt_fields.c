#include "api/prompt_fields.h"

#include "api/fields.h"

static enum kl_status add_id(const json_t *value, const char *field, struct kl_raw_input *raw,
                             struct kl_api_error *error)
{
    json_int_t id = json_is_integer(value) ? json_integer_value(value) : -1;
    if (id < 0 || id > INT32_MAX)
        return kl_api_fail(error, 400, "invalid_value", field,
                           "%s: a number in it must be the id of a token, an integer from 0 on",
                           field);
    int32_t token = (int32_t)id;
    return kl_raw_input_ids(raw, &token, 1) == KL_OK ? KL_OK
                                                     : kl_api_fail_memory(error, "the prompt");
}

static enum kl_status wrong_type(const json_t *value, const char *field, struct kl_api_error *error)
{
    return kl_api_fail(error, 400, "invalid_type", field,
                       "%s must be a string, an array of token ids, an array of both, or an array "
                       "of these; it is or contains %s",
                       field, kl_json_type_name(value));
}

/* Appends a string or an id to the last prompt. */
static enum kl_status add_part(const json_t *value, const char *field, bool special,
                               struct kl_raw_input *raw, struct kl_api_error *error)
{
    if (json_is_number(value))
        return add_id(value, field, raw, error);
    if (!json_is_string(value))
        return wrong_type(value, field, error);
    if (kl_raw_input_text(raw, json_string_value(value), json_string_length(value), special) ==
        KL_OK)
        return KL_OK;
    return kl_api_fail_memory(error, "the prompt");
}

/* Returns the prompt in llama-server's {"prompt_string": ...}; NULL: images belong to it. */
static const json_t *unwrap(const json_t *value, const char *field, struct kl_api_error *error)
{
    const json_t *inner = json_object_get(value, "prompt_string");
    const json_t *media = json_object_get(value, "multimodal_data");
    if (media != NULL && !json_is_null(media)) {
        kl_api_fail(error, 400, "unsupported", field,
                    "%s.multimodal_data is not offered by this server: only text is read", field);
        return NULL;
    }
    return inner != NULL ? inner : value;
}

enum kl_status kl_prompt_value(const json_t *value, const char *field, bool special,
                               struct kl_raw_input *raw, struct kl_api_error *error)
{
    size_t i;
    const json_t *part;
    raw->field = field;
    if (json_is_object(value))
        value = unwrap(value, field, error);
    if (value == NULL)
        return KL_ERR_INVALID;
    if (kl_raw_input_begin(raw) != KL_OK)
        return kl_api_fail_memory(error, "the prompt");
    if (!json_is_array(value))
        return json_is_number(value) ? wrong_type(value, field, error)
                                     : add_part(value, field, special, raw, error);
    enum kl_status status = KL_OK;
    json_array_foreach(value, i, part)
    {
        if (status == KL_OK)
            status = add_part(part, field, special, raw, error);
    }
    return status;
}

bool kl_is_one_prompt(const json_t *value)
{
    size_t i;
    const json_t *part;
    json_array_foreach(value, i, part)
    {
        if (json_is_number(part))
            return true;
    }
    return !json_is_array(value);
}

enum kl_status kl_prompt_field(const json_t *body, struct kl_raw_input *raw,
                               struct kl_api_error *error)
{
    const json_t *given = json_object_get(body, "prompt"), *value;
    size_t i;
    raw->adds_bos = true;
    if (given == NULL || json_is_null(given))
        return kl_api_fail(error, 400, "invalid_value", "prompt",
                           "prompt is missing; it must be a string, an array of token ids, or an "
                           "array of these");
    if (kl_is_one_prompt(given))
        return kl_prompt_value(given, "prompt", true, raw, error);
    size_t n = json_array_size(given);
    if (n < 1 || n > KL_MAX_ANSWERS)
        return kl_api_fail(error, 400, "invalid_value", "prompt",
                           "prompt may be an array of 1 to %d prompts, not %zu", KL_MAX_ANSWERS, n);
    json_array_foreach(given, i, value)
    {
        if (kl_prompt_value(value, "prompt", true, raw, error) != KL_OK)
            return KL_ERR_INVALID;
    }
    return KL_OK;
}

enum kl_status kl_choices_of_prompts(size_t n, struct kl_generation_request *r,
                                     struct kl_api_error *error)
{
    if (r->raw.n_prompts > KL_MAX_ANSWERS / n)
        return kl_api_fail(error, 400, "invalid_value", "n",
                           "n is %zu, of %zu prompts; one request may have at most %d answers", n,
                           r->raw.n_prompts, KL_MAX_ANSWERS);
    r->n_choices = n;
    return KL_OK;
}
