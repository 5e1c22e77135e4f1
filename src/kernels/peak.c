#include "kernels/peak.h"

#include <string.h>

const struct kl_peak *kl_peak_of(const struct kl_kernels *kernels)
{
#define PEAK(tier, name, needs) &kl_peak_##tier,
    static const struct kl_peak *const peaks[] = {KL_TIERS(PEAK)};
#undef PEAK
    for (size_t i = 0; i < sizeof peaks / sizeof peaks[0]; i++)
        if (strcmp(kernels->name, peaks[i]->name) == 0)
            return peaks[i];
    return &kl_peak_scalar;
}
