#include "api/llama_settings.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/fields.h"

/* ---- samplers -------------------------------------------------------------------------------- */

enum sampler { PENALTIES, DRY, TOP_K, TYPICAL_P, TOP_P, MIN_P, TEMPERATURE, OTHER };

/* Names and letters as llama.cpp has them, in the order in which they work here. Others have no
 * effect unless a field of theirs is given, and such fields are refused. */
static const struct {
    const char *name;
    char letter;
    enum sampler sampler;
} samplers[] = {
    {"penalties", 'e', PENALTIES},
    {"dry", 'd', DRY},
    {"top_k", 'k', TOP_K},
    {"typ_p", 'y', TYPICAL_P},
    {"top_p", 'p', TOP_P},
    {"min_p", 'm', MIN_P},
    {"temperature", 't', TEMPERATURE},
    {"top_n_sigma", 's', OTHER},
    {"xtc", 'x', OTHER},
    {"infill", 'i', OTHER},
    {"adaptive_p", 'a', OTHER},
    {"typical_p", 'y', TYPICAL_P},
    {"top-k", 'k', TOP_K},
    {"top-p", 'p', TOP_P},
    {"min-p", 'm', MIN_P},
    {"typical", 'y', TYPICAL_P},
    {"temp", 't', TEMPERATURE},
};
#define N_SAMPLERS (sizeof samplers / sizeof *samplers)
#define N_OURS     TEMPERATURE + 1 /* the first of them */

/* Marks the sampler of a name, or of a letter if name is NULL; false: there is none. */
static bool mark(const char *name, char letter, bool *named)
{
    for (size_t i = 0; i < N_SAMPLERS; i++) {
        if (name != NULL ? strcmp(samplers[i].name, name) == 0 : samplers[i].letter == letter) {
            named[samplers[i].sampler] = true;
            return true;
        }
    }
    return false;
}

static enum kl_status unknown(const char *found, struct kl_api_error *error)
{
    return kl_api_fail(error, 400, "invalid_value", "samplers",
                       "samplers: \"%.40s\" is none; there are penalties, dry, top_k, typ_p, "
                       "top_p, min_p, temperature, top_n_sigma, xtc, infill, adaptive_p",
                       found);
}

static enum kl_status read_samplers(const json_t *given, bool *named, struct kl_api_error *error)
{
    size_t i;
    const json_t *value;
    if (!json_is_array(given) && !json_is_string(given))
        return kl_api_fail(error, 400, "invalid_type", "samplers",
                           "samplers must be an array of names or a string of letters, not %s",
                           kl_json_type_name(given));
    for (i = 0; i < json_string_length(given); i++) {
        char letter[2] = {json_string_value(given)[i], '\0'};
        if (!mark(NULL, letter[0], named))
            return unknown(letter, error);
    }
    json_array_foreach(given, i, value)
    {
        const char *name = json_string_value(value);
        if (name == NULL || !mark(name, '\0', named))
            return unknown(name != NULL ? name : kl_json_type_name(value), error);
    }
    return KL_OK;
}

enum kl_status kl_llama_samplers_field(const json_t *body, struct kl_sampling *s,
                                       struct kl_api_error *error)
{
    const json_t *given = json_object_get(body, "samplers");
    bool named[OTHER + 1] = {false};
    if (json_array_size(given) == 0 && json_string_length(given) == 0 &&
        (given == NULL || json_is_null(given) || json_is_array(given) || json_is_string(given)))
        return KL_OK;
    if (read_samplers(given, named, error) != KL_OK)
        return KL_ERR_INVALID;
    if (!named[PENALTIES]) {
        s->repetition_penalty = 1;
        s->frequency_penalty = s->presence_penalty = 0;
    }
    if (!named[DRY])
        s->dry.multiplier = 0;
    if (!named[TOP_K])
        s->top_k = 0;
    if (!named[TYPICAL_P])
        s->typical_p = 1;
    if (!named[TOP_P])
        s->top_p = 1;
    if (!named[MIN_P])
        s->min_p = 0;
    if (!named[TEMPERATURE] && s->temperature > 0)
        s->temperature = 1;
    return KL_OK;
}

/* ---- settings -------------------------------------------------------------------------------- */

/* A float as the shortest decimal that a client may have sent. */
static json_t *real(float value)
{
    char text[32];
    snprintf(text, sizeof text, "%.7g", (double)value);
    return json_real(strtod(text, NULL));
}

static json_int_t window(uint32_t tokens)
{
    return tokens > 0 ? (json_int_t)tokens : -1;
}

