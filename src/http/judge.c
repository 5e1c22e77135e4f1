#include "http/judge.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "http/cross_origin.h"
#include "http/http_state.h"

/* Splits the target of a request: writes "name" of "http://name/path" to host, "" if it is only a
 * path, and returns the path. */
static const char *split_target(const char *target, char *host, size_t size)
{
    host[0] = '\0';
    if (strncasecmp(target, "http://", 7) != 0 && strncasecmp(target, "https://", 8) != 0)
        return target;
    const char *name = strstr(target, "://") + 3;
    size_t len = strcspn(name, "/?#");
    snprintf(host, size, "%.*s", (int)len, name);
    return name[len] == '/' ? name + len : "/";
}

static enum kl_status check_host(struct kl_exchange *x, const char *named,
                                 struct kl_api_error *error)
{
    const struct sockaddr *local = (const struct sockaddr *)&x->connection->local;
    const char *hosts[] = {kl_request_header(x, "Host"), named[0] != '\0' ? named : NULL};
    for (size_t i = 0; i < 2; i++) {
        if (hosts[i] != NULL && !kl_host_allowed(&x->http->access, hosts[i], local))
            return kl_api_fail(error, 403, "host_not_allowed", "Host",
                               "this server does not answer to the name \"%.100s\"; if it is one "
                               "of its names, start it with --allow-host NAME",
                               hosts[i]);
    }
    return KL_OK;
}

/* Returns whether the request has a valid key. *key: that one, else any that was sent, else NULL.
 */
static bool find_key(const struct kl_exchange *x, const char **key)
{
    const struct kl_access *access = &x->http->access;
    const char *bearer = kl_bearer_key(kl_request_header(x, "Authorization"));
    const char *plain = kl_request_header(x, "x-api-key");
    bool bearer_allowed = kl_key_allowed(access, bearer);
    bool plain_allowed = kl_key_allowed(access, plain);
    *key = bearer_allowed || plain == NULL ? bearer : plain;
    return bearer_allowed || plain_allowed;
}

bool kl_request_has_key(const struct kl_exchange *x)
{
    const char *key;
    return find_key(x, &key);
}

static enum kl_status check_key(struct kl_exchange *x, struct kl_api_error *error)
{
    const char *key;
    if (find_key(x, &key)) {
        x->cache_scope = kl_key_scope(&x->http->access, key);
        return KL_OK;
    }
    kl_reply_header(x, "WWW-Authenticate", "Bearer");
    return kl_api_fail(
        error, 401, "invalid_api_key", NULL,
        key == NULL ? "this server needs an API key; send it as \"Authorization: Bearer KEY\""
                    : "the API key is wrong");
}

/* The body must be JSON. curl -d declares a form when it sends JSON, so the types for which
 * browsers need no preflight are accepted from a client that is not a browser (it sends no Origin).
 */
static enum kl_status check_type(struct kl_exchange *x, struct kl_api_error *error)
{
    const char *type = kl_request_header(x, "Content-Type");
    if (type == NULL || type[0] == '\0')
        return KL_OK;
    if (kl_type_is_json(type))
        return KL_OK;
    size_t n = strcspn(type, "; \t");
    bool simple = (n == 33 && strncasecmp(type, "application/x-www-form-urlencoded", n) == 0) ||
                  (n == 10 && strncasecmp(type, "text/plain", n) == 0);
    if (simple && kl_request_header(x, "Origin") == NULL)
        return KL_OK;
    return kl_api_fail(error, 415, "unsupported_media_type", "Content-Type",
                       "the body must be application/json, not %.100s", type);
}

/* Checks everything about a body that is known before it arrives. */
static enum kl_status check_body(struct kl_exchange *x, struct kl_api_error *error)
{
    if (check_type(x, error) != KL_OK)
        return KL_ERR_INVALID;
    const char *coding = kl_request_header(x, "Content-Encoding");
    if (coding != NULL && coding[0] != '\0' && strcasecmp(coding, "identity") != 0) {
        kl_reply_header(x, "Accept-Encoding", "identity");
        return kl_api_fail(error, 415, "unsupported_encoding", "Content-Encoding",
                           "the body is compressed (Content-Encoding: %.40s), which this server "
                           "does not read; send it as it is, without Content-Encoding",
                           coding);
    }
    if (!x->head->chunked && x->head->length > KL_HTTP_MAX_BODY)
        return kl_api_fail(error, 413, "body_too_large", NULL,
                           "the body has %.40s bytes; the limit is %zu",
                           kl_request_header(x, "Content-Length"), KL_HTTP_MAX_BODY);
    return KL_OK;
}

