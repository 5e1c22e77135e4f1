#include "scratch.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include "fuzz.h"

static char directory[] = "/tmp/kinglet-fuzz-XXXXXX";

static void remove_it(void)
{
    DIR *d = opendir(directory);
    struct dirent *entry;
    while (d != NULL && (entry = readdir(d)) != NULL)
        unlinkat(dirfd(d), entry->d_name, 0);
    if (d != NULL)
        closedir(d);
    rmdir(directory);
}

const char *scratch_directory(void)
{
    static int made;
    if (!made) {
        PROMISE(mkdtemp(directory) != NULL && atexit(remove_it) == 0);
        made = 1;
    }
    return directory;
}
