/* Checks and speed of the products with packed matrices. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "harness.h"

#define SCALAR kl_kernels_at(0)

/* All products: for each type in files, and for the upper part of a matrix in two parts. */
static const struct product {
    const char *name;
    enum kl_quant packed, file; /* the layout, and the type that kl_pack_group() takes for it */
    bool exact;                 /* the product of the unpacked numbers, up to rounding */
} products[] = {{"Q8_HIGH", KL_Q8_HIGH, KL_Q8_0, false},
#define ROW(NAME, ...) {#NAME, KL_##NAME, KL_##NAME, true},
                KL_QUANT_TYPES(ROW)
#undef ROW
};
enum { N_PRODUCTS = sizeof products / sizeof products[0] };

/* ---- random weights in file format ----------------------------------------------------------- */

static void put_f16(uint8_t *p, float value)
{
    uint16_t half = kl_f32_to_f16(value);
    memcpy(p, &half, 2);
}

/* Where the scale of a block is. */
static size_t scale_place(enum kl_quant type)
{
    switch (type) {
    case KL_Q2_K:
        return 80;
    case KL_Q3_K:
    case KL_Q6_K:
    case KL_TQ1_0:
    case KL_TQ2_0:
        return kl_quant_type(type)->block_bytes - 2;
    default:
        return 0;
    }
}

#define LARGEST_MINIMUM 0.1f /* without its factor, at most 63 */

static void random_rows(enum kl_quant type, uint8_t *rows, size_t n_rows, size_t k)
{
    const struct kl_quant_type *info = kl_quant_type(type);
    size_t n_blocks = n_rows * k / info->block_elements;
    /* one in four blocks is extreme: all bits set, all clear, or the most negative integers */
    static const uint8_t extremes[] = {0xFF, 0, 0x80, 0x7F};
    /* and one in eight has a scale from an end of f16: zeros, subnormals, the largest */
    static const uint16_t ends[] = {0, 0x8000, 1, 0x8001, 0x03FF, 0x0400, 0x7BFF, 0xFBFF};
    for (size_t b = 0; b < n_blocks; b++) {
        uint8_t *block = rows + b * info->block_bytes;
        unsigned kind = (unsigned)(random_bits() >> 60);
        for (size_t i = 0; i < info->block_bytes; i++)
            block[i] = kind < 4 ? extremes[kind] : (uint8_t)(random_bits() >> 32);
        float d = random_float(0.01f), m = random_float(LARGEST_MINIMUM);
        if (random_bits() >> 61 == 0)
            d = kl_f16_to_f32(ends[random_bits() >> 61]);
        if (type == KL_F32)
            memcpy(block, &d, 4);
        else if (type == KL_BF16)
            memcpy(block, (const uint8_t *)&d + 2, 2);
        else
            put_f16(block + scale_place(type), d);
        if (type == KL_Q4_1 || type == KL_Q5_1 || type == KL_Q4_K || type == KL_Q5_K)
            put_f16(block + 2, m);
        else if (type == KL_Q2_K)
            put_f16(block + 82, m);
    }
}

struct matrix {
    const struct product *product;
    size_t n_rows, k, n_groups;
    struct guarded rows; /* in file format */
    struct guarded packed;
};

static struct matrix matrix_new(const struct product *product, size_t n_rows, size_t k)
{
    struct matrix m = {.product = product, .n_rows = n_rows, .k = k};
    const struct kl_quant_type *info = kl_quant_type(product->file);
    size_t row_bytes = k / info->block_elements * info->block_bytes;
    size_t group_bytes = kl_packed_group_bytes(product->packed, k);
    m.n_groups = (n_rows + KL_LANES - 1) / KL_LANES;
    expect(group_bytes > 0, "rows of %zu cannot be packed", k);
    m.rows = guarded_new(n_rows * row_bytes, 1);
    random_rows(product->file, m.rows.data, n_rows, k);
    m.packed = guarded_new(m.n_groups * group_bytes, 16);
    for (size_t g = 0; g < m.n_groups; g++) {
        size_t left = n_rows - g * KL_LANES;
        kl_pack_group(product->packed, (const uint8_t *)m.rows.data + g * KL_LANES * row_bytes,
                      left < KL_LANES ? left : KL_LANES, k,
                      (uint8_t *)m.packed.data + g * group_bytes);
    }
    return m;
}

static void matrix_free(struct matrix *m)
{
    guarded_free(&m->rows);
    guarded_free(&m->packed);
}

/* ---- activations ----------------------------------------------------------------------------- */

struct rows {
    struct kl_activations a;
    struct guarded blocks;
};

static struct rows rows_new(size_t n, size_t k)
{
    struct rows r = {.a = {.n = n, .k = k}};
    r.blocks = guarded_new(n * k / 32 * sizeof *r.a.blocks, 16);
    r.a.blocks = r.blocks.data;
    for (size_t b = 0; b < n * k / 32; b++) {
        unsigned kind = (unsigned)(random_bits() >> 61); /* 0 and 1: all values at one end */
        int sums[2] = {0, 0};
        for (size_t i = 0; i < 32; i++) {
            int v = kind == 0 ? 127 : kind == 1 ? -127 : (int)(random_bits() >> 33) % 255 - 127;
            r.a.blocks[b].q[i] = (int8_t)v;
            sums[i / 16] += v;
        }
        kl_set_factors(&r.a.blocks[b], fabsf(random_float(0.05f)), sums[0], sums[1]);
    }
    return r;
}

