/*
 * A file in NumPy's format 1.0 with float32 [n_rows, n_columns], whose rows may be written in any
 * order. https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
 */
#ifndef KL_BENCH_NPY_FILE_H
#define KL_BENCH_NPY_FILE_H

#include <stddef.h>

#include "base/error.h"

struct kl_npy_file {
    const char *path; /* the caller's */
    int fd;
    size_t header, row; /* bytes */
};

/* Creates or truncates the file and writes its header. */
enum kl_status kl_npy_open(struct kl_npy_file *npy, const char *path, size_t n_rows,
                           size_t n_columns, struct kl_error *err);

/* Writes row i: [n_columns]. */
enum kl_status kl_npy_write_row(const struct kl_npy_file *npy, size_t i, const float *row,
                                struct kl_error *err);

/* Closes the file and returns status, or the error of closing. Unless both are KL_OK the file is
 * removed: its header promises rows that are missing. */
enum kl_status kl_npy_close(struct kl_npy_file *npy, enum kl_status status, struct kl_error *err);

#endif
