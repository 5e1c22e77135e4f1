#include "model/operations.h"

#include <math.h>
#include <string.h>

#include "base/clock.h"

/* Panels (8 rows each) in one item of a product: 32 rows are one block of activations, so the
 * thread that computes a part of the feed-forward can quantise it. In the 0.5B model an item reads
 * 20 KB (width 896) or 107 KB (4864): 2 to 8 microseconds for one token. */
enum { ITEM_GROUPS = KL_BLOCK / KL_LANES, ITEM_ROWS = KL_BLOCK };

void *kl_forward_scratch(struct kl_forward *f, size_t worker)
{
    return f->scratch + worker * f->scratch_size;
}

float *kl_forward_result(struct kl_forward *f, size_t worker)
{
    return (float *)(void *)(f->scratch + worker * f->scratch_size + KL_MATMUL_SCRATCH);
}

/* ---- operations ------------------------------------------------------------------------------ */

static uint64_t profile_now(const struct kl_forward *f)
{
    return f->profile != NULL ? kl_now_ns() : 0;
}

void kl_forward_parallel(struct kl_forward *f, enum kl_step step, size_t n_items, kl_pool_fn *fn,
                         void *context)
{
    if (f->n_rows == 0)
        return;
    if (!f->stopped && f->stop != NULL && f->stop(f->stop_context))
        f->stopped = true;
    if (f->stopped)
        return;
    uint64_t start = profile_now(f);
    kl_pool_run(f->pool, n_items, fn, context);
    if (f->profile != NULL)
        f->profile->step_ns[step] += profile_now(f) - start;
}

/* Ends what an item does beside a product or attention, which began at `start`. */
static void profile_beside(struct kl_forward *f, size_t worker, uint64_t start)
{
    if (f->profile != NULL)
        f->profile->beside_ns[worker] += profile_now(f) - start;
}

static size_t n_items_of(const struct kl_matrix *m)
{
    return (m->n_groups + ITEM_GROUPS - 1) / ITEM_GROUPS;
}

/* Multiplies the rows of one item with `in`: y[t * ITEM_ROWS + row]. */
static void item_product(struct kl_forward *f, const struct kl_matrix *m, size_t item,
                         const struct kl_activations *in, float *y, size_t worker)
{
    size_t begin = item * ITEM_GROUPS, end = begin + ITEM_GROUPS;
    if (end > m->n_groups)
        end = m->n_groups;
    f->model->kernels->matmul[m->type](m->data, begin, end, in, y, ITEM_ROWS,
                                       kl_forward_scratch(f, worker));
}

/* Quantises n numbers of a row, from column `at` on. */
static void quantize_part(const struct kl_kernels *kernels, const float *from, size_t n,
                          const struct kl_activations *to, size_t row, size_t at)
{
    kernels->quantize(from, n / KL_BLOCK, to->blocks + (row * to->k + at) / KL_BLOCK, 1);
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
    kl_forward_parallel(f, KL_STEP_NORM, f->n_rows, norm_item, &job);
}

void kl_op_norm_rows(struct kl_forward *f, const float *weight, const size_t *rows, size_t n)
{
    struct norm_job job = {f, weight, rows};
    f->normed.n = n;
    kl_forward_parallel(f, KL_STEP_NORM, n, norm_item, &job);
}

struct qkv_job {
    struct kl_forward *f;
    const struct kl_layer *l;
    size_t layer;
    size_t first_query; /* the first row whose queries are read */
};

/* Multiplies the rows of one head with the tokens from `first` on. */
static void head_product(struct kl_forward *f, const struct kl_matrix *m, size_t head, size_t first,
                         float *y, size_t y_stride, size_t worker)
{
    size_t groups = f->model->config.head_dim / KL_LANES;
    struct kl_activations in = f->normed;
    in.blocks += first * (in.k / KL_BLOCK);
    in.n -= first;
    f->model->kernels->matmul[m->type](m->data, head * groups, (head + 1) * groups, &in, y,
                                       y_stride, kl_forward_scratch(f, worker));
}

/* Adds the bias of a head, if there is one. */
static void add_bias(const float *bias, size_t head, size_t dim, float *restrict y)
{
    for (size_t d = 0; bias != NULL && d < dim; d++)
        y[d] += bias[head * dim + d];
}

