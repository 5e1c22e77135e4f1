#include "http/access.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/hash.h"

/* Writes the SHA-256 of a purpose, its NUL and a text; of the text alone where purpose is NULL. */
static void digest(const char *purpose, const char *text, uint8_t out[KL_KEY_DIGEST])
{
    struct kl_sha256 hash;
    kl_sha256_init(&hash);
    if (purpose != NULL)
        kl_sha256_update(&hash, purpose, strlen(purpose) + 1);
    kl_sha256_update(&hash, text, strlen(text));
    kl_sha256_finish(&hash, out);
}

/* The purposes differ, so that a key whose text is the name of another one shares nothing with it.
 */
static uint64_t scope_of(const struct kl_api_key *key)
{
    uint8_t bytes[KL_KEY_DIGEST];
    if (key->name != NULL && key->name[0] != '\0')
        digest("kinglet name of a key", key->name, bytes);
    else
        digest("kinglet prefix cache", key->key, bytes);
    uint64_t scope = 0;
    for (size_t i = 0; i < sizeof scope; i++)
        scope = scope << 8 | bytes[i];
    return scope != 0 ? scope : 1;
}

bool kl_split_authority(const char *authority, char *host, size_t host_size, char port[6])
{
    const char *begin = authority, *end, *rest;
    if (*begin == '[') {
        begin++;
        end = strchr(begin, ']');
        if (end == NULL)
            return false;
        rest = end + 1;
    } else {
        end = begin + strcspn(begin, ":");
        rest = end;
    }

    size_t len = (size_t)(end - begin);
    if (*authority != '[' && len > 1 && begin[len - 1] == '.')
        len--; /* "localhost." is the same name, written absolutely */
    if (len == 0 || len >= host_size)
        return false;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)begin[i];
        if (c <= ' ' || c >= 0x7f || strchr("/@?#\\", c) != NULL)
            return false;
        host[i] = (char)tolower(c);
    }
    host[len] = '\0';

    port[0] = '\0';
    if (*rest == '\0')
        return true;
    if (*rest != ':' || strlen(rest + 1) > 5)
        return false;
    memcpy(port, rest + 1, strlen(rest + 1) + 1);
    return strspn(port, "0123456789") == strlen(port);
}

enum kl_status kl_access_set_keys(struct kl_access *access, const struct kl_api_key *api_keys,
                                  size_t n_api_keys, struct kl_error *err)
{
    struct kl_known_key *keys = calloc(n_api_keys + 1, sizeof *keys);
    if (keys == NULL)
        return kl_fail_memory(err, "the list of keys", (n_api_keys + 1) * sizeof *keys);
    for (size_t i = 0; i < n_api_keys; i++) {
        if (api_keys[i].key[0] == '\0') {
            free(keys);
            return kl_fail(err, KL_ERR_INVALID,
                           "API key %zu is empty; a key has at least one character", i + 1);
        }
        digest(NULL, api_keys[i].key, keys[i].digest);
        keys[i].scope = scope_of(&api_keys[i]);
    }
    free(access->keys);
    access->keys = keys;
    access->n_keys = n_api_keys;
    return KL_OK;
}

/* Checks an allowed name: "*.lan" is every name that ends in ".lan"; a * is allowed nowhere else.
 */
static enum kl_status check_pattern(const char *name, struct kl_error *err)
{
    if (strchr(name, '*') == NULL)
        return KL_OK;
    if (strcmp(name, "*") == 0)
        return kl_fail(err, KL_ERR_INVALID,
                       "--allow-host *: with every name allowed, any web page could use this "
                       "server through the browsers of its visitors (DNS rebinding); name "
                       "the names that clients use, or \"*.lan\" for all that end in .lan");
    if (strncmp(name, "*.", 2) != 0 || name[2] == '\0' || name[2] == '.' ||
        strchr(name + 1, '*') != NULL)
        return kl_fail(err, KL_ERR_INVALID,
                       "--allow-host %s: a * may only be at the beginning of a name and before a "
                       "dot, as in \"*.lan\"",
                       name);
    return KL_OK;
}

static bool name_matches(const char *pattern, const char *host)
{
    if (pattern[0] != '*')
        return strcmp(host, pattern) == 0;
    size_t len = strlen(host), ending = strlen(pattern + 1);
    return len > ending && strcmp(host + len - ending, pattern + 1) == 0;
}

