/*
 * Kept chats: read, written and listed by their IDs, within limits, in a directory of this process
 * alone.
 *
 * A scope (an API key, or its name) sees only its own chats. Each chat is one file (chat_text.h,
 * history_dir.h); a change is on the disk when its function returns. Small changes are appended; a
 * file is written anew when replaced messages take much of it. Limits: bytes on the disk in all and
 * of each scope, chats of a scope. Nothing is removed to make room: what does not fit is refused.
 * In memory are only the sums of each scope.
 *
 * Thread rule: one thread, the worker's, calls all functions; kl_history_read_stats any. Every call
 * takes bounded time and memory (KL_HISTORY_JOB_BYTES), but for the disk's waits.
 */
#ifndef KL_HISTORY_HISTORY_H
#define KL_HISTORY_HISTORY_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"
#include "history/chat_text.h"

#define KL_HISTORY_MAX_CHATS  2000 /* of a scope: all are in one list */
#define KL_HISTORY_MAX_SCOPES 4096
/* Bytes of a title in JSON, which the caller checks: a list is bounded by it. */
#define KL_HISTORY_MAX_TITLE 1024
/* The most memory of one call: a file with what is appended to it, the document or the new file,
 * and the table of messages. */
#define KL_HISTORY_JOB_BYTES ((size_t)9 << 20)

struct kl_history;

struct kl_history_options {
    const char *path;
    uint64_t max_bytes; /* of all files; a quarter of it for each scope but 0, which has no key */
};

/* Opens the directory, which must be writable, and sums up its files. Errors as for
 * kl_history_dir_open. */
enum kl_status kl_history_open(const struct kl_history_options *options,
                               struct kl_history **history, struct kl_error *err);
/* NULL is allowed. */
void kl_history_close(struct kl_history *history);

/* A chat as lists and answers to changes have it: `entry` is JSON. */
struct kl_chat_entry {
    char etag[KL_CHAT_ETAG_LEN + 1];
    struct kl_buffer entry;
    bool created; /* by this change */
};

/* Whether a call may go on, by the ETag of the present state; NULL: there is no such chat.
 * Otherwise it fails with KL_ERR_INVALID. */
typedef bool kl_chat_condition(void *context, const char *etag);

/* Appends the document of a chat, unless `condition` ends the call; etag is set in both cases.
 * KL_ERR_NOT_FOUND; KL_ERR_FORMAT: its file is damaged, or is not a file of this history. */
enum kl_status kl_history_get(struct kl_history *history, uint64_t scope, const char *id,
                              kl_chat_condition *condition, void *context, struct kl_buffer *out,
                              char etag[KL_CHAT_ETAG_LEN + 1], struct kl_error *err);

/* The same for the list of all chats of a scope, the last changed first. Those whose files cannot
 * be read are not in it. "deleted" has the IDs of chats that were deleted (deletions.h), which may
 * be there again. */
enum kl_status kl_history_list(struct kl_history *history, uint64_t scope,
                               kl_chat_condition *condition, void *context, struct kl_buffer *out,
                               char etag[KL_CHAT_ETAG_LEN + 1], struct kl_error *err);

struct kl_chat_change {
    const json_t *head;     /* the members of the chat but its messages */
    const json_t *messages; /* objects with an "id"; NULL: none */
    /* The head is replaced by `head` ("created" stays if it is not in it), and the messages by
     * `messages` unless that is NULL; the chat is created if there is none. Otherwise the members
     * of `head` are set in the head there is, and messages are added, or replaced by their IDs. */
    bool replaces;
    uint64_t now_ms; /* "created" and "changed" of a head that has none */
    kl_chat_condition *condition;
    void *context;
};

/* Changes or creates a chat, also in place of a damaged file. KL_ERR_NOT_FOUND and KL_ERR_FORMAT as
 * for kl_history_get, without `replaces`; KL_ERR_LIMIT: it would be too large; KL_ERR_BUSY:
 * the history or the disk is full. *entry is the caller's to release in any case. */
enum kl_status kl_history_change(struct kl_history *history, uint64_t scope, const char *id,
                                 const struct kl_chat_change *change, struct kl_chat_entry *entry,
                                 struct kl_error *err);

enum kl_status kl_history_delete(struct kl_history *history, uint64_t scope, const char *id,
                                 kl_chat_condition *condition, void *context, struct kl_error *err);

struct kl_history_stats {
    uint64_t n_chats, bytes, max_bytes;
};
void kl_history_read_stats(const struct kl_history *history, struct kl_history_stats *stats);

#endif
