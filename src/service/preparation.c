#include "service/preparation.h"

#include <stdlib.h>
#include <string.h>

#include "http/http_message.h"
#include "service/service.h"
#include "json/json_limits.h"

/* The most memory that preparing takes. The text exists as JSON strings, rendered, normalised, and
 * in the encoder; one long word takes 16 bytes more for each of its bytes while it is merged
 * (bpe.h). Tokens are stored three times. A JSON object counts as two nodes and takes 256 bytes. */
#define BYTES_PER_BYTE  21
#define BYTES_PER_TOKEN 12
#define BYTES_PER_NODE  128
/* The limit of one request: the longest body; it leaves memory for small ones next to it. */
#define MOST_BYTES (KL_HTTP_MAX_BODY * BYTES_PER_BYTE)

static size_t less(size_t effort, size_t used)
{
    return effort > used ? effort - used : 0;
}

/* ---- on the worker's thread ------------------------------------------------------------------ */

static void drop(struct kl_preparation *p)
{
    kl_context_fit_release(&p->fit);
    kl_tokens_release(&p->prediction);
    kl_generation_request_release(&p->request);
}

/* Reads the fields, and compiles the rule that the answer is to follow. */
static enum kl_status parse(struct kl_preparation *p)
{
    struct kl_generation_request *r = &p->request;
    kl_generation_request_release(r);
    *r = p->of_headers;
    r->rules = p->served.rules;
    enum kl_status status = p->dialect->parse(p->text, p->len, p->is_query, r, &p->error);
    struct kl_error err;
    if (status == KL_OK && r->rule != NULL && r->rules != NULL &&
        kl_rule_cache_trie(r->rules, &r->trie, &err) != KL_OK)
        status = kl_api_fail_internal(&p->error, &err);
    return status;
}

/* A request that waits for the model is parsed again: it keeps nothing of this. */
static enum kl_status wait_for_model(struct kl_preparation *p)
{
    kl_rule_disown(p->request.rule);
    p->request.rule = NULL;
    return kl_generation_request_settle(&p->request, &p->error);
}

/* Encodes the prediction of a request, or as much of it as takes a slice. */
static enum kl_status encode_prediction(struct kl_preparation *p)
{
    const struct kl_generation_request *r = &p->request;
    struct kl_span span = {.text = r->prediction, .len = r->prediction_len};
    struct kl_error err;
    if (span.len > KL_PREPARATION_SLICE)
        span.len = KL_PREPARATION_SLICE;
    enum kl_status status =
        kl_tokenizer_encode(p->served.tokenizer, &span, 1, &p->prediction, &err);
    return status == KL_OK ? KL_OK : kl_api_fail_memory(&p->error, "the prediction");
}

static enum kl_status work(struct kl_preparation *p, size_t *effort)
{
    struct kl_generation_request *r = &p->request;
    enum kl_status status = KL_OK;
    if (!p->parsed) {
        status = parse(p);
        p->parsed = p->served.engine != NULL;
        *effort = less(*effort, p->len);
    }
    if (status == KL_OK && p->served.engine == NULL)
        return wait_for_model(p);
    if (status != KL_OK)
        return status;
    if (!p->fitting) {
        size_t max_tokens = r->max_tokens < p->max_tokens ? r->max_tokens : p->max_tokens;
        size_t most = p->ctx_size < p->max_tokens ? p->ctx_size : p->max_tokens;
        status = kl_generation_request_resolve(r, p->served.tokenizer, most, &p->error);
        if (status != KL_OK)
            return status;
        status =
            kl_context_fit_begin(&p->fit, &r->input, &p->served, p->ctx_size, r->context_policy,
                                 kl_context_room(p->ctx_size, max_tokens), &p->error);
        p->fitting = true;
    }
    if (status == KL_OK)
        status = kl_context_fit_step(&p->fit, effort, &p->complete, &p->error);
    if (status == KL_OK && p->complete && r->prediction != NULL)
        status = encode_prediction(p);
    return status == KL_OK && p->complete ? kl_generation_request_settle(r, &p->error) : status;
}

