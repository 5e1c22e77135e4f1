/*
 * Files with API keys: a line is `KEY` or `KEY NAME`. Empty lines and lines that begin with # are
 * comments, and so is what follows a key and begins with #. A name may contain blanks: it is
 * the rest of the line. Reading only: console/key_edit.h changes such files.
 *
 * Blocks while it reads. No state: any thread.
 */
#ifndef KL_CONSOLE_KEY_FILE_H
#define KL_CONSOLE_KEY_FILE_H

#include <stddef.h>

#include "base/api_key.h"
#include "base/buffer.h"
#include "base/error.h"

#define KL_KEY_FILE_CAP ((size_t)64 * 1024)
#define KL_MAX_API_KEYS 256
#define KL_MAX_KEY_NAME 64 /* bytes */

struct kl_api_keys {
    struct kl_buffer text;
    struct kl_api_key keys[KL_MAX_API_KEYS]; /* point into text */
    size_t n;
};

/* Reads all keys, for a server. path NULL: no keys. KL_ERR_INVALID: a key is too short or too long,
 * a name is not one (kl_key_name_check), a key has two names, or there are none or too many keys.
 * Logs a warning where other users may read the file. Release keys after either result. */
enum kl_status kl_api_keys_read(const char *path, struct kl_api_keys *keys, struct kl_error *err);
/* The same, but a file without keys is no error. */
enum kl_status kl_api_keys_load(const char *path, struct kl_api_keys *keys, struct kl_error *err);
void kl_api_keys_release(struct kl_api_keys *keys);

/* The same of the text of a file, which it changes; text is not in keys. No keys are no error.
 * path: for errors. */
enum kl_status kl_api_keys_parse(char *text, const char *path, struct kl_api_keys *keys,
                                 struct kl_error *err);

/* Checks the name of a key: 1 to KL_MAX_KEY_NAME bytes of UTF-8 without control characters (those
 * of foreign_text.h) and without blanks at its ends, and does not begin with #. */
enum kl_status kl_key_name_check(const char *name, struct kl_error *err);

/* Reads the first key, for a client. *key points into text, which the caller has initialised with
 * KL_KEY_FILE_CAP and releases. path NULL: *key is NULL. */
enum kl_status kl_read_key(const char *path, struct kl_buffer *text, const char **key,
                           struct kl_error *err);

#endif
