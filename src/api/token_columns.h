/*
 * A table of JSON texts that grows by a row for each token of an answer, and is printed by columns.
 *
 * Formats that report tokens in arrays side by side (ids here, log-probabilities there) write the
 * texts of a token when it comes; the end of the answer only copies them. The rows lie in a buffer
 * of the caller. One thread at a time.
 */
#ifndef KL_API_TOKEN_COLUMNS_H
#define KL_API_TOKEN_COLUMNS_H

#include <jansson.h>
#include <stdbool.h>

#include "base/buffer.h"
#include "base/printer.h"

#define KL_MAX_COLUMNS 4

/* Appends a row of n values; takes them. KL_ERR_MEMORY: one is NULL, or memory is short;
 * KL_ERR_LIMIT: the buffer is full. */
enum kl_status kl_columns_append(struct kl_buffer *table, json_t *const *values, size_t n);

/* Prints the values of a column of a table of n columns, as elements of a JSON array. */
void kl_columns_print(const struct kl_buffer *table, size_t n, size_t column,
                      struct kl_printer *out);

/* Prints a JSON object without its last brace, so that members may follow; takes it. Returns
 * whether these need a comma. NULL: nothing is printed, as when jansson's memory is short. */
bool kl_print_open_object(struct kl_printer *out, json_t *object);

#endif
