/*
 * A request for an answer, independent of the dialect whose fields it was read from.
 */
#ifndef KL_SERVICE_GENERATION_REQUEST_H
#define KL_SERVICE_GENERATION_REQUEST_H

#include <stdbool.h>
#include <stddef.h>

#include "engine/engine.h"
#include "grammar/rule_cache.h"
#include "http/api_error.h"
#include "service/chat_input.h"
#include "service/context_policy.h"

#define KL_MAX_CHOICES   4
#define KL_MAX_BIAS_TEXT 64 /* bytes */
/* Log-probabilities in an answer that is not streamed, for each choice: they are held until it is
 * complete, some 100 bytes each. */
#define KL_MAX_LOGPROBS 65536

/* A bias as a client gives it: of a token, or of all tokens of a text. */
struct kl_bias {
    const char *text; /* NULL: the token is id */
    int32_t id;
    float value; /* -INFINITY: never */
};

struct kl_generation_request {
    void *source; /* the parsed body, owns the strings below; NULL once `settled` owns them */
    void (*release_source)(void *source);
    char *settled;     /* copies of the strings that outlive source */
    const char *model; /* as the client named it, or NULL */
    struct kl_chat_input input;
    const char *prediction; /* a text that the answer may be like; NULL: none. Of source */
    size_t prediction_len;
    struct kl_sampling sampling; /* choice i draws with seed + i; its biases: resolved ones */
    struct kl_bias *biases;      /* [n_biases] owned */
    size_t n_biases;
    struct kl_logit *resolved; /* owned */
    bool logprobs;
    size_t top_logprobs;
    size_t max_tokens; /* SIZE_MAX: as much as the context holds */
    const char *stops[KL_MAX_STOPS];
    size_t n_stops;
    /* The rule that the answers follow: a share, NULL: they are free. */
    struct kl_rule *rule;
    struct kl_rule_cache *rules;      /* where parsing finds and keeps it; NULL: nowhere */
    const struct kl_token_trie *trie; /* with a rule, once there is a model */
    bool calls_tool;                  /* the rule makes the answer a call of a tool */
    size_t n_choices;
    enum kl_priority priority;
    bool has_priority;       /* a header set it */
    double deadline_seconds; /* since it was received; 0: none */
    enum kl_context_policy context_policy;
    bool loop_guard;
    const char *service_tier; /* the tier to report in the answer, static; NULL: none */
    bool stream;
    bool include_usage;
    bool return_progress; /* progress as JSON events, not as comments; streams only */
};

/* Initialises a request: greedy sampling, a random seed, one choice, the given defaults, and no
 * options. */
void kl_generation_request_init(struct kl_generation_request *request,
                                enum kl_context_policy context_policy, bool loop_guard);

void kl_generation_request_release(struct kl_generation_request *request);

/* Makes the biases of a request those of tokens, and checks everything that only the model decides.
 * Before it is settled. max_tokens: the most that this server and its context allow. */
enum kl_status kl_generation_request_resolve(struct kl_generation_request *request,
                                             const struct kl_tokenizer *tokenizer,
                                             size_t max_tokens, struct kl_api_error *error);

/* Releases source and conversation, once the prompt is encoded or the request is checked, after
 * copying the strings that are still needed. */
enum kl_status kl_generation_request_settle(struct kl_generation_request *request,
                                            struct kl_api_error *error);

#endif
