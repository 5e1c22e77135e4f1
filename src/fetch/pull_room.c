#include "fetch/pull_room.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cache_dir.h"
#include "console/terminal.h"
#include "fetch/download.h"

/* Directories below the models directory: OWNER/REPO. */
#define DEPTH 2

/* Adds up the sizes of the files below a directory, which is closed. Links do not count. */
static uint64_t add_up(int fd, unsigned depth)
{
    uint64_t bytes = 0;
    DIR *dir = fdopendir(fd);
    const struct dirent *entry;
    struct stat st;
    if (dir == NULL) {
        close(fd);
        return 0;
    }
    while ((entry = readdir(dir)) != NULL) {
        const char *name = entry->d_name;
        if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 ||
            fstatat(dirfd(dir), name, &st, AT_SYMLINK_NOFOLLOW) != 0)
            continue;
        if (S_ISREG(st.st_mode)) {
            bytes += (uint64_t)st.st_size;
        } else if (S_ISDIR(st.st_mode) && depth > 0) {
            int below = openat(dirfd(dir), name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
            bytes += below >= 0 ? add_up(below, depth - 1) : 0;
        }
    }
    closedir(dir);
    return bytes;
}

enum kl_status kl_pull_room_check(uint64_t most, uint64_t coming, struct kl_error *err)
{
    char path[PATH_MAX], size[3][32];
    enum kl_status status = kl_cache_prepare("models", path, sizeof path, err);
    if (status != KL_OK)
        return status;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return kl_fail_errno(err, "cannot read the models directory %s", path);
    uint64_t here = add_up(fd, DEPTH);
    if (coming > most || here > most - coming)
        return kl_fail(err, KL_ERR_LIMIT,
                       "the models of this server may take %s of its disk; they take %s, and %s "
                       "would come: ask its operator to remove some ('kinglet cache'), or to allow "
                       "more (serve --allow-pull-size)",
                       kl_format_bytes((double)most, size[0], sizeof size[0]),
                       kl_format_bytes((double)here, size[1], sizeof size[1]),
                       kl_format_bytes((double)coming, size[2], sizeof size[2]));
    return kl_check_free_space(path, coming, KL_PULL_RESERVE, err);
}
