#include "model/head.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Groups that are computed first, beyond one for each of the top k: their logits are the threshold
 * for all others. The best group by its bound nearly always holds the best token. */
enum { EXTRA_GROUPS = 8 };

/* Above these limits too many groups would pass the screening: reading all is faster. */
enum { MOST_TOP_K = 256, MOST_RAISED = 256 };
#define MOST_MARGIN 10.0f
/* With at most this many allowed tokens a row is screened even without a limit: only the groups of
 * these tokens are computed. */
enum { FEW_ALLOWED = 1024 };

enum { ITEM_GROUPS = KL_BLOCK / KL_LANES, ITEM_ROWS = KL_BLOCK };

enum kl_status kl_head_open(const struct kl_model *model, size_t n_threads, struct kl_head *head,
                            struct kl_error *err)
{
    *head = (struct kl_head){0};
    if (model->output_low.n_groups == 0)
        return KL_OK;
    size_t n = KL_HEAD_ROWS * model->output.n_groups;
    head->bounds = malloc(n * sizeof *head->bounds);
    head->groups = malloc(n * sizeof *head->groups);
    size_t low_bytes = n_threads * kl_packed_group_bytes(KL_Q8_LOW, model->output_low.k);
    head->low = malloc(low_bytes);
    head->bytes = n * (sizeof *head->bounds + sizeof *head->groups) + low_bytes;
    if (head->bounds != NULL && head->groups != NULL && head->low != NULL)
        return KL_OK;
    kl_head_release(head);
    return kl_fail_memory(err, "the screening of the output head", n * sizeof *head->bounds);
}

void kl_head_release(struct kl_head *head)
{
    free(head->bounds);
    free(head->groups);
    free(head->low);
    *head = (struct kl_head){0};
}

void kl_head_give_back(const struct kl_model *m)
{
    if (m->low_file != NULL)
        kl_mapped_file_dont_need(m->low_file, (size_t)(m->output_low.data - m->low_file->data),
                                 kl_matrix_bytes(&m->output_low));
}

/* Multiplies with all bits: y[t * y_stride + row]. */
static void product(const struct kl_model *m, size_t begin, size_t end,
                    const struct kl_activations *x, float *y, size_t y_stride, void *scratch)
{
    if (m->output_low.n_groups > 0)
        m->kernels->matmul_halves(m->output.data, m->output_low.data, begin, end, x, y, y_stride,
                                  scratch);
    else
        m->kernels->matmul[m->output.type](m->output.data, begin, end, x, y, y_stride, scratch);
}

static size_t n_items(const struct kl_matrix *m)
{
    return (m->n_groups + ITEM_GROUPS - 1) / ITEM_GROUPS;
}

static size_t item_end(const struct kl_matrix *m, size_t item)
{
    size_t end = (item + 1) * ITEM_GROUPS;
    return end < m->n_groups ? end : m->n_groups;
}

/* ---- all logits ------------------------------------------------------------------------------ */

static size_t n_tokens(const struct kl_forward *f, const struct kl_want *want)
{
    size_t n_rows = f->model->output.n_rows;
    return want->n_vocab < n_rows ? want->n_vocab : n_rows;
}

static bool has_bit(const uint64_t *set, size_t id)
{
    return (set[id / 64] >> (id % 64) & 1) != 0;
}

static bool is_allowed(const struct kl_want *want, size_t id)
{
    return want->allowed == NULL || has_bit(want->allowed, id);
}

/* Whether a token of the group may be a candidate. Bits from n_vocab on need not exist. */
static bool is_group_allowed(const struct kl_want *want, size_t g)
{
    if (want->allowed == NULL)
        return true;
    size_t id = g * KL_LANES;
    return id < want->n_vocab && (want->allowed[id / 64] >> (id % 64) & 0xFF) != 0;
}

