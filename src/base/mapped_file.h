/*
 * A file mapped read-only, or several files that together have one content. The pages
 * belong to the page cache: shared between processes, evictable, and no anonymous memory of this
 * process.
 *
 * The struct is the caller's; the mapping and a copy of the name live until _close. Any thread may
 * read the mapping; opening and closing is for one thread at a time per struct.
 */
#ifndef KL_BASE_MAPPED_FILE_H
#define KL_BASE_MAPPED_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* Identifies a file and its state: any change of its content changes the identity. Times are
 * nanoseconds since 1970. */
struct kl_file_identity {
    uint64_t device, inode, size;
    int64_t modified, changed; /* the content; the content, names or mode */
};

/* One file of a mapping of several: the bytes [begin, begin + size) of the mapping. */
struct kl_mapped_part {
    size_t begin, size;
    char *path;
    int fd;
};

struct kl_mapped_file {
    const uint8_t *data; /* NULL when size is 0 */
    size_t size;         /* of several files: with the gaps between them */
    /* At the time of opening. Of several files it covers all of them: device and inode are those of
     * the first, size is the sum without gaps, modified a hash, changed the latest. */
    struct kl_file_identity identity;
    char *path;                   /* of several files: of the first */
    int fd;                       /* valid while data is not NULL */
    struct kl_mapped_part *parts; /* [n_parts] the files in order; NULL: only one */
    size_t n_parts;
};

/* KL_ERR_NOT_FOUND, KL_ERR_IO. Directories and devices are refused. */
enum kl_status kl_mapped_file_open(struct kl_mapped_file *file, const char *path,
                                   struct kl_error *err);
/* Maps an open descriptor and takes it over (closes it on failure). path: its name in error
 * texts. */
enum kl_status kl_mapped_file_take(struct kl_mapped_file *file, int fd, const char *path,
                                   struct kl_error *err);
/* Maps several files one behind another, each at the begin of a page, so that offsets into the
 * mapping work as for one file. An empty file is refused: KL_ERR_FORMAT. */
enum kl_status kl_mapped_file_join(struct kl_mapped_file *file, char *const *paths, size_t n,
                                   struct kl_error *err);
void kl_mapped_file_close(struct kl_mapped_file *file);

/* The number of files, at least 1, and the i-th of them. */
size_t kl_mapped_file_count(const struct kl_mapped_file *file);
struct kl_mapped_part kl_mapped_file_part(const struct kl_mapped_file *file, size_t i);

/* Reads the identity that the open file has now. false: the system does not report it. */
bool kl_mapped_file_identity(const struct kl_mapped_file *file, struct kl_file_identity *now);

/* Returns the name of the file that is mapped at an address, or NULL. Reading a mapped file that
 * was truncated, or whose disk fails, raises SIGBUS; this is for the handler, so it is
 * async-signal-safe. Knows the first KL_MAX_MAPPED_FILES open files. */
#define KL_MAX_MAPPED_FILES 256
const char *kl_mapped_file_name_at(const void *address);

/* Marks the file as in use until it is closed, so that other processes do not remove it. Has no
 * effect on file systems without locks. */
void kl_mapped_file_hold(const struct kl_mapped_file *file);

/* Advises the system about a part of the mapping (rounded outwards to pages): it is needed soon
 * (read ahead), or no longer needed (it leaves the resident memory). */
void kl_mapped_file_will_need(const struct kl_mapped_file *file, size_t offset, size_t len);
void kl_mapped_file_dont_need(const struct kl_mapped_file *file, size_t offset, size_t len);

/* Copies a part of the file without making it resident. false: the read failed. offset + len must
 * lie within the file, and within one of several. */
bool kl_mapped_file_read(const struct kl_mapped_file *file, size_t offset, size_t len, void *out);

#endif