/* Biases, and those by which the tokens that end an answer are never chosen; JSON has no infinity,
 * so null is written for it. */
static json_t *biases_json(const struct kl_sampling *s, const struct kl_tokenizer *tokenizer)
{
    json_t *all = json_array();
    size_t n;
    const int32_t *ends = tokenizer != NULL ? kl_tokenizer_ends(tokenizer, &n) : NULL;
    for (size_t i = 0; i < s->n_biases; i++) {
        json_t *bias = isinf(s->biases[i].value) ? json_null() : real(s->biases[i].value);
        json_array_append_new(all,
                              json_pack("{s:o, s:i}", "bias", bias, "token", (int)s->biases[i].id));
    }
    for (size_t i = 0; i < n && s->ignore_eos; i++)
        json_array_append_new(all, json_pack("{s:n, s:i}", "bias", "token", (int)ends[i]));
    return all;
}

static json_t *strings_json(const char *const *values, size_t n)
{
    json_t *all = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(all, json_string(values[i]));
    return all;
}

static json_t *breakers_json(const struct kl_dry *dry)
{
    json_t *all = json_array();
    for (size_t i = 0; i < dry->n_breakers; i++)
        json_array_append_new(all, json_string(dry->breakers[i]));
    return all;
}

static json_t *samplers_json(void)
{
    json_t *all = json_array();
    for (size_t i = 0; i < N_OURS; i++)
        json_array_append_new(all, json_string(samplers[i].name));
    return all;
}

/* The settings that this server has. */
static json_t *ours_json(const struct kl_generation_request *r,
                         const struct kl_tokenizer *tokenizer, size_t max_tokens, size_t ctx_size)
{
    const struct kl_sampling *s = &r->sampling;
    json_int_t limit = max_tokens < INT32_MAX ? (json_int_t)max_tokens : -1;
    json_t *all =
        json_pack("{s:I, s:o, s:I, s:o, s:o, s:o, s:I, s:o, s:o, s:o}", "seed", (json_int_t)s->seed,
                  "temperature", real(s->temperature), "top_k", (json_int_t)s->top_k, "top_p",
                  real(s->top_p), "min_p", real(s->min_p), "typical_p", real(s->typical_p),
                  "repeat_last_n", window(s->repetition_window), "repeat_penalty",
                  real(s->repetition_penalty), "presence_penalty", real(s->presence_penalty),
                  "frequency_penalty", real(s->frequency_penalty));
    json_t *more = json_pack(
        "{s:o, s:o, s:I, s:I, s:o, s:o, s:I, s:I, s:b, s:b, s:o, s:I, s:I, s:o, s:I}",
        "dry_multiplier", real(s->dry.multiplier), "dry_base", real(s->dry.base),
        "dry_allowed_length", (json_int_t)s->dry.allowed_length, "dry_penalty_last_n",
        window(s->dry.window), "dry_sequence_breakers", breakers_json(&s->dry), "stop",
        strings_json(r->stops, r->n_stops), "max_tokens", limit, "n_predict", limit, "ignore_eos",
        s->ignore_eos, "stream", r->stream, "logit_bias", biases_json(s, tokenizer), "n_probs",
        (json_int_t)r->top_logprobs, "min_keep", (json_int_t)s->min_keep, "samplers",
        samplers_json(), "n_ctx", (json_int_t)ctx_size);
    json_object_update(all, more);
    json_decref(more);
    return all;
}

json_t *kl_llama_settings_json(const struct kl_generation_request *r,
                               const struct kl_tokenizer *tokenizer, size_t max_tokens,
                               size_t ctx_size)
{
    json_t *all = ours_json(r, tokenizer, max_tokens, ctx_size);
    /* what llama-server reports besides, as it is without these fields */
    json_t *off =
        json_pack("{s:f, s:f, s:f, s:f, s:f, s:i, s:f, s:f, s:f, s:f, s:i, s:i, s:b, s:b, s:[]}",
                  "dynatemp_range", 0.0, "dynatemp_exponent", 1.0, "top_n_sigma", -1.0,
                  "xtc_probability", 0.0, "xtc_threshold", 0.1, "mirostat", 0, "mirostat_tau", 5.0,
                  "mirostat_eta", 0.1, "adaptive_target", -1.0, "adaptive_decay", 0.9, "n_keep", 0,
                  "n_discard", 0, "post_sampling_probs", 0, "backend_sampling", 0, "lora");
    json_object_update(all, off);
    json_decref(off);
    return all;
}