/* Searches n logits that are sorted by id. */
static bool has_id(const struct kl_logit *logits, size_t n, size_t id)
{
    size_t low = 0, high = n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if ((size_t)logits[middle].id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low < n && (size_t)logits[low].id == id;
}

/* Whether the caller changes the logit, so that it does not count for the limits. */
static bool is_changed(const struct kl_want *want, size_t id)
{
    return (want->penalized != NULL && has_bit(want->penalized, id)) ||
           has_id(want->lowered, want->n_lowered, id) || has_id(want->raised, want->n_raised, id);
}

/* Returns a range of the rows of activations. */
static struct kl_activations activation_rows(const struct kl_activations *x, size_t first, size_t n)
{
    return (struct kl_activations){
        .blocks = x->blocks + first * (x->k / KL_BLOCK), .n = n, .k = x->k};
}

/* Computes the rows that are not screened. */
static void all_item(void *context, size_t item, size_t worker)
{
    struct kl_forward *f = context;
    const struct kl_matrix *m = &f->model->output;
    float *y = kl_forward_result(f, worker);
    struct kl_activations x =
        activation_rows(&f->normed, f->n_screened, f->normed.n - f->n_screened);
    product(f->model, item * ITEM_GROUPS, item_end(m, item), &x, y, ITEM_ROWS,
            kl_forward_scratch(f, worker));
    size_t first = item * ITEM_ROWS, left = m->n_rows - first;
    size_t n = left < ITEM_ROWS ? left : ITEM_ROWS;
    for (size_t i = f->n_screened; i < f->normed.n; i++, y += ITEM_ROWS) {
        const struct kl_row *r = &f->rows[f->output_rows[i]];
        if (r->logits != NULL)
            memcpy(r->logits + first, y, n * sizeof *y);
        if (r->candidates == NULL || r->candidates->overflow)
            continue;
        for (size_t j = 0; j < n && first + j < r->want->n_vocab; j++)
            r->candidates->logits[first + j] =
                (struct kl_logit){.value = y[j], .id = (int32_t)(first + j)};
    }
}

/* ---- screening ------------------------------------------------------------------------------- */

struct screened_row {
    const struct kl_want *want;
    struct kl_candidates *candidates;
    struct kl_activations x; /* the row alone */
    float size;              /* sqrt(sum_b (scale_b * |q_b|)^2), not less */
    float *bounds;           /* [n_groups] */
    uint32_t *groups;
    size_t n_groups;
    float threshold; /* no token below it is a candidate */
};

struct screen {
    struct kl_forward *f;
    struct screened_row rows[KL_HEAD_ROWS];
    size_t n;
    struct kl_activations x; /* all of them */
    bool every_group;        /* some row allows all tokens */
    bool with_all;           /* the rows that are not screened are computed, too */
};

static float size_of(const struct kl_activations *x)
{
    double total = 0.0;
    for (size_t b = 0; b < x->k / KL_BLOCK; b++) {
        int32_t squares = 0;
        for (size_t i = 0; i < KL_BLOCK; i++)
            squares += x->blocks[b].q[i] * x->blocks[b].q[i];
        double scale = (double)x->blocks[b].scale;
        total += scale * scale * squares;
    }
    return nextafterf((float)sqrt(total), INFINITY);
}

/* Returns an upper bound of the logits of the group; infinity if one is not a number (a damaged
 * model), so that the group is computed. In halves, so that the compiler can use vectors. */
static float group_bound(const float *high, const float *residuals, float size)
{
    float top[KL_LANES], sum[KL_LANES];
    for (size_t r = 0; r < KL_LANES; r++)
        top[r] = sum[r] = high[r] + residuals[r] * size;
    for (size_t r = 0; r < 4; r++) {
        top[r] = top[r] > top[r + 4] ? top[r] : top[r + 4];
        sum[r] += sum[r + 4];
    }
    float left = top[0] > top[1] ? top[0] : top[1], right = top[2] > top[3] ? top[2] : top[3];
    bool finite = fabsf((sum[0] + sum[1]) + (sum[2] + sum[3])) <= FLT_MAX;
    return !finite ? INFINITY : left > right ? left : right;
}

/* Whether some row allows a token of the group. */
static bool is_group_needed(const struct screen *s, size_t g)
{
    for (size_t i = 0; i < s->n; i++)
        if (is_group_allowed(s->rows[i].want, g))
            return true;
    return false;
}

/* Computes the bounds of at most ITEM_GROUPS groups, for all rows. */
static void bound_groups(struct screen *s, size_t begin, size_t end, size_t worker)
{
    struct kl_forward *f = s->f;
    const struct kl_matrix *m = &f->model->output;
    size_t group_bytes = kl_packed_group_bytes(m->type, m->k);
    float *y = kl_forward_result(f, worker);
    f->model->kernels->matmul[m->type](m->data, begin, end, &s->x, y, ITEM_ROWS,
                                       kl_forward_scratch(f, worker));
    for (size_t g = begin; g < end; g++) {
        const float *residuals = kl_packed_residuals(m->data + g * group_bytes, m->k);
        for (size_t t = 0; t < s->n; t++) {
            s->rows[t].bounds[g] =
                group_bound(y + t * ITEM_ROWS + (g - begin) * KL_LANES, residuals, s->rows[t].size);
        }
    }
}

/* Skips groups that no row needs; their bounds stay undefined. */
static void bound_item(void *context, size_t item, size_t worker)
{
    struct screen *s = context;
    struct kl_forward *f = s->f;
    size_t begin = item * ITEM_GROUPS, end = item_end(&f->model->output, item);
    if (s->every_group)
        bound_groups(s, begin, end, worker);
    else
        for (size_t g = begin; g < end; g++)
            if (is_group_needed(s, g))
                bound_groups(s, g, g + 1, worker);
    if (s->with_all) /* while the upper bits are in the cache: memory is read once for all rows */
        all_item(f, item, worker);
}

/* Groups per item: each takes some microseconds, at scattered addresses. */
enum { EXACT_GROUPS = 4 };

static size_t exact_items(const struct screened_row *row)
{
    return (row->n_groups + EXACT_GROUPS - 1) / EXACT_GROUPS;
}

/* Returns the lower bits of one group: read into the copy of the worker, or in place if they are in
 * memory or cannot be read. */
static const uint8_t *low_group(const struct kl_forward *f, size_t g, size_t worker)
{
    const struct kl_model *m = f->model;
    size_t bytes = kl_packed_group_bytes(KL_Q8_LOW, m->output_low.k);
    const uint8_t *mapped = m->output_low.data + g * bytes;
    uint8_t *copy = f->head.low + worker * bytes;
    if (m->low_file != NULL &&
        kl_mapped_file_read(m->low_file, (size_t)(mapped - m->low_file->data), bytes, copy))
        return copy;
    return mapped;
}

static void exact_item(void *context, size_t item, size_t worker)
{
    struct screen *s = context;
    struct kl_forward *f = s->f;
    struct screened_row *row = s->rows;
    for (; item >= exact_items(row); row++)
        item -= exact_items(row);
    float *y = kl_forward_result(f, worker);
    const struct kl_matrix *high = &f->model->output;
    size_t high_bytes = kl_packed_group_bytes(high->type, high->k);
    size_t end = (item + 1) * EXACT_GROUPS;
    for (size_t i = item * EXACT_GROUPS; i < end && i < row->n_groups; i++) {
        size_t g = row->groups[i];
        f->model->kernels->matmul_halves(high->data + g * high_bytes, low_group(f, g, worker), 0, 1,
                                         &row->x, y, KL_LANES, kl_forward_scratch(f, worker));
        struct kl_logit *logits = row->candidates->logits + i * KL_LANES;
        for (size_t r = 0; r < KL_LANES; r++)
            logits[r] = (struct kl_logit){.value = y[r], .id = (int32_t)(g * KL_LANES + r)};
    }
}

/* Computes the listed groups of all rows; none of a row without room for them. */
static void compute_groups(struct screen *s)
{
    size_t items = 0;
    for (size_t i = 0; i < s->n; i++) {
        struct screened_row *row = &s->rows[i];
        if (row->n_groups * KL_LANES > row->candidates->room) {
            row->candidates->overflow = true;
            row->n_groups = 0;
        }
        items += exact_items(row);
    }
    kl_forward_parallel(s->f, KL_STEP_HEAD, items, exact_item, s);
}

/* Lists the n groups with the highest bounds, in a heap with the lowest of them on top. */
static void take_best_groups(struct screened_row *row, size_t n_groups, size_t n)
{
    const float *bounds = row->bounds;
    uint32_t *heap = row->groups;
    size_t used = 0;
    for (size_t g = 0; g < n_groups; g++) {
        size_t at;
        if (!is_group_allowed(row->want, g))
            continue;
        if (used < n) {
            for (at = used++; at > 0 && bounds[g] < bounds[heap[(at - 1) / 2]]; at = (at - 1) / 2)
                heap[at] = heap[(at - 1) / 2];
        } else if (bounds[g] > bounds[heap[0]]) {
            for (at = 0; 2 * at + 1 < n;) {
                size_t child = 2 * at + 1;
                if (child + 1 < n && bounds[heap[child + 1]] < bounds[heap[child]])
                    child++;
                if (bounds[g] <= bounds[heap[child]])
                    break;
                heap[at] = heap[child];
                at = child;
            }
        } else {
            continue;
        }
        heap[at] = (uint32_t)g;
    }
    row->n_groups = used;
}

/* Returns the lowest logit that can still be a candidate, from the logits of the first groups. */
static float threshold_of(const struct screened_row *row, size_t n_vocab)
{
    const struct kl_want *want = row->want;
    float best[MOST_TOP_K]; /* in descending order */
    size_t most = want->top_k > 0 ? want->top_k : 1, n = 0;
    bool changes = want->penalized != NULL || want->n_lowered > 0 || want->n_raised > 0;
    for (size_t i = 0; i < row->n_groups * KL_LANES; i++) {
        struct kl_logit l = row->candidates->logits[i];
        size_t id = (size_t)l.id;
        if (id >= n_vocab || !(l.value >= -FLT_MAX) || (changes && is_changed(want, id)) ||
            !is_allowed(want, id))
            continue;
        if (n == most && l.value <= best[n - 1])
            continue;
        size_t at = n < most ? n++ : n - 1;
        for (; at > 0 && best[at - 1] < l.value; at--)
            best[at] = best[at - 1];
        best[at] = l.value;
    }
    float threshold = want->top_k > 0 && n == want->top_k ? best[n - 1] : -INFINITY;
    if (n > 0 && best[0] - want->margin > threshold)
        threshold = best[0] - want->margin;
    return threshold;
}

/* Drops computed tokens below the threshold, and those that only fill a group. */
static void keep_candidates(const struct screened_row *row, size_t n_vocab)
{
    const struct kl_want *want = row->want;
    struct kl_candidates *c = row->candidates;
    for (size_t i = 0; i < row->n_groups * KL_LANES; i++) {
        struct kl_logit l = c->logits[i];
        size_t id = (size_t)l.id;
        bool near = l.value >= row->threshold ||
                    (want->n_raised > 0 && has_id(want->raised, want->n_raised, id));
        if (id < n_vocab && near && is_allowed(want, id))
            c->logits[c->n++] = l;
    }
}

/* Lists the groups of one row that are computed first. */
static void first_groups_item(void *context, size_t item, size_t worker)
{
    (void)worker;
    struct screen *s = context;
    struct screened_row *row = &s->rows[item];
    take_best_groups(row, s->f->model->output.n_groups, row->want->top_k + EXTRA_GROUPS);
}

/* Lists the groups of one row that can contain a candidate, from the logits of the first ones. */
static void all_groups_item(void *context, size_t item, size_t worker)
{
    (void)worker;
    struct screen *s = context;
    struct screened_row *row = &s->rows[item];
    row->threshold = threshold_of(row, n_tokens(s->f, row->want));
    row->n_groups = 0;
    if (row->candidates->overflow)
        return;
    for (size_t n = 0; n < row->want->n_raised; n++)
        row->bounds[(size_t)row->want->raised[n].id / KL_LANES] = INFINITY;
    for (size_t g = 0; g < s->f->model->output.n_groups; g++)
        if (is_group_allowed(row->want, g) && row->bounds[g] >= row->threshold)
            row->groups[row->n_groups++] = (uint32_t)g;
}

static void run_screen(struct screen *s)
{
    kl_forward_parallel(s->f, KL_STEP_HEAD, n_items(&s->f->model->output), bound_item, s);
    kl_forward_parallel(s->f, KL_STEP_HEAD, s->n, first_groups_item, s);
    compute_groups(s);
    kl_forward_parallel(s->f, KL_STEP_HEAD, s->n, all_groups_item, s);
    compute_groups(s);
    for (size_t i = 0; i < s->n && !s->f->stopped; i++)
        keep_candidates(&s->rows[i], n_tokens(s->f, s->rows[i].want));
}

bool kl_head_can_screen(const struct kl_model *m, const struct kl_row *row)
{
    const struct kl_want *want = row->want;
    if (m->output_low.n_groups == 0 || row->logits != NULL || row->candidates == NULL ||
        want->all || want->top_k > MOST_TOP_K || want->n_raised > MOST_RAISED)
        return false;
    return want->top_k > 0 || want->margin <= MOST_MARGIN ||
           (want->allowed != NULL && want->n_allowed <= FEW_ALLOWED);
}

static void set_up_screen(struct screen *s, struct kl_forward *f, size_t first)
{
    size_t left = f->n_screened - first, groups = f->model->output.n_groups;
    s->f = f;
    s->n = left < KL_HEAD_ROWS ? left : KL_HEAD_ROWS;
    s->x = activation_rows(&f->normed, first, s->n);
    s->every_group = false;
    s->with_all = first == 0 && f->n_screened < f->normed.n;
    for (size_t i = 0; i < s->n; i++) {
        struct screened_row *r = &s->rows[i];
        const struct kl_row *row = &f->rows[f->output_rows[first + i]];
        *r = (struct screened_row){.want = row->want,
                                   .candidates = row->candidates,
                                   .x = activation_rows(&s->x, i, 1),
                                   .bounds = f->head.bounds + i * groups,
                                   .groups = f->head.groups + i * groups};
        r->size = size_of(&r->x);
        s->every_group = s->every_group || row->want->allowed == NULL;
    }
}

/* Keeps the allowed tokens of all logits, or all of them. */
static void keep_allowed(const struct kl_forward *f, const struct kl_row *row)
{
    struct kl_candidates *c = row->candidates;
    size_t n = c->overflow ? 0 : n_tokens(f, row->want);
    if (row->want->allowed == NULL || row->want->all) {
        c->n = n;
        return;
    }
    for (size_t id = 0; id < n; id++)
        if (is_allowed(row->want, id))
            c->logits[c->n++] = c->logits[id];
}

/* Resets all candidates; rows that are not screened need room for the whole vocabulary. */
static void clear_candidates(struct kl_forward *f)
{
    for (size_t i = 0; i < f->normed.n; i++) {
        const struct kl_row *row = &f->rows[f->output_rows[i]];
        if (row->candidates == NULL)
            continue;
        row->candidates->n = 0;
        row->candidates->overflow =
            i >= f->n_screened && row->candidates->room < n_tokens(f, row->want);
    }
}

void kl_head_run(struct kl_forward *f)
{
    clear_candidates(f);
    bool some_want_all = f->n_screened < f->normed.n;
    if (!some_want_all && f->head.low_resident)
        kl_head_give_back(f->model);
    f->head.low_resident = some_want_all;
    for (size_t first = 0; first < f->n_screened; first += KL_HEAD_ROWS) {
        struct screen s;
        set_up_screen(&s, f, first);
        run_screen(&s);
    }
    if (f->n_screened == 0)
        kl_forward_parallel(f, KL_STEP_HEAD, n_items(&f->model->output), all_item, f);
    for (size_t i = f->n_screened; i < f->normed.n && !f->stopped; i++)
        if (f->rows[f->output_rows[i]].candidates != NULL)
            keep_allowed(f, &f->rows[f->output_rows[i]]);
}
