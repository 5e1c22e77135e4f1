/*
 * The head of a chat as JSON: its members but the messages, in a fixed order with their defaults,
 * then those that only clients know.
 *
 * Pure; one thread at a time. The types of fields were checked by the caller (api/).
 */
#ifndef KL_HISTORY_HISTORY_HEAD_H
#define KL_HISTORY_HISTORY_HEAD_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"
#include "history/chat_text.h"

/* Returns the head that a change leaves, as text of the caller's (free), or NULL: out of memory.
 * present: NULL, if there is none. `changes`: a JSON object; replaces: see kl_chat_change. */
char *kl_history_head_make(const char *present, size_t len, const json_t *changes, bool replaces,
                           const char *id, uint64_t now_ms, struct kl_error *err);

/* Appends a chat as lists have it, and tells when it was changed. KL_ERR_FORMAT: the head is not
 * one. */
enum kl_status kl_history_head_entry(const struct kl_chat_text *chat, struct kl_buffer *out,
                                     double *changed, struct kl_error *err);

#endif
