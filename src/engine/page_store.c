#include "engine/page_store.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/cache_dir.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/thread.h"
#include "engine/page_file.h"
#include "engine/page_index.h"

#define CLOSE_SECONDS 2.0
#define MAX_PAGES     65536
#define SMALL_FILE    ((uint64_t)128 << 10) /* a page of a model of 135M parameters */

enum { MIN_QUEUE = 4, MAX_QUEUE = 256 };

/* A background page is dated ten years back: by the order of use, which is all that a file's time
 * stores, all background pages are older than the interactive ones. */
#define BACKGROUND_AGE_NS (INT64_C(10) * 365 * 86400 * 1000000000)

/* Puts that are dropped before writing is tried again, at first and at most. */
enum { FIRST_PAUSE = 64, LONGEST_PAUSE = 4096 };

struct queued {
    struct kl_page_key key;
    int64_t used;
};

struct kl_page_store {
    char *path;
    int dir;
    size_t memory; /* bytes allocated */
    size_t page_bytes;
    uint64_t file_bytes; /* that one file counts against the cap */
    uint64_t max_bytes;
    struct kl_sha256 roots;     /* state of the hash after the identity: all roots begin with it */
    _Atomic(uint64_t) *written; /* by all stores of this process; NULL: this is the only one */
    char temporary[sizeof KL_PAGE_TEMPORARY + 16];
    pthread_t thread;

    pthread_mutex_t lock;  /* guards all that follows; not held while waiting for the disk */
    pthread_cond_t queued; /* the queue is not empty, or closing is set */
    pthread_cond_t empty;  /* the queue is empty */
    struct kl_page_index index;
    struct kl_page_index fresh;     /* the writer's: filled from the directory, then swapped */
    int64_t clock;                  /* the last time of use; never goes back */
    struct queued queue[MAX_QUEUE]; /* a ring of stats.max_queued */
    uint8_t *blocks;                /* [max_queued][block_bytes]: header and page */
    size_t block_bytes;
    size_t first; /* the oldest in the queue; the writer reads its block without the lock */
    bool closing;
    uint64_t closing_since;  /* kl_now_ns */
    uint64_t since_scan;     /* pages written since the last scan */
    uint64_t others_seen;    /* bytes that other stores had written then */
    uint64_t own_written;    /* bytes */
    uint64_t refused, pause; /* while writing is off: puts dropped, and when to try again */
    struct kl_page_store_stats stats; /* queued: the length of the queue */
};

/* ---- keys ------------------------------------------------------------------------------------ */

/* The last bit of a key distinguishes pages from roots. */
static struct kl_page_key finish_key(struct kl_sha256 *h, bool root)
{
    struct kl_page_key key;
    kl_sha256_finish(h, key.bytes);
    uint8_t *last = &key.bytes[KL_PAGE_KEY_SIZE - 1];
    *last = (uint8_t)((*last & ~1) | root);
    return key;
}

static bool is_root(const struct kl_page_key *key)
{
    return key->bytes[KL_PAGE_KEY_SIZE - 1] & 1;
}

struct kl_page_key kl_page_key_next(const struct kl_page_key *parent, const int32_t *tokens)
{
    struct kl_sha256 h;
    kl_sha256_init(&h);
    kl_sha256_update(&h, parent, sizeof *parent);
    kl_sha256_update(&h, tokens, KL_KV_PAGE_TOKENS * sizeof *tokens);
    return finish_key(&h, false);
}

static void start_roots(struct kl_sha256 *roots, const struct kl_page_store_options *options)
{
    const uint64_t sizes[] = {options->page_bytes, options->identity_size};
    kl_sha256_init(roots);
    kl_sha256_update(roots, sizes, sizeof sizes);
    kl_sha256_update(roots, options->identity, options->identity_size);
}

struct kl_page_key kl_page_store_root(const struct kl_page_store *store, uint64_t scope)
{
    struct kl_sha256 h = store->roots;
    kl_sha256_update(&h, &scope, sizeof scope);
    return finish_key(&h, true);
}

/* ---- the order of use ------------------------------------------------------------------------ */

static int64_t use(struct kl_page_store *store, bool background)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    int64_t ns = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
    store->clock = ns > store->clock ? ns : store->clock + 1;
    return store->clock - (background ? BACKGROUND_AGE_NS : 0);
}

static void touch(struct kl_page_entry *entry, int64_t used)
{
    if (used > entry->used) /* a background use makes no page older */
        entry->used = used;
}

