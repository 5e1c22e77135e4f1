#include "console/page_address.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_in_a_network(const struct ifaddrs *i)
{
    return i->ifa_addr != NULL && (i->ifa_flags & IFF_UP) != 0 &&
           (i->ifa_flags & IFF_RUNNING) != 0 &&
           (i->ifa_flags & (IFF_LOOPBACK | IFF_POINTOPOINT)) == 0;
}

bool kl_page_address(char url[KL_PAGE_URL])
{
    struct ifaddrs *all = NULL;
    char text[INET6_ADDRSTRLEN];
    bool found = false;
    snprintf(url, KL_PAGE_URL, "http://127.0.0.1:%d", KL_DEFAULT_PORT);
    const char *container = getenv("container");
    if ((container != NULL && container[0] != '\0') || getifaddrs(&all) != 0)
        return false;
    for (const struct ifaddrs *i = all; i != NULL && !found; i = i->ifa_next) {
        if (!is_in_a_network(i) || i->ifa_addr->sa_family != AF_INET)
            continue;
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)(const void *)i->ifa_addr;
        found = inet_ntop(AF_INET, &v4->sin_addr, text, sizeof text) != NULL;
        snprintf(url, KL_PAGE_URL, "http://%s:%d", text, KL_DEFAULT_PORT);
    }
    for (const struct ifaddrs *i = all; i != NULL && !found; i = i->ifa_next) {
        if (!is_in_a_network(i) || i->ifa_addr->sa_family != AF_INET6)
            continue;
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)(const void *)i->ifa_addr;
        if (IN6_IS_ADDR_LINKLOCAL(&v6->sin6_addr))
            continue;
        found = inet_ntop(AF_INET6, &v6->sin6_addr, text, sizeof text) != NULL;
        snprintf(url, KL_PAGE_URL, "http://[%s]:%d", text, KL_DEFAULT_PORT);
    }
    freeifaddrs(all);
    return found;
}

enum kl_status kl_page_url_read(const char *text, char url[KL_PAGE_URL], struct kl_error *err)
{
    size_t scheme = strncmp(text, "http://", 7) == 0    ? 7
                    : strncmp(text, "https://", 8) == 0 ? 8
                                                        : 0;
    size_t len = strlen(text);
    if (scheme == 0 || strchr("/:?#", text[scheme]) != NULL || strpbrk(text, "?#") != NULL)
        return kl_fail(err, KL_ERR_INVALID,
                       "--url: expected the address of the page, like http://box.local:7860, found "
                       "\"%.100s\"",
                       text);
    if (len >= KL_PAGE_URL)
        return kl_fail(err, KL_ERR_INVALID, "--url: an address has at most %d bytes, this one %zu",
                       KL_PAGE_URL - 1, len);
    for (size_t i = 0; i < len; i++) {
        if (text[i] <= ' ' || text[i] > '~')
            return kl_fail(err, KL_ERR_INVALID,
                           "--url: byte %zu of \"%.100s\" does not occur in addresses; write names "
                           "with other letters in their ASCII form (xn--)",
                           i + 1, text);
    }
    while (len > scheme && text[len - 1] == '/')
        len--;
    memcpy(url, text, len);
    url[len] = '\0';
    return KL_OK;
}
