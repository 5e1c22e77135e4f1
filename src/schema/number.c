#include "schema/number.h"

#include <string.h>

#include "base/hash.h"

/* ---- texts ----------------------------------------------------------------------------------- */

/* The decimal that a text says. Its digits are those of first[0..end) without the point. */
struct written {
    bool negative;
    const char *first, *end; /* the first and past the last digit that is not 0; zero: the same */
    size_t n;                /* digits */
    int64_t exponent;        /* of the last digit; beyond +-MAX_EXPONENT only roughly */
    uint64_t wrapped;        /* the exponent modulo 2^64, exactly */
};

/* Beyond every exponent that a struct kl_decimal has, whatever digits a text has. */
static const int64_t MAX_EXPONENT = 100000000000000000;

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static const char *skip_digits(const char *p, const char *end)
{
    while (p < end && is_digit(*p))
        p++;
    return p;
}

/* Reads "e-12" or nothing, up to the end. */
static bool read_exponent(const char *p, const char *end, int64_t *exponent, uint64_t *wrapped)
{
    *exponent = 0;
    *wrapped = 0;
    if (p == end)
        return true;
    if (*p != 'e' && *p != 'E')
        return false;
    p++;
    bool negative = p < end && *p == '-';
    if (p < end && (*p == '-' || *p == '+'))
        p++;
    if (p == end || skip_digits(p, end) != end)
        return false;
    for (; p < end; p++) {
        *wrapped = *wrapped * 10 + (uint64_t)(*p - '0');
        *exponent = *exponent * 10 + (*p - '0');
        if (*exponent > MAX_EXPONENT)
            *exponent = MAX_EXPONENT;
    }
    if (negative) {
        *exponent = -*exponent;
        *wrapped = 0 - *wrapped;
    }
    return true;
}

/* Drops zeros at both ends of the digits [first, end) with the point among them, the last of which
 * has the weight 10^(exponent - digits behind the point). */
static void trim(struct written *w, const char *first, const char *point, const char *end)
{
    while (first < end && !(*first >= '1' && *first <= '9'))
        first++;
    while (end > first && !(end[-1] >= '1' && end[-1] <= '9'))
        end--;
    /* digits between the point and `end`; negative: zeros were dropped before it */
    int64_t behind = end > point ? end - point - 1 : end - point;
    w->first = first;
    w->end = end;
    w->n = (size_t)(end - first) - (first < point && end > point ? 1 : 0);
    w->exponent -= behind;
    w->wrapped -= (uint64_t)behind;
}

/* Reads a JSON number (RFC 8259, section 6). */
static bool read_number(const char *text, size_t len, struct written *w)
{
    const char *p = text, *end = text + len;
    w->negative = p < end && *p == '-';
    if (w->negative)
        p++;
    const char *first = p;
    p = skip_digits(p, end);
    if (p == first || (*first == '0' && p - first > 1))
        return false;
    const char *point = p;
    if (p < end && *p == '.') {
        p = skip_digits(p + 1, end);
        if (p == point + 1)
            return false;
    }
    if (!read_exponent(p, end, &w->exponent, &w->wrapped))
        return false;
    trim(w, first, point, p);
    return true;
}

enum kl_status kl_decimal_parse(const char *text, size_t len, struct kl_decimal *decimal,
                                struct kl_error *err)
{
    struct written w;
    int shown = len < 60 ? (int)len : 60;
    if (!read_number(text, len, &w))
        return kl_fail(err, KL_ERR_INVALID, "'%.*s' is not a JSON number", shown, text);
    if (w.n > KL_DECIMAL_DIGITS)
        return kl_fail(err, KL_ERR_LIMIT,
                       "the number %.*s... has %zu digits; at most %d can be used", shown, text,
                       w.n, KL_DECIMAL_DIGITS);
    if (w.n > 0 && (w.exponent < -KL_DECIMAL_MAX_EXPONENT || w.exponent > KL_DECIMAL_MAX_EXPONENT))
        return kl_fail(err, KL_ERR_LIMIT, "the exponent of %.*s is beyond +-%d", shown, text,
                       KL_DECIMAL_MAX_EXPONENT);
    memset(decimal, 0, sizeof *decimal);
    for (const char *p = w.first; p < w.end; p++)
        if (*p != '.')
            decimal->digits[decimal->n++] = (uint8_t)(*p - '0');
    if (w.n > 0) {
        decimal->negative = w.negative;
        decimal->exponent = (int32_t)w.exponent;
    }
    return KL_OK;
}