/* Applies the norm of a query or key, if there is one, and RoPE. */
static void norm_and_rotate(const struct kl_forward *f, const float *norm, float *y, size_t row)
{
    size_t dim = f->model->config.head_dim;
    if (norm != NULL)
        f->model->kernels->rmsnorm(y, norm, dim, f->model->config.rms_eps, y);
    f->model->kernels->rope(y, f->cosine + row * dim / 2, f->sine + row * dim / 2, dim);
}

/* Scales a query so that its scores are exponents of 2. */
static void scale_query(size_t dim, float *restrict y)
{
    float factor = KL_LOG2E / sqrtf((float)dim);
    for (size_t d = 0; d < dim; d++)
        y[d] *= factor;
}

/* The queries of (row, KV head); consecutive rows are adjacent. */
static float *queries_of(const struct kl_forward *f, size_t row, size_t kv_head)
{
    const struct kl_config *c = &f->model->config;
    return f->q + (kv_head * f->max_rows + row) * (c->n_heads / c->n_kv_heads) * c->head_dim;
}

static void query_head(struct qkv_job *job, size_t head, size_t worker)
{
    struct kl_forward *f = job->f;
    const struct kl_config *c = &f->model->config;
    const struct kl_layer *l = job->l;
    size_t dim = c->head_dim, group = c->n_heads / c->n_kv_heads;
    float *y = queries_of(f, job->first_query, head / group) + head % group * dim;
    head_product(f, &l->q, head, job->first_query, y, group * dim, worker);
    uint64_t start = profile_now(f);
    for (size_t t = job->first_query; t < f->n_rows; t++, y += group * dim) {
        add_bias(l->q_bias, head, dim, y);
        norm_and_rotate(f, l->q_norm, y, t);
        scale_query(dim, y);
    }
    profile_beside(f, worker, start);
}

static void key_value_head(struct qkv_job *job, size_t head, size_t worker)
{
    struct kl_forward *f = job->f;
    const struct kl_layer *l = job->l;
    size_t dim = f->model->config.head_dim, at = kl_kv_offset(f->model, job->layer, head);
    bool with_bias = f->model->kv_type != KL_KV_INT8; /* which stores them without biases */
    float *k = kl_forward_result(f, worker), *v = k + f->n_rows * dim;
    head_product(f, &l->k, head, 0, k, dim, worker);
    head_product(f, &l->v, head, 0, v, dim, worker);
    uint64_t start = profile_now(f);
    for (size_t t = 0; t < f->n_rows; t++) {
        size_t position = f->positions[t];
        uint8_t *page = f->rows[t].sequence->pages[position / KL_KV_PAGE_TOKENS];
        add_bias(with_bias ? l->k_bias : NULL, head, dim, k + t * dim);
        add_bias(with_bias ? l->v_bias : NULL, head, dim, v + t * dim);
        norm_and_rotate(f, l->k_norm, k + t * dim, t);
        f->model->kernels->kv_store[f->model->kv_type](k + t * dim, v + t * dim, dim, page + at,
                                                       position % KL_KV_PAGE_TOKENS);
    }
    profile_beside(f, worker, start);
}

/* An item is one KV head with both its k and its v, or one query head, half as long: the long ones
 * first, so that the threads end together. */
static void qkv_item(void *context, size_t item, size_t worker)
{
    struct qkv_job *job = context;
    size_t n_kv_heads = job->f->model->config.n_kv_heads;
    if (item < n_kv_heads)
        key_value_head(job, item, worker);
    else
        query_head(job, item - n_kv_heads, worker);
}

static bool has_output(const struct kl_row *row)
{
    return row->logits != NULL || row->candidates != NULL || row->hidden;
}

static bool is_last_layer(const struct kl_forward *f, size_t layer)
{
    return layer + 1 == f->model->config.n_layers;
}

void kl_op_qkv(struct kl_forward *f, const struct kl_layer *l, size_t layer)
{
    const struct kl_config *c = &f->model->config;
    struct qkv_job job = {f, l, layer, 0};
    while (is_last_layer(f, layer) && job.first_query < f->n_rows &&
           !has_output(&f->rows[job.first_query]))
        job.first_query++;
    size_t n_query_heads = job.first_query < f->n_rows ? c->n_heads : 0;
    kl_forward_parallel(f, KL_STEP_QKV, c->n_kv_heads + n_query_heads, qkv_item, &job);
}