/* Adds an allowed name, in lower case and without a port. */
static enum kl_status add_host(struct kl_access *access, const char *name, struct kl_error *err)
{
    char host[KL_MAX_HOST], port[6], bracketed[KL_MAX_HOST + 2];
    if (strchr(name, ':') != strrchr(name, ':') && name[0] != '[' && strlen(name) < KL_MAX_HOST) {
        /* a bare IPv6 address, as --host takes it */
        snprintf(bracketed, sizeof bracketed, "[%s]", name);
        name = bracketed;
    }
    if (!kl_split_authority(name, host, sizeof host, port))
        return kl_fail(err, KL_ERR_INVALID, "allowed host %s: not a host name or address", name);
    char *copy = strdup(host);
    if (copy == NULL)
        return kl_fail_memory(err, "an allowed host", strlen(host));
    access->hosts[access->n_hosts++] = copy;
    return KL_OK;
}

enum kl_status kl_access_init(struct kl_access *access, const struct kl_access_options *o,
                              struct kl_error *err)
{
    enum kl_status status = KL_OK;
    size_t n = o->n_own_hosts + o->n_hosts + 1;
    *access = (struct kl_access){0};
    access->hosts = calloc(n, sizeof *access->hosts);
    if (access->hosts == NULL)
        status = kl_fail_memory(err, "the list of hosts", n * sizeof *access->hosts);
    for (size_t i = 0; i < o->n_own_hosts && status == KL_OK; i++)
        status = add_host(access, o->own_hosts[i], err);
    for (size_t i = 0; i < o->n_hosts && status == KL_OK; i++) {
        status = check_pattern(o->hosts[i], err);
        if (status == KL_OK)
            status = add_host(access, o->hosts[i], err);
    }
    if (status == KL_OK)
        status = kl_origins_init(&access->origins, o->origins, o->n_origins, err);
    if (status == KL_OK)
        status = kl_access_set_keys(access, o->api_keys, o->n_api_keys, err);
    if (status != KL_OK)
        kl_access_release(access);
    return status;
}

void kl_access_release(struct kl_access *access)
{
    for (size_t i = 0; i < access->n_hosts; i++)
        free(access->hosts[i]);
    free(access->hosts);
    kl_origins_release(&access->origins);
    free(access->keys);
    *access = (struct kl_access){0};
}

static struct in6_addr mapped(const struct in_addr *v4)
{
    struct in6_addr out = {.s6_addr = {[10] = 0xff, [11] = 0xff}};
    memcpy(out.s6_addr + 12, v4, 4);
    return out;
}

bool kl_address_bytes(const struct sockaddr *address, struct in6_addr *out)
{
    if (address->sa_family == AF_INET6) {
        *out = ((const struct sockaddr_in6 *)(const void *)address)->sin6_addr;
        return true;
    }
    if (address->sa_family == AF_INET) {
        *out = mapped(&((const struct sockaddr_in *)(const void *)address)->sin_addr);
        return true;
    }
    return false;
}

static bool literal_bytes(const char *host, struct in6_addr *out)
{
    struct in_addr v4;
    if (inet_pton(AF_INET, host, &v4) == 1) {
        *out = mapped(&v4);
        return true;
    }
    return inet_pton(AF_INET6, host, out) == 1;
}

static bool bytes_are_loopback(const struct in6_addr *a)
{
    return IN6_IS_ADDR_LOOPBACK(a) || (IN6_IS_ADDR_V4MAPPED(a) && a->s6_addr[12] == 127);
}

bool kl_is_loopback(const struct sockaddr *address)
{
    struct in6_addr bytes;
    return kl_address_bytes(address, &bytes) && bytes_are_loopback(&bytes);
}

bool kl_host_allowed(const struct kl_access *access, const char *host_header,
                     const struct sockaddr *local)
{
    char host[KL_MAX_HOST], port[6];
    if (!kl_split_authority(host_header, host, sizeof host, port))
        return false;
    if (strcmp(host, "localhost") == 0)
        return true;
    for (size_t i = 0; i < access->n_hosts; i++) {
        if (name_matches(access->hosts[i], host))
            return true;
    }
    struct in6_addr named, own;
    if (!literal_bytes(host, &named))
        return false;
    return bytes_are_loopback(&named) ||
           (kl_address_bytes(local, &own) && memcmp(&named, &own, sizeof own) == 0);
}

bool kl_origin_is_own(const char *origin, const char *host_header)
{
    const char *default_port;
    if (strncasecmp(origin, "http://", 7) == 0) {
        origin += 7;
        default_port = "80";
    } else if (strncasecmp(origin, "https://", 8) == 0) {
        origin += 8;
        default_port = "443";
    } else {
        return false;
    }
    char origin_host[KL_MAX_HOST], origin_port[6], own_host[KL_MAX_HOST], own_port[6];
    if (!kl_split_authority(origin, origin_host, sizeof origin_host, origin_port) ||
        !kl_split_authority(host_header, own_host, sizeof own_host, own_port))
        return false;
    const char *a = origin_port[0] != '\0' ? origin_port : default_port;
    const char *b = own_port[0] != '\0' ? own_port : default_port;
    return strcmp(origin_host, own_host) == 0 && strcmp(a, b) == 0;
}

