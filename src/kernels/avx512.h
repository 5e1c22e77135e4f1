/*
 * The definitions that all files of the AVX-512 tiers share.
 */
#ifndef KL_KERNELS_AVX512_H
#define KL_KERNELS_AVX512_H

#include "kernels/avx2.h"

/* KEEP_ORDER for 512 bits; does nothing where these are emulated, as there is no such register. */
#ifdef __AVX512F__
#define KEEP_ORDER_512(v) __asm__ volatile("" : "+v"(v))
#else
#define KEEP_ORDER_512(v) (void)(v)
#endif

kl_attend_fn kl_avx512_attend_f16, kl_avx512_attend_int8;
void kl_avx512_swiglu(const float *gate, const float *up, size_t n, float *out);

/* The table of a tier called `tier`. */
#define TABLE_512(tier)                                                                            \
    TABLE(tier, true, kl_avx512_swiglu, kl_avx512_attend_f16, kl_avx512_attend_int8)

#endif
