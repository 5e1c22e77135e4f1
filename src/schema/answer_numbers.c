/* Numbers of an alternative: a list that is filtered, or bounds. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "schema/answer_parts.h"

/* Room for a decimal as digits and an exponent. */
enum { TEXT_ROOM = KL_DECIMAL_DIGITS + 24 };

/* Longest number of a list that is written: without an exponent. */
enum { MAX_WRITTEN = 30 };

static size_t text_of(const struct kl_decimal *decimal, char text[TEXT_ROOM])
{
    size_t n = 0;
    if (decimal->negative && decimal->n != 0)
        text[n++] = '-';
    for (size_t i = 0; i < decimal->n; i++)
        text[n++] = (char)('0' + decimal->digits[i]);
    if (decimal->n == 0)
        text[n++] = '0';
    if (decimal->exponent != 0 && decimal->n != 0)
        n += (size_t)snprintf(text + n, TEXT_ROOM - n, "e%d", (int)decimal->exponent);
    return n;
}

static bool is_within(const struct kl_decimal *decimal, const struct kl_number_bounds *bounds)
{
    char text[TEXT_ROOM];
    size_t n = text_of(decimal, text);
    return kl_number_in_bounds(text, n, bounds);
}

static bool is_integer(const struct kl_decimal *decimal)
{
    return decimal->n == 0 || decimal->exponent >= 0;
}

static bool is_writable(const struct kl_decimal *decimal)
{
    long length = decimal->n;
    if (decimal->exponent >= 0)
        length += decimal->exponent;
    else if (-decimal->exponent >= decimal->n)
        length = 2 - (long)decimal->exponent;
    return length <= MAX_WRITTEN;
}

static bool is_equal(const struct kl_decimal *a, const struct kl_decimal *b)
{
    return a->negative == b->negative && a->n == b->n &&
           (a->n == 0 || a->exponent == b->exponent) && memcmp(a->digits, b->digits, a->n) == 0;
}

int kl_answers_compare(const struct kl_decimal *x, const struct kl_decimal *y)
{
    struct kl_number_bounds below = {.has_max = true, .max = *y};
    return is_equal(x, y) ? 0 : is_within(x, &below) ? -1 : 1;
}

static bool list_has(const struct kl_answers *a, const struct kl_schema_node *node,
                     const struct kl_decimal *decimal)
{
    for (uint32_t i = 0; i < node->numbers.n; i++)
        if (is_equal(&a->graph->numbers[node->numbers.first + i], decimal))
            return true;
    return false;
}

/* Whether the node's own assertions allow a number. */
static bool allows(const struct kl_answers *a, const struct kl_schema_node *node,
                   const struct kl_decimal *decimal)
{
    if ((node->types & (is_integer(decimal) ? KL_JSON_INTEGER : KL_JSON_FRACTION)) == 0)
        return false;
    if (node->bounds >= 0 && !is_within(decimal, &a->graph->bounds[node->bounds]))
        return false;
    return !node->has_numbers || list_has(a, node, decimal);
}

/* Narrows bounds by others. false: multiples that do not go together. */
static bool narrow(struct kl_number_bounds *bounds, const struct kl_number_bounds *by)
{
    struct kl_number_bounds probe = {0};
    if (by->has_min) {
        probe = (struct kl_number_bounds){
            .has_min = true, .min_exclusive = bounds->min_exclusive, .min = bounds->min};
        if (!bounds->has_min || is_within(&by->min, &probe)) {
            bool stays =
                bounds->has_min && bounds->min_exclusive && is_equal(&bounds->min, &by->min);
            bounds->has_min = true;
            bounds->min = by->min;
            bounds->min_exclusive = by->min_exclusive || stays;
        } else if (is_equal(&bounds->min, &by->min)) {
            bounds->min_exclusive = true;
        }
    }
    if (by->has_max) {
        probe = (struct kl_number_bounds){
            .has_max = true, .max_exclusive = bounds->max_exclusive, .max = bounds->max};
        if (!bounds->has_max || is_within(&by->max, &probe)) {
            bounds->has_max = true;
            bounds->max = by->max;
            bounds->max_exclusive = by->max_exclusive;
        } else if (is_equal(&bounds->max, &by->max)) {
            bounds->max_exclusive = true;
        }
    }
    if (!by->has_multiple)
        return true;
    if (bounds->has_multiple) {
        probe = (struct kl_number_bounds){.has_multiple = true, .multiple_of = by->multiple_of};
        if (is_within(&bounds->multiple_of, &probe))
            return true;
        probe.multiple_of = bounds->multiple_of;
        if (!is_within(&by->multiple_of, &probe))
            return false;
    }
    bounds->has_multiple = true;
    bounds->multiple_of = by->multiple_of;
    return true;
}

