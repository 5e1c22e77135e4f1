#include "http/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pwd.h>
#include <stdio.h>
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

static enum kl_status in_use(const char *host, uint16_t port, const struct sockaddr *address,
                             struct kl_error *err)
{
    struct kl_port_owner owner;
    char owner_text[160] = "", how[80] = "'sudo ss -ltnp' shows which; stop that one";
    bool known = kl_port_owner_find(address, &owner);
    if (known && owner.is_kinglet)
        return kl_fail(err, KL_ERR_IO,
                       "%s port %u is in use by another kinglet, %sprocess %d: use that one, stop "
                       "it ('%skill %d'), or choose another port with --port",
                       host, port, owner.is_certain ? "" : "as it seems ", (int)owner.pid,
                       owner.is_certain ? "" : "sudo ", (int)owner.pid);
    if (known && owner.pid != 0) {
        snprintf(owner_text, sizeof owner_text, ", %s (process %d)", owner.name, (int)owner.pid);
        snprintf(how, sizeof how, "stop that one");
    } else if (known) {
        const struct passwd *user = getpwuid(owner.uid);
        snprintf(owner_text, sizeof owner_text, ", of the user %.60s (%u)",
                 user != NULL ? user->pw_name : "", (unsigned)owner.uid);
    }
    return kl_fail(err, KL_ERR_IO,
                   "%s port %u is in use by another program%s: %s, or choose another port with "
                   "--port",
                   host, port, owner_text, how);
}

static enum kl_status listen_error(const char *host, uint16_t port, const struct sockaddr *address,
                                   struct kl_error *err)
{
    switch (errno) {
    case EADDRINUSE:
        return in_use(host, port, address, err);
    case EACCES:
        return kl_fail(err, KL_ERR_IO,
                       "no permission to listen on %s port %u: ports below 1024 belong to the "
                       "system, choose another with --port",
                       host, port);
    case EADDRNOTAVAIL:
        return kl_fail(err, KL_ERR_IO,
                       "%s is not an address of this machine (port %u): choose one with --host; "
                       "127.0.0.1 always works",
                       host, port);
    default:
        return kl_fail_errno(err, "cannot listen on %s port %u", host, port);
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

enum kl_status kl_listen(const char *host, uint16_t *port, bool only_loopback, int *fds,
                         size_t max_fds, size_t *n_fds, struct kl_error *err)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *found = NULL;
    enum kl_status status = KL_OK;
    *n_fds = 0;
    int code = getaddrinfo(host, NULL, &hints, &found);
    if (code != 0) {
        char name[256], digits[6];
        bool has_port = kl_split_authority(host, name, sizeof name, digits) && digits[0] != '\0';
        return kl_fail(err, KL_ERR_INVALID, "host %s is not an address or a known name: %s%s", host,
                       gai_strerror(code), has_port ? "; a port is given with --port" : "");
    }

    for (struct addrinfo *a = found; a != NULL; a = a->ai_next) {
        if (only_loopback && !kl_is_loopback(a->ai_addr)) {
            status = refuse_open(host, err);
            goto done;
        }
    }
    /* A name may also have an address that is switched off here (mostly IPv6): one that can be
     * bound is enough. But a port must be free on all. */
    for (struct addrinfo *a = found; a != NULL && *n_fds < max_fds; a = a->ai_next) {
        if (a->ai_family != AF_INET && a->ai_family != AF_INET6)
            continue;
        set_port(a->ai_addr, *port);
        int fd = listen_on(a);
        if (fd >= 0) {
            fds[(*n_fds)++] = fd;
            *port = bound_port(fd);
            continue;
        }
        bool in_use = errno == EADDRINUSE;
        status = listen_error(host, *port, a->ai_addr, err);
        if (in_use)
            goto done;
    }
    if (*n_fds > 0)
        status = KL_OK;
    else if (status == KL_OK)
        status = kl_fail(err, KL_ERR_INVALID, "host %s has no IP address", host);

done:
    if (status != KL_OK) {
        for (size_t i = 0; i < *n_fds; i++)
            close(fds[i]);
        *n_fds = 0;
    }
    freeaddrinfo(found);
    return status;
}
