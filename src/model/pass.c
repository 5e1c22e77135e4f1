/*
 * One run of the model over a batch: kl_forward_run, at the end, is the whole of it.
 */
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/head.h"
#include "model/operations.h"

enum { ITEM_ROWS = KL_BLOCK }; /* of a product: see operations.c */

/* ---- buffers --------------------------------------------------------------------------------- */

/* The list of buffers is walked twice: first to add up the sizes, then to assign addresses. */
struct layout {
    uint8_t *base;
    size_t used;
};

static void *place(struct layout *l, size_t bytes)
{
    void *p = l->base != NULL ? l->base + l->used : NULL;
    l->used += (bytes + 63) & ~(size_t)63;
    return p;
}

static void place_activations(struct layout *l, struct kl_activations *a, size_t rows, size_t k)
{
    a->k = k;
    a->blocks = place(l, rows * (k / KL_BLOCK) * sizeof *a->blocks);
}

static size_t max_of(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* The largest need of one worker: two products of an item, or the K and V of a KV head for all
 * rows, or a row of embeddings, normed or packed, or the results of attention for a run of rows. */
static size_t worker_scratch(const struct kl_config *c, size_t rows)
{
    size_t item = 2 * rows * max_of(ITEM_ROWS, c->head_dim) * sizeof(float);
    size_t queries = KL_ATTEND_ROWS * (c->n_heads / c->n_kv_heads);
    size_t run = queries * c->head_dim * sizeof(float) + KL_ATTEND_SCRATCH(c->head_dim, queries);
    size_t row = c->n_embd * sizeof(float);
    size_t bytes = KL_MATMUL_SCRATCH + max_of(item, max_of(row, run));
    return (bytes + 63) & ~(size_t)63;
}

/* Sized for the longest context, but only touched up to the length of a conversation. */
static void place_attention(struct kl_forward *f, struct layout *l, size_t n_threads)
{
    const struct kl_config *c = &f->model->config;
    size_t half = c->head_dim / 2, pages = kl_context_pages(c);
    if (f->model->kv_type == KL_KV_INT8) {
        f->page_cosine = place(l, pages * half * sizeof *f->page_cosine);
        f->page_sine = place(l, pages * half * sizeof *f->page_sine);
        f->offset_cosine = place(l, half * KL_KV_PAGE_TOKENS * sizeof *f->offset_cosine);
        f->offset_sine = place(l, half * KL_KV_PAGE_TOKENS * sizeof *f->offset_sine);
        f->no_bias = place(l, c->head_dim * sizeof *f->no_bias);
    }
    if (f->model->plain_attention) {
        size_t queries = KL_ATTEND_ROWS * (c->n_heads / c->n_kv_heads);
        f->scores_size = queries * pages * KL_KV_PAGE_TOKENS;
        f->scores = place(l, n_threads * f->scores_size * sizeof *f->scores);
    }
}

static void place_all(struct kl_forward *f, struct layout *l, size_t n_threads)
{
    const struct kl_config *c = &f->model->config;
    size_t rows = f->max_rows, q_width = c->n_heads * c->head_dim;
    f->x = place(l, rows * c->n_embd * sizeof *f->x);
    place_activations(l, &f->normed, rows, c->n_embd);
    f->q = place(l, rows * q_width * sizeof *f->q);
    place_activations(l, &f->attended, rows, q_width);
    place_activations(l, &f->gated, rows, c->n_ff);
    f->cosine = place(l, rows * c->head_dim / 2 * sizeof *f->cosine);
    f->sine = place(l, rows * c->head_dim / 2 * sizeof *f->sine);
    f->frequencies = place(l, c->head_dim / 2 * sizeof *f->frequencies);
    f->positions = place(l, rows * sizeof *f->positions);
    f->runs = place(l, rows * sizeof *f->runs);
    f->places = place(l, rows * sizeof *f->places);
    f->rows = place(l, rows * sizeof *f->rows);
    f->output_rows = place(l, rows * sizeof *f->output_rows);
    place_attention(f, l, n_threads);
    f->scratch_size = worker_scratch(c, rows);
    f->scratch = place(l, n_threads * f->scratch_size);
}

/* Angles in double: a float's product of position and frequency is off by 1e-3 at 16k tokens. */
static void set_angle(const struct kl_forward *f, size_t position, size_t i, float *cosine,
                      float *sine)
{
    double angle = (double)position * f->frequencies[i];
    *cosine = (float)cos(angle);
    *sine = (float)sin(angle);
}

enum kl_status kl_forward_open_on(const struct kl_model *model, size_t max_rows,
                                  struct kl_pool *pool, struct kl_forward **out,
                                  struct kl_error *err)
{
    *out = NULL;
    const size_t n_threads = kl_pool_threads(pool);
    if (max_rows == 0 || max_rows > 65536)
        return kl_fail(err, KL_ERR_INVALID, "rows in a batch: expected 1 to 65536, found %zu",
                       max_rows);
    struct kl_forward *f = calloc(1, sizeof *f);
    if (f == NULL)
        return kl_fail_memory(err, "a forward pass", sizeof *f);
    f->model = model;
    f->pool = pool;
    f->threads = (struct kl_threads){n_threads, n_threads};
    f->max_rows = max_rows;
    struct layout l = {0};
    place_all(f, &l, n_threads);
    f->bytes = l.used;
    f->memory = aligned_alloc(64, f->bytes);
    if (f->memory == NULL) {
        kl_fail_memory(err, "the buffers of a forward pass", f->bytes);
        kl_forward_close(f);
        return KL_ERR_MEMORY;
    }
    l = (struct layout){.base = f->memory};
    place_all(f, &l, n_threads);
    enum kl_status status = kl_head_open(model, n_threads, &f->head, err);
    if (status != KL_OK) {
        kl_forward_close(f);
        return status;
    }
    const struct kl_config *c = &model->config;
    for (size_t i = 0; i < c->head_dim / 2; i++)
        f->frequencies[i] = pow(c->rope_base, -2.0 * (double)i / (double)c->head_dim) /
                            (model->rope_factors != NULL ? (double)model->rope_factors[i] : 1.0);
    if (model->kv_type == KL_KV_INT8) {
        for (size_t i = 0; i < c->head_dim / 2 * KL_KV_PAGE_TOKENS; i++)
            set_angle(f, i % KL_KV_PAGE_TOKENS, i / KL_KV_PAGE_TOKENS, &f->offset_cosine[i],
                      &f->offset_sine[i]);
        memset(f->no_bias, 0, c->head_dim * sizeof *f->no_bias);
    }
    *out = f;
    return KL_OK;
}

enum kl_status kl_forward_open(const struct kl_model *model, size_t max_rows, size_t n_threads,
                               struct kl_forward **out, struct kl_error *err)
{
    struct kl_pool *pool;
    *out = NULL;
    enum kl_status status = kl_pool_open(n_threads, &pool, err);
    if (status != KL_OK)
        return status;
    status = kl_forward_open_on(model, max_rows, pool, out, err);
    if (status == KL_OK)
        (*out)->owns_pool = true;
    else
        kl_pool_close(pool);
    return status;
}

void kl_forward_close(struct kl_forward *f)
{
    if (f == NULL)
        return;
    if (f->owns_pool)
        kl_pool_close(f->pool);
    kl_head_release(&f->head);
    free(f->memory);
    free(f);
}

void kl_forward_set_threads(struct kl_forward *f, struct kl_threads threads)
{
    assert(threads.decode <= kl_pool_threads(f->pool) &&
           threads.prefill <= kl_pool_threads(f->pool));
    f->threads = threads;
}

void kl_forward_profile(struct kl_forward *f, struct kl_profile *profile)
{
    f->profile = profile;
}

size_t kl_forward_bytes(const struct kl_forward *f)
{
    return f->bytes + f->head.bytes;
}

/* ---- the pass -------------------------------------------------------------------------------- */

/* The row of the table is read from its file: mapped, it would cost a fault and stay resident. If
 * that fails the mapping is read, whose fault reports a file that was truncated. */
static void embed_item(void *context, size_t row, size_t worker)
{
    struct kl_forward *f = context;
    const struct kl_mapped_file *file = f->model->embedding_file;
    const struct kl_gguf_tensor *t = f->model->embedding;
    size_t n_embd = f->model->config.n_embd, n_blocks = n_embd / t->type->block_elements;
    size_t bytes = n_blocks * t->type->block_bytes;
    const uint8_t *mapped = t->data + (size_t)f->rows[row].token * bytes;
    uint8_t *packed = kl_forward_scratch(f, worker);
    if (file == NULL || !kl_mapped_file_read(file, (size_t)(mapped - file->data), bytes, packed))
        memcpy(packed, mapped, bytes);
    t->type->dequantize(packed, n_blocks, f->x + row * n_embd);
}

static void rope_item(void *context, size_t row, size_t worker)
{
    (void)worker;
    struct kl_forward *f = context;
    size_t half = f->model->config.head_dim / 2;
    for (size_t i = 0; i < half; i++)
        set_angle(f, f->positions[row], i, &f->cosine[row * half + i], &f->sine[row * half + i]);
}

/* Lists the rows with logits or candidates, the screened ones first. */
static size_t list_output_rows(struct kl_forward *f)
{
    size_t n = 0;
    for (size_t row = 0; row < f->n_rows; row++)
        if (kl_head_can_screen(f->model, &f->rows[row]))
            f->output_rows[n++] = row;
    f->n_screened = n;
    for (size_t row = 0; row < f->n_rows; row++) {
        const struct kl_row *r = &f->rows[row];
        if ((r->logits != NULL || r->candidates != NULL) && !kl_head_can_screen(f->model, r))
            f->output_rows[n++] = row;
    }
    return n;
}

/* The last norm and the output head, for the rows with outputs. */
static void run_output(struct kl_forward *f)
{
    size_t n = list_output_rows(f);
    if (n == 0 || f->stopped)
        return;
    kl_op_norm_rows(f, f->model->output_norm, f->output_rows, n);
    kl_head_run(f);
}

static enum kl_status begin_rows(struct kl_forward *f, struct kl_error *err)
{
    const struct kl_config *c = &f->model->config;
    for (size_t i = 0; i < f->n_rows; i++)
        f->rows[i].sequence->pending = 0;
    for (size_t i = 0; i < f->n_rows; i++) {
        struct kl_sequence *s = f->rows[i].sequence;
        int32_t token = f->rows[i].token;
        if (token < 0 || (size_t)token >= c->n_vocab)
            return kl_fail(err, KL_ERR_INVALID, "token %d: expected 0 to %zu", token,
                           c->n_vocab - 1);
        f->places[i] = i;
        f->positions[i] = s->length + s->pending++;
        assert(f->positions[i] < s->n_pages * KL_KV_PAGE_TOKENS);
        if (f->positions[i] >= c->n_ctx_train)
            return kl_fail(err, KL_ERR_LIMIT,
                           "position %zu: this model was made for %zu tokens, expected less",
                           f->positions[i], c->n_ctx_train);
    }
    return KL_OK;
}

/* Computes the angles of pages that the batch reaches for the first time. */
static void extend_page_angles(struct kl_forward *f)
{
    size_t half = f->model->config.head_dim / 2;
    for (size_t row = 0; row < f->n_rows; row++) {
        for (; f->n_pages <= f->positions[row] / KL_KV_PAGE_TOKENS; f->n_pages++) {
            for (size_t i = 0; i < half; i++)
                set_angle(f, f->n_pages * KL_KV_PAGE_TOKENS, i,
                          &f->page_cosine[f->n_pages * half + i],
                          &f->page_sine[f->n_pages * half + i]);
        }
    }
}

enum kl_status kl_forward_run(struct kl_forward *f, const struct kl_row *rows, size_t n_rows,
                              bool (*stop)(void *context), void *context, struct kl_error *err)
{
    const struct kl_model *model = f->model;
    assert(n_rows > 0 && n_rows <= f->max_rows);
    memcpy(f->rows, rows, n_rows * sizeof *rows);
    f->n_rows = n_rows;
    f->stop = stop;
    f->stop_context = context;
    f->stopped = false;
    enum kl_status status = begin_rows(f, err);
    if (status != KL_OK)
        return status;
    kl_pool_set_active(f->pool, n_rows == 1 ? f->threads.decode : f->threads.prefill);

    if (model->kv_type == KL_KV_INT8)
        extend_page_angles(f);
    kl_forward_parallel(f, KL_STEP_EMBED, n_rows, embed_item, f);
    kl_forward_parallel(f, KL_STEP_EMBED, n_rows, rope_item, f);
    for (size_t i = 0; i < model->config.n_layers; i++)
        model->architecture->run_layer(f, &model->layers[i], i);
    run_output(f);
    if (f->stopped)
        return kl_fail(err, KL_ERR_CANCELLED, "the forward pass was given up");
    for (size_t i = 0; i < n_rows; i++) {
        rows[i].sequence->length += rows[i].sequence->pending;
        rows[i].sequence->pending = 0;
    }
    return KL_OK;
}

void kl_forward_hidden(const struct kl_forward *f, size_t row, float *out)
{
    const struct kl_config *c = &f->model->config;
    assert(row < f->max_rows);
    size_t place = f->places[row];
    assert(place < f->n_rows && f->rows[place].hidden && !f->stopped);
    f->model->kernels->rmsnorm(f->x + place * c->n_embd, f->model->output_norm, c->n_embd,
                               c->rms_eps, out);
}