/* A Referer is the URL of a page, which begins with its origin. */
static bool referer_is_own(const char *referer, const char *host_header)
{
    char origin[KL_MAX_HOST + 16]; /* "https://", a name, a port */
    const char *name = strstr(referer, "://");
    size_t len = name != NULL ? (size_t)(name - referer) + 3 : 0;
    len += strcspn(referer + len, "/?#");
    if (len >= sizeof origin)
        return false;
    memcpy(origin, referer, len);
    origin[len] = '\0';
    return kl_origin_is_own(origin, host_header);
}

/* Checks for headers that no browser omits, whatever the page asks for; Sec-Fetch-* only where the
 * server's address counts as secure (https, loopback). */
static bool looks_like_a_browser(const struct kl_http_head *head)
{
    for (size_t i = 0; i < head->n_fields; i++) {
        if (strncasecmp(head->fields[i].name, "Sec-Fetch-", 10) == 0)
            return true;
    }
    const char *agent = kl_http_head_field(head, "User-Agent");
    return kl_http_head_field(head, "Accept-Language") != NULL ||
           (agent != NULL && strstr(agent, "Mozilla/") != NULL);
}

bool kl_type_is_json(const char *content_type)
{
    static const char json[] = "application/json";
    size_t len = strcspn(content_type, "; \t");
    return len == strlen(json) && strncasecmp(content_type, json, len) == 0;
}

enum kl_status kl_site_check(const struct kl_access *access, const struct kl_http_head *head,
                             bool works, struct kl_api_error *error)
{
    static const char code[] = "origin_not_allowed";
    const char *host = kl_http_head_field(head, "Host");
    const char *origin = kl_http_head_field(head, "Origin");
    const char *site = kl_http_head_field(head, "Sec-Fetch-Site");
    const char *referer = kl_http_head_field(head, "Referer");
    const char *type = kl_http_head_field(head, "Content-Type");
    if (origin != NULL && kl_origins_find(&access->origins, origin) != KL_ORIGIN_OTHER)
        return KL_OK;
    if (origin != NULL && (host == NULL || !kl_origin_is_own(origin, host)))
        return kl_api_fail(error, 403, code, "Origin",
                           "requests from web pages of \"%.100s\" are not accepted, only from this "
                           "server's own page; to allow it, start the server with --allow-origin "
                           "(a proxy in front of the server's own page must pass the Host header "
                           "on)",
                           origin);
    if (site != NULL && strcmp(site, "same-origin") != 0 && strcmp(site, "none") != 0)
        return kl_api_fail(error, 403, code, "Sec-Fetch-Site",
                           "requests from other web sites are not accepted, only from this "
                           "server's own page");
    bool asks_first = head->method == KL_HTTP_DELETE || head->method == KL_HTTP_PUT ||
                      (head->method == KL_HTTP_POST && type != NULL && kl_type_is_json(type));
    if (!works || asks_first || origin != NULL || site != NULL)
        return KL_OK;
    if (referer != NULL && host != NULL && referer_is_own(referer, host))
        return KL_OK;
    if (referer == NULL && !looks_like_a_browser(head))
        return KL_OK;
    return kl_api_fail(error, 403, code, "Referer",
                       "a page of another web site may have caused this request: %s. From a "
                       "program, send a POST with \"Content-Type: application/json\"",
                       referer != NULL ? "its Referer is not of this server"
                                       : "it looks like a browser's, and has no Referer");
}

const char *kl_bearer_key(const char *authorization)
{
    if (authorization == NULL || strncasecmp(authorization, "Bearer ", 7) != 0)
        return NULL;
    const char *key = authorization + 7;
    return key + strspn(key, " ");
}

/* Returns a key of the server's, or NULL. */
static const struct kl_known_key *find_key(const struct kl_access *access, const char *key)
{
    uint8_t given[KL_KEY_DIGEST];
    digest(NULL, key, given);
    const struct kl_known_key *found = NULL;
    for (size_t i = 0; i < access->n_keys; i++) {
        uint8_t different = 0;
        for (size_t j = 0; j < sizeof given; j++)
            different |= (uint8_t)(given[j] ^ access->keys[i].digest[j]);
        if (different == 0)
            found = &access->keys[i];
    }
    return found;
}

bool kl_key_allowed(const struct kl_access *access, const char *key)
{
    return access->n_keys == 0 || (key != NULL && find_key(access, key) != NULL);
}

uint64_t kl_key_scope(const struct kl_access *access, const char *key)
{
    const struct kl_known_key *known = key != NULL ? find_key(access, key) : NULL;
    return known != NULL ? known->scope : 0;
}
