/*
 * The tables that a tokenizer searches, made of a model file or mapped from where they were kept.
 * Internal to text/.
 *
 * Reading, checking and hashing 150,000 tokens and as many merges takes a tenth of a second, so the
 * result is kept beside the packed weights, in a file of the same format: its sections are the
 * tables as they lie in memory. Starting is mapping it and comparing its checksums.
 */
#ifndef KL_TEXT_TABLES_H
#define KL_TEXT_TABLES_H

#include "format/packed.h"
#include "text/bpe.h"
#include "text/vocab.h"
#include "text/words.h"

struct kl_tables {
    struct kl_vocab vocab;
    struct kl_bpe bpe;
    struct kl_words words;
    struct kl_packed_file kept; /* what they are borrowed from, if they are */
};

/* dir: where the tables are kept; NULL: nowhere. That they can not be kept is a warning. */
enum kl_status kl_tables_open(struct kl_tables *t, const struct kl_gguf *gguf, const char *dir,
                              struct kl_error *err);
void kl_tables_close(struct kl_tables *t);

#endif
