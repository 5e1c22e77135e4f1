/*
 * The names of model files that are parts of one model, as llama.cpp's gguf-split writes them:
 * NAME-00001-of-00003.gguf is the first of three.
 *
 * Pure functions; any thread. They do not look at files.
 */
#ifndef KL_BASE_SPLIT_NAME_H
#define KL_BASE_SPLIT_NAME_H

#include <stdbool.h>
#include <stddef.h>

/* The most parts of a model. gguf-split puts 128 tensors into one, unless told otherwise: the
 * largest models here have 4 then. Each part is an open file. */
#define KL_MAX_PARTS 128

struct kl_split_name {
    size_t prefix_len;      /* bytes of the name before "-00001-of-00003.gguf" */
    unsigned number, count; /* 1 <= number <= count, count >= 2 */
};

/* Reads a name, or the end of a path. false: it does not have that form. */
bool kl_split_name_read(const char *name, struct kl_split_name *split);

/* Writes the name of another part: the first prefix_len bytes of `name`, and the number. Returns
 * false if it does not fit. */
bool kl_split_name_write(const char *name, size_t prefix_len, unsigned number, unsigned count,
                         char *out, size_t size);

/* Returns the names of all parts, count of them in order, as one block for free(); NULL: no memory.
 */
char **kl_split_name_all(const char *name, const struct kl_split_name *split);

#endif
