#include "api/ollama_fields.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/answer_fields.h"
#include "api/answer_json.h"
#include "api/fields.h"
#include "api/rule_fields.h"
#include "api/sampling_fields.h"

#define DEFAULT_MAX_TOKENS 2048

/* ---- keep_alive ------------------------------------------------------------------------------ */

/* Returns the length of the number at the begin of text; 0: there is none. */
static size_t number_len(const char *text)
{
    size_t n = strspn(text, "0123456789");
    size_t fraction = text[n] == '.' ? 1 + strspn(text + n + 1, "0123456789") : 0;
    return n + fraction > 1 || n == 1 ? n + fraction : 0;
}

struct unit {
    const char *name;
    double seconds;
};

/* Returns the unit that text begins with, the longest; NULL: it begins with none. */
static const struct unit *find_unit(const char *text)
{
    static const struct unit units[] = {{"ns", 1e-9}, {"us", 1e-6}, {"µs", 1e-6}, {"μs", 1e-6},
                                        {"ms", 1e-3}, {"s", 1},     {"m", 60},    {"h", 3600}};
    const struct unit *found = NULL;
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        size_t len = strlen(units[i].name);
        if (strncmp(text, units[i].name, len) == 0 && (found == NULL || len > strlen(found->name)))
            found = &units[i];
    }
    return found;
}

/* Reads a duration as Go writes it ("5m", "1h30m", "-1s"), or a plain number of seconds. Returns
 * whether it is one. */
static bool read_duration(const char *text, double *seconds)
{
    double sign = *text == '-' ? -1 : 1;
    text += *text == '-' || *text == '+';
    *seconds = sign * strtod(text, NULL);
    if (number_len(text) > 0 && text[number_len(text)] == '\0')
        return true;
    *seconds = 0;
    do {
        size_t n = number_len(text);
        const struct unit *unit = find_unit(text + n);
        if (n == 0 || unit == NULL)
            return false;
        *seconds += sign * strtod(text, NULL) * unit->seconds;
        text += n + strlen(unit->name);
    } while (*text != '\0');
    return true;
}

static enum kl_status read_keep_alive(const json_t *body, struct kl_generation_request *r,
                                      struct kl_api_error *error)
{
    const json_t *value = json_object_get(body, "keep_alive");
    const char *text = json_string_value(value);
    if (value == NULL || json_is_null(value))
        return KL_OK;
    r->has_keep_alive = text == NULL || text[0] != '\0';
    r->keep_alive = json_number_value(value);
    if (json_is_number(value))
        return KL_OK;
    if (text == NULL)
        return kl_api_fail(error, 400, "invalid_type", "keep_alive",
                           "keep_alive must be a number of seconds or a duration (\"5m\"), not %s",
                           kl_json_type_name(value));
    if (text[0] == '\0' || read_duration(text, &r->keep_alive))
        return KL_OK;
    return kl_api_fail(error, 400, "invalid_value", "keep_alive",
                       "keep_alive: invalid duration \"%.40s\"; write \"300s\" or \"5m\"", text);
}

/* ---- the body -------------------------------------------------------------------------------- */

enum kl_status kl_ollama_body(const char *text, size_t len, struct kl_generation_request *r,
                              const json_t **body, struct kl_api_error *error)
{
    json_t *parsed;
    r->strict_name = true;
    if (kl_read_body(text, len, r, &parsed, error) != KL_OK ||
        kl_field_string(parsed, "name", &r->model, error) != KL_OK ||
        kl_field_string(parsed, "model", &r->model, error) != KL_OK ||
        read_keep_alive(parsed, r, error) != KL_OK)
        return KL_ERR_INVALID;
    *body = parsed;
    if (r->model == NULL || r->model[0] == '\0')
        return kl_api_fail(error, 400, "invalid_value", "model", "model is required");
    r->kept = strdup(r->model);
    return r->kept != NULL ? KL_OK : kl_api_fail_memory(error, "the request");
}

/* ---- options --------------------------------------------------------------------------------- */

struct option {
    const char *name;
    double low, high; /* low == high: it changes nothing */
    bool is_integer;
};

