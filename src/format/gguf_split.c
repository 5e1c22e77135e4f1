#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/split_name.h"
#include "format/gguf_parser.h"

/* Reads which part a file is: the number from 0 on, and the number of parts. A file without these
 * keys is one of one. */
static void read_place(const struct kl_gguf *one, uint64_t *number, uint64_t *count)
{
    if (kl_gguf_u64(one, "split.count", 0, UINT16_MAX, count, NULL) != KL_OK || *count < 2) {
        *number = 0;
        *count = 1;
    } else if (kl_gguf_u64(one, "split.no", 0, UINT16_MAX, number, NULL) != KL_OK) {
        *number = 0;
    }
}

/* The first part was named: finds the names of all, which the caller frees. */
static enum kl_status name_parts(const char *path, uint64_t number, uint64_t count, char ***paths,
                                 struct kl_error *err)
{
    struct kl_split_name split;
    char name[PATH_MAX];
    bool named = kl_split_name_read(path, &split) && split.count == count;
    if (number > 0 && named) {
        const char *slash = strrchr(path, '/');
        size_t skip = slash != NULL ? (size_t)(slash + 1 - path) : 0;
        (void)kl_split_name_write(path + skip, split.prefix_len - skip, 1, split.count, name,
                                  sizeof name);
        return kl_fail(err, KL_ERR_UNSUPPORTED,
                       "this is part %" PRIu64 " of %" PRIu64 " of a model in several files; name "
                       "the first of them, %.200s",
                       number + 1, count, name);
    }
    if (number > 0 || !named || split.number != 1)
        return kl_fail(err, KL_ERR_UNSUPPORTED,
                       "this is part %" PRIu64 " of %" PRIu64 " of a model in several files, which "
                       "are found by their names: put all into one directory, with names that end "
                       "in -00001-of-%05" PRIu64 ".gguf and so on, and name the first",
                       number + 1, count, count);
    if (count > KL_MAX_PARTS)
        return kl_fail(err, KL_ERR_LIMIT,
                       "split.count: expected at most %d parts, found %" PRIu64
                       "; make one file of them with 'llama-gguf-split --merge'",
                       KL_MAX_PARTS, count);
    *paths = kl_split_name_all(path, &split);
    if (*paths == NULL)
        return kl_fail_memory(err, "the names of the parts", count * strlen(path));
    return KL_OK;
}

/* Refuses a part that says something else about its model than the first part does. */
static enum kl_status compare(const struct kl_gguf *g, const struct kl_gguf *one,
                              struct kl_error *err)
{
    static const char *const numbers[] = {"split.tensors.count", "general.file_type"};
    static const char *const texts[] = {"general.architecture", "general.name", "general.basename",
                                        "general.size_label"};
    uint64_t of_first, of_part;
    struct kl_gguf_string first, part;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        if (kl_gguf_u64(one, numbers[i], 0, UINT32_MAX, &of_part, NULL) == KL_OK &&
            kl_gguf_u64(g, numbers[i], 0, UINT32_MAX, &of_first, NULL) == KL_OK &&
            of_part != of_first)
            return kl_fail(err, KL_ERR_FORMAT,
                           "this part is of another model than the first part: %s: expected "
                           "%" PRIu64 ", found %" PRIu64 "; get all parts from one place",
                           numbers[i], of_first, of_part);
    }
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        if (kl_gguf_string(one, texts[i], &part, NULL) == KL_OK &&
            kl_gguf_string(g, texts[i], &first, NULL) == KL_OK && !kl_gguf_same(first, part))
            return kl_fail(err, KL_ERR_FORMAT,
                           "this part is of another model than the first part: %s differs; get all "
                           "parts from one place",
                           texts[i]);
    }
    return KL_OK;
}

