/*
 * What jansson and libevent do not say when memory is short.
 *
 * jansson's parser leaves bytes out of a text that it can not extend, and then runs over its end; a
 * value that can not be added to an object is missing there without a word of its own. libevent
 * gives out a connection that lacks a callback and never writes, and calls a query wrong for which
 * it has no memory. So all that they allocate goes through here: what is parsed has a reserve, so
 * that no allocation fails, and that one would have failed is remembered until somebody asks.
 */
#ifndef KL_JSON_LIBRARY_MEMORY_H
#define KL_JSON_LIBRARY_MEMORY_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* Before anything is made with either; may be called again. */
void kl_library_memory_watch(void);

/* As json_loadb, for text that is within the limits of json_limits.h. NULL without a text in *error
 * also when memory was short; the next call of kl_json_was_short tells. error may be NULL.
 */
json_t *kl_json_load(const char *data, size_t len, size_t flags, json_error_t *error);

/* Whether one of jansson's allocations on this thread has failed since it last asked. What was
 * parsed or built meanwhile is not to be used then. */
bool kl_json_was_short(void);
/* What was to become JSON found no memory, before jansson was asked: the next call of the former
 * says so. */
void kl_json_tell_short(void);

/* The same of libevent. Most of its calls say so themselves and nobody asks afterwards: to be
 * called before those that do not, too. */
bool kl_event_was_short(void);

#endif
