/* kinglet cache: what lies in the cache directory, and freeing it. */
#include "cli/cache.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/cache_dir.h"
#include "base/json_writer.h"
#include "base/mapped_file.h"
#include "base/paths.h"
#include "cli/commands.h"
#include "console/options.h"
#include "console/terminal.h"
#include "engine/page_dir.h"
#include "fetch/catalogue.h"
#include "format/sections_dir.h"

#define LIST_CAP       ((size_t)1 << 20)
#define NS_PER_SECOND  1000000000
#define WORTH_A_REMARK ((uint64_t)1 << 30) /* bytes that no process uses */

const char *kl_cache_kind_name(enum kl_cache_kind kind)
{
    static const char *const names[KL_CACHE_KINDS] = {"model", "weights", "tokenizer", "prompts",
                                                      "left over"};
    return names[kind];
}

/* ---- looking --------------------------------------------------------------------------------- */

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

static void see_model(void *context, int dir, const char *name, const struct stat *st)
{
    bool part = ends_with(name, ".gguf.part");
    if (!part && !ends_with(name, ".gguf"))
        return;
    struct kl_cache_item *item = add(context, part ? KL_CACHE_LEFT : KL_CACHE_MODEL, name);
    if (item != NULL)
        set_facts(item, dir, st);
}

static void see_packed(void *context, int dir, const char *name, const struct stat *st)
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