static enum kl_status find_route(struct kl_exchange *x, const char *target,
                                 struct kl_api_error *error)
{
    const char *query = strchr(target, '?');
    x->query = query != NULL ? query + 1 : NULL;
    if (!kl_route_path(target, x->path, sizeof x->path))
        return kl_api_fail(error, 400, "invalid_request", NULL, "the path of the URL is not valid");
    x->route = kl_route_find(x->http->routes, x->path);
    if (x->route == NULL)
        return kl_api_fail(error, 404, "not_found", NULL,
                           "there is nothing at %.200s; /openapi.json describes what this server "
                           "has",
                           x->path);
    return KL_OK;
}

#define MAX_METHODS 40 /* all of them: "GET, HEAD, POST, PUT, DELETE, OPTIONS" */

/* Writes the methods of a route as Allow lists them. HEAD of an answer would compute it only to
 * throw it away. */
static void list_methods(const struct kl_route *route, char out[MAX_METHODS])
{
    bool head = (route->flags & KL_ROUTE_ANSWERS) == 0;
    const struct {
        unsigned method;
        const char *name;
    } all[] = {{KL_GET, head ? "GET, HEAD" : "GET"},
               {KL_POST, "POST"},
               {KL_PUT, "PUT"},
               {KL_DELETE, "DELETE"}};
    out[0] = '\0';
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        if ((route->methods & all[i].method) != 0)
            strcat(strcat(out, out[0] != '\0' ? ", " : ""), all[i].name);
    }
}

static enum kl_status check_method(struct kl_exchange *x, struct kl_api_error *error)
{
    static const unsigned needed[] = {
        [KL_HTTP_GET] = KL_GET, [KL_HTTP_HEAD] = KL_GET,      [KL_HTTP_POST] = KL_POST,
        [KL_HTTP_PUT] = KL_PUT, [KL_HTTP_DELETE] = KL_DELETE, [KL_HTTP_OPTIONS] = 0,
        [KL_HTTP_OTHER] = 0};
    enum kl_http_method method = x->head->method;
    bool head_of_answer = method == KL_HTTP_HEAD && (x->route->flags & KL_ROUTE_ANSWERS) != 0;
    if ((needed[method] & x->route->methods) != 0 && !head_of_answer)
        return KL_OK;

    char allow[MAX_METHODS];
    list_methods(x->route, allow);
    if (method == KL_HTTP_OPTIONS) {
        kl_reply_header(x, "Allow", strcat(allow, ", OPTIONS"));
        x->route = &kl_options_route;
        return KL_OK;
    }
    kl_reply_header(x, "Allow", allow);
    return kl_api_fail(error, 405, "method_not_allowed", NULL, "%s takes only %s", x->route->path,
                       allow);
}

/* Whether the request is about what the server can do, and not about a path. */
static bool is_general(const struct kl_exchange *x, const char *target)
{
    return x->head->method == KL_HTTP_OPTIONS && strcmp(target, "*") == 0;
}

/* Whether the request would do more than read. */
static bool begins_work(const struct kl_exchange *x)
{
    bool reads = x->head->method == KL_HTTP_GET || x->head->method == KL_HTTP_HEAD;
    if (reads && (x->route->flags & KL_ROUTE_ANSWERS) == 0)
        return false;
    return (x->route->methods & (KL_POST | KL_PUT | KL_DELETE)) != 0;
}

enum kl_status kl_judge(struct kl_exchange *x, struct kl_api_error *error)
{
    char host[KL_HTTP_MAX_PATH];
    struct kl_api_error nowhere;
    const char *target = split_target(x->head->target, host, sizeof host);
    if (x->head->method == KL_HTTP_OTHER)
        x->close = true; /* after CONNECT, for example, no HTTP follows */
    /* first of all, since errors have the shape of the route */
    enum kl_status found = find_route(x, target, &nowhere);
    if (check_host(x, host, error) != KL_OK)
        return KL_ERR_INVALID;
    kl_cross_origin_begin(x);
    if (is_general(x, target) || kl_cross_origin_preflight(x)) {
        kl_reply_header(x, "Allow", "GET, HEAD, POST, PUT, DELETE, OPTIONS");
        x->route = &kl_options_route;
        return KL_OK;
    }
    if (found != KL_OK) {
        *error = nowhere;
        return found;
    }

    enum kl_status status = KL_OK;
    if ((x->route->flags & KL_ROUTE_PUBLIC) == 0)
        status = kl_site_check(&x->http->access, x->head, begins_work(x), error);
    if (status == KL_OK)
        status = check_method(x, error);
    if (status == KL_OK && (x->route->flags & KL_ROUTE_OPEN) == 0)
        status = check_key(x, error);
    if (status == KL_OK && kl_http_takes_body(x->head->method))
        status = check_body(x, error);
    return status;
}
