#include "model/forward.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/head.h"

/* Groups of rows (8 each) in one item of a product: 32 rows are one block of activations, so a
 * part of the feed-forward can be quantised by whoever computed it. Of the 0.5B model an item
 * reads 20 KB (width 896) or 107 KB (4864): 2 to 8 microseconds for one token. */
enum { ITEM_GROUPS = KL_BLOCK / KL_LANES, ITEM_ROWS = KL_BLOCK };

/* ---- memory ------------------------------------------------------------------------------------
 */

/* Two passes over the same list: the first adds sizes up, the second hands places out. */
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
    a->q = place(l, rows * k);
    a->scale = place(l, rows * (k / KL_BLOCK) * sizeof *a->scale);
    a->sum = place(l, rows * (k / 16) * sizeof *a->sum);
}

static size_t max_of(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* What one worker needs at most: two products of an item side by side, or the K and V of a KV head
 * for all rows, or one row's normed vector, or what attention makes of a run of rows. */
static size_t worker_scratch(const struct kl_config *c, size_t rows)
{
    size_t item = 2 * rows * max_of(ITEM_ROWS, c->head_dim) * sizeof(float);
    size_t queries = KL_ATTEND_ROWS * (c->n_heads / c->n_kv_heads);
    size_t run = queries * c->head_dim * sizeof(float) + KL_ATTEND_SCRATCH(c->head_dim, queries);
    size_t row = c->n_embd * sizeof(float);
    size_t bytes = KL_MATMUL_SCRATCH + max_of(item, max_of(row, run));
    return (bytes + 63) & ~(size_t)63;
}

static size_t n_context_pages(const struct kl_config *c)
{
    return (c->n_ctx_train + KL_KV_PAGE_TOKENS - 1) / KL_KV_PAGE_TOKENS;
}

/* Sized for the longest context, but touched only as far as a conversation goes. */
static void place_attention(struct kl_forward *f, struct layout *l, size_t n_threads)
{
    const struct kl_config *c = &f->model->config;
    size_t half = c->head_dim / 2, pages = n_context_pages(c);
    if (f->model->kv_type == KL_KV_INT8) {
        f->page_cosine = place(l, pages * half * sizeof *f->page_cosine);
        f->page_sine = place(l, pages * half * sizeof *f->page_sine);
        f->slot_cosine = place(l, half * KL_KV_PAGE_TOKENS * sizeof *f->slot_cosine);
        f->slot_sine = place(l, half * KL_KV_PAGE_TOKENS * sizeof *f->slot_sine);
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

enum kl_status kl_forward_open(const struct kl_model *model, size_t max_rows, size_t n_threads,
                               struct kl_forward **out, struct kl_error *err)
{
    *out = NULL;
    if (max_rows == 0 || max_rows > 65536)
        return kl_fail(err, KL_ERR_INVALID, "rows in a batch: expected 1 to 65536, found %zu",
                       max_rows);
    struct kl_forward *f = calloc(1, sizeof *f);
    if (f == NULL)
        return kl_fail_memory(err, "a forward pass", sizeof *f);
    f->model = model;
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
    enum kl_status status = kl_pool_open(n_threads, &f->pool, err);
    if (status == KL_OK)
        status = kl_head_open(model, n_threads, &f->head, err);
    if (status != KL_OK) {
        kl_forward_close(f);
        return status;
    }
    const struct kl_config *c = &model->config;
    for (size_t i = 0; i < c->head_dim / 2; i++)
        f->frequencies[i] = pow(c->rope_base, -2.0 * (double)i / (double)c->head_dim);
    if (model->kv_type == KL_KV_INT8) {
        for (size_t i = 0; i < c->head_dim / 2 * KL_KV_PAGE_TOKENS; i++)
            set_angle(f, i % KL_KV_PAGE_TOKENS, i / KL_KV_PAGE_TOKENS, &f->slot_cosine[i],
                      &f->slot_sine[i]);
        memset(f->no_bias, 0, c->head_dim * sizeof *f->no_bias);
    }
    *out = f;
    return KL_OK;
}

void kl_forward_close(struct kl_forward *f)
{
    if (f == NULL)
        return;
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

size_t kl_forward_bytes(const struct kl_forward *f)
{
    return f->bytes + f->head.bytes;
}

void *kl_forward_scratch(struct kl_forward *f, size_t worker)
{
    return f->scratch + worker * f->scratch_size;
}

float *kl_forward_result(struct kl_forward *f, size_t worker)
{
    return (float *)(void *)(f->scratch + worker * f->scratch_size + KL_MATMUL_SCRATCH);
}

/* ---- steps -------------------------------------------------------------------------------------
 */

void kl_forward_parallel(struct kl_forward *f, size_t n_items, kl_pool_fn *fn, void *context)
{
    if (!f->stopped && f->stop != NULL && f->stop(f->stop_context))
        f->stopped = true;
    if (!f->stopped)
        kl_pool_run(f->pool, n_items, fn, context);
}

static size_t n_items_of(const struct kl_matrix *m)
{
    return (m->n_groups + ITEM_GROUPS - 1) / ITEM_GROUPS;
}

/* Product of the rows of one item with `in`: y[t * ITEM_ROWS + row]. */
static void item_product(struct kl_forward *f, const struct kl_matrix *m, size_t item,
                         const struct kl_activations *in, float *y, size_t worker)
{
    size_t begin = item * ITEM_GROUPS, end = begin + ITEM_GROUPS;
    if (end > m->n_groups)
        end = m->n_groups;
    f->model->kernels->matmul[m->type](m->data, begin, end, in, y, ITEM_ROWS,
                                       kl_forward_scratch(f, worker));
}

static void quantize_part(const struct kl_kernels *kernels, const float *from, size_t n,
                          const struct kl_activations *to, size_t row, size_t at)
{
    kernels->quantize(from, n, to->q + row * to->k + at, to->scale + (row * to->k + at) / KL_BLOCK,
                      to->sum + (row * to->k + at) / 16);
}

struct norm_job {
    struct kl_forward *f;
    const float *weight;
    const size_t *rows; /* NULL: all of the batch */
};

static void norm_item(void *context, size_t item, size_t worker)
{
    struct norm_job *job = context;
    struct kl_forward *f = job->f;
    const struct kl_config *c = &f->model->config;
    float *normed = kl_forward_result(f, worker);
    size_t row = job->rows != NULL ? job->rows[item] : item;
    f->model->kernels->rmsnorm(f->x + row * c->n_embd, job->weight, c->n_embd, c->rms_eps, normed);
    quantize_part(f->model->kernels, normed, c->n_embd, &f->normed, item, 0);
}

void kl_op_norm(struct kl_forward *f, const float *weight)
{
    struct norm_job job = {f, weight, NULL};
    f->normed.n = f->n_rows;
    kl_forward_parallel(f, f->n_rows, norm_item, &job);
}

struct qkv_job {
    struct kl_forward *f;
    const struct kl_layer *l;
    size_t layer;
};

/* Rows of one head of a matrix, for all tokens; bias added, where there is one. */
static void head_product(struct kl_forward *f, const struct kl_matrix *m, const float *bias,
                         size_t head, float *y, size_t y_stride, size_t worker)
{
    size_t dim = f->model->config.head_dim, groups = dim / KL_LANES;
    f->model->kernels->matmul[m->type](m->data, head * groups, (head + 1) * groups, &f->normed, y,
                                       y_stride, kl_forward_scratch(f, worker));
    if (bias == NULL)
        return;
    for (size_t t = 0; t < f->n_rows; t++)
        for (size_t d = 0; d < dim; d++)
            y[t * y_stride + d] += bias[head * dim + d];
}

/* A query or a key of a head: its norm, where there is one, and RoPE. */
static void norm_and_rotate(const struct kl_forward *f, const float *norm, float *y, size_t row)
{
    size_t dim = f->model->config.head_dim;
    if (norm != NULL)
        f->model->kernels->rmsnorm(y, norm, dim, f->model->config.rms_eps, y);
    f->model->kernels->rope(y, f->cosine + row * dim / 2, f->sine + row * dim / 2, dim);
}

/* Where the queries of (row, KV head) are: those of rows that follow each other are, too. */
static float *queries_of(const struct kl_forward *f, size_t row, size_t kv_head)
{
    const struct kl_config *c = &f->model->config;
    return f->q + (kv_head * f->max_rows + row) * (c->n_heads / c->n_kv_heads) * c->head_dim;
}

/* An item is one query head, or one KV head with both its k and its v. */
static void qkv_item(void *context, size_t item, size_t worker)
{
    struct qkv_job *job = context;
    struct kl_forward *f = job->f;
    const struct kl_config *c = &f->model->config;
    const struct kl_layer *l = job->l;
    size_t dim = c->head_dim, group = c->n_heads / c->n_kv_heads;
    if (item < c->n_heads) {
        float *y = queries_of(f, 0, item / group) + item % group * dim;
        head_product(f, &l->q, l->q_bias, item, y, group * dim, worker);
        for (size_t t = 0; t < f->n_rows; t++)
            norm_and_rotate(f, l->q_norm, y + t * group * dim, t);
        return;
    }
    size_t head = item - c->n_heads, at = kl_kv_offset(f->model, job->layer, head);
    bool with_bias = f->model->kv_type != KL_KV_INT8; /* which wants them apart */
    float *k = kl_forward_result(f, worker), *v = k + f->n_rows * dim;
    head_product(f, &l->k, with_bias ? l->k_bias : NULL, head, k, dim, worker);
    head_product(f, &l->v, with_bias ? l->v_bias : NULL, head, v, dim, worker);
    for (size_t t = 0; t < f->n_rows; t++) {
        size_t position = f->positions[t];
        uint8_t *page = f->rows[t].sequence->pages[position / KL_KV_PAGE_TOKENS];
        norm_and_rotate(f, l->k_norm, k + t * dim, t);
        f->model->kernels->kv_store[f->model->kv_type](k + t * dim, v + t * dim, dim, page + at,
                                                       position % KL_KV_PAGE_TOKENS);
    }
}

void kl_op_qkv(struct kl_forward *f, const struct kl_layer *l, size_t layer)
{
    const struct kl_config *c = &f->model->config;
    struct qkv_job job = {f, l, layer};
    kl_forward_parallel(f, c->n_heads + c->n_kv_heads, qkv_item, &job);
}

struct attention_job {
    struct kl_forward *f;
    const struct kl_layer *l;
    size_t layer;
};

static const float *bias_of(const struct kl_forward *f, const float *bias, size_t head)
{
    return bias != NULL ? bias + head * f->model->config.head_dim : f->no_bias;
}

/* An item is one KV head of a run of rows, with all its query heads. The last rows of a prompt have
 * the most to do, so they go first. */
static void attention_item(void *context, size_t item, size_t worker)
{
    struct attention_job *job = context;
    struct kl_forward *f = job->f;
    const struct kl_config *c = &f->model->config;
    const struct kl_row_run *run = &f->runs[f->n_runs - 1 - item / c->n_kv_heads];
    size_t head = item % c->n_kv_heads, group = c->n_heads / c->n_kv_heads;
    size_t width = group * c->head_dim;
    float *out = kl_forward_result(f, worker);
    const struct kl_attend_rows attention = {
        .dim = c->head_dim,
        .n_heads = group,
        .n_rows = run->n,
        .n_positions = f->positions[run->first] + 1,
        .score_scale = 1.0f / sqrtf((float)c->head_dim),
        .q = queries_of(f, run->first, head),
        .out = out,
        .pages = (const uint8_t *const *)f->rows[run->first].sequence->pages,
        .at = kl_kv_offset(f->model, job->layer, head),
        .scratch = out + KL_ATTEND_ROWS * width,
        .scores = f->scores != NULL ? f->scores + worker * f->scores_size : NULL,
        .score_stride = n_context_pages(c) * KL_KV_PAGE_TOKENS,
        .k_bias = bias_of(f, job->l->k_bias, head),
        .v_bias = bias_of(f, job->l->v_bias, head),
        .slot_cosine = f->slot_cosine,
        .slot_sine = f->slot_sine,
        .page_cosine = f->page_cosine,
        .page_sine = f->page_sine,
    };
    f->model->kernels->attend[f->model->kv_type](&attention);
    for (size_t i = 0; i < run->n; i++)
        quantize_part(f->model->kernels, out + i * width, width, &f->attended, run->first + i,
                      head * width);
}

void kl_op_attention(struct kl_forward *f, const struct kl_layer *l, size_t layer)
{
    struct attention_job job = {f, l, layer};
    f->attended.n = f->n_rows;
    kl_forward_parallel(f, f->n_runs * f->model->config.n_kv_heads, attention_item, &job);
}

struct product_job {
    struct kl_forward *f;
    const struct kl_matrix *matrix;
    const struct kl_activations *in;
};

static void add_product_item(void *context, size_t item, size_t worker)
{
    struct product_job *job = context;
    struct kl_forward *f = job->f;
    float *y = kl_forward_result(f, worker);
    item_product(f, job->matrix, item, job->in, y, worker);
    size_t first = item * ITEM_ROWS, n_embd = f->model->config.n_embd;
    size_t n = n_embd - first < ITEM_ROWS ? n_embd - first : ITEM_ROWS;
    for (size_t t = 0; t < f->n_rows; t++) {
        float *restrict x = f->x + t * n_embd + first;
        const float *restrict add = y + t * ITEM_ROWS;
        for (size_t r = 0; r < n; r++)
            x[r] += add[r];
    }
}

void kl_op_add_product(struct kl_forward *f, const struct kl_matrix *matrix,
                       const struct kl_activations *in)
{
    struct product_job job = {f, matrix, in};
    kl_forward_parallel(f, n_items_of(matrix), add_product_item, &job);
}

struct gate_up_job {
    struct kl_forward *f;
    const struct kl_layer *l;
};

static void gate_up_item(void *context, size_t item, size_t worker)
{
    struct gate_up_job *job = context;
    struct kl_forward *f = job->f;
    float *gate = kl_forward_result(f, worker), *up = gate + f->n_rows * ITEM_ROWS;
    item_product(f, &job->l->gate, item, &f->normed, gate, worker);
    item_product(f, &job->l->up, item, &f->normed, up, worker);
    f->model->kernels->swiglu(gate, up, f->n_rows * ITEM_ROWS, gate);
    for (size_t t = 0; t < f->n_rows; t++)
        quantize_part(f->model->kernels, gate + t * ITEM_ROWS, ITEM_ROWS, &f->gated, t,
                      item * ITEM_ROWS);
}

void kl_op_gate_up(struct kl_forward *f, const struct kl_layer *l)
{
    struct gate_up_job job = {f, l};
    f->gated.n = f->n_rows;
    kl_forward_parallel(f, n_items_of(&l->gate), gate_up_item, &job);
}

/* ---- the pass ----------------------------------------------------------------------------------
 */

/* The system maps TABLE_BYTES around a row of the table that is looked up, so a long conversation
 * would make all of the table resident. Given back, what is needed again costs a fault of a
 * microsecond. */
enum { TABLE_ROWS = 16, TABLE_BYTES = 64 << 10 };

struct embed_job {
    struct kl_forward *f;
    size_t first;
};

static void embed_item(void *context, size_t item, size_t worker)
{
    (void)worker;
    struct embed_job *job = context;
    struct kl_forward *f = job->f;
    const struct kl_gguf_tensor *t = f->model->embedding;
    size_t n_embd = f->model->config.n_embd, n_blocks = n_embd / t->type->block_elements;
    size_t row = job->first + item, token = (size_t)f->rows[row].token;
    t->type->dequantize(t->data + token * n_blocks * t->type->block_bytes, n_blocks,
                        f->x + row * n_embd);
}

static void embed(struct kl_forward *f)
{
    const struct kl_mapped_file *file = f->model->embedding_file;
    const struct kl_gguf_tensor *t = f->model->embedding;
    for (size_t first = 0; first < f->n_rows; first += TABLE_ROWS) {
        struct embed_job job = {f, first};
        size_t n = f->n_rows - first < TABLE_ROWS ? f->n_rows - first : TABLE_ROWS;
        kl_forward_parallel(f, n, embed_item, &job);
        f->n_looked_up += n;
        if (f->n_looked_up < TABLE_ROWS || file == NULL)
            continue;
        f->n_looked_up = 0;
        kl_mapped_file_dont_need(file, (size_t)(t->data - file->data), t->size);
    }
}

static void rope_item(void *context, size_t row, size_t worker)
{
    (void)worker;
    struct kl_forward *f = context;
    size_t half = f->model->config.head_dim / 2;
    for (size_t i = 0; i < half; i++)
        set_angle(f, f->positions[row], i, &f->cosine[row * half + i], &f->sine[row * half + i]);
}

size_t kl_forward_table_bytes(void)
{
    return (size_t)2 * TABLE_ROWS * TABLE_BYTES;
}

/* Lists the rows that want something of the head, those that are screened first. */
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

/* The last norm and the head, for the rows that want it. */
static void run_output(struct kl_forward *f)
{
    struct norm_job job = {f, f->model->output_norm, f->output_rows};
    size_t n_embd = f->model->config.n_embd;
    for (size_t i = 0; i < f->n_rows; i++)
        if (f->rows[i].hidden != NULL)
            memcpy(f->rows[i].hidden, f->x + i * n_embd, n_embd * sizeof *f->x);
    f->normed.n = list_output_rows(f);
    if (f->normed.n == 0 || f->stopped)
        return;
    kl_forward_parallel(f, f->normed.n, norm_item, &job);
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
        f->positions[i] = s->length + s->pending++;
        assert(f->positions[i] < s->n_pages * KL_KV_PAGE_TOKENS);
        if (f->positions[i] >= c->n_ctx_train)
            return kl_fail(err, KL_ERR_LIMIT,
                           "position %zu: this model was made for %zu tokens, expected less",
                           f->positions[i], c->n_ctx_train);
    }
    return KL_OK;
}

/* Cuts the batch into runs of rows. */
static void find_runs(struct kl_forward *f)
{
    f->n_runs = 0;
    for (size_t i = 0; i < f->n_rows; i++) {
        if (i == 0 || f->rows[i].sequence != f->rows[i - 1].sequence ||
            f->runs[f->n_runs - 1].n == KL_ATTEND_ROWS)
            f->runs[f->n_runs++] = (struct kl_row_run){i, 0};
        f->runs[f->n_runs - 1].n++;
    }
}

/* The angles of the pages that the batch reaches, if they were never needed before. */
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
    f->rows = rows;
    f->n_rows = n_rows;
    f->stop = stop;
    f->stop_context = context;
    f->stopped = false;
    enum kl_status status = begin_rows(f, err);
    if (status != KL_OK)
        return status;
    kl_pool_set_active(f->pool, n_rows == 1 ? f->threads.decode : f->threads.prefill);

    find_runs(f);
    if (model->kv_type == KL_KV_INT8)
        extend_page_angles(f);
    embed(f);
    kl_forward_parallel(f, n_rows, rope_item, f);
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
