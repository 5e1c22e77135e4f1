/*
 * Numbers of JSON, exactly: decimals of any length, compared and divided without rounding.
 *
 * A number is judged by its text, since no binary type holds every JSON number: 10^400 is an
 * integer, and 0.3 a multiple of 0.1. Pure; no heap; any thread.
 */
#ifndef KL_SCHEMA_NUMBER_H
#define KL_SCHEMA_NUMBER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* A decimal of a schema: (-1)^negative * digits * 10^exponent, without leading and trailing zeros;
 * zero has no digits. */
#define KL_DECIMAL_DIGITS       36 /* 10^37 is below 2^128: remainders are exact */
#define KL_DECIMAL_MAX_EXPONENT 1000000000
struct kl_decimal {
    bool negative;
    uint8_t n; /* digits */
    int32_t exponent;
    uint8_t digits[KL_DECIMAL_DIGITS]; /* 0 to 9, most significant first */
};

/* Reads a JSON number. KL_ERR_INVALID: not one; KL_ERR_LIMIT: more digits than there is room,
 * or a larger exponent. */
enum kl_status kl_decimal_parse(const char *text, size_t len, struct kl_decimal *decimal,
                                struct kl_error *err);

struct kl_number_bounds {
    bool has_min, has_max, min_exclusive, max_exclusive, has_multiple;
    struct kl_decimal min, max;
    struct kl_decimal multiple_of; /* > 0 */
};

/* text: a whole JSON number, of any length. */
bool kl_number_is_integer(const char *text, size_t len);
bool kl_number_equals(const char *text, size_t len, const struct kl_decimal *decimal);
bool kl_number_in_bounds(const char *text, size_t len, const struct kl_number_bounds *bounds);

/* Whether some number within the bounds (an integer without '.' and exponent if is_integer) can be
 * written with these characters first: "", "-", "1", "-0.", ... The number has no exponent and at
 * most KL_NUMBER_MAX_DIGITS digits, so the prefix of a number with an exponent cannot. Exact, so
 * that an answer that follows it never gets stuck. */
#define KL_NUMBER_MAX_DIGITS 36
bool kl_number_can_begin(const char *prefix, size_t len, const struct kl_number_bounds *bounds,
                         bool is_integer);

/* A hash that is equal for equal numbers (1, 1.0, 10e-1). */
uint64_t kl_number_hash(const char *text, size_t len);

#endif
