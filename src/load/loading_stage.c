#include "load/loading_stage.h"

const char *kl_loading_stage_name(enum kl_loading_stage stage)
{
    static const char *const names[] = {
        [KL_LOADING_FINDING] = "finding", [KL_LOADING_DOWNLOADING] = "downloading",
        [KL_LOADING_OPENING] = "opening", [KL_LOADING_PACKING] = "packing",
        [KL_LOADING_READING] = "reading", [KL_LOADING_MEASURING] = "measuring",
    };
    return names[stage];
}