/* ---- comparing ------------------------------------------------------------------------------- */

/* Compares without signs: < 0, 0, > 0. */
static int compare_sizes(const struct written *w, const struct kl_decimal *d)
{
    if (w->n == 0 || d->n == 0)
        return (w->n > 0) - (d->n > 0);
    int64_t magnitude = w->exponent + (int64_t)w->n, other = (int64_t)d->exponent + d->n;
    if (magnitude != other)
        return magnitude < other ? -1 : 1;
    const char *p = w->first;
    for (uint8_t i = 0; i < d->n; i++) {
        if (p < w->end && *p == '.')
            p++;
        if (p == w->end)
            return -1;
        int difference = (*p++ - '0') - d->digits[i];
        if (difference != 0)
            return difference;
    }
    return p < w->end;
}

static int compare(const struct written *w, const struct kl_decimal *d)
{
    int sign = w->n == 0 ? 0 : w->negative ? -1 : 1, other = d->n == 0 ? 0 : d->negative ? -1 : 1;
    if (sign != other)
        return sign - other;
    return sign * compare_sizes(w, d);
}

bool kl_number_is_integer(const char *text, size_t len)
{
    struct written w;
    return read_number(text, len, &w) && (w.n == 0 || w.exponent >= 0);
}

bool kl_number_equals(const char *text, size_t len, const struct kl_decimal *decimal)
{
    struct written w;
    return read_number(text, len, &w) && compare(&w, decimal) == 0;
}

uint64_t kl_number_hash(const char *text, size_t len)
{
    struct written w;
    if (!read_number(text, len, &w) || w.n == 0)
        return kl_hash64(NULL, 0, 1);
    const char *point = memchr(w.first, '.', (size_t)(w.end - w.first));
    uint64_t hash = kl_hash64(&w.wrapped, sizeof w.wrapped, w.negative ? 3 : 2);
    /* the digits in pieces of 64, which the point does not move */
    char piece[64];
    size_t n = 0;
    for (const char *p = w.first; p < w.end; p++) {
        if (p == point)
            continue;
        piece[n++] = *p;
        if (n == sizeof piece) {
            hash = kl_hash64(piece, n, hash);
            n = 0;
        }
    }
    return kl_hash64(piece, n, hash);
}

/* ---- dividing -------------------------------------------------------------------------------- */

typedef unsigned __int128 wide;

/* KL_DECIMAL_DIGITS and KL_NUMBER_MAX_DIGITS digits and one more fit. */
_Static_assert(KL_DECIMAL_DIGITS <= 36 && KL_NUMBER_MAX_DIGITS == 36, "below 2^128 / 10");

static wide digits_of(const struct kl_decimal *d)
{
    wide value = 0;
    for (uint8_t i = 0; i < d->n; i++)
        value = value * 10 + d->digits[i];
    return value;
}

/* The remainder of the digits of w, with `zeros` zeros behind them, divided by m. */
static wide remainder_of(const struct written *w, int64_t zeros, wide m)
{
    if (m < UINT64_MAX / 10) {
        uint64_t small = (uint64_t)m, rest = 0;
        for (const char *p = w->first; p < w->end; p++)
            if (*p != '.')
                rest = (rest * 10 + (uint64_t)(*p - '0')) % small;
        for (; zeros > 0; zeros--)
            rest = rest * 10 % small;
        return rest;
    }
    wide rest = 0;
    for (const char *p = w->first; p < w->end; p++)
        if (*p != '.')
            rest = (rest * 10 + (unsigned)(*p - '0')) % m;
    for (; zeros > 0; zeros--)
        rest = rest * 10 % m;
    return rest;
}

