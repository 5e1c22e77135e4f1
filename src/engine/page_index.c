#include "engine/page_index.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "engine/page_file.h"

enum kl_status kl_page_index_init(struct kl_page_index *index, size_t max, struct kl_error *err)
{
    *index = (struct kl_page_index){.max = max, .n_slots = 2};
    while (index->n_slots < 2 * max)
        index->n_slots *= 2;
    index->entries = calloc(max, sizeof *index->entries);
    index->slots = calloc(index->n_slots, sizeof *index->slots);
    if (index->entries != NULL && index->slots != NULL)
        return KL_OK;
    size_t bytes = kl_page_index_memory(index);
    kl_page_index_release(index);
    return kl_fail_memory(err, "the index of the prefix cache on disk", bytes);
}

void kl_page_index_release(struct kl_page_index *index)
{
    free(index->entries);
    free(index->slots);
    *index = (struct kl_page_index){0};
}

void kl_page_index_clear(struct kl_page_index *index)
{
    memset(index->slots, 0, index->n_slots * sizeof *index->slots);
    index->n = 0;
    index->bytes = 0;
    index->n_old = 0;
}

size_t kl_page_index_memory(const struct kl_page_index *index)
{
    return index->max * sizeof *index->entries + index->n_slots * sizeof *index->slots;
}

/* The slot where the search for a key begins: keys are hashes already. */
static size_t home(const struct kl_page_index *index, const struct kl_page_key *key)
{
    uint64_t start;
    memcpy(&start, key->bytes, sizeof start);
    return (size_t)start & (index->n_slots - 1);
}

/* Returns the slot that holds the key, or the empty slot for it. */
static size_t slot_of(const struct kl_page_index *index, const struct kl_page_key *key)
{
    size_t slot = home(index, key);
    while (index->slots[slot] != 0 &&
           memcmp(&index->entries[index->slots[slot] - 1].key, key, sizeof *key) != 0)
        slot = (slot + 1) & (index->n_slots - 1);
    return slot;
}

struct kl_page_entry *kl_page_index_find(const struct kl_page_index *index,
                                         const struct kl_page_key *key)
{
    uint32_t number = index->slots[slot_of(index, key)];
    return number == 0 ? NULL : &index->entries[number - 1];
}

void kl_page_index_insert(struct kl_page_index *index, const struct kl_page_entry *entry)
{
    size_t slot = slot_of(index, &entry->key);
    assert(index->n < index->max && index->slots[slot] == 0);
    index->entries[index->n] = *entry;
    index->slots[slot] = (uint32_t)++index->n;
    index->bytes += entry->size;
}

/* Empties a slot, and moves up the entries behind it that were displaced by it. */
static void empty_slot(struct kl_page_index *index, size_t hole)
{
    size_t mask = index->n_slots - 1;
    for (size_t slot = (hole + 1) & mask; index->slots[slot] != 0; slot = (slot + 1) & mask) {
        size_t wanted = home(index, &index->entries[index->slots[slot] - 1].key);
        if (((slot - wanted) & mask) >= ((slot - hole) & mask)) {
            index->slots[hole] = index->slots[slot];
            hole = slot;
        }
    }
    index->slots[hole] = 0;
}

bool kl_page_index_remove(struct kl_page_index *index, const struct kl_page_key *key)
{
    size_t slot = slot_of(index, key);
    uint32_t number = index->slots[slot];
    if (number == 0)
        return false;
    const struct kl_page_entry *last = &index->entries[index->n - 1];
    index->bytes -= index->entries[number - 1].size;
    empty_slot(index, slot);
    if (number != index->n) { /* the last entry moves there */
        index->slots[slot_of(index, &last->key)] = number;
        index->entries[number - 1] = *last;
    }
    index->n--;
    return true;
}

const struct kl_page_entry *kl_page_index_oldest(struct kl_page_index *index,
                                                 const struct kl_page_key *except)
{
    for (size_t i = 0; i < index->n; i++)
        index->entries[i].has_next = false;
    for (size_t i = 0; i < index->n; i++) {
        struct kl_page_entry *before = kl_page_index_find(index, &index->entries[i].parent);
        if (before != NULL)
            before->has_next = true;
    }
    const struct kl_page_entry *oldest = NULL;
    for (size_t i = 0; i < index->n; i++) {
        const struct kl_page_entry *e = &index->entries[i];
        if (!e->has_next && (oldest == NULL || e->used < oldest->used) &&
            (except == NULL || memcmp(&e->key, except, sizeof *except) != 0))
            oldest = e;
    }
    return oldest;
}

/* Adds one file. */
static enum kl_status read_file(struct kl_page_index *index, int dir, const char *name,
                                struct kl_error *err)
{
    struct kl_page_entry entry = {0};
    struct stat st;
    if (!kl_page_name_parse(name, &entry.key, &entry.parent) ||
        fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(st.st_mode) ||
        !kl_align_up((uint64_t)st.st_size, KL_PAGE_FILE_BLOCK, &entry.size) ||
        kl_page_index_find(index, &entry.key) != NULL)
        return KL_OK;
    entry.used = kl_page_time(&st);
    if (index->n == index->max) {
        const struct kl_page_entry *oldest = kl_page_index_oldest(index, NULL);
        if (oldest == NULL || oldest->used >= entry.used)
            return kl_page_remove(dir, &entry.key, &entry.parent, err);
        struct kl_page_entry victim = *oldest;
        kl_page_index_remove(index, &victim.key);
        enum kl_status status = kl_page_remove(dir, &victim.key, &victim.parent, err);
        if (status != KL_OK)
            return status;
    }
    kl_page_index_insert(index, &entry);
    return KL_OK;
}

enum kl_status kl_page_index_read(struct kl_page_index *index, int dir, bool alone,
                                  struct kl_error *err)
{
    kl_page_index_clear(index);
    int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *stream = fd < 0 ? NULL : fdopendir(fd);
    if (stream == NULL) {
        enum kl_status status = kl_fail_errno(err, "cannot read the directory");
        if (fd >= 0)
            close(fd);
        return status;
    }
    enum kl_status status = KL_OK;
    const struct dirent *file;
    while (status == KL_OK && (errno = 0, file = readdir(stream)) != NULL) {
        bool old = kl_page_name_is_old(file->d_name);
        if (old || strncmp(file->d_name, KL_PAGE_TEMPORARY, strlen(KL_PAGE_TEMPORARY)) == 0) {
            bool removed = alone && unlinkat(dir, file->d_name, 0) == 0;
            index->n_old += old && removed;
        } else {
            status = read_file(index, dir, file->d_name, err);
        }
    }
    if (status == KL_OK && errno != 0)
        status = kl_fail_errno(err, "cannot read the directory");
    closedir(stream);
    return status;
}
