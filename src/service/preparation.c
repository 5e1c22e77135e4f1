#include "service/preparation.h"

#include <stdlib.h>
#include <string.h>

#include "http/http_message.h"
#include "service/embedding_work.h"
#include "service/late_lines.h"
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
    kl_raw_encoding_release(&p->raw);
    kl_buffer_release(&p->computed);
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
    r->chat_template = p->served.chat_template;
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

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* The most tokens of a prompt. A request that is only computed has no answer next to its prompts,
 * and texts to embed may be cut. */
static size_t prompt_limit(const struct kl_preparation *p)
{
    bool any = p->request.compute != NULL || p->request.embedding.format != NULL;
    return any ? SIZE_MAX / 2 : p->ctx_size;
}

/* Begins to encode the prompts of a request whose fields are known. */
static enum kl_status begin_prompts(struct kl_preparation *p)
{
    struct kl_generation_request *r = &p->request;
    size_t room = kl_context_room(p->ctx_size, least(r->max_tokens, p->max_tokens));
    if (r->raw.n_prompts > 0)
        return kl_raw_encoding_begin(&p->raw, &r->raw, p->served.tokenizer, prompt_limit(p), room,
                                     &p->error);
    if (r->input.n_messages == 0)
        return KL_OK;
    if (p->late_lines != NULL &&
        !kl_chat_template_has(p->served.chat_template, KL_CHAT_ONE_SYSTEM) &&
        kl_late_lines_move(p->late_lines, &r->input, &p->n_late_lines, &p->error) != KL_OK)
        return KL_ERR_INVALID;
    return kl_context_fit_begin(&p->fit, &r->input, &p->served, prompt_limit(p), r->context_policy,
                                room, &p->error);
}

static enum kl_status encode_prompts(struct kl_preparation *p, size_t *effort)
{
    const struct kl_generation_request *r = &p->request;
    if (r->raw.n_prompts > 0)
        return kl_raw_encoding_step(&p->raw, effort, &p->complete, &p->error);
    if (r->input.n_messages > 0)
        return kl_context_fit_step(&p->fit, effort, &p->complete, &p->error);
    p->complete = true;
    return KL_OK;
}

/* Makes the document of a request that needs no answer of the model, or what its format keeps. */
static enum kl_status compute(struct kl_preparation *p)
{
    struct kl_generation_request *r = &p->request;
    struct kl_computation c = {.request = r,
                               .served = &p->served,
                               .ctx_size = p->ctx_size,
                               .max_tokens = least(r->max_tokens, p->max_tokens)};
    c.prompts = kl_preparation_prompts(p, &c.n_prompts);
    if (r->compute != NULL)
        return r->compute(&c, &p->computed, &p->error);
    if (r->describe == NULL)
        return KL_OK;
    struct kl_buffer kept;
    kl_buffer_init(&kept, KL_PREPARATION_MAX_COMPUTED);
    enum kl_status status = r->describe(&c, &kept, &p->error);
    free(r->kept);
    r->kept = kept.data;
    return status;
}

/* Whether the model that the request means is the one it is prepared for, and is open if need be.
 */
static bool is_ready(const struct kl_preparation *p)
{
    bool suffices = p->host != NULL && p->request.closed_suffices;
    return (p->served.engine != NULL || suffices) && p->wanted == p->number;
}

/* Refuses to have answers made by a model that is for embeddings only, before it is opened for
 * them.
 */
static enum kl_status check_use(const struct kl_preparation *p, struct kl_api_error *error)
{
    const struct kl_generation_request *r = &p->request;
    const struct kl_served *served =
        p->host != NULL ? &p->host->models[p->wanted].served : &p->served;
    if (served->facts == NULL || !served->facts->only_embeds || r->compute != NULL ||
        r->embedding.format != NULL)
        return KL_OK;
    return kl_api_fail(error, 400, "model_only_embeds", "model",
                       "\"%.100s\" does not support %s: its file is for embeddings and has no chat "
                       "template; name another model, or ask this one for embeddings",
                       served->model_name, r->raw.n_prompts > 0 ? "completions" : "chat");
}

