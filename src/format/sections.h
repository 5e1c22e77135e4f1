/*
 * The packed file: named sections of bytes, written once and mapped for ever.
 *
 *   header   64 bytes: magic "KINGLETW", version, count of sections, size of the file, hash of the
 *            directory, key
 *   directory one entry of 128 bytes per section: name, offset, size, hash of the bytes
 *   sections aligned to 64 bytes, in the order they were added (the order they will be read in)
 *
 * What the sections mean is the business of the layers above. The key says what the file was made
 * from; a file with another key is another file, and its name is made of the key, too. Integers are
 * little-endian. Written under a temporary name in the same directory, synced, then renamed:
 * readers see a whole file or none. A writer holds a lock on the temporary file, so of two only one
 * writes, and what a killed one left is removed. A reader holds a shared lock on the file, so that
 * it is not removed while it is in use (sections_dir.h).
 */
#ifndef KL_FORMAT_SECTIONS_H
#define KL_FORMAT_SECTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/mapped_file.h"
#include "format/digest.h"

#define KL_SECTION_NAME_SIZE 96 /* with the NUL */

/* The name of a file: "<what it was made from>-<how>.<suffix>". */
#define KL_SECTIONS_NAME_SIZE 64 /* with the NUL */
void kl_sections_name(const struct kl_digest *source, uint32_t how, const char *suffix,
                      char name[KL_SECTIONS_NAME_SIZE]);

/* The key of a file: what it was made from, and how. */
struct kl_digest kl_sections_key(const struct kl_digest *source, uint32_t how);

/* ---- writing ---- */

struct kl_sections_writer;

/* Begins a file in directory dir, which is made if it is missing; temporary: its name until it is
 * whole. KL_ERR_BUSY: another process is writing this file, or has just done so. */
enum kl_status kl_sections_create(const char *dir, const char *temporary, size_t n_sections,
                                  struct kl_sections_writer **writer, struct kl_error *err);
/* Begins the next section; bytes follow by _write. */
enum kl_status kl_sections_begin(struct kl_sections_writer *writer, const char *name,
                                 struct kl_error *err);
enum kl_status kl_sections_write(struct kl_sections_writer *writer, const void *data, size_t len,
                                 struct kl_error *err);
/* All sections must have been written. On success the file stands under `name`. Always frees. */
enum kl_status kl_sections_finish(struct kl_sections_writer *writer, const char *name,
                                  const struct kl_digest *key, struct kl_error *err);
/* Gives up and removes what was written. */
void kl_sections_abandon(struct kl_sections_writer *writer);

/* The size of a file with sections of these sizes. */
uint64_t kl_sections_size(const uint64_t *sizes, size_t n_sections);

/* ---- reading ---- */

struct kl_section {
    const uint8_t *data;
    size_t size;
};

struct kl_sections {
    struct kl_mapped_file map;
    const uint8_t *directory;
    size_t n_sections;
};

/* Maps the file of directory dir, which counts as in use until it is closed, and checks its header
 * and directory, not yet the sections. KL_ERR_NOT_FOUND: there is none, or it has another key;
 * KL_ERR_FORMAT: it is damaged (the text says where). */
enum kl_status kl_sections_open(struct kl_sections *file, const char *dir, const char *name,
                                const struct kl_digest *key, struct kl_error *err);
void kl_sections_close(struct kl_sections *file);

/* Reads all sections in their order with n_threads threads, the system reading ahead, and compares
 * them with their checksums: KL_ERR_FORMAT names the first that does not match. progress (may be
 * NULL) is called with bytes; when it returns false the call ends with KL_ERR_CANCELLED. */
enum kl_status kl_sections_check(const struct kl_sections *file, size_t n_threads,
                                 bool (*progress)(void *context, uint64_t done, uint64_t total),
                                 void *context, struct kl_error *err);

/* KL_ERR_FORMAT when section i is not called `name` or has not `size` bytes. */
enum kl_status kl_sections_find(const struct kl_sections *file, size_t i, const char *name,
                                size_t size, struct kl_section *out, struct kl_error *err);

#endif
