#include "engine/request.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "engine/request_events.h"

#define MAX_DEADLINE_SECONDS 1e9 /* no client waits that long, and nanoseconds still fit */

static_assert(_Alignof(struct kl_logit) <= _Alignof(int32_t), "biases may follow tokens");
static_assert(KL_MAX_STOP_SIZE + KL_TOKEN_TEXT_SIZE <= KL_PENDING_SIZE, "a token's text fits");

/* ---- the client's side ----------------------------------------------------------------------- */

void kl_request_cancel(struct kl_request *request)
{
    if (atomic_load(&request->finished) || atomic_exchange(&request->cancelled, true))
        return;
    kl_wakeup_signal(request->wakeup);
}

void kl_request_set_priority(struct kl_request *request, enum kl_priority priority)
{
    if (atomic_load(&request->finished) ||
        atomic_exchange(&request->wanted_level, (unsigned)priority) == (unsigned)priority)
        return;
    kl_wakeup_signal(request->wakeup);
}

void kl_request_release(struct kl_request *request)
{
    if (request == NULL)
        return;
    kl_request_cancel(request);
    kl_request_disown(request);
}

const float *kl_request_embedding(const struct kl_request *request, size_t *n)
{
    *n = request->embedding != NULL ? request->embedding->n_embd : 0;
    return request->embedding != NULL ? request->embedding->vector : NULL;
}

const char *kl_finish_name(enum kl_finish finish)
{
    switch (finish) {
    case KL_FINISH_STOP:
        return "stop";
    case KL_FINISH_LENGTH:
        return "length";
    case KL_FINISH_REPETITION:
        return "repetition";
    case KL_FINISH_CANCELLED:
        return "cancelled";
    case KL_FINISH_DEADLINE:
        return "deadline";
    case KL_FINISH_ERROR:
        return "error";
    }
    return "unknown";
}

/* ---- creation -------------------------------------------------------------------------------- */

static enum kl_status check_ids(const char *what, const int32_t *ids, size_t n, size_t n_vocab,
                                struct kl_error *err)
{
    for (size_t i = 0; i < n; i++) {
        if (ids[i] < 0 || (size_t)ids[i] >= n_vocab)
            return kl_fail(err, KL_ERR_INVALID,
                           "the %s's token %zu: expected an id from 0 to %zu, found %d", what,
                           i + 1, n_vocab - 1, (int)ids[i]);
    }
    return KL_OK;
}

static enum kl_status check(const struct kl_request_options *o, size_t n_vocab,
                            struct kl_error *err)
{
    if (o->n_tokens == 0)
        return kl_fail(err, KL_ERR_INVALID, "the prompt is empty: expected at least one token");
    enum kl_status status = check_ids("prompt", o->tokens, o->n_tokens, n_vocab, err);
    if (status != KL_OK)
        return status;
    if (o->priority != KL_PRIORITY_INTERACTIVE && o->priority != KL_PRIORITY_BACKGROUND)
        return kl_fail(err, KL_ERR_INVALID, "priority: expected 0 or 1, found %d",
                       (int)o->priority);
    if (!(o->deadline_seconds >= 0.0 && o->deadline_seconds <= MAX_DEADLINE_SECONDS))
        return kl_fail(err, KL_ERR_INVALID, "the deadline: expected 0 to %.0f seconds, found %g",
                       MAX_DEADLINE_SECONDS, o->deadline_seconds);
    return KL_OK;
}

