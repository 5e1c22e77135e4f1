/*
 * Finds where a call of a tool begins in free text, byte by byte: an opening tag anywhere; as the
 * first text, or in a fence, the beginning of an object up to the name of a tool. Internal to
 * calls_rule.c. Pure functions; the texts belong to the rule.
 */
#ifndef KL_GRAMMAR_CALL_OPENING_H
#define KL_GRAMMAR_CALL_OPENING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Sorted texts, and a place in them: those of them that begin with the same `len` bytes, of which
 * `at` is the first one. */
struct kl_texts {
    const char **texts; /* [n] */
    size_t n;
};
struct kl_texts_place {
    uint16_t at, len;
};

/* Goes on by a byte; false: none of the texts does. */
bool kl_texts_step(const struct kl_texts *texts, struct kl_texts_place *place, uint8_t byte);

/* Equal for all texts behind which the same bytes begin a call. */
struct kl_call_opening {
    uint8_t step;
    bool is_first, at_line_begin, is_fenced;
    bool is_spread;              /* there is a line break between the brace and the name */
    struct kl_texts_place place; /* in the fixed text of the step, or in the names */
};

void kl_call_opening_begin(struct kl_call_opening *opening);

enum kl_call_opened {
    KL_OPENED_NOT,
    KL_OPENED_TAG,
    KL_OPENED_FENCED,
    KL_OPENED_BARE,
    KL_OPENED_WRONG /* a name goes on behind that of a tool, as no text of a user does */
};

/* Returns whether a call has begun with this byte: behind the tag, or the quote behind a name,
 * which is then that of opening->place. names: with their quotes. */
enum kl_call_opened kl_call_opening_step(const struct kl_texts *names,
                                         struct kl_call_opening *opening, uint8_t byte);

#endif
