/*
 * Downloads a model to this computer: tries its sources in order until one has the right file, and
 * reports each failure in one line on stderr.
 *
 * The file grows as NAME.part. An interrupted download is continued, also from another source; then
 * the SHA-256 is checked, and the file is synced and renamed. A lock on NAME.part makes a second
 * process wait for the first. Blocks the calling thread.
 */
#ifndef KL_FETCH_FETCH_H
#define KL_FETCH_FETCH_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "console/terminal.h"
#include "fetch/catalogue.h"

#define KL_DEFAULT_STALL_SECONDS 20

/* Downloads a model of the catalogue: from Hugging Face ($HF_ENDPOINT, a mirror), ModelScope
 * ($MODELSCOPE_ENDPOINT), or Python packages. Returns at once if it is here. KL_ERR_NOT_FOUND: no
 * source has it. observer may be NULL. */
enum kl_status kl_fetch_model(const struct kl_model_entry *entry, size_t stall_seconds,
                              const struct kl_progress_observer *observer, struct kl_error *err);

/* Downloads the default model or, if that is not available, its substitute, which it reports in one
 * line. *entry is the model that is here now. */
enum kl_status kl_fetch_default(size_t stall_seconds, const struct kl_progress_observer *observer,
                                const struct kl_model_entry **entry, struct kl_error *err);

/* Whether an address may be used without a SHA-256 to check against: https, or http on this
 * computer. */
bool kl_url_is_safe(const char *url);

/* Downloads any file as the model `name`; NULL: called like the file, with all parts if it is the
 * first of several. sha256: 64 hex digits; NULL: whatever comes is kept, which a warning on stderr
 * says, and only a safe address may be used. Writes the path of the (first) file.
 * KL_ERR_INVALID: an argument cannot be used. */
enum kl_status kl_fetch_url(const char *name, const char *url, const char *sha256,
                            size_t stall_seconds, char path[PATH_MAX], struct kl_error *err);

#define KL_FETCH_MAX_SOURCES 3

struct kl_fetch_source {
    const char *label;
    char url[PATH_MAX]; /* empty: Python wheels */
};

/* One file to download. */
struct kl_fetch_file {
    const char *name;   /* for people */
    const char *path;   /* where the complete file will be */
    const char *sha256; /* NULL: not known */
    uint64_t bytes;     /* 0: not known */
    size_t stall_seconds;
    const struct kl_progress_observer *observer; /* or NULL */
};
/* Downloads it from the first source that has it. Returns at once if it is here. */
enum kl_status kl_fetch_file(const struct kl_fetch_file *file,
                             const struct kl_fetch_source *sources, size_t n, struct kl_error *err);

/* Writes the address of a hub: that of the environment variable, without '/' at its end. */
void kl_fetch_endpoint(const char *variable, const char *fallback, char *out, size_t size);

#endif
