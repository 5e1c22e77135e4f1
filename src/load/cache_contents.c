#include "load/cache_contents.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/cache_dir.h"
#include "base/mapped_file.h"
#include "base/paths.h"
#include "base/split_name.h"
#include "engine/page_dir.h"
#include "fetch/catalogue.h"
#include "format/digest.h"
#include "format/gguf.h"
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

/* Adds the facts of a file; a model may have several. dir -1: of what a link points to, which no
 * process of ours locks by this name. */
static void add_facts(struct kl_cache_item *item, int dir, const char *file, const struct stat *st)
{
    int64_t read = nanoseconds(st->st_atim), written = nanoseconds(st->st_mtim);
    int64_t used = item->kind == KL_CACHE_MODEL && read > written ? read : written;
    item->bytes += (uint64_t)st->st_blocks * 512;
    item->used = used > item->used ? used : item->used;
    item->in_use = item->in_use || (dir >= 0 && kl_cache_file_used(dir, file));
}

static bool ends_with(const char *name, const char *end)
{
    size_t len = strlen(name), n = strlen(end);
    return len > n && strcmp(name + len - n, end) == 0;
}

/* A directory of models; of a repository: "OWNER/REPO/". */
struct models {
    struct kl_cache_contents *contents;
    char prefix[2 * NAME_MAX];
};

static void add_model(void *context, int dir, const char *file, const struct stat *st)
{
    struct models *m = context;
    struct kl_split_name split;
    char first[NAME_MAX + 1], name[2 * NAME_MAX];
    bool part = ends_with(file, ".gguf.part");
    if (!part && !ends_with(file, ".gguf"))
        return;
    snprintf(first, sizeof first, "%s", file);
    if (kl_split_name_read(file, &split))
        (void)kl_split_name_write(file, split.prefix_len, 1, split.count, first, sizeof first);
    int n = snprintf(name, sizeof name, "%s%s", m->prefix, first);
    if (n < 0 || (size_t)n >= sizeof name)
        return;
    struct kl_cache_item *item = NULL;
    for (size_t i = 0; i < m->contents->n && item == NULL; i++) {
        if (strcmp(m->contents->items[i].name, name) == 0)
            item = &m->contents->items[i];
    }
    if (item == NULL)
        item = add(m->contents, part ? KL_CACHE_LEFT : KL_CACHE_MODEL, name);
    if (item != NULL)
        add_facts(item, dir, file, st);
}

/* Reads the models of a directory, those that links in it point to, and those of the directories in
 * it. */
