/*
 * The AVX-512 VNNI tier (Ice Lake, Zen 4 and later): products of its own, all else is AVX2's.
 */
#include "kernels/avx512vnni.h"

const struct kl_kernels kl_kernels_avx512vnni = {
    .name = "avx512vnni",
    .avx512 = true,
    .quantize = kl_avx2_quantize,
    .rmsnorm = kl_avx2_rmsnorm,
    .rope = kl_avx2_rope,
    .swiglu = kl_avx2_swiglu,
    .kv_store = {[KL_KV_F16] = kl_avx2_kv_store_f16, [KL_KV_INT8] = kl_avx2_kv_store_int8},
    .attend = {[KL_KV_F16] = kl_avx2_attend_f16, [KL_KV_INT8] = kl_avx2_attend_int8},
    .matmul_halves = kl_avx512vnni_matmul_halves,
    .matmul =
        {
            [KL_F32] = kl_avx2_matmul_f32,
            [KL_F16] = kl_avx2_matmul_f16,
            [KL_BF16] = kl_avx2_matmul_bf16,
            [KL_Q4_0] = kl_avx512vnni_matmul_q4_0,
            [KL_Q4_1] = kl_avx512vnni_matmul_q4_1,
            [KL_Q5_0] = kl_avx512vnni_matmul_q5_0,
            [KL_Q5_1] = kl_avx512vnni_matmul_q5_1,
            [KL_Q8_0] = kl_avx512vnni_matmul_q8_0,
            [KL_Q8_HIGH] = kl_avx512vnni_matmul_q8_high,
            [KL_Q4_K] = kl_avx512vnni_matmul_q4_k,
            [KL_Q5_K] = kl_avx512vnni_matmul_q5_k,
            [KL_Q6_K] = kl_avx512vnni_matmul_q6_k,
        },
};
