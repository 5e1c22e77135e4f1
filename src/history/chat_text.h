/*
 * A chat as the bytes of its file: JSON lines that are only appended to.
 *
 *     {"sum":"0123456789abcdef","id":"UUID","message":{...}}
 *     {"sum":"0123456789abcdef","etag":"32 hex digits","bytes":N,"head":{...}}
 *
 * A message line adds a message, or replaces the one of that ID; a head line replaces the head (the
 * members of a chat but its messages) and makes the messages before it valid. So an append of
 * messages and a head counts as a whole or not at all, wherever a crash cuts it. `sum` is the
 * kl_hash64 of the rest of the line behind `"sum":"...",`: a line that is torn or damaged is left
 * out. `etag` names the state of the chat, `bytes` is its size as a document.
 *
 * Pure functions on bytes; one thread at a time. It knows nothing of files (history_dir.h) and does
 * not check fields of messages (api/).
 */
#ifndef KL_HISTORY_CHAT_TEXT_H
#define KL_HISTORY_CHAT_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"

#define KL_CHAT_ID_LEN   36 /* of chats and messages: a UUID */
#define KL_CHAT_ETAG_LEN 32 /* hex digits */

/* A chat is at most this large as a document, and its head as JSON. */
#define KL_CHAT_MAX_BYTES      ((size_t)2 << 20)
#define KL_CHAT_MAX_HEAD_BYTES ((size_t)64 << 10)
#define KL_CHAT_MAX_MESSAGES   5000

struct kl_chat_message {
    const char *id;   /* KL_CHAT_ID_LEN bytes */
    const char *json; /* an object */
    size_t len;
};

struct kl_chat_text {
    /* all point into the bytes that were read; head is NULL: there is no chat */
    const char *head;
    size_t head_len;
    const char *etag; /* KL_CHAT_ETAG_LEN bytes */
    uint64_t bytes;
    size_t valid; /* bytes up to the end of the last head line; what follows is to be cut off */

    struct kl_chat_message *messages; /* in the order in which their IDs first appear */
    size_t n_messages;
    uint16_t *slots; /* a hash table of indices + 1, by ID; 0: empty */
    size_t n_slots;  /* a power of two */
};

/* Reads the bytes of a file, which stay the caller's and must outlive *chat. Lines that are not
 * valid are left out, so only memory can be short. Released by the caller in any case. */
enum kl_status kl_chat_text_read(const char *data, size_t len, struct kl_chat_text *chat,
                                 struct kl_error *err);
void kl_chat_text_release(struct kl_chat_text *chat);

/* Finds the last head line in bytes that may begin within a line, like the end of a file: head,
 * etag and bytes of *chat, nothing else. false: there is none. */
bool kl_chat_text_last_head(const char *data, size_t len, struct kl_chat_text *chat);

/* Adds a message, or replaces that of its ID. KL_ERR_LIMIT: there are too many. */
enum kl_status kl_chat_text_add(struct kl_chat_text *chat, const struct kl_chat_message *message,
                                struct kl_error *err);

/* The size of the chat as a document. */
size_t kl_chat_text_bytes(const struct kl_chat_text *chat);
/* Appends the document: the members of the head, then "messages". */
enum kl_status kl_chat_text_document(const struct kl_chat_text *chat, struct kl_buffer *out);

/* Append lines. */
enum kl_status kl_chat_text_message_line(const struct kl_chat_message *message,
                                         struct kl_buffer *out);
enum kl_status kl_chat_text_head_line(const struct kl_chat_text *chat, struct kl_buffer *out);

#endif
