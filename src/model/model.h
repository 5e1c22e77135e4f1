/*
 * Tokens to logits.
 *
 * struct kl_model: configuration and packed weights. It does not change after loading, so all
 * threads share it.
 * struct kl_forward: the buffers and the thread pool for forward passes, owned by one thread (the
 * engine's, or that of a command).
 * struct kl_sequence: the KV cache of one conversation, made of pages of a struct kl_kv_cache.
 *
 * The numeric contract (ARCHITECTURE.md): the logits of a token are the same bits for every number
 * of threads, every batch, and every way of splitting a prompt into batches. This room knows
 * neither text nor requests, and samples nothing.
 */
#ifndef KL_MODEL_MODEL_H
#define KL_MODEL_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/pool.h"
#include "format/gguf.h"
#include "kernels/kernels.h"

/* Which hidden vectors of a prompt make its embedding. */
enum kl_pooling {
    KL_POOLING_LAST,  /* that of the last token: it has seen all others */
    KL_POOLING_MEAN,  /* the mean of all of them */
    KL_POOLING_FIRST, /* that of the first token ("cls") */
    KL_N_POOLINGS
};

/* The hyper-parameters of the model file, each checked against a closed range. */
struct kl_config {
    char architecture[16]; /* "llama", "qwen2", "qwen3" */
    size_t n_layers;
    size_t n_embd;  /* width of the residual stream */
    size_t n_ff;    /* width of the feed-forward */
    size_t n_heads; /* query heads */
    size_t n_kv_heads;
    size_t head_dim;
    size_t n_vocab;
    size_t n_ctx_train; /* longest context that the model was trained for, tokens */
    double rope_base;
    float rms_eps;
    enum kl_pooling pooling; /* as the file says; KL_POOLING_LAST if it does not */
    bool has_pooling;        /* it says so: the model was made for embeddings */
};

struct kl_model;

/* The long stages of preparing a model. */
enum kl_model_stage {
    KL_MODEL_PACKING, /* weights are converted to our layout: at the first start only */
    KL_MODEL_READING  /* weights are read in the order of the layers, checksums are compared */
};

/* Receives the progress of a stage in bytes. Returning false ends it with KL_ERR_CANCELLED. */
typedef bool kl_model_progress_fn(void *context, enum kl_model_stage stage, uint64_t done,
                                  uint64_t total);

struct kl_model_options {
    const struct kl_kernels *kernels; /* from kl_kernels_select */
    enum kl_kv_type kv_type;          /* of every KV cache of this model */
    bool plain_attention; /* all scores before the softmax, in a buffer for n_ctx_train positions */
    /* The directory of packed files; NULL: weights are packed into memory at each start. */
    const char *packed_dir;
    size_t n_threads;               /* for reading and checking the weights; 0 means 1 */
    kl_model_progress_fn *progress; /* may be NULL */
    void *progress_context;
    bool prepare_later; /* leave both stages to kl_model_prepare: opening takes milliseconds */
};

/* gguf stays open as long as the model: the embedding table is read from it. */
enum kl_status kl_model_open(const struct kl_gguf *gguf, const struct kl_model_options *options,
                             struct kl_model **model, struct kl_error *err);

/* For a model that was opened with prepare_later: called once, before the first kl_forward_run
 * (kl_forward_open and kl_kv_cache_open may come earlier), by any thread while no other one uses
 * the model. Packs the weights if there is no packed file yet; otherwise reads the file ahead in
 * the order of the layers and checks it, and packs again if it is damaged. From the page cache that
 * takes about as long as one token. */
enum kl_status kl_model_prepare(struct kl_model *model, kl_model_progress_fn *progress,
                                void *context, struct kl_error *err);
void kl_model_close(struct kl_model *model);

const struct kl_config *kl_model_config(const struct kl_model *model);
/* Whether the weights are a mapped file, and not a copy in memory (no directory, or no room). Of a
 * prepared model. */
bool kl_model_is_mapped(const struct kl_model *model);
/* The path of that file, valid as long as the model; NULL: there is none. */
const char *kl_model_packed_path(const struct kl_model *model);
uint64_t kl_model_weight_bytes(const struct kl_model *model); /* mapped, or in memory */
const struct kl_kernels *kl_model_kernels(const struct kl_model *model);
/* The work per token, for GB/s and GMAC/s: bytes of weights that decoding reads, and multiply-adds.
 */
struct kl_model_work {
    uint64_t bytes_per_token;  /* all layers, and the part of the output head that is always read */
    uint64_t bytes_for_logits; /* in addition, if all logits are computed */
    uint64_t macs_per_token;   /* all layers */
    uint64_t prompt_macs;      /* the same of a row without an output */
};
struct kl_model_work kl_model_work(const struct kl_model *model);

