/*
 * What is known of prompts before they come: pages on disk from earlier, and greetings that are
 * computed while nobody asks.
 */
#ifndef KL_LOAD_PREFIXES_H
#define KL_LOAD_PREFIXES_H

#include "base/buffer.h"
#include "engine/engine.h"
#include "load/load.h"

#define KL_DEFAULT_CACHE_RAM  ((uint64_t)64 << 20)
#define KL_DEFAULT_CACHE_DISK ((uint64_t)256 << 20)
#define KL_MAX_WARM_TEXTS     64

/* The store of up to max_bytes in the cache directory, as a line of the plan, too; NULL with 0, and
 * with a warning when it can not be opened: nothing depends on it. Close it after the engine. */
struct kl_page_store *kl_open_page_store(struct kl_loaded *loaded, uint64_t max_bytes);

/* Texts to be warmed: a line each, empty lines do not count. They point into text. */
struct kl_precompute_texts {
    struct kl_buffer text;
    const char *lines[KL_MAX_WARM_TEXTS];
    size_t n;
};
/* path NULL: none. KL_ERR_INVALID when there are too many. Released in any case by _release. */
enum kl_status kl_precompute_texts_read(const char *path, struct kl_precompute_texts *texts,
                                        struct kl_error *err);
void kl_precompute_texts_release(struct kl_precompute_texts *texts);

/* Has each text, and then the greetings we know, computed as the first message of a conversation.
 * One that can not be is said and left out. */
void kl_precompute(struct kl_engine *engine, const struct kl_loaded *loaded,
                   const struct kl_precompute_texts *texts);

#endif
