/*
 * Every kernel of every tier against the scalar tier, bit by bit; the scalar products against
 * float64; and with --bench, how fast each product is beside what the machine can do.
 *
 *   check_kernels            the tests (prints its seed; KL_SEED=n repeats a run)
 *   check_kernels --bench    GB/s for one token, GMAC/s for 64, per weight type, one thread
 *
 * Every buffer ends at a page that must not be touched.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "kernels/kernels.h"

static const enum kl_quant all_types[] = {KL_F32,  KL_F16,  KL_BF16, KL_Q4_0, KL_Q4_1, KL_Q5_0,
                                          KL_Q5_1, KL_Q8_0, KL_Q4_K, KL_Q5_K, KL_Q6_K};
enum { N_TYPES = sizeof all_types / sizeof all_types[0] };

/* xorshift64*, Marsaglia 2003 / Vigna 2016 */
static uint64_t random_state;

static uint64_t random_bits(void)
{
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return random_state * 0x2545F4914F6CDD1Du;
}

static float random_float(float size)
{
    return ((float)(random_bits() >> 40) / 8388608.0f - 1.0f) * size;
}

/* ---- memory that ends at a guard page -------------------------------------------------------- */

struct guarded {
    uint8_t *base;
    size_t mapped;
    void *data;
};

static struct guarded guarded_new(size_t bytes, size_t alignment)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t rounded = (bytes + alignment - 1) / alignment * alignment;
    size_t pages = (rounded + page - 1) / page * page;
    struct guarded g = {.mapped = pages + page};
    g.base = mmap(NULL, g.mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(g.base != MAP_FAILED);
    assert_int_equal(mprotect(g.base + pages, page, PROT_NONE), 0);
    g.data = g.base + pages - rounded;
    return g;
}

static void guarded_free(struct guarded *g)
{
    munmap(g->base, g->mapped);
}

/* ---- random weights as a file holds them ------------------------------------------------------
 */

static void put_f16(uint8_t *p, float value)
{
    uint16_t half = kl_f32_to_f16(value);
    memcpy(p, &half, 2);
}

static void random_rows(enum kl_quant type, uint8_t *rows, size_t n_rows, size_t k)
{
    const struct kl_quant_type *info = kl_quant_type(type);
    size_t n_blocks = n_rows * k / info->block_elements;
    for (size_t b = 0; b < n_blocks; b++) {
        uint8_t *block = rows + b * info->block_bytes;
        /* one in four blocks is extreme: all bits set, all clear, or the most negative integers */
        unsigned kind = (unsigned)(random_bits() >> 60);
        for (size_t i = 0; i < info->block_bytes; i++) {
            uint8_t byte = (uint8_t)(random_bits() >> 32);
            block[i] = kind == 0   ? 0xFF
                       : kind == 1 ? 0
                       : kind == 2 ? 0x80
                       : kind == 3 ? 0x7F
                                   : byte;
        }
        float d = random_float(0.01f), m = random_float(0.1f);
        if (type == KL_F32)
            memcpy(block, &d, 4);
        else if (type == KL_F16)
            put_f16(block, d);
        else if (type == KL_BF16)
            memcpy(block, (const uint8_t *)&d + 2, 2);
        else if (type == KL_Q6_K)
            put_f16(block + 208, d);
        else
            put_f16(block, d);
        if (type == KL_Q4_1 || type == KL_Q5_1 || type == KL_Q4_K || type == KL_Q5_K)
            put_f16(block + 2, m);
    }
}

struct matrix {
    enum kl_quant type;
    size_t n_rows, k, n_groups;
    uint8_t *rows; /* as a file holds them */
    struct guarded packed;
};

