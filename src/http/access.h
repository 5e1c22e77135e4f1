/*
 * Who may ask: names this server answers to, web pages it takes orders from, API keys.
 *
 * Against DNS rebinding (a web site whose name suddenly points at this box) the Host header must
 * be one of our own names; against other sites in the visitor's browser, Origin and Sec-Fetch-Site
 * must be ours. Browsers do not always send these: a GET over plain http to a name of the LAN has
 * neither. Pure functions on strings, addresses and heads of requests.
 */
#ifndef KL_HTTP_ACCESS_H
#define KL_HTTP_ACCESS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/error.h"
#include "http/http_message.h"

#define KL_KEY_DIGEST 32 /* SHA-256 */

struct kl_access {
    char **hosts; /* lower case, without a port; "*.lan": every name that ends in ".lan" */
    size_t n_hosts;
    uint8_t (*key_digests)[KL_KEY_DIGEST]; /* comparing them tells nothing about the keys */
    size_t n_keys;
};

/* bound_host: the name or address that is listened on; also a name of ours. */
enum kl_status kl_access_init(struct kl_access *access, const char *bound_host,
                              const char *const *hosts, size_t n_hosts, const char *const *api_keys,
                              size_t n_api_keys, struct kl_error *err);
void kl_access_release(struct kl_access *access);

/* Other keys instead of those there are; unchanged unless KL_OK. */
enum kl_status kl_access_set_keys(struct kl_access *access, const char *const *api_keys,
                                  size_t n_api_keys, struct kl_error *err);

/* Splits "name:port", "1.2.3.4", "[::1]:80" into a lower-case host without brackets or a final
 * dot, and the port's digits ("" when there is none). false: not an authority. */
bool kl_split_authority(const char *authority, char *host, size_t host_size, char port[6]);

/* May a request with this Host header, come in on a connection to this local address, be served?
 * localhost, the loopback addresses, the local address itself, and the names of kl_access. */
bool kl_host_allowed(const struct kl_access *access, const char *host_header,
                     const struct sockaddr *local);

/* Is an Origin ("http://box:7860") the page that this very Host header belongs to? Behind a proxy
 * that ends TLS the scheme may differ. "null" is not. */
bool kl_origin_is_own(const char *origin, const char *host_header);

/* Whether the page that caused a request, if any, is our own: a 403 otherwise. An Origin and a
 * Sec-Fetch-Site must be ours where they are there. `works`: the request begins work. Requests that
 * a page may send to other sites without asking them first (a GET, and a POST of anything but JSON)
 * then need the word of the browser that the page is ours (Sec-Fetch-Site, Origin or Referer), or
 * must look like no browser's at all: no Sec-Fetch-*, Accept-Language, nor "Mozilla/" in
 * User-Agent. A page can leave its Referer out, but none of these. */
enum kl_status kl_site_check(const struct kl_http_head *head, bool works,
                             struct kl_api_error *error);

/* Is a Content-Type "application/json", with or without parameters? */
bool kl_type_is_json(const char *content_type);

/* The key in "Bearer KEY", or NULL. */
const char *kl_bearer_key(const char *authorization);

/* True without keys; otherwise for each of the server's keys. The work depends on the length of the
 * key that was sent and on how many there are, not on what they hold. */
bool kl_key_allowed(const struct kl_access *access, const char *key);

/* What the holders of one key share, and nobody else: a number that tells nothing about the key and
 * is the same after a restart. 0 without keys; NULL counts as empty. */
uint64_t kl_key_scope(const struct kl_access *access, const char *key);

bool kl_is_loopback(const struct sockaddr *address);

/* An address as 16 bytes, IPv4 mapped into IPv6. false: of another family. */
bool kl_address_bytes(const struct sockaddr *address, struct in6_addr *out);

#endif
