#include "fetch/fetch_hub.h"

#include <string.h>

#include "base/memory.h"
#include "base/split_name.h"
#include "fetch/download.h"
#include "fetch/other_caches.h"

static const struct {
    const char *label, *variable, *address;
} hubs[] = {
    [KL_HUB_HUGGING_FACE] = {"Hugging Face", "HF_ENDPOINT", "https://huggingface.co"},
    [KL_HUB_MODELSCOPE] = {"ModelScope", "MODELSCOPE_ENDPOINT", "https://modelscope.cn"},
};
enum { N_HUBS = sizeof hubs / sizeof hubs[0] };

/* ---- the list -------------------------------------------------------------------------------- */

static const char *path_at(const void *context, size_t i)
{
    return ((const struct kl_hub_files *)context)->items[i].path;
}

static const char *file_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

static enum kl_status get_list(enum kl_hub hub, const char *repository, size_t stall_seconds,
                               struct kl_hub_files *files, struct kl_error *err)
{
    char base[1024], url[2048];
    kl_fetch_endpoint(hubs[hub].variable, hubs[hub].address, base, sizeof base);
    if (!kl_url_is_safe(base))
        return kl_fail(err, KL_ERR_NOT_FOUND,
                       "%s is %.200s: the list of files says which are right, so it must come by "
                       "https",
                       hubs[hub].variable, base);
    if (hub == KL_HUB_HUGGING_FACE)
        snprintf(url, sizeof url, "%s/api/models/%s/tree/main?recursive=1", base, repository);
    else
        snprintf(url, sizeof url, "%s/api/v1/models/%s/repo/files?Revision=master&Recursive=true",
                 base, repository);
    enum kl_status status = kl_hub_list(hub, url, stall_seconds, files, err);
    if (status == KL_OK && files->n == 0) {
        kl_hub_files_release(files);
        status = kl_fail(err, KL_ERR_NOT_FOUND, "the repository has no GGUF files");
    }
    return status;
}

enum kl_status kl_hub_list_get(const struct kl_repository *repository, size_t stall_seconds,
                               struct kl_hub_list *list, struct kl_error *err)
{
    for (size_t i = 0; i < N_HUBS; i++) {
        list->hub = (enum kl_hub)i;
        enum kl_status status =
            get_list(list->hub, repository->name, stall_seconds, &list->files, err);
        if (status == KL_OK) {
            list->chosen =
                kl_repository_choose(repository->quant, list->files.n, path_at, &list->files);
            return KL_OK;
        }
        if (status != KL_ERR_NOT_FOUND)
            return status;
        fprintf(stderr, "%s: %s\n", hubs[i].label, err->text);
    }
    return kl_fail(err, KL_ERR_NOT_FOUND, "no hub has %s; check the name and the connection",
                   repository->name);
}

void kl_hub_list_release(struct kl_hub_list *list)
{
    kl_hub_files_release(&list->files);
}

/* The index of the i-th part (from 1 on) of the model whose first part is `first`; n: missing. */
static size_t find_part(const struct kl_hub_files *files, size_t first, unsigned i)
{
    struct kl_split_name split;
    char path[KL_HUB_PATH_SIZE + 32];
    size_t k = 0;
    if (!kl_split_name_read(files->items[first].path, &split) ||
        !kl_split_name_write(files->items[first].path, split.prefix_len, i, split.count, path,
                             sizeof path))
        return files->n;
    while (k < files->n && strcmp(files->items[k].path, path) != 0)
        k++;
    return k;
}

static unsigned count_parts(const struct kl_hub_file *file)
{
    struct kl_split_name split;
    return kl_split_name_read(file->path, &split) ? split.count : 1;
}

/* The bytes of all parts that the list has. */
static uint64_t bytes_of(const struct kl_hub_files *files, size_t first)
{
    unsigned n = count_parts(&files->items[first]);
    uint64_t bytes = n == 1 ? files->items[first].bytes : 0;
    for (unsigned i = 1; n > 1 && i <= n && i <= KL_MAX_PARTS; i++) {
        size_t k = find_part(files, first, i);
        bytes += k < files->n ? files->items[k].bytes : 0;
    }
    return bytes;
}