/* The steps of a pass: X(NAME, name). The angles of RoPE belong to `embed`. */
#define KL_STEPS(X)                                                                                \
    X(EMBED, "embed")                                                                              \
    X(NORM, "norm")                                                                                \
    X(QKV, "q, k, v")                                                                              \
    X(ATTENTION, "attention")                                                                      \
    X(ATTENTION_OUT, "attention out")                                                              \
    X(GATE_UP, "gate, up")                                                                         \
    X(DOWN, "down")                                                                                \
    X(HEAD, "head")
#define KL_STEP_NAME(NAME, name) KL_STEP_##NAME,
enum kl_step { KL_STEPS(KL_STEP_NAME) KL_N_STEPS };
#undef KL_STEP_NAME

/* The matrices of a step in all layers, for a pass of n_rows of which the last n_outputs have an
 * output; 0 for a step without any. The head: what is always read. */
struct kl_step_work {
    uint64_t bytes, macs; /* that are read; multiply-adds */
};
struct kl_step_work kl_model_step_work(const struct kl_model *model, enum kl_step step,
                                       size_t n_rows, size_t n_outputs);

/* ---- KV cache -------------------------------------------------------------------------------- */

/* Pages of KL_KV_PAGE_TOKENS tokens, allocated when a sequence grows, reference-counted (a share is
 * one reference), and freed with the last share: sequences that begin alike may share pages. One
 * thread at a time. */
struct kl_kv_cache;
struct kl_kv_page;
struct kl_sequence;

/* Everything that the content of pages depends on in addition to their tokens, as text: the tensors
 * and hyper-parameters of the model (not its name or other metadata), the tier, the type of KV
 * cache, the versions of both. For pages that are stored on disk. Of a prepared model. */
#define KL_KV_IDENTITY_SIZE 192
void kl_kv_identity(const struct kl_model *model, char text[KL_KV_IDENTITY_SIZE]);

/* max_tokens: a hard limit for all sequences together, rounded up to pages; allocates none of it.
 */
enum kl_status kl_kv_cache_open(const struct kl_model *model, size_t max_tokens,
                                struct kl_kv_cache **cache, struct kl_error *err);
void kl_kv_cache_close(struct kl_kv_cache *cache);               /* after all its sequences */
size_t kl_kv_cache_used_tokens(const struct kl_kv_cache *cache); /* pages in use, in tokens */
size_t kl_kv_cache_max_tokens(const struct kl_kv_cache *cache);
size_t kl_kv_cache_free_pages(const struct kl_kv_cache *cache); /* that may still be allocated */
size_t kl_kv_cache_page_bytes(const struct kl_kv_cache *cache);
/* Memory per token of a full page, rounded up to pages of the system. */
size_t kl_kv_bytes_per_token(const struct kl_model *model);

enum kl_status kl_sequence_new(struct kl_kv_cache *cache, struct kl_sequence **sequence,
                               struct kl_error *err);
void kl_sequence_free(struct kl_sequence *sequence);
size_t kl_sequence_length(const struct kl_sequence *sequence); /* tokens in the cache */
/* Allocates pages for `length` tokens in all. KL_ERR_MEMORY and KL_ERR_LIMIT change nothing. */
enum kl_status kl_sequence_reserve(struct kl_sequence *sequence, size_t length,
                                   struct kl_error *err);
/* The number of pages that _reserve would allocate. */
size_t kl_sequence_missing_pages(const struct kl_sequence *sequence, size_t length);
/* Drops all but the first `length` tokens and releases whole pages. The new end must not be inside
 * a shared page. */
void kl_sequence_truncate(struct kl_sequence *sequence, size_t length);

/* The page of the tokens from index * KL_KV_PAGE_TOKENS on; valid while the sequence has it. */
struct kl_kv_page *kl_sequence_page(const struct kl_sequence *sequence, size_t index);
/* Continue a sequence, whose length is a multiple of a page and which has no further page reserved,
 * with what was computed for the same tokens before: with a whole page, which is shared and never
 * written to again; or with a copy of the first n_tokens (1 to KL_KV_PAGE_TOKENS) of a page, so
 * that the sequence can diverge. KL_ERR_MEMORY and KL_ERR_LIMIT change nothing. */
enum kl_status kl_sequence_append_shared(struct kl_sequence *sequence, struct kl_kv_page *page,
                                         struct kl_error *err);
enum kl_status kl_sequence_append_copy(struct kl_sequence *sequence, const struct kl_kv_page *page,
                                       size_t n_tokens, struct kl_error *err);

/* A page of zeros that belongs to no sequence, with one share, which the caller owns. KL_ERR_LIMIT:
 * all pages are in use. */
enum kl_status kl_kv_page_new(struct kl_kv_cache *cache, struct kl_kv_page **page,
                              struct kl_error *err);
