/*
 * The arithmetic of the model: one table of functions per tier (scalar, avx2, ...), and the choice
 * of the tier for this CPU.
 *
 * The scalar tier is the specification: it is written with the lanes, the order of summation and
 * the fused multiply-adds of the vector tiers, and every other tier gives the same bits. That is
 * possible because each output element has one fixed order of summation over k, which does not
 * depend on how many rows are computed together.
 *
 * The functions own nothing and allocate nothing; they work on the caller's memory. Any thread may
 * call them, several at a time as long as their outputs and scratch differ. No threads, no files.
 *
 * To add a tier: kernels/TIER_matmul.c with its table and kernels/TIER_peak.c with its loops, their
 * flags in meson.build, a row in KL_VECTOR_TIERS below, and can_TIER() in cpu.c. The tests walk
 * over all tiers.
 */
#ifndef KL_KERNELS_KERNELS_H
#define KL_KERNELS_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "kernels/packing.h"

/* Tokens in a KV page, which is also the tile of attention: four vectors of 8 floats. A head of 64
 * takes 8 KiB in f32, so the keys or the values of a tile stay in any L1. */
#define KL_KV_PAGE_TOKENS 32

/* KL_BLOCK numbers quantised to int8, x[i] ~ q[i] * scale, and what products need of them besides.
 */
struct kl_int8_block {
    int8_t q[KL_BLOCK]; /* -127..127 */
    float scale;
    float scaled_sum;    /* scale times the sum of all q: for types with a minimum */
    int32_t minus_sum;   /* minus that sum: for types with an offset */
    int16_t half_sum[2]; /* of 16 q each: for types with a factor for each 16 columns */
};
_Static_assert(sizeof(struct kl_int8_block) == 48, "blocks stay 16-byte aligned");

/* Sets all but q. first, last: the sums of its halves. */
static inline void kl_set_factors(struct kl_int8_block *block, float scale, int first, int last)
{
    block->scale = scale;
    block->scaled_sum = scale * (float)(first + last);
    block->minus_sum = -(first + last);
    block->half_sum[0] = (int16_t)first;
    block->half_sum[1] = (int16_t)last;
}

/* Rows of numbers quantised to int8. */
struct kl_activations {
    struct kl_int8_block *blocks; /* [n, k / 32]; 16-byte aligned */
    size_t n;
    size_t k;
};

/* y[t * y_stride + r] = sum_k w[8 * begin + r, k] * x[t, k] for all rows of the groups [begin, end)
 * and all t. w: packed groups of KL_LANES rows (packing.h), from group 0. y: room for whole groups.
 * scratch: KL_MATMUL_SCRATCH bytes, 64-byte aligned, one per thread. */
typedef void kl_matmul_fn(const uint8_t *w, size_t begin, size_t end,
                          const struct kl_activations *x, float *y, size_t y_stride, void *scratch);

/* The block types that have a product of their own, as X(NAME, name, ...): types of files, and the
 * upper part of a matrix in two parts. */
#define KL_BLOCK_PRODUCTS(X) KL_BLOCK_TYPES(X) X(Q8_HIGH, q8_high, , , )

/* The same for a matrix in two parts, by all bits. */
typedef void kl_matmul_halves_fn(const uint8_t *high, const uint8_t *low, size_t begin, size_t end,
                                 const struct kl_activations *x, float *y, size_t y_stride,
                                 void *scratch);

/* How the KV cache stores keys and values. A tile is the part of a page for one KV head in one
 * layer: f16   keys [dim, KL_KV_PAGE_TOKENS], then values [KL_KV_PAGE_TOKENS, dim] int8  keys [dim,
 * KL_KV_PAGE_TOKENS] int8, their scales [blocks, KL_KV_PAGE_TOKENS] f16; values [KL_KV_PAGE_TOKENS,
 * dim] int8, their scales [KL_KV_PAGE_TOKENS, blocks] f16; a block is KL_BLOCK numbers of one
 * token, the last one of a row may be shorter. int8 stores them without the biases of the
 * projections, which in Qwen2.5 are far larger than the part that varies: attend() adds RoPE(bias)
 * to the keys when it reads them, and the bias of the values to the result. */
enum kl_kv_type { KL_KV_F16, KL_KV_INT8 };
#define KL_KV_TYPES 2

static inline size_t kl_kv_blocks(size_t dim)
{
    return (dim + KL_BLOCK - 1) / KL_BLOCK;
}

