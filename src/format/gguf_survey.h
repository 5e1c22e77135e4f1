/*
 * The number types of a GGUF file, whether kinglet reads them or not: for what can be said about a
 * file that kl_gguf_open refuses. A plain value of the caller's; any thread. Reads no tensor.
 */
#ifndef KL_FORMAT_GGUF_SURVEY_H
#define KL_FORMAT_GGUF_SURVEY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* Distinct types of one file; those of further ones are counted with the last. */
#define KL_GGUF_MAX_TYPES 16

struct kl_gguf_share {
    uint32_t id;      /* enum ggml_type */
    const char *name; /* static */
    bool known;       /* kinglet reads it */
    size_t tensors;
    uint64_t bytes; /* as the offsets of the tensors say: the next one's minus its own */
};

struct kl_gguf_survey {
    struct kl_gguf_share types[KL_GGUF_MAX_TYPES]; /* the largest first */
    size_t n;
};

/* Fails where the directory of the tensors does not follow the format; sizes and shapes are not
 * checked. */
enum kl_status kl_gguf_survey(const char *path, struct kl_gguf_survey *survey,
                              struct kl_error *err);

/* Adds a tensor to the share of its type, and sorts. */
void kl_gguf_survey_add(struct kl_gguf_survey *survey, uint32_t id, uint64_t bytes);

#endif
