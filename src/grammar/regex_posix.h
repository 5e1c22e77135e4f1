/*
 * POSIX extended regular expressions (https://pubs.opengroup.org/onlinepubs/9699919799/basedefs/
 * V1_chap09.html), as grep -E has them, in the syntax of regex.h; so they take linear time, too.
 *
 * What POSIX leaves undefined is refused, by name: back references, escapes of letters other than
 * GNU's \w \W \s \S (and \d \D), groups that begin with (?, a repetition of a repetition, collating
 * elements and equivalence classes. Classes ([:alpha:]) are those of the C locale.
 */
#ifndef KL_GRAMMAR_REGEX_POSIX_H
#define KL_GRAMMAR_REGEX_POSIX_H

#include "base/buffer.h"
#include "base/error.h"

/* Appends the pattern for kl_regex_compile to *out, whose cap bounds it. KL_ERR_INVALID,
 * KL_ERR_UNSUPPORTED: the text names the construct and its place; KL_ERR_LIMIT: longer than the
 * cap; KL_ERR_MEMORY. A pattern that is wrong in both syntaxes is left to kl_regex_compile. */
enum kl_status kl_regex_from_posix(const char *pattern, struct kl_buffer *out,
                                   struct kl_error *err);

#endif
