#include "format/sections_dir.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/cache_dir.h"

#define HEX "0123456789abcdef"

static bool ends_with(const char *name, size_t len, const char *end)
{
    size_t n = strlen(end);
    return len > n && memcmp(name + len - n, end, n) == 0;
}

/* The length of a name without ".SUFFIX" and then ".tmp"; 0: it has another suffix. */
static size_t stem(const char *name, bool *temporary)
{
    size_t len = strlen(name);
    *temporary = ends_with(name, len, ".tmp");
    len -= *temporary ? strlen(".tmp") : 0;
    if (ends_with(name, len, "." KL_SECTIONS_WEIGHTS))
        return len - strlen("." KL_SECTIONS_WEIGHTS);
    return ends_with(name, len, "." KL_SECTIONS_TABLES) ? len - strlen("." KL_SECTIONS_TABLES) : 0;
}

enum kl_sections_kind kl_sections_kind(const char *name)
{
    enum { OLD_DIGITS = 16, HOW_DIGITS = 8 };
    bool temporary;
    size_t len = stem(name, &temporary);
    if (strcmp(name, KL_DIGEST_INDEX ".tmp") == 0)
        return KL_SECTIONS_PARTIAL;
    if (len == KL_DIGEST_DIGITS + 1 + HOW_DIGITS && strspn(name, HEX) == KL_DIGEST_DIGITS &&
        name[KL_DIGEST_DIGITS] == '-' && strspn(name + KL_DIGEST_DIGITS + 1, HEX) == HOW_DIGITS)
        return temporary ? KL_SECTIONS_PARTIAL : KL_SECTIONS_WHOLE;
    if (len > OLD_DIGITS + 1 && name[len - OLD_DIGITS - 1] == '.' &&
        strspn(name + len - OLD_DIGITS, HEX) == OLD_DIGITS)
        return KL_SECTIONS_OUTDATED;
    return KL_SECTIONS_FOREIGN;
}

/* ---- listing --------------------------------------------------------------------------------- */

static void add_item(void *context, int dir, const char *name, const struct stat *st)
{
    struct kl_sections_list *list = context;
    if (kl_sections_kind(name) != KL_SECTIONS_WHOLE)
        return;
    if (list->n == list->allocated) {
        size_t size = list->allocated == 0 ? 16 : 2 * list->allocated;
        struct kl_sections_item *items = realloc(list->items, size * sizeof *items);
        if (items == NULL)
            return; /* not listed, so not removed */
        list->items = items;
        list->allocated = size;
    }
    struct kl_sections_item *item = &list->items[list->n++];
    *item = (struct kl_sections_item){.bytes = (uint64_t)st->st_blocks * 512,
                                      .size = (uint64_t)st->st_size,
                                      .used = (int64_t)st->st_mtim.tv_sec * 1000000000 +
                                              st->st_mtim.tv_nsec,
                                      .in_use = kl_cache_file_used(dir, name)};
    strncat(item->name, name, sizeof item->name - 1);
}

static int by_use(const void *a, const void *b)
{
    const struct kl_sections_item *x = a, *y = b;
    return x->used < y->used ? -1 : x->used > y->used;
}

static enum kl_status list_open(int dir, struct kl_sections_list *list, struct kl_error *err)
{
    *list = (struct kl_sections_list){0};
    enum kl_status status = kl_cache_dir_each(dir, add_item, list, err);
    if (list->n > 0)
        qsort(list->items, list->n, sizeof *list->items, by_use);
    return status;
}

enum kl_status kl_sections_list(const char *dir, struct kl_sections_list *list,
                                struct kl_error *err)
{
    int fd;
    *list = (struct kl_sections_list){0};
    enum kl_status status = kl_cache_dir_open(dir, false, &fd, err);
    if (status != KL_OK)
        return status == KL_ERR_NOT_FOUND ? KL_OK : status;
    status = list_open(fd, list, err);
    close(fd);
    return status;
}

