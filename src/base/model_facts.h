/*
 * Facts of a model file that its server reports to clients.
 *
 * Filled by the room that loads the file (load/file_facts.h), read by those that answer requests,
 * neither of which may see the other. Values only; all texts are valid UTF-8.
 */
#ifndef KL_BASE_MODEL_FACTS_H
#define KL_BASE_MODEL_FACTS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How the makers of a model advise to sample its answers. Clients that let a user choose show it as
 * the default (the page does); a request that says nothing is not changed by it. */
struct kl_sampling_advice {
    double temperature, top_p, repetition_penalty;
    uint64_t top_k; /* 0: all tokens */
};

struct kl_model_facts {
    char architecture[16]; /* "qwen2" */
    char basename[96];     /* general.basename; "" if the file has none */
    char license[96];      /* general.license; "" if the file has none */
    char quantization[16]; /* "Q4_K_M"; "unknown" */
    uint64_t file_type;    /* general.file_type */
    uint64_t n_parameters; /* of all tensors of the file */
    size_t n_layers, n_embd, n_ff, n_heads, n_kv_heads, n_vocab;
    size_t n_ctx_train; /* tokens */
    struct kl_sampling_advice advice;
    bool for_embeddings; /* the file says how hidden vectors are pooled */
    bool only_embeds;    /* and has no chat template: it is asked for no answers */

    /* 64 hex digits: the SHA-256 of the file. Until it is known, which takes seconds for a file of
     * no catalogue that is served for the first time, the digest of its tensors (format/digest.h).
     * Points into `digests`. */
    _Atomic(const char *) digest;
    char digests[2][65];
};

#endif