static struct matrix matrix_new(enum kl_quant type, size_t n_rows, size_t k)
{
    struct matrix m = {.type = type, .n_rows = n_rows, .k = k};
    const struct kl_quant_type *info = kl_quant_type(type);
    size_t row_bytes = k / info->block_elements * info->block_bytes;
    size_t group_bytes = kl_packed_group_bytes(type, k);
    assert_true(group_bytes > 0);
    m.n_groups = (n_rows + KL_LANES - 1) / KL_LANES;
    m.rows = malloc(n_rows * row_bytes);
    assert_non_null(m.rows);
    random_rows(type, m.rows, n_rows, k);
    m.packed = guarded_new(m.n_groups * group_bytes, 16);
    for (size_t g = 0; g < m.n_groups; g++) {
        size_t left = n_rows - g * KL_LANES;
        kl_pack_group(type, m.rows + g * KL_LANES * row_bytes, left < KL_LANES ? left : KL_LANES, k,
                      (uint8_t *)m.packed.data + g * group_bytes);
    }
    return m;
}

static void matrix_free(struct matrix *m)
{
    free(m->rows);
    guarded_free(&m->packed);
}

struct rows {
    struct kl_activations a;
    struct guarded q, scale, sum;
};

static struct rows rows_new(size_t n, size_t k)
{
    struct rows r = {.a = {.n = n, .k = k}};
    r.q = guarded_new(n * k, 32);
    r.scale = guarded_new(n * k / 32 * sizeof(float), 4);
    r.sum = guarded_new(n * k / 16 * sizeof(int16_t), 4);
    r.a.q = r.q.data;
    r.a.scale = r.scale.data;
    r.a.sum = r.sum.data;
    return r;
}

static void rows_fill(struct rows *r)
{
    for (size_t t = 0; t < r->a.n; t++) {
        for (size_t b = 0; b < r->a.k / 32; b++) {
            unsigned kind = (unsigned)(random_bits() >> 61);
            int sums[2] = {0, 0};
            for (size_t i = 0; i < 32; i++) {
                int v = (int)(random_bits() >> 33) % 255 - 127;
                if (kind == 0)
                    v = 127;
                if (kind == 1)
                    v = -127;
                r->a.q[t * r->a.k + b * 32 + i] = (int8_t)v;
                sums[i / 16] += v;
            }
            r->a.scale[t * r->a.k / 32 + b] = fabsf(random_float(0.05f));
            for (size_t h = 0; h < 2; h++)
                r->a.sum[t * r->a.k / 16 + 2 * b + h] = (int16_t)sums[h];
        }
    }
}

static void rows_free(struct rows *r)
{
    guarded_free(&r->q);
    guarded_free(&r->scale);
    guarded_free(&r->sum);
}

/* ---- matrix products ---------------------------------------------------------------------------
 */

static void multiply(const struct kl_kernels *tier, const struct matrix *m, const struct rows *x,
                     float *y)
{
    static _Alignas(64) uint8_t scratch[KL_MATMUL_SCRATCH];
    /* in two parts, as threads do it */
    size_t half = m->n_groups / 2, stride = m->n_groups * KL_LANES;
    tier->matmul[m->type](m->packed.data, 0, half, &x->a, y, stride, scratch);
    tier->matmul[m->type](m->packed.data, half, m->n_groups, &x->a, y + half * KL_LANES, stride,
                          scratch);
}

/* The float32 result is near the float64 one: each of its at most 3 operations per block rounds
 * with 2^-24 of what is added up so far, which the sum of absolute values bounds. */
static void check_against_float64(const struct matrix *m, const struct rows *x, const float *y)
{
    const struct kl_quant_type *info = kl_quant_type(m->type);
    size_t row_bytes = m->k / info->block_elements * info->block_bytes;
    float *w = malloc(m->k * sizeof *w);
    for (size_t r = 0; r < m->n_rows; r++) {
        info->dequantize(m->rows + r * row_bytes, m->k / info->block_elements, w);
        for (size_t t = 0; t < x->a.n; t++) {
            double sum = 0, size = 0;
            for (size_t i = 0; i < m->k; i++) {
                double scale = x->a.scale[(t * m->k + i) / 32];
                double product = (double)w[i] * x->a.q[t * m->k + i] * scale;
                sum += product;
                /* the integer and the minimum part may cancel: bound each by what it can be */
                size += fabs(product) + 64 * fabs((double)scale * 0.1 * x->a.q[t * m->k + i]);
            }
            double error = fabs(sum - y[t * m->n_groups * KL_LANES + r]);
            assert_true(error <= size * (double)(m->k / 32 * 3 + 32) * 0x1p-24);
        }
    }
    free(w);
}