/* Why a file does not run on this computer; "yes" if nothing speaks against it. */
static const char *runs(const char *path, uint64_t bytes)
{
    struct kl_memory memory;
    const char *why = kl_repository_unsupported(path);
    if (why != NULL)
        return why;
    kl_memory_read("", &memory);
    uint64_t most = memory.limit != 0 && memory.limit < memory.total ? memory.limit : memory.total;
    return most != 0 && bytes > most ? "larger than the memory" : "yes";
}

void kl_hub_list_print(const struct kl_hub_list *list, FILE *out)
{
    char size[32], parts[32];
    fprintf(out, "%10s  %-22s  %s\n", "SIZE", "RUNS HERE", "FILE");
    for (size_t i = 0; i < list->files.n; i++) {
        const struct kl_hub_file *file = &list->files.items[i];
        uint64_t bytes = bytes_of(&list->files, i);
        unsigned n = count_parts(file);
        if (!kl_repository_is_model(file->path))
            continue;
        parts[0] = '\0';
        if (n > 1)
            snprintf(parts, sizeof parts, " (%u files)", n);
        fprintf(out, "%10s  %-22s  %s%s%s\n", kl_format_bytes((double)bytes, size, sizeof size),
                runs(file->path, bytes), file->path, parts, i == list->chosen ? "  <- taken" : "");
    }
}

/* ---- the files ------------------------------------------------------------------------------- */

/* The progress of one part as a part of all. */
struct parts_progress {
    const struct kl_progress_observer *observer;
    uint64_t before, total;
};

static void notify(void *context, uint64_t done, uint64_t total)
{
    (void)total;
    struct parts_progress *p = context;
    p->observer->notify(p->observer->context, p->before + done, p->total);
}

static size_t list_sources(const struct kl_repository *repository, const struct kl_hub_file *file,
                           enum kl_hub first, struct kl_fetch_source sources[N_HUBS])
{
    char base[1024];
    for (size_t i = 0; i < N_HUBS; i++) {
        size_t hub = ((size_t)first + i) % N_HUBS;
        kl_fetch_endpoint(hubs[hub].variable, hubs[hub].address, base, sizeof base);
        sources[i].label = hubs[hub].label;
        snprintf(sources[i].url, sizeof sources[i].url,
                 hub == KL_HUB_HUGGING_FACE ? "%s/%s/resolve/main/%s"
                                            : "%s/models/%s/resolve/master/%s",
                 base, repository->name, file->path);
    }
    return N_HUBS;
}

static enum kl_status fetch_one(const struct kl_repository *repository, enum kl_hub hub,
                                const struct kl_hub_file *file, size_t stall_seconds,
                                const struct kl_progress_observer *observer, char path[PATH_MAX],
                                struct kl_error *err)
{
    struct kl_fetch_source sources[N_HUBS];
    char directory[PATH_MAX];
    if (file->sha256[0] == '\0')
        return kl_fail(err, KL_ERR_NOT_FOUND,
                       "%s: the hub names no SHA-256 for %s, so that nothing says which file is "
                       "the right one; download it with --url and --sha256",
                       hubs[hub].label, file->path);
    if (!kl_repository_directory(repository, directory) ||
        snprintf(path, PATH_MAX, "%s/%s", directory, file_of(file->path)) >= PATH_MAX)
        return kl_fail(err, KL_ERR_INVALID, "the path of the cache directory is too long");
    const struct kl_fetch_file what = {.name = file_of(file->path),
                                       .path = path,
                                       .sha256 = file->sha256,
                                       .bytes = file->bytes,
                                       .stall_seconds = stall_seconds,
                                       .observer = observer};
    return kl_fetch_file(&what, sources, list_sources(repository, file, hub, sources), err);
}

