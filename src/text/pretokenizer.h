/*
 * Text to the pieces that BPE works on: hand-written scanners for the split rules of the models.
 *
 * Each byte belongs to exactly one piece. Every call is linear in the piece it finds, and a whole
 * text in its length. A new rule is two edits of pretokenizer.c: its function and its row in the
 * table.
 */
#ifndef KL_TEXT_PRETOKENIZER_H
#define KL_TEXT_PRETOKENIZER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "text/char_class.h"

struct kl_pretokenizer {
    const char *name; /* tokenizer.ggml.pre */
    bool nfc;         /* text is brought to NFC first */
    bool all_bytes;   /* the vocabulary has a token for each byte; else those without are dropped */
    bool whole_tokens; /* a piece that is a token is it, whatever merges make ("ignore_merges") */
    bool adds_bos;     /* a text begins with BOS, unless the file says otherwise */
    /* The length in bytes of the first piece of text[0..len): valid UTF-8, len > 0, beginning where
     * a piece begins. */
    size_t (*piece)(const struct kl_char_classes *classes, const char *text, size_t len);
};

/* The one called name[0..len); KL_ERR_UNSUPPORTED, with a list of those there are, for another. */
enum kl_status kl_pretokenizer_find(const char *name, size_t len,
                                    const struct kl_pretokenizer **out, struct kl_error *err);

#endif