/* Returns the bytes that other stores of this process have written. Under the lock. */
static uint64_t written_by_others(const struct kl_page_store *store)
{
    return store->written != NULL ? atomic_load(store->written) - store->own_written : 0;
}

/* Whether the directory may have become larger than the index says. Under the lock. */
static bool must_scan(const struct kl_page_store *store)
{
    return store->since_scan >= KL_PAGE_STORE_RESCAN ||
           written_by_others(store) - store->others_seen > store->max_bytes / KL_PAGE_STORE_SLACK;
}

/* Makes `fresh` the index. Under the lock. */
static void adopt_fresh(struct kl_page_store *store, uint64_t others)
{
    struct kl_page_index old = store->index;
    store->index = store->fresh;
    store->fresh = old;
    store->since_scan = 0;
    store->others_seen = others;
    for (size_t i = 0; i < store->index.n; i++) {
        struct kl_page_entry *entry = &store->index.entries[i];
        const struct kl_page_entry *known = kl_page_index_find(&old, &entry->key);
        entry->checked = known != NULL && known->checked;
        if (entry->used > store->clock)
            store->clock = entry->used;
    }
}

/* ---- writing --------------------------------------------------------------------------------- */

/* A page is useful only if all pages before it are stored. */
static bool can_follow(const struct kl_page_store *store, const struct kl_page_key *parent)
{
    return is_root(parent) || kl_page_index_find(&store->index, parent) != NULL;
}

/* Removes pages until there is room for one of `size` bytes that continues `parent` (NULL: only
 * enforces the cap). *room: false if only pages that it continues are left to remove, or if the
 * parent is not stored. */
static enum kl_status make_room(struct kl_page_store *store, uint64_t size,
                                const struct kl_page_key *parent, bool *room, struct kl_error *err)
{
    struct kl_page_index *index = &store->index;
    enum kl_status status = KL_OK;
    pthread_mutex_lock(&store->lock);
    *room = parent == NULL || can_follow(store, parent);
    while (status == KL_OK && *room &&
           (index->bytes + size > store->max_bytes || (parent != NULL && index->n == index->max))) {
        const struct kl_page_entry *oldest = kl_page_index_oldest(index, parent);
        *room = oldest != NULL;
        if (oldest == NULL)
            break;
        struct kl_page_entry victim = *oldest;
        kl_page_index_remove(index, &victim.key);
        store->stats.evicted++;
        pthread_mutex_unlock(&store->lock);
        status = kl_page_remove(store->dir, &victim.key, &victim.parent, err);
        pthread_mutex_lock(&store->lock);
    }
    pthread_mutex_unlock(&store->lock);
    return status;
}

/* Returns the position of a page in the queue; MAX_QUEUE: not queued. */
static size_t find_queued(const struct kl_page_store *store, const struct kl_page_key *key)
{
    for (size_t i = 0; i < store->stats.queued; i++) {
        size_t at = (store->first + i) % store->stats.max_queued;
        if (memcmp(&store->queue[at].key, key, sizeof *key) == 0)
            return at;
    }
    return MAX_QUEUE;
}

/* Removes the file that a page is to replace, if there is one. */
static enum kl_status remove_old(struct kl_page_store *store, const struct kl_page_key *key,
                                 const struct kl_page_key *parent, struct kl_error *err)
{
    pthread_mutex_lock(&store->lock);
    bool there = kl_page_index_remove(&store->index, key);
    pthread_mutex_unlock(&store->lock);
    return there ? kl_page_remove(store->dir, key, parent, err) : KL_OK;
}

/* Writes the oldest page of the queue. *written: false without an error: there is no room for it.
 */
static enum kl_status write_oldest(struct kl_page_store *store, bool scan_first, bool *written,
                                   struct kl_error *err)
{
    const struct queued *q = &store->queue[store->first];
    struct kl_page_header *header =
        (struct kl_page_header *)(store->blocks + store->first * store->block_bytes);
    enum kl_status status = KL_OK;
    *written = false;
    if (scan_first) {
        pthread_mutex_lock(&store->lock);
        uint64_t others = written_by_others(store); /* what comes meanwhile counts once more */
        pthread_mutex_unlock(&store->lock);
        status = kl_page_index_read(&store->fresh, store->dir, false, err);
        if (status != KL_OK)
            return status;
        pthread_mutex_lock(&store->lock);
        adopt_fresh(store, others);
        pthread_mutex_unlock(&store->lock);
    }
    bool room = false;
    status = remove_old(store, &q->key, &header->parent, err);
    if (status == KL_OK)
        status = make_room(store, store->file_bytes, &header->parent, &room, err);
    if (status != KL_OK || !room)
        return status;
    char name[KL_PAGE_NAME_SIZE];
    kl_page_name(&q->key, &header->parent, name);
    status = kl_page_write(store->dir, store->temporary, name, header, q->used, err);
    if (status != KL_OK)
        return status;
    *written = true;
    const struct kl_page_entry entry = {.key = q->key,
                                        .parent = header->parent,
                                        .used = q->used,
                                        .size = store->file_bytes,
                                        .checked = true};
    pthread_mutex_lock(&store->lock);
    kl_page_index_insert(&store->index, &entry);
    pthread_mutex_unlock(&store->lock);
    return KL_OK;
}

