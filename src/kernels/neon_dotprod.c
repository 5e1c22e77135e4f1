/*
 * Matrix products of the NEON tier with dot products (SDOT, armv8.2: Cortex-A76 and later).
 *
 * A tile is 2 groups x 4 tokens: 16 sums, 4 vectors of weights and 4 of activations; 4 columns are
 * 4 loads of weights and one of activations for 16 SDOTs.
 */
#include "kernels/neon_sdot.h"

INLINE int tile_groups(enum kl_quant type)
{
    (void)type;
    return 2;
}

INLINE int tile_tokens(enum kl_quant type)
{
    (void)type;
    return 4;
}

#include "kernels/neon_products.h"

#include "kernels/neon_columns.h"

const struct kl_kernels kl_kernels_neon_dotprod = TABLE("neon-dotprod");
