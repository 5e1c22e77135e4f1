/* Checks and speed of attention and of the store into the KV pages. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "harness.h"

#define SCALAR kl_kernels_at(0)

enum {
    MOST_PAGES = 6,
    MOST_POSITIONS = MOST_PAGES * KL_KV_PAGE_TOKENS,
    TOKENS = KL_KV_PAGE_TOKENS
};

static const char *const type_names[KL_KV_TYPES] = {[KL_KV_F16] = "f16", [KL_KV_INT8] = "int8"};

/* ---- tiles in the layout of kernels.h -------------------------------------------------------- */

static double number_at(enum kl_kv_type type, const uint8_t *half, size_t place, size_t scale_place,
                        size_t dim)
{
    if (type == KL_KV_F16)
        return kl_f16_to_f32(((const uint16_t *)(const void *)half)[place]);
    const uint16_t *scales = (const uint16_t *)(const void *)(half + dim * TOKENS);
    return (double)((const int8_t *)half)[place] * kl_f16_to_f32(scales[scale_place]);
}

static double key_at(enum kl_kv_type type, const uint8_t *tile, size_t dim, size_t slot, size_t d)
{
    return number_at(type, tile, d * TOKENS + slot, d / KL_BLOCK * TOKENS + slot, dim);
}

static double value_at(enum kl_kv_type type, const uint8_t *tile, size_t dim, size_t slot, size_t d)
{
    return number_at(type, tile + kl_kv_half_bytes(type, dim), slot * dim + d,
                     slot * kl_kv_blocks(dim) + d / KL_BLOCK, dim);
}

static double largest_of_block(const float *x, size_t dim, size_t d)
{
    double largest = 0;
    for (size_t i = d / KL_BLOCK * KL_BLOCK; i < dim && i / KL_BLOCK == d / KL_BLOCK; i++)
        largest = fabs((double)x[i]) > largest ? fabs((double)x[i]) : largest;
    return largest;
}

/* Returns the largest error of rounding: half a unit of f16's 11 digits; or half a step of int8,
 * whose step is rounded to f16 as well. */
static double slack_of(enum kl_kv_type type, const float *x, size_t dim, size_t d)
{
    return type == KL_KV_F16 ? fabs((double)x[d]) * 0x1p-11 + 0x1p-25
                             : largest_of_block(x, dim, d) / 127 * 0.57 + 127 * 0x1p-25;
}

void check_kv_store(const struct kl_kernels *tier)
{
    for (size_t round = 0; round < 16 * 2 * 6; round++) {
        enum kl_kv_type type = round % 2;
        size_t dim = 16 * (1 + round / 2 % 16), bytes = 2 * kl_kv_half_bytes(type, dim);
        struct guarded k = guarded_new(dim * 4, 4), v = guarded_new(dim * 4, 4);
        struct guarded expected = guarded_new(bytes, 2), found = guarded_new(bytes, 2);
        const float *keys = k.data, *values = v.data;
        size_t slot = random_bits() % TOKENS;
        random_floats(k.data, dim, 3.0f);
        random_floats(v.data, dim, 300.0f);
        memset(expected.data, 0x5A, bytes);
        memset(found.data, 0x5A, bytes);
        attempt("kv_store", SCALAR, "%s, dim %zu, slot %zu", type_names[type], dim, slot);
        SCALAR->kv_store[type](keys, values, dim, expected.data, slot);
        for (size_t d = 0; d < dim; d++) {
            double key = key_at(type, expected.data, dim, slot, d);
            double value = value_at(type, expected.data, dim, slot, d);
            if (largest_of_block(keys, dim, d) < 65000)
                expect(fabs(key - (double)keys[d]) <= slack_of(type, keys, dim, d),
                       "key %g became %g", (double)keys[d], key);
            if (largest_of_block(values, dim, d) < 65000)
                expect(fabs(value - (double)values[d]) <= slack_of(type, values, dim, d),
                       "value %g became %g", (double)values[d], value);
        }
        attempt("kv_store", tier, "%s, dim %zu, slot %zu", type_names[type], dim, slot);
        tier->kv_store[type](keys, values, dim, found.data, slot);
        expect_same(found.data, expected.data, bytes);
        guarded_free(&k);
        guarded_free(&v);
        guarded_free(&expected);
        guarded_free(&found);
    }
}

