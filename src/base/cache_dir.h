/*
 * Opens, creates and removes files below the cache directory; all code that does so uses these
 * functions.
 *
 * Files there belong to the user and were created by this program. A directory is opened once and
 * checked (it belongs to this user, is no symbolic link, is closed to other users), and its files
 * are reached through that descriptor. Symbolic links are never followed, a new file is really new
 * (O_EXCL), and it gets its name when it is complete. So a file that another user planted is
 * refused or removed, and never written through.
 *
 * No state but descriptors, which the caller closes: any thread. The contents of files are the
 * matter of format/, text/, engine/ and load/.
 */
#ifndef KL_BASE_CACHE_DIR_H
#define KL_BASE_CACHE_DIR_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

#include "base/error.h"

/* Prepares the cache directory for a program that will write to it: creates it, checks that it
 * belongs to this user and removes the write permission of others. Then does what kl_cache_path
 * does. KL_ERR_INVALID: it belongs to another user (the text says what to do). */
enum kl_status kl_cache_prepare(const char *name, char *out, size_t size, struct kl_error *err);

/* Opens a directory for the functions below. make: creates it (0700) and its parents if missing.
 * Removes all permissions of other users. KL_ERR_NOT_FOUND: it does not exist; KL_ERR_INVALID: it
 * belongs to another user, or is a symbolic link. */
enum kl_status kl_cache_dir_open(const char *path, bool make, int *dir, struct kl_error *err);

/* Splits a path into its directory, which is opened as above, and the name in it (points into
 * path). */
enum kl_status kl_cache_dir_of(const char *path, bool make, int *dir, const char **name,
                               struct kl_error *err);

/* Opens a regular file of this user's for reading. KL_ERR_NOT_FOUND: it does not exist;
 * KL_ERR_FORMAT: it is something else. */
enum kl_status kl_cache_file_open(int dir, const char *name, int *fd, struct kl_error *err);

/* Creates a file under a temporary name, locked against other writers of that name. Removes what a
 * killed writer left under that name. KL_ERR_BUSY: another process is writing it, or has just done
 * so. */
enum kl_status kl_cache_file_create(int dir, const char *temporary, int *fd, struct kl_error *err);

/* Renames a complete file from its temporary name. sync: writes it to the disk first, so that a
 * crash leaves the complete file or none. On failure the temporary file is removed. Does not close
 * fd. */
enum kl_status kl_cache_file_keep(int dir, int fd, const char *temporary, const char *name,
                                  bool sync, struct kl_error *err);

/* Opens a file that grows over several runs, a regular file of this user's without further names;
 * creates it (0644) if missing. */
enum kl_status kl_cache_file_continue(int dir, const char *name, int *fd, struct kl_error *err);

/* Writes all len bytes. */
enum kl_status kl_cache_write(int fd, const void *data, size_t len, struct kl_error *err);

/* Creates, writes, renames and closes a small file. */
enum kl_status kl_cache_file_put(int dir, const char *name, const void *data, size_t len,
                                 struct kl_error *err);
/* Reads a complete small file: up to size - 1 bytes, and a NUL. KL_ERR_LIMIT: it is longer. */
enum kl_status kl_cache_file_get(int dir, const char *name, char *data, size_t size, size_t *len,
                                 struct kl_error *err);

/* Marks an open file as in use by this process until it is closed, and sets the time of its last
 * use. false: another process is removing it. */
bool kl_cache_file_use(int fd);
/* Whether any process uses the file (or writes it, for a temporary name). */
bool kl_cache_file_used(int dir, const char *name);
/* Removes a file that no process uses. false: one does, or it cannot be removed. */
bool kl_cache_file_remove(int dir, const char *name);

/* Calls `see` for each regular file of the directory; links and everything else are skipped. st:
 * of that file. `see` may remove the file. */
enum kl_status kl_cache_dir_each(int dir,
                                 void (*see)(void *context, int dir, const char *name,
                                             const struct stat *st),
                                 void *context, struct kl_error *err);

#endif
