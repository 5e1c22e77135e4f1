#include "text/tables.h"

#include <stdlib.h>

#include "base/log.h"
#include "format/sections_dir.h"
#include "text/char_tokens.h"

/* To be raised whenever a section is laid out or filled in another way. */
#define TABLES_VERSION 3

/* ---- made of a model file -------------------------------------------------------------------- */

/* Tells the tokens apart that merges make of their own bytes (all do where pieces that are tokens
 * are not merged), and collects the short ones. */
static enum kl_status find_words(struct kl_tables *t, struct kl_error *err)
{
    struct kl_vocab *v = &t->vocab;
    struct kl_bpe_scratch scratch = {0};
    struct kl_tokens ids = {0};
    enum kl_status status = kl_words_init(&t->words, v->n, err);
    for (size_t id = 0; id < v->n && status == KL_OK; id++) {
        if (v->types[id] != KL_TOKEN_NORMAL)
            continue;
        size_t len;
        const char *bytes = kl_vocab_bytes(v, (int32_t)id, &len);
        ids.len = 0;
        if (!t->whole_tokens && kl_bpe_encode(&t->bpe, bytes, len, &scratch, &ids) != KL_OK)
            status = kl_fail_memory(err, "the tokenizer", len);
        else if (!t->whole_tokens && (ids.len != 1 || ids.ids[0] != (int32_t)id))
            v->types[id] = KL_TOKEN_UNREACHED;
        else if (len <= KL_WORD_MAX_BYTES)
            kl_words_add(&t->words, bytes, len, (int32_t)id);
    }
    kl_bpe_scratch_release(&scratch);
    kl_tokens_release(&ids);
    return status;
}

static enum kl_status make(struct kl_tables *t, const struct kl_gguf *gguf, struct kl_error *err)
{
    enum kl_status status = kl_vocab_load(&t->vocab, gguf, err);
    if (status == KL_OK)
        status = kl_bpe_load(&t->bpe, gguf, &t->vocab, err);
    if (status == KL_OK)
        status = find_words(t, err);
    return status;
}

/* ---- kept ------------------------------------------------------------------------------------ */

enum { BYTES, OFFSETS, TYPES, VOCAB_SLOTS, MERGE_SLOTS, RESULTS, CHARS, WORD_SLOTS, N_ARRAYS };

static const char *const names[N_ARRAYS] = {"tokens.bytes", "tokens.offsets", "tokens.types",
                                            "tokens.slots", "merges.slots",   "merges.results",
                                            "merges.chars", "words.slots"};

/* The first section; the sizes of the others follow from it. */
struct facts {
    uint64_t n_tokens, n_bytes, n_vocab_slots, n_merges, n_merge_slots, n_word_slots;
    int32_t byte_ids[256];
};

static void sizes_of(const struct facts *f, size_t sizes[N_ARRAYS])
{
    sizes[BYTES] = (size_t)f->n_bytes;
    sizes[OFFSETS] = ((size_t)f->n_tokens + 1) * sizeof(uint32_t);
    sizes[TYPES] = (size_t)f->n_tokens;
    sizes[VOCAB_SLOTS] = (size_t)f->n_vocab_slots * sizeof(struct kl_vocab_slot);
    sizes[MERGE_SLOTS] = (size_t)f->n_merge_slots * sizeof(uint64_t);
    sizes[RESULTS] = (size_t)f->n_merges * sizeof(int32_t);
    sizes[CHARS] = KL_CHAR_TOKENS * sizeof(uint32_t);
    sizes[WORD_SLOTS] = (size_t)f->n_word_slots * sizeof(struct kl_word_slot);
}

static bool is_table_size(uint64_t n)
{
    return n > 0 && n <= 4 * (uint64_t)KL_VOCAB_MAX && (n & (n - 1)) == 0;
}

/* The number of the way they are made. */
static uint32_t version_of(const struct kl_tables *t)
{
    return 2 * TABLES_VERSION + (t->whole_tokens ? 1 : 0);
}

