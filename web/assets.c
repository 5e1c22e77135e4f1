#include "web/assets.h"

#include <string.h>

const struct kl_asset *kl_asset_find(const char *path)
{
    for (size_t i = 0; i < kl_n_assets; i++) {
        if (strcmp(kl_assets[i].path, path) == 0)
            return &kl_assets[i];
    }
    return NULL;
}
