/*
 * Models in several files: they are refused with a text, or everything in them can be read.
 *
 * The first byte is the number of files; each begins with its length in 3 bytes, the last takes
 * what is left.
 */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "../walk_model.h"
#include "fuzz.h"
#include "scratch.h"

static void write_file(const char *path, const uint8_t *data, size_t size)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    PROMISE(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char first[96], path[96];
    struct kl_error err = {0};
    unsigned n = 2 + take_byte(&data, &size) % 3;
    for (unsigned i = n; i >= 1; i--) {
        size_t len = take_byte(&data, &size);
        len = len << 8 | take_byte(&data, &size);
        len = len << 8 | take_byte(&data, &size);
        len = i == 1 || len > size ? size : len;
        snprintf(path, sizeof path, "%s/m-%05u-of-%05u.gguf", scratch_directory(), n + 1 - i, n);
        write_file(path, data, len);
        if (i == n)
            snprintf(first, sizeof first, "%s", path);
        data += len;
        size -= len;
    }
    enum kl_status status = walk_file(first, WALK_MODEL, &err);
    PROMISE(status == KL_OK || (err.status == status && strlen(err.text) > 10));
    return 0;
}
