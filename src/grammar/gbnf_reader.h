/*
 * Reads the text of a GBNF grammar character by character, and says where it is wrong. Internal to
 * gbnf. One thread.
 */
#ifndef KL_GRAMMAR_GBNF_READER_H
#define KL_GRAMMAR_GBNF_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct kl_gbnf_reader {
    const char *text; /* UTF-8 */
    size_t len, at;
    struct kl_error *err;
};

/* Fails with "grammar, line 3, column 7: ..." for this place of the grammar. */
enum kl_status kl_gbnf_fail_at(const char *grammar, size_t place, enum kl_status status,
                               struct kl_error *err, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

/* Fails at the place of the reader: expected `what`, found the character there; advice may be "".
 */
enum kl_status kl_gbnf_expected(const struct kl_gbnf_reader *reader, const char *what,
                                const char *advice);

/* Returns the byte `ahead` of the place; 0 behind the end. */
char kl_gbnf_peek(const struct kl_gbnf_reader *reader, size_t ahead);

bool kl_gbnf_is_name_char(char c);
bool kl_gbnf_is_digit(char c);

/* Skips spaces, tabs and comments, with line ends or up to one. */
void kl_gbnf_skip_space(struct kl_gbnf_reader *reader, bool lines);

/* Reads one character of a text or class, which may be an escape. It may be a surrogate. */
enum kl_status kl_gbnf_read_char(struct kl_gbnf_reader *reader, uint32_t *code_point);

#endif
