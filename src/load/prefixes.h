/*
 * Fills the prefix cache of an engine before requests arrive: with the pages that earlier runs left
 * on disk, and with prompts that are precomputed while the engine is idle.
 *
 * For the thread that loads the model.
 */
#ifndef KL_LOAD_PREFIXES_H
#define KL_LOAD_PREFIXES_H

#include "base/buffer.h"
#include "engine/engine.h"
#include "load/load.h"

#define KL_DEFAULT_CACHE_RAM     ((uint64_t)64 << 20)
#define KL_DEFAULT_CACHE_DISK    ((uint64_t)256 << 20)
#define KL_MAX_PRECOMPUTED_TEXTS 64

/* Opens the page store of a model in the cache directory, with up to max_bytes on disk, and adds
 * its memory to the plan. The directory and max_bytes are one for all models; written: the same for
 * all of this process (page_store.h), or NULL. Returns NULL for max_bytes 0, and with a warning
 * when the store cannot be opened: the server works without it. Close it after the engine. */
struct kl_page_store *kl_open_page_store(struct kl_loaded *loaded, uint64_t max_bytes,
                                         _Atomic(uint64_t) *written);

/* Adds the line that kl_open_page_store would add to the plan, without opening a store. The model
 * need not be prepared. */
void kl_plan_page_store(const struct kl_loaded *loaded, uint64_t max_bytes, struct kl_plan *plan);

/* The texts of serve --warm, one a line. */
struct kl_precompute_texts {
    struct kl_buffer text;
    const char *lines[KL_MAX_PRECOMPUTED_TEXTS]; /* point into text */
    size_t n;
};

/* Reads a file of texts; ignores empty lines. path NULL: none. KL_ERR_INVALID: the file has too
 * many lines. Release texts after either result. */
enum kl_status kl_precompute_texts_read(const char *path, struct kl_precompute_texts *texts,
                                        struct kl_error *err);
void kl_precompute_texts_release(struct kl_precompute_texts *texts);

/* Queues each text, and then some common greetings, to be precomputed as the first message of a
 * conversation; none for a model that is for embeddings only. Logs a warning for a text that cannot
 * be queued. */
void kl_precompute(struct kl_engine *engine, const struct kl_loaded *loaded,
                   const struct kl_precompute_texts *texts);

#endif
