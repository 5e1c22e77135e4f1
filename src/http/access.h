/*
 * Access: the names this server answers to, the web pages whose requests it accepts, API keys.
 *
 * Against DNS rebinding (a web site whose name is suddenly resolved to this computer) the Host
 * header must be one of the server's own names; against other sites in the user's browser, Origin
 * must be the server's or an allowed one, and Sec-Fetch-Site the server's. Browsers do not always
 * send these: a GET over plain http
 * to a name of the LAN has neither. Pure functions on strings, addresses and heads of requests.
 */
#ifndef KL_HTTP_ACCESS_H
#define KL_HTTP_ACCESS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/api_key.h"
#include "base/error.h"
#include "http/http_message.h"
#include "http/origins.h"

#define KL_KEY_DIGEST 32  /* SHA-256 */
#define KL_MAX_HOST   256 /* RFC 1035: a name has at most 255 bytes */

/* A key of the server's: not itself, but what requests need of it. */
struct kl_known_key {
    uint8_t digest[KL_KEY_DIGEST]; /* the time to compare it reveals nothing about the key */
    uint64_t scope;                /* see kl_key_scope */
};

struct kl_access {
    char **hosts; /* lower case, without a port; "*.lan": every name that ends in ".lan" */
    size_t n_hosts;
    struct kl_origins origins; /* of other sites and apps that may use this server */
    struct kl_known_key *keys;
    size_t n_keys;
};

struct kl_access_options {
    const char *const *own_hosts; /* names and addresses that the server listens on, or has */
    size_t n_own_hosts;
    const char *const *hosts; /* further ones, as the operator gives them */
    size_t n_hosts;
    const char *const *origins; /* see kl_origins_init */
    size_t n_origins;
    const struct kl_api_key *api_keys;
    size_t n_api_keys;
};

/* The strings are copied. */
enum kl_status kl_access_init(struct kl_access *access, const struct kl_access_options *options,
                              struct kl_error *err);
void kl_access_release(struct kl_access *access);

/* Replaces the keys; unchanged unless KL_OK. */
enum kl_status kl_access_set_keys(struct kl_access *access, const struct kl_api_key *api_keys,
                                  size_t n_api_keys, struct kl_error *err);

/* Splits "name:port", "1.2.3.4", "[::1]:80" into a lower-case host without brackets or a final
 * dot, and the port's digits ("" if there are none). Returns false if it is not an authority. */
bool kl_split_authority(const char *authority, char *host, size_t host_size, char port[6]);

/* Returns whether a request with this Host header, on a connection to this local address, may be
 * served: localhost, the loopback addresses, the local address itself, the names of kl_access. */
bool kl_host_allowed(const struct kl_access *access, const char *host_header,
                     const struct sockaddr *local);

/* Returns whether an Origin ("http://box:7860") is the site of this Host header. Behind a proxy
 * that terminates TLS the scheme may differ. "null" is not. */
bool kl_origin_is_own(const char *origin, const char *host_header);

/* Checks that the web page that caused a request, if any, is the server's own, or has an allowed
 * Origin; refuses with a 403. Origin and Sec-Fetch-Site must else be the server's if they are
 * present. `works`: the request begins
 * work. Requests that a page may send to other sites without a preflight (a GET, and a POST of
 * anything but JSON) then need a header in which the browser says that the page is the server's
 * (Sec-Fetch-Site, Origin or Referer), or must not look like a browser's at all: no Sec-Fetch-*, no
 * Accept-Language, no "Mozilla/" in User-Agent. A page can suppress its Referer, but none of these.
 */
enum kl_status kl_site_check(const struct kl_access *access, const struct kl_http_head *head,
                             bool works, struct kl_api_error *error);

/* Returns whether a Content-Type is "application/json", with or without parameters. */
bool kl_type_is_json(const char *content_type);

/* Returns the key in "Bearer KEY", or NULL. */
const char *kl_bearer_key(const char *authorization);

/* Returns whether key is one of the server's keys, or the server has none. The time depends on the
 * length of key and on the number of keys, not on their content. */
bool kl_key_allowed(const struct kl_access *access, const char *key);

/* Returns the scope of a key, to which its computed prompts, kept answers and shares belong: that
 * of its name where it has one, so that they outlive the key and the keys of a name share them;
 * else its own. A number that reveals nothing about the key and is the same after a restart. 0: the
 * server has no keys, or this is none of them. The time depends on what that of kl_key_allowed
 * depends on. */
uint64_t kl_key_scope(const struct kl_access *access, const char *key);

bool kl_is_loopback(const struct sockaddr *address);

/* Writes an address as 16 bytes, IPv4 mapped into IPv6. Returns false for another family. */
bool kl_address_bytes(const struct sockaddr *address, struct in6_addr *out);

#endif
