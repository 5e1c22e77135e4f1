#include "text/char_class.h"

#include <stddef.h>
#include <stdlib.h>

#include "text/char_ranges.h"

static void set_flag(uint8_t *flags, const struct char_range *ranges, size_t n, unsigned flag)
{
    for (size_t i = 0; i < n; i++) {
        for (uint32_t c = ranges[i].first; c <= ranges[i].last; c++)
            flags[c] = (uint8_t)(flags[c] | flag);
    }
}

#define SET_FLAG(flags, ranges, flag) set_flag(flags, ranges, sizeof ranges / sizeof *ranges, flag)

enum kl_status kl_char_classes_init(struct kl_char_classes *classes, struct kl_error *err)
{
    classes->flags = calloc(KL_CODE_POINTS, 1);
    if (classes->flags == NULL)
        return kl_fail_memory(err, "the table of characters", KL_CODE_POINTS);
    SET_FLAG(classes->flags, letter_ranges, KL_CHAR_LETTER);
    SET_FLAG(classes->flags, number_ranges, KL_CHAR_NUMBER);
    SET_FLAG(classes->flags, space_ranges, KL_CHAR_SPACE);
    SET_FLAG(classes->flags, combining_ranges, KL_CHAR_COMBINES);
    return KL_OK;
}

void kl_char_classes_release(struct kl_char_classes *classes)
{
    free(classes->flags);
    classes->flags = NULL;
}
