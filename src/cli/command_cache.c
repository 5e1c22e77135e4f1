/* kinglet cache: lists the files in the cache directory, and removes them. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/json_writer.h"
#include "cli/commands.h"
#include "console/options.h"
#include "console/terminal.h"
#include "load/cache_contents.h"

#define LIST_CAP      ((size_t)1 << 20)
#define NS_PER_SECOND 1000000000

/* ---- printing -------------------------------------------------------------------------------- */

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
        fputs("\n'kinglet cache clean' removes the files that no process uses and that can be "
              "made\nagain; 'kinglet cache clean NAME' removes a model.\n",
              stdout);
}

static enum kl_status print_json(const struct kl_cache_contents *c, struct kl_error *err)
{
    struct kl_printer out;
    kl_printer_init(&out, LIST_CAP);
    struct kl_json j = {.out = &out};
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
    kl_print(&out, "\n");
    enum kl_status status = kl_printer_write(&out, stdout, "the list", err);
    kl_printer_release(&out);
    return status;
}

static enum kl_status clean(char **names, size_t n, bool json, struct kl_error *err)
{
    struct kl_cache_freed freed = {0};
    char size[32];
    enum kl_status status = n == 0 ? kl_cache_clean(&freed, err) : KL_OK;
    for (size_t i = 0; i < n && status == KL_OK; i++)
        status = kl_cache_remove_model(names[i], &freed, err);
    if (status != KL_OK && freed.files == 0)
        return status;
    if (json)
        printf("{\"files\":%zu,\"bytes\":%llu}\n", freed.files, (unsigned long long)freed.bytes);
    else
        printf("Freed %s (%zu files).\n", kl_format_bytes((double)freed.bytes, size, sizeof size),
               freed.files);
    if (!json && freed.in_use)
        puts("Files that running processes use are kept.");
    if (!json && n == 0)
        puts("Models are kept; 'kinglet cache clean NAME' removes one.");
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
        .about =
            "Lists the files in the cache directory with size and last use: models, weights and "
            "tokenizers prepared from them, and computed prompts. 'clean' removes all files that "
            "no process uses and that can be made again, which is everything except models. 'clean "
            "MODEL...' removes these models instead (a name from the list, or any other name of a "
            "model there), with all parts, their packed weights and unfinished downloads.",
        .options = table,
        .n_options = sizeof table / sizeof table[0],
        .notes = "The cache is $XDG_CACHE_HOME/kinglet (~/.cache/kinglet). Packed weights of\n"
                 "models that are not in use are removed automatically beyond 4 GB in all.\n"
                 "Models in the caches of Hugging Face and Ollama, which are used where they\n"
                 "are, are not listed and never removed.",
    };
    size_t n;
    int code;
    struct kl_error err = {0};
    if (!kl_command_line_read(&line, argc, argv, "warning", &n, &code))
        return code;
    if (n > 0 && strcmp(argv[1], "clean") != 0) {
        kl_fail(&err, KL_ERR_INVALID, "expected clean or no argument, found '%.100s'", argv[1]);
        return kl_report("cache", &err);
    }
    enum kl_status status;
    if (n > 0) {
        status = clean(argv + 2, n - 1, json, &err);
    } else {
        status = kl_cache_contents_read(&contents, &err);
        if (status == KL_OK && json)
            status = print_json(&contents, &err);
        else if (status == KL_OK)
            print_text(&contents);
    }
    return status == KL_OK ? KL_EXIT_OK : kl_report("cache", &err);
}
