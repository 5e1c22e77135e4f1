/*
 * Detects when jansson runs out of memory, which its API does not always report.
 *
 * jansson's parser drops bytes of a text whose buffer it cannot extend, and then reads past the end
 * of that buffer; a value that cannot be added to an object is silently missing there. Therefore
 * all allocations of jansson go through this file: a parser has a reserve, so that none of its
 * allocations fails, and an allocation that would have failed is remembered until the caller asks.
 *
 * Thread rule: kl_json_memory_watch before any other thread uses jansson; the flag that the other
 * functions read and set belongs to the calling thread.
 */
#ifndef KL_JSON_JSON_MEMORY_H
#define KL_JSON_JSON_MEMORY_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* Takes over jansson's allocations. To be called before jansson is first used; may be repeated. */
void kl_json_memory_watch(void);

/* json_loadb for text within the limits of json_limits.h. Returns NULL for text that is not JSON,
 * with *error filled, and when memory was short, without a text in *error: the next
 * kl_json_was_short then returns true. error may be NULL. The caller owns the result. */
json_t *kl_json_load(const char *data, size_t len, size_t flags, json_error_t *error);

/* Returns whether an allocation of jansson on this thread has failed since the last call. What was
 * parsed or built in the meantime must then not be used. */
bool kl_json_was_short(void);

/* Makes the next kl_json_was_short return true: memory for text that was to become JSON ran out
 * before jansson was called. */
void kl_json_tell_short(void);

#endif
