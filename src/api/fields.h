/*
 * Reading the fields of a JSON object, each with its type and range.
 *
 * One rule for all: a field that is absent or null leaves *value as it was (the caller puts the
 * default there first); a wrong type or a value out of range is a 400 that names the field, what
 * was expected and what was found. Strings belong to the JSON object.
 */
#ifndef KL_API_FIELDS_H
#define KL_API_FIELDS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "http/api_error.h"

/* Parses a whole request body into an object, after checking the limits of json_limits.h. */
enum kl_status kl_parse_object(const char *data, size_t len, json_t **object,
                               struct kl_api_error *error);

/* The same for a body that may have KL_JSON_MAX_NUMBERS numbers in arrays, such as ids of tokens.
 */
enum kl_status kl_parse_object_of_numbers(const char *data, size_t len, json_t **object,
                                          struct kl_api_error *error);

/* Reads a number without a fraction (8.0 is allowed), lo..hi. */
enum kl_status kl_field_int(const json_t *object, const char *name, int64_t lo, int64_t hi,
                            int64_t *value, struct kl_api_error *error);

enum kl_status kl_field_number(const json_t *object, const char *name, double lo, double hi,
                               double *value, struct kl_api_error *error);

enum kl_status kl_field_bool(const json_t *object, const char *name, bool *value,
                             struct kl_api_error *error);

/* Reads a string without NUL bytes. */
enum kl_status kl_field_string(const json_t *object, const char *name, const char **value,
                               struct kl_api_error *error);

/* Read a value of a JSON type, as a borrowed reference. */
enum kl_status kl_field_object(const json_t *object, const char *name, const json_t **value,
                               struct kl_api_error *error);
enum kl_status kl_field_array(const json_t *object, const char *name, const json_t **value,
                              struct kl_api_error *error);

/* Returns "a string", "an object", ... for messages. */
const char *kl_json_type_name(const json_t *value);

/* Calls the error of a field by another name, in its parameter and at the begin of its text: that
 * of a dialect whose field is read as one of Chat Completions. */
void kl_rename_field(struct kl_api_error *error, const char *from, const char *to);

#endif