/* The quotient is digits(w) * 10^k / digits(d). Negative k: no, since digits(w) does not end in 0.
 * Otherwise only the factors 2 and 5 of digits(d) < 10^36 < 2^120 have a use for the zeros, so 120
 * of them are as good as more. */
static bool is_multiple(const struct written *w, const struct kl_decimal *d)
{
    if (w->n == 0)
        return true;
    int64_t zeros = w->exponent - d->exponent;
    if (zeros < 0 || d->n == 0)
        return false;
    return remainder_of(w, zeros < 120 ? zeros : 120, digits_of(d)) == 0;
}

bool kl_number_in_bounds(const char *text, size_t len, const struct kl_number_bounds *bounds)
{
    struct written w;
    if (!read_number(text, len, &w))
        return false;
    if (bounds->has_min && compare(&w, &bounds->min) < (bounds->min_exclusive ? 1 : 0))
        return false;
    if (bounds->has_max && compare(&w, &bounds->max) > (bounds->max_exclusive ? -1 : 0))
        return false;
    return !bounds->has_multiple || is_multiple(&w, &bounds->multiple_of);
}

/* ---- beginnings ------------------------------------------------------------------------------ */

/*
 * A number without an exponent is N / 10^f, with f digits behind the point. More digits behind the
 * point never exclude a number (1.5 is 1.50), so f is what the digits before it leave of
 * KL_NUMBER_MAX_DIGITS. A beginning with the digits v then covers an interval of N for each number
 * of digits before the point; there is a number if one of the intervals, cut to the bounds times
 * 10^f, contains a multiple of the step.
 */

static const int MAX_DIGITS = KL_NUMBER_MAX_DIGITS;

static wide power_of_10(int n)
{
    static const uint64_t small[] = {1,
                                     10,
                                     100,
                                     1000,
                                     10000,
                                     100000,
                                     1000000,
                                     10000000,
                                     100000000,
                                     1000000000,
                                     10000000000,
                                     100000000000,
                                     1000000000000,
                                     10000000000000,
                                     100000000000000,
                                     1000000000000000,
                                     10000000000000000,
                                     100000000000000000,
                                     1000000000000000000};
    return n <= 18 ? small[n] : (wide)small[18] * small[n - 18];
}

/* The bounds as they are for the digits of a number with a given sign. */
struct side {
    bool empty;   /* no number has this sign */
    bool has_low; /* low > 0 */
    bool has_high;
    bool low_exclusive, high_exclusive;
    const struct kl_decimal *low, *high, *step; /* without their signs; step: NULL: none */
    wide low_digits, high_digits, step_digits;
};

static void begin_side(const struct kl_number_bounds *b, bool negative, struct side *side)
{
    bool has_low = negative ? b->has_max : b->has_min,
         has_high = negative ? b->has_min : b->has_max;
    memset(side, 0, sizeof *side);
    side->low = negative ? &b->max : &b->min;
    side->high = negative ? &b->min : &b->max;
    side->low_exclusive = negative ? b->max_exclusive : b->min_exclusive;
    side->high_exclusive = negative ? b->min_exclusive : b->max_exclusive;
    /* zero has no sign: it is a low bound of both sides, of use where it is exclusive */
    side->has_low = has_low && (side->low->n == 0 || side->low->negative == negative);
    side->has_high = has_high;
    side->empty = has_high && side->high->n > 0 && side->high->negative != negative;
    if (side->has_low)
        side->low_digits = digits_of(side->low);
    if (side->has_high)
        side->high_digits = digits_of(side->high);
    if (b->has_multiple) {
        side->step = &b->multiple_of;
        side->step_digits = digits_of(side->step);
    }
}