static void turn_off(struct kl_page_store *store, const struct kl_error *why)
{
    if (store->stats.on)
        kl_warning("the prefix cache on disk takes no more pages for now: %s: %s; answers are not "
                   "affected",
                   store->path, why->text);
    store->pause = store->stats.on                    ? FIRST_PAUSE
                   : store->pause * 2 < LONGEST_PAUSE ? store->pause * 2
                                                      : LONGEST_PAUSE;
    store->refused = 0;
    store->stats.on = false;
    store->stats.write_errors++;
    store->stats.dropped += store->stats.queued;
    store->stats.queued = 0;
}

/* Removes the oldest page from the queue and counts it. Under the lock. */
static void count_oldest(struct kl_page_store *store, bool written)
{
    if (written) {
        store->stats.written++;
        store->since_scan++;
        store->own_written += store->file_bytes;
        if (store->written != NULL)
            atomic_fetch_add(store->written, store->file_bytes);
    } else {
        store->stats.dropped++;
    }
    if (!store->stats.on)
        kl_info("the prefix cache on disk takes pages again: %s", store->path);
    store->stats.on = true;
    store->first = (store->first + 1) % store->stats.max_queued;
    store->stats.queued--;
}

static void *writer_main(void *context)
{
    struct kl_page_store *store = context;
    (void)!nice(10); /* on Linux, of this thread only */
    pthread_mutex_lock(&store->lock);
    for (;;) {
        while (store->stats.queued == 0 && !store->closing)
            pthread_cond_wait(&store->queued, &store->lock);
        if (store->stats.queued == 0 ||
            (store->closing && kl_seconds_since(store->closing_since) > CLOSE_SECONDS))
            break;
        /* after an error the index may differ from the directory */
        bool scan_first = !store->stats.on || must_scan(store);
        bool written;
        struct kl_error err;
        pthread_mutex_unlock(&store->lock);
        enum kl_status status = write_oldest(store, scan_first, &written, &err);
        pthread_mutex_lock(&store->lock);
        if (status == KL_OK)
            count_oldest(store, written);
        else
            turn_off(store, &err);
        if (store->stats.queued == 0)
            pthread_cond_broadcast(&store->empty);
    }
    pthread_mutex_unlock(&store->lock);
    return NULL;
}

/* ---- for the caller -------------------------------------------------------------------------- */

static void destroy(struct kl_page_store *store)
{
    if (store->dir >= 0)
        close(store->dir);
    kl_page_index_release(&store->index);
    kl_page_index_release(&store->fresh);
    pthread_cond_destroy(&store->empty);
    pthread_cond_destroy(&store->queued);
    pthread_mutex_destroy(&store->lock);
    free(store->blocks);
    free(store->path);
    free(store);
}

/* NULL: no memory. */
static struct kl_page_store *create(void)
{
    struct kl_page_store *store = calloc(1, sizeof *store);
    if (store == NULL)
        return NULL;
    store->dir = -1;
    pthread_mutex_init(&store->lock, NULL);
    pthread_cond_init(&store->queued, NULL);
    pthread_cond_init(&store->empty, NULL);
    return store;
}

