/*
 * The functions that the files of the AVX2 tier share, and the parts of its table. These files are
 * compiled a second time as the SSE4.1 tier, with vectors that are pairs of registers.
 */
#ifndef KL_KERNELS_AVX2_H
#define KL_KERNELS_AVX2_H

#ifdef __AVX2__
#include <immintrin.h>
#define TIER(name) kl_avx2_##name
#else
#include "kernels/sse41_pairs.h"
#define TIER(name) kl_sse41_##name
#endif

#include "kernels/matmul_tiles.h"
#include "kernels/tiers.h"

/* Keeps the order in which the source computes a value. Otherwise GCC turns the chains of sums into
 * trees and loads everything first, which spills half of the registers: 80 instead of 120 GMAC/s
 * (SPEED.md). KEEP_BROADCAST: for a value whose halves are the same. */
#if defined(__AVX512VL__)
#define KEEP_ORDER(v) __asm__ volatile("" : "+v"(v))
#elif defined(__AVX2__)
#define KEEP_ORDER(v) __asm__ volatile("" : "+x"(v))
#else
#define KEEP_ORDER(v) __asm__ volatile("" : "+x"((v).low), "+x"((v).high))
#endif
#if defined(__AVX2__)
#define KEEP_BROADCAST(v) KEEP_ORDER(v)
#else
#define KEEP_BROADCAST(v)                                                                          \
    do {                                                                                           \
        __asm__ volatile("" : "+x"((v).low));                                                      \
        (v).high = (v).low;                                                                        \
    } while (0)
#endif

INLINE float sum_lanes(__m256 v)
{
    __m128 a = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    a = _mm_add_ps(a, _mm_movehl_ps(a, a));
    return _mm_cvtss_f32(_mm_add_ss(a, _mm_movehdup_ps(a)));
}

INLINE float max_lanes(__m256 v)
{
    __m128 a = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    a = _mm_max_ps(a, _mm_movehl_ps(a, a));
    return _mm_cvtss_f32(_mm_max_ss(a, _mm_movehdup_ps(a)));
}

/* 2^x as tiers.h defines it. */
INLINE __m256 exp2_lanes(__m256 x)
{
    const __m256 round = _mm256_set1_ps(KL_ROUND);
    x = _mm256_max_ps(x, _mm256_set1_ps(KL_EXP2_LOW));
    __m256 t = _mm256_add_ps(x, round), r = _mm256_sub_ps(x, _mm256_sub_ps(t, round));
    __m256 p = _mm256_fmadd_ps(_mm256_set1_ps(KL_EXP2_C5), r, _mm256_set1_ps(KL_EXP2_C4));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(KL_EXP2_C3));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(KL_EXP2_C2));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(KL_EXP2_C1));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f));
    __m256i n = _mm256_slli_epi32(_mm256_castps_si256(t), 23);
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(p), n));
}

#define DECLARE(NAME, name, ...) kl_matmul_fn TIER(matmul_##name);
KL_FLOAT_TYPES(DECLARE)
#undef DECLARE
void TIER(quantize)(const float *x, size_t n, struct kl_int8_block *blocks, size_t stride);
void TIER(rmsnorm)(const float *x, const float *w, size_t n, float eps, float *y);
void TIER(rope)(float *x, const float *cosine, const float *sine, size_t dim);
void TIER(swiglu)(const float *gate, const float *up, size_t n, float *out);

kl_kv_store_fn TIER(kv_store_f16), TIER(kv_store_int8);
kl_attend_fn TIER(attend_f16), TIER(attend_int8);

/* The table of a tier called `tier`; wide: it uses 512-bit registers; swiglu_fn, f16_fn, int8_fn:
 * its SwiGLU, and its attention over these types. Its products with quantised weights are those of
 * the file, by matmul_driver.h. */
#define FLOAT_PRODUCT(NAME, name, ...) .matmul[KL_##NAME] = TIER(matmul_##name),
#define TABLE(tier, wide, swiglu_fn, f16_fn, int8_fn)                                              \
    {                                                                                              \
        .name = tier, .avx512 = wide, .quantize = TIER(quantize), .rmsnorm = TIER(rmsnorm),        \
        .rope = TIER(rope), .swiglu = swiglu_fn, .kv_store[KL_KV_F16] = TIER(kv_store_f16),        \
        .kv_store[KL_KV_INT8] = TIER(kv_store_int8), .attend[KL_KV_F16] = f16_fn,                  \
        .attend[KL_KV_INT8] = int8_fn, KL_FLOAT_TYPES(FLOAT_PRODUCT) QUANTISED_PRODUCTS            \
    }

#endif
