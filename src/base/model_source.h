/*
 * A source of models by name, as an interface: implemented by fetch (fetch/catalogue_source.c),
 * used by the service, which may not see that room.
 */
#ifndef KL_BASE_MODEL_SOURCE_H
#define KL_BASE_MODEL_SOURCE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

struct kl_source_model {
    char name[256];
    char sha256[65]; /* 64 hex digits; empty: not known before it is asked for */
    uint64_t bytes;  /* 0: not known before either */
    bool is_here;
};

/* Shared by the thread that downloads and the one that wants it. */
struct kl_source_progress {
    _Atomic(uint64_t) done;  /* bytes */
    _Atomic(uint64_t) total; /* bytes; 0: not known yet */
    _Atomic(bool) stop;      /* the download is to end */
    uint64_t most;           /* bytes that all models may take on the disk after it; constant */
};

struct kl_model_source {
    /* Finds a model; false: the source has none of that name. Any thread; asks the file system,
     * never the network. */
    bool (*find)(const char *name, struct kl_source_model *model);
    /* Downloads it. Blocks; KL_ERR_CANCELLED: stopped, what has come is kept for the next time;
     * KL_ERR_LIMIT: there would be more than progress->most. */
    enum kl_status (*get)(const char *name, struct kl_source_progress *progress,
                          struct kl_error *err);
};

#endif
