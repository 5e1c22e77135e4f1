#include "model/kv_cache.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/hash.h"
#include "base/memory.h"
#include "kernels/packing.h"

struct kl_kv_page {
    uint8_t *data; /* NULL: not in use */
    size_t shares;
    struct kl_kv_page *next_free;
};

struct kl_kv_cache {
    size_t page_bytes;
    size_t used_pages, max_pages;
    struct kl_kv_page *free;
    struct kl_kv_page pages[]; /* [max_pages] */
};

/* Rounded up to pages of the system, so that the memory budget is kept. */
static size_t bytes_of_page(const struct kl_model *model)
{
    return kl_memory_whole_pages(kl_kv_offset(model, model->config.n_layers, 0), kl_memory_page());
}

size_t kl_kv_bytes_per_token(const struct kl_model *model)
{
    return bytes_of_page(model) / KL_KV_PAGE_TOKENS;
}

/* To be raised when the tiles of kernels.h change, or the arithmetic of their content. */
#define KV_VERSION 3

/* Hashes the hyper-parameters: with the tensors, they determine the content of a page. */
static uint64_t hash_of_config(const struct kl_config *c)
{
    const double facts[] = {(double)c->n_layers,    (double)c->n_embd,     (double)c->n_ff,
                            (double)c->n_heads,     (double)c->n_kv_heads, (double)c->head_dim,
                            (double)c->n_ctx_train, c->rope_base,          (double)c->rms_eps};
    return kl_hash64(facts, sizeof facts, kl_hash64(c->architecture, strlen(c->architecture), 0));
}

void kl_kv_identity(const struct kl_model *model, char text[KL_KV_IDENTITY_SIZE])
{
    char content[KL_DIGEST_DIGITS + 1];
    kl_digest_text(&model->weights.content, content);
    snprintf(text, KL_KV_IDENTITY_SIZE,
             "version %d, tensors %s, configuration %016" PRIx64
             ", packing %d, %s, %s, attention %s",
             KV_VERSION, content, hash_of_config(&model->config), KL_PACKING_VERSION,
             model->kernels->name, model->kv_type == KL_KV_F16 ? "f16" : "int8",
             model->plain_attention ? "plain" : "flash");
}

