/* Checks of the kernels that process rows of floats. */
#include <math.h>
#include <string.h>

#include "harness.h"

#define SCALAR kl_kernels_at(0)

/* One to two vectors and a tail, and the model's own widths. */
static const size_t widths[] = {8, 16, 24, 32, 40, 64, 896, 4864};
enum { N_WIDTHS = sizeof widths / sizeof widths[0], ROUNDS = 12 };

static struct guarded blocks_new(size_t k)
{
    return guarded_new(k / 32 * sizeof(struct kl_int8_block), 16);
}

/* Checks that each number is within half a step, and that the sums are those of the integers. */
static void check_steps(const float *x, size_t n, const struct kl_int8_block *block, size_t stride)
{
    for (size_t b = 0; b < n; b++, block += stride, x += 32) {
        int sums[2] = {0, 0}, sum;
        for (size_t i = 0; i < 32; i++) {
            /* blocks of less than 2^-120 count as zeros, since 127 / max is near the end of floats
             */
            expect(block->q[i] >= -127 && fabsf((float)block->q[i] * block->scale - x[i]) <=
                                              0.5001f * block->scale + 0x1p-120f,
                   "%g became %d * %g", (double)x[i], block->q[i], (double)block->scale);
            sums[i / 16] += block->q[i];
        }
        sum = sums[0] + sums[1];
        for (size_t half = 0; half < 2; half++)
            expect(block->half_sum[half] == sums[half], "half_sum %zu of block %zu is not %d", half,
                   b, sums[half]);
        expect(block->minus_sum == -sum, "minus_sum of block %zu is not %d", b, -sum);
        expect(block->scaled_sum == block->scale * (float)sum, "scaled_sum of block %zu", b);
    }
}

void check_quantize(const struct kl_kernels *tier)
{
    for (size_t round = 0; round < 64; round++) {
        static const size_t sizes[] = {1, 2, 3, 28, 33, 64, 152};
        size_t n = sizes[round % 7], k = n * KL_BLOCK, stride = round % 2 == 0 ? 1 : 3;
        size_t span = (n - 1) * stride + 1, bytes = span * sizeof(struct kl_int8_block);
        struct guarded x = guarded_new(k * sizeof(float), 4);
        struct guarded expected = blocks_new(span * KL_BLOCK), found = blocks_new(span * KL_BLOCK);
        memset(expected.data, 0x5A, bytes); /* what stands between the blocks must stay */
        memset(found.data, 0x5A, bytes);
        /* 127 divided by 1e-37, or by something subnormal, is infinite */
        static const float magnitudes[] = {3.0f, 1e-20f, 1e-37f, 1e-40f};
        if (round >= 16)
            for (size_t i = 0; i < k; i++)
                ((float *)x.data)[i] = random_float(magnitudes[round % 4]);
        else
            random_floats(x.data, k, 3.0f);
        if (round % 3 == 0)
            memset(x.data, 0, 32 * sizeof(float));
        attempt("quantize", SCALAR, "%zu blocks, stride %zu", n, stride);
        SCALAR->quantize(x.data, n, expected.data, stride);
        check_steps(x.data, n, expected.data, stride);
        attempt("quantize", tier, "%zu blocks, stride %zu", n, stride);
        tier->quantize(x.data, n, found.data, stride);
        expect_same(found.data, expected.data, bytes);
        guarded_free(&expected);
        guarded_free(&found);
        guarded_free(&x);
    }
}

/* Weights of a damaged file can give values that are not finite: nothing may crash, and nothing may
 * hide them, wherever in a block they are. */
void check_quantize_not_finite(const struct kl_kernels *tier)
{
    static const float damaged[] = {INFINITY, -INFINITY, NAN, -NAN};
    struct guarded expected = blocks_new(32), found = blocks_new(32);
    for (size_t round = 0; round < 4 * 32; round++) {
        float x[32];
        for (size_t i = 0; i < 32; i++)
            x[i] = random_float(1.0f);
        x[round % 32] = damaged[round / 32];
        attempt("quantize", tier, "%g as number %zu", (double)damaged[round / 32], round % 32);
        SCALAR->quantize(x, 1, expected.data, 1);
        tier->quantize(x, 1, found.data, 1);
        const struct kl_int8_block *a = found.data, *b = expected.data;
        expect(!isfinite(a->scale), "the scale hides it");
        expect_same(a->q, b->q, sizeof a->q);
        expect_same(a->half_sum, b->half_sum, sizeof a->half_sum);
        expect(a->minus_sum == b->minus_sum, "minus_sum is not %d", b->minus_sum);
    }
    guarded_free(&expected);
    guarded_free(&found);
}

