/*
 * URI references of schemas: resolved against a base (RFC 3986, section 5.2), and fragments
 * decoded.
 *
 * Pure; buffers are the caller's. Nothing is fetched. Internal to schema/.
 */
#ifndef KL_SCHEMA_SCHEMA_URI_H
#define KL_SCHEMA_SCHEMA_URI_H

#include "base/buffer.h"

/* Appends the reference, resolved against base (absolute, or "" if there is none), without its
 * fragment. Failures are those of kl_buffer_append. */
enum kl_status kl_schema_uri_resolve(const char *base, const char *reference,
                                     struct kl_buffer *out);

/* Returns the part of the reference after '#', or NULL if there is none. */
const char *kl_schema_uri_fragment(const char *reference);

/* Appends the fragment with its percent-encoded bytes decoded. */
enum kl_status kl_schema_uri_decode(const char *fragment, struct kl_buffer *out);

#endif
