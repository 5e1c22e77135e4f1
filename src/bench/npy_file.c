#include "bench/npy_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static enum kl_status write_at(const struct kl_npy_file *npy, const void *data, size_t len,
                               size_t offset, struct kl_error *err)
{
    const char *at = data;
    while (len > 0) {
        ssize_t n = pwrite(npy->fd, at, len, (off_t)offset);
        if (n < 0 && errno != EINTR)
            return kl_fail_errno(err, "cannot write %s", npy->path);
        if (n > 0) {
            at += n;
            len -= (size_t)n;
            offset += (size_t)n;
        }
    }
    return KL_OK;
}

enum kl_status kl_npy_close(struct kl_npy_file *npy, enum kl_status status, struct kl_error *err)
{
    struct stat st;
    bool is_file = fstat(npy->fd, &st) == 0 && S_ISREG(st.st_mode);
    if (close(npy->fd) != 0 && status == KL_OK)
        status = kl_fail_errno(err, "cannot write %s", npy->path);
    if (status != KL_OK && is_file)
        unlink(npy->path);
    return status;
}

enum kl_status kl_npy_open(struct kl_npy_file *npy, const char *path, size_t n_rows,
                           size_t n_columns, struct kl_error *err)
{
    *npy = (struct kl_npy_file){.path = path, .header = 128, .row = n_columns * sizeof(float)};
    npy->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (npy->fd < 0)
        return kl_fail_errno(err, "cannot create %s", path);
    char header[129];
    /* magic, version, length of the rest; the dictionary is padded so that data begins at 128 */
    memcpy(header, "\x93NUMPY\x01\x00\x76\x00", 10);
    int n = snprintf(header + 10, 118,
                     "{'descr': '<f4', 'fortran_order': False, 'shape': (%zu, %zu), }", n_rows,
                     n_columns);
    memset(header + 10 + n, ' ', (size_t)(118 - n));
    header[127] = '\n';
    enum kl_status status = write_at(npy, header, 128, 0, err);
    return status == KL_OK ? KL_OK : kl_npy_close(npy, status, err);
}

enum kl_status kl_npy_write_row(const struct kl_npy_file *npy, size_t i, const float *row,
                                struct kl_error *err)
{
    return write_at(npy, row, npy->row, npy->header + i * npy->row, err);
}