static enum kl_status check_answer(const struct kl_request_options *o, size_t ctx_size,
                                   size_t n_vocab, struct kl_error *err)
{
    enum kl_status status = check_ids("prediction", o->prediction, o->n_prediction, n_vocab, err);
    if (status != KL_OK)
        return status;
    if (o->rule != NULL && o->trie == NULL)
        return kl_fail(err, KL_ERR_INVALID, "an answer by rule: expected the trie of all tokens");
    if (o->top_logprobs > KL_MAX_TOP_LOGPROBS)
        return kl_fail(err, KL_ERR_INVALID, "top_logprobs: expected 0 to %d, found %zu",
                       KL_MAX_TOP_LOGPROBS, o->top_logprobs);
    status = kl_sampling_check(&o->sampling, n_vocab, err);
    if (status != KL_OK)
        return status;
    if (o->n_tokens >= ctx_size)
        return kl_fail(err, KL_ERR_LIMIT,
                       "the prompt exceeds the available context size: it has %zu tokens, the "
                       "context holds %zu with the answer; shorten it or raise --ctx-size",
                       o->n_tokens, ctx_size);
    return KL_OK;
}

static enum kl_status check_embedding(const struct kl_request_options *o, size_t ctx_size,
                                      struct kl_error *err)
{
    if ((unsigned)o->pooling >= KL_N_POOLINGS)
        return kl_fail(err, KL_ERR_INVALID, "pooling: expected 0 to %d, found %d",
                       KL_N_POOLINGS - 1, (int)o->pooling);
    if (o->n_tokens > ctx_size)
        return kl_fail(err, KL_ERR_LIMIT,
                       "the text exceeds the available context size: it has %zu tokens, the "
                       "context holds %zu; shorten it or raise --ctx-size",
                       o->n_tokens, ctx_size);
    return KL_OK;
}

static void destroy(struct kl_request *r)
{
    kl_rule_disown(r->rule.rule);
    kl_embedding_free(r->embedding);
    kl_buffer_release(&r->pending);
    kl_ring_release(&r->ring);
    free(r);
}

/* Copies the biases to the end of the request, which has room for KL_MAX_ENDS more, and bans the
 * tokens that end an answer if that is asked for. */
static void copy_biases(struct kl_request *r, const struct kl_sampling *from, size_t n_vocab,
                        int32_t *at)
{
    struct kl_logit *biases = (struct kl_logit *)at;
    size_t n = from->n_biases, n_ends;
    const int32_t *ends = kl_tokenizer_ends(r->detokenizer.tokenizer, &n_ends);
    if (n > 0)
        memcpy(biases, from->biases, n * sizeof *biases);
    for (size_t i = 0; from->ignore_eos && i < n_ends; i++) {
        if ((size_t)ends[i] < n_vocab)
            biases[n++] = (struct kl_logit){.value = -INFINITY, .id = ends[i]};
    }
    r->sampling.biases = biases;
    r->sampling.n_biases = kl_biases_order(biases, n);
}

/* Allocates all memory of the pending text: nothing is allocated during the answer. */
static enum kl_status reserve_pending(struct kl_buffer *pending, struct kl_error *err)
{
    static const char zeros[KL_PENDING_SIZE];
    kl_buffer_init(pending, KL_PENDING_SIZE);
    if (kl_buffer_append(pending, zeros, sizeof zeros) != KL_OK)
        return kl_fail_memory(err, "the text of a request", KL_PENDING_SIZE);
    kl_buffer_clear(pending);
    return KL_OK;
}