static void name_of(const struct kl_tables *t, const char *suffix, char name[KL_SECTIONS_NAME_SIZE])
{
    kl_sections_name(&t->made_of, version_of(t), suffix, name);
}

static enum kl_status keep(const struct kl_tables *t, const char *dir, struct kl_error *err)
{
    struct facts facts = {.n_tokens = t->vocab.n,
                          .n_bytes = t->vocab.bytes_len,
                          .n_vocab_slots = t->vocab.n_slots,
                          .n_merges = t->bpe.merges.n,
                          .n_merge_slots = t->bpe.merges.mask + 1,
                          .n_word_slots = t->words.mask + 1};
    memcpy(facts.byte_ids, t->bpe.merges.byte_ids, sizeof facts.byte_ids);
    const void *const arrays[N_ARRAYS] = {
        t->vocab.bytes,      t->vocab.offsets,      t->vocab.types, t->vocab.slots,
        t->bpe.merges.slots, t->bpe.merges.results, t->bpe.chars,   t->words.slots};
    size_t sizes[N_ARRAYS];
    sizes_of(&facts, sizes);

    char name[KL_SECTIONS_NAME_SIZE], temporary[KL_SECTIONS_NAME_SIZE];
    name_of(t, KL_SECTIONS_TABLES, name);
    name_of(t, KL_SECTIONS_TABLES ".tmp", temporary);
    struct kl_sections_writer *writer = NULL;
    enum kl_status status = kl_sections_create(dir, temporary, N_ARRAYS + 1, &writer, err);
    if (status != KL_OK)
        return status;
    status = kl_sections_begin(writer, "facts", err);
    if (status == KL_OK)
        status = kl_sections_write(writer, &facts, sizeof facts, err);
    for (size_t i = 0; i < N_ARRAYS && status == KL_OK; i++) {
        status = kl_sections_begin(writer, names[i], err);
        if (status == KL_OK)
            status = kl_sections_write(writer, arrays[i], sizes[i], err);
    }
    if (status != KL_OK) {
        kl_sections_abandon(writer);
        return status;
    }
    struct kl_digest key = kl_sections_key(&t->made_of, version_of(t));
    return kl_sections_finish(writer, name, &key, err);
}

/* Points the tables into the file that is mapped. They are only read: kl_vocab_append copies. */
static enum kl_status borrow(struct kl_tables *t, struct kl_error *err)
{
    struct kl_section s;
    struct facts f;
    void *arrays[N_ARRAYS];
    size_t sizes[N_ARRAYS];
    enum kl_status status = kl_sections_find(&t->kept, 0, "facts", sizeof f, &s, err);
    if (status != KL_OK)
        return status;
    memcpy(&f, s.data, sizeof f);
    if (f.n_tokens == 0 || f.n_tokens > KL_VOCAB_MAX || f.n_bytes > UINT32_MAX ||
        f.n_merges > KL_VOCAB_MAX || !is_table_size(f.n_vocab_slots) ||
        !is_table_size(f.n_merge_slots) || !is_table_size(f.n_word_slots))
        return kl_fail(err, KL_ERR_FORMAT, "%s: its tables have impossible sizes",
                       t->kept.map.path);
    sizes_of(&f, sizes);
    for (size_t i = 0; i < N_ARRAYS; i++) {
        status = kl_sections_find(&t->kept, i + 1, names[i], sizes[i], &s, err);
        if (status != KL_OK)
            return status;
        arrays[i] = (void *)(uintptr_t)s.data;
    }
    t->vocab = (struct kl_vocab){.bytes = arrays[BYTES],
                                 .bytes_len = (size_t)f.n_bytes,
                                 .offsets = arrays[OFFSETS],
                                 .types = arrays[TYPES],
                                 .n = (size_t)f.n_tokens,
                                 .slots = arrays[VOCAB_SLOTS],
                                 .n_slots = (size_t)f.n_vocab_slots,
                                 .borrowed = true};
    t->bpe = (struct kl_bpe){.merges = {.slots = arrays[MERGE_SLOTS],
                                        .mask = f.n_merge_slots - 1,
                                        .results = arrays[RESULTS],
                                        .n = (size_t)f.n_merges,
                                        .borrowed = true},
                             .chars = arrays[CHARS]};
    memcpy(t->bpe.merges.byte_ids, f.byte_ids, sizeof f.byte_ids);
    kl_merges_note_lacking(&t->bpe.merges);
    t->words = (struct kl_words){
        .slots = arrays[WORD_SLOTS], .mask = f.n_word_slots - 1, .borrowed = true};
    return KL_OK;
}

