/*
 * The files of the web page, which are embedded in the program.
 */
#ifndef KL_SERVER_PAGE_H
#define KL_SERVER_PAGE_H

#include <stdbool.h>

/* Returns whether the page has a file at this path. */
bool kl_page_has(const char *path);

/* Returns whether this value of Accept-Encoding names gzip, with a weight above 0; NULL: none. */
bool kl_accepts_gzip(const char *accepted);

#endif
