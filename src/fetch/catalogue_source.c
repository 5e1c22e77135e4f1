#include "fetch/catalogue_source.h"

#include <stdio.h>
#include <string.h>

#include "fetch/catalogue.h"
#include "fetch/fetch_hub.h"
#include "fetch/pull_room.h"

/* Finds a row of the catalogue or a repository that a name from outside means. A path of this
 * computer is neither. */
static bool locate(const char *name, struct kl_model_location *location, bool *is_here)
{
    struct kl_repository repository;
    if (strlen(name) >= sizeof(((struct kl_source_model *)NULL)->name) ||
        (strchr(name, '/') != NULL && !kl_repository_read(name, &repository)))
        return false;
    *is_here = kl_model_locate(name, location, NULL) == KL_OK;
    return location->entry != NULL || location->repository.name[0] != '\0';
}

static bool find(const char *name, struct kl_source_model *model)
{
    struct kl_model_location location;
    bool is_here;
    if (!locate(name, &location, &is_here))
        return false;
    const struct kl_model_entry *entry = location.entry;
    *model =
        (struct kl_source_model){.bytes = entry != NULL ? entry->bytes : 0, .is_here = is_here};
    snprintf(model->name, sizeof model->name, "%s", entry != NULL ? entry->name : name);
    snprintf(model->sha256, sizeof model->sha256, "%s", entry != NULL ? entry->sha256 : "");
    return true;
}

/* A download, and whether there is room for it. */
struct pull {
    struct kl_source_progress *progress;
    uint64_t done, total; /* at the last time; total 0: not known, or none yet */
    uint64_t checked;     /* there is room up to this size */
    enum kl_status status;
    struct kl_error err;
};

/* Without a length there is room for as much at a time. */
#define UNKNOWN_BYTES ((uint64_t)64 << 20)

/* Stops the download for which there is no room. It has begun then: its size is known, and what
 * earlier ones left of it counts as being here. */
static void check_room(struct pull *p, uint64_t done, uint64_t total)
{
    bool again = total != p->total || done < p->done || done > p->checked;
    p->done = done;
    p->total = total;
    if (!again || p->status != KL_OK)
        return;
    uint64_t coming = total > done ? total - done : total == 0 ? UNKNOWN_BYTES : 0;
    p->checked = done + coming;
    p->status = kl_pull_room_check(p->progress->most, coming, &p->err);
    if (p->status != KL_OK)
        atomic_store(&p->progress->stop, true);
}

static void notify(void *context, uint64_t done, uint64_t total)
{
    struct pull *p = context;
    check_room(p, done, total);
    atomic_store(&p->progress->total, total);
    atomic_store(&p->progress->done, done);
}

static enum kl_status get(const char *name, struct kl_source_progress *progress,
                          struct kl_error *err)
{
    struct pull pull = {.progress = progress};
    const struct kl_progress_observer observer = {notify, &pull, &progress->stop};
    struct kl_model_location location;
    bool is_here;
    if (!locate(name, &location, &is_here))
        return kl_fail(err, KL_ERR_NOT_FOUND, "there is no model %.100s", name);
    enum kl_status status = KL_OK;
    if (location.entry != NULL)
        status = kl_fetch_model(location.entry, KL_DEFAULT_STALL_SECONDS, &observer, err);
    else if (!is_here)
        status = kl_fetch_repository(&location.repository, KL_DEFAULT_STALL_SECONDS, &observer,
                                     location.path, err);
    if (status == KL_OK || pull.status == KL_OK)
        return status;
    *err = pull.err;
    return pull.status;
}

const struct kl_model_source kl_catalogue_source = {find, get};
