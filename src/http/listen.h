/*
 * Sockets to listen on: from a host and a port to bound, non-blocking descriptors.
 */
#ifndef KL_HTTP_LISTEN_H
#define KL_HTTP_LISTEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* An address as an option gives it. also: it is one of --also-listen, and not of --host and --port,
 * which errors name. */
struct kl_listen_address {
    char host[256]; /* without brackets */
    uint16_t port;  /* 0: any free one */
    bool also;
};

/* Sets the address of --host, in brackets or not, and --port. */
enum kl_status kl_listen_set(struct kl_listen_address *address, const char *host, uint16_t port,
                             struct kl_error *err);
/* Reads "ADDRESS:PORT" of --also-listen. */
enum kl_status kl_listen_parse(const char *text, struct kl_listen_address *address,
                               struct kl_error *err);

/* Binds all addresses of a host (a name may have an IPv4 and an IPv6 one), at most max_fds, on the
 * same port; a free one that was taken is written there. With only_loopback, an address that other
 * computers reach is KL_ERR_INVALID. The caller closes the descriptors. */
enum kl_status kl_listen(struct kl_listen_address *address, bool only_loopback, int *fds,
                         size_t max_fds, size_t *n_fds, struct kl_error *err);

/* Checks a socket that another process bound, and sets its options as kl_listen does. Writes the
 * address to host (at least KL_LISTEN_HOST bytes) and *port. KL_ERR_INVALID: it does not listen on
 * TCP, or other computers reach it and only_loopback is set. The caller keeps the descriptor. */
#define KL_LISTEN_HOST 64
enum kl_status kl_listen_adopt(int fd, bool only_loopback, char *host, uint16_t *port,
                               struct kl_error *err);

#endif
