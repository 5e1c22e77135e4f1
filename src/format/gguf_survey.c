#include "format/gguf_survey.h"

#include <stdlib.h>
#include <string.h>

#include "format/gguf_parser.h"

/* The name of a tensor may be longer than the format allows: nothing here depends on it. */
#define MAX_NAME_LEN 256

struct entry {
    uint64_t offset;
    uint32_t type;
};

void kl_gguf_survey_add(struct kl_gguf_survey *s, uint32_t id, uint64_t bytes)
{
    size_t i = 0;
    while (i < s->n && s->types[i].id != id)
        i++;
    if (i == KL_GGUF_MAX_TYPES)
        i--;
    if (i == s->n) {
        const struct kl_quant_type *type = kl_quant_type(id);
        s->types[s->n++] = (struct kl_gguf_share){
            id, type != NULL ? type->name : kl_gguf_foreign_type(id), type != NULL, 0, 0};
    }
    s->types[i].tensors++;
    s->types[i].bytes += bytes;
    for (; i > 0 && s->types[i].bytes > s->types[i - 1].bytes; i--) {
        struct kl_gguf_share other = s->types[i - 1];
        s->types[i - 1] = s->types[i];
        s->types[i] = other;
    }
}

static enum kl_status read_entry(struct kl_gguf_parser *p, struct entry *e)
{
    struct kl_gguf_string name;
    uint32_t n_dims;
    uint64_t dimension;
    enum kl_status status = kl_gguf_read_string(p, "a tensor name", 0, MAX_NAME_LEN, &name);
    if (status == KL_OK)
        status = kl_gguf_read_u32(p, "n_dims", &n_dims);
    if (status == KL_OK && n_dims > KL_GGUF_MAX_DIMS)
        status = kl_fail(p->err, KL_ERR_FORMAT, "n_dims: expected 1 to %d, found %u",
                         KL_GGUF_MAX_DIMS, n_dims);
    for (uint32_t i = 0; status == KL_OK && i < n_dims; i++)
        status = kl_gguf_read_u64(p, "a dimension", &dimension);
    if (status == KL_OK)
        status = kl_gguf_read_u32(p, "the type", &e->type);
    return status == KL_OK ? kl_gguf_read_u64(p, "the offset", &e->offset) : status;
}

static int compare_offsets(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    return (x->offset > y->offset) - (x->offset < y->offset);
}

/* Adds up the types of entries [n]; `end` is the offset of the end of the file. */
static void add_up(struct entry *entries, size_t n, uint64_t end, struct kl_gguf_survey *survey)
{
    qsort(entries, n, sizeof *entries, compare_offsets);
    for (size_t i = 0; i < n; i++) {
        uint64_t next = i + 1 < n ? entries[i + 1].offset : end;
        if (next > end)
            next = end;
        kl_gguf_survey_add(survey, entries[i].type,
                           next > entries[i].offset ? next - entries[i].offset : 0);
    }
}

static enum kl_status read_types(struct kl_gguf_parser *p, struct kl_gguf_survey *survey)
{
    struct kl_gguf *g = p->gguf;
    enum kl_status status = kl_gguf_read_head(p);
    if (status != KL_OK)
        return status;
    struct entry *entries = calloc(g->n_tensors + 1, sizeof *entries);
    g->entries = calloc(g->n_entries + 1, sizeof g->entries[0]);
    if (entries == NULL || g->entries == NULL)
        status = kl_fail_memory(p->err, "the tensor directory", g->n_tensors * sizeof *entries);
    if (status == KL_OK)
        status = kl_gguf_read_entries(p);
    for (size_t i = 0; i < g->n_tensors && status == KL_OK; i++)
        status = read_entry(p, &entries[i]);
    if (status == KL_OK)
        add_up(entries, g->n_tensors, g->file.size - p->reader.pos, survey);
    free(entries);
    return status;
}

enum kl_status kl_gguf_survey(const char *path, struct kl_gguf_survey *survey, struct kl_error *err)
{
    *survey = (struct kl_gguf_survey){0};
    struct kl_gguf *g = calloc(1, sizeof *g);
    if (g == NULL)
        return kl_fail_memory(err, "a model file", sizeof *g);
    enum kl_status status = kl_mapped_file_open(&g->file, path, err);
    if (status == KL_OK) {
        struct kl_gguf_parser parser = {
            .gguf = g, .data = g->file.data, .size = g->file.size, .err = err};
        parser.reader.data = parser.data;
        parser.reader.size =
            g->file.size < KL_GGUF_MAX_METADATA ? g->file.size : KL_GGUF_MAX_METADATA;
        kl_mapped_file_hold(&g->file);
        status = read_types(&parser, survey);
        if (status != KL_OK)
            kl_error_prefix(err, "%.200s", path);
    }
    kl_gguf_close(g);
    return status;
}