struct kl_kv_page *kl_kv_page_share(struct kl_kv_page *page); /* adds a share; returns page */
size_t kl_kv_page_shares(const struct kl_kv_page *page);
void *kl_kv_page_data(struct kl_kv_page *page); /* [kl_kv_cache_page_bytes] */
void kl_kv_page_release(struct kl_kv_cache *cache, struct kl_kv_page *page); /* a share */

/* ---- forward --------------------------------------------------------------------------------- */

struct kl_forward;

/* Buffers for batches of up to max_rows rows, and a pool of n_threads. */
enum kl_status kl_forward_open(const struct kl_model *model, size_t max_rows, size_t n_threads,
                               struct kl_forward **forward, struct kl_error *err);
/* The same with a pool that is lent, also to the forward passes of other models which run in the
 * same thread; it must outlive the forward pass. */
enum kl_status kl_forward_open_on(const struct kl_model *model, size_t max_rows,
                                  struct kl_pool *pool, struct kl_forward **forward,
                                  struct kl_error *err);
void kl_forward_close(struct kl_forward *forward);

/* The numbers of threads of the pool that take part in a pass of one row, and of more: 1 to
 * n_threads; all by default. To be set between two passes. */
struct kl_threads {
    size_t decode, prefill;
};
void kl_forward_set_threads(struct kl_forward *forward, struct kl_threads threads);

struct kl_logit {
    float value;
    int32_t id;
};

/* The tokens that a row asks the output head for: those that can be chosen. Tokens that the caller
 * lowers (`penalized`, `lowered`) or may raise (`raised`) afterwards do not count for the limits.
 * The lowered ones are candidates like the others, the raised ones in any case; so a caller that
 * changes them and then takes the best top_k gets the same tokens as from all logits. Without a
 * limit every allowed token is a candidate. */
struct kl_want {
    size_t n_vocab;            /* ids from here on are not candidates */
    size_t top_k;              /* 0: no limit; otherwise at least the k best are candidates */
    float margin;              /* distance below the best logit, 0 or more; INFINITY: no limit */
    const uint64_t *penalized; /* [n_vocab / 64 + 1] a bit for each token; NULL: none */
    const uint64_t *allowed;   /* likewise, other tokens are no candidates; NULL: all are allowed */
    size_t n_allowed;          /* bits that are set in allowed; not read without it */
    /* [n_lowered], [n_raised] ids below n_vocab, ascending; their values are not read */
    const struct kl_logit *lowered, *raised;
    size_t n_lowered, n_raised;
    bool all; /* every token is a candidate, whatever the limits are and whatever is allowed */
};

/* The result of the head: n candidates in the order of their ids, possibly more than were asked
 * for; tokens whose logit is not a number may be missing. Where `room` is too small, n is 0 and
 * overflow is set: the head computes groups of KL_LANES tokens, first those of top_k + 8 groups.
 * The model's n_vocab rounded up to KL_LANES is always enough. */
struct kl_candidates {
    struct kl_logit *logits; /* [room] the caller's */
    size_t n, room;
    bool overflow;
};

/* One token of one sequence. The rows of a sequence stand in order and continue it without a gap;
 * sequences may be mixed in any way. Each output is filled unless it is NULL. Rows without any
 * output cost no more than their keys and values in the last layer. */
struct kl_row {
    struct kl_sequence *sequence;
    int32_t token;
    float *logits;                    /* [n_vocab] f32 */
    const struct kl_want *want;       /* not NULL where candidates is not */
    struct kl_candidates *candidates; /* by want */
    bool hidden;                      /* kl_forward_hidden will be called for it */
};

/* Runs the rows and appends them to their sequences, which must have room for them reserved. stop
 * (may be NULL) is called at every operation of every layer and of the head; when it returns true
 * the call ends with KL_ERR_CANCELLED and the sequences are as before. Allocates nothing. */
enum kl_status kl_forward_run(struct kl_forward *forward, const struct kl_row *rows, size_t n_rows,
                              bool (*stop)(void *context), void *context, struct kl_error *err);

/* Writes the hidden vector, after the last norm, of a row of the last batch that asked for it to
 * out [n_embd] f32: after a kl_forward_run that returned KL_OK, and before the next one. It has the
 * same bits for every batch, as logits do. */
void kl_forward_hidden(const struct kl_forward *forward, size_t row, float *out);

/* Where the time of passes goes, in nanoseconds. */
struct kl_profile {
    uint64_t step_ns[KL_N_STEPS]; /* of the thread that runs the pass */
    /* of each thread, within these steps, beside the products and attention: biases, RoPE, storing
     * k and v, SwiGLU, quantising, adding */
    uint64_t beside_ns[KL_POOL_MAX_THREADS];
};

/* Adds the times of the passes from now on to `profile`; NULL: no more. They cost some percent. */
void kl_forward_profile(struct kl_forward *forward, struct kl_profile *profile);

size_t kl_forward_bytes(const struct kl_forward *forward); /* of its buffers */

#endif
