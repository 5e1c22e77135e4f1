/*
 * The fields of kept chats, as clients send them: those that the server knows are checked, all
 * others are kept as they are, so that clients may have their own.
 *
 * Pure functions, for the worker's thread.
 */
#ifndef KL_API_CHAT_RECORDS_H
#define KL_API_CHAT_RECORDS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "http/api_error.h"

/* A UUID as text: 8-4-4-4-12 hexadecimal digits. */
#define KL_UUID_LEN 36
bool kl_is_uuid(const char *text);

struct kl_chat_record {
    json_t *head;           /* an object of the caller's: all members but the messages */
    const json_t *messages; /* of it; NULL: none are given */
    json_t *owner;          /* of messages */
};

/* Reads the body of PUT /v1/chats/ID, a whole chat or its head, or of POST .../messages (adds): the
 * messages, and members of the head that come with them. The caller releases *record in any case.
 */
enum kl_status kl_chat_record_read(const char *data, size_t len, const char *id, bool adds,
                                   struct kl_chat_record *record, struct kl_api_error *error);
void kl_chat_record_release(struct kl_chat_record *record);

#endif
