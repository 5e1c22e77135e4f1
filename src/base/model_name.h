/*
 * Names of models as users and clients write them. Pure functions.
 */
#ifndef KL_BASE_MODEL_NAME_H
#define KL_BASE_MODEL_NAME_H

#include <stdbool.h>

/* Returns whether two names mean the same model: upper and lower case are equal, and ":latest" at
 * the end is ignored. */
bool kl_model_names_equal(const char *a, const char *b);

#endif
