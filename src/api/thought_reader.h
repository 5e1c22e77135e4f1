/*
 * Splits the thoughts of a model off its answer, as it comes: "<think>", thoughts, "</think>",
 * text.
 *
 * Thoughts are only at the begin of an answer. Text is held back only while it may be one of these
 * marks; whitespace directly behind them belongs to neither part. The struct is the caller's and
 * allocates nothing. One thread at a time.
 */
#ifndef KL_API_THOUGHT_READER_H
#define KL_API_THOUGHT_READER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

enum { KL_THOUGHT_HELD = 24 };

struct kl_thought_reader {
    enum kl_thought_place {
        KL_THOUGHT_BEFORE, /* no text yet */
        KL_THOUGHT_OPENED, /* behind "<think>", before the first letter */
        KL_THOUGHT_INSIDE,
        KL_THOUGHT_CLOSED, /* behind "</think>", before the first letter */
        KL_THOUGHT_IN_TEXT
    } place;
    size_t n_held;
    char held[KL_THOUGHT_HELD];
};

/* Receives a piece of thoughts or of text, whole code points; an error is passed on. */
typedef enum kl_status kl_thought_sink(void *context, bool is_thought, const char *text,
                                       size_t len);

/* opened: the prompt ended with "<think>". */
void kl_thought_reader_init(struct kl_thought_reader *reader, bool opened);

/* Reads the next piece of the answer: whole code points. */
enum kl_status kl_thought_reader_feed(struct kl_thought_reader *reader, const char *text,
                                      size_t len, kl_thought_sink *sink, void *context);

/* The answer is complete, or cut: passes on what is still held back. */
enum kl_status kl_thought_reader_end(struct kl_thought_reader *reader, kl_thought_sink *sink,
                                     void *context);

#endif