static enum kl_status filter(struct kl_answers *a, const struct kl_alternative *alt,
                             const struct kl_schema_node *listed, struct kl_schema_node *node)
{
    struct kl_decimal *kept = malloc((listed->numbers.n + 1) * sizeof(*kept));
    size_t n = 0;
    if (kept == NULL)
        return kl_fail_memory(a->err, "a schema", listed->numbers.n * sizeof(*kept));
    unsigned types = 0;
    for (uint32_t i = 0; i < listed->numbers.n; i++) {
        const struct kl_decimal *decimal = &a->graph->numbers[listed->numbers.first + i];
        unsigned type = is_integer(decimal) ? KL_JSON_INTEGER : KL_JSON_FRACTION;
        bool is_kept = is_writable(decimal) && (node->types & type) != 0;
        for (size_t k = 0; k < alt->n && is_kept; k++)
            is_kept = allows(a, kl_raw(a, alt->applied[k]), decimal);
        if (!is_kept)
            continue;
        kept[n++] = *decimal;
        types |= type;
    }
    node->types = (uint8_t)((node->types & ~(unsigned)KL_JSON_NUMBER) | types);
    node->has_numbers = true;
    enum kl_status status = kl_schema_add_numbers(&a->builder, kept, n, &node->numbers);
    free(kept);
    return status;
}

enum kl_status kl_answers_merge_numbers(struct kl_answers *a, const struct kl_alternative *alt,
                                        struct kl_schema_node *node)
{
    struct kl_number_bounds bounds = {0};
    bool has_bounds = false;
    if ((node->types & KL_JSON_NUMBER) == 0)
        return KL_OK;
    for (size_t i = 0; i < alt->n; i++)
        if (kl_raw(a, alt->applied[i])->has_numbers) {
            struct kl_schema_node listed = *kl_raw(a, alt->applied[i]);
            return filter(a, alt, &listed, node);
        }
    /* Numbers that must not be integers are left out. */
    if ((node->types & KL_JSON_INTEGER) == 0) {
        node->types &= (uint8_t)~KL_JSON_NUMBER;
        return KL_OK;
    }
    for (size_t i = 0; i < alt->n; i++) {
        int32_t by = kl_raw(a, alt->applied[i])->bounds;
        if (by < 0)
            continue;
        has_bounds = true;
        if (!narrow(&bounds, &a->graph->bounds[by]))
            return kl_answers_refuse(a, kl_raw(a, alt->applied[i]), KL_ERR_UNSUPPORTED,
                                     "multipleOf",
                                     "is not supported with another one that is no multiple of it");
    }
    if (!has_bounds)
        return KL_OK;
    if (!kl_number_can_begin("", 0, &bounds, (node->types & KL_JSON_FRACTION) == 0)) {
        node->types &= (uint8_t)~KL_JSON_NUMBER;
        return KL_OK;
    }
    return kl_schema_add_bounds(&a->builder, &bounds, &node->bounds);
}

bool kl_answers_numbers_clash(const struct kl_answers *a, const struct kl_schema_node *x,
                              const struct kl_schema_node *y)
{
    const struct kl_schema_node *listed = x->has_numbers ? x : y;
    if (listed->has_numbers) {
        for (uint32_t i = 0; i < listed->numbers.n; i++) {
            const struct kl_decimal *decimal = &a->graph->numbers[listed->numbers.first + i];
            if (allows(a, x, decimal) && allows(a, y, decimal))
                return false;
        }
        return true;
    }
    if (x->bounds < 0 || y->bounds < 0)
        return false;
    struct kl_number_bounds bounds = a->graph->bounds[x->bounds];
    return narrow(&bounds, &a->graph->bounds[y->bounds]) && bounds.has_min && bounds.has_max &&
           !is_within(&bounds.min,
                      &(struct kl_number_bounds){.has_max = true,
                                                 .max_exclusive =
                                                     bounds.max_exclusive || bounds.min_exclusive,
                                                 .max = bounds.max});
}
