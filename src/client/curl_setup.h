/*
 * What every request by libcurl has in common: protocols, patience for a connection, whose
 * certificates are trusted, and how much head an answer may have.
 */
#ifndef KL_CLIENT_CURL_SETUP_H
#define KL_CLIENT_CURL_SETUP_H

#include <curl/curl.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

/* libcurl keeps the head of an answer, and not every version of it stops at some size. */
#define KL_CURL_HEAD_CAP ((size_t)256 * 1024)

/* The options that are the same for all. message: CURL_ERROR_SIZE bytes, for libcurl's texts.
 *
 * Trusted are the certificates of the system, or those of $CURL_CA_BUNDLE, else of $SSL_CERT_FILE
 * (PEM files); those below $SSL_CERT_DIR too. As curl itself does: the first one of them alone. */
void kl_curl_prepare(CURL *curl, char *message);

/* Whether a result means that the certificate of the server, or the file that should vouch for it,
 * is the problem. */
bool kl_curl_untrusted(CURLcode result);

/* Fills err with why a request failed; where it is for want of trust, with where trust comes from
 * and how to extend it. prefix: "" or "name: ". */
enum kl_status kl_curl_fail(struct kl_error *err, enum kl_status status, const char *prefix,
                            CURLcode result, const char *message);

#endif
