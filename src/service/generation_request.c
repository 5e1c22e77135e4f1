#include "service/generation_request.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"

void kl_generation_request_init(struct kl_generation_request *r,
                                enum kl_context_policy context_policy, bool loop_guard)
{
    *r = (struct kl_generation_request){
        .n_choices = 1,
        .sampling = {.temperature = 0, .top_p = 1, .repetition_penalty = 1},
        .context_policy = context_policy,
        .loop_guard = loop_guard,
    };
    if (getrandom(&r->sampling.seed, sizeof r->sampling.seed, GRND_NONBLOCK) < 0)
        r->sampling.seed = kl_now_ns();
}

static void release_source(struct kl_generation_request *r)
{
    if (r->source != NULL)
        r->release_source(r->source);
    r->source = NULL;
}

void kl_generation_request_release(struct kl_generation_request *r)
{
    kl_chat_input_release(&r->input);
    release_source(r);
    kl_rule_disown(r->rule);
    free(r->settled);
    *r = (struct kl_generation_request){0};
}

/* Copies a string to *at and advances *at past it. */
static const char *copy_text(const char *text, char **at)
{
    size_t size = strlen(text) + 1;
    char *copy = memcpy(*at, text, size);
    *at += size;
    return copy;
}

enum kl_status kl_generation_request_settle(struct kl_generation_request *r,
                                            struct kl_api_error *error)
{
    size_t size = r->model != NULL ? strlen(r->model) + 1 : 1;
    for (size_t i = 0; i < r->n_stops; i++)
        size += strlen(r->stops[i]) + 1;
    char *at = r->settled = malloc(size);
    if (at == NULL)
        return kl_api_fail_memory(error, "the request");
    if (r->model != NULL)
        r->model = copy_text(r->model, &at);
    for (size_t i = 0; i < r->n_stops; i++)
        r->stops[i] = copy_text(r->stops[i], &at);
    kl_chat_input_release(&r->input);
    r->prediction = NULL;
    release_source(r);
    return KL_OK;
}
