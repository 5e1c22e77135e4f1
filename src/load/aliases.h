/* serve --alias NAME[=MODEL]: further names under which clients may ask for the model. */
#ifndef KL_LOAD_ALIASES_H
#define KL_LOAD_ALIASES_H

#include <stddef.h>

#include "base/error.h"
#include "console/options.h"
#include "fetch/catalogue.h"

#define KL_MAX_ALIAS 100 /* bytes */

struct kl_aliases {
    char names[KL_MAX_LIST][KL_MAX_ALIAS + 1];
    const char *models[KL_MAX_LIST]; /* NULL: the one that is served, whichever */
    size_t len;
};

struct kl_names {
    const char *values[KL_MAX_LIST];
    size_t len;
};

/* A name is one line of UTF-8 without blanks at its ends, at most KL_MAX_ALIAS bytes. The models
 * point into words. */
enum kl_status kl_aliases_read(const struct kl_string_list *words, struct kl_aliases *aliases,
                               struct kl_error *err);

/* Those that are not the model's own names, each once; they point into aliases. An alias for
 * another model than this one is KL_ERR_INVALID. */
enum kl_status kl_aliases_of(const struct kl_aliases *aliases,
                             const struct kl_model_location *model, struct kl_names *names,
                             struct kl_error *err);

#endif
