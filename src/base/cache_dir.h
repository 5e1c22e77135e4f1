/*
 * The one way to open, create and remove files below the cache directory.
 *
 * What lies there belongs to the user and was made by this program: a directory is opened once and
 * checked (it belongs to this user, is not a symbolic link, is closed to others), and everything in
 * it is reached through that descriptor. A name is never followed to another place, a new file is
 * always a new one (O_EXCL), and it gets its name when it is whole. So what another user planted is
 * refused or removed, and is never written through.
 *
 * No state but the descriptors, so any thread.
 */
#ifndef KL_BASE_CACHE_DIR_H
#define KL_BASE_CACHE_DIR_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

#include "base/error.h"

/* For a program that will write there: makes the cache directory, checks that it belongs to this
 * user and takes the right to write there from others. Then as kl_cache_path. KL_ERR_INVALID: it is
 * another user's (the text says what to do). */
enum kl_status kl_cache_prepare(const char *name, char *out, size_t size, struct kl_error *err);

/* Opens a directory for the functions below. make: it is created (0700) with its parents where it
 * is missing. One that others may enter is closed to them. KL_ERR_NOT_FOUND: there is none;
 * KL_ERR_INVALID: it is another user's, or a symbolic link. */
enum kl_status kl_cache_dir_open(const char *path, bool make, int *dir, struct kl_error *err);

/* Splits a path into the directory, opened as above, and the name in it (points into path). */
enum kl_status kl_cache_dir_of(const char *path, bool make, int *dir, const char **name,
                               struct kl_error *err);

/* Opens a file to read it: a regular file of this user's. KL_ERR_NOT_FOUND: there is none;
 * KL_ERR_FORMAT: there is something else. */
enum kl_status kl_cache_file_open(int dir, const char *name, int *fd, struct kl_error *err);

/* Creates a file under a temporary name, locked against other writers of that name. What a writer
 * that was killed left there is removed, whatever it is. KL_ERR_BUSY: another process is writing
 * it, or has just done so. */
enum kl_status kl_cache_file_create(int dir, const char *temporary, int *fd, struct kl_error *err);

/* Gives a file that is whole its name: synced before where `sync`, so that a crash leaves a whole
 * file or none. On failure the temporary one is removed. Does not close fd. */
enum kl_status kl_cache_file_keep(int dir, int fd, const char *temporary, const char *name,
                                  bool sync, struct kl_error *err);

/* Opens a file that grows over several runs, and creates it (0644) where it is missing: regular,
 * this user's, with no other name. */
enum kl_status kl_cache_file_continue(int dir, const char *name, int *fd, struct kl_error *err);

enum kl_status kl_cache_write(int fd, const void *data, size_t len, struct kl_error *err);

/* All of it for a small file: created, written, kept, closed. */
enum kl_status kl_cache_file_put(int dir, const char *name, const void *data, size_t len,
                                 struct kl_error *err);
/* Reads a small file whole: up to size - 1 bytes and a NUL. KL_ERR_LIMIT: it is longer. */
enum kl_status kl_cache_file_get(int dir, const char *name, char *data, size_t size, size_t *len,
                                 struct kl_error *err);

/* Marks an open file as in use by this process until it is closed; false: it is being removed. The
 * time of its last use becomes now. */
bool kl_cache_file_use(int fd);
/* Whether some process uses it (or writes it, for a temporary name). */
bool kl_cache_file_used(int dir, const char *name);
/* Removes a file that no process uses; false: one does, or it cannot be removed. */
bool kl_cache_file_remove(int dir, const char *name);

/* Calls see for each regular file of the directory, links and all else left out; st is that of the
 * file. It may remove the file. */
enum kl_status kl_cache_dir_each(int dir,
                                 void (*see)(void *context, int dir, const char *name,
                                             const struct stat *st),
                                 void *context, struct kl_error *err);

#endif
