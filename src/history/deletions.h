/*
 * The IDs of chats of a scope that were deleted, the oldest first, in a file of the scope's
 * directory: a line each. With them a device tells a chat that another one deleted from one that is
 * missing because a disk was lost or an older state of the directory came back, and keeps the
 * latter.
 *
 * The file is bounded and written as a whole; a damaged one counts up to its first damaged line. It
 * is no part of the quota of its key, so that deleting a chat never takes room. One thread at a
 * time.
 */
#ifndef KL_HISTORY_DELETIONS_H
#define KL_HISTORY_DELETIONS_H

#include <stdbool.h>

#include "base/buffer.h"
#include "base/error.h"
#include "history/chat_text.h"

/* The most IDs that are remembered; older ones count as missing. */
#define KL_HISTORY_MAX_DELETIONS 1000
#define KL_DELETION_LINE         (KL_CHAT_ID_LEN + 1)

/* Appends the lines. */
enum kl_status kl_deletions_read(int scope_dir, struct kl_buffer *lines, struct kl_error *err);
/* Remembers that a chat was deleted, or forgets it because there is one of that ID
 * again. A failure is logged: the chats themselves are right. */
void kl_deletions_note(int scope_dir, const char *id, bool is_deleted);

#endif
