/*
 * The rule by which names of models are compared, for requests and command lines alike.
 *
 * Pure functions on NUL-terminated UTF-8; any thread.
 */
#ifndef KL_BASE_MODEL_NAME_H
#define KL_BASE_MODEL_NAME_H

#include <stdbool.h>
#include <stddef.h>

/* The length of a name without the ":latest" that some clients append, in bytes. */
size_t kl_model_name_len(const char *name);

/* Whether both name the same model: upper and lower case letters are equal, and at the end ".gguf"
 * and ":latest" are ignored. */
bool kl_model_names_equal(const char *a, const char *b);

#endif
