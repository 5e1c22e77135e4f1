/*
 * The settings that all requests by libcurl share: protocols, time to connect, trusted
 * certificates, and the largest head of an answer. Functions without state; any thread.
 */
#ifndef KL_CLIENT_CURL_SETUP_H
#define KL_CLIENT_CURL_SETUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "client/curl_library.h"

/* Bytes. libcurl keeps the head of an answer in memory, and not every version has a limit. */
#define KL_CURL_HEAD_CAP ((size_t)256 * 1024)

/* Returned by a function that receives data, to end the transfer: no part is that long. */
#define KL_CURL_STOP SIZE_MAX

/* Sets the options that all requests share. message: CURL_ERROR_SIZE bytes, for the error texts of
 * libcurl; it must outlive the request.
 *
 * Trusts the certificates of the system, unless environment variables name others, as for curl
 * itself: either $CURL_CA_BUNDLE (a PEM file), or $SSL_CERT_FILE (a PEM file) and $SSL_CERT_DIR. */
void kl_curl_prepare(CURL *curl, char *message);

/* Redirects are followed to https, and to http only if that is allowed. */
void kl_curl_follow_redirects(CURL *curl, long most, bool allow_http);

/* Reads a line that libcurl gives to a CURLOPT_HEADERFUNCTION (len bytes, not terminated). If it is
 * the header `name`, its value without blanks around it, as far as it fits, becomes *value. The
 * lines of several heads follow each other where redirects are followed: a line that begins a head
 * empties *value. */
void kl_curl_note_header(const char *line, size_t len, const char *name, char *value, size_t size);

/* Whether a result means that the server's certificate is not trusted, or that the file of trusted
 * certificates cannot be used. */
bool kl_curl_untrusted(CURLcode result);

/* Fills err with the reason why a request failed and returns status. For an untrusted certificate
 * the text says which certificates are trusted, and how to add one. prefix: "" or "name: ". */
enum kl_status kl_curl_fail(struct kl_error *err, enum kl_status status, const char *prefix,
                            CURLcode result, const char *message);

#endif