static void test_matmul(void **state)
{
    (void)state;
    static const size_t shapes[][2] = {{8, 256},   {1, 256},  {9, 512},  {31, 1024},
                                       {16, 1280}, {24, 768}, {8, 4864}, {40, 2304}};
    static const size_t widths[] = {1, 2, 3, 4, 5, 7, 8, 13};
    for (size_t i = 0; i < N_TYPES; i++) {
        for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
            /* 4864 = 19 * 256; types of 32 columns also run 896 and 32, the model's own and least
             */
            size_t k = shapes[s][1];
            if (kl_packed_group_bytes(all_types[i], 32) > 0)
                k = s == 0 ? 32 : s == 2 ? 896 : k;
            struct matrix m = matrix_new(all_types[i], shapes[s][0], k);
            for (size_t n = 0; n < sizeof widths / sizeof widths[0]; n++) {
                struct rows x = rows_new(widths[n], k);
                rows_fill(&x);
                size_t count = widths[n] * m.n_groups * KL_LANES;
                struct guarded expected = guarded_new(count * sizeof(float), 4);
                struct guarded found = guarded_new(count * sizeof(float), 4);
                multiply(kl_kernels_at(0), &m, &x, expected.data);
                if (n == 2)
                    check_against_float64(&m, &x, expected.data);
                for (size_t tier = 1; kl_kernels_at(tier) != NULL; tier++) {
                    multiply(kl_kernels_at(tier), &m, &x, found.data);
                    assert_memory_equal(found.data, expected.data, count * sizeof(float));
                }
                guarded_free(&expected);
                guarded_free(&found);
                rows_free(&x);
            }
            matrix_free(&m);
        }
    }
}

/* A token's outputs do not depend on the tokens beside it. */
static void test_matmul_alone_and_together(void **state)
{
    (void)state;
    for (size_t tier = 0; kl_kernels_at(tier) != NULL; tier++) {
        for (size_t i = 0; i < N_TYPES; i++) {
            struct matrix m = matrix_new(all_types[i], 16, 2048 + 256);
            struct rows x = rows_new(11, m.k);
            rows_fill(&x);
            float together[11 * 16], alone[16];
            multiply(kl_kernels_at(tier), &m, &x, together);
            for (size_t t = 0; t < 11; t++) {
                struct rows one = x;
                one.a.n = 1;
                one.a.q += t * m.k;
                one.a.scale += t * m.k / 32;
                one.a.sum += t * m.k / 16;
                multiply(kl_kernels_at(tier), &m, &one, alone);
                assert_memory_equal(alone, together + t * 16, sizeof alone);
            }
            rows_free(&x);
            matrix_free(&m);
        }
    }
}

/* ---- the element-wise kernels ------------------------------------------------------------------
 */

static void fill(float *x, size_t n, float size)
{
    for (size_t i = 0; i < n; i++)
        x[i] = random_float(size);
}

static void test_quantize(void **state)
{
    (void)state;
    static const size_t sizes[] = {32, 64, 896, 4864};
    for (size_t i = 0; i < 4 * 8; i++) {
        size_t k = sizes[i % 4];
        struct guarded x = guarded_new(k * 4, 4);
        fill(x.data, k, i < 16 ? 3.0f : 1e-20f);
        if (i % 8 < 4)
            memset(x.data, 0, 32 * sizeof(float));
        struct rows expected = rows_new(1, k), found = rows_new(1, k);
        kl_kernels_at(0)->quantize(x.data, k, expected.a.q, expected.a.scale, expected.a.sum);
        for (size_t j = 0; j < k; j++) {
            float scale = expected.a.scale[j / 32];
            float back = (float)expected.a.q[j] * scale;
            assert_true(fabsf(back - ((const float *)x.data)[j]) <= 0.5001f * scale);
        }
        for (size_t j = 0; j < k / 16; j++) {
            int sum = 0;
            for (size_t c = 0; c < 16; c++)
                sum += expected.a.q[16 * j + c];
            assert_int_equal(sum, expected.a.sum[j]);
        }
        for (size_t tier = 1; kl_kernels_at(tier) != NULL; tier++) {
            kl_kernels_at(tier)->quantize(x.data, k, found.a.q, found.a.scale, found.a.sum);
            assert_memory_equal(found.a.q, expected.a.q, k);
            assert_memory_equal(found.a.scale, expected.a.scale, k / 32 * sizeof(float));
            assert_memory_equal(found.a.sum, expected.a.sum, k / 16 * sizeof(int16_t));
        }
        rows_free(&expected);
        rows_free(&found);
        guarded_free(&x);
    }
}