/* The checksums cover every byte, so every index is one that we wrote; but the file may change
 * behind them, so what an index leads to is checked where it is used. */
static enum kl_status map(struct kl_tables *t, const char *dir, struct kl_error *err)
{
    char name[KL_SECTIONS_NAME_SIZE];
    name_of(t, KL_SECTIONS_TABLES, name);
    struct kl_digest key = kl_sections_key(&t->made_of, version_of(t));
    enum kl_status status = kl_sections_open(&t->kept, dir, name, &key, err);
    if (status == KL_OK)
        status = kl_sections_check(&t->kept, 1, NULL, NULL, err);
    if (status == KL_OK)
        status = borrow(t, err);
    if (status != KL_OK)
        kl_sections_close(&t->kept);
    return status;
}

/* Finds the digest of the vocabulary: remembered, or read now. An incomplete file is refused by
 * `make`, which reports the reason. */
static void learn_source(struct kl_tables *t, const struct kl_gguf *gguf, const char *dir)
{
    t->since = kl_digest_now();
    t->remembered = kl_digest_recall(dir, kl_gguf_file(gguf), KL_DIGEST_VOCABULARY, &t->made_of);
    t->known = t->remembered || kl_digest_vocabulary(gguf, &t->made_of, NULL) == KL_OK;
}

enum kl_status kl_tables_open(struct kl_tables *t, const struct kl_gguf *gguf, bool whole_tokens,
                              const char *dir, struct kl_error *err)
{
    *t = (struct kl_tables){.whole_tokens = whole_tokens};
    struct kl_error why = {0};
    if (dir != NULL)
        learn_source(t, gguf, dir);
    enum kl_status status = t->known ? map(t, dir, &why) : KL_ERR_NOT_FOUND;
    if (status == KL_OK)
        return KL_OK;
    if (status == KL_ERR_FORMAT)
        kl_warning("the tokenizer's tables are damaged and are made again: %s", why.text);
    status = make(t, gguf, err);
    if (status != KL_OK)
        kl_tables_close(t);
    return status;
}

void kl_tables_keep(struct kl_tables *t, const struct kl_gguf *gguf, const char *dir)
{
    struct kl_error why = {0};
    struct kl_tables kept = *t;
    enum kl_status status = KL_OK;
    if (!t->known)
        return;
    if (t->kept.map.data == NULL) {
        status = keep(t, dir, &why);
        if (status == KL_OK)
            status = map(&kept, dir, &why);
        if (status == KL_OK) {
            kl_tables_close(t);
            *t = kept;
        }
    }
    /* KL_ERR_BUSY: another process is writing them, and this one uses its own */
    if (status == KL_OK && !t->remembered)
        kl_digest_remember(dir, kl_gguf_file(gguf), KL_DIGEST_VOCABULARY, &t->made_of, t->since);
    else if (status != KL_OK && status != KL_ERR_BUSY)
        kl_warning("the tokenizer's tables cannot be kept and are made at each start: %s",
                   why.text);
}

void kl_tables_close(struct kl_tables *t)
{
    kl_vocab_release(&t->vocab);
    kl_bpe_release(&t->bpe);
    kl_words_release(&t->words);
    kl_sections_close(&t->kept);
}
