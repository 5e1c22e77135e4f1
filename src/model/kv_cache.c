#include "model/kv_cache.h"

#include <assert.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/memory.h"

struct kl_kv_cache {
    size_t page_bytes;
    size_t used_pages, max_pages;
};

/* With what the system adds to make whole pages of its own: the memory budget must hold. */
static size_t bytes_of_page(const struct kl_model *model)
{
    return kl_memory_whole_pages(kl_kv_offset(model, model->config.n_layers, 0), kl_memory_page());
}

size_t kl_kv_bytes_per_token(const struct kl_model *model)
{
    return bytes_of_page(model) / KL_KV_PAGE_TOKENS;
}

enum kl_status kl_kv_cache_open(const struct kl_model *model, size_t max_tokens,
                                struct kl_kv_cache **out, struct kl_error *err)
{
    struct kl_kv_cache *cache = calloc(1, sizeof *cache);
    *out = cache;
    if (cache == NULL)
        return kl_fail_memory(err, "the KV cache", sizeof *cache);
    cache->page_bytes = bytes_of_page(model);
    cache->max_pages = (max_tokens + KL_KV_PAGE_TOKENS - 1) / KL_KV_PAGE_TOKENS;
    return KL_OK;
}

void kl_kv_cache_close(struct kl_kv_cache *cache)
{
    assert(cache == NULL || cache->used_pages == 0);
    free(cache);
}

size_t kl_kv_cache_used_tokens(const struct kl_kv_cache *cache)
{
    return cache->used_pages * KL_KV_PAGE_TOKENS;
}

size_t kl_kv_cache_max_tokens(const struct kl_kv_cache *cache)
{
    return cache->max_pages * KL_KV_PAGE_TOKENS;
}

enum kl_status kl_sequence_new(struct kl_kv_cache *cache, struct kl_sequence **out,
                               struct kl_error *err)
{
    struct kl_sequence *s = calloc(1, sizeof *s);
    *out = s;
    if (s == NULL)
        return kl_fail_memory(err, "a sequence", sizeof *s);
    s->cache = cache;
    return KL_OK;
}

/* Pages come straight from the system and go straight back: what is not used is not resident. */
static void drop_pages(struct kl_sequence *s, size_t keep)
{
    while (s->n_pages > keep) {
        munmap(s->pages[--s->n_pages], s->cache->page_bytes);
        s->cache->used_pages--;
    }
}

void kl_sequence_free(struct kl_sequence *s)
{
    if (s == NULL)
        return;
    drop_pages(s, 0);
    free(s->pages);
    free(s);
}

size_t kl_sequence_length(const struct kl_sequence *s)
{
    return s->length;
}

enum kl_status kl_sequence_reserve(struct kl_sequence *s, size_t length, struct kl_error *err)
{
    struct kl_kv_cache *cache = s->cache;
    size_t need = (length + KL_KV_PAGE_TOKENS - 1) / KL_KV_PAGE_TOKENS;
    size_t had = s->n_pages;
    if (need <= had)
        return KL_OK;
    if (need - had > cache->max_pages - cache->used_pages)
        return kl_fail(err, KL_ERR_LIMIT,
                       "the KV cache is full: %zu of %zu tokens are in use and %zu more are needed",
                       kl_kv_cache_used_tokens(cache), kl_kv_cache_max_tokens(cache),
                       (need - had) * KL_KV_PAGE_TOKENS);
    if (need > s->pages_allocated) {
        size_t count = need + need / 2;
        uint8_t **pages = realloc(s->pages, count * sizeof *pages);
        if (pages == NULL)
            return kl_fail_memory(err, "a sequence's page table", count * sizeof *pages);
        s->pages = pages;
        s->pages_allocated = count;
    }
    while (s->n_pages < need) {
        void *page = mmap(NULL, cache->page_bytes, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (page == MAP_FAILED) {
            drop_pages(s, had);
            return kl_fail_memory(err, "a page of the KV cache", cache->page_bytes);
        }
        s->pages[s->n_pages++] = page;
        cache->used_pages++;
    }
    return KL_OK;
}

void kl_sequence_truncate(struct kl_sequence *s, size_t length)
{
    assert(length <= s->length);
    s->length = length;
    drop_pages(s, (length + KL_KV_PAGE_TOKENS - 1) / KL_KV_PAGE_TOKENS);
}
