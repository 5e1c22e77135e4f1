/*
 * Limits of JSON, checked before it is parsed: a parser recurses by depth and allocates by value,
 * so both are counted in the bytes first. Pure; does not check whether the JSON is valid.
 */
#ifndef KL_JSON_JSON_LIMITS_H
#define KL_JSON_JSON_LIMITS_H

#include <stddef.h>

#include "base/error.h"

/* Deeper than any client's messages, tools and schemas; jansson's recursion at this depth needs a
 * few KiB of stack. */
#define KL_JSON_MAX_DEPTH 64
/* A value costs jansson up to about 100 bytes: 5 MB for one request. A long conversation has a few
 * thousand. */
#define KL_JSON_MAX_NODES 50000

/* Numbers in arrays, where a body may have many (ids of tokens): each costs jansson some 60 bytes.
 */
#define KL_JSON_MAX_NUMBERS 200000

/* Counts containers and separators outside of strings, which are at least as many as values, less
 * one. KL_ERR_LIMIT if depth or number is over its limit. */
enum kl_status kl_json_check_limits(const char *data, size_t len, size_t max_depth,
                                    size_t max_nodes, struct kl_error *err);
/* The same, but values that follow a comma and are numbers are counted apart. */
enum kl_status kl_json_check_limits_apart(const char *data, size_t len, size_t max_depth,
                                          size_t max_nodes, size_t max_numbers,
                                          struct kl_error *err);

#endif