/* ---- cases of attention ---------------------------------------------------------------------- */

struct attention {
    enum kl_kv_type type;
    struct kl_attend_rows rows;
    size_t n_queries, longest;
    struct guarded q, out, scratch, scores, k_bias, v_bias, slot_angles, page_angles;
    struct guarded tiles[MOST_PAGES];
    const uint8_t *pages[MOST_PAGES];
};

/* Computes angles as in RoPE: position / 1000^(i / half). */
static void fill_angles(struct attention *c)
{
    size_t half = c->rows.dim / 2;
    float *slot = c->slot_angles.data, *page = c->page_angles.data;
    for (size_t i = 0; i < half; i++) {
        double frequency = pow(1000, -(double)i / (double)half);
        for (size_t j = 0; j < TOKENS; j++) {
            slot[i * TOKENS + j] = (float)cos((double)j * frequency);
            slot[(half + i) * TOKENS + j] = (float)sin((double)j * frequency);
        }
        for (size_t p = 0; p < MOST_PAGES; p++) {
            page[p * half + i] = (float)cos((double)(p * TOKENS) * frequency);
            page[(MOST_PAGES + p) * half + i] = (float)sin((double)(p * TOKENS) * frequency);
        }
    }
    c->rows.offset_cosine = slot;
    c->rows.offset_sine = slot + half * TOKENS;
    c->rows.page_cosine = page;
    c->rows.page_sine = page + MOST_PAGES * half;
}

/* Memory that was never written is NaN, or -1 times NaN, and must have no effect. */
static void fill_tiles(struct attention *c, float size)
{
    size_t dim = c->rows.dim, bytes = 2 * kl_kv_half_bytes(c->type, dim);
    float k[KL_MAX_HEAD_DIM], v[KL_MAX_HEAD_DIM];
    for (size_t p = 0; p < MOST_PAGES; p++) {
        c->tiles[p] = guarded_new(bytes, 2);
        memset(c->tiles[p].data, 0xFF, bytes);
        c->pages[p] = c->tiles[p].data;
    }
    for (size_t j = 0; j < c->longest; j++) {
        for (size_t d = 0; d < dim; d++) {
            k[d] = random_float(size);
            v[d] = random_float(1.0f);
        }
        SCALAR->kv_store[c->type](k, v, dim, c->tiles[j / TOKENS].data, j % TOKENS);
    }
    c->rows.pages = c->pages;
}

static float *random_vector(struct guarded *g, size_t n, float size)
{
    *g = guarded_new(n * sizeof(float), 4);
    float *x = g->data;
    for (size_t i = 0; i < n; i++)
        x[i] = random_float(size);
    return x;
}

/* plain: all scores at once; size of keys: 100 makes weights of 1 and 0 */
static void attention_init(struct attention *c, enum kl_kv_type type, bool plain, float size)
{
    struct kl_attend_rows *r = &c->rows;
    size_t half = r->dim / 2;
    c->type = type;
    c->n_queries = r->n_rows * r->n_heads;
    c->longest = r->n_positions + r->n_rows - 1;
    r->q = random_vector(&c->q, c->n_queries * r->dim, 4.0f / sqrtf((float)r->dim));
    r->k_bias = random_vector(&c->k_bias, r->dim, 2.0f);
    r->v_bias = random_vector(&c->v_bias, r->dim, 1.0f);
    c->out = guarded_new(c->n_queries * r->dim * sizeof(float), 4);
    r->out = c->out.data;
    c->scratch = guarded_new(KL_ATTEND_SCRATCH(r->dim, c->n_queries), 64);
    r->scratch = c->scratch.data;
    r->score_stride = (c->longest + TOKENS - 1) / TOKENS * TOKENS;
    c->scores = guarded_new(c->n_queries * r->score_stride * sizeof(float), 4);
    r->scores = plain ? c->scores.data : NULL;
    c->slot_angles = guarded_new(2 * half * TOKENS * sizeof(float), 4);
    c->page_angles = guarded_new(2 * half * MOST_PAGES * sizeof(float), 4);
    fill_angles(c);
    fill_tiles(c, size);
}

