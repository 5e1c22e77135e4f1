/*
 * libcurl, opened at the first request: the functions of it that this room calls are defined in
 * curl_library.c and forward to the library. So a program that makes no request does not load it,
 * and the same program runs with the libcurl of every distribution since version 7.61 (2018).
 * Functions of libcurl that are newer must not be used: the libraries of Debian 11 (7.74), RHEL 9
 * (7.76) and Ubuntu 22.04 (7.81) lack them.
 *
 * Process-wide state, made once and never released; any thread.
 */
#ifndef KL_CLIENT_CURL_LIBRARY_H
#define KL_CLIENT_CURL_LIBRARY_H

#include <curl/curl.h>

#include "base/error.h"

/* Opens the library, if that has not been done, and begins a request, which curl_easy_cleanup ends.
 * KL_ERR_NOT_FOUND: libcurl is not installed; the text names its packages. */
enum kl_status kl_curl_begin(CURL **curl, struct kl_error *err);

#endif