/* All have the names that sampling_fields.h has. */
static const struct option numbers[] = {
    {"temperature", 0, 5, false},
    {"top_p", 0, 1, false},
    {"min_p", 0, 1, false},
    {"typical_p", 0, 1, false},
    {"top_k", 0, 1 << 20, true},
    {"seed", -0x1p53, 0x1p53, true},
    {"repeat_penalty", 0.01, 10, false},
    {"repeat_last_n", -1, INT32_MAX, true},
    {"presence_penalty", -2, 2, false},
    {"frequency_penalty", -2, 2, false},
    {"num_ctx", 0, 0, true},
    {"num_keep", 0, 0, true},
    {"num_batch", 0, 0, true},
    {"num_thread", 0, 0, true},
    {"num_gpu", 0, 0, true},
    {"main_gpu", 0, 0, true},
    {"mirostat", 0, 0, true},
    {"mirostat_tau", 0, 0, false},
    {"mirostat_eta", 0, 0, false},
    {"tfs_z", 0, 0, false},
};
static const char *const switches[] = {"numa",       "low_vram",       "f16_kv",
                                       "logits_all", "use_mmap",       "vocab_only",
                                       "use_mlock",  "embedding_only", "penalize_newline"};

static enum kl_status wrong_type(const char *name, const char *expected, const json_t *found,
                                 struct kl_api_error *error)
{
    char param[64];
    snprintf(param, sizeof param, "options.%s", name);
    return kl_api_fail(error, 400, "invalid_type", param, "%s must be %s, not %s", param, expected,
                       kl_json_type_name(found));
}

static bool is_absent(const json_t *value)
{
    return value == NULL || json_is_null(value);
}

/* Copies an option to *sampling, within its range and, if it is an integer, without a fraction. */
static enum kl_status read_number(const json_t *options, const struct option *o, json_t *sampling,
                                  struct kl_api_error *error)
{
    const json_t *value = json_object_get(options, o->name);
    if (is_absent(value))
        return KL_OK;
    if (!json_is_number(value))
        return wrong_type(o->name, o->is_integer ? "an integer" : "a number", value, error);
    if (!(o->low < o->high))
        return KL_OK;
    double number = fmin(fmax(json_number_value(value), o->low), o->high);
    if (o->is_integer)
        json_object_set_new(sampling, o->name, json_integer((json_int_t)trunc(number)));
    else
        json_object_set_new(sampling, o->name, json_real(number));
    return KL_OK;
}

/* Reads num_predict: negative, or 0 as there: no limit. */
static enum kl_status read_limit(const json_t *options, size_t *max_tokens,
                                 struct kl_api_error *error)
{
    const json_t *value = json_object_get(options, "num_predict");
    if (is_absent(value))
        return KL_OK;
    if (!json_is_number(value))
        return wrong_type("num_predict", "an integer", value, error);
    double number = json_number_value(value);
    *max_tokens = number >= 1 && number < INT32_MAX ? (size_t)number : SIZE_MAX;
    return KL_OK;
}

static enum kl_status read_options(const json_t *body, struct kl_generation_request *r,
                                   struct kl_api_error *error)
{
    const json_t *options = NULL;
    if (kl_field_object(body, "options", &options, error) != KL_OK ||
        read_limit(options, &r->max_tokens, error) != KL_OK)
        return KL_ERR_INVALID;
    for (size_t i = 0; i < sizeof switches / sizeof switches[0]; i++) {
        const json_t *value = json_object_get(options, switches[i]);
        if (!is_absent(value) && !json_is_boolean(value))
            return wrong_type(switches[i], "true or false", value, error);
    }
    json_t *sampling = json_object();
    if (kl_keep_json(r, sampling, error) != KL_OK)
        return KL_ERR_INVALID;
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        if (read_number(options, &numbers[i], sampling, error) != KL_OK)
            return KL_ERR_INVALID;
    }
    if (kl_sampling_fields(sampling, r, error) != KL_OK)
        return KL_ERR_INVALID;
    if (kl_stop_field(options, r, error) == KL_OK)
        return KL_OK;
    kl_rename_field(error, "stop", "options.stop");
    return KL_ERR_INVALID;
}

/* A conversation that is too long is shortened, unless `truncate` is false. */
static enum kl_status read_truncate(const json_t *body, struct kl_generation_request *r,
                                    struct kl_api_error *error)
{
    bool truncate = true, shift = true;
    if (kl_field_bool(body, "truncate", &truncate, error) != KL_OK ||
        kl_field_bool(body, "shift", &shift, error) != KL_OK)
        return KL_ERR_INVALID;
    r->context_policy = truncate ? KL_CONTEXT_TRIM : KL_CONTEXT_ERROR;
    return KL_OK;
}

