#include "console/key_edit.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/cache_dir.h"
#include "base/hash.h"
#include "console/input.h"
#include "console/key_file.h"
#include "console/nearest.h"

#define OTHER_USER " (use sudo, or name another file with --file)"

/* A file between its reading and its replacement. */
struct edit {
    const char *path;      /* as the caller gives it */
    char real[PATH_MAX];   /* without links; basename() and dirname() point into copies */
    char folder[PATH_MAX]; /* of real */
    char name[NAME_MAX + 1], temporary[NAME_MAX + 1];
    int dir, fd;            /* the directory, and the new file, which is locked */
    struct stat old;        /* st_nlink 0: there is no old file */
    struct kl_buffer text;  /* of the old file */
    struct kl_api_keys now; /* its keys; keys.text is a copy of text in which they are cut apart */
};

/* ---- the steps of a change ------------------------------------------------------------------- */

/* Finds the file and its directory. The file may still change, and even begin to exist. */
static enum kl_status locate(struct edit *e, struct kl_error *err)
{
    char copy[PATH_MAX];
    struct stat now;
    if (strcmp(e->path, "-") == 0)
        return kl_fail(err, KL_ERR_INVALID, "--file: expected the name of a file, found -");
    if (realpath(e->path, e->real) == NULL &&
        (errno != ENOENT || strlen(e->path) >= sizeof e->real))
        return kl_fail_errno(err, "cannot find %s", e->path);
    if (stat(e->path, &now) != 0)
        snprintf(e->real, sizeof e->real, "%s", e->path);
    else if (!S_ISREG(now.st_mode))
        return kl_fail(err, KL_ERR_INVALID, "%s is not a file; name a file with keys", e->path);
    snprintf(copy, sizeof copy, "%s", e->real);
    snprintf(e->folder, sizeof e->folder, "%s", dirname(copy));
    snprintf(copy, sizeof copy, "%s", e->real);
    snprintf(e->name, sizeof e->name, "%s", basename(copy));
    if (snprintf(e->temporary, sizeof e->temporary, "%s.tmp", e->name) >= (int)sizeof e->temporary)
        return kl_fail(err, KL_ERR_LIMIT, "the name %.100s... is too long", e->name);
    return KL_OK;
}

/* Locks the file against other changes by creating its successor. */
static enum kl_status begin(struct edit *e, struct kl_error *err)
{
    enum kl_status status = locate(e, err);
    if (status != KL_OK)
        return status;
    e->dir = open(e->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (e->dir < 0 || faccessat(e->dir, ".", W_OK, AT_EACCESS) != 0)
        return kl_fail_errno(err, "cannot write to %s, the directory of %s%s", e->folder, e->name,
                             errno == ENOENT ? "" : OTHER_USER);
    status = kl_cache_file_create(e->dir, e->temporary, &e->fd, err);
    if (status != KL_OK)
        kl_error_prefix(err, "%s", e->path);
    return status;
}

/* Reads the old file, whose keys must all be valid: a server would refuse a file with others.
 * Whether there is one is known only now, when it is locked. */
static enum kl_status read_old(struct edit *e, struct kl_error *err)
{
    enum kl_status status = kl_buffer_append(&e->text, "", 0);
    if (stat(e->real, &e->old) != 0)
        e->old = (struct stat){0};
    if (status == KL_OK && e->old.st_nlink > 0)
        status = kl_read_text(e->real, &e->text, err);
    if (status != KL_OK)
        return status;
    status = kl_buffer_append(&e->now.text, e->text.data, e->text.len);
    if (status != KL_OK)
        return kl_fail_memory(err, e->path, e->text.len);
    return kl_api_keys_parse(e->now.text.data, e->path, &e->now, err);
}

/* Gives the new file its text, and the owner and the name of the old one. */
static enum kl_status replace(struct edit *e, const struct kl_buffer *text, struct kl_error *err)
{
    if (e->old.st_nlink > 0 && e->old.st_uid != geteuid() &&
        fchown(e->fd, e->old.st_uid, e->old.st_gid) != 0)
        return kl_fail_errno(err, "cannot keep the owner of %s; change it as its owner", e->path);
    if (kl_cache_write(e->fd, text->data, text->len, err) != KL_OK)
        return kl_fail_errno(err, "cannot write %s", e->path);
    enum kl_status status = kl_cache_file_keep(e->dir, e->fd, e->temporary, e->name, true, err);
    if (status == KL_OK)
        e->temporary[0] = '\0';
    return status;
}

static void end(struct edit *e)
{
    if (e->fd >= 0 && e->temporary[0] != '\0')
        (void)unlinkat(e->dir, e->temporary, 0);
    if (e->fd >= 0)
        close(e->fd);
    if (e->dir >= 0)
        close(e->dir);
    kl_buffer_release(&e->text);
    kl_api_keys_release(&e->now);
}

static enum kl_status open_edit(struct edit *e, const char *path, struct kl_error *err)
{
    *e = (struct edit){.path = path, .dir = -1, .fd = -1};
    kl_buffer_init(&e->text, KL_KEY_FILE_CAP);
    kl_buffer_init(&e->now.text, KL_KEY_FILE_CAP);
    enum kl_status status = begin(e, err);
    return status == KL_OK ? read_old(e, err) : status;
}

/* ---- keys ------------------------------------------------------------------------------------ */

void kl_key_fingerprint(const char *key, char out[KL_KEY_FINGERPRINT])
{
    struct kl_sha256 hash;
    char hex[65];
    kl_sha256_init(&hash);
    kl_sha256_update(&hash, key, strlen(key));
    kl_sha256_finish_hex(&hash, hex);
    memcpy(out, hex, KL_KEY_FINGERPRINT - 1);
    out[KL_KEY_FINGERPRINT - 1] = '\0';
}

static enum kl_status make_key(char key[KL_NEW_KEY], struct kl_error *err)
{
    static const char digits[] = "0123456789abcdefghjkmnpqrstvwxyz";
    unsigned char random[KL_NEW_KEY - 1];
    if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random)
        return kl_fail_errno(err, "the system gives no random numbers for a key");
    for (size_t i = 0; i < sizeof random; i++)
        key[i] = digits[random[i] % 32];
    key[sizeof random] = '\0';
    return KL_OK;
}