enum kl_status kl_request_new(enum kl_request_kind kind, const struct kl_request_options *o,
                              size_t ctx_size, size_t n_vocab, size_t n_embd,
                              const struct kl_tokenizer *tokenizer, struct kl_wakeup *wakeup,
                              struct kl_request **out, struct kl_error *err)
{
    *out = NULL;
    enum kl_status status = check(o, n_vocab, err);
    if (status == KL_OK)
        status = kind == KL_REQUEST_EMBEDDING ? check_embedding(o, ctx_size, err)
                                              : check_answer(o, ctx_size, n_vocab, err);
    if (status != KL_OK)
        return status;
    size_t room = ctx_size - o->n_tokens;
    size_t max_answer = o->max_tokens < room ? o->max_tokens : room;
    size_t n_tokens = o->n_tokens + max_answer, n_symbols = o->loop_guard ? max_answer : 0;
    size_t n_prediction = o->n_prediction < max_answer ? o->n_prediction : max_answer;
    size_t n_ids = n_tokens + n_symbols + n_prediction;
    size_t n_biases = o->sampling.n_biases + KL_MAX_ENDS;
    size_t size =
        sizeof(struct kl_request) + n_ids * sizeof(int32_t) + n_biases * sizeof(struct kl_logit);
    size_t alignment = _Alignof(struct kl_request);
    size = (size + alignment - 1) / alignment * alignment;
    struct kl_request *r = aligned_alloc(alignment, size);
    if (r == NULL)
        return kl_fail_memory(err, "a request", size);
    *r = (struct kl_request){.kind = kind,
                             .wakeup = wakeup,
                             .sampling = o->sampling,
                             .logprobs = o->logprobs,
                             .token_ids = o->token_ids,
                             .top_logprobs = o->top_logprobs,
                             .position = KL_NO_POSITION,
                             .n_prompt = o->n_tokens,
                             .max_answer = max_answer,
                             .n_tokens = o->n_tokens,
                             .n_prediction = n_prediction,
                             .level =
                                 kind == KL_REQUEST_PRECOMPUTE ? KL_LEVEL_PRECOMPUTE : o->priority,
                             .cache_scope = o->cache_scope,
                             .submitted_ns = kl_now_ns()};
    r->deadline_ns = o->deadline_seconds > 0.0
                         ? r->submitted_ns + (uint64_t)(o->deadline_seconds * 1e9)
                         : UINT64_MAX;
    atomic_init(&r->wanted_level, r->level);
    atomic_init(&r->owners, kind == KL_REQUEST_PRECOMPUTE ? 1 : 2);
    memcpy(r->tokens, o->tokens, o->n_tokens * sizeof *r->tokens);
    if (o->rule != NULL && max_answer > 0)
        r->rule = (struct kl_request_rule){.rule = kl_rule_hold(o->rule), .trie = o->trie};
    r->prediction = r->tokens + n_tokens + n_symbols;
    if (n_prediction > 0)
        memcpy(r->tokens + n_tokens + n_symbols, o->prediction, n_prediction * sizeof *r->tokens);
    kl_random_init(&r->random, o->sampling.seed);
    kl_detokenizer_init(&r->detokenizer, tokenizer);
    copy_biases(r, &o->sampling, n_vocab, r->tokens + n_ids);
    kl_loop_guard_init(&r->loop_guard, n_symbols > 0 ? r->tokens + n_tokens : NULL);

    status = kl_stop_init(&r->stops, o->stops, o->n_stops, err);
    if (status == KL_OK && kind == KL_REQUEST_EMBEDDING)
        status = kl_embedding_new(o->pooling, o->n_tokens, n_embd, &r->embedding, err);
    if (status == KL_OK)
        status = reserve_pending(&r->pending, err);
    if (status == KL_OK)
        status = kl_ring_init(&r->ring, KL_EVENT_RING_SIZE, err);
    if (status != KL_OK) {
        destroy(r);
        return status;
    }
    *out = r;
    return KL_OK;
}

size_t kl_request_bytes(size_t ctx_size, size_t n_embd)
{
    /* tokens, symbols of the loop guard, and a prediction */
    size_t ids = 3 * ctx_size * sizeof(int32_t);
    size_t biases = (KL_MAX_BIASES + KL_MAX_ENDS) * sizeof(struct kl_logit);
    return sizeof(struct kl_request) + ids + biases + kl_embedding_bytes(n_embd) + KL_PENDING_SIZE +
           KL_EVENT_RING_SIZE;
}

void kl_request_disown(struct kl_request *r)
{
    if (atomic_fetch_sub(&r->owners, 1) == 1)
        destroy(r);
}

void kl_request_finish(struct kl_request *r, enum kl_finish finish, const struct kl_error *why,
                       uint64_t now_ns)
{
    kl_request_send_done(r, finish, why, now_ns);
    atomic_store(&r->waits, false);
    atomic_store(&r->finished, true);
    kl_request_disown(r);
}
