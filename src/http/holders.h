/*
 * Shares: what connections hold, for which holder, and which of them ends when there is no room.
 *
 * A holder is an API key or, for connections that have shown none, an address. All that connections
 * hold (received bytes that are not worked off, answers that are not taken; never what is only
 * announced) fits into the server's held_bytes, and what one holder's hold into kl_holders_limit.
 * Where it does not, connections end until it does. The next to end is chosen by these rules, each
 * where those before leave a choice:
 *
 *   1. without an accepted key, where the server has keys;
 *   2. of the holder that holds most;
 *   3. its answer is not being made;
 *   4. it holds most;
 *   5. it has not got on for longest.
 *
 * From 1 follows that no request with a key ends because of what connections without one hold. From
 * 2 follows that of n holders, a holder of no more than held_bytes / n loses nothing to
 * the others: when all together hold more than held_bytes, the largest holds more than
 * that. And since connections end until the rest fits, the rest always gets on.
 *
 * Places for connections are shared by the same rule: see kl_holders_place.
 *
 * Everything runs on the server's one thread.
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
    struct kl_holder *first; /* of connections that are there */
    size_t held;             /* bytes, of all */
};

/* The address that counts: of IPv6 the network of 64 bits, since one customer has as many. */
struct in6_addr kl_holders_address(const struct sockaddr *address);

/* A connection is there, or its request has shown a key that is accepted (scope; 0: none). false:
 * no memory; it stays with the holder it had. */
bool kl_holders_join(struct kl_http *http, struct kl_connection *c, uint64_t scope);
/* It ends. */
void kl_holders_leave(struct kl_http *http, struct kl_connection *c);

/* What it holds is now this much. */
void kl_holders_count(struct kl_http *http, struct kl_connection *c, size_t held);

/* What one holder may have, bytes. */
size_t kl_holders_limit(const struct kl_http *http);

/* Whether the holder, or all, have so much that no answer should get far ahead of its client. */
bool kl_holders_are_tight(const struct kl_http *http, const struct kl_connection *c);

/* The connection to end because too much is held, or NULL. *of_share: its holder has more than its
 * share; otherwise all have more than there is. */
struct kl_connection *kl_holders_victim(const struct kl_http *http, bool *of_share);

/* The connection to close for a new one, or NULL; with address, only its connections count. Without
 * an accepted key, where the server has keys, and else of the holder with most connections; then
 * the first of these:
 *
 *   1. idle between two requests, for longest;
 *   2. answered, and only to be closed by its client;
 *   3. with a request that has been incomplete for longest: from its first byte on, or from the
 *      connection's beginning while that has not come;
 *   4. with an answer that has been complete, and not been taken, for longest and more than a
 * second (a client that takes a byte now and then would keep its place for ever).
 *
 * A connection that has sent what was not read yet is spared while there is another. */
struct kl_connection *kl_holders_place(const struct kl_http *http, const struct in6_addr *address);

#endif
