#include "api/embedding_json.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define DIGITS      9 /* of a number: any two floats differ in them */
#define NUMBER_SIZE 24
/* Numbers between these are written without an exponent, with at most MOST_DECIMALS. */
#define LEAST 1e-5
#define MOST  1e8
enum { MOST_DECIMALS = DIGITS + 4 };

/* Writes the digits of an integer with a point before the last `decimals`; returns the length. */
static size_t write_digits(uint64_t digits, size_t decimals, char *out)
{
    char reversed[NUMBER_SIZE];
    size_t n = 0, len = 0;
    while (decimals > 0 && digits % 10 == 0) {
        digits /= 10;
        decimals--;
    }
    for (size_t i = 0; digits > 0 || i <= decimals; i++, digits /= 10) {
        if (i == decimals && decimals > 0)
            reversed[n++] = '.';
        reversed[n++] = (char)('0' + digits % 10);
    }
    while (n > 0)
        out[len++] = reversed[--n];
    return len;
}

/* Returns the length of the text of a number. */
static size_t write_number(float value, char out[NUMBER_SIZE])
{
    static const double powers[] = {1,   1e1, 1e2, 1e3,  1e4,  1e5,  1e6,
                                    1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13};
    double size = fabs((double)value);
    size_t len = 0, decimals = DIGITS;
    if (value == 0)
        return (size_t)snprintf(out, NUMBER_SIZE, "0");
    if (size < LEAST || size >= MOST)
        return (size_t)snprintf(out, NUMBER_SIZE, "%.*g", DIGITS, (double)value);
    while (decimals > 0 && size * powers[decimals] >= 1e9)
        decimals--;
    while (decimals < MOST_DECIMALS && size * powers[decimals] < 1e8)
        decimals++;
    if (value < 0)
        out[len++] = '-';
    return len + write_digits((uint64_t)(size * powers[decimals] + 0.5), decimals, out + len);
}

enum kl_status kl_vector_numbers(const float *vector, size_t n, struct kl_buffer *out)
{
    char part[512];
    size_t len = 0, before = out->len;
    enum kl_status status = KL_OK;
    part[len++] = '[';
    for (size_t i = 0; i < n && status == KL_OK; i++) {
        if (i > 0)
            part[len++] = ',';
        len += write_number(vector[i], part + len);
        if (len > sizeof part - NUMBER_SIZE - 2) {
            status = kl_buffer_append(out, part, len);
            len = 0;
        }
    }
    part[len++] = ']';
    if (status == KL_OK)
        status = kl_buffer_append(out, part, len);
    if (status != KL_OK)
        out->len = before;
    return status;
}

/* The byte at `i` of the little-endian floats. */
static uint32_t byte_at(const float *vector, size_t i)
{
    uint32_t bits;
    memcpy(&bits, &vector[i / 4], sizeof bits);
    return bits >> (8 * (i % 4)) & 0xFF;
}

enum kl_status kl_vector_base64(const float *vector, size_t n, struct kl_buffer *out)
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char part[512];
    size_t len = 0, before = out->len, n_bytes = 4 * n;
    enum kl_status status = KL_OK;
    part[len++] = '"';
    for (size_t i = 0; i < n_bytes && status == KL_OK; i += 3) {
        uint32_t bits = byte_at(vector, i) << 16;
        bits |= i + 1 < n_bytes ? byte_at(vector, i + 1) << 8 : 0;
        bits |= i + 2 < n_bytes ? byte_at(vector, i + 2) : 0;
        part[len++] = alphabet[bits >> 18];
        part[len++] = alphabet[bits >> 12 & 63];
        part[len++] = i + 1 < n_bytes ? alphabet[bits >> 6 & 63] : '=';
        part[len++] = i + 2 < n_bytes ? alphabet[bits & 63] : '=';
        if (len > sizeof part - 8) {
            status = kl_buffer_append(out, part, len);
            len = 0;
        }
    }
    part[len++] = '"';
    if (status == KL_OK)
        status = kl_buffer_append(out, part, len);
    if (status != KL_OK)
        out->len = before;
    return status;
}
