#include "api/sampling_fields.h"

#include <stdio.h>
#include <string.h>

#include "api/bias_fields.h"
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

/* Reads a number of tokens at the end of prompt and answer: -1 is all of them, which *window has as
 * 0; 0 is none, for which *none is set. */
static enum kl_status window_field(const json_t *body, const char *name, uint32_t *window,
                                   bool *none, struct kl_api_error *error)
{
    int64_t n = *window > 0 ? (int64_t)*window : -1;
    enum kl_status status = kl_field_int(body, name, -1, INT32_MAX, &n, error);
    *none = n == 0;
    *window = n > 0 ? (uint32_t)n : 0;
    return status;
}

static enum kl_status add_breaker(const json_t *value, struct kl_dry *dry,
                                  struct kl_api_error *error)
{
    const char *name = "dry_sequence_breakers", *text = json_string_value(value);
    size_t len = json_string_length(value);
    if (text == NULL)
        return kl_api_fail(error, 400, "invalid_type", name,
                           "dry_sequence_breakers must be an array of strings");
    if (len == 0 || len > KL_MAX_DRY_BREAKER_SIZE || strlen(text) != len ||
        dry->n_breakers == KL_MAX_DRY_BREAKERS)
        return kl_api_fail(error, 400, "invalid_value", name,
                           "dry_sequence_breakers may have at most %d strings, of 1 to %d bytes "
                           "without a NUL character",
                           KL_MAX_DRY_BREAKERS, KL_MAX_DRY_BREAKER_SIZE);
    memcpy(dry->breakers[dry->n_breakers++], text, len + 1);
    return KL_OK;
}

static enum kl_status breakers_field(const json_t *body, struct kl_dry *dry,
                                     struct kl_api_error *error)
{
    const json_t *given = NULL;
    size_t i;
    json_t *value;
    if (kl_field_array(body, "dry_sequence_breakers", &given, error) != KL_OK)
        return KL_ERR_INVALID;
    if (given == NULL)
        return KL_OK;
    dry->n_breakers = 0;
    json_array_foreach(given, i, value)
    {
        if (add_breaker(value, dry, error) != KL_OK)
            return KL_ERR_INVALID;
    }
    return KL_OK;
}

/* The defaults are llama-server's. */
static enum kl_status dry_fields(const json_t *body, struct kl_dry *dry, struct kl_api_error *error)
{
    bool none;
    kl_dry_defaults(dry);
    int64_t allowed_length = dry->allowed_length;
    if (float_field(body, "dry_multiplier", 0, 100, &dry->multiplier, error) != KL_OK ||
        float_field(body, "dry_base", 1, 100, &dry->base, error) != KL_OK ||
        kl_field_int(body, "dry_allowed_length", 0, INT32_MAX, &allowed_length, error) != KL_OK ||
        window_field(body, "dry_penalty_last_n", &dry->window, &none, error) != KL_OK ||
        breakers_field(body, dry, error) != KL_OK)
        return KL_ERR_INVALID;
    dry->allowed_length = (uint32_t)allowed_length;
    if (none)
        dry->multiplier = 0.0f;
    return KL_OK;
}

static enum kl_status penalty_fields(const json_t *body, struct kl_sampling *s,
                                     struct kl_api_error *error)
{
    bool none;
    if (float_field(body, "repeat_penalty", 0.01, 10, &s->repetition_penalty, error) != KL_OK ||
        float_field(body, "repetition_penalty", 0.01, 10, &s->repetition_penalty, error) != KL_OK ||
        window_field(body, "repeat_last_n", &s->repetition_window, &none, error) != KL_OK ||
        float_field(body, "frequency_penalty", -2, 2, &s->frequency_penalty, error) != KL_OK ||
        float_field(body, "presence_penalty", -2, 2, &s->presence_penalty, error) != KL_OK)
        return KL_ERR_INVALID;
    if (none)
        s->repetition_penalty = 1.0f;
    return dry_fields(body, &s->dry, error);
}

/* The engine's interval excludes 0, which means "only the first one". */
static void above_zero(float *share)
{
    if (*share < 1e-6f)
        *share = 1e-6f;
}

enum kl_status kl_sampling_fields(const json_t *body, struct kl_generation_request *r,
                                  struct kl_api_error *error)
{
    struct kl_sampling *s = &r->sampling;
    int64_t top_k = 0, seed = 0, min_keep = 0;
    const json_t *given_seed = json_object_get(body, "seed");
    s->typical_p = 1.0f;
    if (float_field(body, "temperature", 0, 5, &s->temperature, error) != KL_OK ||
        float_field(body, "top_p", 0, 1, &s->top_p, error) != KL_OK ||
        float_field(body, "min_p", 0, 1, &s->min_p, error) != KL_OK ||
        float_field(body, "typical_p", 0, 1, &s->typical_p, error) != KL_OK ||
        kl_field_int(body, "min_keep", 0, 1 << 20, &min_keep, error) != KL_OK ||
        kl_field_int(body, "top_k", -1, 1 << 20, &top_k, error) != KL_OK ||
        kl_field_int(body, "seed", INT64_MIN, INT64_MAX, &seed, error) != KL_OK ||
        kl_field_bool(body, "ignore_eos", &s->ignore_eos, error) != KL_OK ||
        penalty_fields(body, s, error) != KL_OK || kl_bias_field(body, r, error) != KL_OK)
        return KL_ERR_INVALID;

    above_zero(&s->top_p);
    above_zero(&s->typical_p);
    if (s->min_p > 0.999999f) /* as above_zero: the interval excludes 1 */
        s->min_p = 0.999999f;
    s->min_keep = (uint32_t)min_keep;
    s->top_k = top_k > 0 ? (uint32_t)top_k : 0;   /* -1 is how vLLM's clients switch it off */
    if (json_is_number(given_seed) && seed != -1) /* which llama-server's clients send for any */
        s->seed = (uint64_t)seed;
    return KL_OK;
}

enum kl_status kl_logprobs_fields(const json_t *body, struct kl_generation_request *r,
                                  struct kl_api_error *error)
{
    int64_t top = 0;
    const json_t *logprobs = json_object_get(body, "logprobs");
    bool is_zero = json_is_integer(logprobs) && json_integer_value(logprobs) == 0;
    if ((!is_zero && kl_field_bool(body, "logprobs", &r->logprobs, error) != KL_OK) ||
        kl_field_int(body, "top_logprobs", 0, KL_MAX_TOP_LOGPROBS, &top, error) != KL_OK)
        return KL_ERR_INVALID;
    if (top > 0 && !r->logprobs)
        return kl_api_fail(error, 400, "invalid_value", "top_logprobs",
                           "top_logprobs needs logprobs: true");
    r->top_logprobs = (size_t)top;
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
    if (len == 0) /* some clients send one for an empty field */
        return KL_OK;
    if (len > KL_MAX_STOP_SIZE || strlen(text) != len)
        return kl_api_fail(error, 400, "invalid_value", "stop",
                           "%s must have at most %d bytes and no NUL character; it has %zu bytes",
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
