#include "api/sampling_fields.h"

#include <stdio.h>
#include <string.h>

#include "api/fields.h"

static enum kl_status float_field(const json_t *body, const char *name, double lo, double hi,
                                  float *value, struct kl_api_error *error)
{
    double number = (double)*value;
    enum kl_status status = kl_field_number(body, name, lo, hi, &number, error);
    if (status == KL_OK)
        *value = (float)number;
    return status;
}

enum kl_status kl_sampling_fields(const json_t *body, struct kl_sampling *sampling,
                                  struct kl_api_error *error)
{
    int64_t top_k = 0, seed = 0;
    const json_t *given_seed = json_object_get(body, "seed");
    if (float_field(body, "temperature", 0, 2, &sampling->temperature, error) != KL_OK ||
        float_field(body, "top_p", 0, 1, &sampling->top_p, error) != KL_OK ||
        float_field(body, "min_p", 0, 1, &sampling->min_p, error) != KL_OK ||
        float_field(body, "repetition_penalty", 0.01, 10, &sampling->repetition_penalty, error) !=
            KL_OK ||
        kl_field_int(body, "top_k", -1, 1 << 20, &top_k, error) != KL_OK ||
        kl_field_int(body, "seed", INT64_MIN, INT64_MAX, &seed, error) != KL_OK)
        return KL_ERR_INVALID;

    /* top_p 0 and min_p 1 mean "only the most likely token"; the engine's intervals exclude them.
     */
    if (sampling->top_p < 1e-6f)
        sampling->top_p = 1e-6f;
    if (sampling->min_p > 0.999999f)
        sampling->min_p = 0.999999f;
    sampling->top_k = top_k > 0 ? (uint32_t)top_k : 0; /* -1 is how vLLM's clients switch it off */
    if (json_is_number(given_seed))
        sampling->seed = (uint64_t)seed;
    return KL_OK;
}

enum kl_status kl_max_tokens_field(const json_t *body, const char *name, size_t *max_tokens,
                                   struct kl_api_error *error)
{
    int64_t value = 0;
    const json_t *given = json_object_get(body, name);
    if (given == NULL || json_is_null(given))
        return KL_OK;
    enum kl_status status = kl_field_int(body, name, -1, INT32_MAX, &value, error);
    if (status != KL_OK)
        return status;
    if (value == 0)
        return kl_api_fail(error, 400, "invalid_value", name,
                           "%s must be at least 1, or -1 for as much as the context holds", name);
    *max_tokens = value < 0 ? SIZE_MAX : (size_t)value;
    return KL_OK;
}

static enum kl_status add_stop(const json_t *value, const char *param,
                               struct kl_generation_request *request, struct kl_api_error *error)
{
    if (!json_is_string(value))
        return kl_api_fail(error, 400, "invalid_type", "stop", "%s must be a string, not %s", param,
                           kl_json_type_name(value));
    const char *text = json_string_value(value);
    size_t len = json_string_length(value);
    if (len == 0 || len > KL_MAX_STOP_SIZE || strlen(text) != len)
        return kl_api_fail(error, 400, "invalid_value", "stop",
                           "%s must have 1 to %d bytes and no NUL character; it has %zu bytes",
                           param, KL_MAX_STOP_SIZE, len);
    if (request->n_stops == KL_MAX_STOPS)
        return kl_api_fail(error, 400, "invalid_value", "stop", "stop may have at most %d strings",
                           KL_MAX_STOPS);
    request->stops[request->n_stops++] = text;
    return KL_OK;
}

enum kl_status kl_stop_field(const json_t *body, struct kl_generation_request *request,
                             struct kl_api_error *error)
{
    const json_t *stop = json_object_get(body, "stop");
    if (stop == NULL || json_is_null(stop))
        return KL_OK;
    if (json_is_string(stop))
        return add_stop(stop, "stop", request, error);
    if (!json_is_array(stop))
        return kl_api_fail(error, 400, "invalid_type", "stop",
                           "stop must be a string or an array of strings, not %s",
                           kl_json_type_name(stop));
    size_t i;
    json_t *value;
    json_array_foreach(stop, i, value)
    {
        char param[32];
        snprintf(param, sizeof param, "stop[%zu]", i);
        if (add_stop(value, param, request, error) != KL_OK)
            return KL_ERR_INVALID;
    }
    return KL_OK;
}
