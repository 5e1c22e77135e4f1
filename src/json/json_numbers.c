#include "json/json_numbers.h"

#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "json/json_memory.h"

#define FLAGS (JSON_ALLOW_NUL | JSON_DECODE_ANY)

static const char byte_order_mark[] = "\xEF\xBB\xBF";

static size_t count_digits(const char *text)
{
    size_t n = 0;
    while (text[n] >= '0' && text[n] <= '9')
        n++;
    return n;
}

/* The length of the JSON number at the beginning of a text (RFC 8259, section 6); 0: none. */
static size_t number_length(const char *text)
{
    size_t len = text[0] == '-' ? 1 : 0;
    size_t digits = text[len] == '0' ? 1 : count_digits(text + len);
    if (digits == 0)
        return 0;
    len += digits;
    if (text[len] == '.' && (digits = count_digits(text + len + 1)) > 0)
        len += 1 + digits;
    if (text[len] == 'e' || text[len] == 'E') {
        size_t sign = text[len + 1] == '+' || text[len + 1] == '-' ? 1 : 0;
        digits = count_digits(text + len + 1 + sign);
        len += digits > 0 ? 1 + sign + digits : 0;
    }
    return len;
}

/* Returns whether a number is an integer that does not fit into 64 bits. */
static bool is_wide(const char *token, size_t len)
{
    size_t sign = token[0] == '-' ? 1 : 0;
    errno = 0;
    return sign + count_digits(token + sign) == len && (strtoll(token, NULL, 10), errno == ERANGE);
}

/* Replaces a number that cannot be represented by one of the same length that can: an integer keeps
 * more than the 17 digits that a double has, and blanks may follow a number. */
static void narrow(char *token, size_t len)
{
    static const char most[] = "1e308";
    size_t sign = token[0] == '-' ? 1 : 0;
    if (len < sign + strlen(most)) /* such a short one is not too large */
        return;
    char after = token[len];
    token[len] = '\0'; /* strtod must not read further */
    if (isinf(strtod(token, NULL))) {
        memset(token + sign, ' ', len - sign);
        memcpy(token + sign, most, strlen(most));
    } else if (is_wide(token, len)) {
        memcpy(token + len - 2, "e2", 2);
    }
    token[len] = after;
}

/* Replaces every such number outside of strings. text ends with a NUL. */
static void narrow_numbers(char *text, size_t len)
{
    bool in_string = false;
    for (size_t i = 0; i < len;) {
        size_t n = 1;
        if (in_string && text[i] == '\\')
            n = 2;
        else if (text[i] == '"')
            in_string = !in_string;
        else if (!in_string && (n = number_length(text + i)) > 0)
            narrow(text + i, n);
        i += n > 0 ? n : 1;
    }
}

json_t *kl_json_read(const char *data, size_t len, json_error_t *error)
{
    json_error_t own;
    error = error != NULL ? error : &own;
    if (len >= 3 && memcmp(data, byte_order_mark, 3) == 0) {
        data += 3;
        len -= 3;
    }
    json_t *root = kl_json_load(data, len, FLAGS, error);
    if (root != NULL || json_error_code(error) != json_error_numeric_overflow)
        return root;
    char *text = malloc(len + 1);
    if (text == NULL) {
        kl_json_tell_short();
        return NULL;
    }
    memcpy(text, data, len);
    text[len] = '\0';
    narrow_numbers(text, len);
    root = kl_json_load(text, len, FLAGS, error);
    free(text);
    return root;
}
