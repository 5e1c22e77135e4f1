/*
 * The directory of kept chats: a directory for each scope in it, and there a file for each chat.
 *
 * Directories are 0700 and files 0600. All names below it are digests made here, nothing of a
 * request is part of a path. The directory is opened once and locked against other processes;
 * everything below is reached through descriptors, and no symbolic link is followed there. A file
 * gets its name when it is complete and on the disk (base/cache_dir.h).
 *
 * No state but descriptors, which the caller closes; one thread at a time. The contents of files
 * are the matter of chat_text.h, limits that of history.h.
 */
#ifndef KL_HISTORY_HISTORY_DIR_H
#define KL_HISTORY_HISTORY_DIR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "base/buffer.h"
#include "base/error.h"

#define KL_HISTORY_NAME_SIZE 65 /* a digest as hex digits, and a NUL */

/* Opens and locks a directory; creates it and its parents if missing. It must be writable, belong
 * to this user, and be empty or of an earlier start: the permissions of other directories are not
 * touched. *lock stays open as long as the directory is used. KL_ERR_BUSY: another process uses it,
 * and did not end within a second. */
enum kl_status kl_history_dir_open(const char *path, int *dir, int *lock, struct kl_error *err);

/* The name of a scope's directory, and of a chat's file in it (id: KL_CHAT_ID_LEN bytes). */
void kl_history_scope_name(uint64_t scope, char name[KL_HISTORY_NAME_SIZE]);
void kl_history_chat_name(uint64_t scope, const char *id, char name[KL_HISTORY_NAME_SIZE]);

/* Opens a scope's directory. make: creates it if missing. KL_ERR_NOT_FOUND: it does not exist;
 * KL_ERR_FORMAT: it is something else, or another user's; KL_ERR_BUSY: the disk is full. */
enum kl_status kl_history_scope_open(int dir, const char *name, bool make, int *scope_dir,
                                     struct kl_error *err);

/* Calls see for the name of each entry that has the form of those above, and removes the incomplete
 * files of a process that was killed. */
enum kl_status kl_history_each(int dir, void (*see)(void *context, int dir, const char *name),
                               void *context, struct kl_error *err);

/* Opens the file of a chat for reading and appending. Errors as for kl_history_scope_open. */
enum kl_status kl_history_file_open(int scope_dir, const char *name, int *fd, uint64_t *size,
                                    struct kl_error *err);
/* Reads len bytes from an offset, or up to the end of the file; *got: how many. */
enum kl_status kl_history_file_read(int fd, uint64_t offset, char *out, size_t len, size_t *got,
                                    struct kl_error *err);
/* Writes data at offset `valid`, where the file is cut off first, and waits for the disk. On
 * failure the file is as it was up to `valid`. KL_ERR_BUSY: the disk is full. */
enum kl_status kl_history_file_append(int fd, uint64_t valid, const struct kl_buffer *data,
                                      struct kl_error *err);
/* Replaces or creates a file as a whole, or leaves it as it is. Errors as for the last. */
enum kl_status kl_history_file_replace(int scope_dir, const char *name,
                                       const struct kl_buffer *data, struct kl_error *err);
enum kl_status kl_history_file_remove(int scope_dir, const char *name, struct kl_error *err);

#endif
