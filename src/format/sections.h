/*
 * Files that kinglet makes: named sections of bytes with checksums, written once and then mapped.
 * Packed weights and the tables of a tokenizer are such files.
 *
 *   header     64 bytes: magic "KINGLETW", version, number of sections, size of the file, hash of
 *              the directory, key
 *   directory  one entry of 128 bytes per section: name, offset, size, hash of the bytes
 *   sections   aligned to 64 bytes, in the order in which they were added and will be read
 *
 * Integers are little-endian. The key says from which content the file was made, and how; a file
 * with another key is not this file, and the name is made of the key, too. A file is written under
 * a temporary name in the same directory, synced, then renamed, so readers see a whole file or
 * none. A writer locks the temporary file: of two processes only one writes, and a file that a
 * killed writer left is removed. A reader holds a shared lock on the file, so that it is not
 * removed while it is in use (sections_dir.h).
 *
 * A writer or a struct kl_sections belongs to its caller and is used by one thread at a time,
 * except that the bytes of an open file may be read by any. Does not know what the sections mean.
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

/* The name of a file: "SOURCE-HOW.SUFFIX", SOURCE being the digest of the content that it was made
 * from, and HOW a number that stands for the way it was made. */
#define KL_SECTIONS_NAME_SIZE 64 /* with the NUL */
void kl_sections_name(const struct kl_digest *source, uint32_t how, const char *suffix,
                      char name[KL_SECTIONS_NAME_SIZE]);

/* The key of a file: a digest of `source` and `how`. */
struct kl_digest kl_sections_key(const struct kl_digest *source, uint32_t how);

/* ---- writing ---- */

struct kl_sections_writer;

/* Begins a file in directory dir, which is created if it is missing; temporary: the name of the
 * file until it is whole. KL_ERR_BUSY: another process is writing this file, or has just written
 * it. */
enum kl_status kl_sections_create(const char *dir, const char *temporary, size_t n_sections,
                                  struct kl_sections_writer **writer, struct kl_error *err);
/* Begins the next section; kl_sections_write() appends bytes to it. */
enum kl_status kl_sections_begin(struct kl_sections_writer *writer, const char *name,
                                 struct kl_error *err);
enum kl_status kl_sections_write(struct kl_sections_writer *writer, const void *data, size_t len,
                                 struct kl_error *err);
/* Ends the file and gives it its `name`; all sections must have been written. Frees the writer,
 * also when it fails. */
enum kl_status kl_sections_finish(struct kl_sections_writer *writer, const char *name,
                                  const struct kl_digest *key, struct kl_error *err);
/* Removes the unfinished file and frees the writer, which may be NULL. */
void kl_sections_abandon(struct kl_sections_writer *writer);

/* The size in bytes of a file with sections of these sizes. */
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

/* Maps a file of directory dir, which counts as in use until it is closed. Checks its header and
 * directory, but not the sections. KL_ERR_NOT_FOUND: there is no such file, or it has another key;
 * KL_ERR_FORMAT: the file is damaged (the text says where). */
enum kl_status kl_sections_open(struct kl_sections *file, const char *dir, const char *name,
                                const struct kl_digest *key, struct kl_error *err);
void kl_sections_close(struct kl_sections *file);

/* Reads all sections in order with n_threads threads, while the system reads ahead, and compares
 * them with their checksums: KL_ERR_FORMAT names the first that does not match. progress (may be
 * NULL) is called with the number of bytes read; when it returns false the call returns
 * KL_ERR_CANCELLED. */
enum kl_status kl_sections_check(const struct kl_sections *file, size_t n_threads,
                                 bool (*progress)(void *context, uint64_t done, uint64_t total),
                                 void *context, struct kl_error *err);

/* Gives section i of the file. KL_ERR_FORMAT if it has another name or size. */
enum kl_status kl_sections_find(const struct kl_sections *file, size_t i, const char *name,
                                size_t size, struct kl_section *out, struct kl_error *err);

#endif
