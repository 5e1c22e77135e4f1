#include "api/answer_fields.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "api/fields.h"

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
    /* 7 digits hold the largest value; strtol could fail on more */
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

static enum kl_status loop_guard_field(const json_t *body, bool *on, struct kl_api_error *error)
{
    const char *given = NULL;
    if (kl_field_string(body, "loop_guard", &given, error) != KL_OK)
        return KL_ERR_INVALID;
    if (given == NULL)
        return KL_OK;
    *on = strcmp(given, "on") == 0;
    if (!*on && strcmp(given, "off") != 0)
        return kl_api_fail(error, 400, "invalid_value", "loop_guard",
                           "loop_guard is \"%.40s\"; it must be on or off", given);
    return KL_OK;
}

static void say_thinking(struct kl_chat_input *input, const char *name, bool on)
{
    input->thinking = on ? KL_THINKING_ON : KL_THINKING_OFF;
    input->thinking_name = name;
}

static enum kl_status thinking_switch(const json_t *object, const char *name,
                                      struct kl_chat_input *input, struct kl_api_error *error)
{
    bool on = false;
    if (kl_field_bool(object, name, &on, error) != KL_OK)
        return KL_ERR_INVALID;
    if (json_is_boolean(json_object_get(object, name)))
        say_thinking(input, name, on);
    return KL_OK;
}

/* Reads `thinking`: a boolean, or {"type": "enabled"} as in the APIs of Anthropic and DeepSeek. A
 * budget is not supported. */
static enum kl_status thinking_field(const json_t *body, struct kl_chat_input *input,
                                     struct kl_api_error *error)
{
    const char *name = "thinking", *type = "";
    const json_t *value = json_object_get(body, name);
    if (!json_is_object(value))
        return thinking_switch(body, name, input, error);
    if (kl_field_string(value, "type", &type, error) != KL_OK)
        return kl_api_fail(error, 400, "invalid_type", name, "thinking.type must be a string");
    const json_t *budget = json_object_get(value, "budget_tokens");
    if (strcmp(type, "enabled") == 0) {
        say_thinking(input, name, true);
        if (budget != NULL && !json_is_null(budget))
            return kl_api_fail(
                error, 400, "unsupported", name,
                "thinking.budget_tokens is not offered by this server; leave it out, "
                "max_tokens counts thoughts and answer");
    } else if (strcmp(type, "disabled") == 0) {
        say_thinking(input, name, false);
    } else if (strcmp(type, "auto") != 0 && strcmp(type, "adaptive") != 0) {
        return kl_api_fail(error, 400, "invalid_value", name,
                           "thinking.type is \"%.40s\"; it must be enabled, disabled or auto",
                           type);
    }
    return KL_OK;
}

/* Reads OpenAI's `reasoning_effort`. No model has more than on and off; "medium" is OpenAI's
 * default and changes nothing. */
static enum kl_status effort_field(const json_t *body, struct kl_chat_input *input,
                                   struct kl_api_error *error)
{
    const char *name = "reasoning_effort", *effort = NULL;
    if (kl_field_string(body, name, &effort, error) != KL_OK)
        return KL_ERR_INVALID;
    if (effort == NULL || strcmp(effort, "medium") == 0)
        return KL_OK;
    if (strcmp(effort, "none") != 0)
        return kl_api_fail(error, 400, "unsupported", name,
                           "reasoning_effort \"%.40s\" is not offered by this server, only "
                           "\"none\" and \"medium\"",
                           effort);
    say_thinking(input, name, false);
    return KL_OK;
}

/* Reads `chat_template_kwargs`, which other servers pass to a Jinja template. The switch for
 * thinking is known, by its two names; none of the templates that are recognised reads another name
 * (chat_input.h). */
static enum kl_status template_arguments(const json_t *body, struct kl_chat_input *input,
                                         struct kl_api_error *error)
{
    const json_t *arguments = NULL;
    const char *name;
    json_t *value;
    if (kl_field_object(body, "chat_template_kwargs", &arguments, error) != KL_OK)
        return KL_ERR_INVALID;
    json_object_foreach((json_t *)arguments, name, value)
    {
        if (strcmp(name, "enable_thinking") != 0 && strcmp(name, "thinking") != 0 &&
            !json_is_null(value))
            input->template_argument = name;
    }
    enum kl_status status = thinking_switch(arguments, "thinking", input, error);
    return status == KL_OK ? thinking_switch(arguments, "enable_thinking", input, error) : status;
}

static enum kl_status thinking_fields(const json_t *body, struct kl_chat_input *input,
                                      struct kl_api_error *error)
{
    if (template_arguments(body, input, error) != KL_OK ||
        effort_field(body, input, error) != KL_OK || thinking_field(body, input, error) != KL_OK)
        return KL_ERR_INVALID;
    return thinking_switch(body, "enable_thinking", input, error);
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
        loop_guard_field(body, &r->loop_guard, error) != KL_OK ||
        kl_field_bool(body, "return_progress", &r->return_progress, error) != KL_OK ||
        thinking_fields(body, &r->input, error) != KL_OK)
        return KL_ERR_INVALID;
    return KL_OK;
}

enum kl_status kl_tier_field(const json_t *body, struct kl_generation_request *r,
                             struct kl_api_error *error)
{
    const char *tier = NULL;
    if (kl_field_string(body, "service_tier", &tier, error) != KL_OK)
        return KL_ERR_INVALID;
    if (tier == NULL)
        return KL_OK;
    if (strcmp(tier, "flex") == 0) {
        r->priority = r->has_priority ? r->priority : KL_PRIORITY_BACKGROUND;
        r->service_tier = "flex";
    } else if (strcmp(tier, "auto") == 0 || strcmp(tier, "default") == 0) {
        r->service_tier = "default";
    } else {
        return kl_api_fail(error, 400, "invalid_value", "service_tier",
                           "service_tier is \"%.40s\"; it must be auto, default or flex", tier);
    }
    return KL_OK;
}

enum kl_status kl_stream_fields(const json_t *body, struct kl_generation_request *r,
                                struct kl_api_error *error)
{
    const json_t *options = NULL;
    if (kl_field_bool(body, "stream", &r->stream, error) != KL_OK ||
        kl_field_object(body, "stream_options", &options, error) != KL_OK)
        return KL_ERR_INVALID;
    if (options != NULL &&
        kl_field_bool(options, "include_usage", &r->include_usage, error) != KL_OK)
        return kl_api_fail(error, 400, "invalid_type", "stream_options",
                           "stream_options.include_usage must be true or false");
    return KL_OK;
}
