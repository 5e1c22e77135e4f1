#include <string.h>

#include "text/normalizer.h"
#include "text/tokenizer_kind.h"
#include "text/tokenizer_state.h"

/* A longer piece is hardly ever a token, and merging finds those few (unless it does not: then a
 * token of any length is sought). */
#define MAX_SOUGHT 32
/* Pieces whose searches overlap, so that they wait for memory together. */
#define PIECES 16
/* A longer piece is merged in steps. */
#define LONG_PIECE 4096
/* The least number of bytes that is normalised at a time. */
#define LEAST_NORMAL 64

/* ---- loading --------------------------------------------------------------------------------- */

static enum kl_status find_pretokenizer(struct kl_tokenizer *t, const struct kl_gguf *gguf,
                                        struct kl_error *err)
{
    struct kl_gguf_string name;
    enum kl_status status = kl_gguf_string(gguf, "tokenizer.ggml.pre", &name, err);
    return status == KL_OK ? kl_pretokenizer_find(name.data, name.len, &t->pretokenizer, err)
                           : status;
}

static enum kl_status require_all_bytes(const struct kl_merges *merges, struct kl_error *err)
{
    for (unsigned byte = 0; byte < 256; byte++) {
        if (merges->byte_ids[byte] < 0)
            return kl_fail(err, KL_ERR_FORMAT,
                           "tokenizer.ggml.tokens has no token for the byte 0x%02X; a byte-level "
                           "vocabulary has one for each of the 256 bytes",
                           byte);
    }
    return KL_OK;
}

static enum kl_status load(struct kl_tokenizer *t, const struct kl_gguf *gguf, const char *dir,
                           struct kl_error *err)
{
    enum kl_status status = find_pretokenizer(t, gguf, err);
    if (status == KL_OK)
        status = kl_tables_open(&t->tables, gguf, t->pretokenizer->whole_tokens, dir, err);
    if (status == KL_OK && t->pretokenizer->all_bytes)
        status = require_all_bytes(&t->tables.bpe.merges, err);
    if (status == KL_OK)
        status = kl_char_classes_init(&t->classes, err);
    return status;
}

/* ---- encoding -------------------------------------------------------------------------------- */

/* A piece that is not in the table of words. */
static enum kl_status encode_piece(struct kl_encoder *e, const char *piece, size_t len,
                                   struct kl_tokens *out)
{
    const struct kl_tokenizer *t = e->tokenizer;
    size_t max_sought = t->pretokenizer->whole_tokens ? KL_TOKEN_MAX_BYTES : MAX_SOUGHT;
    if (len > KL_WORD_MAX_BYTES && len <= max_sought) {
        int32_t id = kl_vocab_find(&t->tables.vocab, piece, len);
        if (id >= 0 && t->tables.vocab.types[id] == KL_TOKEN_NORMAL)
            return kl_tokens_push(out, id);
    }
    return kl_bpe_encode(&t->tables.bpe, piece, len, &e->scratch, out);
}

/* Up to PIECES pieces from e->at on; a long one is begun at most. */
static enum kl_status encode_pieces(struct kl_encoder *e, struct kl_tokens *out)
{
    const struct kl_tokenizer *t = e->tokenizer;
    const char *text = e->nfc.data + e->at;
    const size_t len = e->nfc.len - e->at;
    struct {
        const char *text;
        size_t len;
        struct kl_word_key key;
        uint64_t hash;
    } pieces[PIECES];
    size_t n = 0, at = 0;
    for (; n < PIECES && at < len; n++) {
        pieces[n].text = text + at;
        pieces[n].len = t->pretokenizer->piece(&t->classes, text + at, len - at);
        if (pieces[n].len > LONG_PIECE) {
            e->piece = pieces[n].len;
            break;
        }
        if (pieces[n].len <= KL_WORD_MAX_BYTES) {
            pieces[n].key = kl_word_key(text + at, pieces[n].len, len - at);
            pieces[n].hash = kl_word_hash(pieces[n].key);
            kl_words_prefetch(&t->tables.words, pieces[n].hash);
        }
        at += pieces[n].len;
    }
    e->at += at;
    enum kl_status status = KL_OK;
    for (size_t i = 0; i < n && status == KL_OK; i++) {
        int32_t id = -1;
        if (pieces[i].len <= KL_WORD_MAX_BYTES)
            id = kl_words_find(&t->tables.words, pieces[i].key, pieces[i].hash);
        status =
            id >= 0 ? kl_tokens_push(out, id) : encode_piece(e, pieces[i].text, pieces[i].len, out);
    }
    if (e->piece > 0 && status == KL_OK)
        status = kl_bpe_begin(&t->tables.bpe, e->nfc.data + e->at, e->piece, &e->scratch);
    return status;
}

static size_t less(size_t effort, size_t used)
{
    return effort > used ? effort - used : 0;
}

static enum kl_status normalize(struct kl_encoder *e, size_t *effort)
{
    const struct kl_tokenizer *t = e->tokenizer;
    size_t used, limit = *effort > LEAST_NORMAL ? *effort : LEAST_NORMAL;
    enum kl_status status =
        kl_normalize_part(t->pretokenizer->nfc ? &t->classes : NULL, e->text + e->n_normal,
                          e->len - e->n_normal, limit, &used, &e->nfc);
    e->n_normal += used;
    *effort = less(*effort, used);
    return status;
}

static enum kl_status encode(struct kl_encoder *e, size_t *effort, size_t max_tokens,
                             struct kl_tokens *out, bool *done)
{
    enum kl_status status = KL_OK;
    *done = false;
    while (*effort > 0 && out->len <= max_tokens && status == KL_OK && !*done) {
        if (e->n_normal < e->len) {
            status = normalize(e, effort);
        } else if (e->piece > 0) {
            if (kl_bpe_step(&e->tokenizer->tables.bpe, &e->scratch, effort)) {
                status = kl_bpe_finish(&e->scratch, out);
                e->at += e->piece;
                e->piece = 0;
            }
        } else if (e->at < e->nfc.len) {
            size_t before = e->at;
            status = encode_pieces(e, out);
            *effort = less(*effort, e->at - before + e->piece);
        }
        *done = status == KL_OK && e->n_normal == e->len && e->at == e->nfc.len;
    }
    return status;
}

const struct kl_tokenizer_kind kl_tokenizer_byte_bpe = {
    .model = "gpt2", .load = load, .encode = encode};
