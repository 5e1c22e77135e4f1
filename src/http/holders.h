/*
 * Holders: whose connections hold how much memory, and which connection ends when a limit is
 * reached.
 *
 * A holder is an API key or, for connections that have not shown a valid one, an address. All that
 * connections hold (received bytes that were not processed, answers that were not taken; never what
 * is only announced) is limited to held_bytes of the server, and what the connections of one holder
 * hold to kl_holders_limit. Beyond that, connections end until the rest fits. The next one to end
 * is chosen by these rules, each among the connections that the rules before it leave:
 *
 *   1. it has no accepted key, where the server has keys;
 *   2. its holder holds most;
 *   3. its answer is not being made;
 *   4. it holds most;
 *   5. it has made no progress for longest.
 *
 * By rule 1 no request with a key ends because of what connections without one hold. By rule 2,
 * with n holders, a holder of no more than held_bytes / n loses nothing to the others: when all
 * together hold more than held_bytes, the largest holds more than that. And since connections end
 * only until the rest fits, the rest always makes progress.
 *
 * The number of connections is limited in the same way: see kl_holders_find_evictable.
 *
 * Thread rule: everything runs on the server's thread. For the files of this room only.
 */
#ifndef KL_HTTP_HOLDERS_H
#define KL_HTTP_HOLDERS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

struct kl_http;
struct kl_connection;

struct kl_holder {
    uint64_t scope;          /* of its key (kl_key_scope); 0: it is an address */
    struct in6_addr address; /* as in kl_connection.peer */
    size_t held;             /* bytes, of all its connections */
    size_t n_connections;
    struct kl_holder *previous, *next;
};

struct kl_holders {
    struct kl_holder *first; /* each has a connection */
    size_t held;             /* bytes, of all */
};

/* The address by which connections are counted: of IPv6 the network of 64 bits, since one customer
 * has that many addresses. */
struct in6_addr kl_holders_address(const struct sockaddr *address);

/* Assigns a connection to the holder of an accepted key (scope: kl_key_scope), or to its address
 * (0). false: no memory; it stays with the holder it had. */
bool kl_holders_join(struct kl_http *http, struct kl_connection *c, uint64_t scope);
/* Removes a connection that ends from its holder. */
void kl_holders_leave(struct kl_http *http, struct kl_connection *c);

/* Sets how many bytes a connection holds. */
void kl_holders_count(struct kl_http *http, struct kl_connection *c, size_t held);

/* The most that one holder may hold, bytes. */
size_t kl_holders_limit(const struct kl_http *http);

/* Whether its holder, or all together, hold so much that its answer should not get far ahead of the
 * client. */
bool kl_holders_are_tight(const struct kl_http *http, const struct kl_connection *c);

/* Returns the connection to end because too much is held, or NULL. *of_holder: its holder is over
 * the limit of one holder; otherwise all together are over held_bytes. */
struct kl_connection *kl_holders_find_largest(const struct kl_http *http, bool *of_holder);

/* Returns the connection to close for a new one, or NULL; with address, only its connections count.
 * Connections without an accepted key come first, where the server has keys; then those of the
 * holder with most connections; then the first of these:
 *
 *   1. idle between two requests, for longest;
 *   2. answered, and only to be closed by its client;
 *   3. with a request that has been incomplete for longest: since its first byte, or since the
 *      connection was opened while that has not arrived;
 *   4. with an answer that has been complete, and not taken, for longest and more than a second (a
 *      client that takes a byte now and then would stay connected forever).
 *
 * A connection with input that was not read yet is spared while there is another. */
struct kl_connection *kl_holders_find_evictable(const struct kl_http *http,
                                                const struct in6_addr *address);

#endif
