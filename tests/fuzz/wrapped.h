/*
 * Functions of the C library that the linker puts ours in front of (--wrap).
 *
 * A mapped file is put into a heap block of exactly its size, so that AddressSanitizer sees the
 * first byte past its end (a mapping has the rest of its page behind it), and allocations can be
 * made to fail.
 */
#ifndef KL_TESTS_WRAPPED_H
#define KL_TESTS_WRAPPED_H

#include <stddef.h>

extern size_t wrapped_allocations;  /* counted; the caller resets it */
extern size_t wrapped_failing_from; /* 0: none fails; n: the n-th and every later one */

#endif