/* Weights of a damaged file can make numbers that are none: nothing may crash or leave int8. */
static void test_quantize_not_finite(void **state)
{
    (void)state;
    float x[32];
    for (size_t tier = 0; kl_kernels_at(tier) != NULL; tier++) {
        struct rows r = rows_new(1, 32);
        fill(x, 32, 1.0f);
        x[3] = INFINITY;
        x[7] = -INFINITY;
        x[9] = NAN;
        kl_kernels_at(tier)->quantize(x, 32, r.a.q, r.a.scale, r.a.sum);
        rows_free(&r);
    }
}

static void test_rmsnorm(void **state)
{
    (void)state;
    float x[896], w[896], expected[896], found[896];
    for (int round = 0; round < 20; round++) {
        size_t n = round % 2 == 0 ? 896 : 64;
        fill(x, n, 20.0f);
        fill(w, n, 2.0f);
        kl_kernels_at(0)->rmsnorm(x, w, n, 1e-6f, expected);
        double squares = 0;
        for (size_t i = 0; i < n; i++)
            squares += (double)x[i] * x[i];
        double factor = 1 / sqrt(squares / (double)n + 1e-6);
        for (size_t i = 0; i < n; i++)
            assert_true(fabs(expected[i] - x[i] * factor * w[i]) <= 1e-5 * fabs(x[i] * factor));
        for (size_t tier = 1; kl_kernels_at(tier) != NULL; tier++) {
            kl_kernels_at(tier)->rmsnorm(x, w, n, 1e-6f, found);
            assert_memory_equal(found, expected, n * sizeof(float));
        }
    }
}

static void test_rope(void **state)
{
    (void)state;
    float start[256], expected[256], found[256], cosine[128], sine[128];
    static const size_t dims[] = {16, 32, 64, 128, 256};
    for (size_t i = 0; i < 5; i++) {
        size_t dim = dims[i];
        fill(start, dim, 10.0f);
        for (size_t j = 0; j < dim / 2; j++) {
            cosine[j] = (float)cos((double)j * 0.37);
            sine[j] = (float)sin((double)j * 0.37);
        }
        memcpy(expected, start, sizeof start);
        kl_kernels_at(0)->rope(expected, cosine, sine, dim);
        for (size_t j = 0; j < dim / 2; j++) {
            double a = start[j], b = start[j + dim / 2];
            assert_true(fabs(expected[j] - (a * cosine[j] - b * sine[j])) < 1e-5);
            assert_true(fabs(expected[j + dim / 2] - (a * sine[j] + b * cosine[j])) < 1e-5);
        }
        for (size_t tier = 1; kl_kernels_at(tier) != NULL; tier++) {
            memcpy(found, start, sizeof start);
            kl_kernels_at(tier)->rope(found, cosine, sine, dim);
            assert_memory_equal(found, expected, dim * sizeof(float));
        }
    }
}