/* Bytes of the keys of a tile; the values follow and take the same. */
static inline size_t kl_kv_half_bytes(enum kl_kv_type type, size_t dim)
{
    size_t one =
        type == KL_KV_F16 ? dim * sizeof(uint16_t) : dim + kl_kv_blocks(dim) * sizeof(uint16_t);
    return one * KL_KV_PAGE_TOKENS;
}

/* Stores one token's k and v ([dim] f32) as token `slot` of a tile. int8: scale = max|x| / 127 of a
 * block, rounded to f16; x / scale to nearest even, at most 127 in size. */
typedef void kl_kv_store_fn(const float *k, const float *v, size_t dim, uint8_t *tile, size_t slot);

/* The attention of consecutive rows of one sequence over one KV head, for the query heads that
 * share it. dim % 16 == 0, at most KL_MAX_HEAD_DIM; n_heads at most KL_MAX_GROUP_HEADS; n_rows at
 * most KL_ATTEND_ROWS. The first row sees n_positions, itself included; each further row one more.
 * The queries are scaled by log2(e) / sqrt(dim): their scores are exponents of 2. */
struct kl_attend_rows {
    size_t dim, n_heads, n_rows, n_positions;
    const float *q;              /* [n_rows, n_heads, dim] */
    float *out;                  /* [n_rows, n_heads, dim] */
    const uint8_t *const *pages; /* [pages of all positions] */
    size_t at;                   /* the tile of page i is at pages[i] + at */
    void *scratch; /* KL_ATTEND_SCRATCH(dim, n_rows * n_heads) bytes, 64-byte aligned */

    /* NULL: one walk over the pages with a running maximum ("flash attention", Dao 2022; Milakov
     * and Gimelshein 2018). Else room for [n_rows * n_heads, score_stride] scores, score_stride at
     * least the positions rounded up to pages: all scores, then the softmax, then the values. */
    float *scores;
    size_t score_stride;

    /* for KL_KV_INT8. slot_: RoPE of the positions within a page, [dim / 2, KL_KV_PAGE_TOKENS];
     * page_: of the first position of each page, [pages, dim / 2]. */
    const float *k_bias, *v_bias; /* [dim] */
    const float *offset_cosine, *offset_sine;
    const float *page_cosine, *page_sine;
};

/* Softmax attention, page by page from position 0: the bits of a row do not depend on the other
 * rows. */
typedef void kl_attend_fn(const struct kl_attend_rows *a);

struct kl_kernels {
    const char *name;
    bool avx512; /* uses 512-bit registers */

    /* n blocks, x[i * 32] to blocks[i * stride]. scale = max|x| / 127, q = x / scale to nearest
     * even; a block with max|x| below 2^-120 has q = 0. A number that is not finite, from a damaged
     * model, makes the scale so, too: it reaches the logits, where it is noticed. */
    void (*quantize)(const float *x, size_t n, struct kl_int8_block *blocks, size_t stride);

    /* y[i] = x[i] * w[i] / sqrt(mean(x^2) + eps); n % 8 == 0; y may be x. */
    void (*rmsnorm)(const float *x, const float *w, size_t n, float eps, float *y);

    /* Rotates pairs (x[i], x[i + dim/2]) by the angles whose cosines and sines are given
     * ([dim / 2] each; "NEOX" pairing), in place; dim % 16 == 0. */
    void (*rope)(float *x, const float *cosine, const float *sine, size_t dim);

    /* out[i] = gate[i] / (1 + 2^(-log2(e) * gate[i])) * up[i]; n % 8 == 0. */
    void (*swiglu)(const float *gate, const float *up, size_t n, float *out);

    kl_kv_store_fn *kv_store[KL_KV_TYPES];
    kl_attend_fn *attend[KL_KV_TYPES];

    /* Indexed by enum kl_quant; NULL for a type that has no product. KL_Q8_HIGH: the product by the
     * upper bits, in which the lower bits count as their mean. */
    kl_matmul_fn *matmul[KL_PACKING_TYPES];
    /* The product by all bits of a matrix packed as KL_Q8_HIGH and KL_Q8_LOW; gives the bits that
     * matmul[KL_Q8_0] gives. */
    kl_matmul_halves_fn *matmul_halves;
};

#define KL_LOG2E 1.44269504f

#define KL_MAX_HEAD_DIM    256
#define KL_MAX_GROUP_HEADS 64 /* query heads that share a KV head */

