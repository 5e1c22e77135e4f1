/*
 * An API key and the name that it belongs to, as the reader of key files (console/key_file.h) hands
 * them to the server (http/access.h).
 *
 * Only the pair: the strings belong to the caller, and nothing here checks them.
 */
#ifndef KL_BASE_API_KEY_H
#define KL_BASE_API_KEY_H

struct kl_api_key {
    const char *key;
    const char *name; /* "": none */
};

#endif
