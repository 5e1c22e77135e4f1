/* Sockets to listen on: from a host and a port to bound, non-blocking descriptors. */
#ifndef KL_HTTP_LISTEN_H
#define KL_HTTP_LISTEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* Binds all addresses that host stands for (a name may have an IPv4 and an IPv6 one), at most
 * max_fds, on the same port; *port 0 takes a free one and says which. With only_loopback an
 * address that other machines reach is KL_ERR_INVALID. The caller closes the descriptors. */
enum kl_status kl_listen(const char *host, uint16_t *port, bool only_loopback, int *fds,
                         size_t max_fds, size_t *n_fds, struct kl_error *err);

/* Checks and prepares a socket that another process bound, as kl_listen would have made it. host
 * (at least KL_LISTEN_HOST bytes) and *port say where it listens. KL_ERR_INVALID: it does not
 * listen on TCP, or others reach it and only_loopback is set. The descriptor stays the caller's. */
#define KL_LISTEN_HOST 64
enum kl_status kl_listen_adopt(int fd, bool only_loopback, char *host, uint16_t *port,
                               struct kl_error *err);

#endif