/* The most rows that attend() takes at once: a page is read and widened once for all of them. */
#define KL_ATTEND_ROWS 16

/* The sums of the weights of a query: sum i is that of the positions j with j % 8 == i. */
#define KL_ATTEND_SUMS 8

/* Bytes: the keys of a page in f32, later its values; for each query a page of weights, their sums
 * and a maximum. */
#define KL_ATTEND_SCRATCH(dim, n_queries)                                                          \
    (((size_t)(dim)*KL_KV_PAGE_TOKENS +                                                            \
      (size_t)(n_queries) * (KL_KV_PAGE_TOKENS + KL_ATTEND_SUMS + 1)) *                            \
     sizeof(float))

/* Products of many tokens, but for AVX-512's, unpack panels of KL_PANEL_GROUPS groups,
 * KL_PANEL_BLOCKS blocks wide, and run all tokens over them. A block takes 8 x 32 bytes, its scales
 * and minima as floats, and Q6_K's 16-bit scales: 2 x 32 blocks are 26 KiB, which leaves room in a
 * 32 KiB L1 for 4 rows of activations. */
#define KL_PANEL_GROUPS   2
#define KL_PANEL_BLOCKS   32
#define KL_PANEL_BYTES    (256 + 2 * 32 + 3 * 32)
#define KL_MATMUL_SCRATCH ((size_t)KL_PANEL_GROUPS * KL_PANEL_BLOCKS * KL_PANEL_BYTES)

/* The best tier that this CPU can run. Without allow_avx512, none with 512-bit registers: some CPUs
 * lower their clock for them, or share them between cores. */
const struct kl_kernels *kl_kernels_best(bool allow_avx512);

/* Finds the tier called `name` (KL_TIERS); "auto" or NULL is the best one. KL_ERR_INVALID: no tier
 * has this name; KL_ERR_UNSUPPORTED: this CPU cannot run it. */
enum kl_status kl_kernels_select(const char *name, const struct kl_kernels **kernels,
                                 struct kl_error *err);

/* The tiers compiled into the program, the best last: X(tier, name, needs). A tier is a table
 * kl_kernels_TIER and loops kl_peak_TIER (peak.h), each in a file that is compiled with the flags
 * of its instruction set. `name` is that of --cpu, `needs` what a CPU must have for it.
 * KL_COMMON_TIERS is Meson's -Dtiers=common. */
#if defined(KL_COMMON_TIERS) && defined(__x86_64__)
#define KL_VECTOR_TIERS(X) X(avx2, "avx2", "AVX2, FMA and F16C")
#elif defined(KL_COMMON_TIERS) && defined(__aarch64__)
#define KL_VECTOR_TIERS(X) X(neon, "neon", "ASIMD")
#elif defined(__x86_64__)
#define KL_VECTOR_TIERS(X)                                                                         \
    X(sse41, "sse4.1", "SSSE3 and SSE4.1")                                                         \
    X(avx2, "avx2", "AVX2, FMA and F16C")                                                          \
    X(avxvnni, "avxvnni", "AVX2, FMA, F16C and AVX-VNNI")                                          \
    X(avx512, "avx512", "AVX2, FMA, F16C and AVX-512 F, BW, VL and DQ")                            \
    X(avx512vnni, "avx512vnni", "AVX2, FMA, F16C and AVX-512 F, BW, VL, DQ and VNNI")
#elif defined(__aarch64__)
#define KL_VECTOR_TIERS(X)                                                                         \
    X(neon, "neon", "ASIMD")                                                                       \
    X(neon_dotprod, "neon-dotprod", "ASIMD with dot products, ASIMDDP")                            \
    X(neon_i8mm, "neon-i8mm", "ASIMD with dot products and products of matrices, I8MM")
#else
#define KL_VECTOR_TIERS(X)
#endif
#define KL_TIERS(X) X(scalar, "scalar", "nothing") KL_VECTOR_TIERS(X)

/* Their names, for --help: "scalar, sse4.1, ...". */
#define KL_NAME_AFTER(tier, name, needs) ", " name
#define KL_TIER_NAMES                    "scalar" KL_VECTOR_TIERS(KL_NAME_AFTER)

/* The i-th tier compiled into the program, whether or not this CPU can run it; NULL past the end.
 */
const struct kl_kernels *kl_kernels_at(size_t i);
/* The features of this CPU, for the log: "AVX2 FMA F16C". Valid until the thread calls again. */
const char *kl_cpu_features(void);

#endif
