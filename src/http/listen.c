#include "http/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "http/access.h"
#include "http/port_owner.h"

#define BACKLOG 128
/* Output that the kernel buffers for a slow reader; small, so that slowness is noticed. A stream of
 * tokens has some KiB a second. */
#define SEND_BUFFER (128 * 1024)

static void set_port(struct sockaddr *address, uint16_t port)
{
    if (address->sa_family == AF_INET)
        ((struct sockaddr_in *)(void *)address)->sin_port = htons(port);
    else
        ((struct sockaddr_in6 *)(void *)address)->sin6_port = htons(port);
}

static uint16_t bound_port(int fd)
{
    struct sockaddr_storage address = {0};
    socklen_t len = sizeof address;
    getsockname(fd, (struct sockaddr *)&address, &len);
    return ntohs(address.ss_family == AF_INET
                     ? ((struct sockaddr_in *)(void *)&address)->sin_port
                     : ((struct sockaddr_in6 *)(void *)&address)->sin6_port);
}

/* Accepted connections inherit these. */
static void set_options(int fd)
{
    int on = 1, send_buffer = SEND_BUFFER, idle = 30, interval = 10, count = 3;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &send_buffer, sizeof send_buffer);
    /* each token is sent when it is written */
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    /* a client that vanished without closing is noticed after a minute */
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof interval);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof count);
}

/* A listening socket, or -1 with errno. */
static int listen_on(const struct addrinfo *a)
{
    int fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    set_options(fd);
    if (bind(fd, a->ai_addr, a->ai_addrlen) != 0 || listen(fd, BACKLOG) != 0) {
        int saved = errno;
        close(fd);
        errno = saved;
        return -1;
    }
    return fd;
}

static const char *port_option(const struct kl_listen_address *asked)
{
    return asked->also ? "--also-listen" : "--port";
}

static enum kl_status in_use(const struct kl_listen_address *asked, const struct sockaddr *address,
                             struct kl_error *err)
{
    struct kl_port_owner owner;
    char owner_text[160] = "", how[80] = "'sudo ss -ltnp' shows which; stop that one";
    bool known = kl_port_owner_find(address, &owner);
    if (known && owner.is_certain && owner.pid == getpid())
        return kl_fail(err, KL_ERR_IO,
                       "%s port %u is given twice: leave it out, or choose another port with %s",
                       asked->host, asked->port, port_option(asked));
    if (known && owner.is_kinglet)
        return kl_fail(err, KL_ERR_IO,
                       "%s port %u is in use by another kinglet, %sprocess %d: use that one, stop "
                       "it ('%skill %d'), or choose another port with %s",
                       asked->host, asked->port, owner.is_certain ? "" : "as it seems ",
                       (int)owner.pid, owner.is_certain ? "" : "sudo ", (int)owner.pid,
                       port_option(asked));
    if (known && owner.pid != 0) {
        snprintf(owner_text, sizeof owner_text, ", %s (process %d)", owner.name, (int)owner.pid);
        snprintf(how, sizeof how, "stop that one");
    } else if (known) {
        const struct passwd *user = getpwuid(owner.uid);
        snprintf(owner_text, sizeof owner_text, ", of the user %.60s (%u)",
                 user != NULL ? user->pw_name : "", (unsigned)owner.uid);
    }
    return kl_fail(err, KL_ERR_IO,
                   "%s port %u is in use by another program%s: %s, or choose another port with %s",
                   asked->host, asked->port, owner_text, how, port_option(asked));
}

static enum kl_status listen_error(const struct kl_listen_address *asked,
                                   const struct sockaddr *address, struct kl_error *err)
{
    switch (errno) {
    case EADDRINUSE:
        return in_use(asked, address, err);
    case EACCES:
        return kl_fail(err, KL_ERR_IO,
                       "no permission to listen on %s port %u: ports below 1024 belong to the "
                       "system, choose another with %s",
                       asked->host, asked->port, port_option(asked));
    case EADDRNOTAVAIL:
        return kl_fail(err, KL_ERR_IO,
                       "%s is not an address of this machine (port %u): choose one with %s; "
                       "127.0.0.1 always works",
                       asked->host, asked->port, asked->also ? "--also-listen" : "--host");
    default:
        return kl_fail_errno(err, "cannot listen on %s port %u", asked->host, asked->port);
    }
}

static enum kl_status refuse_open(const char *host, struct kl_error *err)
{
    return kl_fail(
        err, KL_ERR_INVALID,
        "refusing to listen on %s without API keys: every client that reaches this "
        "computer could use it. Give --api-key-file FILE, or --no-auth if that is what you want",
        host);
}

/* Removes the brackets that an IPv6 address has in a URL: "[::1]". Returns false if it does not
 * fit. */
