/* A directory that stands for / with the files of proc/ and sys/ that a test wants to be there.
 * Include after <cmocka.h>. */
#ifndef KL_TESTS_FAKE_ROOT_H
#define KL_TESTS_FAKE_ROOT_H

#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static char fake_root[64];

static inline int fake_root_make(void **state)
{
    (void)state;
    strcpy(fake_root, "/tmp/kinglet-root-XXXXXX");
    return mkdtemp(fake_root) == NULL ? -1 : 0;
}

static inline int fake_root_unlink(const char *path, const struct stat *st, int flag,
                                   struct FTW *ftw)
{
    (void)st;
    (void)flag;
    (void)ftw;
    return remove(path);
}

static inline int fake_root_remove(void **state)
{
    (void)state;
    return nftw(fake_root, fake_root_unlink, 8, FTW_DEPTH | FTW_PHYS);
}

/* name: "sys/fs/cgroup/cpu.max" */
static inline void fake_file(const char *name, const char *text)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", fake_root, name);
    for (char *slash = strchr(path + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(path, 0700);
        *slash = '/';
    }
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

#endif
