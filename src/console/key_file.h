/*
 * Files with API keys: one key a line; empty lines and lines that begin with # are ignored.
 */
#ifndef KL_CONSOLE_KEY_FILE_H
#define KL_CONSOLE_KEY_FILE_H

#include <stddef.h>

#include "base/buffer.h"
#include "base/error.h"

#define KL_KEY_FILE_CAP ((size_t)64 * 1024)
#define KL_MAX_API_KEYS 256

struct kl_api_keys {
    struct kl_buffer text;
    const char *keys[KL_MAX_API_KEYS]; /* point into text */
    size_t n;
};

/* Reads all keys, for a server. path NULL: no keys. KL_ERR_INVALID: a key is too short or too long,
 * or there are none or too many. Logs a warning where other users may read the file. Release keys
 * after either result. */
enum kl_status kl_api_keys_read(const char *path, struct kl_api_keys *keys, struct kl_error *err);
void kl_api_keys_release(struct kl_api_keys *keys);

/* Reads the first key, for a client. *key points into text, which the caller has initialised with
 * KL_KEY_FILE_CAP and releases. path NULL: *key is NULL. */
enum kl_status kl_read_key(const char *path, struct kl_buffer *text, const char **key,
                           struct kl_error *err);

#endif
