#include "fetch/other_caches.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/paths.h"
#include "base/split_name.h"
#include "client/hub.h"

#define MAX_FOUND     512  /* GGUF files below one directory */
#define MAX_SEEN      8192 /* entries of directories */
#define MAX_DEPTH     3    /* some repositories have a directory for each quant */
#define MAX_SNAPSHOTS 64
#define MAX_MANIFEST  ((size_t)64 << 10)

static bool join(char out[PATH_MAX], const char *directory, const char *name)
{
    int n = snprintf(out, PATH_MAX, "%s/%s", directory, name);
    return n > 0 && n < PATH_MAX;
}

/* A directory of the environment, or one below the home. */
static bool variable(const char *name, const char *more, char out[PATH_MAX])
{
    const char *value = getenv(name);
    return value != NULL && value[0] == '/' &&
           snprintf(out, PATH_MAX, "%s%s", value, more) < PATH_MAX;
}

/* ---- files of a directory -------------------------------------------------------------------- */

struct found {
    size_t n, seen;
    char *paths[MAX_FOUND];
};

static bool is_file(const char *path, uint64_t *bytes)
{
    struct stat st;
    if (stat(path, &st) != 0 || !S_ISREG(st.st_mode))
        return false;
    *bytes = (uint64_t)st.st_size;
    return true;
}

/* Whether all parts of a model are here. */
static bool is_whole(const char *path)
{
    struct kl_split_name split;
    char part[PATH_MAX];
    uint64_t bytes;
    if (!kl_split_name_read(path, &split))
        return true;
    for (unsigned i = 1; i <= split.count && i <= KL_MAX_PARTS; i++) {
        if (!kl_split_name_write(path, split.prefix_len, i, split.count, part, sizeof part) ||
            !is_file(part, &bytes))
            return false;
    }
    return true;
}

static void collect(const char *directory, unsigned depth, struct found *found)
{
    struct dirent *entry;
    DIR *dir = opendir(directory);
    while (dir != NULL && found->n < MAX_FOUND && found->seen++ < MAX_SEEN &&
           (entry = readdir(dir)) != NULL) {
        char path[PATH_MAX];
        struct stat st;
        size_t len = strlen(entry->d_name);
        if (entry->d_name[0] == '.' || !join(path, directory, entry->d_name) ||
            stat(path, &st) != 0)
            continue;
        if (S_ISDIR(st.st_mode) && depth > 1)
            collect(path, depth - 1, found);
        else if (S_ISREG(st.st_mode) && len > 5 &&
                 strcasecmp(entry->d_name + len - 5, ".gguf") == 0 && found->n < MAX_FOUND &&
                 (found->paths[found->n] = strdup(path)) != NULL)
            found->n++;
    }
    if (dir != NULL)
        closedir(dir);
}

static int compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static const char *path_at(const void *context, size_t i)
{
    return ((const struct found *)context)->paths[i];
}

/* Finds all files below a directory, in the order of their names; NULL: no memory. */
static struct found *find_all(const char *directory)
{
    struct found *found = calloc(1, sizeof *found);
    if (found == NULL)
        return NULL;
    collect(directory, MAX_DEPTH, found);
    qsort(found->paths, found->n, sizeof found->paths[0], compare);
    return found;
}

/* Writes the i-th path, if all its parts are here, and frees all. */
static bool take(struct found *found, size_t i, char out[PATH_MAX])
{
    bool whole = i < found->n && is_whole(found->paths[i]);
    if (whole)
        snprintf(out, PATH_MAX, "%s", found->paths[i]);
    for (size_t k = 0; k < found->n; k++)
        free(found->paths[k]);
    free(found);
    return whole;
}

/* Finds the file that a quant means below a directory. */
static bool choose(const char *directory, const char *quant, char out[PATH_MAX])
{
    struct found *found = find_all(directory);
    return found != NULL && take(found, kl_repository_choose(quant, found->n, path_at, found), out);
}

/* Whether a path is a model, or the first part of one, with this name. */
static bool is_called(const char *path, const char *name)
{
    struct kl_split_name split;
    const char *file = strrchr(path, '/') + 1;
    size_t len = strlen(name);
    if (strncasecmp(file, name, len) != 0)
        return false;
    return strcmp(file + len, ".gguf") == 0 ||
           (kl_split_name_read(file, &split) && split.number == 1 && split.prefix_len == len);
}

bool kl_find_own(const char *name, char out[PATH_MAX])
{
    char directory[PATH_MAX];
    struct found *found = kl_cache_path("models", directory, sizeof directory, NULL) == KL_OK
                              ? find_all(directory)
                              : NULL;
    size_t i = 0;
    while (found != NULL && i < found->n && !is_called(found->paths[i], name))
        i++;
    return found != NULL && take(found, i, out);
}

bool kl_repository_directory(const struct kl_repository *repository, char out[PATH_MAX])
{
    char relative[KL_REPOSITORY_SIZE + 8];
    snprintf(relative, sizeof relative, "models/%s", repository->name);
    return kl_cache_path(relative, out, PATH_MAX, NULL) == KL_OK;
}

/* ---- Hugging Face ---------------------------------------------------------------------------- */

/* Writes the directory of a repository's snapshots. */
static bool snapshots_of(const char *repository, char out[PATH_MAX])
{
    char base[PATH_MAX];
    const char *slash = strchr(repository, '/');
    if (slash == NULL ||
        (!variable("HF_HUB_CACHE", "", base) && !variable("HF_HOME", "/hub", base) &&
         !variable("XDG_CACHE_HOME", "/huggingface/hub", base) &&
         !variable("HOME", "/.cache/huggingface/hub", base)))
        return false;
    int n = snprintf(out, PATH_MAX, "%s/models--%.*s--%s/snapshots", base,
                     (int)(slash - repository), repository, slash + 1);
    return n > 0 && n < PATH_MAX;
}