static void test_swiglu(void **state)
{
    (void)state;
    float gate[512], up[512], expected[512], found[512];
    fill(gate, 512, 12.0f);
    fill(up, 512, 3.0f);
    gate[0] = 200.0f; /* past both ends of exp */
    gate[1] = -200.0f;
    gate[2] = 0.0f;
    kl_kernels_at(0)->swiglu(gate, up, 512, expected);
    for (size_t i = 0; i < 512; i++) {
        double exact = gate[i] / (1 + exp(-(double)gate[i])) * up[i];
        assert_true(fabs(expected[i] - exact) <= 1e-6 * fabs(exact) + 1e-35);
    }
    for (size_t tier = 1; kl_kernels_at(tier) != NULL; tier++) {
        kl_kernels_at(tier)->swiglu(gate, up, 512, found);
        assert_memory_equal(found, expected, sizeof expected);
    }
}

/* ---- attention ---------------------------------------------------------------------------------
 */

enum { MOST_PAGES = 5 };

static void exact_attention(const float *q, size_t dim, const float *k, const float *v, size_t n,
                            float scale, double *out)
{
    double scores[MOST_PAGES * KL_KV_PAGE_TOKENS], top = -INFINITY, sum = 0;
    for (size_t j = 0; j < n; j++) {
        scores[j] = 0;
        for (size_t d = 0; d < dim; d++)
            scores[j] += (double)q[d] * k[j * dim + d];
        scores[j] *= scale;
        top = scores[j] > top ? scores[j] : top;
    }
    for (size_t d = 0; d < dim; d++)
        out[d] = 0;
    for (size_t j = 0; j < n; j++) {
        double p = exp(scores[j] - top);
        sum += p;
        for (size_t d = 0; d < dim; d++)
            out[d] += p * v[j * dim + d];
    }
    for (size_t d = 0; d < dim; d++)
        out[d] /= sum;
}

static void test_attend(void **state)
{
    (void)state;
    static const size_t dims[] = {32, 64, 80, 128}, lengths[] = {1, 7, 31, 32, 33, 64, 97, 160};
    enum { HEADS = 7, MOST = MOST_PAGES * KL_KV_PAGE_TOKENS };
    for (size_t i = 0; i < 4; i++) {
        size_t dim = dims[i];
        float scale = 1.0f / sqrtf((float)dim);
        float *k = malloc(MOST * dim * sizeof *k), *v = malloc(MOST * dim * sizeof *v);
        float q[HEADS * 128], expected[HEADS * 128], found[HEADS * 128];
        fill(q, HEADS * dim, 3.0f);
        fill(k, MOST * dim, 2.0f);
        fill(v, MOST * dim, 1.0f);
        for (size_t j = 0; j < MOST * dim; j++) { /* what f16 can hold */
            k[j] = kl_f16_to_f32(kl_f32_to_f16(k[j]));
            v[j] = kl_f16_to_f32(kl_f32_to_f16(v[j]));
        }
        for (size_t n = 0; n < 8; n++) {
            for (size_t tier = 0; kl_kernels_at(tier) != NULL; tier++) {
                const struct kl_kernels *kernels = kl_kernels_at(tier);
                struct guarded memory[MOST_PAGES];
                const uint16_t *pages[MOST_PAGES];
                size_t v_at = dim * KL_KV_PAGE_TOKENS;
                for (size_t p = 0; p < MOST_PAGES; p++) {
                    memory[p] = guarded_new(2 * v_at * sizeof(uint16_t), 2);
                    /* what was never stored is NaN here, and must not matter */
                    memset(memory[p].data, 0xFF, 2 * v_at * sizeof(uint16_t));
                    pages[p] = memory[p].data;
                }
                for (size_t j = 0; j < lengths[n]; j++) {
                    uint16_t *page = memory[j / KL_KV_PAGE_TOKENS].data;
                    kernels->kv_store(k + j * dim, v + j * dim, dim, page, page + v_at,
                                      j % KL_KV_PAGE_TOKENS);
                }
                struct guarded scratch = guarded_new(KL_ATTEND_SCRATCH(dim), 64);
                kernels->attend(q, HEADS, dim, pages, 0, v_at, lengths[n], scale,
                                tier == 0 ? expected : found, scratch.data);
                guarded_free(&scratch);
                for (size_t p = 0; p < MOST_PAGES; p++)
                    guarded_free(&memory[p]);
                if (tier > 0)
                    assert_memory_equal(found, expected, HEADS * dim * sizeof(float));
            }
            for (size_t h = 0; h < HEADS; h++) {
                double exact[128];
                exact_attention(q + h * dim, dim, k, v, lengths[n], scale, exact);
                for (size_t d = 0; d < dim; d++)
                    assert_true(fabs(exact[d] - expected[h * dim + d]) < 2e-5);
            }
        }
        free(k);
        free(v);
    }
}

