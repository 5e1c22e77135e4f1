#include "history/history_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "base/cache_dir.h"
#include "base/hash.h"
#include "base/paths.h"
#include "history/chat_text.h"

/* Marks a directory as one of this program's, and holds the lock. */
#define LOCK_NAME "kinglet-history.lock"
/* How long another process is waited for, and how often it is looked at. */
#define LOCK_WAIT_NS 1000000000
#define LOCK_TRIES   20
/* The ending of a file that is not complete. */
#define TEMPORARY ".tmp"

/* ---- names ----------------------------------------------------------------------------------- */

void kl_history_scope_name(uint64_t scope, char name[KL_HISTORY_NAME_SIZE])
{
    char text[64];
    struct kl_sha256 h;
    kl_sha256_init(&h);
    int len = snprintf(text, sizeof text, "kinglet scope %016" PRIx64, scope);
    kl_sha256_update(&h, text, (size_t)len);
    kl_sha256_finish_hex(&h, name);
}

void kl_history_chat_name(uint64_t scope, const char *id, char name[KL_HISTORY_NAME_SIZE])
{
    char text[128];
    struct kl_sha256 h;
    kl_sha256_init(&h);
    int len =
        snprintf(text, sizeof text, "kinglet chat %016" PRIx64 "/%.*s", scope, KL_CHAT_ID_LEN, id);
    kl_sha256_update(&h, text, (size_t)len);
    kl_sha256_finish_hex(&h, name);
}

/* Whether a name is a digest, followed by this ending. */
static bool is_name(const char *name, const char *ending)
{
    size_t len = KL_HISTORY_NAME_SIZE - 1;
    return strspn(name, "0123456789abcdef") == len && strcmp(name + len, ending) == 0;
}

/* ---- the directory --------------------------------------------------------------------------- */

/* Checks that a directory belongs to this user, and has been used for this or is empty. */
static enum kl_status check_owner(int dir, const char *path, struct kl_error *err)
{
    struct stat st;
    if (fstat(dir, &st) != 0)
        return kl_fail_errno(err, "cannot inspect the directory %.200s", path);
    if (st.st_uid != geteuid())
        return kl_fail(err, KL_ERR_INVALID,
                       "the directory %.200s belongs to user %lu and this is user %lu; name one "
                       "that belongs to this user",
                       path, (unsigned long)st.st_uid, (unsigned long)geteuid());
    if (fstatat(dir, LOCK_NAME, &st, AT_SYMLINK_NOFOLLOW) == 0)
        return KL_OK;
    int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *stream = fd >= 0 ? fdopendir(fd) : NULL;
    if (stream == NULL) {
        enum kl_status status = kl_fail_errno(err, "cannot read the directory %.200s", path);
        if (fd >= 0)
            close(fd);
        return status;
    }
    bool empty = true;
    for (const struct dirent *e = readdir(stream); e != NULL; e = readdir(stream))
        empty = empty && (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0);
    closedir(stream);
    return empty ? KL_OK
                 : kl_fail(err, KL_ERR_INVALID,
                           "the directory %.200s has other files in it; name an empty or a new "
                           "one, which is then closed to other users",
                           path);
}

static enum kl_status no_lock(const char *path, int *lock, struct kl_error *err)
{
    enum kl_status status =
        errno == EWOULDBLOCK
            ? kl_fail(err, KL_ERR_BUSY,
                      "another process uses the directory %.200s; stop it, or name another one",
                      path)
            : kl_fail_errno(err, "cannot lock %.200s/" LOCK_NAME, path);
    close(*lock);
    *lock = -1;
    return status;
}

