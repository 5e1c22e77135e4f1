#include "http/api_error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/json_writer.h"

/* Retry-After, seconds: memory is free again when another answer has ended. */
#define NO_MEMORY_WAIT 1

enum kl_status kl_api_fail(struct kl_api_error *error, int status, const char *code,
                           const char *param, const char *format, ...)
{
    memset(error, 0, sizeof *error);
    error->status = status;
    error->code = code;
    if (param != NULL)
        snprintf(error->param, sizeof error->param, "%s", param);
    va_list ap;
    va_start(ap, format);
    vsnprintf(error->text, sizeof error->text, format, ap);
    va_end(ap);
    return KL_ERR_INVALID;
}

enum kl_status kl_api_fail_internal(struct kl_api_error *error, const struct kl_error *err)
{
    if (err->status != KL_ERR_MEMORY)
        return kl_api_fail(error, 500, "internal_error", NULL, "%s", err->text);
    kl_api_fail(error, 503, "no_memory", NULL, "%s; try again in a moment", err->text);
    error->retry_after = NO_MEMORY_WAIT;
    return KL_ERR_INVALID;
}

enum kl_status kl_api_fail_memory(struct kl_api_error *error, const char *what)
{
    kl_api_fail(error, 503, "no_memory", NULL, "no memory for %s; try again in a moment", what);
    error->retry_after = NO_MEMORY_WAIT;
    return KL_ERR_INVALID;
}

/* The types that clients of the OpenAI API distinguish. */
static const char *error_type(int status)
{
    switch (status) {
    case 401:
        return "authentication_error";
    case 403:
        return "permission_error";
    case 404:
        return "not_found_error";
    case 429:
        return "rate_limit_error";
    default:
        return status >= 500 ? "server_error" : "invalid_request_error";
    }
}

enum kl_status kl_api_error_write(const struct kl_api_error *error, struct kl_buffer *out)
{
    struct kl_printer printer = {.text = *out};
    struct kl_json j = {.out = &printer, .plain = true};
    kl_json_open(&j, NULL, '{');
    kl_json_open(&j, "error", '{');
    kl_json_string(&j, "message", error->text);
    kl_json_string(&j, "type", error_type(error->status));
    if (error->param[0] != '\0')
        kl_json_string(&j, "param", error->param);
    else
        kl_json_null(&j, "param");
    if (error->code != NULL)
        kl_json_string(&j, "code", error->code);
    else
        kl_json_null(&j, "code");
    if (error->n_ctx != 0) {
        kl_json_number(&j, "n_prompt_tokens", (double)error->n_prompt_tokens);
        kl_json_number(&j, "n_ctx", (double)error->n_ctx);
    }
    kl_json_close(&j, '}');
    kl_json_close(&j, '}');
    *out = printer.text;
    return printer.status;
}
