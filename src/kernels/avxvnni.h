/*
 * The AVX-VNNI tier's own header: what its table in avxvnni.c is made of, beside what AVX2 has.
 */
#ifndef KL_KERNELS_AVXVNNI_H
#define KL_KERNELS_AVXVNNI_H

#include "kernels/avx2.h"

kl_matmul_fn kl_avxvnni_matmul_q4_0;
kl_matmul_fn kl_avxvnni_matmul_q4_1;
kl_matmul_fn kl_avxvnni_matmul_q5_0;
kl_matmul_fn kl_avxvnni_matmul_q5_1;
kl_matmul_fn kl_avxvnni_matmul_q8_0;
kl_matmul_fn kl_avxvnni_matmul_q8_high;
kl_matmul_fn kl_avxvnni_matmul_q4_k;
kl_matmul_fn kl_avxvnni_matmul_q5_k;
kl_matmul_fn kl_avxvnni_matmul_q6_k;
kl_matmul_halves_fn kl_avxvnni_matmul_halves;

#endif