void kl_sections_list_release(struct kl_sections_list *list)
{
    free(list->items);
    *list = (struct kl_sections_list){0};
}

bool kl_sections_has_size(const char *dir, uint64_t size)
{
    struct kl_sections_list list;
    bool found = false;
    if (kl_sections_list(dir, &list, NULL) == KL_OK) {
        for (size_t i = 0; i < list.n; i++)
            found = found || list.items[i].size == size;
    }
    kl_sections_list_release(&list);
    return found;
}

/* ---- removing -------------------------------------------------------------------------------- */

struct removal {
    enum kl_sections_kind kind;
    struct kl_sections_removed removed;
};

static void remove_file(struct removal *r, int dir, const char *name, uint64_t bytes)
{
    if (kl_cache_file_remove(dir, name)) {
        r->removed.files++;
        r->removed.bytes += bytes;
    }
}

static void remove_kind(void *context, int dir, const char *name, const struct stat *st)
{
    struct removal *r = context;
    if (kl_sections_kind(name) == r->kind)
        remove_file(r, dir, name, (uint64_t)st->st_blocks * 512);
}

struct kl_sections_removed kl_sections_remove_old(const char *dir)
{
    struct removal r = {.kind = KL_SECTIONS_OUTDATED};
    int fd;
    if (kl_cache_dir_open(dir, false, &fd, NULL) == KL_OK) {
        (void)kl_cache_dir_each(fd, remove_kind, &r, NULL);
        close(fd);
    }
    return r.removed;
}

void kl_sections_remove(const char *dir, const char *name)
{
    int fd;
    if (kl_cache_dir_open(dir, false, &fd, NULL) != KL_OK)
        return;
    (void)unlinkat(fd, name, 0);
    close(fd);
}

static uint64_t free_bytes(int dir)
{
    struct statvfs fs;
    return fstatvfs(dir, &fs) == 0 ? (uint64_t)fs.f_bavail * fs.f_frsize : UINT64_MAX;
}

static uint64_t not_in_use(const struct kl_sections_list *list)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < list->n; i++)
        bytes += list->items[i].in_use ? 0 : list->items[i].bytes;
    return bytes;
}

/* The most recently used file of those not in use; list->n if there is none. */
static size_t last_unused(const struct kl_sections_list *list)
{
    size_t last = list->n;
    for (size_t i = 0; i < list->n; i++)
        last = list->items[i].in_use ? last : i;
    return last;
}

/* Removes the least recently used files while more than `keep` bytes are left, or less than `need`
 * are free. */
static struct kl_sections_removed trim(const char *dir, uint64_t keep, uint64_t need)
{
    struct removal r = {.kind = KL_SECTIONS_PARTIAL};
    struct kl_sections_list list;
    int fd;
    if (kl_cache_dir_open(dir, false, &fd, NULL) != KL_OK)
        return r.removed;
    (void)kl_cache_dir_each(fd, remove_kind, &r, NULL);
    if (list_open(fd, &list, NULL) == KL_OK) {
        uint64_t left = not_in_use(&list), at_best;
        size_t last = last_unused(&list);
        if (kl_add(free_bytes(fd), left, &at_best) && at_best < need)
            need = 0; /* cannot be reached */
        for (size_t i = 0; i < list.n; i++) {
            const struct kl_sections_item *item = &list.items[i];
            bool over = left > keep && (i != last || keep == 0);
            if (item->in_use || (!over && free_bytes(fd) >= need))
                continue;
            remove_file(&r, fd, item->name, item->bytes);
            left -= item->bytes;
        }
    }
    kl_sections_list_release(&list);
    close(fd);
    return r.removed;
}

struct kl_sections_removed kl_sections_trim(const char *dir, uint64_t keep)
{
    return trim(dir, keep, 0);
}

struct kl_sections_removed kl_sections_make_room(const char *dir, uint64_t need)
{
    return trim(dir, UINT64_MAX, need);
}
