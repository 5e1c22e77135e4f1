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
#include "service/answer_store.h"
#include "service/call_reader.h"
#include "service/chat_input.h"
#include "service/context_policy.h"
#include "service/raw_prompt.h"

#define KL_MAX_CHOICES   8  /* for each prompt */
#define KL_MAX_ANSWERS   32 /* choices of all prompts of a request */
#define KL_MAX_BIAS_TEXT 64 /* bytes */
/* Log-probabilities in a document that is not streamed, of all its answers: they are held until it
 * is complete, some 100 bytes each. */
#define KL_MAX_LOGPROBS 65536

/* A bias as a client gives it: of a token, or of all tokens of a text. */
struct kl_bias {
    const char *text; /* NULL: the token is id */
    int32_t id;
    float value; /* -INFINITY: never */
};

struct kl_computation;
struct kl_embedding_format;

/* The fields of a request for embeddings (embedding_work.h). */
struct kl_embedding_fields {
    const struct kl_embedding_format *format; /* NULL: the request wants answers */
    enum kl_pooling pooling;
    bool has_pooling;  /* it names it: otherwise the server's, or the file's */
    size_t dimensions; /* the vector is cut to these; 0: all */
    bool is_raw;       /* it is not normalised */
    bool truncates;    /* texts that are too long are cut; otherwise they are refused */
    bool is_base64;    /* for the format */
};

struct kl_generation_request {
    void *source; /* the parsed body, owns the strings below; NULL once `settled` owns them */
    void (*release_source)(void *source);
    char *settled;     /* copies of the strings that outlive source */
    const char *model; /* as the client named it, or NULL */
    bool strict_name;  /* kl_served_check_tag decides, whatever the option says */
    struct kl_chat_input input;
    struct kl_raw_input raw; /* with prompts: instead of input */
    bool has_keep_alive;  /* how long the model stays open afterwards, seconds; negative: as long as
                           */
    double keep_alive;    /* the server allows (kl_host_keep) */
    bool closed_suffices; /* `compute` needs neither a tokenizer nor an engine */
    /* Not NULL: the request is answered without the model, by this document. Called on the worker's
     * thread; appends JSON to *out. */
    enum kl_status (*compute)(const struct kl_computation *computation, struct kl_buffer *out,
                              struct kl_api_error *error);
    struct kl_embedding_fields embedding; /* with a format: instead of answers to the prompts */
    /* Where answers are kept, for requests of this scope; set by read_headers of a dialect that
     * keeps them. The record of the answer: a share, owned; NULL: none. */
    struct kl_answer_store *answers;
    uint64_t scope;
    struct kl_answer_record *record;
    size_t kept_bytes; /* the most text that parsing may add to that of the body */
    char *kept;        /* what the format needs to answer (kl_generation.kept); allocated, owned */
    /* Not NULL: writes `kept` once the prompts are encoded. Called on the worker's thread. */
    enum kl_status (*describe)(const struct kl_computation *computation, struct kl_buffer *kept,
                               struct kl_api_error *error);
    const char *prediction; /* a text that the answer may be like; NULL: none. Of source */
    size_t prediction_len;
    struct kl_sampling sampling; /* choice i draws with seed + i; its biases: resolved ones */
    struct kl_bias *biases;      /* [n_biases] owned */
    size_t n_biases;
    struct kl_logit *resolved; /* owned */
    bool logprobs;
    size_t top_logprobs;
    bool token_ids;    /* tokens are reported without logprobs, too (kl_choice_take_token) */
    size_t max_tokens; /* SIZE_MAX: as much as the context holds */
    const char *stops[KL_MAX_STOPS];
    size_t n_stops;
    /* The rule that the answers follow: a share, NULL: they are free. */
    struct kl_rule *rule;
    const char *rule_field;      /* that gave it, static; NULL: none */
    struct kl_rule_cache *rules; /* where parsing finds and keeps it; NULL: nowhere */
    /* That of the model, which decides how a call is written; NULL: not known yet */
    const struct kl_chat_template *chat_template;
    const struct kl_token_trie *trie; /* with a rule, once there is a model */
    struct kl_call_names *call_names; /* owned: calls of these are read; NULL: all is text */
    bool function_calls;              /* the answer has the one `function_call` of older clients */
    size_t n_choices;                 /* for each prompt */
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

/* A request whose prompts are encoded. */
struct kl_computation {
    const struct kl_generation_request *request;
    const struct kl_served *served;  /* with a model */
    const struct kl_tokens *prompts; /* [n_prompts]; of a conversation: one */
    size_t n_prompts;                /* 0: the request has neither messages nor prompts */
    size_t ctx_size;
    size_t max_tokens; /* of an answer, as the request and the server limit it; SIZE_MAX: none */
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
