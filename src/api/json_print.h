/*
 * JSON of answers that is written piece by piece: text of the model as a JSON string. What is
 * around it is written with kl_print.
 */
#ifndef KL_API_JSON_PRINT_H
#define KL_API_JSON_PRINT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buffer.h"
#include "base/printer.h"

/* Appends a text of any bytes as a JSON string, with its quotes; bytes that are not UTF-8 become
 * U+FFFD. text may be NULL if len is 0. */
void kl_print_json_text(struct kl_printer *p, const char *text, size_t len);

/* Whether a text is a whole JSON object: the arguments of a call that was not cut are. */
bool kl_is_json_object(const struct kl_buffer *text);

#endif
