#include "base/cache_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "base/paths.h"

/* ---- directories ----------------------------------------------------------------------------- */

/* Checks that the directory belongs to this user, and removes the bits `others` from its mode. */
static enum kl_status make_ours(int fd, const char *path, mode_t others, struct kl_error *err)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return kl_fail_errno(err, "cannot inspect the directory %.200s", path);
    if (st.st_uid != geteuid())
        return kl_fail(err, KL_ERR_INVALID,
                       "the directory %.200s belongs to user %lu and this is user %lu, so nothing "
                       "is read or written there; run as that user, or let XDG_CACHE_HOME name a "
                       "directory of your own",
                       path, (unsigned long)st.st_uid, (unsigned long)geteuid());
    if ((st.st_mode & others) != 0 && fchmod(fd, st.st_mode & 07777 & ~others) != 0)
        return kl_fail_errno(err,
                             "the directory %.200s is open to other users and cannot be closed to "
                             "them (chmod 700)",
                             path);
    return KL_OK;
}

enum kl_status kl_cache_prepare(const char *name, char *out, size_t size, struct kl_error *err)
{
    char base[PATH_MAX];
    enum kl_status status = kl_cache_path(NULL, base, sizeof base, err);
    if (status == KL_OK)
        status = kl_make_directories(base, err);
    if (status != KL_OK)
        return status;
    /* it may be a link, of a service manager or to a larger disk: the user created it */
    int fd = open(base, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return kl_fail_errno(err, "cannot open the directory %.200s", base);
    status = make_ours(fd, base, 022, err);
    close(fd);
    return status == KL_OK ? kl_cache_path(name, out, size, err) : status;
}

enum kl_status kl_cache_dir_open(const char *path, bool make, int *dir, struct kl_error *err)
{
    *dir = -1;
    enum kl_status status = make ? kl_make_directories(path, err) : KL_OK;
    if (status != KL_OK)
        return status;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    struct stat st;
    /* O_DIRECTORY gives the same error for a link as for a file */
    if (fd < 0 && (errno == ELOOP || errno == ENOTDIR) && lstat(path, &st) == 0 &&
        S_ISLNK(st.st_mode))
        return kl_fail(err, KL_ERR_INVALID,
                       "%.200s is a symbolic link, and none is followed below the cache directory; "
                       "remove it, and let XDG_CACHE_HOME name a directory on the other disk",
                       path);
    if (fd < 0)
        return kl_fail_errno(err, "cannot open the directory %.200s", path);
    status = make_ours(fd, path, 077, err);
    if (status == KL_OK)
        *dir = fd;
    else
        close(fd);
    return status;
}

enum kl_status kl_cache_dir_of(const char *path, bool make, int *dir, const char **name,
                               struct kl_error *err)
{
    char directory[PATH_MAX];
    *dir = -1;
    const char *slash = strrchr(path, '/');
    int n = slash == NULL ? snprintf(directory, sizeof directory, ".")
                          : snprintf(directory, sizeof directory, "%.*s",
                                     slash == path ? 1 : (int)(slash - path), path);
    if (n >= (int)sizeof directory)
        return kl_fail(err, KL_ERR_LIMIT, "the path %.200s... is too long", path);
    *name = slash == NULL ? path : slash + 1;
    return kl_cache_dir_open(directory, make, dir, err);
}

enum kl_status kl_cache_dir_each(int dir,
                                 void (*see)(void *context, int dir, const char *name,
                                             const struct stat *st),
                                 void *context, struct kl_error *err)
{
    int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *stream = fd < 0 ? NULL : fdopendir(fd);
    if (stream == NULL) {
        enum kl_status status = kl_fail_errno(err, "cannot read the directory");
        if (fd >= 0)
            close(fd);
        return status;
    }
    const struct dirent *file;
    struct stat st;
    while ((errno = 0, file = readdir(stream)) != NULL) {
        if (fstatat(dir, file->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode))
            see(context, dir, file->d_name, &st);
    }
    enum kl_status status = errno == 0 ? KL_OK : kl_fail_errno(err, "cannot read the directory");
    closedir(stream);
    return status;
}

/* ---- files ----------------------------------------------------------------------------------- */

#define NO_LIMIT ((nlink_t)-1)

/* Whether fd is a regular file of this user's with at most `names` names. */
static bool is_ours(int fd, nlink_t names)
{
    struct stat st;
    return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == geteuid() &&
           st.st_nlink <= names;
}

static enum kl_status foreign(const char *name, struct kl_error *err)
{
    return kl_fail(err, KL_ERR_FORMAT, "%.200s is not a file of this user's; remove it", name);
}

/* O_NONBLOCK: opening a named pipe must not wait; it is refused afterwards. */
static int open_here(int dir, const char *name, int flags)
{
    return openat(dir, name, flags | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0644);
}

enum kl_status kl_cache_file_open(int dir, const char *name, int *fd, struct kl_error *err)
{
    *fd = open_here(dir, name, O_RDONLY);
    if (*fd < 0)
        return errno == ELOOP ? foreign(name, err) : kl_fail_errno(err, "cannot open %.200s", name);
    if (is_ours(*fd, NO_LIMIT))
        return KL_OK;
    close(*fd);
    *fd = -1;
    return foreign(name, err);
}

enum kl_status kl_cache_file_continue(int dir, const char *name, int *fd, struct kl_error *err)
{
    *fd = open_here(dir, name, O_RDWR | O_CREAT);
    if (*fd < 0)
        return errno == ELOOP ? foreign(name, err)
                              : kl_fail_errno(err, "cannot create %.200s", name);
    if (is_ours(*fd, 1))
        return KL_OK;
    close(*fd);
    *fd = -1;
    return foreign(name, err);
}

static bool is_of_name(int dir, int fd, const char *name)
{
    struct stat ours, there;
    return fstat(fd, &ours) == 0 && fstatat(dir, name, &there, AT_SYMLINK_NOFOLLOW) == 0 &&
           ours.st_dev == there.st_dev && ours.st_ino == there.st_ino;
}

static bool lock(int fd, int operation)
{
    return flock(fd, operation | LOCK_NB) == 0;
}

/* Removes a file with a temporary name, unless another process is writing it. A link, a pipe or
 * another user's file was not created by a writer, and is removed. */
static enum kl_status remove_leftover(int dir, const char *temporary, struct kl_error *err)
{
    int fd = open_here(dir, temporary, O_RDWR);
    bool busy = fd >= 0 && is_ours(fd, NO_LIMIT) && !lock(fd, LOCK_EX);
    bool gone = fd >= 0 && !is_of_name(dir, fd, temporary);
    enum kl_status status = KL_OK;
    if (busy || gone)
        status = kl_fail(err, KL_ERR_BUSY, "another process is writing %.200s", temporary);
    else if (unlinkat(dir, temporary, 0) != 0 && errno != ENOENT)
        status = kl_fail_errno(err, "cannot remove %.200s", temporary);
    if (fd >= 0)
        close(fd);
    return status;
}

enum kl_status kl_cache_file_create(int dir, const char *temporary, int *fd, struct kl_error *err)
{
    enum { NEW = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC };
    *fd = openat(dir, temporary, NEW, 0600);
    if (*fd < 0 && errno == EEXIST) {
        enum kl_status status = remove_leftover(dir, temporary, err);
        if (status != KL_OK)
            return status;
        *fd = openat(dir, temporary, NEW, 0600);
    }
    if (*fd < 0 && errno == EEXIST)
        return kl_fail(err, KL_ERR_BUSY, "another process is writing %.200s", temporary);
    if (*fd < 0)
        return kl_fail_errno(err, "cannot create %.200s", temporary);
    /* another process may have removed it as a leftover before it was locked */
    bool locked = lock(*fd, LOCK_EX);
    if (locked && is_of_name(dir, *fd, temporary))
        return KL_OK;
    enum kl_status status =
        locked || errno == EWOULDBLOCK
            ? kl_fail(err, KL_ERR_BUSY, "another process is writing %.200s", temporary)
            : kl_fail_errno(err, "cannot lock %.200s", temporary);
    if (status != KL_ERR_BUSY)
        (void)unlinkat(dir, temporary, 0);
    close(*fd);
    *fd = -1;
    return status;
}

enum kl_status kl_cache_file_keep(int dir, int fd, const char *temporary, const char *name,
                                  bool sync, struct kl_error *err)
{
    enum kl_status status = KL_OK;
    if (sync && fsync(fd) != 0)
        status = kl_fail_errno(err, "cannot write %.200s to the disk", temporary);
    if (status == KL_OK && renameat(dir, temporary, dir, name) != 0)
        status = kl_fail_errno(err, "cannot rename %.200s to %.200s", temporary, name);
    if (status != KL_OK)
        (void)unlinkat(dir, temporary, 0);
    else if (sync)
        (void)fsync(
            dir); /* the name; some file systems cannot sync it, and the file exists anyway */
    return status;
}

enum kl_status kl_cache_write(int fd, const void *data, size_t len, struct kl_error *err)
{
    const char *p = data;
    while (len > 0) {
        ssize_t n = write(fd, p, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return kl_fail_errno(err, "cannot write a file");
        p += n;
        len -= (size_t)n;
    }
    return KL_OK;
}

enum kl_status kl_cache_file_put(int dir, const char *name, const void *data, size_t len,
                                 struct kl_error *err)
{
    char temporary[NAME_MAX + 1];
    int fd;
    if (snprintf(temporary, sizeof temporary, "%s.tmp", name) >= (int)sizeof temporary)
        return kl_fail(err, KL_ERR_LIMIT, "the name %.100s... is too long", name);
    enum kl_status status = kl_cache_file_create(dir, temporary, &fd, err);
    if (status != KL_OK)
        return status;
    status = kl_cache_write(fd, data, len, err);
    if (status == KL_OK)
        status = kl_cache_file_keep(dir, fd, temporary, name, false, err);
    else
        (void)unlinkat(dir, temporary, 0);
    close(fd);
    return status;
}

enum kl_status kl_cache_file_get(int dir, const char *name, char *data, size_t size, size_t *len,
                                 struct kl_error *err)
{
    int fd;
    *len = 0;
    data[0] = '\0';
    enum kl_status status = kl_cache_file_open(dir, name, &fd, err);
    while (status == KL_OK && *len < size) {
        ssize_t n = read(fd, data + *len, size - *len);
        if (n == 0)
            break;
        if (n > 0)
            *len += (size_t)n;
        else if (errno != EINTR)
            status = kl_fail_errno(err, "cannot read %.200s", name);
    }
    if (status == KL_OK && *len == size)
        status = kl_fail(err, KL_ERR_LIMIT, "%.200s has more than %zu bytes", name, size - 1);
    if (status != KL_OK)
        *len = 0;
    data[*len] = '\0';
    if (fd >= 0)
        close(fd);
    return status;
}

/* ---- use ------------------------------------------------------------------------------------- */

bool kl_cache_file_use(int fd)
{
    /* another process locks it exclusively for a moment to check or to remove it */
    const struct timespec moment = {.tv_nsec = 1000000};
    struct stat st;
    for (int i = 0; i < 1000 && !lock(fd, LOCK_SH) && errno == EWOULDBLOCK; i++)
        nanosleep(&moment, NULL);
    /* without locks no file is ever removed */
    if (fstat(fd, &st) != 0 || st.st_nlink == 0)
        return false;
    const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_nsec = UTIME_NOW}};
    (void)futimens(fd, times); /* matters only for the order of removal */
    return true;
}

/* Returns a descriptor with an exclusive lock on a file; -1: a process uses it, or there are no
 * locks. *gone: the file does not exist or cannot be opened. Opened for writing, because some file
 * systems lock no other files. */
static int lock_alone(int dir, const char *name, bool *gone)
{
    int fd = open_here(dir, name, O_RDWR);
    if (fd < 0)
        fd = open_here(dir, name, O_RDONLY);
    *gone = fd < 0;
    if (fd >= 0 && !lock(fd, LOCK_EX)) {
        close(fd);
        fd = -1;
    }
    return fd;
}

bool kl_cache_file_used(int dir, const char *name)
{
    bool gone;
    int fd = lock_alone(dir, name, &gone);
    if (fd >= 0)
        close(fd);
    return fd < 0 && !gone;
}

bool kl_cache_file_remove(int dir, const char *name)
{
    bool gone;
    int fd = lock_alone(dir, name, &gone);
    if (fd < 0 && !gone)
        return false;
    bool removed = unlinkat(dir, name, 0) == 0;
    if (fd >= 0)
        close(fd);
    return removed;
}