/* Checks that a file is the part that it should be, of a model with the same number of tensors. */
static enum kl_status check_part(const struct kl_gguf *g, const struct kl_gguf *one, size_t i,
                                 struct kl_error *err)
{
    uint64_t number, count;
    size_t n = kl_mapped_file_count(&g->file);
    read_place(one, &number, &count);
    if (count != n || number != i)
        return kl_fail(err, KL_ERR_FORMAT,
                       "expected part %zu of %zu of a model, as the name says, found part %" PRIu64
                       " of %" PRIu64 "; get all parts again, and keep their names",
                       i + 1, n, number + 1, count);
    return compare(g, one, err);
}

/* Appends the tensors of a part. */
static enum kl_status take_tensors(struct kl_gguf *g, const struct kl_gguf *one,
                                   struct kl_error *err)
{
    size_t n = g->n_tensors + one->n_tensors;
    if (n > KL_GGUF_MAX_TENSORS)
        return kl_fail(err, KL_ERR_LIMIT, "n_tensors: expected at most %d in all parts, found %zu",
                       KL_GGUF_MAX_TENSORS, n);
    struct kl_gguf_place *places = realloc(g->places, (n + 1) * sizeof *places);
    if (places != NULL)
        g->places = places;
    struct kl_gguf_place **by_name = realloc(g->by_name, (n + 1) * sizeof(struct kl_gguf_place *));
    if (by_name != NULL)
        g->by_name = by_name;
    if (places == NULL || by_name == NULL)
        return kl_fail_memory(err, "the tensor directory", (n + 1) * sizeof *places);
    memcpy(places + g->n_tensors, one->places, one->n_tensors * sizeof *places);
    g->n_tensors = n;
    g->header_hash ^= one->header_hash * 31;
    return KL_OK;
}

static enum kl_status read_part(struct kl_gguf *g, size_t i, size_t *budget, struct kl_error *err)
{
    struct kl_gguf one = {0};
    enum kl_status status = kl_gguf_read_file(g, i, i == 0 ? g : &one, budget, err);
    if (status == KL_OK) {
        status = check_part(g, i == 0 ? g : &one, i, err);
        if (status == KL_OK && i > 0)
            status = take_tensors(g, &one, err);
        if (status != KL_OK)
            kl_error_prefix(err, "%.200s", kl_mapped_file_part(&g->file, i).path);
    }
    kl_gguf_forget(&one);
    return status;
}

/* Maps all parts, and reads all of them: the first may have moved. */
static enum kl_status open_parts(struct kl_gguf *g, char *const *paths, size_t n,
                                 struct kl_error *err)
{
    size_t budget = KL_GGUF_MAX_METADATA;
    uint64_t expected;
    kl_gguf_forget(g);
    kl_mapped_file_close(&g->file);
    enum kl_status status = kl_mapped_file_join(&g->file, paths, n, err);
    if (status == KL_ERR_NOT_FOUND)
        kl_error_prefix(err,
                        "a model in %zu files, which belong into one directory; get the "
                        "missing ones",
                        n);
    for (size_t i = 0; i < n && status == KL_OK; i++)
        status = read_part(g, i, &budget, err);
    if (status == KL_OK &&
        kl_gguf_u64(g, "split.tensors.count", 0, UINT32_MAX, &expected, NULL) == KL_OK &&
        expected != g->n_tensors)
        status = kl_fail(err, KL_ERR_FORMAT,
                         "split.tensors.count: expected %" PRIu64 " tensors in all parts, found "
                         "%zu; the parts are of different models: get all from one place",
                         expected, g->n_tensors);
    else
        return status;
    kl_error_prefix(err, "%.200s", paths[0]);
    return status;
}

enum kl_status kl_gguf_read_parts(struct kl_gguf *g, const char *path, struct kl_error *err)
{
    uint64_t number, count;
    char **paths = NULL;
    read_place(g, &number, &count);
    if (count < 2)
        return KL_OK;
    enum kl_status status = name_parts(path, number, count, &paths, err);
    if (status == KL_OK)
        status = open_parts(g, paths, count, err);
    else
        kl_error_prefix(err, "%.200s", path);
    free(paths);
    return status;
}