static enum kl_status work(struct kl_preparation *p, size_t *effort)
{
    struct kl_generation_request *r = &p->request;
    enum kl_status status = KL_OK;
    if (!p->parsed) {
        status = parse(p);
        p->wanted =
            status == KL_OK && p->host != NULL ? kl_host_find(p->host, r->model, NULL) : p->number;
        if (status == KL_OK)
            status = check_use(p, &p->error);
        p->parsed = is_ready(p);
        *effort = less(*effort, p->len);
    }
    if (status == KL_OK && !is_ready(p))
        return wait_for_model(p);
    if (status != KL_OK)
        return status;
    if (!p->encoding) {
        size_t most = least(p->ctx_size, p->max_tokens);
        if (p->served.tokenizer != NULL) /* otherwise there is nothing that needs it */
            status = kl_generation_request_resolve(r, p->served.tokenizer, most, &p->error);
        if (status == KL_OK)
            status = begin_prompts(p);
        p->encoding = true;
    }
    if (status == KL_OK)
        status = encode_prompts(p, effort);
    if (status == KL_OK && p->complete)
        status = compute(p);
    if (status == KL_OK && p->complete && r->embedding.format != NULL)
        status = kl_embedding_work_fit(r, p->served.tokenizer, p->ctx_size, p->raw.prompts,
                                       p->raw.n_prompts, &p->error);
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
    return cancelled || p->status != KL_OK || p->complete || !is_ready(p);
}

/* ---- on the loop's thread -------------------------------------------------------------------- */

/* Refers to the body in place; copies a query, since the head is freed with its connection. */
static enum kl_status take_text(struct kl_preparation *p, struct kl_exchange *x,
                                struct kl_api_error *error)
{
    p->is_query = x->head->method == KL_HTTP_GET;
    kl_buffer_init(&p->own, KL_HTTP_MAX_BODY);
    kl_buffer_init(&p->computed, KL_PREPARATION_MAX_COMPUTED);
    if (!p->is_query) {
        p->text = kl_request_body(x, &p->len);
        return KL_OK;
    }
    if (kl_buffer_append_string(&p->own, x->query != NULL ? x->query : "") != KL_OK)
        return kl_api_fail_memory(error, "the request");
    p->text = p->own.data;
    p->len = p->own.len;
    p->owns_text = true;
    return KL_OK;
}

void kl_preparation_take_body(struct kl_preparation *p, struct kl_exchange *x)
{
    if (p->owns_text)
        return;
    kl_request_take_body(x, &p->own);
    p->owns_text = true;
}

void kl_preparation_drop_body(struct kl_preparation *p, struct kl_exchange *x)
{
    if (!p->owns_text)
        kl_request_take_body(x, &p->own);
    kl_buffer_release(&p->own);
    p->owns_text = true;
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
    if (o->has_seed)
        p->of_headers.sampling.seed = o->seed;
    bool ok =
        dialect->read_headers(x, &p->of_headers, error) == KL_OK && take_text(p, x, error) == KL_OK;
    p->request = p->of_headers;
    if (ok)
        return p;
    kl_preparation_free(p);
    return NULL;
}

const struct kl_tokens *kl_preparation_prompts(const struct kl_preparation *p, size_t *n)
{
    bool raw = p->raw.n_prompts > 0;
    *n = raw ? p->raw.n_prompts : p->fit.encoder.n_tokens > 0 ? 1 : 0;
    return raw ? p->raw.prompts : &p->fit.tokens;
}

void kl_preparation_free(struct kl_preparation *p)
{
    if (p == NULL)
        return;
    drop(p);
    kl_buffer_release(&p->own);
    free(p);
}

void kl_preparation_submit(struct kl_preparation *p, struct kl_service *s, struct kl_hosted *m)
{
    struct kl_engine_stats stats = {0};
    size_t len = p->len + p->of_headers.kept_bytes;
    size_t nodes = least(len / 2, KL_JSON_MAX_NODES);
    p->host = s->host.n > 1 ? &s->host : NULL;
    p->model = m;
    p->number = p->wanted = (size_t)(m - s->host.models);
    p->served = m->served;
    kl_host_use(m);
    if (kl_hosted_is_open(m) || p->host != NULL)
        kl_hosted_stats(m, &stats);
    p->ctx_size = stats.ctx_size;
    p->late_lines = s->late_lines;
    p->max_tokens = s->options.max_tokens != 0 ? s->options.max_tokens : SIZE_MAX;
    p->job.bytes = len * BYTES_PER_BYTE + nodes * BYTES_PER_NODE + p->ctx_size * BYTES_PER_TOKEN;
    if (p->late_lines != NULL)
        p->job.bytes += 2 * least(len, KL_LATE_MAX_TEXT);
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
    kl_preparation_take_body(p, x); /* the worker may be reading it */
    kl_worker_cancel(kl_service_of(x)->worker, &p->job);
}
