/*
 * Accepting connections: listening sockets, the limits of connections, and the pause when the
 * system has no descriptor left.
 *
 * Owner and thread rule: those of the HTTP server (http.h). For the files of this room only.
 */
#ifndef KL_HTTP_ACCEPT_H
#define KL_HTTP_ACCEPT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "http/http.h"
#include "http/listen.h"

/* Raises the limit of open files to what options->max_connections needs, or lowers
 * max_connections to what the limit permits, with a warning. */
void kl_accept_fit_descriptors(struct kl_http_options *options);

/* Creates the events; then kl_accept_open listens on addresses[0], or on the sockets of the
 * options, which sets port and url of the server, and on all other addresses. */
enum kl_status kl_accept_prepare(struct kl_http *http, struct kl_error *err);
enum kl_status kl_accept_open(struct kl_http *http, struct kl_listen_address *addresses, size_t n,
                              struct kl_error *err);

/* Leaves new connections to the process that handed over the sockets, if one did; sockets that only
 * this process has are then closed, so that no client waits for an answer there. */
void kl_accept_drain(struct kl_http *http);

bool kl_accept_is_local(const struct kl_http *http);

void kl_accept_close(struct kl_http *http);

#endif
