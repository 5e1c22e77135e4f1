/*
 * The directory of packed files: what lies there, what is in use, and what goes.
 *
 * Files that no process uses are kept, since their models may be started again, up to a cap: of
 * what is over it the least recently used go, after a new file was made. A file in use is never
 * removed. Names that are not ours are left alone.
 */
#ifndef KL_FORMAT_SECTIONS_DIR_H
#define KL_FORMAT_SECTIONS_DIR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "format/sections.h"

#define KL_SECTIONS_WEIGHTS "packed"    /* suffixes of names */
#define KL_SECTIONS_TABLES  "tokenizer" /* of a tokenizer */

/* Bytes of files not in use that are kept. The one that was used last is kept in any case, so that
 * each of two models of any size that are used in turn is packed once. */
#define KL_SECTIONS_KEEP ((uint64_t)4 << 30)

enum kl_sections_kind {
    KL_SECTIONS_FOREIGN, /* not a name of ours */
    KL_SECTIONS_WHOLE,   /* weights or tables */
    KL_SECTIONS_PARTIAL, /* being written, or left by a writer that was killed */
    KL_SECTIONS_OUTDATED /* made by a version that named files after models; no use any more */
};
enum kl_sections_kind kl_sections_kind(const char *name);

struct kl_sections_item {
    char name[KL_SECTIONS_NAME_SIZE];
    uint64_t bytes; /* on the disk */
    uint64_t size;  /* of the file */
    int64_t used;   /* last use, nanoseconds since 1970 */
    bool in_use;    /* by some process, now */
};
struct kl_sections_list {
    struct kl_sections_item *items; /* the least recently used first */
    size_t n, allocated;
};

/* The weights and tables of a directory; an empty list where there is none. Release it. */
enum kl_status kl_sections_list(const char *dir, struct kl_sections_list *list,
                                struct kl_error *err);
void kl_sections_list_release(struct kl_sections_list *list);

/* Whether some file has exactly this size. */
bool kl_sections_has_size(const char *dir, uint64_t size);

/* What was removed. */
struct kl_sections_removed {
    size_t files;
    uint64_t bytes;
};

/* Removes files that no process uses, the least recently used first, until at most `keep` bytes of
 * them are left (and the last one; with 0 that goes, too). What writers left goes in any case. */
struct kl_sections_removed kl_sections_trim(const char *dir, uint64_t keep);

/* The same until the disk has `need` bytes free; nothing where it cannot have so much. */
struct kl_sections_removed kl_sections_make_room(const char *dir, uint64_t need);

/* Removes one file, also one that is in use: a process that has it mapped keeps it until its end.
 */
void kl_sections_remove(const char *dir, const char *name);

/* Removes what earlier versions left. */
struct kl_sections_removed kl_sections_remove_old(const char *dir);

#endif
