/*
 * Getting a model onto this computer: its sources one after the other, each named in one line on
 * stderr, until one gives the right file.
 *
 * The file grows as NAME.part, which is continued where an earlier attempt broke off, by whatever
 * source; its SHA-256 is checked, it is synced and only then renamed. A lock on it lets a second
 * process wait instead of disturbing the first.
 */
#ifndef KL_FETCH_FETCH_H
#define KL_FETCH_FETCH_H

#include <stddef.h>

#include "base/error.h"
#include "console/terminal.h"
#include "fetch/catalogue.h"

#define KL_DEFAULT_STALL_SECONDS 20

/* A model of the catalogue: Hugging Face ($HF_ENDPOINT, a mirror), ModelScope
 * ($MODELSCOPE_ENDPOINT), Python packages. KL_OK at once when it is here. KL_ERR_NOT_FOUND: no
 * source has it. observer may be NULL. */
enum kl_status kl_fetch_model(const struct kl_model_entry *entry, size_t stall_seconds,
                              const struct kl_progress_observer *observer, struct kl_error *err);

/* The default model or, where that cannot be had, its substitute (said in one line). *entry is the
 * one that is here now. */
enum kl_status kl_fetch_default(size_t stall_seconds, const struct kl_progress_observer *observer,
                                const struct kl_model_entry **entry, struct kl_error *err);

/* Any file as the model `name`. sha256: 64 hex digits. */
enum kl_status kl_fetch_url(const char *name, const char *url, const char *sha256,
                            size_t stall_seconds, struct kl_error *err);

#endif
