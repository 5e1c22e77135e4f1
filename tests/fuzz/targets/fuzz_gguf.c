/*
 * Opens model files: a file is refused with a text, or everything in it can be read, up to a
 * forward pass.
 */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../walk_model.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[64];
    struct kl_error err = {0};
    int fd = memfd_create("model", 0);
    PROMISE(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    enum kl_status status = walk_file(path, WALK_MODEL, &err);
    PROMISE(status == KL_OK || (err.status == status && strlen(err.text) > 10));
    close(fd);
    return 0;
}
