/*
 * POST /infill, as llama-server has it: the text of a gap, from what is around it. Other files that
 * belong to it (input_extra) go before it.
 *
 * Unlike there, the names of repository and file are only written where there are other files, and
 * no text of the request is searched for special tokens.
 */
#include <stdlib.h>
#include <string.h>

#include "api/answer_fields.h"
#include "api/answer_json.h"
#include "api/fields.h"
#include "api/llama_completion.h"
#include "service/intake.h"

#define MAX_FILES 256

static const char name_of_file[] = "tmp"; /* as llama-server calls one without */

/* Reads a string; required: absent or null is an error. */
static enum kl_status text_field(const json_t *body, const char *name, bool required,
                                 const char **text, size_t *len, struct kl_api_error *error)
{
    const json_t *value = json_object_get(body, name);
    if ((value == NULL || json_is_null(value)) && !required)
        return KL_OK;
    if (!json_is_string(value))
        return kl_api_fail(error, 400, value == NULL ? "invalid_value" : "invalid_type", name,
                           "%s must be a string%s", name, required ? ", and is required" : "");
    *text = json_string_value(value);
    *len = json_string_length(value);
    return KL_OK;
}

static enum kl_status file_of(const json_t *value, struct kl_raw_file *file,
                              struct kl_api_error *error)
{
    *file = (struct kl_raw_file){.name = name_of_file, .name_len = sizeof name_of_file - 1};
    if (json_is_object(value) &&
        text_field(value, "filename", false, &file->name, &file->name_len, error) == KL_OK &&
        text_field(value, "text", true, &file->text, &file->text_len, error) == KL_OK)
        return KL_OK;
    return kl_api_fail(error, 400, "invalid_type", "input_extra",
                       "input_extra must be an array of {\"text\": a string, \"filename\": a "
                       "string or absent}");
}

/* Reads `input_extra` into a new array. */
static enum kl_status files_field(const json_t *body, struct kl_raw_gap *gap,
                                  struct kl_raw_file **files, struct kl_api_error *error)
{
    const json_t *given = NULL, *value;
    size_t i;
    if (kl_field_array(body, "input_extra", &given, error) != KL_OK)
        return KL_ERR_INVALID;
    size_t n = json_array_size(given);
    if (n > MAX_FILES)
        return kl_api_fail(error, 400, "invalid_value", "input_extra",
                           "input_extra may have at most %d files, not %zu", MAX_FILES, n);
    *files = calloc(n + 1, sizeof **files);
    if (*files == NULL)
        return kl_api_fail_memory(error, "the prompt");
    json_array_foreach(given, i, value)
    {
        if (file_of(value, &(*files)[i], error) != KL_OK)
            return KL_ERR_INVALID;
    }
    gap->files = *files;
    gap->n_files = n;
    return KL_OK;
}

static enum kl_status gap_fields(const json_t *body, struct kl_generation_request *r,
                                 struct kl_api_error *error)
{
    struct kl_raw_gap gap = {.prefix = "", .line = "", .suffix = ""};
    struct kl_raw_file *files = NULL;
    enum kl_status status =
        text_field(body, "input_prefix", true, &gap.prefix, &gap.prefix_len, error);
    if (status == KL_OK)
        status = text_field(body, "input_suffix", true, &gap.suffix, &gap.suffix_len, error);
    if (status == KL_OK)
        status = text_field(body, "prompt", false, &gap.line, &gap.line_len, error);
    if (status == KL_OK)
        status = files_field(body, &gap, &files, error);
    r->raw.field = "input_prefix";
    if (status == KL_OK && kl_raw_input_gap(&r->raw, &gap) != KL_OK)
        status = kl_api_fail_memory(error, "the prompt");
    free(files);
    return status;
}

static enum kl_status parse(const char *text, size_t len, bool is_query,
                            struct kl_generation_request *r, struct kl_api_error *error)
{
    (void)is_query;
    json_t *body;
    enum kl_status status = kl_read_body(text, len, r, &body, error);
    if (status == KL_OK)
        status = gap_fields(body, r, error);
    return status == KL_OK ? kl_llama_fields(body, r, error) : status;
}

static const struct kl_dialect dialect = {kl_answer_headers, parse, &kl_llama_stream,
                                          &kl_llama_document};

KL_HANDLER(kl_handle_infill)
{
    kl_generation_start(x, &dialect);
}
