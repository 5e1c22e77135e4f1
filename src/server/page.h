/*
 * The files of the page, which are part of the program.
 */
#ifndef KL_SERVER_PAGE_H
#define KL_SERVER_PAGE_H

#include <stdbool.h>

/* Whether a file of the page is at this path. */
bool kl_page_has(const char *path);

#endif
