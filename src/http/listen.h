/*
 * Sockets to listen on: from a host and a port to bound, non-blocking descriptors.
 */
#ifndef KL_HTTP_LISTEN_H
#define KL_HTTP_LISTEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* Binds all addresses of host (a name may have an IPv4 and an IPv6 one), at most max_fds, on the
 * same port; 0 in *port takes a free one, which is written there. With only_loopback, an address
 * that other computers reach is KL_ERR_INVALID. The caller closes the descriptors. */
enum kl_status kl_listen(const char *host, uint16_t *port, bool only_loopback, int *fds,
                         size_t max_fds, size_t *n_fds, struct kl_error *err);

/* Checks a socket that another process bound, and sets its options as kl_listen does. Writes the
 * address to host (at least KL_LISTEN_HOST bytes) and *port. KL_ERR_INVALID: it does not listen on
 * TCP, or other computers reach it and only_loopback is set. The caller keeps the descriptor. */
#define KL_LISTEN_HOST 64
enum kl_status kl_listen_adopt(int fd, bool only_loopback, char *host, uint16_t *port,
                               struct kl_error *err);

#endif
