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
    r->sampling.seed &= INT64_MAX; /* a number that answers can report, and requests give again */
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
    kl_raw_input_release(&r->raw);
    release_source(r);
    kl_rule_disown(r->rule);
    kl_answer_record_release(r->record);
    free(r->call_names);
    free(r->kept);
    free(r->settled);
    free(r->biases);
    free(r->resolved);
    *r = (struct kl_generation_request){0};
}

static enum kl_status too_many(struct kl_api_error *error)
{
    return kl_api_fail(error, 400, "invalid_value", "logit_bias",
                       "logit_bias may have at most %d tokens", KL_MAX_BIASES);
}

/* Adds a bias for each token of a text. */
static enum kl_status resolve_text(struct kl_generation_request *r, const struct kl_bias *bias,
                                   const struct kl_tokenizer *tokenizer, struct kl_api_error *error)
{
    struct kl_tokens tokens = {0};
    struct kl_error err;
    const struct kl_span span = {.text = bias->text, .len = strlen(bias->text)};
    if (kl_tokenizer_encode(tokenizer, &span, 1, &tokens, &err) != KL_OK)
        return kl_api_fail_internal(error, &err);
    enum kl_status status = KL_OK;
    for (size_t i = 0; i < tokens.len && status == KL_OK; i++) {
        if (r->sampling.n_biases == KL_MAX_BIASES)
            status = too_many(error);
        else
            r->resolved[r->sampling.n_biases++] =
                (struct kl_logit){.value = bias->value, .id = tokens.ids[i]};
    }
    kl_tokens_release(&tokens);
    return status;
}

static enum kl_status resolve_biases(struct kl_generation_request *r,
                                     const struct kl_tokenizer *tokenizer,
                                     struct kl_api_error *error)
{
    size_t n_vocab = kl_tokenizer_size(tokenizer);
    r->sampling.n_biases = 0;
    if (r->n_biases == 0)
        return KL_OK;
    r->sampling.biases = r->resolved = calloc(KL_MAX_BIASES, sizeof *r->resolved);
    if (r->resolved == NULL)
        return kl_api_fail_memory(error, "the request");
    for (size_t i = 0; i < r->n_biases; i++) {
        const struct kl_bias *bias = &r->biases[i];
        enum kl_status status = KL_OK;
        if (bias->text != NULL)
            status = resolve_text(r, bias, tokenizer, error);
        else if ((size_t)bias->id >= n_vocab)
            status = kl_api_fail(error, 400, "invalid_value", "logit_bias",
                                 "logit_bias: %d is no token of this model, whose ids end at %zu",
                                 (int)bias->id, n_vocab - 1);
        else if (r->sampling.n_biases == KL_MAX_BIASES)
            status = too_many(error);
        else
            r->resolved[r->sampling.n_biases++] =
                (struct kl_logit){.value = bias->value, .id = bias->id};
        if (status != KL_OK)
            return status;
    }
    return KL_OK;
}

enum kl_status kl_generation_request_resolve(struct kl_generation_request *r,
                                             const struct kl_tokenizer *tokenizer,
                                             size_t max_tokens, struct kl_api_error *error)
{
    size_t n_tokens = r->max_tokens < max_tokens ? r->max_tokens : max_tokens;
    size_t n_answers = r->n_choices * (r->raw.n_prompts > 0 ? r->raw.n_prompts : 1);
    if (r->logprobs && !r->stream && n_tokens > KL_MAX_LOGPROBS / n_answers / (1 + r->top_logprobs))
        return kl_api_fail(error, 400, "invalid_value", "top_logprobs",
                           "%zu answers of %zu tokens with %zu top_logprobs each have more than %d "
                           "log-probabilities, the most that a document holds which is not "
                           "streamed: give a smaller max_tokens or top_logprobs, or stream",
                           n_answers, n_tokens, r->top_logprobs, KL_MAX_LOGPROBS);
    return resolve_biases(r, tokenizer, error);
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
    kl_raw_input_release(&r->raw);
    r->prediction = NULL;
    release_source(r);
    return KL_OK;
}
