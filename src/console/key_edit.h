/*
 * Changes files with API keys (console/key_file.h): makes a key for a name, removes keys.
 *
 * A file is replaced at once: it is written next to the old one under a temporary name, which also
 * locks it against another change, and renamed. It is readable by its owner only (0600) and stays
 * the old one's owner's; comments and all other lines stay as they are. A link is followed, a file
 * that is not a regular one is refused. Servers are not notified: they read the file at SIGHUP.
 *
 * Blocks. No state: any thread.
 */
#ifndef KL_CONSOLE_KEY_EDIT_H
#define KL_CONSOLE_KEY_EDIT_H

#include <stddef.h>

#include "base/error.h"

/* Of the Debian package's service, which gets a copy of it from systemd: deploy/kinglet.service.in.
 */
#define KL_KEY_FILE_DEFAULT "/etc/kinglet/keys"

/* 130 random bits, 5 in each character: lower-case letters and digits without those that look alike
 * (Crockford's base 32), since it may be typed on a phone. They need no escapes in a URL. */
#define KL_NEW_KEY 27 /* with its NUL */

/* The first digits of a key's SHA-256, by which people tell keys apart:
 * printf %s KEY | sha256sum */
#define KL_KEY_FINGERPRINT 9 /* with its NUL */
void kl_key_fingerprint(const char *key, char out[KL_KEY_FINGERPRINT]);

/* Adds a line with a new key for a name; creates the file if it does not exist, and the directory
 * of KL_KEY_FILE_DEFAULT. *n_of_name: the keys that the name has then. KL_ERR_INVALID: it is no
 * name (kl_key_name_check), or the file has a line that no server reads. KL_ERR_LIMIT: the file is
 * full. KL_ERR_BUSY: another process is changing it. */
enum kl_status kl_key_add(const char *path, const char *name, char key[KL_NEW_KEY],
                          size_t *n_of_name, struct kl_error *err);

/* Removes the lines of all keys with this name or, where no key has it, of the key with this
 * fingerprint. *n_left: the keys that the file has then. KL_ERR_NOT_FOUND: there is none; the text
 * names the nearest one. Else as above. */
enum kl_status kl_key_remove(const char *path, const char *which, size_t *n_removed, size_t *n_left,
                             struct kl_error *err);

#endif
