/*
 * SwiGLU of the AVX-512 tiers; the other kernels that process rows of floats are AVX2's. The core
 * overlaps as many instructions as in 256 bits, each of them for twice the numbers.
 */
#include "kernels/avx512.h"

/* exp2_lanes() for 16 numbers. */
INLINE __m512 exp2_of(__m512 x)
{
    const __m512 round = _mm512_set1_ps(KL_ROUND);
    x = _mm512_max_ps(x, _mm512_set1_ps(KL_EXP2_LOW));
    __m512 t = _mm512_add_ps(x, round), r = _mm512_sub_ps(x, _mm512_sub_ps(t, round));
    __m512 p = _mm512_fmadd_ps(_mm512_set1_ps(KL_EXP2_C5), r, _mm512_set1_ps(KL_EXP2_C4));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(KL_EXP2_C3));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(KL_EXP2_C2));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(KL_EXP2_C1));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
    __m512i n = _mm512_slli_epi32(_mm512_castps_si512(t), 23);
    return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(p), n));
}

void kl_avx512_swiglu(const float *gate, const float *up, size_t n, float *out)
{
    const __m512 one = _mm512_set1_ps(1.0f), high = _mm512_set1_ps(KL_EXP2_HIGH);
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        __m512 g = _mm512_loadu_ps(gate + i);
        __m512 x = _mm512_min_ps(_mm512_mul_ps(g, _mm512_set1_ps(-KL_LOG2E)), high);
        __m512 e = _mm512_add_ps(one, exp2_of(x));
        __m512 v = _mm512_mul_ps(_mm512_div_ps(g, e), _mm512_loadu_ps(up + i));
        _mm512_storeu_ps(out + i, v);
    }
    kl_avx2_swiglu(gate + i, up + i, n - i, out + i);
}
