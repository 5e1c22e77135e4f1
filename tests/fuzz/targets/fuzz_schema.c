/*
 * A schema, a line end, and a value: numbers are compared consistently, a value that was written as
 * Python does is written the same again, and any schema is compiled or refused, and followed by the
 * machine, without a fault. A text that ends as a whole answer is JSON.
 */
#include <string.h>

#include "fuzz.h"
#include "grammar/rule.h"
#include "schema/number.h"
#include "schema/python_json.h"
#include "schema/schema.h"
#include "schema/trial_set.h"

static void check_number(const char *text, size_t len)
{
    struct kl_decimal d;
    if (kl_decimal_parse(text, len, &d, NULL) != KL_OK)
        return;
    const struct kl_number_bounds exactly = {.has_min = true, .has_max = true, .min = d, .max = d};
    const struct kl_number_bounds above = {.has_min = true, .min = d, .min_exclusive = true};
    struct kl_number_bounds multiple = {.has_multiple = d.n > 0, .multiple_of = d};
    multiple.multiple_of.negative = false;
    PROMISE(kl_number_equals(text, len, &d));
    PROMISE(kl_number_in_bounds(text, len, &exactly));
    PROMISE(!kl_number_in_bounds(text, len, &above));
    PROMISE(kl_number_in_bounds(text, len, &multiple));
    if (len > KL_NUMBER_MAX_DIGITS || memchr(text, 'e', len) || memchr(text, 'E', len))
        return;
    bool is_integer = memchr(text, '.', len) == NULL;
    for (size_t n = 0; n <= len; n++) {
        PROMISE(kl_number_can_begin(text, n, &exactly, is_integer));
        PROMISE(kl_number_can_begin(text, n, &multiple, is_integer));
    }
}

/* The value as Python writes it; false: it is none. */
static bool write_value(const char *text, size_t len, struct kl_buffer *value)
{
    size_t at = 0, again = 0;
    struct kl_buffer second;
    kl_buffer_init(value, (size_t)1 << 24);
    if (kl_python_json(text, len, &at, value, NULL) != KL_OK)
        return false;
    PROMISE(at <= len);
    kl_buffer_init(&second, (size_t)1 << 24);
    PROMISE(kl_python_json(value->data, value->len, &again, &second, NULL) == KL_OK);
    PROMISE(again == value->len && second.len == value->len);
    PROMISE(memcmp(second.data, value->data, value->len) == 0);
    kl_buffer_release(&second);
    return true;
}

/* Follows a text as far as the rule allows it, and says whether it is a whole answer there. */
static bool follow(struct kl_machine *machine, const char *text, size_t len, size_t *stopped_at)
{
    struct kl_rule_state state, next;
    machine->kind->begin(machine, &state);
    for (*stopped_at = 0; *stopped_at < len; ++*stopped_at, state = next)
        if (!machine->kind->step(machine, &state, (uint8_t)text[*stopped_at], &next))
            break;
    return machine->kind->is_complete(machine, &state);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data, *line = memchr(text, '\n', size);
    size_t len = line == NULL ? size : (size_t)(line - text), at;
    const char *rest = text + len + (line != NULL);
    size_t n = size - (size_t)(rest - text);
    struct kl_trial_set set = {0};
    struct kl_rule *rule = NULL;
    struct kl_machine *machine;
    struct kl_buffer value, prefix;
    check_number(rest, n);
    bool is_value = write_value(rest, n, &value);
    if (kl_trial_read_schema(text, len, &set, NULL) == KL_OK &&
        kl_schema_compile(set.schema, KL_SCHEMA_JUDGE, &rule, NULL, NULL) == KL_OK &&
        rule->kind->open(rule, &machine, NULL) == KL_OK) {
        bool complete = follow(machine, rest, n, &at);
        if (complete && machine->failure.status == KL_OK) {
            PROMISE(write_value(rest, at, &prefix));
            kl_buffer_release(&prefix);
        }
        if (is_value)
            follow(machine, value.data, value.len, &at);
        machine->kind->close(machine);
    }
    kl_rule_disown(rule);
    kl_trial_set_release(&set);
    kl_buffer_release(&value);
    return 0;
}
