#include "engine/page_dir.h"

#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/cache_dir.h"
#include "engine/page_file.h"

struct look {
    struct kl_page_dir *found;
    bool remove;
};

static void see(void *context, int dir, const char *name, const struct stat *st)
{
    struct look *look = context;
    struct kl_page_key key, parent;
    bool unwhole = strncmp(name, KL_PAGE_TEMPORARY, strlen(KL_PAGE_TEMPORARY)) == 0;
    if (!unwhole && !kl_page_name_is_old(name) && !kl_page_name_parse(name, &key, &parent))
        return;
    look->found->pages++;
    look->found->bytes += (uint64_t)st->st_blocks * 512;
    int64_t used = kl_page_time(st);
    if (used > look->found->used)
        look->found->used = used;
    if (look->remove)
        (void)unlinkat(dir, name, 0);
}

static enum kl_status look_at(const char *path, bool remove, struct kl_page_dir *found,
                              struct kl_error *err)
{
    int dir;
    *found = (struct kl_page_dir){0};
    enum kl_status status = kl_cache_dir_open(path, false, &dir, err);
    if (status != KL_OK)
        return status == KL_ERR_NOT_FOUND ? KL_OK : status;
    /* page stores hold a shared lock; this one is held until the directory is closed here */
    found->in_use = flock(dir, LOCK_EX | LOCK_NB) != 0;
    struct look look = {.found = found, .remove = remove && !found->in_use};
    status = kl_cache_dir_each(dir, see, &look, err);
    close(dir);
    return status;
}

enum kl_status kl_page_dir_look(const char *path, struct kl_page_dir *found, struct kl_error *err)
{
    return look_at(path, false, found, err);
}

enum kl_status kl_page_dir_clear(const char *path, struct kl_page_dir *found, struct kl_error *err)
{
    return look_at(path, true, found, err);
}
