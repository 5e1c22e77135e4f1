#include "server/answer_fields.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "server/fields.h"

static enum kl_status priority_header(const struct kl_exchange *x, enum kl_priority *priority,
                                      struct kl_api_error *error)
{
    const char *given = kl_request_header(x, "X-Priority");
    if (given == NULL)
        return KL_OK;
    if (strcasecmp(given, "background") == 0)
        *priority = KL_PRIORITY_BACKGROUND;
    else if (strcasecmp(given, "interactive") == 0)
        *priority = KL_PRIORITY_INTERACTIVE;
    else
        return kl_api_fail(error, 400, "invalid_value", "X-Priority",
                           "the header X-Priority is \"%.40s\"; it must be background or "
                           "interactive",
                           given);
    return KL_OK;
}

static enum kl_status deadline_header(const struct kl_exchange *x, double *seconds,
                                      struct kl_api_error *error)
{
    const char *given = kl_request_header(x, "X-Deadline-Ms");
    if (given == NULL)
        return KL_OK;
    size_t len = strlen(given);
    /* 7 digits hold the largest; more would be one that strtol could not read */
    long value =
        len > 0 && len <= 7 && strspn(given, "0123456789") == len ? strtol(given, NULL, 10) : 0;
    if (value < 1 || value > KL_MAX_DEADLINE_MS)
        return kl_api_fail(error, 400, "invalid_value", "X-Deadline-Ms",
                           "the header X-Deadline-Ms is \"%.40s\"; it must be 1 to %d milliseconds",
                           given, KL_MAX_DEADLINE_MS);
    *seconds = (double)value / 1000;
    return KL_OK;
}

static enum kl_status policy_field(const json_t *body, enum kl_context_policy *policy,
                                   struct kl_api_error *error)
{
    const char *given = NULL;
    if (kl_field_string(body, "context_policy", &given, error) != KL_OK)
        return KL_ERR_INVALID;
    if (given != NULL && !kl_context_policy_parse(given, policy))
        return kl_api_fail(error, 400, "invalid_value", "context_policy",
                           "context_policy is \"%.40s\"; it must be error or trim", given);
    return KL_OK;
}

static enum kl_status thinking_field(const json_t *object, enum kl_thinking *thinking,
                                     struct kl_api_error *error)
{
    bool on = false;
    if (kl_field_bool(object, "enable_thinking", &on, error) != KL_OK)
        return KL_ERR_INVALID;
    if (json_is_boolean(json_object_get(object, "enable_thinking")))
        *thinking = on ? KL_THINKING_ON : KL_THINKING_OFF;
    return KL_OK;
}

/* Arguments of a template written in Jinja, elsewhere. Of these enable_thinking is known; another
 * one would change the prompt, so it is not ignored. */
static enum kl_status template_arguments(const json_t *body, enum kl_thinking *thinking,
                                         struct kl_api_error *error)
{
    const json_t *arguments = NULL;
    const char *name;
    json_t *value;
    if (kl_field_object(body, "chat_template_kwargs", &arguments, error) != KL_OK)
        return KL_ERR_INVALID;
    json_object_foreach((json_t *)arguments, name, value)
    {
        if (strcmp(name, "enable_thinking") != 0)
            return kl_api_fail(error, 400, "unsupported", "chat_template_kwargs",
                               "chat_template_kwargs.%.60s is not known to this server, only "
                               "enable_thinking is",
                               name);
    }
    return thinking_field(arguments, thinking, error);
}

enum kl_status kl_answer_headers(const struct kl_exchange *x, struct kl_generation_request *r,
                                 struct kl_api_error *error)
{
    r->has_priority = kl_request_header(x, "X-Priority") != NULL;
    if (priority_header(x, &r->priority, error) != KL_OK ||
        deadline_header(x, &r->deadline_seconds, error) != KL_OK)
        return KL_ERR_INVALID;
    return KL_OK;
}

enum kl_status kl_answer_fields(const json_t *body, struct kl_generation_request *r,
                                struct kl_api_error *error)
{
    if (policy_field(body, &r->context_policy, error) != KL_OK ||
        kl_field_bool(body, "return_progress", &r->return_progress, error) != KL_OK ||
        template_arguments(body, &r->input.thinking, error) != KL_OK ||
        thinking_field(body, &r->input.thinking, error) != KL_OK)
        return KL_ERR_INVALID;
    return KL_OK;
}