/* Moves what the rest of the layer reads of a row to an earlier place. */
static void move_row(struct kl_forward *f, size_t from, size_t to)
{
    const struct kl_config *c = &f->model->config;
    size_t width = c->n_heads / c->n_kv_heads * c->head_dim;
    memcpy(f->x + to * c->n_embd, f->x + from * c->n_embd, c->n_embd * sizeof *f->x);
    for (size_t head = 0; head < c->n_kv_heads; head++)
        memcpy(queries_of(f, to, head), queries_of(f, from, head), width * sizeof *f->q);
    f->positions[to] = f->positions[from];
    f->rows[to] = f->rows[from];
}

void kl_op_keep_outputs(struct kl_forward *f, size_t layer)
{
    size_t n = 0;
    if (!is_last_layer(f, layer))
        return;
    for (size_t row = 0; row < f->n_rows; row++) {
        if (!has_output(&f->rows[row]))
            continue;
        if (n < row)
            move_row(f, row, n);
        f->places[row] = n++;
    }
    f->n_rows = n;
}

/* Divides the rows into runs whose positions follow each other. */
static void find_runs(struct kl_forward *f)
{
    f->n_runs = 0;
    for (size_t i = 0; i < f->n_rows; i++) {
        if (i == 0 || f->rows[i].sequence != f->rows[i - 1].sequence ||
            f->positions[i] != f->positions[i - 1] + 1 ||
            f->runs[f->n_runs - 1].n == KL_ATTEND_ROWS)
            f->runs[f->n_runs++] = (struct kl_row_run){i, 0};
        f->runs[f->n_runs - 1].n++;
    }
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

/* An item is one KV head of a run of rows, with all its query heads. The last rows of a prompt take
 * longest, so they go first. */
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
        .q = queries_of(f, run->first, head),
        .out = out,
        .pages = (const uint8_t *const *)f->rows[run->first].sequence->pages,
        .at = kl_kv_offset(f->model, job->layer, head),
        .scratch = out + KL_ATTEND_ROWS * width,
        .scores = f->scores != NULL ? f->scores + worker * f->scores_size : NULL,
        .score_stride = kl_context_pages(c) * KL_KV_PAGE_TOKENS,
        .k_bias = bias_of(f, job->l->k_bias, head),
        .v_bias = bias_of(f, job->l->v_bias, head),
        .offset_cosine = f->offset_cosine,
        .offset_sine = f->offset_sine,
        .page_cosine = f->page_cosine,
        .page_sine = f->page_sine,
    };
    f->model->kernels->attend[f->model->kv_type](&attention);
    uint64_t start = profile_now(f);
    for (size_t i = 0; i < run->n; i++)
        quantize_part(f->model->kernels, out + i * width, width, &f->attended, run->first + i,
                      head * width);
    profile_beside(f, worker, start);
}

void kl_op_attention(struct kl_forward *f, const struct kl_layer *l, size_t layer)
{
    struct attention_job job = {f, l, layer};
    find_runs(f);
    f->attended.n = f->n_rows;
    kl_forward_parallel(f, KL_STEP_ATTENTION, f->n_runs * f->model->config.n_kv_heads,
                        attention_item, &job);
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
    uint64_t start = profile_now(f);
    size_t first = item * ITEM_ROWS, n_embd = f->model->config.n_embd;
    size_t n = n_embd - first < ITEM_ROWS ? n_embd - first : ITEM_ROWS;
    for (size_t t = 0; t < f->n_rows; t++) {
        float *restrict x = f->x + t * n_embd + first;
        const float *restrict add = y + t * ITEM_ROWS;
        for (size_t r = 0; r < n; r++)
            x[r] += add[r];
    }
    profile_beside(f, worker, start);
}

void kl_op_add_product(struct kl_forward *f, enum kl_step step, const struct kl_matrix *matrix,
                       const struct kl_activations *in)
{
    struct product_job job = {f, matrix, in};
    kl_forward_parallel(f, step, n_items_of(matrix), add_product_item, &job);
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
    uint64_t start = profile_now(f);
    f->model->kernels->swiglu(gate, up, f->n_rows * ITEM_ROWS, gate);
    f->model->kernels->quantize(gate, f->n_rows, f->gated.blocks + item, f->gated.k / KL_BLOCK);
    profile_beside(f, worker, start);
}

void kl_op_gate_up(struct kl_forward *f, const struct kl_layer *l)
{
    struct gate_up_job job = {f, l};
    f->gated.n = f->n_rows;
    kl_forward_parallel(f, KL_STEP_GATE_UP, n_items_of(&l->gate), gate_up_item, &job);
}
