#include "api/bias_fields.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "api/fields.h"

#define MOST_BIAS 100.0

static enum kl_status wrong(struct kl_api_error *error, const char *what)
{
    return kl_api_fail(error, 400, "invalid_value", "logit_bias", "logit_bias %s", what);
}

static enum kl_status read_value(const json_t *value, float *bias, struct kl_api_error *error)
{
    if (json_is_false(value)) {
        *bias = -INFINITY;
        return KL_OK;
    }
    double number = json_is_number(value) ? json_number_value(value) : NAN;
    if (!(number >= -MOST_BIAS && number <= MOST_BIAS))
        return wrong(error, "must give numbers from -100 to 100, or false for a token that is "
                            "never chosen");
    *bias = (float)number;
    return KL_OK;
}

/* Adds a bias; id: -1 for that of a text. */
static enum kl_status add(struct kl_generation_request *r, json_int_t id, const char *text,
                          const json_t *value, struct kl_api_error *error)
{
    struct kl_bias *bias = &r->biases[r->n_biases];
    if (text == NULL && (id < 0 || id > INT32_MAX))
        return wrong(error, "has an id that is no token of this model");
    if (text != NULL && (*text == '\0' || strlen(text) > KL_MAX_BIAS_TEXT))
        return kl_api_fail(error, 400, "invalid_value", "logit_bias",
                           "logit_bias: a text must have 1 to %d bytes", KL_MAX_BIAS_TEXT);
    *bias = (struct kl_bias){.text = text, .id = (int32_t)id};
    r->n_biases++;
    return read_value(value, &bias->value, error);
}

/* Whether a name is a decimal number. */
static bool read_id(const char *name, json_int_t *id)
{
    size_t digits = strspn(name, "0123456789");
    *id = 0;
    for (size_t i = 0; i < digits && *id <= INT32_MAX; i++)
        *id = *id * 10 + (name[i] - '0');
    return digits > 0 && name[digits] == '\0';
}

static enum kl_status read_object(json_t *given, struct kl_generation_request *r,
                                  struct kl_api_error *error)
{
    const char *name;
    json_t *value;
    enum kl_status status = KL_OK;
    json_object_foreach(given, name, value)
    {
        json_int_t id;
        bool is_id = read_id(name, &id);
        if (status == KL_OK)
            status = add(r, id, is_id ? NULL : name, value, error);
    }
    return status;
}

static enum kl_status read_pair(const json_t *pair, struct kl_generation_request *r,
                                struct kl_api_error *error)
{
    const json_t *token = json_array_get(pair, 0), *value = json_array_get(pair, 1);
    const char *text = json_string_value(token);
    if (json_array_size(pair) != 2 || !(json_is_integer(token) || json_is_string(token)) ||
        (text != NULL && strlen(text) != json_string_length(token)))
        return wrong(error, "must have pairs of a token id, or a text, and its bias");
    return add(r, json_integer_value(token), text, value, error);
}

enum kl_status kl_bias_field(const json_t *body, struct kl_generation_request *r,
                             struct kl_api_error *error)
{
    json_t *given = json_object_get(body, "logit_bias");
    const json_t *pair;
    size_t n = json_object_size(given) + json_array_size(given), i;
    if (given == NULL || json_is_null(given))
        return KL_OK;
    if (!json_is_object(given) && !json_is_array(given))
        return kl_api_fail(error, 400, "invalid_type", "logit_bias",
                           "logit_bias must be an object of token ids and biases, or an array of "
                           "pairs of them, not %s",
                           kl_json_type_name(given));
    if (n > KL_MAX_BIASES)
        return kl_api_fail(error, 400, "invalid_value", "logit_bias",
                           "logit_bias may have at most %d tokens, not %zu", KL_MAX_BIASES, n);
    if (n == 0)
        return KL_OK;
    r->biases = calloc(n, sizeof *r->biases);
    if (r->biases == NULL)
        return kl_api_fail_memory(error, "the request");
    if (json_is_object(given))
        return read_object(given, r, error);
    json_array_foreach(given, i, pair)
    {
        if (read_pair(pair, r, error) != KL_OK)
            return KL_ERR_INVALID;
    }
    return KL_OK;
}