static enum kl_status add(struct edit *e, const char *name, char key[KL_NEW_KEY], size_t *n_of_name,
                          struct kl_error *err)
{
    if (e->now.n == KL_MAX_API_KEYS)
        return kl_fail(err, KL_ERR_LIMIT,
                       "%s has %d keys, which is the most; remove one that is not used any more",
                       e->path, KL_MAX_API_KEYS);
    enum kl_status status = make_key(key, err);
    if (status != KL_OK)
        return status;
    bool ends_line = e->text.len == 0 || e->text.data[e->text.len - 1] == '\n';
    status = kl_buffer_append_format(&e->text, "%s%s %s\n", ends_line ? "" : "\n", key, name);
    if (status != KL_OK)
        return kl_fail(err, status,
                       "%s has no room for another key: it has %zu of at most %zu bytes", e->path,
                       e->text.len, e->text.cap);
    *n_of_name = 1;
    for (size_t i = 0; i < e->now.n; i++)
        *n_of_name += strcmp(e->now.keys[i].name, name) == 0;
    return replace(e, &e->text, err);
}

enum kl_status kl_key_add(const char *path, const char *name, char key[KL_NEW_KEY],
                          size_t *n_of_name, struct kl_error *err)
{
    struct edit e;
    enum kl_status status = kl_key_name_check(name, err);
    if (status != KL_OK)
        return status;
    char folder[] = KL_KEY_FILE_DEFAULT;
    if (strcmp(path, folder) == 0 && mkdir(dirname(folder), 0755) != 0 && errno != EEXIST)
        return kl_fail_errno(err, "cannot create %s" OTHER_USER, folder);
    status = open_edit(&e, path, err);
    if (status == KL_OK)
        status = add(&e, name, key, n_of_name, err);
    end(&e);
    return status;
}

static bool is_meant(const struct kl_api_key *key, const char *which, bool by_name)
{
    char fingerprint[KL_KEY_FINGERPRINT];
    kl_key_fingerprint(key->key, fingerprint);
    return strcmp(by_name ? key->name : fingerprint, which) == 0;
}

static enum kl_status not_found(const struct edit *e, const char *which, struct kl_error *err)
{
    struct kl_nearest nearest;
    kl_nearest_init(&nearest, which);
    for (size_t i = 0; i < e->now.n; i++)
        kl_nearest_consider(&nearest, e->now.keys[i].name);
    bool found = nearest.best != NULL && nearest.best[0] != '\0';
    return kl_fail(err, KL_ERR_NOT_FOUND,
                   "%s has no key with the name or fingerprint '%.100s'; %s%s%s", e->path, which,
                   found ? "did you mean '" : "'kinglet key list", found ? nearest.best : "",
                   found ? "'?" : "' shows them");
}

static enum kl_status remove_keys(struct edit *e, const char *which, size_t *n_removed,
                                  size_t *n_left, struct kl_error *err)
{
    struct kl_buffer rest;
    enum kl_status status = KL_OK;
    bool by_name = false;
    size_t from = 0;
    kl_buffer_init(&rest, KL_KEY_FILE_CAP);
    for (size_t i = 0; i < e->now.n; i++)
        by_name |= is_meant(&e->now.keys[i], which, true);
    *n_removed = 0;
    for (size_t i = 0; i < e->now.n && status == KL_OK; i++) {
        if (!is_meant(&e->now.keys[i], which, by_name))
            continue;
        /* the line around the place that the key has in both texts */
        size_t begin = (size_t)(e->now.keys[i].key - e->now.text.data);
        size_t behind = begin + strcspn(e->text.data + begin, "\n");
        while (begin > 0 && e->text.data[begin - 1] != '\n')
            begin--;
        status = kl_buffer_append(&rest, e->text.data + from, begin - from);
        from = behind + (e->text.data[behind] == '\n');
        ++*n_removed;
    }
    *n_left = e->now.n - *n_removed;
    if (status == KL_OK)
        status = kl_buffer_append(&rest, e->text.data + from, e->text.len - from);
    if (status != KL_OK)
        kl_fail_memory(err, e->path, e->text.len);
    else if (*n_removed == 0)
        status = not_found(e, which, err);
    else
        status = replace(e, &rest, err);
    kl_buffer_release(&rest);
    return status;
}

enum kl_status kl_key_remove(const char *path, const char *which, size_t *n_removed, size_t *n_left,
                             struct kl_error *err)
{
    struct edit e;
    if (which[0] == '\0')
        return kl_fail(err, KL_ERR_INVALID,
                       "the name of a key is empty; 'kinglet key list' shows "
                       "names and, for keys without one, fingerprints");
    enum kl_status status = open_edit(&e, path, err);
    if (status == KL_OK)
        status = remove_keys(&e, which, n_removed, n_left, err);
    end(&e);
    return status;
}
