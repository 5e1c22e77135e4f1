/*
 * The address at which others reach the page of a server on this computer, for people: what
 * `kinglet key add` prints. It is a guess, since the server is another process with options of its
 * own.
 *
 * Asks the kernel for its network interfaces; sends nothing. No state: any thread.
 */
#ifndef KL_CONSOLE_PAGE_ADDRESS_H
#define KL_CONSOLE_PAGE_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

#define KL_PAGE_URL     512 /* bytes of the URL of a page, with its NUL */
#define KL_DEFAULT_PORT 7860

/* Writes "http://ADDRESS:7860" with the first address of this computer in a network: of an
 * interface that is up, not the loopback one and not a tunnel; IPv4 before IPv6, whose addresses of
 * one link only (fe80::) do not count. false: there is none, or in a container, whose own addresses
 * are reached by no other computer; then it is the loopback address. */
bool kl_page_address(char url[KL_PAGE_URL]);

/* Copies the URL of a page as an option gives it, without a slash at its end. KL_ERR_INVALID: it is
 * not http:// or https:// with a host and perhaps a path, in printable ASCII. */
enum kl_status kl_page_url_read(const char *text, char url[KL_PAGE_URL], struct kl_error *err);

#endif