/* Reads the commit that the branch main was at: 40 hexadecimal digits. */
static bool read_main(const char *snapshots, char commit[41])
{
    char path[PATH_MAX];
    if (!join(path, snapshots, "../refs/main"))
        return false;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    ssize_t n = fd >= 0 ? read(fd, commit, 40) : -1;
    if (fd >= 0)
        close(fd);
    commit[n > 0 ? n : 0] = '\0';
    return n == 40 && strspn(commit, "0123456789abcdef") == 40;
}

/* Whether a path is the known file: its size, and the name of the blob that a link leads to. */
static bool is_known(const char *path, const struct kl_known_file *file)
{
    char target[PATH_MAX];
    uint64_t bytes;
    if (!is_file(path, &bytes) || bytes != file->bytes)
        return false;
    ssize_t n = readlink(path, target, sizeof target - 1);
    if (n < 0) /* a copy, where the file system has no links */
        return true;
    target[n] = '\0';
    const char *slash = strrchr(target, '/');
    return strcmp(slash != NULL ? slash + 1 : target, file->sha256) == 0;
}

/* Tries a directory of a snapshot: for a known file, or for the one that a quant means. */
static bool try_snapshot(const char *directory, const char *quant, const struct kl_known_file *file,
                         char out[PATH_MAX])
{
    if (file == NULL)
        return choose(directory, quant, out);
    return join(out, directory, file->name) && is_known(out, file);
}

static bool find_in_snapshots(const char *repository, const char *quant,
                              const struct kl_known_file *file, char out[PATH_MAX])
{
    char snapshots[PATH_MAX], directory[PATH_MAX], commit[41];
    struct dirent *entry;
    if (!snapshots_of(repository, snapshots))
        return false;
    if (read_main(snapshots, commit) && join(directory, snapshots, commit) &&
        try_snapshot(directory, quant, file, out))
        return true;
    bool found = false;
    DIR *dir = opendir(snapshots);
    for (unsigned i = 0; dir != NULL && !found && i < MAX_SNAPSHOTS; i++) {
        if ((entry = readdir(dir)) == NULL)
            break;
        found = entry->d_name[0] != '.' && join(directory, snapshots, entry->d_name) &&
                try_snapshot(directory, quant, file, out);
    }
    if (dir != NULL)
        closedir(dir);
    return found;
}

bool kl_find_hugging_face_file(const struct kl_known_file *file, char out[PATH_MAX])
{
    return find_in_snapshots(file->repository, "", file, out);
}

/* ---- Ollama ---------------------------------------------------------------------------------- */

/* Reads a small file. */
static char *read_manifest(const char *path, size_t *len)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    char *text = fd >= 0 ? malloc(MAX_MANIFEST) : NULL;
    ssize_t n = text != NULL ? read(fd, text, MAX_MANIFEST) : -1;
    if (fd >= 0)
        close(fd);
    if (n > 0) {
        *len = (size_t)n;
        return text;
    }
    free(text);
    return NULL;
}

/* Finds the blob of the model that a manifest names. */
static bool find_blob(const char *models, const char *host, const char *name, const char *tag,
                      char out[PATH_MAX])
{
    char path[PATH_MAX];
    struct kl_hub_file model;
    size_t len;
    uint64_t bytes;
    int n = snprintf(path, sizeof path, "%s/manifests/%s/%s/%s", models, host, name, tag);
    char *text = n > 0 && n < PATH_MAX ? read_manifest(path, &len) : NULL;
    if (text == NULL)
        return false;
    bool known = kl_hub_read_manifest(text, len, &model, NULL) == KL_OK;
    free(text);
    n = known ? snprintf(out, PATH_MAX, "%s/blobs/sha256-%s", models, model.sha256) : 0;
    return n > 0 && n < PATH_MAX && is_file(out, &bytes) && bytes == model.bytes;
}

/* Tries each directory that Ollama may keep its models in. */
static bool find_manifest(const char *host, const char *name, const char *tag, char out[PATH_MAX])
{
    char models[PATH_MAX];
    if (variable("OLLAMA_MODELS", "", models))
        return find_blob(models, host, name, tag, out);
    return (variable("HOME", "/.ollama/models", models) &&
            find_blob(models, host, name, tag, out)) ||
           find_blob("/usr/share/ollama/.ollama/models", host, name, tag, out);
}

bool kl_find_ollama(const char *name, char out[PATH_MAX])
{
    struct kl_repository repository;
    char with_owner[KL_REPOSITORY_SIZE];
    bool owned = strchr(name, '/') != NULL;
    int n = snprintf(with_owner, sizeof with_owner, "%s%s", owned ? "" : "library/", name);
    if (n < 0 || (size_t)n >= sizeof with_owner || !kl_repository_read(with_owner, &repository))
        return false;
    const char *tag = repository.quant[0] != '\0' ? repository.quant : "latest";
    return find_manifest("registry.ollama.ai", repository.name, tag, out) ||
           (owned && find_manifest("hf.co", repository.name, tag, out));
}

/* ---- all ------------------------------------------------------------------------------------- */

bool kl_find_repository(const struct kl_repository *repository, char out[PATH_MAX])
{
    char directory[PATH_MAX], name[KL_REPOSITORY_SIZE + KL_QUANT_SIZE];
    if (kl_repository_directory(repository, directory) && choose(directory, repository->quant, out))
        return true;
    if (find_in_snapshots(repository->name, repository->quant, NULL, out))
        return true;
    snprintf(name, sizeof name, "%s%s%s", repository->name, repository->quant[0] != '\0' ? ":" : "",
             repository->quant);
    return kl_find_ollama(name, out);
}
