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

/* That of a prompt that is too long is llama-server's. */
const char *kl_api_error_type(const struct kl_api_error *error)
{
    switch (error->status) {
    case 401:
        return "authentication_error";
    case 403:
        return "permission_error";
    case 404:
        return "not_found_error";
    case 429:
        return "rate_limit_error";
    case 501:
        return "not_supported_error"; /* llama-server's, too */
    default:
        if (error->n_ctx != 0)
            return "exceed_context_size_error";
        return error->status >= 500 ? "server_error" : "invalid_request_error";
    }
}

/* The types of Anthropic's API. */
static const char *messages_type(int status)
{
    switch (status) {
    case 401:
        return "authentication_error";
    case 403:
        return "permission_error";
    case 404:
        return "not_found_error";
    case 413:
        return "request_too_large";
    case 429:
        return "rate_limit_error";
    case 503:
        return "overloaded_error";
    case 504:
        return "timeout_error";
    default:
        return status >= 500 ? "api_error" : "invalid_request_error";
    }
}

static void write_openai(struct kl_json *j, const struct kl_api_error *error)
{
    kl_json_open(j, NULL, '{');
    kl_json_open(j, "error", '{');
    kl_json_string(j, "message", error->text);
    kl_json_string(j, "type", kl_api_error_type(error));
    if (error->param[0] != '\0')
        kl_json_string(j, "param", error->param);
    else
        kl_json_null(j, "param");
    if (error->code != NULL)
        kl_json_string(j, "code", error->code);
    else
        kl_json_null(j, "code");
    if (error->n_ctx != 0) {
        kl_json_number(j, "n_prompt_tokens", (double)error->n_prompt_tokens);
        kl_json_number(j, "n_ctx", (double)error->n_ctx);
    }
    kl_json_close(j, '}');
    kl_json_close(j, '}');
}

static void write_ollama(struct kl_json *j, const struct kl_api_error *error)
{
    kl_json_open(j, NULL, '{');
    kl_json_string(j, "error", error->text);
    kl_json_close(j, '}');
}

static void write_messages(struct kl_json *j, const struct kl_api_error *error)
{
    kl_json_open(j, NULL, '{');
    kl_json_string(j, "type", "error");
    kl_json_open(j, "error", '{');
    kl_json_string(j, "type", messages_type(error->status));
    kl_json_string(j, "message", error->text);
    kl_json_close(j, '}');
    kl_json_close(j, '}');
}

enum kl_status kl_api_error_write(const struct kl_api_error *error, enum kl_error_shape shape,
                                  struct kl_buffer *out)
{
    struct kl_printer printer = {.text = *out};
    struct kl_json j = {.out = &printer, .plain = true};
    switch (shape) {
    case KL_ERRORS_OPENAI:
        write_openai(&j, error);
        break;
    case KL_ERRORS_OLLAMA:
        write_ollama(&j, error);
        break;
    case KL_ERRORS_MESSAGES:
        write_messages(&j, error);
        break;
    }
    *out = printer.text;
    return printer.status;
}
