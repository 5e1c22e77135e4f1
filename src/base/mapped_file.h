/*
 * A file mapped read-only. The pages are the page cache's: shared between processes, evictable,
 * and not part of our anonymous memory. The mapping lives until _close; the name is copied.
 */
#ifndef KL_BASE_MAPPED_FILE_H
#define KL_BASE_MAPPED_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* Says which file it is and in which state: any change of its content changes this, too. Times are
 * nanoseconds since 1970. */
struct kl_file_identity {
    uint64_t device, inode, size;
    int64_t modified, changed; /* its content; it, its names or its mode */
};

struct kl_mapped_file {
    const uint8_t *data; /* NULL when size is 0 */
    size_t size;
    struct kl_file_identity identity; /* when it was opened */
    char *path;
    int fd; /* of the open file; only while data is not NULL */
};

/* Fails with KL_ERR_NOT_FOUND or KL_ERR_IO; a directory or a device is refused. */
enum kl_status kl_mapped_file_open(struct kl_mapped_file *file, const char *path,
                                   struct kl_error *err);
/* The same of an open descriptor, which it takes over (and closes on failure); path: its name in
 * texts. */
enum kl_status kl_mapped_file_take(struct kl_mapped_file *file, int fd, const char *path,
                                   struct kl_error *err);
void kl_mapped_file_close(struct kl_mapped_file *file);

/* The same of the file as it is now; false: it cannot be looked at. */
bool kl_mapped_file_identity(const struct kl_mapped_file *file, struct kl_file_identity *now);

/* The name of the open file whose mapping has this address, or NULL. A read of a mapped file that
 * was cut short, or whose disk fails, is a SIGBUS: for its handler, so async-signal-safe. Knows the
 * first KL_MAX_MAPPED_FILES that are open. */
#define KL_MAX_MAPPED_FILES 32
const char *kl_mapped_file_name_at(const void *address);

/* Marks the file as in use until it is closed, so that other processes do not remove it; has no
 * effect where there are no locks. */
void kl_mapped_file_hold(const struct kl_mapped_file *file);

/* Hints to the system for a part of the mapping (rounded outwards to pages): that it is needed
 * soon (read ahead), and that it is not needed any more (leaves our resident memory). */
void kl_mapped_file_will_need(const struct kl_mapped_file *file, size_t offset, size_t len);
void kl_mapped_file_dont_need(const struct kl_mapped_file *file, size_t offset, size_t len);

/* Copies a part of the file without making it resident; false if that fails. offset + len must lie
 * within the file. */
bool kl_mapped_file_read(const struct kl_mapped_file *file, size_t offset, size_t len, void *out);

#endif
