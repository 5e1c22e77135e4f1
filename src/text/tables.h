/*
 * The tables that a tokenizer searches: made of a model file, or mapped from the file they were
 * kept in.
 * Internal to text/.
 *
 * Reading, checking and hashing 150,000 tokens and as many merges takes a tenth of a second, so the
 * result is kept next to the packed weights, in a file of the same format: its sections are the
 * tables as they lie in memory. Starting is mapping it and comparing its checksums.
 */
#ifndef KL_TEXT_TABLES_H
#define KL_TEXT_TABLES_H

#include "format/sections.h"
#include "text/bpe.h"
#include "text/vocab.h"
#include "text/words.h"

struct kl_tables {
    struct kl_vocab vocab;
    struct kl_bpe bpe;
    struct kl_words words;
    struct kl_sections kept; /* the mapped file, when the tables are borrowed */
    bool whole_tokens;       /* every normal token is reached by its own bytes */
    bool known, remembered;  /* whether made_of is known; and without reading the vocabulary */
    struct kl_digest made_of;
    int64_t since; /* when reading of the vocabulary began */
};

/* dir: where the tables may have been kept; NULL: nowhere. whole_tokens: see pretokenizer.h. Writes
 * nothing. */
enum kl_status kl_tables_open(struct kl_tables *t, const struct kl_gguf *gguf, bool whole_tokens,
                              const char *dir, struct kl_error *err);
/* Keeps tables that were opened, and were made, in dir, and maps them from there. Call it for an
 * accepted model only. Failure to keep them is logged as a warning. */
void kl_tables_keep(struct kl_tables *t, const struct kl_gguf *gguf, const char *dir);
void kl_tables_close(struct kl_tables *t);

#endif