static bool run_slice(struct kl_job *job)
{
    struct kl_preparation *p = kl_preparation_of(job);
    size_t effort = KL_PREPARATION_SLICE;
    bool cancelled = atomic_load(&job->cancelled);
    if (!cancelled)
        p->status = work(p, &effort);
    if (cancelled || p->status != KL_OK)
        drop(p);
    return cancelled || p->status != KL_OK || p->complete || p->served.engine == NULL;
}

/* ---- on the loop's thread -------------------------------------------------------------------- */

/* Refers to the body in place; copies a query, since the head is freed with its connection. */
static enum kl_status take_text(struct kl_preparation *p, struct kl_exchange *x,
                                struct kl_api_error *error)
{
    p->is_query = x->head->method == KL_HTTP_GET;
    kl_buffer_init(&p->own, KL_HTTP_MAX_BODY);
    if (!p->is_query) {
        p->text = kl_request_body(x, &p->len);
        return KL_OK;
    }
    if (kl_buffer_append_string(&p->own, x->query != NULL ? x->query : "") != KL_OK)
        return kl_api_fail_memory(error, "the request");
    p->text = p->own.data;
    p->len = p->own.len;
    return KL_OK;
}

struct kl_preparation *kl_preparation_new(struct kl_exchange *x, const struct kl_dialect *dialect,
                                          void (*done)(struct kl_job *job),
                                          struct kl_api_error *error)
{
    struct kl_preparation *p = calloc(1, sizeof *p);
    if (p == NULL) {
        kl_api_fail_memory(error, "the request");
        return NULL;
    }
    p->job.slice = run_slice;
    p->job.done = done;
    p->job.owner.words[0] = x->cache_scope;
    memcpy(&p->job.owner.words[1], kl_request_peer(x), sizeof(struct in6_addr));
    p->dialect = dialect;
    const struct kl_service_options *o = &kl_service_of(x)->options;
    kl_generation_request_init(&p->of_headers, o->context_policy, o->loop_guard);
    bool ok =
        dialect->read_headers(x, &p->of_headers, error) == KL_OK && take_text(p, x, error) == KL_OK;
    p->request = p->of_headers;
    if (ok)
        return p;
    kl_preparation_free(p);
    return NULL;
}

void kl_preparation_free(struct kl_preparation *p)
{
    if (p == NULL)
        return;
    drop(p);
    kl_buffer_release(&p->own);
    free(p);
}

void kl_preparation_submit(struct kl_preparation *p, struct kl_service *s)
{
    struct kl_engine_stats stats = {0};
    size_t nodes = p->len / 2 < KL_JSON_MAX_NODES ? p->len / 2 : KL_JSON_MAX_NODES;
    p->served = s->served;
    if (p->served.engine != NULL)
        kl_engine_stats(p->served.engine, &stats);
    p->ctx_size = stats.ctx_size;
    p->max_tokens = s->options.max_tokens != 0 ? s->options.max_tokens : SIZE_MAX;
    p->job.bytes = p->len * BYTES_PER_BYTE + nodes * BYTES_PER_NODE + p->ctx_size * BYTES_PER_TOKEN;
    if (p->job.bytes > MOST_BYTES)
        p->job.bytes = MOST_BYTES;
    p->on_worker = true;
    kl_worker_submit(s->worker, &p->job);
}

void kl_preparation_abandon(struct kl_preparation *p, struct kl_exchange *x)
{
    if (!p->on_worker) {
        kl_preparation_free(p);
        return;
    }
    p->generation = NULL;
    if (!p->is_query)
        kl_request_take_body(x, &p->own); /* the worker may be reading it */
    kl_worker_cancel(kl_service_of(x)->worker, &p->job);
}
