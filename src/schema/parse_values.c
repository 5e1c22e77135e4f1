/* Keywords of strings and numbers, and values of keywords. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "schema/formats.h"
#include "schema/schema_parse.h"

enum kl_status kl_schema_parse_count(struct kl_schema_parser *p, struct kl_schema_frame *frame,
                                     enum kl_schema_word word, uint32_t *count)
{
    const json_t *value = frame->words.value[word];
    if (value == NULL)
        return KL_OK;
    double number = json_number_value(value);
    if (!json_is_number(value) || number < 0 || number != floor(number))
        return kl_schema_refuse(p, KL_ERR_INVALID, kl_schema_word_name(word),
                                "must be a whole number, 0 or more");
    *count = number >= UINT32_MAX ? UINT32_MAX : (uint32_t)number;
    return KL_OK;
}

void kl_schema_number_text(const json_t *value, char text[static KL_NUMBER_TEXT])
{
    if (json_is_integer(value)) {
        snprintf(text, KL_NUMBER_TEXT, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        return;
    }
    double number = json_real_value(value);
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, KL_NUMBER_TEXT, "%.*g", digits, number);
        if (strtod(text, NULL) == number)
            return;
    }
}

enum kl_status kl_schema_parse_decimal(struct kl_schema_parser *p, const char *keyword,
                                       const json_t *value, struct kl_decimal *decimal)
{
    char text[KL_NUMBER_TEXT];
    if (!json_is_number(value))
        return kl_schema_refuse(p, KL_ERR_INVALID, keyword, "must be a number");
    kl_schema_number_text(value, text);
    return kl_schema_refuse_failed(p, kl_decimal_parse(text, strlen(text), decimal, p->err),
                                   keyword);
}

/* One end of the range: the number of one keyword, with a flag (draft 4) or number of the other. */
static enum kl_status parse_bound(struct kl_schema_parser *p, struct kl_schema_frame *frame,
                                  bool is_min, struct kl_number_bounds *bounds)
{
    enum kl_schema_word word = is_min ? KL_WORD_MINIMUM : KL_WORD_MAXIMUM;
    enum kl_schema_word other = is_min ? KL_WORD_EXCLUSIVE_MINIMUM : KL_WORD_EXCLUSIVE_MAXIMUM;
    const json_t *value = frame->words.value[word], *exclusive = frame->words.value[other];
    bool has = false, is_exclusive = false;
    struct kl_decimal bound = {0};
    enum kl_status status = KL_OK;
    if (value != NULL) {
        status = kl_schema_parse_decimal(p, kl_schema_word_name(word), value, &bound);
        has = true;
    }
    if (status == KL_OK && json_is_boolean(exclusive) &&
        (p->draft == KL_DRAFT_4 || p->draft == KL_DRAFT_ANY)) {
        is_exclusive = json_is_true(exclusive);
    } else if (status == KL_OK && exclusive != NULL) {
        struct kl_decimal outer;
        if (p->draft == KL_DRAFT_4)
            return kl_schema_refuse(p, KL_ERR_INVALID, kl_schema_word_name(other),
                                    "must be true or false");
        status = kl_schema_parse_decimal(p, kl_schema_word_name(other), exclusive, &outer);
        /* The narrower one counts. */
        struct kl_number_bounds given = {.has_min = is_min, .has_max = !is_min};
        given.min = given.max = bound;
        char text[KL_NUMBER_TEXT];
        if (status == KL_OK)
            kl_schema_number_text(exclusive, text);
        if (status == KL_OK && (!has || kl_number_in_bounds(text, strlen(text), &given))) {
            bound = outer;
            has = is_exclusive = true;
        }
    }
    if (is_min) {
        bounds->has_min = has;
        bounds->min_exclusive = has && is_exclusive;
        bounds->min = bound;
    } else {
        bounds->has_max = has;
        bounds->max_exclusive = has && is_exclusive;
        bounds->max = bound;
    }
    return status;
}

static enum kl_status parse_numbers(struct kl_schema_parser *p, struct kl_schema_frame *frame)
{
    struct kl_number_bounds bounds = {0};
    enum kl_status status = parse_bound(p, frame, true, &bounds);
    if (status == KL_OK)
        status = parse_bound(p, frame, false, &bounds);
    const json_t *multiple = frame->words.value[KL_WORD_MULTIPLE_OF];
    if (status == KL_OK && multiple != NULL) {
        status = kl_schema_parse_decimal(p, "multipleOf", multiple, &bounds.multiple_of);
        bounds.has_multiple = true;
        if (status == KL_OK && (bounds.multiple_of.negative || bounds.multiple_of.n == 0))
            return kl_schema_refuse(p, KL_ERR_INVALID, "multipleOf", "must be above 0");
    }
    if (status != KL_OK || !(bounds.has_min || bounds.has_max || bounds.has_multiple))
        return status;
    return kl_schema_add_bounds(&p->builder, &bounds, &frame->node.bounds);
}

/* pattern and format. */
static enum kl_status parse_regexes(struct kl_schema_parser *p, struct kl_schema_frame *frame)
{
    const json_t *pattern = frame->words.value[KL_WORD_PATTERN];
    const json_t *format = frame->words.value[KL_WORD_FORMAT];
    uint32_t regexes[2];
    size_t n = 0;
    enum kl_status status = KL_OK;
    if (pattern != NULL) {
        if (!json_is_string(pattern))
            return kl_schema_refuse(p, KL_ERR_INVALID, "pattern", "must be a string");
        status = kl_schema_add_regex(&p->builder, json_string_value(pattern),
                                     json_string_length(pattern), KL_REGEX_SEARCH, &regexes[n++]);
        if (status != KL_OK)
            return kl_schema_refuse_failed(p, status, "pattern");
    }
    if (format != NULL) {
        if (!json_is_string(format))
            return kl_schema_refuse(p, KL_ERR_INVALID, "format", "must be a string");
        if (kl_format_is_refused(json_string_value(format)))
            return kl_schema_refuse(p, KL_ERR_UNSUPPORTED, "format", "\"%.40s\" is not supported",
                                    json_string_value(format));
        const char *text = kl_format_pattern(json_string_value(format));
        if (text != NULL)
            status =
                kl_schema_add_regex(&p->builder, text, strlen(text), KL_REGEX_WHOLE, &regexes[n++]);
        if (status != KL_OK)
            return kl_schema_refuse_failed(p, status, "format");
    }
    return kl_schema_add_regex_list(&p->builder, regexes, n, &frame->node.regexes);
}

enum kl_status kl_schema_parse_values(struct kl_schema_parser *p, struct kl_schema_frame *frame)
{
    enum kl_status status =
        kl_schema_parse_count(p, frame, KL_WORD_MIN_LENGTH, &frame->node.min_length);
    if (status == KL_OK)
        status = kl_schema_parse_count(p, frame, KL_WORD_MAX_LENGTH, &frame->node.max_length);
    if (status == KL_OK)
        status = parse_numbers(p, frame);
    return status == KL_OK ? parse_regexes(p, frame) : status;
}