static enum kl_status take_memory(struct kl_page_store *store,
                                  const struct kl_page_store_options *options, struct kl_error *err)
{
    uint64_t block, file = 0, all;
    if (!kl_add(options->page_bytes, sizeof(struct kl_page_header), &block) ||
        !kl_align_up(block, 64, &block) || !kl_align_up(block, KL_PAGE_FILE_BLOCK, &file) ||
        !kl_mul(block, MAX_QUEUE, &all) || options->max_bytes < file)
        return kl_fail(err, KL_ERR_INVALID,
                       "the prefix cache on disk has room for %llu bytes, and one page takes %llu; "
                       "allow more, or 0 to have none",
                       (unsigned long long)options->max_bytes, (unsigned long long)file);
    store->page_bytes = options->page_bytes;
    store->block_bytes = (size_t)block;
    store->file_bytes = file;
    store->max_bytes = options->max_bytes;
    size_t queue_bytes = options->queue_bytes != 0 ? options->queue_bytes : KL_PAGE_QUEUE_BYTES;
    const size_t fit = queue_bytes / store->block_bytes;
    store->stats.max_queued = fit < MIN_QUEUE ? MIN_QUEUE : fit < MAX_QUEUE ? fit : MAX_QUEUE;
    all = store->stats.max_queued * block; /* less than MAX_QUEUE of them */
    /* room for small pages of other models, too, which are removed where the index has none */
    uint64_t pages = options->max_bytes / (file < SMALL_FILE ? file : SMALL_FILE);
    size_t max = pages < MAX_PAGES ? (size_t)pages : MAX_PAGES;
    enum kl_status status = kl_page_index_init(&store->index, max, err);
    if (status == KL_OK)
        status = kl_page_index_init(&store->fresh, max, err);
    if (status != KL_OK)
        return status;
    store->path = strdup(options->dir);
    store->blocks = malloc((size_t)all);
    if (store->path == NULL || store->blocks == NULL)
        return kl_fail_memory(err, "the queue of the prefix cache on disk", all);
    store->memory = sizeof *store + (size_t)all + kl_page_index_memory(&store->index) +
                    kl_page_index_memory(&store->fresh);
    return KL_OK;
}

/* Every process that has the directory open holds a shared lock on it; a process that gets the lock
 * exclusively is the only one. Without file locks, none is. */
static enum kl_status first_scan(struct kl_page_store *store, struct kl_error *err)
{
    bool alone = flock(store->dir, LOCK_EX | LOCK_NB) == 0, room;
    uint64_t others = written_by_others(store);
    enum kl_status status = kl_page_index_read(&store->fresh, store->dir, alone, err);
    (void)flock(store->dir, LOCK_SH);
    if (store->fresh.n_old > 0)
        kl_info("removed %zu pages of prompts of an older version of kinglet from %s",
                store->fresh.n_old, store->path);
    if (status == KL_OK) {
        adopt_fresh(store, others);
        status = make_room(store, 0, NULL, &room, err);
    }
    if (status != KL_OK)
        kl_error_prefix(err, "%s", store->path);
    return status;
}

static enum kl_status start_writer(struct kl_page_store *store, struct kl_error *err)
{
    int failed = kl_thread_start(&store->thread, writer_main, store);
    if (failed == 0)
        return KL_OK;
    errno = failed;
    return kl_fail_errno(err, "the thread that writes the prefix cache could not be started");
}

enum kl_status kl_page_store_open(const struct kl_page_store_options *options,
                                  struct kl_page_store **out, struct kl_error *err)
{
    *out = NULL;
    struct kl_page_store *store = create();
    if (store == NULL)
        return kl_fail_memory(err, "the prefix cache on disk", sizeof *store);
    start_roots(&store->roots, options);
    store->written = options->written;
    store->stats.on = true;
    uint64_t name = kl_now_ns() ^ (uint64_t)getpid() << 40; /* if getrandom fails */
    (void)!getrandom(&name, sizeof name, GRND_NONBLOCK);
    snprintf(store->temporary, sizeof store->temporary, KL_PAGE_TEMPORARY "%016llx",
             (unsigned long long)name);
    enum kl_status status = take_memory(store, options, err);
    if (status == KL_OK)
        status = kl_cache_dir_open(store->path, true, &store->dir, err);
    if (status == KL_OK)
        status = first_scan(store, err);
    if (status == KL_OK)
        status = start_writer(store, err);
    if (status != KL_OK) {
        destroy(store);
        return status;
    }
    *out = store;
    return KL_OK;
}

void kl_page_store_close(struct kl_page_store *store)
{
    if (store == NULL)
        return;
    pthread_mutex_lock(&store->lock);
    store->closing = true;
    store->closing_since = kl_now_ns();
    pthread_cond_signal(&store->queued);
    pthread_mutex_unlock(&store->lock);
    pthread_join(store->thread, NULL);
    destroy(store);
}

/* Returns whether a page may be queued. While writing is off, only the one that tries again. */
static bool admits(struct kl_page_store *store, const struct kl_page_key *parent)
{
    if (!can_follow(store, parent) && find_queued(store, parent) == MAX_QUEUE)
        return false;
    if (store->stats.on)
        return store->stats.queued < store->stats.max_queued;
    return store->stats.queued == 0 && store->refused++ >= store->pause;
}

