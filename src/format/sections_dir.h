/*
 * The directory in which files of sections (sections.h) are kept: lists them, says which are in
 * use, and removes files to make room.
 *
 * Files that no process uses are kept up to a cap, since their models may be started again; when a
 * new file has been made, the least recently used ones above the cap are removed. A file in use is
 * never removed to make room, and a name that is not kinglet's never at all.
 *
 * Keeps no state: each call opens the directory. Any thread or process may call at any time. Does
 * not know what the files hold.
 */
#ifndef KL_FORMAT_SECTIONS_DIR_H
#define KL_FORMAT_SECTIONS_DIR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "format/sections.h"

/* Suffixes of file names. */
#define KL_SECTIONS_WEIGHTS "packed"    /* packed weights */
#define KL_SECTIONS_TABLES  "tokenizer" /* the tables of a tokenizer */

/* The cap: bytes of files not in use that are kept. The most recently used one is kept in any case,
 * so two models of any size that are used in turn are packed once each. */
#define KL_SECTIONS_KEEP ((uint64_t)4 << 30)

/* The kind of a file, which its name shows. */
enum kl_sections_kind {
    KL_SECTIONS_FOREIGN, /* not a name that kinglet gives */
    KL_SECTIONS_WHOLE,   /* weights or tables */
    KL_SECTIONS_PARTIAL, /* being written, or left by a writer that was killed */
    KL_SECTIONS_OUTDATED /* made by a version that named files after models; no longer of use */
};
enum kl_sections_kind kl_sections_kind(const char *name);

struct kl_sections_item {
    char name[KL_SECTIONS_NAME_SIZE];
    uint64_t bytes; /* that it takes on the disk */
    uint64_t size;  /* of the file, in bytes */
    int64_t used;   /* last use, nanoseconds since 1970 */
    bool in_use;    /* a process has it mapped */
};
struct kl_sections_list {
    struct kl_sections_item *items; /* the least recently used first */
    size_t n, allocated;
};

/* Lists the whole files of a directory; the list is empty if there is no such directory. The caller
 * releases it. */
enum kl_status kl_sections_list(const char *dir, struct kl_sections_list *list,
                                struct kl_error *err);
void kl_sections_list_release(struct kl_sections_list *list);

/* Whether a whole file has exactly this size, in bytes. */
bool kl_sections_has_size(const char *dir, uint64_t size);

/* Number and size on the disk of the files that a call removed. */
struct kl_sections_removed {
    size_t files;
    uint64_t bytes;
};

/* Removes files that no process uses, the least recently used first, until at most `keep` bytes of
 * them are left. The most recently used one stays, except with keep == 0. Partial files that no
 * writer holds are removed in any case. */
struct kl_sections_removed kl_sections_trim(const char *dir, uint64_t keep);

/* The same until the disk has `need` bytes free; removes no whole file if that cannot be reached.
 */
struct kl_sections_removed kl_sections_make_room(const char *dir, uint64_t need);

/* Removes one file, even if it is in use: a process that has it mapped keeps its content. */
void kl_sections_remove(const char *dir, const char *name);

/* Removes the outdated files. */
struct kl_sections_removed kl_sections_remove_old(const char *dir);

#endif
