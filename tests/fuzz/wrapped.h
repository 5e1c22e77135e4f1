/*
 * Replacements for functions of the C library, by the linker option --wrap.
 *
 * A mapped file becomes a heap block of exactly its size, so that AddressSanitizer detects an
 * access right past its end (a mapping extends to the end of its page), and allocations can be made
 * to fail.
 */
#ifndef KL_TESTS_WRAPPED_H
#define KL_TESTS_WRAPPED_H

#include <stddef.h>

extern size_t wrapped_allocations;  /* counted; the caller resets it */
extern size_t wrapped_failing_from; /* 0: none fails; n: the n-th and every later one */

#endif