static enum kl_status take_lock(int dir, const char *path, int *lock, struct kl_error *err)
{
    *lock = openat(dir, LOCK_NAME, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
    if (*lock < 0)
        return kl_fail_errno(err, "the directory %.200s cannot be written (" LOCK_NAME ")", path);
    /* a process that was just killed may not have ended yet */
    const struct timespec moment = {.tv_nsec = LOCK_WAIT_NS / LOCK_TRIES};
    for (int i = 0; flock(*lock, LOCK_EX | LOCK_NB) != 0; i++) {
        if (errno != EWOULDBLOCK || i == LOCK_TRIES)
            return no_lock(path, lock, err);
        nanosleep(&moment, NULL);
    }
    return KL_OK;
}

/* Whether a new file can be made: the lock may be from a time when the directory was writable. */
static enum kl_status check_writable(int dir, const char *path, struct kl_error *err)
{
    int fd;
    if (kl_cache_file_create(dir, "probe.tmp", &fd, err) != KL_OK) {
        kl_error_prefix(err, "the directory %.200s cannot be written", path);
        return err->status;
    }
    (void)unlinkat(dir, "probe.tmp", 0);
    close(fd);
    return KL_OK;
}

enum kl_status kl_history_dir_open(const char *path, int *dir, int *lock, struct kl_error *err)
{
    *lock = -1;
    *dir = -1;
    enum kl_status status = kl_make_directories(path, err);
    if (status != KL_OK)
        return status;
    /* it may be a link, of a service manager or to a larger disk: the operator named it */
    *dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (*dir < 0)
        return kl_fail_errno(err, "cannot open the directory %.200s", path);
    status = check_owner(*dir, path, err);
    if (status == KL_OK && fchmod(*dir, 0700) != 0)
        status = kl_fail_errno(err, "the directory %.200s cannot be closed to other users", path);
    if (status == KL_OK)
        status = take_lock(*dir, path, lock, err);
    if (status == KL_OK)
        status = check_writable(*dir, path, err);
    if (status == KL_OK)
        return KL_OK;
    if (*lock >= 0)
        close(*lock);
    close(*dir);
    *dir = *lock = -1;
    return status;
}

/* Tells a full disk from other failures of a write. */
static enum kl_status tell_full(enum kl_status status, struct kl_error *err)
{
    bool full = errno == ENOSPC || errno == EDQUOT || errno == EFBIG;
    return status == KL_ERR_IO && full
               ? kl_fail(err, KL_ERR_BUSY, "the disk of the history is full: %s", strerror(errno))
               : status;
}

enum kl_status kl_history_scope_open(int dir, const char *name, bool make, int *scope_dir,
                                     struct kl_error *err)
{
    struct stat st;
    if (make && mkdirat(dir, name, 0700) == 0)
        (void)fsync(dir);
    else if (make && errno != EEXIST)
        return tell_full(kl_fail_errno(err, "cannot create a directory in the history"), err);
    *scope_dir = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (*scope_dir < 0 && errno != ELOOP && errno != ENOTDIR)
        return kl_fail_errno(err, "cannot open the directory %.64s of the history", name);
    if (*scope_dir >= 0 && fstat(*scope_dir, &st) == 0 && st.st_uid == geteuid() &&
        fchmod(*scope_dir, 0700) == 0)
        return KL_OK;
    if (*scope_dir >= 0)
        close(*scope_dir);
    *scope_dir = -1;
    return kl_fail(err, KL_ERR_FORMAT,
                   "%.64s in the directory of the history is not a directory of this user's; "
                   "remove it",
                   name);
}

enum kl_status kl_history_each(int dir, void (*see)(void *context, int dir, const char *name),
                               void *context, struct kl_error *err)
{
    int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *stream = fd < 0 ? NULL : fdopendir(fd);
    if (stream == NULL) {
        enum kl_status status = kl_fail_errno(err, "cannot read a directory of the history");
        if (fd >= 0)
            close(fd);
        return status;
    }
    const struct dirent *entry;
    while ((errno = 0, entry = readdir(stream)) != NULL) {
        if (is_name(entry->d_name, TEMPORARY))
            (void)unlinkat(dir, entry->d_name, 0); /* a killed process left it */
        else if (is_name(entry->d_name, ""))
            see(context, dir, entry->d_name);
    }
    enum kl_status status =
        errno == 0 ? KL_OK : kl_fail_errno(err, "cannot read a directory of the history");
    closedir(stream);
    return status;
}

/* ---- files ----------------------------------------------------------------------------------- */

enum kl_status kl_history_file_open(int scope_dir, const char *name, int *fd, uint64_t *size,
                                    struct kl_error *err)
{
    struct stat st;
    /* O_NONBLOCK: opening a named pipe must not wait */
    *fd = openat(scope_dir, name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (*fd < 0 && errno != ELOOP && errno != EISDIR && errno != ENXIO)
        return kl_fail_errno(err, "cannot open the file %.64s of the history", name);
    if (*fd >= 0 && fstat(*fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == geteuid() &&
        st.st_nlink == 1) {
        *size = (uint64_t)st.st_size;
        return KL_OK;
    }
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
    return kl_fail(err, KL_ERR_FORMAT,
                   "%.64s in the directory of the history is not a file of this user's without "
                   "further names; remove it",
                   name);
}

enum kl_status kl_history_file_read(int fd, uint64_t offset, char *out, size_t len, size_t *got,
                                    struct kl_error *err)
{
    *got = 0;
    while (*got < len) {
        ssize_t n = pread(fd, out + *got, len - *got, (off_t)(offset + *got));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return kl_fail_errno(err, "cannot read a file of the history");
        if (n == 0)
            break;
        *got += (size_t)n;
    }
    return KL_OK;
}

enum kl_status kl_history_file_append(int fd, uint64_t valid, const struct kl_buffer *data,
                                      struct kl_error *err)
{
    enum kl_status status = KL_OK;
    if (ftruncate(fd, (off_t)valid) != 0 || lseek(fd, (off_t)valid, SEEK_SET) < 0)
        return kl_fail_errno(err, "cannot write a file of the history");
    status = kl_cache_write(fd, data->data, data->len, err);
    if (status == KL_OK && fdatasync(fd) != 0)
        status = kl_fail_errno(err, "cannot write a file of the history");
    status = tell_full(status, err);
    if (status != KL_OK)
        (void)!ftruncate(fd, (off_t)valid);
    return status;
}

enum kl_status kl_history_file_replace(int scope_dir, const char *name,
                                       const struct kl_buffer *data, struct kl_error *err)
{
    char temporary[KL_HISTORY_NAME_SIZE + sizeof TEMPORARY];
    int fd;
    snprintf(temporary, sizeof temporary, "%.64s" TEMPORARY, name);
    enum kl_status status = kl_cache_file_create(scope_dir, temporary, &fd, err);
    if (status != KL_OK)
        return tell_full(status, err);
    status = kl_cache_write(fd, data->data, data->len, err);
    if (status == KL_OK)
        status = kl_cache_file_keep(scope_dir, fd, temporary, name, true, err);
    status = tell_full(status, err);
    if (status != KL_OK)
        (void)unlinkat(scope_dir, temporary, 0);
    close(fd);
    return status;
}

enum kl_status kl_history_file_remove(int scope_dir, const char *name, struct kl_error *err)
{
    if (unlinkat(scope_dir, name, 0) != 0)
        return kl_fail_errno(err, "cannot remove the file %.64s of the history", name);
    (void)fsync(scope_dir);
    return KL_OK;
}