static void test_select(void **state)
{
    (void)state;
    const struct kl_kernels *kernels = NULL;
    struct kl_error err = {0};
    assert_int_equal(kl_kernels_select("scalar", &kernels, &err), KL_OK);
    assert_string_equal(kernels->name, "scalar");
    assert_int_equal(kl_kernels_select("auto", &kernels, &err), KL_OK);
    assert_int_equal(kl_kernels_select("avx9", &kernels, &err), KL_ERR_INVALID);
    assert_non_null(strstr(err.text, "avx9"));
    assert_non_null(strstr(err.text, "scalar"));
    /* every slot is filled in every tier */
    for (size_t tier = 0; kl_kernels_at(tier) != NULL; tier++)
        for (size_t i = 0; i < N_TYPES; i++)
            assert_non_null(kl_kernels_at(tier)->matmul[all_types[i]]);
}

/* ---- --bench ------------------------------------------------------------------------------------
 */

static double time_matmul(const struct kl_kernels *tier, const struct matrix *m,
                          const struct rows *x, float *y)
{
    double best = 1e9;
    multiply(tier, m, x, y);
    for (int i = 0; i < 7; i++) {
        uint64_t start = kl_now_ns();
        multiply(tier, m, x, y);
        double seconds = kl_seconds_since(start);
        best = seconds < best ? seconds : best;
    }
    return best;
}

static int bench(void)
{
    /* 32768 x 4864: 90 MB of Q5_0, far over any cache for one token; the tiles run on 896 rows */
    static const size_t k = 4864;
    printf("%-7s %-6s %14s %16s\n", "tier", "type", "1 token, GB/s", "64 tokens, GMAC/s");
    for (size_t tier = 0; kl_kernels_at(tier) != NULL; tier++) {
        for (size_t i = 0; i < N_TYPES; i++) {
            size_t n_rows = tier == 0 ? 512 : 32768;
            struct matrix m = matrix_new(all_types[i], n_rows, k);
            struct rows one = rows_new(1, k), many = rows_new(64, k);
            rows_fill(&one);
            rows_fill(&many);
            float *y = malloc(n_rows * 64 * sizeof *y);
            double bytes = (double)(m.n_groups * kl_packed_group_bytes(m.type, k));
            double read = time_matmul(kl_kernels_at(tier), &m, &one, y);
            size_t few = tier == 0 ? 64 : 896;
            m.n_groups = few / KL_LANES;
            double work = time_matmul(kl_kernels_at(tier), &m, &many, y);
            printf("%-7s %-6s %14.2f %16.1f\n", kl_kernels_at(tier)->name,
                   kl_quant_type(m.type)->name, bytes / read * 1e-9,
                   (double)(few * k * 64) / work * 1e-9);
            free(y);
            rows_free(&one);
            rows_free(&many);
            matrix_free(&m);
        }
    }
    return 0;
}

int main(int argc, char **argv)
{
    const char *seed = getenv("KL_SEED");
    random_state = seed != NULL ? strtoull(seed, NULL, 10) : kl_now_ns() | 1;
    if (argc > 1 && strcmp(argv[1], "--bench") == 0)
        return bench();
    printf("seed %llu\n", (unsigned long long)random_state);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_matmul),   cmocka_unit_test(test_matmul_alone_and_together),
        cmocka_unit_test(test_quantize), cmocka_unit_test(test_quantize_not_finite),
        cmocka_unit_test(test_rmsnorm),  cmocka_unit_test(test_rope),
        cmocka_unit_test(test_swiglu),   cmocka_unit_test(test_attend),
        cmocka_unit_test(test_select),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