void check_rmsnorm(const struct kl_kernels *tier)
{
    for (size_t round = 0; round < N_WIDTHS * ROUNDS; round++) {
        size_t n = widths[round % N_WIDTHS], bytes = n * sizeof(float);
        struct guarded x = guarded_new(bytes, 4), w = guarded_new(bytes, 4);
        struct guarded expected = guarded_new(bytes, 4), found = guarded_new(bytes, 4);
        const float *from = x.data, *weight = w.data, *y = expected.data;
        random_floats(x.data, n, 20.0f);
        random_floats(w.data, n, 2.0f);
        attempt("rmsnorm", SCALAR, "n %zu", n);
        SCALAR->rmsnorm(from, weight, n, 1e-6f, expected.data);
        double squares = 0;
        for (size_t i = 0; i < n; i++)
            squares += (double)from[i] * from[i];
        double factor = 1 / sqrt(squares / (double)n + 1e-6);
        for (size_t i = 0; i < n && squares < 1e38; i++) {
            double exact = from[i] * factor * weight[i];
            expect(fabs(y[i] - exact) <= 1e-5 * fabs(exact) + 1e-37, "%g and not %g", (double)y[i],
                   exact);
        }
        attempt("rmsnorm", tier, "n %zu", n);
        tier->rmsnorm(from, weight, n, 1e-6f, found.data);
        expect_same(found.data, expected.data, bytes);
        guarded_free(&x);
        guarded_free(&w);
        guarded_free(&expected);
        guarded_free(&found);
    }
}

void check_rope(const struct kl_kernels *tier)
{
    for (size_t round = 0; round < 16 * 4; round++) {
        size_t dim = 16 * (1 + round % 16), half = dim / 2, bytes = dim * sizeof(float);
        struct guarded x = guarded_new(bytes, 4), y = guarded_new(bytes, 4);
        struct guarded cosine = guarded_new(bytes / 2, 4), sine = guarded_new(bytes / 2, 4);
        float start[KL_MAX_HEAD_DIM], *c = cosine.data, *s = sine.data, *rotated = x.data;
        random_floats(start, dim, 10.0f);
        for (size_t i = 0; i < half; i++) {
            double angle = random_float(1000.0f);
            c[i] = (float)cos(angle);
            s[i] = (float)sin(angle);
        }
        memcpy(x.data, start, bytes);
        memcpy(y.data, start, bytes);
        attempt("rope", SCALAR, "dim %zu", dim);
        SCALAR->rope(x.data, c, s, dim);
        for (size_t i = 0; i < half; i++) {
            double a = start[i], b = start[i + half], size = (fabs(a) + fabs(b)) * 1e-6 + 1e-44;
            expect(fabs(rotated[i] - (a * c[i] - b * s[i])) <= size, "first of pair %zu", i);
            expect(fabs(rotated[i + half] - (a * s[i] + b * c[i])) <= size, "second of pair %zu",
                   i);
        }
        attempt("rope", tier, "dim %zu", dim);
        tier->rope(y.data, c, s, dim);
        expect_same(y.data, x.data, bytes);
        guarded_free(&x);
        guarded_free(&y);
        guarded_free(&cosine);
        guarded_free(&sine);
    }
}

/* A fused multiply-add rounds once. Tests emulated ones: sums that are half way between two floats
 * except for a part too small for a double, and results past both ends of the range. */