static void rows_free(struct rows *r)
{
    guarded_free(&r->blocks);
}

/* ---- checks ---------------------------------------------------------------------------------- */

static void attempt_product(const struct kl_kernels *tier, const struct matrix *m, size_t n)
{
    attempt("matmul", tier, "%s, %zu x %zu, %zu tokens", m->product->name, m->n_rows, m->k, n);
}

static void multiply(const struct kl_kernels *tier, const struct matrix *m, const struct rows *x,
                     float *y)
{
    static _Alignas(64) uint8_t scratch[KL_MATMUL_SCRATCH];
    kl_matmul_fn *matmul = tier->matmul[m->product->packed];
    attempt_product(tier, m, x->a.n);
    expect(matmul != NULL, "the slot is empty");
    /* in two parts, like threads */
    size_t half = m->n_groups / 2, stride = m->n_groups * KL_LANES;
    matmul(m->packed.data, 0, half, &x->a, y, stride, scratch);
    matmul(m->packed.data, half, m->n_groups, &x->a, y + half * KL_LANES, stride, scratch);
}

/* A number is an integer times a scale less a minimum, which the products add apart from each
 * other: both may be larger than the number by this. The minimum of a ternary type is its scale. */
static double largest_minimum(const struct kl_quant_type *info, const uint8_t *row, size_t i)
{
    double largest = 64 * (double)LARGEST_MINIMUM;
    if (info->id == KL_TQ1_0 || info->id == KL_TQ2_0) {
        uint16_t d;
        memcpy(&d, row + i / KL_SUPER_BLOCK * info->block_bytes + scale_place(info->id), sizeof d);
        largest = fabs((double)kl_f16_to_f32(d));
    }
    return largest;
}

/* Checks that the float32 result is near the float64 one: each of at most 3 operations per block
 * rounds by 2^-24 of the sum so far, which the sum of absolute values bounds. */
static void check_against_float64(const struct matrix *m, const struct rows *x, const float *y)
{
    const struct kl_quant_type *info = kl_quant_type(m->product->file);
    size_t row_bytes = m->k / info->block_elements * info->block_bytes;
    struct guarded memory = guarded_new(m->k * sizeof(float), 4);
    float *w = memory.data;
    for (size_t r = 0; r < m->n_rows; r++) {
        const uint8_t *row = (const uint8_t *)m->rows.data + r * row_bytes;
        info->dequantize(row, m->k / info->block_elements, w);
        for (size_t t = 0; t < x->a.n; t++) {
            double sum = 0, size = 0;
            for (size_t i = 0; i < m->k; i++) {
                const struct kl_int8_block *block = &x->a.blocks[(t * m->k + i) / 32];
                double activation = (double)block->scale * block->q[i % 32];
                sum += (double)w[i] * activation;
                size += (fabs((double)w[i]) + largest_minimum(info, row, i)) * fabs(activation);
            }
            double found = y[t * m->n_groups * KL_LANES + r];
            expect(fabs(sum - found) <= size * (double)(m->k / 32 * 3 + 32) * 0x1p-24,
                   "row %zu of token %zu is %g and not %g", r, t, found, sum);
        }
    }
    guarded_free(&memory);
}

/* Rows: below, at and past one and two groups. Columns: one block, a tail after whole panels of
 * 1024, the model's own 896 and 4864; K types have blocks of 256. */
static const struct shape {
    size_t n_rows, k;
} shapes[] = {{1, 32},   {7, 64},    {8, 96},    {1, 256},   {9, 256},   {15, 512},
              {16, 896}, {17, 1056}, {24, 1280}, {31, 1024}, {40, 2304}, {8, 4864}};

void check_matmul(const struct kl_kernels *tier)
{
    static const size_t widths[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 27};
    for (size_t i = 0; i < N_PRODUCTS; i++) {
        for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
            if (kl_packed_group_bytes(products[i].packed, shapes[s].k) == 0)
                continue;
            struct matrix m = matrix_new(&products[i], shapes[s].n_rows, shapes[s].k);
            for (size_t n = 0; n < sizeof widths / sizeof widths[0]; n++) {
                struct rows x = rows_new(widths[n], m.k);
                size_t count = widths[n] * m.n_groups * KL_LANES;
                struct guarded expected = guarded_new(count * sizeof(float), 4);
                struct guarded found = guarded_new(count * sizeof(float), 4);
                multiply(SCALAR, &m, &x, expected.data);
                if (n == 2 && products[i].exact)
                    check_against_float64(&m, &x, expected.data);
                multiply(tier, &m, &x, found.data);
                expect_same(found.data, expected.data, count * sizeof(float));
                guarded_free(&expected);
                guarded_free(&found);
                rows_free(&x);
            }
            matrix_free(&m);
        }
    }
}