/* ---- think and format ------------------------------------------------------------------------ */

/* true, false, or the efforts of larger models, which are all the same here. A model that always
 * thinks does so with false, too. */
static enum kl_status read_think(const json_t *body, struct kl_chat_input *input,
                                 struct kl_api_error *error)
{
    const json_t *value = json_object_get(body, "think");
    const char *effort = json_string_value(value);
    if (is_absent(value))
        return KL_OK;
    if (effort != NULL && strcmp(effort, "high") != 0 && strcmp(effort, "medium") != 0 &&
        strcmp(effort, "low") != 0)
        return kl_api_fail(error, 400, "invalid_value", "think",
                           "invalid think value: \"%.40s\" (must be \"high\", \"medium\", \"low\", "
                           "true, or false)",
                           effort);
    if (effort == NULL && !json_is_boolean(value))
        return kl_api_fail(error, 400, "invalid_type", "think",
                           "think must be true, false, \"high\", \"medium\" or \"low\", not %s",
                           kl_json_type_name(value));
    bool on = effort != NULL || json_is_true(value);
    input->thinking = on ? KL_THINKING_ON : KL_THINKING_OFF;
    input->thinking_name = on ? "think" : NULL;
    return KL_OK;
}

/* Makes the field of Chat Completions that has the same meaning as `format`; NULL: there is none,
 * or *error is set. */
static json_t *format_as_chat(const json_t *format, struct kl_api_error *error)
{
    const char *word = json_string_value(format);
    error->status = 0;
    if (is_absent(format) || (word != NULL && word[0] == '\0'))
        return NULL;
    if (word != NULL && strcmp(word, "json") == 0)
        return json_pack("{s:{s:s}}", "response_format", "type", "json_object");
    if (json_is_object(format))
        return json_pack("{s:O}", "json_schema", (json_t *)format);
    kl_api_fail(error, 400, word != NULL ? "invalid_value" : "invalid_type", "format",
                "invalid format: %.40s; expected \"json\" or a valid JSON Schema",
                word != NULL ? word : kl_json_type_name(format));
    return NULL;
}

static enum kl_status read_format(const json_t *body, struct kl_generation_request *r,
                                  struct kl_api_error *error)
{
    json_t *as_chat = format_as_chat(json_object_get(body, "format"), error);
    if (as_chat == NULL)
        return error->status == 0 ? KL_OK : KL_ERR_INVALID;
    if (kl_keep_json(r, as_chat, error) != KL_OK)
        return KL_ERR_INVALID;
    if (kl_rule_fields(as_chat, r, error) != KL_OK) {
        kl_rename_field(error, "json_schema", "format");
        kl_rename_field(error, "response_format", "format");
        return KL_ERR_INVALID;
    }
    r->rule_field = "format";
    return KL_OK;
}

enum kl_status kl_ollama_answer_fields(const json_t *body, struct kl_generation_request *r,
                                       struct kl_api_error *error)
{
    r->stream = true;
    r->max_tokens = DEFAULT_MAX_TOKENS;
    if (kl_field_bool(body, "stream", &r->stream, error) != KL_OK ||
        kl_max_tokens_field(body, "max_output_tokens", &r->max_tokens, error) != KL_OK ||
        read_options(body, r, error) != KL_OK || read_truncate(body, r, error) != KL_OK ||
        kl_logprobs_fields(body, r, error) != KL_OK || kl_answer_fields(body, r, error) != KL_OK ||
        read_think(body, &r->input, error) != KL_OK)
        return KL_ERR_INVALID;
    return read_format(body, r, error);
}

enum kl_status kl_ollama_check_images(const json_t *images, const char *where,
                                      struct kl_api_error *error)
{
    if (is_absent(images))
        return KL_OK;
    if (!json_is_array(images))
        return kl_api_fail(error, 400, "invalid_type", where, "%s must be an array, not %s", where,
                           kl_json_type_name(images));
    if (json_array_size(images) == 0)
        return KL_OK;
    return kl_api_fail(error, 400, "unsupported", where,
                       "%s: this model reads text only; leave images out", where);
}
