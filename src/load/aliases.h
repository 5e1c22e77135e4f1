/*
 * serve --alias NAME[=MODEL]: further names under which clients may ask for a model.
 *
 * Pure functions; the strings belong to the command line and outlive all results.
 */
#ifndef KL_LOAD_ALIASES_H
#define KL_LOAD_ALIASES_H

#include <stddef.h>

#include "base/error.h"
#include "console/options.h"
#include "fetch/catalogue.h"

#define KL_MAX_ALIAS 100 /* bytes */

/* The aliases as they were given. */
struct kl_aliases {
    char names[KL_MAX_LIST][KL_MAX_ALIAS + 1];
    const char *models[KL_MAX_LIST]; /* a model that must be served; NULL: the first that is */
    size_t len;
};

/* The aliases of one model. */
struct kl_names {
    const char *values[KL_MAX_LIST];
    size_t len;
};

/* Reads the values of --alias. A name is one line of UTF-8 of at most KL_MAX_ALIAS bytes that
 * neither begins nor ends with a blank; otherwise KL_ERR_INVALID. The models point into words. */
enum kl_status kl_aliases_read(const struct kl_string_list *words, struct kl_aliases *aliases,
                               struct kl_error *err);

/* Fills names with the aliases of a model, by its number among those that are served, [n]: those
 * that are not names of it already, each once; they point into aliases. KL_ERR_INVALID: an alias is
 * for a model that is not served, or the name of another one. */
enum kl_status kl_aliases_of(const struct kl_aliases *aliases,
                             const struct kl_model_location *const *models, size_t n, size_t model,
                             struct kl_names *names, struct kl_error *err);

#endif
