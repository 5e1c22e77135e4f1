#include "load/cache_contents.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/cache_dir.h"
#include "base/mapped_file.h"
#include "base/paths.h"
#include "engine/page_dir.h"
#include "fetch/catalogue.h"
#include "format/sections_dir.h"

#define NS_PER_SECOND 1000000000

const char *kl_cache_kind_name(enum kl_cache_kind kind)
{
    static const char *const names[KL_CACHE_KINDS] = {"model", "weights", "tokenizer", "prompts",
                                                      "left over"};
    return names[kind];
}

/* ---- reading --------------------------------------------------------------------------------- */

static struct kl_cache_item *add(struct kl_cache_contents *c, enum kl_cache_kind kind,
                                 const char *name)
{
    if (c->n == KL_CACHE_MAX_ITEMS)
        return NULL;
    struct kl_cache_item *item = &c->items[c->n++];
    *item = (struct kl_cache_item){.kind = kind};
    snprintf(item->name, sizeof item->name, "%s", name);
    return item;
}

static int64_t nanoseconds(struct timespec t)
{
    return (int64_t)t.tv_sec * NS_PER_SECOND + t.tv_nsec;
}

static void set_facts(struct kl_cache_item *item, int dir, const struct stat *st)
{
    int64_t read = nanoseconds(st->st_atim), written = nanoseconds(st->st_mtim);
    item->bytes = (uint64_t)st->st_blocks * 512;
    item->used = item->kind == KL_CACHE_MODEL && read > written ? read : written;
    item->in_use = kl_cache_file_used(dir, item->name);
}

static bool ends_with(const char *name, const char *end)
{
    size_t len = strlen(name), n = strlen(end);
    return len > n && strcmp(name + len - n, end) == 0;
}

static void add_model(void *context, int dir, const char *name, const struct stat *st)
{
    bool part = ends_with(name, ".gguf.part");
    if (!part && !ends_with(name, ".gguf"))
        return;
    struct kl_cache_item *item = add(context, part ? KL_CACHE_LEFT : KL_CACHE_MODEL, name);
    if (item != NULL)
        set_facts(item, dir, st);
}

static void add_packed(void *context, int dir, const char *name, const struct stat *st)
{
    enum kl_sections_kind kind = kl_sections_kind(name);
    if (kind == KL_SECTIONS_FOREIGN)
        return;
    struct kl_cache_item *item = add(context,
                                     kind != KL_SECTIONS_WHOLE                  ? KL_CACHE_LEFT
                                     : ends_with(name, "." KL_SECTIONS_WEIGHTS) ? KL_CACHE_WEIGHTS
                                                                                : KL_CACHE_TABLES,
                                     name);
    if (item != NULL)
        set_facts(item, dir, st);
}

static enum kl_status read_directory(struct kl_cache_contents *c, const char *name,
                                     void (*add_file)(void *context, int dir, const char *name,
                                                      const struct stat *st),
                                     struct kl_error *err)
{
    char path[PATH_MAX];
    int dir;
    enum kl_status status = kl_cache_path(name, path, sizeof path, err);
    if (status == KL_OK)
        status = kl_cache_dir_open(path, false, &dir, err);
    if (status != KL_OK)
        return status == KL_ERR_NOT_FOUND ? KL_OK : status;
    status = kl_cache_dir_each(dir, add_file, c, err);
    close(dir);
    for (size_t i = 0; i < c->n; i++) {
        struct kl_cache_item *item = &c->items[i];
        if (item->kind == KL_CACHE_WEIGHTS || item->kind == KL_CACHE_TABLES)
            kl_digest_names(path, item->name, item->models, sizeof item->models);
    }
    return status;
}

static enum kl_status read_prompts(struct kl_cache_contents *c, struct kl_error *err)
{
    char path[PATH_MAX], name[64];
    struct kl_page_dir found;
    enum kl_status status = kl_cache_path("prefixes", path, sizeof path, err);
    if (status == KL_OK)
        status = kl_page_dir_look(path, &found, err);
    if (status != KL_OK || found.pages == 0)
        return status;
    snprintf(name, sizeof name, "%zu pages", found.pages);
    struct kl_cache_item *item = add(c, KL_CACHE_PROMPTS, name);
    if (item != NULL) {
        item->bytes = found.bytes;
        item->used = found.used;
        item->in_use = found.in_use;
    }
    return KL_OK;
}

static int by_kind_and_use(const void *a, const void *b)
{
    const struct kl_cache_item *x = a, *y = b;
    if (x->kind != y->kind)
        return x->kind < y->kind ? -1 : 1;
    return x->used > y->used ? -1 : x->used < y->used;
}

