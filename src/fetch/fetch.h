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

#include <stddef.h>

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

/* Downloads any file as the model `name`. sha256: 64 hex digits. KL_ERR_INVALID: an argument cannot
 * be used. */
enum kl_status kl_fetch_url(const char *name, const char *url, const char *sha256,
                            size_t stall_seconds, struct kl_error *err);

#endif