static bool set_host(struct kl_listen_address *address, const char *host)
{
    size_t len = strlen(host);
    if (len >= 3 && host[0] == '[' && host[len - 1] == ']') {
        host++;
        len -= 2;
    }
    if (len >= sizeof address->host)
        return false;
    memcpy(address->host, host, len);
    address->host[len] = '\0';
    return true;
}

enum kl_status kl_listen_set(struct kl_listen_address *address, const char *host, uint16_t port,
                             struct kl_error *err)
{
    *address = (struct kl_listen_address){.port = port};
    if (!set_host(address, host))
        return kl_fail(err, KL_ERR_INVALID, "host %.60s...: longer than any name", host);
    return KL_OK;
}

enum kl_status kl_listen_parse(const char *text, struct kl_listen_address *address,
                               struct kl_error *err)
{
    char digits[6];
    *address = (struct kl_listen_address){.also = true};
    bool ok =
        kl_split_authority(text, address->host, sizeof address->host, digits) && digits[0] != '\0';
    unsigned long port = ok ? strtoul(digits, NULL, 10) : 0;
    if (port == 0 || port > UINT16_MAX)
        return kl_fail(err, KL_ERR_INVALID,
                       "--also-listen takes ADDRESS:PORT, as in 127.0.0.1:11434 or [::1]:11434, "
                       "not \"%.200s\"",
                       text);
    address->port = (uint16_t)port;
    return KL_OK;
}

enum kl_status kl_listen_adopt(int fd, bool only_loopback, char *host, uint16_t *port,
                               struct kl_error *err)
{
    struct sockaddr_storage address = {0};
    socklen_t len = sizeof address, option_len = sizeof(int);
    int listens = 0, type = 0;
    if (getsockname(fd, (struct sockaddr *)&address, &len) != 0 ||
        getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &option_len) != 0 ||
        getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &option_len) != 0)
        return kl_fail_errno(err, "descriptor %d of the service manager cannot be used", fd);
    if (!listens || type != SOCK_STREAM ||
        (address.ss_family != AF_INET && address.ss_family != AF_INET6))
        return kl_fail(err, KL_ERR_INVALID,
                       "descriptor %d of the service manager does not listen on TCP: its socket "
                       "needs ListenStream= with an address and a port, and Accept=no",
                       fd);
    const void *bytes = address.ss_family == AF_INET
                            ? (const void *)&((struct sockaddr_in *)(void *)&address)->sin_addr
                            : (const void *)&((struct sockaddr_in6 *)(void *)&address)->sin6_addr;
    inet_ntop(address.ss_family, bytes, host, KL_LISTEN_HOST);
    *port = bound_port(fd);
    if (only_loopback && !kl_is_loopback((const struct sockaddr *)&address))
        return refuse_open(host, err);
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0)
        return kl_fail_errno(err, "descriptor %d of the service manager cannot be used", fd);
    set_options(fd);
    return KL_OK;
}

enum kl_status kl_listen(struct kl_listen_address *asked, bool only_loopback, int *fds,
                         size_t max_fds, size_t *n_fds, struct kl_error *err)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *found = NULL;
    enum kl_status status = KL_OK;
    *n_fds = 0;
    int code = getaddrinfo(asked->host, NULL, &hints, &found);
    if (code != 0) {
        char name[KL_MAX_HOST], digits[6];
        bool has_port =
            kl_split_authority(asked->host, name, sizeof name, digits) && digits[0] != '\0';
        return kl_fail(err, KL_ERR_INVALID, "host %s is not an address or a known name: %s%s",
                       asked->host, gai_strerror(code),
                       has_port ? "; a port is given with --port" : "");
    }

    for (struct addrinfo *a = found; a != NULL; a = a->ai_next) {
        if (only_loopback && !kl_is_loopback(a->ai_addr)) {
            status = refuse_open(asked->host, err);
            goto done;
        }
    }
    /* A name may also have an address that is switched off here (mostly IPv6): one that can be
     * bound is enough. But a port must be free on all. */
    for (struct addrinfo *a = found; a != NULL && *n_fds < max_fds; a = a->ai_next) {
        if (a->ai_family != AF_INET && a->ai_family != AF_INET6)
            continue;
        set_port(a->ai_addr, asked->port);
        int fd = listen_on(a);
        if (fd >= 0) {
            fds[(*n_fds)++] = fd;
            asked->port = bound_port(fd);
            continue;
        }
        bool in_use_now = errno == EADDRINUSE;
        status = listen_error(asked, a->ai_addr, err);
        if (in_use_now)
            goto done;
    }
    if (*n_fds > 0)
        status = KL_OK;
    else if (status == KL_OK)
        status = kl_fail(err, KL_ERR_INVALID, "host %s has no IP address", asked->host);

done:
    if (status != KL_OK) {
        for (size_t i = 0; i < *n_fds; i++)
            close(fds[i]);
        *n_fds = 0;
    }
    freeaddrinfo(found);
    return status;
}
