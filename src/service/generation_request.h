/*
 * A request for an answer, in neutral terms: what every dialect makes of its fields.
 */
#ifndef KL_SERVICE_GENERATION_REQUEST_H
#define KL_SERVICE_GENERATION_REQUEST_H

#include <stdbool.h>
#include <stddef.h>

#include "engine/engine.h"
#include "http/api_error.h"
#include "service/chat_input.h"
#include "service/context_policy.h"

#define KL_MAX_CHOICES 4

struct kl_generation_request {
    void *source; /* owns the strings here: what was parsed; NULL: settled does */
    void (*release_source)(void *source);
    char *settled;
    const char *model; /* as the client named it, or NULL */
    struct kl_chat_input input;
    struct kl_sampling sampling; /* choice i draws with seed + i */
    size_t max_tokens;           /* SIZE_MAX: as much as the context holds */
    const char *stops[KL_MAX_STOPS];
    size_t n_stops;
    size_t n_choices;
    enum kl_priority priority;
    bool has_priority;       /* a header set it */
    double deadline_seconds; /* from when it came in; 0: none */
    enum kl_context_policy context_policy;
    bool loop_guard;
    const char *service_tier; /* to be reported in the answer, static; NULL: not asked for */
    bool stream;
    bool include_usage;
    bool return_progress; /* as JSON, not as comments; streams only */
};

/* Greedy, nothing else switched on, a random seed, one choice; and these defaults. */
void kl_generation_request_init(struct kl_generation_request *request,
                                enum kl_context_policy context_policy, bool loop_guard);

void kl_generation_request_release(struct kl_generation_request *request);

/* Once the prompt is encoded: releases source and conversation; copies the strings that are still
 * needed. */
enum kl_status kl_generation_request_settle(struct kl_generation_request *request,
                                            struct kl_api_error *error);

#endif
