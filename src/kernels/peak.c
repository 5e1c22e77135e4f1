#include "kernels/peak.h"

#include <string.h>

const struct kl_peak *kl_peak_of(const struct kl_kernels *kernels)
{
    static const struct kl_peak *const peaks[] = {
#if defined(__x86_64__)
        &kl_peak_sse41,
        &kl_peak_avx2,
        &kl_peak_avxvnni,
        &kl_peak_avx512,
        &kl_peak_avx512vnni,
#endif
#if defined(__aarch64__)
        &kl_peak_neon,
        &kl_peak_neon_dotprod,
        &kl_peak_neon_i8mm,
#endif
        &kl_peak_scalar,
    };
    for (size_t i = 0; i < sizeof peaks / sizeof peaks[0]; i++)
        if (strcmp(kernels->name, peaks[i]->name) == 0)
            return peaks[i];
    return &kl_peak_scalar;
}
