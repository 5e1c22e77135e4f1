#include "http/holders.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/clock.h"
#include "http/http_state.h"

/* After this time, a connection whose complete answer is not taken may be evicted. */
#define NOT_TAKEN_NS 1000000000u

/* ---- holders --------------------------------------------------------------------------------- */

struct in6_addr kl_holders_address(const struct sockaddr *address)
{
    struct in6_addr a = {0};
    if (!kl_address_bytes(address, &a) || IN6_IS_ADDR_V4MAPPED(&a))
        return a;
    memset(a.s6_addr + 8, 0, 8);
    return a;
}

static bool is_holder(const struct kl_holder *h, uint64_t scope, const struct in6_addr *address)
{
    return h->scope == scope && (scope != 0 || memcmp(&h->address, address, sizeof *address) == 0);
}

static struct kl_holder *find_or_add(struct kl_holders *holders, uint64_t scope,
                                     const struct in6_addr *address)
{
    struct kl_holder *h = holders->first;
    while (h != NULL && !is_holder(h, scope, address))
        h = h->next;
    if (h != NULL || (h = calloc(1, sizeof *h)) == NULL)
        return h;
    h->scope = scope;
    h->address = *address;
    h->next = holders->first;
    if (h->next != NULL)
        h->next->previous = h;
    holders->first = h;
    return h;
}

bool kl_holders_join(struct kl_http *http, struct kl_connection *c, uint64_t scope)
{
    if (c->holder != NULL && is_holder(c->holder, scope, &c->peer))
        return true;
    struct kl_holder *h = find_or_add(&http->holders, scope, &c->peer);
    if (h == NULL)
        return false;
    size_t held = c->held;
    kl_holders_leave(http, c);
    h->n_connections++;
    c->holder = h;
    kl_holders_count(http, c, held);
    return true;
}

void kl_holders_leave(struct kl_http *http, struct kl_connection *c)
{
    struct kl_holder *h = c->holder;
    if (h == NULL)
        return;
    kl_holders_count(http, c, 0);
    c->holder = NULL;
    if (--h->n_connections > 0)
        return;
    if (h->previous != NULL)
        h->previous->next = h->next;
    else
        http->holders.first = h->next;
    if (h->next != NULL)
        h->next->previous = h->previous;
    free(h);
}

void kl_holders_count(struct kl_http *http, struct kl_connection *c, size_t held)
{
    http->holders.held += held - c->held;
    c->holder->held += held - c->held;
    c->held = held;
}

size_t kl_holders_limit(const struct kl_http *http)
{
    return http->options.held_bytes / 4 * 3;
}

bool kl_holders_are_tight(const struct kl_http *http, const struct kl_connection *c)
{
    size_t limit = kl_holders_limit(http);
    return c->holder->held > limit / 2 || http->holders.held > limit;
}

/* ---- which connection ends ------------------------------------------------------------------- */

/* The server has keys, and no request of this connection had a valid one. */
static bool lacks_key(const struct kl_http *http, const struct kl_connection *c)
{
    return http->access.n_keys > 0 && c->holder->scope == 0;
}

static bool is_answering(const struct kl_connection *c)
{
    return c->stage == KL_CONNECTION_ANSWERING && c->exchange != NULL && !c->exchange->sent;
}

/* Compared number by number; the connection with the higher rank ends first. */
struct rank {
    uint64_t n[5];
};

static bool ranks_higher(const struct rank *a, const struct rank *b)
{
    for (size_t i = 0; i < 5; i++) {
        if (a->n[i] != b->n[i])
            return a->n[i] > b->n[i];
    }
    return false;
}

static struct kl_holder *find_over_limit(const struct kl_http *http)
{
    struct kl_holder *h = http->holders.first;
    while (h != NULL && h->held <= kl_holders_limit(http))
        h = h->next;
    return h;
}

struct kl_connection *kl_holders_find_largest(const struct kl_http *http, bool *of_holder)
{
    const struct kl_holder *only = find_over_limit(http);
    struct kl_connection *found = NULL;
    struct rank most = {0};
    *of_holder = only != NULL;
    if (only == NULL && http->holders.held <= http->options.held_bytes)
        return NULL;
    for (struct kl_connection *c = http->connections; c != NULL; c = c->next) {
        const struct rank rank = {{lacks_key(http, c), c->holder->held, !is_answering(c), c->held,
                                   UINT64_MAX - c->progress_ns}};
        if (c->held == 0 || (only != NULL && c->holder != only) ||
            (found != NULL && !ranks_higher(&rank, &most)))
            continue;
        found = c;
        most = rank;
    }
    return found;
}

/* In which order connections are evicted, the highest first (0: not at all), and since when it is
 * in that state. */
static unsigned evict_order(const struct kl_connection *c, uint64_t now, uint64_t *since)
{
    *since = c->stage_ns;
    switch (c->stage) {
    case KL_CONNECTION_IDLE:
        return c->n_requests > 0 ? 4 : 2;
    case KL_CONNECTION_LINGERING:
        return 3;
    case KL_CONNECTION_HEAD:
    case KL_CONNECTION_BODY:
        *since = c->request_ns;
        return 2;
    default:
        return !is_answering(c) && now - c->stage_ns > NOT_TAKEN_NS;
    }
}

/* Bytes have arrived that were not read yet: then this loop is late, not the client. */
static bool has_unread_input(const struct kl_connection *c)
{
    int n = 0;
    return c->stage <= KL_CONNECTION_BODY && ioctl(bufferevent_getfd(c->bev), FIONREAD, &n) == 0 &&
           n > 0;
}

struct kl_connection *kl_holders_find_evictable(const struct kl_http *http,
                                                const struct in6_addr *address)
{
    struct kl_connection *found = NULL, *spared = NULL;
    struct rank most = {0};
    uint64_t now = kl_now_ns(), since;
    /* The oldest first: few rank higher than those before them, and only these cost a system
     * call. */
    for (struct kl_connection *c = http->oldest; c != NULL; c = c->previous) {
        unsigned order = evict_order(c, now, &since);
        const struct rank rank = {
            {lacks_key(http, c), c->holder->n_connections, order, UINT64_MAX - since}};
        if (c->refused || order == 0 ||
            (address != NULL && memcmp(&c->peer, address, sizeof *address) != 0) ||
            (found != NULL && !ranks_higher(&rank, &most)))
            continue;
        if (has_unread_input(c)) {
            spared = spared == NULL ? c : spared;
            continue;
        }
        found = c;
        most = rank;
    }
    return found != NULL ? found : spared;
}