enum kl_status kl_kv_cache_open(const struct kl_model *model, size_t max_tokens,
                                struct kl_kv_cache **out, struct kl_error *err)
{
    size_t max_pages = (max_tokens + KL_KV_PAGE_TOKENS - 1) / KL_KV_PAGE_TOKENS;
    size_t size = sizeof(struct kl_kv_cache) + max_pages * sizeof(struct kl_kv_page);
    struct kl_kv_cache *cache = calloc(1, size);
    *out = cache;
    if (cache == NULL)
        return kl_fail_memory(err, "the KV cache", size);
    cache->page_bytes = bytes_of_page(model);
    cache->max_pages = max_pages;
    for (size_t i = max_pages; i > 0; i--) {
        cache->pages[i - 1].next_free = cache->free;
        cache->free = &cache->pages[i - 1];
    }
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

size_t kl_kv_cache_free_pages(const struct kl_kv_cache *cache)
{
    return cache->max_pages - cache->used_pages;
}

size_t kl_kv_cache_page_bytes(const struct kl_kv_cache *cache)
{
    return cache->page_bytes;
}

/* ---- pages ----------------------------------------------------------------------------------- */

/* Pages are mapped and unmapped one by one, so unused ones are not resident. */
enum kl_status kl_kv_page_new(struct kl_kv_cache *cache, struct kl_kv_page **out,
                              struct kl_error *err)
{
    *out = NULL;
    if (cache->free == NULL)
        return kl_fail(err, KL_ERR_LIMIT, "the KV cache is full: all of %zu tokens are in use",
                       kl_kv_cache_max_tokens(cache));
    void *data =
        mmap(NULL, cache->page_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED)
        return kl_fail_memory(err, "a page of the KV cache", cache->page_bytes);
    struct kl_kv_page *page = cache->free;
    cache->free = page->next_free;
    cache->used_pages++;
    *page = (struct kl_kv_page){.data = data, .shares = 1};
    *out = page;
    return KL_OK;
}

struct kl_kv_page *kl_kv_page_share(struct kl_kv_page *page)
{
    assert(page->shares > 0);
    page->shares++;
    return page;
}

size_t kl_kv_page_shares(const struct kl_kv_page *page)
{
    return page->shares;
}

void *kl_kv_page_data(struct kl_kv_page *page)
{
    return page->data;
}

void kl_kv_page_release(struct kl_kv_cache *cache, struct kl_kv_page *page)
{
    assert(page->shares > 0);
    if (--page->shares > 0)
        return;
    munmap(page->data, cache->page_bytes);
    *page = (struct kl_kv_page){.next_free = cache->free};
    cache->free = page;
    cache->used_pages--;
}

/* ---- sequences ------------------------------------------------------------------------------- */

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

static void drop_pages(struct kl_sequence *s, size_t keep)
{
    while (s->n_pages > keep)
        kl_kv_page_release(s->cache, s->held[--s->n_pages]);
}

void kl_sequence_free(struct kl_sequence *s)
{
    if (s == NULL)
        return;
    drop_pages(s, 0);
    free(s->pages);
    free(s->held);
    free(s);
}

size_t kl_sequence_length(const struct kl_sequence *s)
{
    return s->length;
}

/* Grows both tables to that number of pages. */
static enum kl_status extend_tables(struct kl_sequence *s, size_t need, struct kl_error *err)
{
    if (need <= s->pages_allocated)
        return KL_OK;
    size_t count = need + need / 2;
    uint8_t **pages = realloc(s->pages, count * sizeof *pages);
    if (pages != NULL)
        s->pages = pages;
    struct kl_kv_page **held = pages != NULL ? realloc(s->held, count * sizeof *held) : NULL;
    if (held == NULL)
        return kl_fail_memory(err, "a sequence's page table", count * sizeof *held);
    s->held = held;
    s->pages_allocated = count;
    return KL_OK;
}

/* Takes over the share of the caller. The tables have room. */
static void append_page(struct kl_sequence *s, struct kl_kv_page *page)
{
    s->pages[s->n_pages] = page->data;
    s->held[s->n_pages++] = page;
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
    enum kl_status status = extend_tables(s, need, err);
    while (status == KL_OK && s->n_pages < need) {
        struct kl_kv_page *page;
        status = kl_kv_page_new(cache, &page, err);
        if (status == KL_OK)
            append_page(s, page);
    }
    if (status != KL_OK)
        drop_pages(s, had);
    return status;
}

size_t kl_sequence_missing_pages(const struct kl_sequence *s, size_t length)
{
    size_t need = (length + KL_KV_PAGE_TOKENS - 1) / KL_KV_PAGE_TOKENS;
    return need > s->n_pages ? need - s->n_pages : 0;
}

void kl_sequence_truncate(struct kl_sequence *s, size_t length)
{
    assert(length <= s->length);
    s->length = length;
    drop_pages(s, (length + KL_KV_PAGE_TOKENS - 1) / KL_KV_PAGE_TOKENS);
    assert(length % KL_KV_PAGE_TOKENS == 0 || s->held[s->n_pages - 1]->shares == 1);
}

struct kl_kv_page *kl_sequence_page(const struct kl_sequence *s, size_t index)
{
    assert(index < s->n_pages);
    return s->held[index];
}

enum kl_status kl_sequence_append_shared(struct kl_sequence *s, struct kl_kv_page *page,
                                         struct kl_error *err)
{
    assert(s->length == s->n_pages * KL_KV_PAGE_TOKENS);
    enum kl_status status = extend_tables(s, s->n_pages + 1, err);
    if (status != KL_OK)
        return status;
    append_page(s, kl_kv_page_share(page));
    s->length += KL_KV_PAGE_TOKENS;
    return KL_OK;
}

enum kl_status kl_sequence_append_copy(struct kl_sequence *s, const struct kl_kv_page *page,
                                       size_t n_tokens, struct kl_error *err)
{
    assert(s->length == s->n_pages * KL_KV_PAGE_TOKENS && n_tokens <= KL_KV_PAGE_TOKENS);
    enum kl_status status = kl_sequence_reserve(s, s->length + n_tokens, err);
    if (status != KL_OK)
        return status;
    memcpy(s->pages[s->n_pages - 1], page->data, s->cache->page_bytes);
    s->length += n_tokens;
    return KL_OK;
}