bool kl_page_store_put(struct kl_page_store *store, const struct kl_page_key *parent,
                       const int32_t *tokens, const void *page, bool background)
{
    const struct kl_page_key key = kl_page_key_next(parent, tokens);
    pthread_mutex_lock(&store->lock);
    int64_t used = use(store, background);
    struct kl_page_entry *entry = kl_page_index_find(&store->index, &key);
    bool taken = true;
    /* a stored page that was computed again may be damaged: it is replaced */
    if (entry != NULL && entry->checked) {
        touch(entry, used);
    } else if (find_queued(store, &key) == MAX_QUEUE) {
        taken = admits(store, parent);
        if (taken) {
            size_t at = (store->first + store->stats.queued++) % store->stats.max_queued;
            uint8_t *block = store->blocks + at * store->block_bytes;
            const struct kl_page_header header = kl_page_header(parent, tokens, store->page_bytes);
            memcpy(block, &header, sizeof header);
            memcpy(block + sizeof header, page, store->page_bytes);
            store->queue[at] = (struct queued){.key = key, .used = used};
            pthread_cond_signal(&store->queued);
        } else {
            store->stats.dropped++;
        }
    }
    pthread_mutex_unlock(&store->lock);
    return taken;
}

/* Reads a page that is in the index. Not under the lock. */
static bool get_from_disk(struct kl_page_store *store, const struct kl_page_key *key,
                          const struct kl_page_header *wanted, void *page, int64_t used)
{
    char name[KL_PAGE_NAME_SIZE];
    kl_page_name(key, &wanted->parent, name);
    enum kl_page_found found = kl_page_read(store->dir, name, wanted, page, used);
    if (found == KL_PAGE_DAMAGED)
        (void)unlinkat(store->dir, name, 0);
    pthread_mutex_lock(&store->lock);
    struct kl_page_entry *entry = kl_page_index_find(&store->index, key);
    if (found == KL_PAGE_READ)
        store->stats.hits++;
    else
        store->stats.misses++;
    if (found == KL_PAGE_DAMAGED)
        store->stats.damaged++;
    if (found == KL_PAGE_DAMAGED || found == KL_PAGE_GONE)
        kl_page_index_remove(&store->index, key);
    else if (entry != NULL && found == KL_PAGE_READ)
        entry->checked = true;
    pthread_mutex_unlock(&store->lock);
    return found == KL_PAGE_READ;
}

bool kl_page_store_get(struct kl_page_store *store, const struct kl_page_key *parent,
                       const int32_t *tokens, void *page, bool background)
{
    const struct kl_page_key key = kl_page_key_next(parent, tokens);
    const struct kl_page_header wanted = kl_page_header(parent, tokens, store->page_bytes);
    pthread_mutex_lock(&store->lock);
    int64_t used = use(store, background);
    size_t at = find_queued(store, &key);
    struct kl_page_entry *entry = kl_page_index_find(&store->index, &key);
    bool queued = at < MAX_QUEUE;
    if (queued) {
        memcpy(page, store->blocks + at * store->block_bytes + sizeof wanted, store->page_bytes);
        store->stats.hits++;
    } else if (entry != NULL) {
        touch(entry, used);
        used = entry->used;
    } else {
        store->stats.misses++;
    }
    pthread_mutex_unlock(&store->lock);
    return queued || (entry != NULL && get_from_disk(store, &key, &wanted, page, used));
}

void kl_page_store_flush(struct kl_page_store *store)
{
    pthread_mutex_lock(&store->lock);
    while (store->stats.queued > 0)
        pthread_cond_wait(&store->empty, &store->lock);
    pthread_mutex_unlock(&store->lock);
}

size_t kl_page_store_memory(const struct kl_page_store *store)
{
    return store->memory;
}

size_t kl_page_store_memory_of(const struct kl_page_store_options *options)
{
    struct kl_page_store *store = create();
    if (store == NULL)
        return 0;
    size_t bytes = take_memory(store, options, NULL) == KL_OK ? store->memory : 0;
    destroy(store);
    return bytes;
}

void kl_page_store_stats(struct kl_page_store *store, struct kl_page_store_stats *stats)
{
    pthread_mutex_lock(&store->lock);
    *stats = store->stats;
    stats->pages = store->index.n;
    stats->bytes = store->index.bytes;
    stats->max_bytes = store->max_bytes;
    pthread_mutex_unlock(&store->lock);
}