static enum kl_status look_into(struct kl_cache_contents *c, const char *name,
                                void (*see)(void *context, int dir, const char *name,
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
    status = kl_cache_dir_each(dir, see, c, err);
    close(dir);
    for (size_t i = 0; i < c->n; i++) {
        struct kl_cache_item *item = &c->items[i];
        if (item->kind == KL_CACHE_WEIGHTS || item->kind == KL_CACHE_TABLES)
            kl_digest_names(path, item->name, item->models, sizeof item->models);
    }
    return status;
}

static enum kl_status look_at_prompts(struct kl_cache_contents *c, struct kl_error *err)
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

enum kl_status kl_cache_look(struct kl_cache_contents *c, struct kl_error *err)
{
    c->n = 0;
    enum kl_status status = kl_cache_path(NULL, c->path, sizeof c->path, err);
    if (status == KL_OK)
        status = look_into(c, "models", see_model, err);
    if (status == KL_OK)
        status = look_into(c, "packed", see_packed, err);
    if (status == KL_OK)
        status = look_at_prompts(c, err);
    qsort(c->items, c->n, sizeof c->items[0], by_kind_and_use);
    return status;
}

/* ---- saying ---------------------------------------------------------------------------------- */

static const char *format_time(int64_t ns, char *out, size_t size)
{
    time_t seconds = (time_t)(ns / NS_PER_SECOND);
    struct tm tm;
    if (localtime_r(&seconds, &tm) == NULL || strftime(out, size, "%Y-%m-%d %H:%M", &tm) == 0)
        snprintf(out, size, "-");
    return out;
}

static void print_text(const struct kl_cache_contents *c)
{
    char size[32], when[32];
    uint64_t all = 0;
    for (size_t i = 0; i < c->n; i++)
        all += c->items[i].bytes;
    printf("%s: %s\n", c->path, kl_format_bytes((double)all, size, sizeof size));
    if (c->n > 0)
        printf("\n%-10s %10s  %-16s  %-6s  %s\n", "KIND", "SIZE", "LAST USE", "IN USE", "NAME");
    for (size_t i = 0; i < c->n; i++) {
        const struct kl_cache_item *item = &c->items[i];
        printf("%-10s %10s  %-16s  %-6s  %s%s%s\n", kl_cache_kind_name(item->kind),
               kl_format_bytes((double)item->bytes, size, sizeof size),
               format_time(item->used, when, sizeof when), item->in_use ? "yes" : "no",
               item->models[0] != '\0' ? "of " : "",
               item->models[0] != '\0' ? item->models : item->name, "");
    }
    if (c->n > 0)
        fputs("\n'kinglet cache clean' frees what is made again when it is needed and no process\n"
              "uses; 'kinglet cache clean NAME' frees a model.\n",
              stdout);
}

static enum kl_status print_json(const struct kl_cache_contents *c)
{
    struct kl_buffer text;
    kl_buffer_init(&text, LIST_CAP);
    struct kl_json j = {.out = &text};
    kl_json_open(&j, NULL, '{');
    kl_json_string(&j, "path", c->path);
    kl_json_open(&j, "items", '[');
    for (size_t i = 0; i < c->n; i++) {
        const struct kl_cache_item *item = &c->items[i];
        kl_json_open(&j, NULL, '{');
        kl_json_string(&j, "kind", kl_cache_kind_name(item->kind));
        kl_json_string(&j, "name", item->name);
        kl_json_string(&j, "models", item->models);
        kl_json_number(&j, "bytes", (double)item->bytes);
        kl_json_number(&j, "last_use", (double)(item->used / NS_PER_SECOND));
        kl_json_bool(&j, "in_use", item->in_use);
        kl_json_close(&j, '}');
    }
    kl_json_close(&j, ']');
    kl_json_close(&j, '}');
    if (j.status == KL_OK)
        puts(text.data);
    kl_buffer_release(&text);
    return j.status;
}

void kl_doctor_cache(struct kl_findings *findings)
{
    static struct kl_cache_contents contents; /* 300 KB */
    struct kl_error err = {0};
    if (kl_cache_look(&contents, &err) != KL_OK) {
        struct kl_finding *found = kl_found(findings, KL_WARNING, "cache", "%s", err.text);
        kl_found_cost(found, "weights are prepared anew at each start, and no prompts are kept");
        return;
    }
    char text[300] = "", size[32];
    uint64_t unused = 0;
    for (int kind = 0; kind < KL_CACHE_KINDS; kind++) {
        uint64_t bytes = 0;
        size_t n = 0;
        for (size_t i = 0; i < contents.n; i++) {
            const struct kl_cache_item *item = &contents.items[i];
            if ((int)item->kind != kind)
                continue;
            bytes += item->bytes;
            unused += item->in_use || kind == KL_CACHE_MODEL ? 0 : item->bytes;
            n++;
        }
        size_t used = strlen(text);
        if (n > 0)
            snprintf(text + used, sizeof text - used, "%s%s %s (%zu)", used > 0 ? ", " : "",
                     kl_cache_kind_name((enum kl_cache_kind)kind),
                     kl_format_bytes((double)bytes, size, sizeof size), n);
    }
    bool much = unused > WORTH_A_REMARK;
    struct kl_finding *found = kl_found(findings, much ? KL_NOTE : KL_GOOD, "cache",
                                        "%.80s: %s; %s of it is in no use now", contents.path,
                                        text[0] != '\0' ? text : "empty",
                                        kl_format_bytes((double)unused, size, sizeof size));
    if (much)
        kl_found_remedy(found, "kinglet cache clean frees it; it is made again when it is needed");
}

/* ---- freeing --------------------------------------------------------------------------------- */

struct freed {
    size_t files;
    uint64_t bytes;
    bool in_use; /* something was kept for that */
};

static enum kl_status free_all(struct freed *freed, struct kl_error *err)
{
    static struct kl_cache_contents left;
    char path[PATH_MAX];
    struct kl_page_dir pages;
    enum kl_status status = kl_cache_path("packed", path, sizeof path, err);
    if (status != KL_OK)
        return status;
    struct kl_sections_removed old = kl_sections_remove_old(path),
                               packed = kl_sections_trim(path, 0);
    *freed = (struct freed){.files = old.files + packed.files, .bytes = old.bytes + packed.bytes};
    status = kl_cache_path("prefixes", path, sizeof path, err);
    if (status == KL_OK)
        status = kl_page_dir_clear(path, &pages, err);
    if (status == KL_OK && !pages.in_use) {
        freed->files += pages.pages;
        freed->bytes += pages.bytes;
    }
    if (status == KL_OK)
        status = kl_cache_look(&left, err);
    for (size_t i = 0; status == KL_OK && i < left.n; i++)
        freed->in_use |= left.items[i].in_use && left.items[i].kind != KL_CACHE_MODEL;
    return status;
}

/* The weights that were made of a model, by what is remembered of its file. */
static void free_weights_of(const char *model, struct freed *freed)
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

static enum kl_status free_model(const char *name, struct freed *freed, struct kl_error *err)
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
        status = kl_fail(err, KL_ERR_NOT_FOUND,
                         "there is no model %.100s in the cache; 'kinglet cache' lists those there "
                         "are",
                         name);
    else if (status == KL_OK && kl_cache_file_used(dir, file))
        status =
            kl_fail(err, KL_ERR_BUSY, "%.100s is in use by a running process; end it first", name);
    if (status == KL_OK) {
        free_weights_of(path, freed);
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

static enum kl_status clean(char **names, size_t n, bool json, struct kl_error *err)
{
    struct freed freed = {0};
    char size[32];
    enum kl_status status = n == 0 ? free_all(&freed, err) : KL_OK;
    for (size_t i = 0; i < n && status == KL_OK; i++)
        status = free_model(names[i], &freed, err);
    if (status != KL_OK && freed.files == 0)
        return status;
    if (json)
        printf("{\"files\":%zu,\"bytes\":%llu}\n", freed.files, (unsigned long long)freed.bytes);
    else
        printf("Freed %s (%zu files).\n", kl_format_bytes((double)freed.bytes, size, sizeof size),
               freed.files);
    if (!json && freed.in_use)
        puts("What running processes use is kept.");
    if (!json && n == 0)
        puts("Models are kept; 'kinglet cache clean NAME' frees one.");
    return status;
}

/* ---- the command ----------------------------------------------------------------------------- */

int kl_run_cache(int argc, char **argv)
{
    static struct kl_cache_contents contents;
    bool json = false;
    const struct kl_option table[] = {
        {"json", 0, KL_OPTION_FLAG, NULL, "print one JSON object", &json, 0, 0},
    };
    const struct kl_command_line line = {
        .command = "cache",
        .arguments = "[clean [MODEL...]]",
        .max_arguments = 1 + KL_MAX_LIST,
        .about = "Lists what lies in the cache directory: models, weights and tokenizers prepared "
                 "from them, kept prompts, with sizes and last use. 'clean' frees all of it that "
                 "no process uses and that is made again when it is needed, so everything but "
                 "models; 'clean MODEL...' frees these models and their prepared weights instead.",
        .options = table,
        .n_options = sizeof table / sizeof table[0],
        .notes = "The cache is $XDG_CACHE_HOME/kinglet (~/.cache/kinglet). Prepared weights of\n"
                 "models that are not in use go by themselves when there are more than 4 GB.",
    };
    size_t n;
    int code;
    struct kl_error err = {0};
    if (!kl_command_line_read(&line, argc, argv, "warning", &n, &code))
        return code;
    if (n > 0 && strcmp(argv[1], "clean") != 0) {
        kl_fail(&err, KL_ERR_INVALID, "expected nothing or clean, found '%.100s'", argv[1]);
        return kl_report("cache", &err);
    }
    enum kl_status status;
    if (n > 0) {
        status = clean(argv + 2, n - 1, json, &err);
    } else {
        status = kl_cache_look(&contents, &err);
        if (status == KL_OK && json)
            status = print_json(&contents);
        else if (status == KL_OK)
            print_text(&contents);
    }
    return status == KL_OK ? KL_EXIT_OK : kl_report("cache", &err);
}