/* Downloads the chosen file and its other parts. */
static enum kl_status fetch_chosen(const struct kl_repository *repository,
                                   const struct kl_hub_list *list, size_t stall_seconds,
                                   const struct kl_progress_observer *observer, char path[PATH_MAX],
                                   struct kl_error *err)
{
    const struct kl_hub_file *first = &list->files.items[list->chosen];
    struct parts_progress progress = {observer, 0, bytes_of(&list->files, list->chosen)};
    const struct kl_progress_observer all = {notify, &progress,
                                             observer != NULL ? observer->stop : NULL};
    unsigned n = count_parts(first);
    char size[32], ignored[PATH_MAX];
    if (n > KL_MAX_PARTS)
        return kl_fail(err, KL_ERR_LIMIT, "%s has %u parts; at most %d are read", first->path, n,
                       KL_MAX_PARTS);
    fprintf(stderr, "Downloading %s of %s (%s)\n", first->path, repository->name,
            kl_format_bytes((double)progress.total, size, sizeof size));
    enum kl_status status = KL_OK;
    for (unsigned i = 1; i <= n && status == KL_OK; i++) {
        size_t k = n > 1 ? find_part(&list->files, list->chosen, i) : list->chosen;
        if (k == list->files.n)
            return kl_fail(err, KL_ERR_NOT_FOUND, "%s lacks part %u of %u of %s", repository->name,
                           i, n, first->path);
        const struct kl_hub_file *file = &list->files.items[k];
        status = fetch_one(repository, list->hub, file, stall_seconds,
                           observer != NULL ? &all : NULL, i == 1 ? path : ignored, err);
        progress.before += file->bytes;
    }
    return status;
}

enum kl_status kl_fetch_repository(const struct kl_repository *repository, size_t stall_seconds,
                                   const struct kl_progress_observer *observer, char path[PATH_MAX],
                                   struct kl_error *err)
{
    struct kl_hub_list list;
    enum kl_status status = kl_hub_list_get(repository, stall_seconds, &list, err);
    if (status != KL_OK)
        return status;
    size_t n_models = 0;
    for (size_t i = 0; i < list.files.n; i++)
        n_models += kl_repository_is_model(list.files.items[i].path);
    bool chosen = list.chosen < list.files.n;
    if (!chosen || (repository->quant[0] == '\0' && n_models > 1))
        kl_hub_list_print(&list, stderr);
    if (!chosen)
        status =
            kl_fail(err, KL_ERR_NOT_FOUND, "%s has no file %s%s", repository->name,
                    repository->quant[0] != '\0' ? "for " : "that is a model", repository->quant);
    else if (kl_repository_unsupported(list.files.items[list.chosen].path) != NULL)
        status = kl_fail(err, KL_ERR_UNSUPPORTED, "%s: %s; take another of its files",
                         list.files.items[list.chosen].path,
                         kl_repository_unsupported(list.files.items[list.chosen].path));
    else
        status = fetch_chosen(repository, &list, stall_seconds, observer, path, err);
    kl_hub_list_release(&list);
    return status;
}

/* Reads the address of a file on Hugging Face: its repository and its path there. */
static bool read_address(const char *url, struct kl_repository *repository,
                         char path[KL_HUB_PATH_SIZE])
{
    static const char *const ways[] = {"/resolve/main/", "/blob/main/"};
    char base[1024], name[KL_REPOSITORY_SIZE];
    kl_fetch_endpoint(hubs[KL_HUB_HUGGING_FACE].variable, hubs[KL_HUB_HUGGING_FACE].address, base,
                      sizeof base);
    size_t len = strlen(base);
    if (strncmp(url, base, len) != 0 || url[len] != '/')
        return false;
    url += len + 1;
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        const char *way = strstr(url, ways[i]);
        if (way == NULL || (size_t)(way - url) >= sizeof name)
            continue;
        const char *file = way + strlen(ways[i]);
        snprintf(name, sizeof name, "%.*s", (int)(way - url), url);
        snprintf(path, KL_HUB_PATH_SIZE, "%.*s", (int)strcspn(file, "?#"), file);
        return kl_repository_read(name, repository);
    }
    return false;
}

enum kl_status kl_fetch_hub_address(const char *url, size_t stall_seconds, char path[PATH_MAX],
                                    struct kl_error *err)
{
    struct kl_repository repository;
    struct kl_hub_list list;
    char file[KL_HUB_PATH_SIZE];
    if (!read_address(url, &repository, file))
        return kl_fail(err, KL_ERR_UNSUPPORTED, "%.200s is not a file of a hub", url);
    enum kl_status status = kl_hub_list_get(&repository, stall_seconds, &list, err);
    if (status != KL_OK)
        return status;
    list.chosen = 0;
    while (list.chosen < list.files.n && strcmp(list.files.items[list.chosen].path, file) != 0)
        list.chosen++;
    status = list.chosen < list.files.n
                 ? fetch_chosen(&repository, &list, stall_seconds, NULL, path, err)
                 : kl_fail(err, KL_ERR_NOT_FOUND, "%s has no GGUF file %s", repository.name, file);
    kl_hub_list_release(&list);
    return status;
}