void check_fused(const struct kl_kernels *tier)
{
    static const struct {
        float a, b, c, sum; /* a * b + c */
    } cases[] = {
        {0x1.0002p0f, 0x1.fffcp-25f, 0x1.000002p0f, 0x1.000002p0f},
        {0x1.0002p0f, -0x1.fffcp-25f, -0x1.000002p0f, -0x1.000002p0f},
        {0x1.0002p40f, 0x1.fffcp-25f, 0x1.000002p40f, 0x1.000002p40f},
        {0x1.0002p-75f, 0x1.fffcp-76f, 0x0.fffffep-126f, 0x0.fffffep-126f}, /* subnormal */
        {0x1.0002p-75f, -0x1.fffcp-76f, -0x0.fffffep-126f, -0x0.fffffep-126f},
        {0x1p-75f, 0x1p-75f, 0.0f, 0.0f}, /* to even */
        {0x1.000002p-75f, 0x1p-75f, 0.0f, 0x1p-149f},
        {0x1p-100f, 0x1p-100f, 0x1p-149f, 0x1p-149f},
        {0x1p100f, 0x1p100f, -1.0f, INFINITY},
        {0x1p100f, 0x1p27f, 0x1.fffffep127f, INFINITY},
        {-0x1p64f, 0x1p64f, INFINITY, INFINITY},
        {0.0f, -1.0f, 0.0f, 0.0f},
    };
    enum { N = sizeof cases / sizeof cases[0], HALF = 16, DIM = 2 * HALF };
    struct guarded x = guarded_new(DIM * 4, 4), cosine = guarded_new(HALF * 4, 4);
    struct guarded sine = guarded_new(HALF * 4, 4);
    float *rotated = x.data, *c = cosine.data, *s = sine.data;
    for (size_t at = 0; at < N * HALF; at++) { /* each case in every lane, alone */
        size_t k = at / HALF, lane = at % HALF;
        for (size_t i = 0; i < HALF; i++) {
            rotated[i] = i == lane ? cases[k].a : 1.0f;
            rotated[i + HALF] = i == lane ? cases[k].c : 1.0f;
            c[i] = i == lane ? cases[k].b : 1.0f;
            s[i] = -1.0f;
        }
        attempt("rope", tier, "fused, lane %zu", lane);
        tier->rope(x.data, c, s, DIM);
        for (size_t i = 0; i < HALF; i++)
            expect(rotated[i] == (i == lane ? cases[k].sum : 2.0f), "%a * %a + %a is %a and not %a",
                   (double)cases[k].a, (double)cases[k].b, (double)cases[k].c, (double)rotated[i],
                   (double)cases[k].sum);
    }
    guarded_free(&x);
    guarded_free(&cosine);
    guarded_free(&sine);
}

void check_swiglu(const struct kl_kernels *tier)
{
    for (size_t round = 0; round < N_WIDTHS * ROUNDS; round++) {
        size_t n = widths[round % N_WIDTHS], bytes = n * sizeof(float);
        struct guarded gate = guarded_new(bytes, 4), up = guarded_new(bytes, 4);
        struct guarded expected = guarded_new(bytes, 4), found = guarded_new(bytes, 4);
        const float *g = gate.data, *u = up.data, *y = expected.data;
        random_floats(gate.data, n, 12.0f);
        random_floats(up.data, n, 3.0f);
        ((float *)gate.data)[0] = 200.0f; /* past both ends of exp */
        ((float *)gate.data)[1] = -200.0f;
        attempt("swiglu", SCALAR, "n %zu", n);
        SCALAR->swiglu(g, u, n, expected.data);
        for (size_t i = 0; i < n; i++) {
            double exact = g[i] / (1 + exp(-(double)g[i])) * u[i];
            /* The relative error: 1.6e-7 of 2^x, 6e-8 of each of three operations; and g times
             * 6e-8, as the exponent is rounded, and 1.3e-8, as log2(e) is. The power is clamped to
             * 2^-125..2^126: the error is absolute where the factor is below. Of a subnormal gate,
             * half a step of 1.4e-45 is lost, times u. */
            double slack = (3.4e-7 + 7.3e-8 * fabs((double)g[i])) * fabs(exact) +
                           1e-37 * fabs((double)g[i] * u[i]) + 1e-37 +
                           0.71e-45 * fabs((double)u[i]);
            expect(fabs(y[i] - exact) <= slack || fabs(exact) > 3e38, "%g and not %g", (double)y[i],
                   exact);
        }
        attempt("swiglu", tier, "n %zu", n);
        tier->swiglu(g, u, n, found.data);
        expect_same(found.data, expected.data, bytes);
        guarded_free(&gate);
        guarded_free(&up);
        guarded_free(&expected);
        guarded_free(&found);
    }
}