static void attention_release(struct attention *c)
{
    struct guarded *all[] = {&c->q,      &c->out,    &c->scratch,     &c->scores,
                             &c->k_bias, &c->v_bias, &c->slot_angles, &c->page_angles};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        guarded_free(all[i]);
    for (size_t p = 0; p < MOST_PAGES; p++)
        guarded_free(&c->tiles[p]);
}

static void attempt_attend(const struct attention *c, const struct kl_kernels *tier)
{
    attempt("attend", tier, "%s, %s, dim %zu, %zu heads, %zu rows from %zu", type_names[c->type],
            c->rows.scores != NULL ? "plain" : "online", c->rows.dim, c->rows.n_heads,
            c->rows.n_rows, c->rows.n_positions);
}

/* ---- against float64 ------------------------------------------------------------------------- */

/* k + RoPE(bias) at position j, from the angles themselves */
static void exact_key(const struct attention *c, size_t j, double *k)
{
    size_t dim = c->rows.dim, half = dim / 2;
    for (size_t d = 0; d < dim; d++)
        k[d] = key_at(c->type, c->pages[j / TOKENS], dim, j % TOKENS, d);
    for (size_t i = 0; i < half && c->type == KL_KV_INT8; i++) {
        double angle = (double)j * pow(1000, -(double)i / (double)half);
        double a = c->rows.k_bias[i], b = c->rows.k_bias[half + i];
        k[i] += a * cos(angle) - b * sin(angle);
        k[half + i] += a * sin(angle) + b * cos(angle);
    }
}

static void exact_attention(const struct attention *c, size_t query, double *out)
{
    const struct kl_attend_rows *r = &c->rows;
    size_t n = r->n_positions + query / r->n_heads;
    double weights[MOST_POSITIONS], k[KL_MAX_HEAD_DIM], top = -INFINITY, sum = 0;
    for (size_t j = 0; j < n; j++) {
        exact_key(c, j, k);
        weights[j] = 0;
        for (size_t d = 0; d < r->dim; d++)
            weights[j] += (double)r->q[query * r->dim + d] * k[d];
        top = weights[j] > top ? weights[j] : top;
    }
    for (size_t d = 0; d < r->dim; d++)
        out[d] = 0;
    for (size_t j = 0; j < n; j++) {
        weights[j] = exp2(weights[j] - top);
        sum += weights[j];
        for (size_t d = 0; d < r->dim; d++)
            out[d] += weights[j] * value_at(c->type, c->pages[j / TOKENS], r->dim, j % TOKENS, d);
    }
    for (size_t d = 0; d < r->dim; d++)
        out[d] = out[d] / sum + (c->type == KL_KV_INT8 ? (double)r->v_bias[d] : 0);
}

static void check_exact(const struct attention *c)
{
    double exact[KL_MAX_HEAD_DIM];
    for (size_t x = 0; x < c->n_queries; x++) {
        exact_attention(c, x, exact);
        for (size_t d = 0; d < c->rows.dim; d++)
            expect(fabs(exact[d] - (double)c->rows.out[x * c->rows.dim + d]) < 3e-5,
                   "query %zu, dim %zu is %g and not %g", x, d,
                   (double)c->rows.out[x * c->rows.dim + d], exact[d]);
    }
}