/* The largest integer not above |d| * 10^f, or 10^MAX_DIGITS where that is less; digits: of d. */
static wide scale(const struct kl_decimal *d, wide digits, int f, bool *exact)
{
    int64_t zeros = (int64_t)d->exponent + f;
    *exact = zeros >= 0 || d->n == 0;
    if (d->n == 0 || -zeros >= d->n)
        return 0;
    if (zeros < 0)
        return digits / power_of_10((int)-zeros);
    if (d->n + zeros > MAX_DIGITS)
        return power_of_10(MAX_DIGITS);
    return digits * power_of_10((int)zeros);
}

/* The smallest integer > 0 that is a multiple of the step times 10^f; 10^MAX_DIGITS: too large. */
static wide scale_step(const struct side *side, int f)
{
    int64_t zeros = (int64_t)side->step->exponent + f;
    wide step = side->step_digits;
    if (zeros >= 0) {
        if (side->step->n + zeros > MAX_DIGITS)
            return power_of_10(MAX_DIGITS);
        return step * power_of_10((int)zeros);
    }
    /* what 10^-zeros contributes to the numerator is what step has in common with it: factors 2, or
     * factors 5, since it does not end in 0 */
    for (int64_t i = zeros; i < 0 && step % 2 == 0; i++)
        step /= 2;
    for (int64_t i = zeros; i < 0 && step % 5 == 0; i++)
        step /= 5;
    return step;
}

/* Whether one of the integers first to last, divided by 10^f, is within the bounds. */
static bool has_number(const struct side *side, wide first, wide last, int f)
{
    bool exact;
    if (side->has_low) {
        wide low = scale(side->low, side->low_digits, f, &exact);
        low += !exact || side->low_exclusive;
        first = first < low ? low : first;
    }
    if (side->has_high) {
        wide high = scale(side->high, side->high_digits, f, &exact);
        if (exact && side->high_exclusive && high-- == 0)
            return false;
        last = last > high ? high : last;
    }
    if (first > last)
        return false;
    if (side->step == NULL || first == 0)
        return true;
    wide step = scale_step(side, f);
    if (last - first >= step - 1)
        return true;
    wide rest = first % step;
    return rest == 0 || last - first >= step - rest;
}

/* n digits from v to below `end` are before the point (end <= 10^n), more may follow them if
 * v > 0, and then a fraction. */
static bool can_continue(const struct side *side, wide v, wide end, int n, bool is_integer)
{
    for (int digits = n; digits <= MAX_DIGITS && (digits == n || v > 0); digits++) {
        int f = is_integer ? 0 : MAX_DIGITS - digits;
        wide power = power_of_10(digits - n + f);
        if (has_number(side, v * power, end * power - 1, f))
            return true;
    }
    return false;
}

static bool side_can_begin(const struct side *side, const char *p, const char *end, bool is_integer)
{
    wide v = 0;
    int n = 0, behind = -1; /* digits; of them behind the point, -1: no point yet */
    if (side->empty)
        return false;
    if (p == end)
        return can_continue(side, 0, 1, 1, is_integer) || can_continue(side, 1, 10, 1, is_integer);
    for (const char *first = p; p < end; p++) {
        if (*p == '.' && n > 0 && behind < 0 && !is_integer) {
            behind = 0;
            continue;
        }
        if (!is_digit(*p) || n == MAX_DIGITS || (n == 1 && behind < 0 && *first == '0'))
            return false;
        v = v * 10 + (unsigned)(*p - '0');
        n++;
        behind += behind >= 0;
    }
    if (behind < 0)
        return can_continue(side, v, v + 1, n, is_integer);
    int f = MAX_DIGITS - (n - behind);
    wide power = power_of_10(f - behind);
    return f > 0 && has_number(side, v * power, v * power + power - 1, f);
}

bool kl_number_can_begin(const char *prefix, size_t len, const struct kl_number_bounds *bounds,
                         bool is_integer)
{
    const char *end = prefix + len;
    bool negative = len > 0 && *prefix == '-';
    struct side side;
    begin_side(bounds, negative, &side);
    if (side_can_begin(&side, prefix + negative, end, is_integer))
        return true;
    if (len > 0)
        return false;
    begin_side(bounds, true, &side);
    return side_can_begin(&side, prefix, end, is_integer);
}