enum kl_status kl_cache_contents_read(struct kl_cache_contents *c, struct kl_error *err)
{
    c->n = 0;
    enum kl_status status = kl_cache_path(NULL, c->path, sizeof c->path, err);
    if (status == KL_OK)
        status = read_directory(c, "models", add_model, err);
    if (status == KL_OK)
        status = read_directory(c, "packed", add_packed, err);
    if (status == KL_OK)
        status = read_prompts(c, err);
    qsort(c->items, c->n, sizeof c->items[0], by_kind_and_use);
    return status;
}

/* ---- removing -------------------------------------------------------------------------------- */

enum kl_status kl_cache_clean(struct kl_cache_freed *freed, struct kl_error *err)
{
    static struct kl_cache_contents left;
    char path[PATH_MAX];
    struct kl_page_dir pages;
    enum kl_status status = kl_cache_path("packed", path, sizeof path, err);
    if (status != KL_OK)
        return status;
    struct kl_sections_removed old = kl_sections_remove_old(path),
                               packed = kl_sections_trim(path, 0);
    *freed = (struct kl_cache_freed){.files = old.files + packed.files,
                                     .bytes = old.bytes + packed.bytes};
    status = kl_cache_path("prefixes", path, sizeof path, err);
    if (status == KL_OK)
        status = kl_page_dir_clear(path, &pages, err);
    if (status == KL_OK && !pages.in_use) {
        freed->files += pages.pages;
        freed->bytes += pages.bytes;
    }
    if (status == KL_OK)
        status = kl_cache_contents_read(&left, err);
    for (size_t i = 0; status == KL_OK && i < left.n; i++)
        freed->in_use |= left.items[i].in_use && left.items[i].kind != KL_CACHE_MODEL;
    return status;
}

/* Removes the weights that were packed from a model: those with the digest that is stored for
 * its file. */
static void remove_weights_of(const char *model, struct kl_cache_freed *freed)
{
    char packed[PATH_MAX], digits[KL_DIGEST_DIGITS + 1];
    struct kl_mapped_file file;
    struct kl_digest digest;
    struct kl_sections_list list;
    if (kl_cache_path("packed", packed, sizeof packed, NULL) != KL_OK ||
        kl_mapped_file_open(&file, model, NULL) != KL_OK)
        return;
    bool known = kl_digest_recall(packed, &file, KL_DIGEST_TENSORS, &digest);
    kl_mapped_file_close(&file);
    if (!known || kl_sections_list(packed, &list, NULL) != KL_OK)
        return;
    kl_digest_text(&digest, digits);
    int dir;
    if (kl_cache_dir_open(packed, false, &dir, NULL) == KL_OK) {
        for (size_t i = 0; i < list.n; i++) {
            if (strncmp(list.items[i].name, digits, KL_DIGEST_DIGITS) == 0 &&
                kl_cache_file_remove(dir, list.items[i].name)) {
                freed->files++;
                freed->bytes += list.items[i].bytes;
            }
        }
        close(dir);
    }
    kl_sections_list_release(&list);
}

enum kl_status kl_cache_remove_model(const char *name, struct kl_cache_freed *freed,
                                     struct kl_error *err)
{
    char path[PATH_MAX];
    const struct kl_model_entry *entry = kl_catalogue_find(name);
    enum kl_status status =
        entry != NULL ? kl_model_path(entry, path, err) : kl_model_path_of_name(name, path, err);
    int dir = -1;
    const char *file;
    struct stat st;
    if (status == KL_OK)
        status = kl_cache_dir_of(path, false, &dir, &file, err);
    if (status == KL_ERR_NOT_FOUND ||
        (status == KL_OK && fstatat(dir, file, &st, AT_SYMLINK_NOFOLLOW) != 0))
        status =
            kl_fail(err, KL_ERR_NOT_FOUND,
                    "the cache has no model %.100s; 'kinglet cache' lists the models in it", name);
    else if (status == KL_OK && kl_cache_file_used(dir, file))
        status =
            kl_fail(err, KL_ERR_BUSY, "%.100s is in use by a running process; end it first", name);
    if (status == KL_OK) {
        remove_weights_of(path, freed);
        if (kl_cache_file_remove(dir, file)) {
            freed->files++;
            freed->bytes += (uint64_t)st.st_blocks * 512;
        } else {
            status = kl_fail(err, KL_ERR_IO, "%.200s cannot be removed", path);
        }
    }
    if (dir >= 0)
        close(dir);
    return status;
}