void check_attend(const struct kl_kernels *tier)
{
    static const size_t dims[] = {16, 32, 48, 64, 80, 128, 256}, heads[] = {1, 2, 3, 4, 5, 7, 8, 9},
                        lengths[] = {1, 7, 31, 32, 33, 64, 97, 160};
    for (size_t round = 0; round < 7 * 8 * 4; round++) {
        bool extreme = round % 11 == 10;
        struct attention c = {
            .rows = {.dim = dims[round % 7],
                     .n_heads = heads[random_bits() % 8],
                     .n_rows = round % 3 == 0 ? 1 : 1 + random_bits() % KL_ATTEND_ROWS,
                     .n_positions = lengths[round / 7 % 8]}};
        attention_init(&c, round / 56 % 2, round / 56 / 2, extreme ? 100.0f : 2.0f);
        attempt_attend(&c, SCALAR);
        SCALAR->attend[c.type](&c.rows);
        if (!extreme) /* large keys: the rounding of the scores has a larger effect */
            check_exact(&c);
        size_t bytes = c.n_queries * c.rows.dim * sizeof(float);
        struct guarded expected = guarded_new(bytes, 4);
        memcpy(expected.data, c.rows.out, bytes);
        memset(c.rows.out, 0xFF, bytes);
        attempt_attend(&c, tier);
        tier->attend[c.type](&c.rows);
        expect_same(c.rows.out, expected.data, bytes);
        guarded_free(&expected);
        attention_release(&c);
    }
}

/* Checks that the bits of a row do not depend on the other rows. */
void check_attend_company(const struct kl_kernels *tier)
{
    for (size_t round = 0; round < 4 * 8; round++) {
        struct attention c = {.rows = {.dim = 64,
                                       .n_heads = 7,
                                       .n_rows = KL_ATTEND_ROWS,
                                       .n_positions = 20 + random_bits() % 100}};
        attention_init(&c, round % 2, round / 2 % 2, 2.0f);
        size_t row = c.rows.n_heads * c.rows.dim, first = c.rows.n_positions;
        float together[KL_ATTEND_ROWS * 7 * 64];
        const float *q = c.rows.q;
        attempt_attend(&c, tier);
        tier->attend[c.type](&c.rows);
        memcpy(together, c.rows.out, sizeof together);
        c.rows.n_rows = 1;
        for (size_t i = 0; i < KL_ATTEND_ROWS; i++) {
            c.rows.q = q + i * row;
            c.rows.n_positions = first + i;
            attempt_attend(&c, tier);
            tier->attend[c.type](&c.rows);
            expect_same(c.rows.out, together + i * row, row * sizeof(float));
        }
        attention_release(&c);
    }
}

/* ---- speed ----------------------------------------------------------------------------------- */

static double best_seconds(const struct attention *c, const struct kl_kernels *tier)
{
    double best = INFINITY;
    for (int i = 0; i < 200; i++) {
        uint64_t start = kl_now_ns();
        tier->attend[c->type](&c->rows);
        double seconds = kl_seconds_since(start);
        best = seconds < best ? seconds : best;
    }
    return best;
}

void bench_attend(const struct kl_kernels *tier, double gmac_per_second)
{
    printf("attention over %d positions, 7 query heads of 64 to a KV head\n", MOST_POSITIONS);
    for (int i = 0; i < KL_KV_TYPES * 2 * 2; i++) {
        struct attention c = {.rows = {.dim = 64, .n_heads = 7}};
        c.rows.n_rows = i % 2 == 0 ? 1 : KL_ATTEND_ROWS;
        c.rows.n_positions = MOST_POSITIONS - c.rows.n_rows + 1;
        attention_init(&c, i / 4, i / 2 % 2 == 1, 2.0f);
        double seconds = best_seconds(&c, tier);
        double macs = 2.0 * MOST_POSITIONS * 64 * (double)c.n_queries;
        printf("  %-4s %-6s %zu row%s %8.2f us a page %8.1f GMAC/s  %3.0f %% of int8's\n",
               type_names[c.type], c.rows.scores != NULL ? "plain" : "online", c.rows.n_rows,
               c.rows.n_rows == 1 ? " " : "s", seconds / MOST_PAGES * 1e6, macs / seconds * 1e-9,
               macs / seconds * 1e-7 / gmac_per_second);
        attention_release(&c);
    }
}
