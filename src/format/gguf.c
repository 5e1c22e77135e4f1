#include "format/gguf.h"

#include <stdlib.h>

#include "format/gguf_parser.h"

enum kl_status kl_gguf_open(const char *path, struct kl_gguf **out, struct kl_error *err)
{
    *out = NULL;
    size_t budget = KL_GGUF_MAX_METADATA;
    struct kl_gguf *g = calloc(1, sizeof *g);
    if (g == NULL)
        return kl_fail_memory(err, "a model file", sizeof *g);
    enum kl_status status = kl_mapped_file_open(&g->file, path, err);
    if (status == KL_OK)
        status = kl_gguf_read_file(g, 0, g, &budget, err);
    if (status == KL_OK)
        status = kl_gguf_read_parts(g, path, err);
    if (status == KL_OK) {
        status = kl_gguf_sort_tensors(g, err);
        if (status == KL_ERR_FORMAT && g->file.n_parts > 0)
            kl_error_prefix(err, "the parts are of different models, get all from one place");
        if (status != KL_OK)
            kl_error_prefix(err, "%.200s", path);
    }
    if (status != KL_OK) {
        kl_gguf_close(g);
        return status;
    }
    kl_mapped_file_hold(&g->file);
    *out = g;
    return KL_OK;
}

void kl_gguf_close(struct kl_gguf *g)
{
    if (g == NULL)
        return;
    kl_mapped_file_close(&g->file);
    kl_gguf_forget(g);
    free(g);
}

const struct kl_mapped_file *kl_gguf_file(const struct kl_gguf *g)
{
    return &g->file;
}

uint64_t kl_gguf_header_hash(const struct kl_gguf *g)
{
    return g->header_hash;
}
