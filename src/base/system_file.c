#include "base/system_file.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

bool kl_system_file_read(const char *path, char *text, size_t size)
{
    size_t len = 0;
    ssize_t n = 0;
    text[0] = '\0';
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    while (len + 1 < size &&
           ((n = read(fd, text + len, size - 1 - len)) > 0 || (n < 0 && errno == EINTR)))
        len += n > 0 ? (size_t)n : 0;
    close(fd);
    if (n < 0)
        len = 0;
    text[len] = '\0';
    return n >= 0;
}