static enum kl_status read_models(struct models *m, const char *directory, unsigned depth,
                                  struct kl_error *err)
{
    int dir;
    struct dirent *entry;
    enum kl_status status = kl_cache_dir_open(directory, false, &dir, err);
    if (status != KL_OK)
        return status == KL_ERR_NOT_FOUND ? KL_OK : status;
    status = kl_cache_dir_each(dir, add_model, m, err);
    close(dir);
    DIR *all = status == KL_OK ? opendir(directory) : NULL;
    size_t len = strlen(m->prefix);
    while (all != NULL && status == KL_OK && m->contents->n < KL_CACHE_MAX_ITEMS &&
           (entry = readdir(all)) != NULL) {
        char path[PATH_MAX];
        struct stat st;
        int n = snprintf(path, sizeof path, "%s/%s", directory, entry->d_name);
        if (entry->d_name[0] == '.' || n < 0 || (size_t)n >= sizeof path || lstat(path, &st) != 0)
            continue;
        if (S_ISLNK(st.st_mode)) {
            if (stat(path, &st) == 0 && S_ISREG(st.st_mode))
                add_model(m, -1, entry->d_name, &st);
            continue;
        }
        if (depth == 0 || !S_ISDIR(st.st_mode) ||
            len + strlen(entry->d_name) + 2 > sizeof m->prefix)
            continue;
        snprintf(m->prefix + len, sizeof m->prefix - len, "%s/", entry->d_name);
        status = read_models(m, path, depth - 1, err);
        m->prefix[len] = '\0';
    }
    if (all != NULL)
        closedir(all);
    return status;
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
        add_facts(item, dir, name, st);
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
    struct models models = {.contents = c};
    char path[PATH_MAX];
    if (status == KL_OK)
        status = kl_cache_path("models", path, sizeof path, err);
    if (status == KL_OK)
        status = read_models(&models, path, 2, err);
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

/* Finds the digest that is stored for the content of a model file or of its parts. */
static bool recall_content(const char *packed, const char *model, struct kl_digest *digest)
{
    struct kl_gguf *gguf;
    struct kl_mapped_file file;
    if (kl_gguf_open(model, &gguf, NULL) == KL_OK) {
        bool known = kl_digest_recall(packed, kl_gguf_file(gguf), KL_DIGEST_TENSORS, digest);
        kl_gguf_close(gguf);
        return known;
    }
    /* a file that this version does not read */
    if (kl_mapped_file_open(&file, model, NULL) != KL_OK)
        return false;
    bool known = kl_digest_recall(packed, &file, KL_DIGEST_TENSORS, digest);
    kl_mapped_file_close(&file);
    return known;
}

/* Removes the weights that were packed from a model: those with the digest that is stored for
 * its file. */
static void remove_weights_of(const char *model, struct kl_cache_freed *freed)
{
    char packed[PATH_MAX], digits[KL_DIGEST_DIGITS + 1];
    struct kl_digest digest;
    struct kl_sections_list list;
    if (kl_cache_path("packed", packed, sizeof packed, NULL) != KL_OK)
        return;
    bool known = recall_content(packed, model, &digest);
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

static bool exists(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0 && (S_ISREG(st.st_mode) || S_ISLNK(st.st_mode));
}

/* Finds the file in the models directory that a name means; of a model in several files the first.
 * It may be missing, if only a part of it has come. elsewhere: set if it is in another program's
 * cache, to its path there. */
static bool find_model(const char *name, char path[PATH_MAX], char elsewhere[PATH_MAX])
{
    char models[PATH_MAX], part[PATH_MAX];
    struct kl_model_location location;
    elsewhere[0] = '\0';
    if (kl_cache_path("models", models, sizeof models, NULL) != KL_OK)
        return false;
    size_t len = strlen(models);
    if (kl_path_is_plain(name, 2 * NAME_MAX,
                         3)) { /* as the list shows it, with its ending or without */
        for (int i = 0; i < 2; i++) {
            int n = snprintf(path, PATH_MAX, "%s/%s%s", models, name, i == 0 ? "" : ".gguf");
            int m = snprintf(part, PATH_MAX, "%s.part", path);
            if (n > 0 && n < PATH_MAX && m > 0 && m < PATH_MAX && ends_with(path, ".gguf") &&
                (exists(path) || exists(part)))
                return true;
        }
    }
    bool located = kl_model_locate(name, &location, NULL) == KL_OK;
    if (!located && location.entry == NULL)
        return false;
    snprintf(path, PATH_MAX, "%s", location.path);
    if (strncmp(path, models, len) == 0 && path[len] == '/')
        return true;
    snprintf(elsewhere, PATH_MAX, "%s", path);
    return false;
}

/* Removes one file of a model and what has come of it; `missing` counts as removed. */
static enum kl_status remove_file(int dir, const char *file, struct kl_cache_freed *freed,
                                  struct kl_error *err)
{
    char name[NAME_MAX + 8];
    struct stat st;
    for (int i = 0; i < 2; i++) {
        snprintf(name, sizeof name, "%s%s", file, i == 0 ? "" : ".part");
        if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
            continue;
        if (!kl_cache_file_remove(dir, name))
            return kl_fail(err, KL_ERR_IO, "%.200s cannot be removed", name);
        freed->files++;
        freed->bytes += (uint64_t)st.st_blocks * 512;
    }
    return KL_OK;
}

/* Removes the file, or all parts, unless a process uses one of them. */
static enum kl_status remove_files(int dir, const char *file, struct kl_cache_freed *freed,
                                   struct kl_error *err)
{
    struct kl_split_name split;
    char part[NAME_MAX + 1];
    unsigned count = kl_split_name_read(file, &split) ? split.count : 1;
    enum kl_status status = KL_OK;
    for (int removing = 0; removing < 2; removing++) {
        for (unsigned i = 1; i <= count && i <= KL_MAX_PARTS && status == KL_OK; i++) {
            snprintf(part, sizeof part, "%s", file);
            if (count > 1)
                (void)kl_split_name_write(file, split.prefix_len, i, count, part, sizeof part);
            if (removing)
                status = remove_file(dir, part, freed, err);
            else if (kl_cache_file_used(dir, part))
                status = kl_fail(err, KL_ERR_BUSY, "in use by a running process; end it first");
        }
    }
    return status;
}

/* Removes the directories of a repository that has no files any more. */
static void remove_empty(const char *path, const char *models)
{
    char directory[PATH_MAX];
    snprintf(directory, sizeof directory, "%s", path);
    for (int i = 0; i < 2; i++) {
        *strrchr(directory, '/') = '\0';
        if (strlen(directory) <= strlen(models) || rmdir(directory) != 0)
            return;
    }
}

enum kl_status kl_cache_remove_model(const char *name, struct kl_cache_freed *freed,
                                     struct kl_error *err)
{
    char path[PATH_MAX], elsewhere[PATH_MAX], models[PATH_MAX];
    const char *file;
    int dir = -1;
    size_t before = freed->files;
    bool found = find_model(name, path, elsewhere);
    if (!found && elsewhere[0] != '\0')
        return kl_fail(err, KL_ERR_NOT_FOUND,
                       "%.100s is not in kinglet's cache but at %.300s: remove it with the program "
                       "that put it there",
                       name, elsewhere);
    struct kl_repository repository;
    if (!found && !kl_path_is_plain(name, 2 * NAME_MAX, 3) &&
        !kl_repository_read(name, &repository))
        return kl_model_path_of_name(name, path, err); /* says what a name may be */
    enum kl_status status =
        found ? kl_cache_dir_of(path, false, &dir, &file, err) : KL_ERR_NOT_FOUND;
    if (status == KL_OK) {
        if (!kl_cache_file_used(dir, file))
            remove_weights_of(path, freed);
        status = remove_files(dir, file, freed, err);
        if (status != KL_OK)
            kl_error_prefix(err, "%.100s", name);
        close(dir);
    }
    if (status == KL_ERR_NOT_FOUND || (status == KL_OK && freed->files == before))
        return kl_fail(err, KL_ERR_NOT_FOUND,
                       "the cache has no model %.100s; 'kinglet cache' lists the models in it",
                       name);
    if (status == KL_OK && kl_cache_path("models", models, sizeof models, NULL) == KL_OK)
        remove_empty(path, models);
    return status;
}