/* Checks that a matrix in two parts gives the same bits as the whole one. */
void check_matmul_halves(const struct kl_kernels *tier)
{
    static const struct product whole = {"Q8_0", KL_Q8_0, KL_Q8_0, true};
    static _Alignas(64) uint8_t scratch[KL_MATMUL_SCRATCH];
    static const enum kl_quant parts[] = {KL_Q8_HIGH, KL_Q8_LOW};
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
        struct matrix m = matrix_new(&whole, shapes[s].n_rows, shapes[s].k);
        struct guarded halves[2];
        const uint8_t *rows = m.rows.data;
        size_t row_bytes = m.k / 32 * kl_quant_type(KL_Q8_0)->block_bytes;
        for (size_t i = 0; i < 2; i++) {
            size_t bytes = kl_packed_group_bytes(parts[i], m.k);
            halves[i] = guarded_new(m.n_groups * bytes, 16);
            for (size_t g = 0; g < m.n_groups; g++) {
                size_t left = m.n_rows - g * KL_LANES;
                kl_pack_group(parts[i], rows + g * KL_LANES * row_bytes,
                              left < KL_LANES ? left : KL_LANES, m.k,
                              (uint8_t *)halves[i].data + g * bytes);
            }
        }
        for (size_t n = 1; n < 10; n++) {
            struct rows x = rows_new(n, m.k);
            size_t stride = m.n_groups * KL_LANES, bytes = n * stride * sizeof(float);
            struct guarded expected = guarded_new(bytes, 4), found = guarded_new(bytes, 4);
            multiply(SCALAR, &m, &x, expected.data);
            attempt("matmul_halves", tier, "%zu x %zu, %zu tokens", m.n_rows, m.k, n);
            tier->matmul_halves(halves[0].data, halves[1].data, 0, m.n_groups, &x.a, found.data,
                                stride, scratch);
            expect_same(found.data, expected.data, bytes);
            guarded_free(&expected);
            guarded_free(&found);
            rows_free(&x);
        }
        guarded_free(&halves[0]);
        guarded_free(&halves[1]);
        matrix_free(&m);
    }
}

/* Checks that the outputs of a token do not depend on the other tokens. */
void check_matmul_company(const struct kl_kernels *tier)
{
    for (size_t i = 0; i < N_PRODUCTS; i++) {
        struct matrix m = matrix_new(&products[i], 16, 2048 + 256);
        struct rows x = rows_new(11, m.k);
        float together[11 * 16], alone[16];
        multiply(tier, &m, &x, together);
        for (size_t t = 0; t < 11; t++) {
            struct rows one = x;
            one.a.n = 1;
            one.a.blocks += t * m.k / 32;
            multiply(tier, &m, &one, alone);
            expect_same(alone, together + t * 16, sizeof alone);
        }
        rows_free(&x);
        matrix_free(&m);
    }
}

/* ---- speed ----------------------------------------------------------------------------------- */

static double best_seconds(const struct kl_kernels *tier, const struct matrix *m,
                           const struct rows *x, float *y)
{
    double best = INFINITY;
    multiply(tier, m, x, y);
    for (int i = 0; i < 7; i++) {
        uint64_t start = kl_now_ns();
        multiply(tier, m, x, y);
        double seconds = kl_seconds_since(start);
        best = seconds < best ? seconds : best;
    }
    return best;
}

void bench_matmul(const struct kl_kernels *tier, double gb_per_second, double gmac_per_second)
{
    /* 32768 x 4864: 90 MB of Q5_0, far over any cache for one token; the tiles run on 896 rows */
    enum { WIDTH = 4864, MANY = 32768, FEW = 896, TOKENS = 64 };
    bool slow = tier == SCALAR;
    size_t n_rows = slow ? 512 : MANY, few = slow ? 64 : FEW;
    printf("products, rows of %d     1 token, GB/s        %d tokens, GMAC/s\n", WIDTH, TOKENS);
    for (size_t i = 0; i < N_PRODUCTS; i++) {
        struct matrix m = matrix_new(&products[i], n_rows, WIDTH);
        struct rows one = rows_new(1, WIDTH), many = rows_new(TOKENS, WIDTH);
        struct guarded y = guarded_new(n_rows * TOKENS * sizeof(float), 4);
        double bytes = (double)(m.n_groups * kl_packed_group_bytes(products[i].packed, WIDTH));
        double read = bytes / best_seconds(tier, &m, &one, y.data) * 1e-9;
        m.n_groups = few / KL_LANES;
        double macs = (double)(few * WIDTH * TOKENS);
        double work = macs / best_seconds(tier, &m, &many, y.data) * 1e-9;
        printf("  %-18s %9.2f  %3.0f %%      %12.1f  %3.0f %%\n", products[i].name, read,
               100 * read / gb_per_second, work, 100 * work / gmac_per_second);
        guarded_free(&y);
        rows_free(&one);
        rows_free(&many);
        matrix_free(&m);
    }
}
